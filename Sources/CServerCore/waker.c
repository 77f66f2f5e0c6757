// SPDX-License-Identifier: Apache-2.0

// An eventfd and its event. Where the loop has edges, each write is one, and the eventfd need not be
// read: its counter takes more wake-ups than there will ever be. Loops on poll and select have none.

#include "waker.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <unistd.h>

bool csc__waker_open(csc__waker *it, struct event_base *base, void (*woken)(int, short, void *),
                     void *context) {
    bool has_edges = event_base_get_features(base) & EV_FEATURE_ET;
    short events = EV_READ | EV_PERSIST;
    *it = (csc__waker){.eventfd = csc__private_eventfd(0), .is_read = !has_edges};
    if (it->eventfd.number < 0) {
        return false;
    }
    it->event = event_new(base, it->eventfd.number, (short)(has_edges ? events | EV_ET : events),
                          woken, context);
    if (!it->event) {
        csc__private_fd_close(&it->eventfd);
        errno = ENOMEM; // libevent's allocations do not set it
    }
    return it->event;
}

bool csc__waker_start(csc__waker *it) {
    errno = ENOMEM;
    return event_add(it->event, NULL) == 0;
}

void csc__waker_stop(csc__waker *it) {
    event_del(it->event);
}

bool csc__waker_wake(const csc__waker *it) {
    const uint64_t one = 1;
    // A number that is a stranger's now is left alone.
    return csc__private_fd_is_ours(&it->eventfd) &&
           write(it->eventfd.number, &one, sizeof one) == sizeof one;
}

void csc__waker_clear(const csc__waker *it) {
    uint64_t count;
    if (it->is_read && csc__private_fd_is_ours(&it->eventfd)) {
        ssize_t size = read(it->eventfd.number, &count, sizeof count);
        (void)size; // fails when the event was activated without a write
    }
}

void csc__waker_free_event(csc__waker *it) {
    if (it->event) {
        event_free(it->event);
        it->event = NULL;
    }
}

void csc__waker_close(csc__waker *it) {
    csc__private_fd_close(&it->eventfd);
}
