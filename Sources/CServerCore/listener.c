// SPDX-License-Identifier: Apache-2.0

// The events of a listening server.
//
// Disabling and enabling libevent's listener would cost an epoll_ctl each, at every end of a batch.
// A second event on the same socket, the poll event, keeps it in the poll set meanwhile, so that
// both are free.

#include "listener.h"

#include "clock.h"
#include "listening_socket.h"
#include "server_type.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>

// A base with EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST removes a descriptor from epoll when it polls
// the next time. One that is closed before cannot be removed any more, and where another process
// has the socket too, epoll goes on reporting it for ever. So there the private duplicate is closed
// by a timer, after that poll.
struct csc__late_close {
    struct event *event;
    csc__listening_socket socket;
};

static void free_late_close(struct csc__late_close *late) {
    if (late) {
        csc__listening_socket_release(&late->socket);
        if (late->event) {
            event_free(late->event);
        }
        free(late);
    }
}

static void on_late_close(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    free_late_close(context);
}

static bool prepare_late_close(csc_server *server) {
    if (!strstr(event_base_get_method(server->base), "changelist")) {
        return true;
    }
    struct csc__late_close *late = malloc(sizeof *late);
    if (!late) {
        return false;
    }
    late->socket = csc__no_listening_socket;
    late->event = event_new(server->base, -1, 0, on_late_close, late);
    server->late_close = late;
    return late->event;
}

static void close_late(csc_server *server) {
    static const struct timeval at_once;
    struct csc__late_close *late = server->late_close;
    server->late_close = NULL;
    if (late && late->event && server->socket.private_fd >= 0) {
        late->socket = server->socket;
        server->socket.private_fd = -1;
        if (event_add(late->event, &at_once) == 0) {
            return;
        }
    }
    free_late_close(late);
}

// With a budget there is none: libevent accepts without asking for a place first.
static bool make_listener(csc_server *server, const csc__listener_callbacks *callbacks) {
    if (server->places) {
        return true;
    }
    // Backlog 0 leaves the queue alone. The descriptor stays ours to close.
    server->listener =
        evconnlistener_new(server->base, callbacks->accepted, server,
                           LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, server->socket.private_fd);
    if (server->listener) {
        evconnlistener_set_error_cb(server->listener, callbacks->failed);
    }
    return server->listener;
}

bool csc__listener_start(csc_server *server, const csc__listener_callbacks *callbacks) {
    if (!server->base) {
        return true;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    server->poll_event = event_new(server->base, server->socket.private_fd, EV_READ | EV_PERSIST,
                                   callbacks->polled, server);
    server->retry = event_new(server->base, -1, 0, callbacks->retry, server);
    bool started = server->poll_event && server->retry && make_listener(server, callbacks) &&
                   prepare_late_close(server);
    if (started) {
        // Once whatever the limits say: a loop that cannot watch the socket must fail now.
        started = csc__listener_enable(server);
    }
    if (!started) {
        int errnum = errno;
        csc__listener_stop(server);
        errno = errnum;
    }
    return started;
}

bool csc__listener_enable(csc_server *server) {
    errno = ENOMEM;
    if (!server->poll_event_added) {
        event_del(
            server->poll_event); // while csc__settle_soon() has it active, libevent adds nothing
        server->poll_event_added = event_add(server->poll_event, NULL) == 0;
    }
    server->listener_enabled = server->poll_event_added &&
                               (server->places || evconnlistener_enable(server->listener) == 0);
    return server->listener_enabled;
}

void csc__listener_disable(csc_server *server) {
    if (server->listener_enabled) {
        if (!server->places) {
            evconnlistener_disable(server->listener);
        }
        server->listener_enabled = false;
        server->disabled_this_turn = true;
    }
}

void csc__listener_leave_poll_set(csc_server *server) {
    event_del(server->poll_event);
    server->poll_event_added = false;
}

void csc__listener_schedule_retry(csc_server *server) {
    if (server->retry && !server->pause.strict) {
        int64_t left = server->pause.end - csc__monotonic_milliseconds();
        left = left < 0 ? 0 : left;
        struct timeval delay = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
        // Without memory for a timer, the watchdog ends the delay.
        event_add(server->retry, &delay);
    }
}

void csc__listener_retry_soon(csc_server *server) {
    if (server->retry && !server->pause.strict) {
        event_active(server->retry, EV_TIMEOUT, 0);
    }
}

void csc__listener_stop(csc_server *server) {
    if (server->listener) {
        // In its own callback libevent puts freeing off until the callback returns. By then the
        // number may be another socket's, which would not be watched.
        evconnlistener_disable(server->listener);
        evconnlistener_free(server->listener);
    }
    if (server->poll_event) {
        event_free(server->poll_event);
    }
    if (server->retry) {
        event_free(server->retry);
    }
    close_late(server);
    server->listener = NULL;
    server->poll_event = NULL;
    server->retry = NULL;
    server->listener_enabled = false;
    server->poll_event_added = false;
    server->accept_budget = 0; // a step that has not ended settles, and publishes what it counts
}
