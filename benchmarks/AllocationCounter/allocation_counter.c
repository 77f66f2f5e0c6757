// SPDX-License-Identifier: Apache-2.0

// Preloaded into a server, counts what it allocates, in all threads. The numbers are in the file
// that ALLOCATION_COUNTS names, as it maps them: a server may end in a way that runs no code.

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

typedef struct counts {
    _Atomic uint64_t allocations, bytes;
} counts;

static counts before_mapping;
static counts *counted = &before_mapping;

static void count(size_t size) {
    atomic_fetch_add_explicit(&counted->allocations, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counted->bytes, size, memory_order_relaxed);
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
}

void *malloc(size_t size) {
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count(number * size);
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    count(size);
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    count(size);
    return __libc_memalign(alignment, size);
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
