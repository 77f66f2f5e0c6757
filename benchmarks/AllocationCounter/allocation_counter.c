// SPDX-License-Identifier: Apache-2.0

// Preloaded into a server, counts what it allocates and what it holds, in all threads. The numbers
// are in the file that ALLOCATION_COUNTS names, as it maps them: a server may end in a way that runs
// no code.

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// The C library's allocator, by names that are not in front of it.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

typedef struct counts {
    _Atomic uint64_t allocations, bytes, held;
} counts;

enum { OF_ALLOCATOR = sizeof(size_t) }; // what glibc adds to each piece of memory

static counts before_mapping;
static counts *counted = &before_mapping;

// Modulo 2^64: what is freed was counted before, or in before_mapping.
static void hold(void *memory, uint64_t sign) {
    if (memory) {
        uint64_t size = malloc_usable_size(memory) + OF_ALLOCATOR;
        atomic_fetch_add_explicit(&counted->held, sign * size, memory_order_relaxed);
    }
}

static void *count(size_t size, void *memory) {
    atomic_fetch_add_explicit(&counted->allocations, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counted->bytes, size, memory_order_relaxed);
    hold(memory, 1);
    return memory;
}

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("ALLOCATION_COUNTS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0 || ftruncate(file, sizeof(counts)) != 0) {
        perror("ALLOCATION_COUNTS");
        _exit(1);
    }
    void *mapped = mmap(NULL, sizeof(counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) {
        perror("ALLOCATION_COUNTS");
        _exit(1);
    }
    counted = mapped;
    counted->allocations = before_mapping.allocations;
    counted->bytes = before_mapping.bytes;
    counted->held = before_mapping.held;
}

void *malloc(size_t size) {
    return count(size, __libc_malloc(size));
}

void *calloc(size_t number, size_t size) {
    return count(number * size, __libc_calloc(number, size));
}

void *realloc(void *memory, size_t size) {
    size_t before = memory ? malloc_usable_size(memory) + OF_ALLOCATOR : 0;
    void *result = __libc_realloc(memory, size);
    if (result || size == 0) {
        atomic_fetch_sub_explicit(&counted->held, before, memory_order_relaxed);
    }
    return count(size, result);
}

void free(void *memory) {
    hold(memory, -UINT64_C(1));
    __libc_free(memory);
}

void *memalign(size_t alignment, size_t size) {
    return count(size, __libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *result = memalign(alignment, size);
    if (!result) {
        return ENOMEM;
    }
    *memory = result;
    return 0;
}
