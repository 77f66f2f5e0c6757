// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_LATENCY_H
#define LOAD_GENERATOR_LATENCY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// Every latency of a run. All are kept, 8 bytes each, so that the percentiles are exact and none is
// rounded into a bucket.
typedef struct latencies {
    uint64_t *values;
    size_t count;
    size_t capacity;
} latencies;

void latency_add(latencies *latencies, uint64_t nanoseconds);

// Writes a JSON object with the percentiles. Sorts the values.
void latency_print(latencies *latencies, FILE *stream);

#endif
