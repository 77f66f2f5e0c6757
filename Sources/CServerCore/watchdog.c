// SPDX-License-Identifier: Apache-2.0

// Noticing that other code broke the listening socket.
//
// The kernel does not report that a descriptor was closed or replaced, and epoll reports nothing of
// a socket that was shut down while accepting pauses. So the socket is looked at once a second: on
// the loop by a timer, in a wait by the clock. A number that is no longer ours is never used again.
//
// The timer is the kernel's. libevent's would cost every turn of the loop a comparison of times, a
// fifth of what a short message costs, for one look in a second.

#include "watchdog.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { INTERVAL_MS = 1000 };

static const struct timespec interval = {.tv_sec = INTERVAL_MS / 1000};

bool csc__watchdog_start(csc__watchdog *it, struct event_base *base, int64_t now,
                         void (*fired)(int, short, void *), void *context) {
    const struct itimerspec times = {.it_interval = interval, .it_value = interval};
    it->next_look = now + INTERVAL_MS;
    if (!base) {
        return true;
    }
    it->timer = csc__private_fd_of(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (it->timer.number < 0 || timerfd_settime(it->timer.number, 0, &times, NULL) != 0) {
        return false;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    // Edge-triggered, where the loop can: a timer that cannot be read must not keep it awake.
    it->event = event_new(base, it->timer.number, EV_READ | EV_PERSIST | EV_ET, fired, context);
    return it->event && event_add(it->event, NULL) == 0;
}

void csc__watchdog_stop(csc__watchdog *it) {
    if (it->event) {
        event_free(it->event);
        it->event = NULL;
    }
    csc__private_fd_close(&it->timer);
}

void csc__watchdog_reset(csc__watchdog *it) {
    uint64_t expirations;
    // A number that is a stranger's now is left alone. Whether the timer can be read or not, a look
    // does no harm.
    if (csc__private_fd_is_ours(&it->timer)) {
        ssize_t size = read(it->timer.number, &expirations, sizeof expirations);
        (void)size;
    }
}

void csc__watchdog_alert(const csc__watchdog *it) {
    const struct itimerspec times = {.it_interval = interval, .it_value.tv_nsec = 1};
    if (csc__private_fd_is_ours(&it->timer)) {
        timerfd_settime(it->timer.number, 0, &times, NULL);
    }
}

int csc__watchdog_look(csc__watchdog *it, const csc__listening_socket *socket, bool is_polled,
                       int64_t now) {
    it->next_look = now + INTERVAL_MS;
    if (csc__listening_socket_was_taken(socket)) {
        return EBADF;
    }
    return is_polled || csc__listening_socket_listens(socket) ? 0 : EINVAL;
}
