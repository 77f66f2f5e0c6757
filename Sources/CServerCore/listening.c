// SPDX-License-Identifier: Apache-2.0

// How a server begins to listen: on an address, at a path, or on a socket that it adopts; and where
// it listens.

#include "accept.h"
#include "fork_guard.h"
#include "listening_path.h"
#include "listening_socket.h"
#include "loop.h"
#include "notify.h"
#include "server_type.h"
#include "state.h"

#include <errno.h>
#include <stdlib.h>

static const char listening_already[] = "listen() called when already listening";

static bool refuse(csc_server *server, const csc__failure *failure) {
    server->socket = csc__no_listening_socket;
    csc__fail(server, failure->call, failure->errnum);
    if (failure->system_errnum != 0) {
        server->last_error.errnum = failure->system_errnum;
    }
    return false;
}

static bool may_start(csc_server *server, const char *text_when_listening) {
    if (!server || server->freed) {
        return false;
    }
    if (server->process != csc__process()) {
        csc__fail_after_fork(server);
        return false;
    }
    if (server->member) {
        csc_server_set_error(
            server, CSC_ERROR_OPERATION,
            "A member of a group gets its connections from the server that accepts");
        return false;
    }
    if (csc__server_is_listening(server) || server->opening) {
        csc_server_set_error(server, CSC_ERROR_OPERATION, text_when_listening);
        return false;
    }
    return true;
}

static int on_socket_made(int descriptor, void *context) {
    csc_server *server = context;
    uint64_t close_count = server->close_count;
    int errnum = csc__notify(server, CSC__SOCKET_MADE, &descriptor);
    // Who closes the server in this callback does not want it to listen.
    return close_count != server->close_count ? ECANCELED : errnum;
}

static csc__opening begin_opening(csc_server *server) {
    server->opening = true;
    return (csc__opening){
        .backlog = server->backlog,
        .made = server->socket_made ? on_socket_made : NULL,
        .context = server,
    };
}

static bool open_sockets(csc_server *server, const csc_address *address,
                         csc__listening_socket *sockets, size_t count, csc__failure *failure) {
    const csc__opening opening = begin_opening(server);
    bool opened = csc__listening_sockets_open(sockets, count, address, &opening, failure);
    server->opening = false;
    return opened;
}

static bool start(csc_server *server, const csc__listening_socket *socket) {
    csc__failure failure;
    server->socket = *socket;
    if (!csc__accept_start(server, &failure)) {
        csc__listening_socket_close(&server->socket);
        return refuse(server, &failure);
    }
    csc__settle(server);
    return csc__server_is_listening(server);
}

bool csc_server_listen(csc_server *server, const csc_address *address) {
    if (!may_start(server, listening_already)) {
        return false;
    }
    csc__failure failure;
    csc__listening_socket socket;
    csc__server_enter(server); // the socket callback may free it
    bool listens = open_sockets(server, address, &socket, 1, &failure) ? start(server, &socket)
                                                                       : refuse(server, &failure);
    csc__server_leave(server);
    return listens;
}

static bool open_path(csc_server *server, const csc__path_request *request,
                      csc__listening_socket *socket, csc__failure *failure) {
    const csc__opening opening = begin_opening(server);
    bool opened = csc__listening_path_open(socket, request, &opening, failure);
    server->opening = false;
    return opened;
}

bool csc_server_listen_path(csc_server *server, const char *path, int permissions,
                            bool keep_stale) {
    if (!may_start(server, listening_already)) {
        return false;
    }
    csc__failure failure;
    csc__listening_socket socket;
    const csc__path_request request = {path, permissions, keep_stale};
    csc__server_enter(server);
    bool listens = open_path(server, &request, &socket, &failure) ? start(server, &socket)
                                                                  : refuse(server, &failure);
    csc__server_leave(server);
    return listens;
}

static bool open_for_others(csc_server *server, const csc_address *address, int *descriptors,
                            size_t count) {
    csc__failure failure = {.call = CSC_CALL_SOCKET, .errnum = ENOMEM};
    csc__listening_socket *sockets = calloc(count > 0 ? count : 1, sizeof *sockets);
    bool opened = sockets && open_sockets(server, address, sockets, count, &failure);
    for (size_t index = 0; opened && index < count; index++) {
        descriptors[index] = sockets[index].descriptor;
    }
    free(sockets);
    return opened || refuse(server, &failure);
}

bool csc_server_open_sockets(csc_server *server, const csc_address *address, int *descriptors,
                             size_t count) {
    if (!may_start(server, listening_already)) {
        return false;
    }
    csc__server_enter(server); // the socket callback may free it
    bool opened = open_for_others(server, address, descriptors, count);
    csc__server_leave(server);
    return opened;
}

bool csc_server_adopt(csc_server *server, int descriptor) {
    csc__failure failure;
    csc__descriptor_flags flags;
    if (!may_start(server, "setSocketDescriptor() called when already listening")) {
        return false;
    }
    // Non-blocking before the first event: libevent's debug mode aborts otherwise.
    if (!csc__listening_socket_inspect(&server->socket, descriptor, &failure) ||
        !csc__listening_socket_take(&server->socket, &flags, &failure)) {
        return refuse(server, &failure);
    }
    if (!csc__accept_start(server, &failure)) {
        csc__listening_socket_give_back(&server->socket, &flags);
        return refuse(server, &failure);
    }
    csc__settle(server);
    return true;
}

csc_address csc_server_address(const csc_server *server) {
    return server && csc__server_is_listening(server) ? server->socket.address
                                                      : (csc_address){.family = CSC_FAMILY_NONE};
}

uint16_t csc_server_port(const csc_server *server) {
    return csc_server_address(server).port;
}

const char *csc_server_path(const csc_server *server) {
    return server && csc__server_is_listening(server) && server->socket.path[0] != '\0'
               ? server->socket.path
               : NULL;
}

int csc_server_descriptor(const csc_server *server) {
    return server && csc__server_is_listening(server) ? server->socket.descriptor : -1;
}
