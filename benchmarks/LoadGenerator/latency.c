// SPDX-License-Identifier: Apache-2.0

#include "latency.h"

#include "failure.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void latency_add(latencies *latencies, uint64_t nanoseconds) {
    if (latencies->count == latencies->capacity) {
        size_t capacity = latencies->capacity == 0 ? 1 << 20 : 2 * latencies->capacity;
        uint64_t *values = realloc(latencies->values, capacity * sizeof *values);
        if (!values) {
            fail("no memory for %zu latencies", capacity);
        }
        latencies->values = values;
        latencies->capacity = capacity;
    }
    latencies->values[latencies->count++] = nanoseconds;
}

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

// The smallest value that at least this share of all is not above.
static uint64_t percentile(const latencies *latencies, double share) {
    size_t rank = (size_t)ceil(share * (double)latencies->count);
    return latencies->values[rank == 0 ? 0 : rank - 1];
}

void latency_print(latencies *latencies, FILE *stream) {
    if (latencies->count == 0) {
        fputs("null", stream);
        return;
    }
    qsort(latencies->values, latencies->count, sizeof *latencies->values, ascending);
    double sum = 0;
    for (size_t i = 0; i < latencies->count; i++) {
        sum += (double)latencies->values[i];
    }
    fprintf(stream,
            "{\"mean\":%.0f,\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64
            ",\"p99.9\":%" PRIu64 ",\"max\":%" PRIu64 "}",
            sum / (double)latencies->count, percentile(latencies, 0.5), percentile(latencies, 0.9),
            percentile(latencies, 0.99), percentile(latencies, 0.999), percentile(latencies, 1));
}
