// SPDX-License-Identifier: Apache-2.0

// Fuzzes the messages of a hand-over: what is read must be written as the same bytes.

#include "check.h"

#include "handover_message.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static csc__handover_message message;
    static uint8_t written[CSC__HANDOVER_LONGEST];
    // A copy of the exact size, so that the address sanitizer sees each byte too many.
    uint8_t *bytes = malloc(size);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    if (csc__handover_read(bytes, size, &message)) {
        size_t length = csc__handover_write(&message, written);
        CHECK(length == size, "%zu %zu", length, size);
        CHECK(memcmp(written, bytes, size) == 0, "%zu", size);
        CHECK(message.count <= CSC_HANDOVER_MOST_LISTENERS, "%d", message.count);
        CHECK(message.counter_count <= CSC_HANDOVER_MOST_COUNTERS, "%d", message.counter_count);
        CHECK(message.secret_size <= CSC_HANDOVER_LONGEST_SECRET, "%zu", message.secret_size);
    }
    free(bytes);
    return 0;
}
