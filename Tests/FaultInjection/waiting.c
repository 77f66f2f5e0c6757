// SPDX-License-Identifier: Apache-2.0

// The calls that wait: poll() and epoll_wait(). They can move the stopped clock on instead of
// sleeping, so that a test of an hour takes no time, and a loop that spins does not end by itself.

#undef _FORTIFY_SOURCE

#include "plans.h"
#include "real.h"

#include <poll.h>
#include <sys/epoll.h>

// A failing wait has lasted a moment: a loop that tries again meets its deadline.
static int fail(void) {
    int errnum = errno;
    if (fault__skips_waits()) {
        fault_advance_clock(1);
    }
    errno = errnum;
    return -1;
}

static void pass_time(int msec) {
    int64_t timer = fault__until_next_timer();
    fault_advance_clock(timer >= 0 && (msec < 0 || timer < msec) ? timer : msec);
}

int poll(struct pollfd *entries, nfds_t count, int msec) {
    REAL(int, poll, (struct pollfd * entries, nfds_t count, int msec))
    if (fault__fails(FAULT_POLL) || !real.object) {
        return fail();
    }
    if (!fault__skips_waits() || fault__is_suspended()) {
        return real.function(entries, count, msec);
    }
    int ready = real.function(entries, count, 0);
    if (ready != 0 || msec == 0) {
        return ready;
    }
    pass_time(msec);
    return real.function(entries, count, 0);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int msec) {
    REAL(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int msec))
    if (fault__fails(FAULT_EPOLL_WAIT) || !real.object) {
        return fail();
    }
    if (!fault__skips_waits() || fault__is_suspended()) {
        return real.function(epoll, events, most, msec);
    }
    int ready = real.function(epoll, events, most, 0);
    if (ready != 0 || msec == 0) {
        return ready;
    }
    pass_time(msec);
    return real.function(epoll, events, most, 0);
}
