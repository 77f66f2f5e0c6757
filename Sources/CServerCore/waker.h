// SPDX-License-Identifier: Apache-2.0

// Wakes a loop from other threads: an eventfd that the loop watches. Knows nothing of csc_server.
#ifndef CSC_WAKER_H
#define CSC_WAKER_H

#include "private_fd.h"

struct event;
struct event_base;

typedef struct csc__waker {
    csc__private_fd eventfd; // the owner's lock keeps others from writing to a closed number
    struct event *event;     // the loop's thread alone
    bool is_read;            // the loop has no edges: the eventfd is ready until it is read
} csc__waker;

// `woken` is called on the loop, which does not watch yet. False with errno, and nothing left, when
// that fails.
bool csc__waker_open(csc__waker *it, struct event_base *base, void (*woken)(int, short, void *),
                     void *context);

// From now on the loop watches; false with errno when it cannot.
bool csc__waker_start(csc__waker *it);
void csc__waker_stop(csc__waker *it);

// Any thread, with the owner's lock; false when the loop is not woken.
bool csc__waker_wake(const csc__waker *it);

// To be called by `woken`, before it looks at what there is to do: what comes later wakes again.
void csc__waker_clear(const csc__waker *it);

// The event is freed on the loop's thread, and the eventfd closed with the owner's lock.
void csc__waker_free_event(csc__waker *it);
void csc__waker_close(csc__waker *it);

#endif
