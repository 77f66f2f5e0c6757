// SPDX-License-Identifier: Apache-2.0

// The ring of pending connections: grows by doubling, never for a single connection.
//
//      slots   [ . . A B C . . . ]        A is the oldest, the next push goes after C
//                    ^head ^head+count    positions wrap at capacity, a power of two
//
// The source of a connection is 0 in all places while the server counts no sources, and what a proxy
// said of it is NULL in a free place. The ring owns the array; the descriptors in it belong to the
// server until they are taken.

#include "pending_queue.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 32 };

bool csc__pending_grow(csc__pending_queue *queue) {
    size_t capacity = queue->capacity == 0 ? FIRST_CAPACITY : queue->capacity * 2;
    csc_connection *slots = calloc(capacity, sizeof *slots);
    if (!slots) {
        return false;
    }
    size_t until_wrap = queue->capacity - queue->head;
    if (queue->count > 0) {
        memcpy(slots, queue->slots + queue->head, until_wrap * sizeof *slots);
        memcpy(slots + until_wrap, queue->slots, queue->head * sizeof *slots);
    }
    free(queue->slots);
    queue->slots = slots;
    queue->capacity = capacity;
    queue->head = 0;
    return true;
}

void csc__pending_forget_sources(csc__pending_queue *queue) {
    for (size_t index = 0; index < queue->capacity; index++) {
        queue->slots[index].source = 0;
    }
}

void csc__pending_free(csc__pending_queue *queue) {
    free(queue->slots);
    *queue = (csc__pending_queue){0};
}
