// SPDX-License-Identifier: Apache-2.0

// CRC32C (Castagnoli), as RFC 3720 has it.
#ifndef CSC_CRC32C_H
#define CSC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// The checksum of bytes in several parts: 0 at first, then what the part before gave.
uint32_t csc__crc32c(uint32_t before, const uint8_t *bytes, size_t count);

#endif
