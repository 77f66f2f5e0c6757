// SPDX-License-Identifier: Apache-2.0

// The clock that every deadline and rate is compared with.
#ifndef CSC_CLOCK_H
#define CSC_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t csc__monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t csc__monotonic_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
