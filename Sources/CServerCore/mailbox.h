// SPDX-License-Identifier: Apache-2.0

// Connections on their way to another loop. Knows nothing of csc_server.
#ifndef CSC_MAILBOX_H
#define CSC_MAILBOX_H

#include "CServerCore.h"
#include "private_fd.h"

#include <pthread.h>
#include <stdatomic.h>

struct event;
struct event_base;

typedef struct csc__letter {
    csc_connection connection;
    int64_t sent; // monotonic milliseconds
} csc__letter;

typedef struct csc__mailbox {
    pthread_mutex_t lock; // for what follows, up to `count`
    csc__letter *ring;    // owned; a power of two
    size_t capacity;
    size_t head; // position of the oldest
    size_t count;
    csc__private_fd wake;     // an eventfd that the loop watches; with the lock it may be closed
    atomic_size_t length;     // the same as `count`, for a look without the lock
    atomic_bool wake_pending; // the loop was woken, and has not looked since
    atomic_bool stalled;      // something was taken back, and the loop has not looked since
    struct event *event;      // the loop's thread alone
} csc__mailbox;

// `arrived` is called on the loop when there is something in it, and after csc__mailbox_wake().
// False with errno, and nothing left, when that fails.
bool csc__mailbox_open(csc__mailbox *it, struct event_base *base,
                       void (*arrived)(int, short, void *), void *context);

// Nothing can be sent any more; what was sent can still be received. On the loop's thread.
// `forget_event`: the event stays as it is, in a forked child whose epoll is its parent's own.
void csc__mailbox_close(csc__mailbox *it, bool forget_event);
void csc__mailbox_destroy(csc__mailbox *it);

// Any thread may call these two. Sending does not wake the loop; it fails with errno when the
// mailbox is closed (EPIPE), and when it has to grow and memory is short. Waking costs nothing while
// a wake-up is under way.
bool csc__mailbox_send(csc__mailbox *it, const csc_connection *connection, int64_t now);
void csc__mailbox_wake(csc__mailbox *it);

// The loop looks now: whatever is sent after this wakes it again.
void csc__mailbox_begin(csc__mailbox *it);

// Takes the oldest connection; false when there is none.
bool csc__mailbox_receive(csc__mailbox *it, csc_connection *connection);

// Takes the oldest one for another loop, if it was sent at `latest` or before, and marks the
// mailbox as stalled. Any thread.
bool csc__mailbox_take_back(csc__mailbox *it, int64_t latest, csc_connection *connection);

// When the oldest was sent; INT64_MAX when there is none. Any thread.
int64_t csc__mailbox_oldest(csc__mailbox *it);

// The loop has looked, and found all that it may take: calls `arrived` again, after this turn,
// when there is more; otherwise the mailbox is not stalled any more.
void csc__mailbox_end(csc__mailbox *it);

static inline size_t csc__mailbox_length(const csc__mailbox *it) {
    return atomic_load_explicit(&it->length, memory_order_acquire);
}

#endif
