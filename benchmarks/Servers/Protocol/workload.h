// SPDX-License-Identifier: Apache-2.0

#ifndef SERVERS_WORKLOAD_H
#define SERVERS_WORKLOAD_H

// For servers with several event loops: how many, what a request costs, and a loop that hangs now
// and then. benchmarks/README.md has the options.

#include <stdint.h>

typedef struct workload {
    int loops;             // 1 unless the options say otherwise
    uint64_t burn_rounds;  // for each request, 0 for none
    int stall_loop;        // which one hangs, counted from 0
    uint64_t stall_period; // milliseconds from one stall to the next, 0 for none
    uint64_t stall_time;   // milliseconds of each
} workload;

// Reads the options and takes them out of the arguments, so that protocol_parse sees only its own.
// Ends the program with a usage text where they are wrong.
workload workload_parse(int *argc, char ***argv);

// Uses the processor for a number of rounds that are the same everywhere. Arithmetic and no clock:
// two threads that share a core must not both count the time in which only one of them runs.
void workload_burn(uint64_t rounds);

// Blocks the calling thread for one stall.
void workload_stall(const workload *workload);

#endif
