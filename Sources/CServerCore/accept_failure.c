// SPDX-License-Identifier: Apache-2.0

// What a failed attempt to accept does to a server: it backs off and tries again, rejects the
// clients that wait, or stops. pause.c decides which.

#include "accept_failure.h"

#include "admission.h"
#include "clock.h"
#include "descriptor_reserve.h"
#include "fork_guard.h"
#include "group_state.h"
#include "listener.h"
#include "listening_socket.h"
#include "notify.h"
#include "outcome.h"
#include "pacing.h"
#include "pause.h"
#include "places.h"
#include "private_fd.h"
#include "probes.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"
#include "watchdog.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void csc__begin_back_off(csc_server *server, const csc__verdict *verdict, int errnum) {
    CSC__PROBE3(pause, server, errnum, verdict->delay);
    csc__pause_begin(&server->pause, verdict, csc__monotonic_milliseconds());
    csc__group_publish(server);
    csc__listener_schedule_retry(server);
    csc__apply(server); // disables the listener, which cannot fail
}

// Accepts one client with the reserve descriptor and closes the connection. The reserve is back
// before any callback runs. False when there was no client, or no descriptor to accept one with.
static bool shed_one(csc_server *server) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    csc__reserve_fd_give_up(server);
    csc_rejection rejection = {.reason = CSC_REJECTED_BY_OVERLOAD};
    int descriptor = accept4(server->socket.private_fd, (struct sockaddr *)&peer, &length,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor >= 0) {
        csc_address_from_sockaddr((struct sockaddr *)&peer, length, &rejection.peer);
        CSC__PROBE3(accept, server, descriptor, &peer);
        CSC__PROBE3(reject, server, descriptor, rejection.reason);
        if (server->rejected) {
            rejection.local = csc__local_address(descriptor);
        }
        close(descriptor);
        server->statistics.accepted++;
        server->statistics.shed++;
        csc__group_publish(server);
    }
    csc__reserve_fd_take(server);
    if (descriptor >= 0) {
        csc__notify(server, CSC__REJECTION, &rejection);
    }
    return descriptor >= 0;
}

void csc__shed(csc_server *server) {
    uint64_t generation = server->generation;
    int count = 0;
    // A callback may close the server, or take the descriptor that the reserve was.
    while (count < server->accept_batch && generation == server->generation &&
           csc__private_fd_is_ours(&server->reserve_fd) && shed_one(server)) {
        count++;
    }
    // More are waiting to be rejected, and are not to wait as long as those who hope for room.
    if (count >= server->accept_batch && generation == server->generation &&
        server->pause.backing_off) {
        server->pause.delay = 0;
        csc__verdict verdict = csc__pause_judge_nobody(&server->pause);
        csc__begin_back_off(server, &verdict, 0);
    }
}

void csc__pause_for(csc_server *server, const csc__verdict *verdict, csc_call call, int errnum) {
    uint64_t generation = server->generation;
    csc__fail(server, call, errnum);
    csc__begin_back_off(server, verdict, errnum);
    if (verdict->sheds) {
        csc__shed(server);
    }
    if (verdict->reports && generation == server->generation) {
        server->pause.reported = true;
        server->statistics.error_episodes++;
        csc__group_publish(server);
        csc__notify(server, CSC__ACCEPT_ERROR, NULL);
    }
}

void csc__accept_stop(csc_server *server) {
    server->generation++;
    // First: in the list all numbers of a server are its own.
    atomic_store(&server->can_be_alerted, false);
    csc__fork_guard_remove(server);
    csc__place_stop_waiting(server);
    csc__pace_stop(server);
    server->pause = (csc__pause){0};
    csc__listener_stop(server);
    csc__watchdog_stop(&server->watchdog);
    csc__private_fd_close(&server->placeholder);
    csc__listening_socket_release(&server->socket);
    csc__reserve_fd_keep(server);
    csc__note_overload(server);
    if (server->group) {
        // In a forked child the epoll is the parent's own, and so are the events in it.
        csc__group_stop(server->group, server->process != csc__process());
        csc__group_publish(server);
    }
}

void csc__accept_close(csc_server *server) {
    CSC__PROBE2(close, server, server->socket.descriptor);
    csc__listening_socket_remove_file(&server->socket);
    csc__accept_stop(server);
    csc__listening_socket_close(&server->socket);
    server->inherited_by_fork = false;
}

csc__outcome csc__accept_failed(csc_server *server, int errnum) {
    bool listens = errnum != EOPNOTSUPP || csc__listening_socket_listens(&server->socket);
    if (errnum != EAGAIN) {
        csc__pause_note_fruitless(&server->pause);
    }
    csc__verdict verdict =
        csc__pause_judge(&server->pause, errnum, server->overload_policy, listens);
    switch (verdict.cause) {
    case CSC__NOTHING:
        return CSC__NOBODY;
    case CSC__PEER:
        server->statistics.peer_errors++;
        break;
    case CSC__RESOURCES:
        server->statistics.resource_errors++;
        break;
    case CSC__PERMISSION:
        server->statistics.permission_errors++;
        break;
    case CSC__BROKEN:
        server->statistics.listener_errors++;
        csc__fail(server, CSC_CALL_ACCEPT, errnum);
        csc__accept_close(server);
        if (verdict.reports) {
            csc__notify(server, CSC__ACCEPT_ERROR, NULL);
        }
        return CSC__STOPPED;
    }
    if (!verdict.pauses) {
        csc__group_publish(server);
        return CSC__PEER_ERROR;
    }
    csc__pause_for(server, &verdict, CSC_CALL_ACCEPT, errnum);
    return CSC__PAUSED;
}
