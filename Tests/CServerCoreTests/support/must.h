// SPDX-License-Identifier: Apache-2.0

// What has to hold on any thread: cmocka's assertions are for the main one.
#ifndef MUST_H
#define MUST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define must(holds)                                                                                \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: %s, errno %d\n", __FILE__, __LINE__, #holds, errno);           \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
