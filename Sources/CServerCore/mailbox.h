// SPDX-License-Identifier: Apache-2.0

// Connections on their way to another loop. Knows nothing of csc_server.
#ifndef CSC_MAILBOX_H
#define CSC_MAILBOX_H

#include "CServerCore.h"
#include "waker.h"

#include <pthread.h>
#include <stdatomic.h>

struct event_base;

typedef struct csc__letter {
    csc_connection connection;
    int64_t posted; // monotonic milliseconds; INT64_MAX until then
} csc__letter;

typedef struct csc__mailbox {
    pthread_mutex_t lock; // for what follows, up to `length`
    csc__letter *ring;    // owned; NULL once it is closed
    size_t capacity;      // a power of two
    size_t head;          // position of the oldest
    size_t count;
    bool wake_pending;    // the loop was woken, and has not looked since
    csc__waker waker;     // its event is the loop's thread's alone
    atomic_size_t length; // the same as `count`, for a look without the lock
    atomic_bool stalled;  // something was taken back, and the loop has not looked since
} csc__mailbox;

// `arrived` is called on the loop when there is something in it, and after csc__mailbox_wake().
// False with errno, and nothing left, when that fails.
bool csc__mailbox_open(csc__mailbox *it, struct event_base *base,
                       void (*arrived)(int, short, void *), void *context);

// Nothing can be sent any more; what was sent can still be received. On the loop's thread.
// `forget_event`: the event stays as it is, in a forked child whose epoll is its parent's own.
void csc__mailbox_close(csc__mailbox *it, bool forget_event);
void csc__mailbox_destroy(csc__mailbox *it);

// Any thread may call these three. Sending does not wake the loop, which posting does, for all that
// was sent; it fails with errno when the mailbox is closed (EPIPE), and when it has to grow and
// memory is short. Waking costs no call while a wake-up is under way.
bool csc__mailbox_send(csc__mailbox *it, const csc_connection *connection);
void csc__mailbox_post(csc__mailbox *it, int64_t now);
bool csc__mailbox_wake(csc__mailbox *it); // false when that fails

// The loop looks now: whatever is sent after this wakes it again.
void csc__mailbox_begin(csc__mailbox *it);

// Takes the oldest connection; false when there is none.
bool csc__mailbox_receive(csc__mailbox *it, csc_connection *connection);

// Takes the oldest one for another loop, if it was posted at `latest` or before, and marks the
// mailbox as stalled. Any thread.
bool csc__mailbox_take_back(csc__mailbox *it, int64_t latest, csc_connection *connection);

// When the oldest was posted; INT64_MAX when there is none, or it was not. Any thread.
int64_t csc__mailbox_oldest(csc__mailbox *it);

// The loop has looked, and found all that it may take: calls `arrived` again, after this turn,
// when there is more; otherwise the mailbox is not stalled any more.
void csc__mailbox_end(csc__mailbox *it);

static inline size_t csc__mailbox_length(const csc__mailbox *it) {
    return atomic_load(&it->length);
}

#endif
