// SPDX-License-Identifier: Apache-2.0

// Connections in the preface: their lists, their events, and how they end.
//
//      all      first [a] <-> [b] <-> [c] <-> [d] last      in the order in which they began
//      silent         [a]     <->     [c] <-> [d]           in the same
//      spoken                 [b]                           in the order of their first bytes
//
// All have the same time, so the order in which they began is that of their deadlines, and one timer
// for the first is enough. Each owns its connection; the list of all owns it.

#include "preface_list.h"

#include "admission.h"
#include "clock.h"
#include "group_state.h"
#include "notify.h"
#include "preface.h"
#include "private_fd.h"
#include "probes.h"
#include "server_type.h"
#include "settle.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// A socket that is ready so often, and has nothing to read, is given up: the loop would not rest.
enum { MOST_IN_VAIN = 16 };

static struct event *event_of(csc__preface *it) {
    return (struct event *)(it + 1);
}

/* ---------------------------------------------------------------------------------------------- */
// How they end

static void count(csc_server *server, csc__preface_result result) {
    csc_statistics *statistics = &server->statistics;
    statistics->ended_in_preface++;
    switch (result) {
    case CSC__PREFACE_UNTRUSTED:
        statistics->preface_untrusted++;
        break;
    case CSC__PREFACE_INVALID:
        statistics->preface_invalid++;
        break;
    case CSC__PREFACE_CUT_SHORT:
        statistics->preface_cut_short++;
        break;
    case CSC__PREFACE_TIMED_OUT:
        statistics->preface_timeouts++;
        break;
    case CSC__PREFACE_DROPPED:
        statistics->preface_dropped++;
        break;
    case CSC__PREFACE_SILENT:
        statistics->preface_silent++;
        break;
    default: // without memory
        statistics->ended_in_preface--;
        statistics->shed++;
        break;
    }
}

static csc_rejection_reason reason_of(csc__preface_result result) {
    switch (result) {
    case CSC__PREFACE_UNTRUSTED:
        return CSC_REJECTED_AS_UNTRUSTED;
    case CSC__PREFACE_INVALID:
        return CSC_REJECTED_BY_HEADER;
    case CSC__PREFACE_TIMED_OUT:
        return CSC_REJECTED_BY_TIMEOUT;
    case CSC__PREFACE_DROPPED:
        return CSC_REJECTED_BY_PREFACES;
    case CSC__PREFACE_NO_MEMORY:
        return CSC_REJECTED_BY_OVERLOAD;
    default:
        return CSC_REJECTED_BY_PEER;
    }
}

// Closes a connection that does not get past it, and reports that, unless it was a health check.
static void end(csc_server *server, const csc_connection *connection, csc__preface_result result,
                const csc__preface_fault *fault) {
    bool is_reported = result != CSC__PREFACE_SILENT;
    csc_rejection rejection = {.peer = connection->peer,
                               .reason = reason_of(result),
                               .proxy_error = fault->error,
                               .proxy_error_offset = fault->offset};
    if (is_reported) {
        if (server->rejected && !server->freed) {
            rejection.local = csc__local_address(connection->descriptor);
        }
        CSC__PROBE3(reject, server, connection->descriptor, rejection.reason);
    }
    close(connection->descriptor);
    count(server, result);
    csc__end_connections(server, 1);
    csc__group_publish(server);
    if (is_reported) {
        csc__notify(server, CSC__REJECTION, &rejection);
    }
}

static const csc__preface_fault no_fault;

/* ---------------------------------------------------------------------------------------------- */
// The lists

static void append(csc__preface_list *list, csc__preface *it, int which) {
    it->links[which] = (csc__preface_links){.previous = list->last};
    *(list->last ? &list->last->links[which].next : &list->first) = it;
    list->last = it;
    list->count++;
}

static void unlink_from(csc__preface_list *list, csc__preface *it, int which) {
    csc__preface_links at = it->links[which];
    *(at.previous ? &at.previous->links[which].next : &list->first) = at.next;
    *(at.next ? &at.next->links[which].previous : &list->last) = at.previous;
    list->count--;
}

static csc__preface_list *kind_of(struct csc__prefaces *stage, const csc__preface *it) {
    return it->has_spoken ? &stage->spoken : &stage->silent;
}

static void note_first_bytes(struct csc__prefaces *stage, csc__preface *it) {
    unlink_from(&stage->silent, it, CSC__OF_KIND);
    it->has_spoken = true;
    append(&stage->spoken, it, CSC__OF_KIND);
}

// The one that makes room for another: the first of the kind that there is more of, so that a peer in
// good faith is never the only one of its kind.
static csc__preface *most_expendable(struct csc__prefaces *stage) {
    return stage->silent.count >= stage->spoken.count ? stage->silent.first : stage->spoken.first;
}

static void note_time(struct csc__prefaces *stage) {
    const csc__preface *first = stage->all.first;
    if (stage->timer && first && !stage->timer_runs) {
        int64_t left = first->started + stage->timeout - csc__monotonic_milliseconds();
        left = left < 1 ? 1 : left;
        struct timeval delay = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
        // Without memory for a timer, the watchdog ends them.
        stage->timer_runs = event_add(stage->timer, &delay) == 0;
    }
}

static csc_connection connection_of(const csc__preface *it) {
    return (csc_connection){.descriptor = it->descriptor, .peer = it->peer};
}

// Takes the connection out of the preface, and frees that.
static csc_connection take_out(csc__preface *it) {
    csc_server *server = it->server;
    struct csc__prefaces *stage = server->prefaces;
    csc_connection connection = connection_of(it);
    unlink_from(&stage->all, it, CSC__IN_ALL);
    unlink_from(kind_of(stage, it), it, CSC__OF_KIND);
    server->statistics.in_preface--;
    if (server->base) {
        event_del(event_of(it));
        event_debug_unassign(event_of(it));
    }
    stage->protocol->end(it->state);
    free(it);
    return connection;
}

static bool watch(csc__preface *it) {
    csc_server *server = it->server;
    return !server->base ||
           (event_assign(event_of(it), server->base, it->descriptor, EV_READ | EV_PERSIST,
                         server->prefaces->readable, it) == 0 &&
            event_add(event_of(it), NULL) == 0);
}

// False when memory is short.
static bool keep(csc_server *server, const csc_connection *connection, void *state) {
    struct csc__prefaces *stage = server->prefaces;
    size_t event_size = server->base ? event_get_struct_event_size() : 0;
    csc__preface *it = malloc(sizeof *it + event_size);
    if (!it) {
        return false;
    }
    *it = (csc__preface){
        .server = server,
        .state = state,
        .started = csc__monotonic_milliseconds(),
        .peer = connection->peer,
        .descriptor = connection->descriptor,
        .has_spoken = state != NULL,
    };
    if (!watch(it)) {
        event_debug_unassign(event_of(it));
        free(it);
        return false;
    }
    append(&stage->all, it, CSC__IN_ALL);
    append(kind_of(stage, it), it, CSC__OF_KIND);
    server->statistics.in_preface++;
    stage->end_due = true;
    note_time(stage);
    return true;
}

/* ---------------------------------------------------------------------------------------------- */
// Steps

static bool keep_or_end(csc_server *server, const csc_connection *connection, void *state) {
    struct csc__prefaces *stage = server->prefaces;
    bool is_full = server->statistics.in_preface >= (uint64_t)server->max_prefaces;
    csc_connection dropped;
    if (is_full) {
        dropped = take_out(most_expendable(stage));
    }
    if (!keep(server, connection, state)) {
        stage->protocol->end(state);
        end(server, connection, CSC__PREFACE_NO_MEMORY, &no_fault);
    }
    csc__group_publish(server);
    if (is_full) {
        end(server, &dropped, CSC__PREFACE_DROPPED, &no_fault);
        csc__prefaces_note_end(server); // there may have been no memory for the other
    }
    return false;
}

// At once, before there is an event: a proxy sends its header with the connection.
bool csc__preface_begin(csc_server *server, csc_connection *connection) {
    struct csc__prefaces *stage = server->prefaces;
    csc__preface_fault fault = {0};
    void *state = NULL;
    server->live++;
    csc__preface_result result = stage->protocol->start(stage->settings, connection);
    if (result == CSC__PREFACE_MORE) {
        result = stage->protocol->step(stage->settings, connection, &state, &fault);
    }
    if (result == CSC__PREFACE_NOTHING || result == CSC__PREFACE_MORE) {
        return keep_or_end(server, connection, state);
    }
    stage->protocol->end(state);
    if (result != CSC__PREFACE_PASSED) {
        end(server, connection, result, &fault);
        return false;
    }
    return true;
}

bool csc__preface_step(csc__preface *it, csc_connection *connection) {
    csc_server *server = it->server;
    struct csc__prefaces *stage = server->prefaces;
    csc__preface_fault fault = {0};
    *connection = connection_of(it);
    csc__preface_result result =
        stage->protocol->step(stage->settings, connection, &it->state, &fault);
    it->in_vain = result == CSC__PREFACE_NOTHING ? (uint8_t)(it->in_vain + 1) : 0;
    if (result == CSC__PREFACE_MORE && !it->has_spoken) {
        note_first_bytes(stage, it);
    }
    if (result == CSC__PREFACE_MORE || (it->in_vain > 0 && it->in_vain < MOST_IN_VAIN)) {
        return false;
    }
    if (result == CSC__PREFACE_NOTHING) {
        result = CSC__PREFACE_CUT_SHORT;
    }
    take_out(it);
    if (result != CSC__PREFACE_PASSED) {
        end(server, connection, result, &fault);
        return false;
    }
    return true;
}

void csc__prefaces_expire(csc_server *server) {
    struct csc__prefaces *stage = server->prefaces;
    if (!stage) {
        return;
    }
    int64_t now = csc__monotonic_milliseconds();
    // A callback may end all.
    while (stage->all.first && stage->all.first->started + stage->timeout <= now) {
        csc_connection connection = take_out(stage->all.first);
        end(server, &connection, CSC__PREFACE_TIMED_OUT, &no_fault);
    }
    note_time(stage);
    csc__prefaces_note_end(server);
}

void csc__prefaces_note_end(csc_server *server) {
    struct csc__prefaces *stage = server->prefaces;
    if (server->statistics.in_preface == 0 && stage->end_due) {
        stage->end_due = false;
        if (server->prefaces_over) {
            server->prefaces_over(server, server->prefaces_over_context);
        }
    }
}

int64_t csc__prefaces_deadline(const csc_server *server) {
    const struct csc__prefaces *stage = server->prefaces;
    const csc__preface *first = stage ? stage->all.first : NULL;
    return first ? first->started + stage->timeout : INT64_MAX;
}

void csc__prefaces_end_all(csc_server *server, bool is_inherited) {
    struct csc__prefaces *stage = server->prefaces;
    if (!stage) {
        return;
    }
    if (stage->all.first && is_inherited) {
        csc__private_fd nothing = csc__private_eventfd(0);
        csc__prefaces_replace(server, nothing.number);
        csc__private_fd_close(&nothing);
    }
    while (stage->all.first) {
        csc_connection connection = take_out(stage->all.first);
        if (connection.descriptor >= 0) {
            close(connection.descriptor);
        }
        server->statistics.discarded_on_close++;
        csc__end_connections(server, 1);
    }
    stage->end_due = false;
    if (stage->timer) {
        event_del(stage->timer);
        stage->timer_runs = false;
    }
}

// Without a file to put there the number is closed, which keeps the child from the parent's epoll, too.
void csc__prefaces_replace(csc_server *server, int nothing) {
    csc__preface *it = server->prefaces ? server->prefaces->all.first : NULL;
    for (; it; it = it->links[CSC__IN_ALL].next) {
        if (nothing < 0 || dup3(nothing, it->descriptor, O_CLOEXEC) < 0) {
            close(it->descriptor);
            it->descriptor = -1;
        }
    }
}

void csc__prefaces_free(csc_server *server) {
    struct csc__prefaces *stage = server->prefaces;
    if (!stage) {
        return;
    }
    if (stage->timer) {
        event_free(stage->timer);
    }
    stage->protocol->free(stage->settings);
    free(stage->entries);
    free(stage);
    server->prefaces = NULL;
}
