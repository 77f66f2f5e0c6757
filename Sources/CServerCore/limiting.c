// SPDX-License-Identifier: Apache-2.0

// A server with limits for one source, or with a rate: getting them, and going on when a pause for
// the rate is over.

#include "accept.h"
#include "fork_guard.h"
#include "group_state.h"
#include "pacing.h"
#include "pending_queue.h"
#include "rate.h"
#include "server_type.h"
#include "settle.h"
#include "source_table.h"
#include "state.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

static bool may_change(csc_server *server) {
    if (!server || server->freed) {
        return false;
    }
    if (server->process != csc__process()) {
        csc__fail_after_fork(server);
        return false;
    }
    if (server->member) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "The limit of a group is that of the server that accepts");
        return false;
    }
    return true;
}

bool csc_server_set_sources(csc_server *server, csc_sources *sources) {
    if (!may_change(server)) {
        return false;
    }
    if (sources && csc__sources_are_inherited(sources)) {
        csc__fail_after_fork(server);
        return false;
    }
    csc_sources *before = server->sources;
    bool has_some = csc_server_live(server) > 0 || server->admissions_in_progress > 0;
    if (before && before != sources && has_some) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "The connections of the server count in another table of sources");
        return false;
    }
    server->sources = sources ? csc__sources_retain(sources) : NULL;
    csc_sources_free(before);
    if (before != sources) {
        csc__pending_forget_sources(&server->pending);
    }
    if (server->group) {
        csc__group_set_sources(server->group, sources);
    }
    csc__set_limits(server);
    return true;
}

static void on_timer(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_server *server = context;
    if (server->process == csc__process()) {
        csc__server_enter_here(server);
        server->pacing->end = 0; // where it is early, by the loop's clock, it is set again
        csc__settle(server);
        csc__server_leave(server);
    }
}

static struct csc__pacing *make_pacing(csc_server *server, csc_rate *rate) {
    struct csc__pacing *it = calloc(1, sizeof *it);
    if (it && server->base) {
        it->timer = event_new(server->base, -1, 0, on_timer, server);
        if (!it->timer) {
            free(it);
            return NULL;
        }
    }
    if (it) {
        it->rate = csc__rate_retain(rate);
    }
    return it;
}

bool csc_server_set_accept_rate(csc_server *server, csc_rate *rate) {
    if (!may_change(server)) {
        return false;
    }
    struct csc__pacing *pacing = NULL;
    if (rate) {
        pacing = make_pacing(server, rate);
        if (!pacing) {
            csc__fail(server, CSC_CALL_WATCH, ENOMEM);
            return false;
        }
        pacing->granted = server->accept_budget;
    }
    csc__pacing_free(server);
    server->pacing = pacing;
    csc__set_limits(server);
    csc__settle(server);
    return true;
}
