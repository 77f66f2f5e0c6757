// Counts what this thread allocates. The C library's allocator does the work; linking this target
// into a program is what puts the counter in front of it.
#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

#include <stdint.h>

/** Makes the heap large enough now, so that allocating makes no system calls later. */
void allocation_counter_reserve(void);

/** Allocations of this thread since it started: malloc, calloc, realloc and the aligned ones. */
uint64_t allocation_counter_read(void);

#endif
