// SPDX-License-Identifier: Apache-2.0

// A ring of connections that one thread sends and another one receives, one by one: what the
// receiver has not taken yet does not wait behind what it does with the last one, because the
// sender may take it back.
//
// Without a lock: the sender fills letters, and the thread that exchanges the state of a full one
// has it. The receiver passes them all, those taken back included, and only what it has passed is
// filled again.
// A ring that is full is left: the sender takes back what is in it into a larger one, and the
// receiver frees it. That happens where the limits do not hold, in csc_server_finish() for instance.
//
// `length`, `stalled`, `closed` and the states are stored and loaded in one order with what the
// receiver and the sender look at next, see group_state.c: a weaker order would lose a wake-up, or
// a connection that is sent while its receiver leaves.
//
// A burst costs one write: the sender wakes the loop when it has sent all, and not again until that
// has looked. The lock keeps the number that is written to from being closed meanwhile.

#include "mailbox.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 256 };

enum { FREE, FULL, TAKEN_BACK };

typedef struct csc__letter {
    csc_connection connection;
    int64_t posted; // the sender's: monotonic milliseconds; INT64_MAX until then
    atomic_int state;
} csc__letter;

// Positions only rise.
struct csc__ring {
    size_t capacity;    // a power of two
    size_t tail;        // the sender's: where it fills the next letter
    size_t oldest;      // the sender's: no letter before it is full
    atomic_size_t head; // the receiver's: how many letters it has passed
    _Atomic(csc__ring *) next;
    csc__letter letters[];
};

static csc__letter *letter_at(csc__ring *ring, size_t position) {
    return &ring->letters[position & (ring->capacity - 1)];
}

static csc__ring *ring_new(size_t capacity) {
    csc__ring *ring = calloc(1, sizeof *ring + capacity * sizeof(csc__letter));
    if (ring) {
        ring->capacity = capacity;
    }
    return ring;
}

bool csc__mailbox_open(csc__mailbox *it, struct event_base *base,
                       void (*arrived)(int, short, void *), void *context) {
    *it = (csc__mailbox){.sending = ring_new(FIRST_CAPACITY)};
    it->receiving = it->sending;
    if (!it->sending) {
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
    free(it->sending);
    errno = errnum;
    return false;
}

void csc__mailbox_close(csc__mailbox *it, bool forget_event) {
    if (forget_event) {
        it->waker.event = NULL;
    }
    csc__waker_free_event(&it->waker);
    pthread_mutex_lock(&it->lock);
    atomic_store(&it->closed, true);
    csc__waker_close(&it->waker);
    pthread_mutex_unlock(&it->lock);
}

// True when there is one. The sender has no use for the ring that was left.
static bool go_to_next_ring(csc__mailbox *it) {
    csc__ring *next = atomic_load(&it->receiving->next);
    if (!next) {
        return false;
    }
    csc__ring *left = it->receiving;
    pthread_mutex_lock(&it->lock);
    it->receiving = next;
    pthread_mutex_unlock(&it->lock);
    free(left);
    return true;
}

void csc__mailbox_destroy(csc__mailbox *it) {
    bool has_next;
    do {
        has_next = go_to_next_ring(it);
    } while (has_next);
    free(it->receiving);
    pthread_mutex_destroy(&it->lock);
}

/* ---------------------------------------------------------------------------------------------- */
// The sender

static void fill(csc__ring *ring, const csc_connection *connection, int64_t posted) {
    csc__letter *letter = letter_at(ring, ring->tail++);
    letter->connection = *connection;
    letter->posted = posted;
    atomic_store(&letter->state, FULL);
}

static bool take(csc__letter *letter) {
    int state = FULL;
    return atomic_compare_exchange_strong(&letter->state, &state, TAKEN_BACK);
}

static bool take_out(csc__mailbox *it, csc__letter *letter) {
    bool is_ours = take(letter);
    if (is_ours) {
        atomic_fetch_sub(&it->length, 1);
    }
    return is_ours;
}

// NULL when there is none.
static csc__letter *oldest_full(csc__ring *ring) {
    size_t head = atomic_load(&ring->head);
    if ((ptrdiff_t)(head - ring->oldest) > 0) {
        ring->oldest = head; // those before it were filled again
    }
    for (; ring->oldest != ring->tail; ring->oldest++) {
        csc__letter *letter = letter_at(ring, ring->oldest);
        if (atomic_load(&letter->state) == FULL) {
            return letter;
        }
    }
    return NULL;
}

// Under the lock: neither a receiver that leaves nor a fork comes between.
static void move_all(csc__mailbox *it, csc__ring *full, csc__ring *ring) {
    csc__letter *letter;
    while ((letter = oldest_full(full))) {
        if (take(letter)) {
            fill(ring, &letter->connection, letter->posted);
        }
    }
    it->sending = ring;
    atomic_store(&full->next, ring); // the receiver's to free from now on
}

static bool grow(csc__mailbox *it) {
    csc__ring *full = it->sending;
    pthread_mutex_lock(&it->lock);
    csc__ring *ring = atomic_load(&it->closed) ? NULL : ring_new(full->capacity * 2);
    if (ring) {
        move_all(it, full, ring);
    }
    pthread_mutex_unlock(&it->lock);
    return ring;
}

bool csc__mailbox_send(csc__mailbox *it, const csc_connection *connection) {
    csc__ring *ring = it->sending;
    if (ring->tail - atomic_load(&ring->head) == ring->capacity) {
        if (!grow(it)) {
            return false;
        }
        ring = it->sending;
    }
    fill(ring, connection, INT64_MAX);
    atomic_fetch_add(&it->length, 1);
    // It may have been closed meanwhile, and its receiver have left without this one.
    return !(atomic_load(&it->closed) && take_out(it, letter_at(ring, ring->tail - 1)));
}

// The time that a connection may wait begins here: the loop could not fetch it before.
void csc__mailbox_post(csc__mailbox *it, int64_t now) {
    csc__ring *ring = it->sending;
    for (size_t back = 1; back <= ring->capacity; back++) {
        csc__letter *letter = letter_at(ring, ring->tail - back);
        if (letter->posted != INT64_MAX) {
            break;
        }
        letter->posted = now;
    }
    csc__mailbox_wake(it);
}

int64_t csc__mailbox_oldest(csc__mailbox *it) {
    const csc__letter *letter = oldest_full(it->sending);
    return letter ? letter->posted : INT64_MAX;
}

bool csc__mailbox_take_back(csc__mailbox *it, int64_t latest, csc_connection *connection) {
    atomic_store(&it->stalled, true); // before nothing is left
    csc__letter *letter = oldest_full(it->sending);
    bool is_ours = letter && letter->posted <= latest && take_out(it, letter);
    if (is_ours) {
        *connection = letter->connection;
    }
    csc__mailbox_wake(it); // where that had failed: it is stalled until it looks
    return is_ours;
}

/* ---------------------------------------------------------------------------------------------- */
// The receiver

// In this order: a wake-up that is cleared was one for what is looked at now.
void csc__mailbox_begin(csc__mailbox *it) {
    csc__waker_clear(&it->waker);
    atomic_store(&it->wake_pending, false);
}

// Passes the letter at the head; true when it was the receiver's.
static bool pass(csc__ring *ring, csc__letter *letter, int state, csc_connection *connection) {
    bool is_ours = state == FULL && atomic_compare_exchange_strong(&letter->state, &state, FREE);
    if (is_ours) {
        *connection = letter->connection;
    } else {
        atomic_store_explicit(&letter->state, FREE, memory_order_relaxed);
    }
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return is_ours;
}

bool csc__mailbox_receive(csc__mailbox *it, csc_connection *connection) {
    for (;;) {
        csc__ring *ring = it->receiving;
        size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
        csc__letter *letter = letter_at(ring, head);
        int state = atomic_load(&letter->state);
        if (state == FREE) {
            if (!go_to_next_ring(it)) {
                return false;
            }
        } else if (pass(ring, letter, state, connection)) {
            atomic_fetch_sub(&it->length, 1);
            return true;
        }
    }
}

bool csc__mailbox_next_copy(csc__mailbox *it, csc_connection *connection) {
    do {
        csc__ring *ring = it->receiving;
        size_t head = atomic_load(&ring->head);
        while (head != ring->tail) {
            const csc__letter *letter = letter_at(ring, head++);
            atomic_store(&ring->head, head);
            if (atomic_load(&letter->state) == FULL) {
                *connection = letter->connection;
                atomic_fetch_sub(&it->length, 1);
                return true;
            }
        }
    } while (go_to_next_ring(it));
    return false;
}

/* ---------------------------------------------------------------------------------------------- */
// Both

bool csc__mailbox_wake(csc__mailbox *it) {
    if (atomic_exchange(&it->wake_pending, true)) {
        return true;
    }
    pthread_mutex_lock(&it->lock);
    bool is_woken = csc__waker_wake(&it->waker);
    pthread_mutex_unlock(&it->lock);
    if (!is_woken) {
        atomic_store(&it->wake_pending, false);
    }
    return is_woken;
}

// An event that is made active runs in the same turn: only a write lets the loop poll before.
void csc__mailbox_end(csc__mailbox *it) {
    if (csc__mailbox_length(it) == 0) {
        atomic_store(&it->stalled, false);
    } else if (!csc__mailbox_wake(it)) {
        event_active(it->waker.event, EV_READ, 0);
    }
}
