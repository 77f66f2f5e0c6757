// SPDX-License-Identifier: Apache-2.0

#include "memory.h"

#include "must.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local int64_t allocations;
static _Thread_local int64_t failures;
static _Thread_local int64_t live;
static _Thread_local int64_t bytes;
static _Thread_local int64_t first_to_fail; // 0 for none
static _Thread_local int64_t fail_count;
static _Thread_local const void *sought;
static _Thread_local size_t sought_size;
static _Thread_local int64_t found;

static bool fails(void) {
    allocations++;
    bool is_failing = first_to_fail > 0 && allocations >= first_to_fail &&
                      (fail_count < 0 || allocations < first_to_fail + fail_count);
    failures += is_failing;
    return is_failing;
}

// The size lies before each block.
enum { HEADER = 16 };

static void *allocate(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    // Zero: release() looks at bytes that nothing has written, too.
    size_t *memory = fails() ? NULL : calloc(1, size + HEADER);
    if (!memory) {
        return NULL;
    }
    *memory = size;
    live++;
    bytes += (int64_t)size;
    return (char *)memory + HEADER;
}

static void release(void *memory, const char *file, int line) {
    (void)file;
    (void)line;
    if (memory) {
        size_t *block = (size_t *)((char *)memory - HEADER);
        live--;
        bytes -= (int64_t)*block;
        found += sought && memmem(memory, *block, sought, sought_size);
        free(block);
    }
}

static void *reallocate(void *memory, size_t size, const char *file, int line) {
    void *moved = allocate(size, file, line);
    if (moved && memory) {
        size_t before = *(size_t *)((char *)memory - HEADER);
        memcpy(moved, memory, before < size ? before : size);
        release(memory, file, line);
    }
    return moved;
}

void memory_watch(void) {
    // The library has OpenSSL keep what threads share. These programs have none then, and valgrind
    // takes blocks whose header lies before them for lost.
    must(atexit(OPENSSL_cleanup) == 0);
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

void memory_seek(const void *wanted, size_t size) {
    sought = wanted;
    sought_size = size;
    found = 0;
}

int64_t memory_found(void) {
    return found;
}

int64_t memory_allocations(void) {
    return allocations;
}

int64_t memory_failures(void) {
    return failures;
}

int64_t memory_bytes(void) {
    return bytes;
}

int64_t memory_live(void) {
    return live;
}
