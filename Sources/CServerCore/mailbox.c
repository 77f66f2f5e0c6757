// SPDX-License-Identifier: Apache-2.0

// A ring of connections that one thread sends and another one receives, one by one: what the
// receiver has not taken yet does not wait behind what it does with the last one, because the
// sender may take it back.
//
// The lock is held for a few instructions. A burst costs one write: the sender wakes the loop when it
// has sent all, and not again until that has looked. The ring is allocated once; it grows only where the limits do not hold, in
// csc_server_finish() for instance.

#include "mailbox.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_CAPACITY = 256 };

bool csc__mailbox_open(csc__mailbox *it, struct event_base *base,
                       void (*arrived)(int, short, void *), void *context) {
    *it = (csc__mailbox){.capacity = FIRST_CAPACITY, .wake = csc__private_eventfd(0)};
    if (it->wake.number < 0) {
        return false;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    it->ring = calloc(it->capacity, sizeof *it->ring);
    // Edge-triggered, the eventfd need not be read, which would be one more call for each burst.
    it->event =
        it->ring ? event_new(base, it->wake.number, EV_READ | EV_PERSIST | EV_ET, arrived, context)
                 : NULL;
    if (it->event && event_add(it->event, NULL) == 0) {
        pthread_mutex_init(&it->lock, NULL); // cannot fail on Linux
        return true;
    }
    int errnum = errno;
    if (it->event) {
        event_free(it->event);
    }
    free(it->ring);
    csc__private_fd_close(&it->wake);
    errno = errnum;
    return false;
}

void csc__mailbox_close(csc__mailbox *it, bool forget_event) {
    if (it->event && !forget_event) {
        event_free(it->event);
    }
    it->event = NULL;
    pthread_mutex_lock(&it->lock);
    csc__private_fd_close(&it->wake);
    pthread_mutex_unlock(&it->lock);
}

void csc__mailbox_destroy(csc__mailbox *it) {
    free(it->ring);
    pthread_mutex_destroy(&it->lock);
}

static bool grow(csc__mailbox *it) {
    csc__letter *ring = calloc(it->capacity * 2, sizeof *ring);
    if (!ring) {
        return false;
    }
    size_t until_wrap = it->capacity - it->head;
    memcpy(ring, it->ring + it->head, until_wrap * sizeof *ring);
    memcpy(ring + until_wrap, it->ring, it->head * sizeof *ring);
    free(it->ring);
    it->ring = ring;
    it->capacity *= 2;
    it->head = 0;
    return true;
}

// With the lock.
static bool push(csc__mailbox *it, const csc_connection *connection, int64_t now) {
    if (it->wake.number < 0) {
        errno = EPIPE;
        return false;
    }
    if (it->count == it->capacity && !grow(it)) {
        errno = ENOMEM;
        return false;
    }
    csc__letter *letter = &it->ring[(it->head + it->count) & (it->capacity - 1)];
    letter->connection = *connection;
    letter->sent = now;
    it->count++;
    atomic_store(&it->length, it->count);
    return true;
}

bool csc__mailbox_send(csc__mailbox *it, const csc_connection *connection, int64_t now) {
    pthread_mutex_lock(&it->lock);
    bool sent = push(it, connection, now);
    pthread_mutex_unlock(&it->lock);
    return sent;
}

// After what the loop is to find was stored: it looks after csc__mailbox_begin().
void csc__mailbox_wake(csc__mailbox *it) {
    const uint64_t one = 1;
    if (atomic_exchange(&it->wake_pending, true)) {
        return;
    }
    // The lock keeps the loop from closing the number meanwhile. One that is a stranger's now is left
    // alone.
    pthread_mutex_lock(&it->lock);
    if (!csc__private_fd_is_ours(&it->wake) ||
        write(it->wake.number, &one, sizeof one) != sizeof one) {
        atomic_store(&it->wake_pending, false); // the next one tries again
    }
    pthread_mutex_unlock(&it->lock);
}

void csc__mailbox_begin(csc__mailbox *it) {
    atomic_store(&it->wake_pending, false);
}

// With the lock.
static bool pop(csc__mailbox *it, int64_t latest, csc_connection *connection) {
    if (it->count == 0 || it->ring[it->head].sent > latest) {
        return false;
    }
    *connection = it->ring[it->head].connection;
    it->head = (it->head + 1) & (it->capacity - 1);
    it->count--;
    // After `stalled`: who sees that nothing is left sees also why.
    atomic_store_explicit(&it->length, it->count, memory_order_release);
    return true;
}

bool csc__mailbox_receive(csc__mailbox *it, csc_connection *connection) {
    if (atomic_load(&it->length) == 0) {
        return false;
    }
    pthread_mutex_lock(&it->lock);
    bool received = pop(it, INT64_MAX, connection);
    pthread_mutex_unlock(&it->lock);
    return received;
}

bool csc__mailbox_take_back(csc__mailbox *it, int64_t latest, csc_connection *connection) {
    pthread_mutex_lock(&it->lock);
    bool is_late = it->count > 0 && it->ring[it->head].sent <= latest;
    if (is_late) {
        atomic_store_explicit(&it->stalled, true, memory_order_relaxed);
        pop(it, latest, connection);
    }
    pthread_mutex_unlock(&it->lock);
    return is_late;
}

int64_t csc__mailbox_oldest(csc__mailbox *it) {
    pthread_mutex_lock(&it->lock);
    int64_t sent = it->count > 0 ? it->ring[it->head].sent : INT64_MAX;
    pthread_mutex_unlock(&it->lock);
    return sent;
}

void csc__mailbox_end(csc__mailbox *it) {
    if (csc__mailbox_length(it) == 0) {
        atomic_store_explicit(&it->stalled, false, memory_order_relaxed);
    } else if (it->event) {
        event_active(it->event, EV_READ, 0);
    }
}
