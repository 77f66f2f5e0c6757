// SPDX-License-Identifier: Apache-2.0

// What a fuzzed program does when something is wrong: says what, and stops, so that libFuzzer keeps
// the input.
#ifndef FUZZING_CHECK_H
#define FUZZING_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
