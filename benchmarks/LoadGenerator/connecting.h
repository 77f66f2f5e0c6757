// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_CONNECTING_H
#define LOAD_GENERATOR_CONNECTING_H

#include "options.h"

#include <netinet/in.h>
#include <stdint.h>

// Begins the index-th connection without waiting for it: a non-blocking descriptor, which is
// writable once connected.
int connecting_begin(const options *options, uint64_t index);

// Opens all --connections, one after the other, each completed by the kernel. The array and its
// descriptors are the caller's.
int *connecting_all(const options *options);

// Ends the program with what errno means for the index-th connection.
_Noreturn void connecting_fail(const options *options, uint64_t index);

#endif
