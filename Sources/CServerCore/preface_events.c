// SPDX-License-Identifier: Apache-2.0

// What drives the connections in the preface: their events, their timer, and csc_server_wait(), which
// polls them.

#include "preface_events.h"

#include "accept.h"
#include "fork_guard.h"
#include "group_state.h"
#include "outcome.h"
#include "preface.h"
#include "preface_list.h"
#include "server_type.h"
#include "state.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_ENTRIES = 2 };

// True when a connection was taken.
static bool go_on(csc__preface *it) {
    csc_server *server = it->server;
    csc_connection connection;
    bool taken = false;
    if (csc__preface_step(it, &connection)) {
        taken = csc__step_past_preface(server, &connection) == CSC__TOOK;
        csc__settle(server);
        csc__group_publish(server);
    }
    csc__prefaces_note_end(server);
    return taken;
}

static void on_readable(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc__preface *it = context;
    csc_server *server = it->server;
    csc__server_enter_here(server);
    if (server->process != csc__process()) {
        csc__prefaces_end_all(server, true); // they are the parent's
    } else {
        go_on(it);
    }
    csc__server_leave(server);
}

static void on_timer(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_server *server = context;
    csc__server_enter_here(server);
    server->prefaces->timer_runs = false;
    csc__prefaces_expire(server);
    csc__server_leave(server);
}

/* ---------------------------------------------------------------------------------------------- */
// A wait

static bool reserve_entries(struct csc__prefaces *stage, size_t count) {
    if (count <= stage->entry_capacity) {
        return true;
    }
    struct pollfd *entries = realloc(stage->entries, 2 * count * sizeof *entries);
    if (entries) {
        stage->entries = entries;
        stage->entry_capacity = 2 * count;
    }
    return entries;
}

int csc__poll_with_prefaces(csc_server *server, struct pollfd *entries, int timeout) {
    struct csc__prefaces *stage = server->prefaces;
    if (!stage || !stage->all.first) {
        return poll(entries, OWN_ENTRIES, timeout);
    }
    size_t count = OWN_ENTRIES + (size_t)server->statistics.in_preface;
    if (!reserve_entries(stage, count)) {
        errno = ENOMEM;
        return -1;
    }
    struct pollfd *all = stage->entries;
    memcpy(all, entries, OWN_ENTRIES * sizeof *all);
    size_t index = OWN_ENTRIES;
    for (csc__preface *it = stage->all.first; it; it = it->links[CSC__IN_ALL].next) {
        all[index++] = (struct pollfd){.fd = it->descriptor, .events = POLLIN};
    }
    int ready = poll(all, count, timeout);
    index = OWN_ENTRIES;
    for (csc__preface *it = stage->all.first; it; it = it->links[CSC__IN_ALL].next) {
        it->is_ready = ready > 0 && all[index++].revents != 0;
    }
    memcpy(entries, all, OWN_ENTRIES * sizeof *all);
    return ready;
}

static csc__preface *next_ready(const csc_server *server) {
    csc__preface *it = server->prefaces ? server->prefaces->all.first : NULL;
    while (it && !it->is_ready) {
        it = it->links[CSC__IN_ALL].next;
    }
    return it;
}

int csc__prefaces_go_on(csc_server *server) {
    int taken = 0;
    csc__preface *it;
    // From the first one each time: a callback may end any of them, or wait itself.
    while ((it = next_ready(server))) {
        it->is_ready = false;
        taken += go_on(it);
    }
    return taken;
}

/* ---------------------------------------------------------------------------------------------- */
// Its beginning

struct csc__prefaces *csc__prefaces_new(csc_server *server) {
    struct csc__prefaces *stage = calloc(1, sizeof *stage);
    if (!stage) {
        return NULL;
    }
    stage->readable = on_readable;
    if (server->base) {
        stage->timer = event_new(server->base, -1, 0, on_timer, server);
        if (!stage->timer) {
            free(stage);
            return NULL;
        }
    }
    return stage;
}
