// SPDX-License-Identifier: Apache-2.0

// libevent's allocations by the way that it offers for it, which counts and fails them where a
// sanitizer owns malloc(), too.

#include "torture.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

static uint64_t allocations;
static int64_t live;
static int until_failure; // 0 for no failure
static int failures_left; // -1 for ever

static bool fails(void) {
    allocations++;
    if (until_failure > 1) {
        until_failure--;
        return false;
    }
    if (until_failure == 0 || failures_left == 0) {
        return false;
    }
    failures_left -= failures_left > 0;
    errno = ENOMEM;
    return true;
}

static void *allocate(size_t size) {
    void *memory = fails() ? NULL : malloc(size);
    live += memory != NULL;
    return memory;
}

static void *resize(void *memory, size_t size) {
    bool had_memory = memory;
    void *moved = fails() ? NULL : realloc(memory, size);
    live += moved && !had_memory;
    return moved;
}

static void release(void *memory) {
    live -= memory != NULL;
    free(memory);
}

void libevent_memory_install(void) {
    event_set_mem_functions(allocate, resize, release);
}

void libevent_memory_reset_count(void) {
    allocations = 0;
}

void libevent_memory_fail(int nth, int count) {
    until_failure = nth;
    failures_left = count;
}

uint64_t libevent_memory_allocations(void) {
    return allocations;
}

int64_t libevent_memory_live(void) {
    return live;
}
