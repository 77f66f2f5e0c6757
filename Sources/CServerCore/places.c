// SPDX-License-Identifier: Apache-2.0

// Taking places of a budget, waiting for one, and giving them back.
//
// A server that waits has a limit of connections of 0 for that long: so accepting pauses, and the
// pause is counted, as for any limit.

#include "places.h"

#include "budget.h"
#include "server_type.h"
#include "settle.h"
#include "waker.h"

#include <stdlib.h>

static csc__place await(csc_server *server, struct csc__places *it) {
    csc__budget_queue(it->budget, &it->waiter);
    server->awaits_place = true;
    if (csc__budget_take(it->budget)) {
        csc__place_stop_waiting(server);
        return CSC__PLACE_TAKEN;
    }
    csc__set_limits(server);
    return CSC__PLACE_AWAITED;
}

csc__place csc__place_take(csc_server *server) {
    struct csc__places *it = server->places;
    if (!it || csc__budget_take(it->budget)) {
        return CSC__PLACE_TAKEN;
    }
    if (csc__is_finishing(server)) {
        csc__budget_force(it->budget, 1);
        return CSC__PLACE_TAKEN;
    }
    if (csc__budget_excess(it->budget) != CSC_EXCESS_WAIT) {
        return CSC__PLACE_REFUSED;
    }
    return await(server, it);
}

void csc__place_force(csc_server *server) {
    if (server->places) {
        csc__budget_force(server->places->budget, 1);
    }
}

void csc__place_give(csc_server *server) {
    if (server->places) {
        csc__budget_give(server->places->budget, 1);
    }
}

bool csc__place_resets(const csc_server *server) {
    return csc__budget_excess(server->places->budget) == CSC_EXCESS_RESET;
}

void csc__place_look(csc_server *server) {
    struct csc__places *it = server->places;
    if (server->awaits_place) {
        csc__budget_leave(it->budget, &it->waiter);
        server->awaits_place = false;
        csc__set_limits(server);
    }
}

void csc__place_stop_waiting(csc_server *server) {
    if (server->awaits_place) {
        csc__place_look(server);
        csc__budget_offer(server->places->budget);
    }
}

bool csc__place_is_due(csc_server *server, int64_t now) {
    return server->awaits_place &&
           (atomic_exchange(&server->places->is_woken, false) || now >= server->watchdog.next_look);
}

void csc__places_free(struct csc__places *it) {
    if (!it) {
        return;
    }
    if (csc__budget_is_inherited(it->budget)) {
        it->waker.event = NULL; // its epoll is the parent's own
    }
    csc__budget_give(it->budget, it->server->live);
    csc__waker_free_event(&it->waker);
    csc__waker_close(&it->waker);
    csc_budget_free(it->budget);
    free(it);
}
