// SPDX-License-Identifier: Apache-2.0

// What a program sets and asks of a server: callbacks and limits. Each may be called at any time;
// what a change means for accepting is csc__settle()'s business.

#include "accept.h"
#include "descriptor_reserve.h"
#include "group_state.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"

#include <limits.h>

#define TEXT(number)    TEXT_OF(number)
#define TEXT_OF(number) #number

int csc_version_number(void) {
    return CSC_VERSION_NUMBER;
}

const char *csc_version(void) {
    return TEXT(CSC_VERSION_MAJOR) "." TEXT(CSC_VERSION_MINOR) "." TEXT(CSC_VERSION_PATCH);
}

void csc_server_on_new_connection(csc_server *server, csc_new_connection_fn callback,
                                  void *context) {
    if (server) {
        server->new_connection = callback;
        server->new_connection_context = context;
    }
}

void csc_server_on_incoming_connection(csc_server *server, csc_incoming_connection_fn callback,
                                       void *context) {
    if (server) {
        server->incoming_connection = callback;
        server->incoming_connection_context = context;
        csc__set_limits(server);
    }
}

void csc_server_on_accept_error(csc_server *server, csc_accept_error_fn callback, void *context) {
    if (server) {
        server->accept_error = callback;
        server->accept_error_context = context;
    }
}

void csc_server_on_admission(csc_server *server, csc_admission_fn callback, void *context) {
    if (server) {
        server->admission = callback;
        server->admission_context = context;
        csc__set_limits(server);
    }
}

void csc_server_on_rejected(csc_server *server, csc_rejected_fn callback, void *context) {
    if (server) {
        server->rejected = callback;
        server->rejected_context = context;
    }
}

void csc_server_on_socket(csc_server *server, csc_socket_fn callback, void *context) {
    if (server) {
        server->socket_made = callback;
        server->socket_made_context = context;
    }
}

void csc_server_set_max_pending(csc_server *server, int count) {
    if (server) {
        server->max_pending = count;
        csc__server_enter(server); // the accept error callback may free it
        csc__settle(server);
        if (server->group) {
            csc__group_look_soon(server->group);
        }
        csc__server_leave(server);
    }
}

int csc_server_max_pending(const csc_server *server) {
    return server ? server->max_pending : DEFAULT_MAX_PENDING;
}

void csc_server_set_backlog(csc_server *server, int length) {
    if (server) {
        server->backlog = length;
    }
}

int csc_server_backlog(const csc_server *server) {
    return server ? server->backlog : INT_MAX;
}

void csc_server_set_accept_batch(csc_server *server, int count) {
    if (server) {
        server->accept_batch = count < 1 ? 1 : count;
        csc__settle(server);
    }
}

int csc_server_accept_batch(const csc_server *server) {
    return server ? server->accept_batch : DEFAULT_ACCEPT_BATCH;
}

void csc_server_set_expected_descriptors(csc_server *server, int count) {
    if (server) {
        server->expected_descriptors = count;
    }
}

int csc_server_expected_descriptors(const csc_server *server) {
    return server ? server->expected_descriptors : DEFAULT_EXPECTED_CONNECTIONS;
}

void csc_server_set_overload_policy(csc_server *server, csc_overload_policy policy) {
    if (server) {
        server->overload_policy = policy;
        csc__reserve_fd_keep(server);
    }
}

csc_overload_policy csc_server_overload_policy(const csc_server *server) {
    return server ? server->overload_policy : CSC_OVERLOAD_WAIT;
}

void csc_server_set_descriptor_reserve(csc_server *server, int count) {
    if (server) {
        server->descriptor_reserve = count;
        if (csc__server_is_listening(server)) {
            csc__descriptors_are_short(server);
        }
        csc__descriptor_freed(server); // a smaller reserve may be what a back-off waits for
    }
}

int csc_server_descriptor_reserve(const csc_server *server) {
    return server ? server->descriptor_reserve : DEFAULT_DESCRIPTOR_RESERVE;
}

void csc_server_set_max_connections(csc_server *server, int count, csc_excess excess) {
    if (server) {
        server->max_connections = count < 0 ? -1 : count;
        server->excess = excess;
        csc__set_limits(server);
        csc__settle(server);
    }
}

int csc_server_max_connections(const csc_server *server) {
    return server ? server->max_connections : -1;
}

csc_excess csc_server_excess(const csc_server *server) {
    return server ? server->excess : CSC_EXCESS_WAIT;
}
