// SPDX-License-Identifier: Apache-2.0

// What the reader and the writer of PROXY headers have in common: the form of version 2, and numbers in
// network order.
#ifndef CSC_PROXY_FORMAT_H
#define CSC_PROXY_FORMAT_H

#include <stddef.h>
#include <stdint.h>

// The first twelve bytes of version 2.
#define CSC__PROXY_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

enum {
    CSC__PROXY_SIGNATURE_SIZE = 12,
    CSC__PROXY_FIXED_SIZE = 16, // signature, version and command, protocol, length of the rest
    CSC__PROXY_TLV_HEAD = 3,    // type, and length of the value
    CSC__PROXY_CHECKSUM_SIZE = 4,
    CSC__PROXY_LONGEST_UNIQUE_ID = 128,
};

static inline uint16_t csc__read_16(const uint8_t *bytes) {
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t csc__read_32(const uint8_t *bytes) {
    return (uint32_t)csc__read_16(bytes) << 16 | csc__read_16(bytes + 2);
}

static inline void csc__write_16(uint8_t *bytes, uint16_t value) {
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)(value & 0xff);
}

static inline void csc__write_32(uint8_t *bytes, uint32_t value) {
    csc__write_16(bytes, (uint16_t)(value >> 16));
    csc__write_16(bytes + 2, (uint16_t)(value & 0xffff));
}

#endif
