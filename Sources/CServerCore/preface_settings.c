// SPDX-License-Identifier: Apache-2.0

// What the program sets of the preface: whose PROXY headers are required, and how many connections may
// be in it.

#include "preface.h"
#include "preface_events.h"
#include "proxy_receiver.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"

#include <errno.h>
#include <event2/event.h>

enum { DEFAULT_TIMEOUT_MS = 5000 };

static bool refuse(csc_server *server, int errnum) {
    csc__fail(server, CSC_CALL_WATCH, errnum);
    return false;
}

static bool require(csc_server *server, const csc_proxy_requirement *requirement) {
    if (!csc__proxy_networks_are_valid(requirement)) {
        csc_server_set_error(
            server, CSC_ERROR_OPERATION,
            "PROXY headers are taken from networks alone: at least one, of IPv4, IPv6 or UNIX");
        return false;
    }
    void *receiver = csc__proxy_receiver_new(requirement);
    struct csc__prefaces *stage = server->prefaces;
    if (receiver && !stage) {
        stage = csc__prefaces_new(server);
    }
    if (!receiver || !stage) {
        if (receiver) {
            csc__proxy_receiver_protocol.free(receiver);
        }
        return refuse(server, ENOMEM);
    }
    if (server->prefaces) {
        stage->protocol->free(stage->settings);
    }
    stage->protocol = &csc__proxy_receiver_protocol;
    stage->settings = receiver;
    stage->is_required = true;
    stage->timeout = requirement->timeout > 0 ? requirement->timeout : DEFAULT_TIMEOUT_MS;
    server->prefaces = stage;
    if (stage->timer_runs) {
        event_active(stage->timer, EV_TIMEOUT, 0); // the time may be shorter now
    }
    return true;
}

bool csc_server_require_proxy_header(csc_server *server, const csc_proxy_requirement *requirement) {
    if (!server || server->freed) {
        return false;
    }
    if (requirement) {
        if (!require(server, requirement)) {
            return false;
        }
    } else if (server->prefaces) {
        server->prefaces->is_required = false;
    }
    csc__set_limits(server);
    return true;
}

void csc_server_set_max_prefaces(csc_server *server, int count) {
    if (server) {
        server->max_prefaces = count < 1 ? 1 : count;
    }
}

int csc_server_max_prefaces(const csc_server *server) {
    return server ? server->max_prefaces : DEFAULT_MAX_PREFACES;
}

void csc_server_on_prefaces_over(csc_server *server, csc_prefaces_over_fn callback, void *context) {
    if (server) {
        server->prefaces_over = callback;
        server->prefaces_over_context = context;
    }
}
