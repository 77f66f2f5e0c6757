// SPDX-License-Identifier: Apache-2.0

// The end of a server's memory, and its last error.

#include "state.h"

#include "group_state.h"
#include "group_type.h"
#include "pacing.h"
#include "pending_queue.h"
#include "places.h"
#include "preface_list.h"
#include "private_fd.h"
#include "server_type.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void csc__server_destroy(csc_server *server) {
    if (server->group || server->member) {
        csc__group_release(server->group ? server->group : server->member->group);
    } else {
        free(server->published);
    }
    csc__place_stop_waiting(server);
    csc__places_free(server->places);
    csc__pacing_free(server);
    csc_sources_free(server->sources);
    csc__prefaces_free(server);
    csc__pending_free(&server->pending);
    csc__private_fd_close(&server->wake);
    free(server);
}

void csc__fail(csc_server *server, csc_call call, int errnum) {
    server->last_error.error = csc_error_from_errno(call, errnum, &server->last_error.text);
    server->last_error.errnum = errnum;
}

void csc__fail_after_fork(csc_server *server) {
    csc_server_set_error(server, CSC_ERROR_OPERATION,
                         "The server belongs to the process that forked this one");
}

void csc__poke(csc_server *server) {
    const uint64_t one = 1;
    int errnum = errno;
    if (atomic_load(&server->can_be_poked) && csc__private_fd_is_ours(&server->wake)) {
        ssize_t size = write(server->wake.number, &one, sizeof one);
        (void)size; // fails when a wake-up is under way
    }
    errno = errnum;
}

csc_error csc_server_error(const csc_server *server) {
    return server ? server->last_error.error : CSC_ERROR_SOCKET_RESOURCE;
}

const char *csc_server_error_string(const csc_server *server) {
    return server ? server->last_error.text : "Out of resources";
}

int csc_server_errno(const csc_server *server) {
    return server ? server->last_error.errnum : ENOMEM;
}

void csc_server_set_error(csc_server *server, csc_error error, const char *text) {
    if (server) {
        server->last_error = (csc__last_error){.error = error, .text = text};
    }
}
