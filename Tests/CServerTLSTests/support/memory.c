// SPDX-License-Identifier: Apache-2.0

#include "memory.h"

#include "must.h"

#include <openssl/crypto.h>
#include <stdlib.h>

static _Thread_local int64_t allocations;
static _Thread_local int64_t failures;
static _Thread_local int64_t live;
static _Thread_local int64_t first_to_fail; // 0 for none
static _Thread_local int64_t fail_count;

static bool fails(void) {
    allocations++;
    bool is_failing =
        first_to_fail > 0 && allocations >= first_to_fail &&
        (fail_count < 0 || allocations < first_to_fail + fail_count);
    failures += is_failing;
    return is_failing;
}

static void *allocate(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    void *memory = fails() ? NULL : malloc(size);
    live += memory != NULL;
    return memory;
}

static void *reallocate(void *memory, size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    if (fails()) {
        return NULL;
    }
    live += memory == NULL;
    return realloc(memory, size);
}

static void release(void *memory, const char *file, int line) {
    (void)file;
    (void)line;
    live -= memory != NULL;
    free(memory);
}

void memory_watch(void) {
    must(CRYPTO_set_mem_functions(allocate, reallocate, release) == 1);
}

void memory_reset(void) {
    allocations = 0;
    failures = 0;
}

void memory_fail(int64_t nth, int64_t count) {
    memory_reset();
    first_to_fail = nth;
    fail_count = count;
}

int64_t memory_allocations(void) {
    return allocations;
}

int64_t memory_failures(void) {
    return failures;
}

int64_t memory_live(void) {
    return live;
}
