// SPDX-License-Identifier: Apache-2.0

// The ring of accepted connections that the program has not taken yet.
#ifndef CSC_PENDING_QUEUE_H
#define CSC_PENDING_QUEUE_H

#include "CServerCore.h"

typedef struct csc__pending_queue {
    csc_connection *slots; // owned; NULL until the first reserve
    size_t capacity;       // 0 or a power of two
    size_t head;           // position of the oldest
    size_t count;
} csc__pending_queue;

bool csc__pending_grow(csc__pending_queue *queue);

// Makes room for one more, so that accepting never finds the queue full. False when memory is
// short.
static inline bool csc__pending_reserve(csc__pending_queue *queue) {
    return queue->count < queue->capacity || csc__pending_grow(queue);
}

// The place that the next push takes.
static inline csc_connection *csc__pending_next_place(csc__pending_queue *queue) {
    return &queue->slots[(queue->head + queue->count) & (queue->capacity - 1)];
}

// A place at the end, for the caller to fill. The caller has made sure that there is room.
static inline csc_connection *csc__pending_push_place(csc__pending_queue *queue) {
    return &queue->slots[(queue->head + queue->count++) & (queue->capacity - 1)];
}

static inline bool csc__pending_pop(csc__pending_queue *queue, csc_connection *connection) {
    if (queue->count == 0) {
        return false;
    }
    *connection = queue->slots[queue->head];
    queue->slots[queue->head].proxied = NULL; // as the next push expects it
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    return true;
}

// While it is empty: nothing in it counts by source any more.
void csc__pending_forget_sources(csc__pending_queue *queue);

void csc__pending_free(csc__pending_queue *queue);

#endif
