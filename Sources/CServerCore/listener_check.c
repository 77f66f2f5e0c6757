// Noticing that somebody else broke the listening socket.
//
// The kernel tells nobody that a descriptor was closed or replaced, and epoll tells nothing of a
// socket that was shut down while accepting pauses. So the socket is looked at once a second: on
// the loop by a timer, in a wait by the clock. A number that is no longer ours is never used again.
//
// The timer is the kernel's. libevent's would cost every turn of the loop a comparison of times, a
// fifth of what a short message costs, for one look in a second.

#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CHECK_INTERVAL_MS = 1000 };

// The errno that accept would have for what is wrong; 0 when nothing is.
static int what_is_wrong(const csc_server *server) {
    if (csc__listening_socket_was_taken(&server->socket)) {
        return EBADF;
    }
    // An enabled listener learns from epoll that its socket was shut down.
    return server->armed || csc__accept_still_listens(server) ? 0 : EINVAL;
}

bool csc__listener_check(csc_server *server, int64_t now) {
    server->check_time = now + CHECK_INTERVAL_MS;
    int errnum = what_is_wrong(server);
    return errnum != 0 && csc__accept_failed(server, errnum);
}

static void on_check(evutil_socket_t descriptor, short events, void *context) {
    (void)events;
    csc_server *server = context;
    // Whether that can be read or not, a look does no harm.
    uint64_t expirations;
    ssize_t size = read(descriptor, &expirations, sizeof expirations);
    (void)size;
    csc__server_enter(server);
    int64_t now = csc__monotonic_milliseconds();
    if (!csc__listener_check(server, now)) {
        csc__accept_retry_if_due(server, now);
    }
    csc__server_leave(server);
}

bool csc__listener_check_start(csc_server *server) {
    static const struct itimerspec interval = {
        .it_interval.tv_sec = CHECK_INTERVAL_MS / 1000,
        .it_value.tv_sec = CHECK_INTERVAL_MS / 1000,
    };
    server->check_time = csc__monotonic_milliseconds() + CHECK_INTERVAL_MS;
    if (!server->base) {
        return true;
    }
    server->check_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (server->check_timer < 0 || timerfd_settime(server->check_timer, 0, &interval, NULL) != 0) {
        return false;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    // Edge-triggered, where the loop can: a timer that cannot be read must not keep it awake.
    server->check = event_new(server->base, server->check_timer, EV_READ | EV_PERSIST | EV_ET,
                              on_check, server);
    return server->check && event_add(server->check, NULL) == 0;
}

void csc__listener_check_stop(csc_server *server) {
    if (server->check) {
        event_free(server->check);
        server->check = NULL;
    }
    if (server->check_timer >= 0) {
        close(server->check_timer);
        server->check_timer = -1;
    }
}
