// SPDX-License-Identifier: Apache-2.0

// The system calls that CServerCore.h names: the library makes no other.
#ifndef NAMED_CALLS_H
#define NAMED_CALLS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct named_call {
    const char *name; // as the header has it; NULL for what malloc(), threads and exit() need
    int number;
    bool serves; // once the server listens; others are for starting to listen, and for forks
} named_call;

// Whether this program runs under a filter of them already.
bool named_calls_are_enforced(void);

extern const named_call named_calls[];
extern const size_t named_calls_count;

#endif
