// Turning connections away: by the program's callback, by the limit of live connections, for lack
// of room. And the other end of that limit, the connections that have ended.

#include "server.h"

#include <sys/socket.h>
#include <unistd.h>

void csc__turn_away(csc_server *server, const csc_connection *connection, bool reset,
                    csc_rejection *rejection) {
    uint64_t *counters[] = {
        [CSC_REJECTED_BY_ADMISSION] = &server->statistics.rejected_by_admission,
        [CSC_REJECTED_BY_LIMIT] = &server->statistics.rejected_by_limit,
        [CSC_REJECTED_BY_OVERLOAD] = &server->statistics.shed,
    };
    struct sockaddr_storage local;
    socklen_t length = sizeof local;
    rejection->peer = connection->peer;
    if (server->rejected &&
        getsockname(connection->descriptor, (struct sockaddr *)&local, &length) == 0) {
        csc_address_from_sockaddr((struct sockaddr *)&local, length, &rejection->local);
    }
    if (reset) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    close(connection->descriptor);
    (*counters[rejection->reason])++;
}

void csc__tell_rejected(csc_server *server, const csc_rejection *rejection) {
    if (server->rejected) {
        server->rejected(server, rejection, server->rejected_context);
    }
}

static bool reject(csc_server *server, const csc_connection *connection,
                   csc_rejection_reason reason, bool reset) {
    csc_rejection rejection = {.reason = reason};
    csc__turn_away(server, connection, reset, &rejection);
    csc__tell_rejected(server, &rejection);
    return false;
}

static csc_admission ask(csc_server *server, const csc_connection *connection) {
    server->asked++;
    if (server->armed) {
        csc__accept_update(server); // the callback may run the loop: it must know of this one
    }
    csc_admission admission =
        server->admission(server, &connection->peer, server->admission_context);
    server->asked--;
    return admission;
}

bool csc__admit(csc_server *server, int descriptor, const struct sockaddr *peer, size_t length) {
    csc_connection connection = {.descriptor = descriptor};
    csc_address_from_sockaddr(peer, length, &connection.peer);
    bool is_limited = server->max_connections >= 0 && server->excess != CSC_EXCESS_WAIT;
    if (is_limited && server->live >= (uint32_t)server->max_connections) {
        return reject(server, &connection, CSC_REJECTED_BY_LIMIT,
                      server->excess == CSC_EXCESS_RESET);
    }
    uint64_t closings = server->closings;
    csc_admission admission = server->admission ? ask(server, &connection) : CSC_ADMIT;
    if (admission != CSC_ADMIT) {
        return reject(server, &connection, CSC_REJECTED_BY_ADMISSION, admission == CSC_RESET);
    }
    if (closings != server->closings) {
        // What close() does to a connection that is pending.
        server->statistics.discarded_on_close++;
        close(descriptor);
        return false;
    }
    // The callback may have had others queued: room was made for one.
    return csc__pending_reserve(&server->pending) ||
           reject(server, &connection, CSC_REJECTED_BY_OVERLOAD, false);
}

void csc_server_connection_ended(csc_server *server) {
    if (!server) {
        return;
    }
    csc__live_ended(server);
    if (server->backing_off) {
        csc_server_descriptor_freed(server);
    } else if (!server->armed) {
        csc__accept_update_soon(server);
    }
}
