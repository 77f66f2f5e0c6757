// SPDX-License-Identifier: Apache-2.0

// A ring of connections that one thread sends and another one receives, one by one: what the
// receiver has not taken yet does not wait behind what it does with the last one, because the
// sender may take it back.
//
// `length` and `stalled` are stored and loaded in one order with what the receiver and the sender
// look at next, see group_state.c: a weaker order would lose a wake-up.
//
// The lock is held for a few instructions, and for the write that wakes the loop. A burst costs one
// write: the sender wakes the loop when it has sent all, and not again until that has looked. The
// ring is allocated once; it grows only where the limits do not hold, in csc_server_finish() for
// instance.

#include "mailbox.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 256 };

bool csc__mailbox_open(csc__mailbox *it, struct event_base *base,
                       void (*arrived)(int, short, void *), void *context) {
    *it = (csc__mailbox){.capacity = FIRST_CAPACITY};
    it->ring = calloc(it->capacity, sizeof *it->ring);
    if (!it->ring) {
        errno = ENOMEM;
        return false;
    }
    if (csc__waker_open(&it->waker, base, arrived, context) && csc__waker_start(&it->waker)) {
        pthread_mutex_init(&it->lock, NULL); // cannot fail on Linux
        return true;
    }
    int errnum = errno;
    csc__waker_free_event(&it->waker);
    csc__waker_close(&it->waker);
    free(it->ring);
    errno = errnum;
    return false;
}

void csc__mailbox_close(csc__mailbox *it, bool forget_event) {
    if (forget_event) {
        it->waker.event = NULL;
    }
    csc__waker_free_event(&it->waker);
    pthread_mutex_lock(&it->lock);
    csc__waker_close(&it->waker);
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

static bool push(csc__mailbox *it, const csc_connection *connection) {
    if (it->waker.eventfd.number < 0) {
        errno = EPIPE;
        return false;
    }
    if (it->count == it->capacity && !grow(it)) {
        errno = ENOMEM;
        return false;
    }
    csc__letter *letter = &it->ring[(it->head + it->count) & (it->capacity - 1)];
    letter->connection = *connection;
    letter->posted = INT64_MAX;
    it->count++;
    atomic_store(&it->length, it->count);
    return true;
}

bool csc__mailbox_send(csc__mailbox *it, const csc_connection *connection) {
    pthread_mutex_lock(&it->lock);
    bool sent = push(it, connection);
    pthread_mutex_unlock(&it->lock);
    return sent;
}

// With the lock.
static bool wake(csc__mailbox *it) {
    it->wake_pending = it->wake_pending || csc__waker_wake(&it->waker);
    return it->wake_pending;
}

// The time that a connection may wait begins here: the loop could not fetch it before.
void csc__mailbox_post(csc__mailbox *it, int64_t now) {
    pthread_mutex_lock(&it->lock);
    for (size_t left = it->count; left > 0; left--) {
        csc__letter *letter = &it->ring[(it->head + left - 1) & (it->capacity - 1)];
        if (letter->posted != INT64_MAX) {
            break;
        }
        letter->posted = now;
    }
    wake(it);
    pthread_mutex_unlock(&it->lock);
}

bool csc__mailbox_wake(csc__mailbox *it) {
    pthread_mutex_lock(&it->lock);
    bool is_woken = wake(it);
    pthread_mutex_unlock(&it->lock);
    return is_woken;
}

void csc__mailbox_begin(csc__mailbox *it) {
    pthread_mutex_lock(&it->lock);
    it->wake_pending = false;
    csc__waker_clear(&it->waker);
    pthread_mutex_unlock(&it->lock);
}

// With the lock, when there is one.
static void pop(csc__mailbox *it, csc_connection *connection) {
    *connection = it->ring[it->head].connection;
    it->head = (it->head + 1) & (it->capacity - 1);
    it->count--;
    atomic_store(&it->length, it->count);
}

bool csc__mailbox_receive(csc__mailbox *it, csc_connection *connection) {
    if (csc__mailbox_length(it) == 0) {
        return false;
    }
    pthread_mutex_lock(&it->lock);
    bool is_there = it->count > 0; // it may have been taken back since
    if (is_there) {
        pop(it, connection);
    }
    pthread_mutex_unlock(&it->lock);
    return is_there;
}

bool csc__mailbox_take_back(csc__mailbox *it, int64_t latest, csc_connection *connection) {
    pthread_mutex_lock(&it->lock);
    bool is_late = it->count > 0 && it->ring[it->head].posted <= latest;
    if (is_late) {
        atomic_store(&it->stalled, true); // before nothing is left
        pop(it, connection);
        wake(it); // where that had failed: it is stalled until it looks
    }
    pthread_mutex_unlock(&it->lock);
    return is_late;
}

int64_t csc__mailbox_oldest(csc__mailbox *it) {
    pthread_mutex_lock(&it->lock);
    int64_t posted = it->count > 0 ? it->ring[it->head].posted : INT64_MAX;
    pthread_mutex_unlock(&it->lock);
    return posted;
}

// An event that is made active runs in the same turn: only a write lets the loop poll before.
void csc__mailbox_end(csc__mailbox *it) {
    if (csc__mailbox_length(it) == 0) {
        atomic_store(&it->stalled, false);
    } else if (!csc__mailbox_wake(it)) {
        event_active(it->waker.event, EV_READ, 0);
    }
}
