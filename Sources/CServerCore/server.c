// The life of a server: made, listening or adopting, closed, freed; its queue, its last error.
//
// The server owns its listening descriptor, its pending connections and its events; the event_base
// is borrowed. csc_server_free() in a callback closes at once and leaves the memory to the
// outermost frame.

#include "server.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

csc_server *csc_server_new(struct event_base *base) {
    csc_server *server = calloc(1, sizeof *server);
    if (!server) {
        return NULL;
    }
    server->base = base;
    server->process = csc__process();
    server->socket = csc__no_listening_socket;
    server->check_timer = -1;
    server->in_flight = -1;
    server->max_pending = DEFAULT_MAX_PENDING;
    server->backlog = INT_MAX;
    server->spare = -1;
    server->max_connections = -1;
    server->wait_at = UINT32_MAX;
    server->ask_at = UINT32_MAX;
    server->watched_descriptor = INT_MAX;
    server->descriptor_reserve = DEFAULT_DESCRIPTOR_RESERVE;
    server->accept_batch = DEFAULT_ACCEPT_BATCH;
    server->expected_connections = DEFAULT_EXPECTED_CONNECTIONS;
    server->error = CSC_ERROR_UNKNOWN;
    server->error_text = "";
    return server;
}

void csc_server_free(csc_server *server) {
    if (!server || server->freed) {
        return;
    }
    csc__server_enter(server);
    server->freed = true;
    csc_server_close(server);
    csc__server_leave(server);
}

void csc__server_end(csc_server *server) {
    csc__pending_free(&server->pending);
    free(server);
}

void csc__server_fail(csc_server *server, csc_call call, int errnum) {
    server->error = csc_error_from_errno(call, errnum, &server->error_text);
}

void csc__report_error(csc_server *server) {
    if (server->accept_error) {
        server->accept_error(server, server->error, server->accept_error_context);
    }
}

void csc__server_refuse_in_child(csc_server *server) {
    csc_server_set_error(server, CSC_ERROR_OPERATION,
                         "The server belongs to the process that forked this one");
}

// Undoes start_listening(); the descriptor that the program knows stays open.
static void end_listening(csc_server *server) {
    server->generation++;
    // First: in the list all numbers of a server are its own.
    csc__listening_servers_remove(server);
    csc__overload_forgive(server);
    csc__accept_stop(server);
    csc__listener_check_stop(server);
    if (server->left_in_parent && server->socket.own >= 0) {
        close(server->socket.own); // open for its number alone
        server->socket.own = -1;
    }
    csc__listening_socket_release(&server->socket);
    csc__overload_keep_spare(server);
    if (server->overloaded) {
        csc__overload_note(server, false);
    }
}

// On failure the server does not listen, and server->socket is for the caller to close or forget.
static bool start_listening(csc_server *server, csc__failure *failure) {
    if (!csc__listening_servers_add(server)) {
        *failure = (csc__failure){.call = CSC_CALL_ADOPT, .errnum = EALREADY};
        return false;
    }
    if (!csc__listening_socket_duplicate(&server->socket, failure)) {
        csc__listening_servers_remove(server);
        return false;
    }
    csc__grow_descriptor_table(&server->socket, server->expected_connections);
    if (!csc__accept_start(server) || !csc__listener_check_start(server)) {
        *failure = (csc__failure){.call = CSC_CALL_WATCH, .errnum = errno};
        end_listening(server);
        return false;
    }
    server->generation++;
    csc__overload_keep_spare(server);
    csc__descriptors_are_short(server);
    return true;
}

static bool refuse(csc_server *server, const csc__failure *failure) {
    server->socket = csc__no_listening_socket;
    csc__server_fail(server, failure->call, failure->errnum);
    return false;
}

static bool may_start(csc_server *server, const char *text_when_listening) {
    if (!server || server->freed) {
        return false;
    }
    if (server->process != csc__process()) {
        csc__server_refuse_in_child(server);
        return false;
    }
    if (csc__server_is_listening(server)) {
        csc_server_set_error(server, CSC_ERROR_OPERATION, text_when_listening);
        return false;
    }
    return true;
}

bool csc_server_listen(csc_server *server, const csc_address *address) {
    csc__failure failure;
    if (!may_start(server, "listen() called when already listening")) {
        return false;
    }
    if (!csc__listening_socket_open(&server->socket, address, server->backlog, &failure)) {
        return refuse(server, &failure);
    }
    if (!start_listening(server, &failure)) {
        csc__listening_socket_close(&server->socket);
        return refuse(server, &failure);
    }
    csc__accept_update(server);
    return true;
}

bool csc_server_adopt(csc_server *server, int descriptor) {
    csc__failure failure;
    if (!may_start(server, "setSocketDescriptor() called when already listening")) {
        return false;
    }
    if (!csc__listening_socket_inspect(&server->socket, descriptor, &failure) ||
        !start_listening(server, &failure)) {
        return refuse(server, &failure);
    }
    // Last, because it changes the descriptor: a refused one goes back as it came.
    if (!csc__listening_socket_take(&server->socket, &failure)) {
        end_listening(server);
        return refuse(server, &failure);
    }
    csc__accept_update(server);
    return true;
}

void csc__server_stop_listening(csc_server *server) {
    if (server->socket.descriptor < 0) {
        return;
    }
    end_listening(server);
    csc__listening_socket_close(&server->socket);
    server->left_in_parent = false;
}

void csc_server_close(csc_server *server) {
    if (!server) {
        return;
    }
    server->closings++;
    csc__server_stop_listening(server);
    csc_connection connection;
    while (csc__pending_pop(&server->pending, &connection)) {
        server->statistics.discarded_on_close++;
        if (connection.descriptor >= 0) {
            close(connection.descriptor);
            csc__live_ended(server);
        }
    }
}

void csc_server_finish(csc_server *server) {
    if (!csc_server_is_listening(server)) {
        return;
    }
    csc__server_enter(server);
    uint64_t generation = server->generation;
    csc__accept_rest(server);
    // A callback may have closed the server already, and even listened anew.
    if (generation == server->generation) {
        csc__server_stop_listening(server);
    }
    csc__server_leave(server);
}

bool csc_server_is_listening(const csc_server *server) {
    return server && csc__server_is_listening(server);
}

csc_address csc_server_address(const csc_server *server) {
    return csc_server_is_listening(server) ? server->socket.address
                                           : (csc_address){.family = CSC_FAMILY_NONE};
}

uint16_t csc_server_port(const csc_server *server) {
    return csc_server_address(server).port;
}

int csc_server_descriptor(const csc_server *server) {
    return server ? server->socket.descriptor : -1;
}

bool csc_server_has_pending(const csc_server *server) {
    return server && server->pending.count > 0;
}

bool csc_server_next_pending(csc_server *server, csc_connection *connection) {
    if (!server || !csc__pending_pop(&server->pending, connection)) {
        return false;
    }
    server->statistics.delivered++;
    if (!server->armed) {
        csc__accept_has_room(server);
    }
    return true;
}

bool csc_server_add_pending(csc_server *server, const csc_connection *connection) {
    if (!server || server->freed) {
        return false;
    }
    if (!csc__pending_reserve(&server->pending)) {
        csc_server_set_error(server, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        return false;
    }
    *csc__pending_push_place(&server->pending) = *connection;
    if (connection->descriptor >= 0 && connection->descriptor == server->in_flight) {
        server->in_flight = -1; // the incoming callback gives back what it was just handed
    } else {
        server->statistics.added++;
        server->live++;
    }
    csc__accept_update(server);
    return true;
}

void csc_server_pause(csc_server *server) {
    if (server) {
        server->paused = true;
        csc__accept_update(server);
    }
}

void csc_server_resume(csc_server *server) {
    if (server) {
        server->paused = false;
        csc__overload_forgive(server);
        csc__accept_update(server);
    }
}

csc_error csc_server_error(const csc_server *server) {
    return server ? server->error : CSC_ERROR_SOCKET_RESOURCE;
}

const char *csc_server_error_string(const csc_server *server) {
    return server ? server->error_text : "Out of resources";
}

void csc_server_set_error(csc_server *server, csc_error error, const char *text) {
    if (server) {
        server->error = error;
        server->error_text = text;
    }
}

void csc_server_statistics(const csc_server *server, csc_statistics *statistics, size_t size) {
    csc_statistics snapshot = {0};
    if (server) {
        snapshot = server->statistics;
        snapshot.pending = server->pending.count;
        snapshot.live = server->live;
        if (server->overloaded) {
            snapshot.paused_milliseconds +=
                (uint64_t)(csc__monotonic_milliseconds() - server->pause_time);
        }
        // Of a listening socket TCP_INFO tells the queue: its length now and its limit.
        struct tcp_info info;
        socklen_t length = sizeof info;
        if (csc__server_is_listening(server) &&
            getsockopt(server->socket.own, IPPROTO_TCP, TCP_INFO, &info, &length) == 0) {
            snapshot.kernel_queue = info.tcpi_unacked;
            snapshot.kernel_queue_limit = info.tcpi_sacked;
        }
    }
    memcpy(statistics, &snapshot, size < sizeof snapshot ? size : sizeof snapshot);
}
