// SPDX-License-Identifier: Apache-2.0

// How an interposing function calls the one that it hides.
#ifndef FAULT_REAL_H
#define FAULT_REAL_H

#include <errno.h>

// NULL in a program without it, a static one.
void *fault__find_real(const char *name);

// Gives `real`, the function that the shim hides. Looked up on first use, by several threads at
// once if need be: each finds the same. A program without it, a static one, has nothing to call.
#define REAL(result, name, parameters)                                                             \
    static union {                                                                                 \
        void *object;                                                                              \
        result(*function) parameters;                                                              \
    } found;                                                                                       \
    union {                                                                                        \
        void *object;                                                                              \
        result(*function) parameters;                                                              \
    } real = {.object = __atomic_load_n(&found.object, __ATOMIC_ACQUIRE)};                         \
    if (!real.object) {                                                                            \
        int saved_errno = errno;                                                                   \
        real.object = fault__find_real(#name);                                                     \
        __atomic_store_n(&found.object, real.object, __ATOMIC_RELEASE);                            \
        errno = real.object ? saved_errno : ENOSYS;                                                \
    }

#endif
