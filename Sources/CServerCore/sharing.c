// SPDX-License-Identifier: Apache-2.0

// A server that shares a budget: getting one, and accepting within it.
//
// libevent would accept until the kernel's queue is empty, without asking for a place before. So
// such a server has no listener of libevent's, and accepts when the poll event says that clients
// are there, step by step.

#include "sharing.h"

#include "accept.h"
#include "budget.h"
#include "fork_guard.h"
#include "outcome.h"
#include "places.h"
#include "private_fd.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"
#include "waker.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

// False when not even one attempt was made.
static bool accept_batch(csc_server *server) {
    uint64_t generation = server->generation;
    csc__outcome outcome = CSC__TOOK;
    bool tried = false;
    // A callback may close the server, listen on another socket or free it; each ends the batch.
    while (generation == server->generation && csc__may_accept(server) &&
           server->accepted_this_turn < server->accept_batch && outcome > CSC__NOBODY &&
           outcome < CSC__PAUSED) {
        outcome = csc__step(server);
        tried = true;
        server->accepted_this_turn += outcome == CSC__TOOK || outcome == CSC__TURNED_AWAY;
    }
    if (generation == server->generation) {
        csc__settle(server);
    }
    return tried;
}

void csc__accept_batch(csc_server *server) {
    accept_batch(server);
}

// An attempt that finds no client gives its place back, which wakes the next; where there is no
// attempt, that is done here.
void csc__look_for_place(csc_server *server) {
    if (!server->awaits_place) {
        return;
    }
    csc__place_look(server);
    if (!accept_batch(server)) {
        csc__budget_offer(server->places->budget);
    }
}

static void on_wake(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    struct csc__places *it = context;
    csc_server *server = it->server;
    if (server->process != csc__process()) {
        return; // the parent's loop is to be woken
    }
    csc__waker_clear(&it->waker);
    csc__server_enter_here(server);
    csc__collect_ended(server); // also where nothing else does, because it listens no more
    csc__look_for_place(server);
    csc__server_leave(server);
}

static void wake(csc__budget_waiter *waiter) {
    struct csc__places *it = (struct csc__places *)waiter;
    atomic_store(&it->is_woken, true);
    csc__waker_wake(&it->waker);
    csc__poke(it->server);
}

static struct csc__places *make_places(csc_server *server, csc_budget *budget) {
    struct csc__places *it = calloc(1, sizeof *it);
    if (!it) {
        return NULL;
    }
    it->waiter.wake = wake;
    it->waker.eventfd = CSC__NO_PRIVATE_FD;
    it->server = server;
    if (server->base &&
        !(csc__waker_open(&it->waker, server->base, on_wake, it) && csc__waker_start(&it->waker))) {
        int errnum = errno;
        csc__waker_free_event(&it->waker);
        csc__waker_close(&it->waker);
        free(it);
        errno = errnum;
        return NULL;
    }
    it->budget = csc__budget_retain(budget);
    csc__budget_force(budget, server->live);
    return it;
}

static bool may_change(csc_server *server, const csc_budget *budget) {
    if (!server || server->freed) {
        return false;
    }
    if (server->process != csc__process() || (budget && csc__budget_is_inherited(budget))) {
        csc__fail_after_fork(server);
        return false;
    }
    if (server->group || server->member) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "The limit of a group is that of the server that accepts");
        return false;
    }
    if (csc__server_is_listening(server) || server->opening || server->admissions_in_progress > 0) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "A budget is for a server that does not listen");
        return false;
    }
    return true;
}

bool csc_server_set_budget(csc_server *server, csc_budget *budget) {
    if (!may_change(server, budget)) {
        return false;
    }
    struct csc__places *places = NULL;
    if (budget) {
        errno = ENOMEM;
        places = make_places(server, budget);
        if (!places) {
            csc__fail(server, CSC_CALL_WATCH, errno);
            return false;
        }
    }
    struct csc__places *before = server->places;
    csc__place_stop_waiting(server);
    csc__fork_guard_set_places(server, places);
    csc__places_free(before);
    csc__collect_ended(server); // what was reported before has woken no thread for these
    return true;
}
