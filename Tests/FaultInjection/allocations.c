// SPDX-License-Identifier: Apache-2.0

// malloc(), calloc(), realloc() and free() that count, and fail on demand. They call glibc's
// own names for its allocator, because looking up the real functions with dlsym() allocates.

#include "plans.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define OWNED_BY_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWNED_BY_SANITIZER
#endif

#if defined(__GLIBC__) && !defined(OWNED_BY_SANITIZER)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

void *malloc(size_t size);
void *malloc(size_t size) {
    void *memory = fault__allocation_fails() ? NULL : __libc_malloc(size);
    fault__allocated(memory);
    return memory;
}

void *calloc(size_t count, size_t size);
void *calloc(size_t count, size_t size) {
    void *memory = fault__allocation_fails() ? NULL : __libc_calloc(count, size);
    fault__allocated(memory);
    return memory;
}

// Moves what is there, unless there was nothing, or nothing is wanted: then it allocates or frees.
void *realloc(void *memory, size_t size);
void *realloc(void *memory, size_t size) {
    if (fault__allocation_fails()) {
        return NULL;
    }
    bool had_memory = memory;
    void *moved = __libc_realloc(memory, size);
    if (!had_memory) {
        fault__allocated(moved);
    } else if (!moved && size == 0) {
        fault__freed(&moved);
    }
    return moved;
}

void free(void *memory);
void free(void *memory) {
    fault__freed(memory);
    __libc_free(memory);
}

#endif
