// SPDX-License-Identifier: Apache-2.0

// Whether a client is let in. Decides only; and closes the connection of one that is not. Knows
// nothing of csc_server.
#ifndef CSC_ADMISSION_H
#define CSC_ADMISSION_H

#include "source_table.h"

typedef struct csc__admission_limits {
    int max_connections; // less than 0 for none
    csc_excess excess;
    bool is_lifted; // csc_server_finish() accepts whatever the limits say
} csc__admission_limits;

typedef enum csc__entry { CSC__LET_IN, CSC__REJECT, CSC__DISCARD } csc__entry;

// What is to be done with a client, and for a rejection why and how.
typedef struct csc__admission_verdict {
    csc__entry entry;
    csc_rejection_reason reason;
    bool reset;
} csc__admission_verdict;

// Before the program is asked: does the limit let it in?
csc__admission_verdict csc__admission_by_limit(const csc__admission_limits *limits, uint32_t live);

// After it was asked. `closed`: the server was closed meanwhile, and does what close() does to a
// connection that is pending. `has_memory`: there is room in the queue.
csc__admission_verdict csc__admission_by_answer(csc_admission answer, bool closed, bool has_memory);

// Its source has more than it may have, or is not counted.
csc__admission_verdict csc__admission_by_source(csc__source_answer answer, bool resets);

// The local address of a connection, for the report of its rejection; none where the kernel has
// none.
csc_address csc__local_address(int descriptor);

// Closes a connection, with a reset where that is wanted.
void csc__close_rejected(int descriptor, bool reset);

#endif
