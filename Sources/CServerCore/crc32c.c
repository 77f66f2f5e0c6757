// SPDX-License-Identifier: Apache-2.0

// A table of 256 remainders, byte by byte. The remainder of a byte is the sum of those of its bits, so
// the compiler makes the table from eight numbers.

#include "crc32c.h"

#define BIT(byte, bit, remainder) (((byte) >> (bit) & 1) * UINT32_C(remainder))
#define ENTRY(byte)                                                                                \
    (BIT(byte, 0, 0xf26b8303) ^ BIT(byte, 1, 0xe13b70f7) ^ BIT(byte, 2, 0xc79a971f) ^              \
     BIT(byte, 3, 0x8ad958cf) ^ BIT(byte, 4, 0x105ec76f) ^ BIT(byte, 5, 0x20bd8ede) ^              \
     BIT(byte, 6, 0x417b1dbc) ^ BIT(byte, 7, 0x82f63b78))
#define ENTRIES_4(byte) ENTRY(byte), ENTRY(byte + 1), ENTRY(byte + 2), ENTRY(byte + 3)
#define ENTRIES_16(byte)                                                                           \
    ENTRIES_4(byte), ENTRIES_4(byte + 4), ENTRIES_4(byte + 8), ENTRIES_4(byte + 12)
#define ENTRIES_64(byte)                                                                           \
    ENTRIES_16(byte), ENTRIES_16(byte + 16), ENTRIES_16(byte + 32), ENTRIES_16(byte + 48)

static const uint32_t remainders[256] = {ENTRIES_64(0), ENTRIES_64(64), ENTRIES_64(128),
                                         ENTRIES_64(192)};

uint32_t csc__crc32c(uint32_t before, const uint8_t *bytes, size_t count) {
    uint32_t remainder = ~before;
    for (size_t i = 0; i < count; i++) {
        remainder = remainder >> 8 ^ remainders[(remainder ^ bytes[i]) & 0xff];
    }
    return ~remainder;
}
