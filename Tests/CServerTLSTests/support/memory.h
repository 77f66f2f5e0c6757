// SPDX-License-Identifier: Apache-2.0

// The memory of OpenSSL and of the library: counted, and failing on demand, under sanitizers too.
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Before anything else of OpenSSL.
void memory_watch(void);

// From the nth allocation of this thread on so many fail; -1 for all. 0 ends it.
void memory_fail(int64_t nth, int64_t count);

// How many allocations this thread has made since memory_reset(), and how many are left.
void memory_reset(void);
int64_t memory_allocations(void);
int64_t memory_failures(void);
int64_t memory_live(void);

// Counts from now on the blocks that are freed with these bytes in them; NULL ends it.
void memory_seek(const void *sought, size_t size);
int64_t memory_found(void);

// The bytes of those that are left, as they were asked for.
int64_t memory_bytes(void);

#endif
