// SPDX-License-Identifier: Apache-2.0

// Connections on their way to another loop: one thread sends them, the loop's receives them. Knows
// nothing of csc_server.
#ifndef CSC_MAILBOX_H
#define CSC_MAILBOX_H

#include "CServerCore.h"
#include "waker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

struct event_base;

typedef struct csc__ring csc__ring;

typedef struct csc__mailbox {
    csc__ring *sending;       // the sender's; owned with those before it
    csc__ring *receiving;     // the receiver's; the same, or an older one that has been left
    atomic_bool closed;       // nothing more is received
    atomic_bool stalled;      // something was taken back, and the loop has not looked since
    atomic_ptrdiff_t length;  // for a moment less than 0, where one is received while it is counted
    atomic_bool wake_pending; // the loop was woken, and has not looked since
    pthread_mutex_t lock;     // for the waker's eventfd
    csc__waker waker;         // its event is the loop's thread's alone
} csc__mailbox;

// `arrived` is called on the loop when there is something in it, and after csc__mailbox_wake().
// False with errno, and nothing left, when that fails.
bool csc__mailbox_open(csc__mailbox *it, struct event_base *base,
                       void (*arrived)(int, short, void *), void *context);

// Nothing can be sent any more; what was sent can still be received. On the loop's thread.
// `forget_event`: the event stays as it is, in a forked child whose epoll is its parent's own.
void csc__mailbox_close(csc__mailbox *it, bool forget_event);
void csc__mailbox_destroy(csc__mailbox *it);

// The sender's. Sending does not wake the loop, which posting does, for all that was sent; it fails
// when the mailbox is closed, and when it has to grow and memory is short.
bool csc__mailbox_send(csc__mailbox *it, const csc_connection *connection);
void csc__mailbox_post(csc__mailbox *it, int64_t now);

// Any thread's. Costs no call while a wake-up is under way; false when it fails.
bool csc__mailbox_wake(csc__mailbox *it);

// The loop looks now: whatever is sent after this wakes it again.
void csc__mailbox_begin(csc__mailbox *it);

// Takes the oldest connection; false when there is none.
bool csc__mailbox_receive(csc__mailbox *it, csc_connection *connection);

// The same in a child of fork(), whose parent's threads may have been at work: takes the oldest of
// those that were sent, which may have no descriptor in the child.
bool csc__mailbox_next_copy(csc__mailbox *it, csc_connection *connection);

// The sender's, where csc__mailbox_oldest() is `latest` or before: takes that one for another loop,
// unless it has been received meanwhile, and marks the mailbox as stalled.
bool csc__mailbox_take_back(csc__mailbox *it, int64_t latest, csc_connection *connection);

// The sender's: when the oldest was posted; INT64_MAX when there is none, or it was not.
int64_t csc__mailbox_oldest(csc__mailbox *it);

// The loop has looked, and found all that it may take: calls `arrived` again, after this turn,
// when there is more; otherwise the mailbox is not stalled any more.
void csc__mailbox_end(csc__mailbox *it);

static inline size_t csc__mailbox_length(const csc__mailbox *it) {
    ptrdiff_t length = atomic_load(&it->length);
    return length > 0 ? (size_t)length : 0;
}

#endif
