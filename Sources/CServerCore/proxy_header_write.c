// SPDX-License-Identifier: Apache-2.0

// Writes PROXY headers: what is to be written is checked and measured first, so that a buffer gets a
// whole header or nothing.

#include "CServerCore.h"
#include "crc32c.h"
#include "proxy_format.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };

// How both addresses are written.
static csc_proxy_protocol protocol_of(const csc_proxy_header *header) {
    if (header->is_local || header->source.family == CSC_FAMILY_NONE) {
        return CSC_PROXY_PROTOCOL_UNKNOWN;
    }
    bool are_ipv4 =
        header->source.family == CSC_FAMILY_IPV4 && header->destination.family == CSC_FAMILY_IPV4;
    return are_ipv4 ? CSC_PROXY_PROTOCOL_TCP4 : CSC_PROXY_PROTOCOL_TCP6;
}

static bool can_be_written(const csc_address *address) {
    return address->family == CSC_FAMILY_IPV4 || address->family == CSC_FAMILY_IPV6;
}

static csc_proxy_error check_addresses(const csc_proxy_header *header) {
    const csc_address *source = &header->source;
    const csc_address *destination = &header->destination;
    bool are_none = source->family == CSC_FAMILY_NONE && destination->family == CSC_FAMILY_NONE;
    bool are_good = can_be_written(source) && can_be_written(destination);
    return header->is_local || are_none || are_good ? CSC_PROXY_ERROR_NONE
                                                    : CSC_PROXY_ERROR_ADDRESS;
}

// An address of 16 bytes, an IPv4 address as mapped.
static void write_ipv6(const csc_address *address, uint8_t *bytes) {
    static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (address->family == CSC_FAMILY_IPV4) {
        memcpy(bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(bytes + sizeof mapped_prefix, address->bytes, 4);
    } else {
        memcpy(bytes, address->bytes, 16);
    }
}

// Version 1: a line.

static void write_text(const csc_address *address, bool is_ipv4, char *text) {
    uint8_t bytes[16];
    if (is_ipv4) {
        inet_ntop(AF_INET, address->bytes, text, INET6_ADDRSTRLEN);
    } else {
        write_ipv6(address, bytes);
        inet_ntop(AF_INET6, bytes, text, INET6_ADDRSTRLEN);
    }
}

static size_t write_line(const csc_proxy_header *header, uint8_t *buffer, size_t size) {
    // Room for what the compiler cannot rule out; the longest line is 104 bytes.
    char line[128] = "PROXY UNKNOWN\r\n";
    csc_proxy_protocol protocol = protocol_of(header);
    if (protocol != CSC_PROXY_PROTOCOL_UNKNOWN) {
        bool is_ipv4 = protocol == CSC_PROXY_PROTOCOL_TCP4;
        char source[INET6_ADDRSTRLEN];
        char destination[INET6_ADDRSTRLEN];
        write_text(&header->source, is_ipv4, source);
        write_text(&header->destination, is_ipv4, destination);
        snprintf(line, sizeof line, "%s %s %s %u %u\r\n", is_ipv4 ? "PROXY TCP4" : "PROXY TCP6",
                 source, destination, header->source.port, header->destination.port);
    }
    size_t length = strlen(line);
    if (length <= size) {
        memcpy(buffer, line, length);
    }
    return length;
}

// Version 2: bytes.

// The length of the header; more than CSC_PROXY_HEADER_LONGEST where it is too long to be written.
static size_t measure(const csc_proxy_header *header, const csc_proxy_tlv *tlvs, size_t count) {
    static const uint8_t blocks[] = {0, 12, 36};
    size_t length = CSC__PROXY_FIXED_SIZE + blocks[protocol_of(header) >> 4];
    if (header->has_checksum) {
        length += CSC__PROXY_TLV_HEAD + CSC__PROXY_CHECKSUM_SIZE;
    }
    for (size_t i = 0; i < count; i++) {
        size_t value = tlvs[i].value.count;
        // Stops before a sum could overflow.
        if (value > UINT16_MAX || length > CSC_PROXY_HEADER_LONGEST) {
            return CSC_PROXY_HEADER_LONGEST + 1;
        }
        length += CSC__PROXY_TLV_HEAD + value;
    }
    return length;
}

static csc_proxy_error check_tlvs(const csc_proxy_tlv *tlvs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (tlvs[i].type == CSC_PROXY_TLV_CRC32C) {
            return CSC_PROXY_ERROR_GIVEN_CHECKSUM;
        }
        if (tlvs[i].type == CSC_PROXY_TLV_UNIQUE_ID &&
            tlvs[i].value.count > CSC__PROXY_LONGEST_UNIQUE_ID) {
            return CSC_PROXY_ERROR_UNIQUE_ID;
        }
    }
    return CSC_PROXY_ERROR_NONE;
}

// Returns where the next byte goes.
static uint8_t *write_addresses(const csc_proxy_header *header, uint8_t *next) {
    csc_proxy_protocol protocol = protocol_of(header);
    if (protocol == CSC_PROXY_PROTOCOL_UNKNOWN) {
        return next;
    }
    if (protocol == CSC_PROXY_PROTOCOL_TCP4) {
        memcpy(next, header->source.bytes, 4);
        memcpy(next + 4, header->destination.bytes, 4);
        next += 8;
    } else {
        write_ipv6(&header->source, next);
        write_ipv6(&header->destination, next + 16);
        next += 32;
    }
    csc__write_16(next, header->source.port);
    csc__write_16(next + 2, header->destination.port);
    return next + 4;
}

static uint8_t *write_tlv(uint8_t type, const uint8_t *value, size_t count, uint8_t *next) {
    next[0] = type;
    csc__write_16(next + 1, (uint16_t)count);
    if (count > 0) {
        memcpy(next + CSC__PROXY_TLV_HEAD, value, count);
    }
    return next + CSC__PROXY_TLV_HEAD + count;
}

static void write_bytes(const csc_proxy_header *header, const csc_proxy_tlv *tlvs, size_t count,
                        uint8_t *buffer, size_t length) {
    static const uint8_t zeros[CSC__PROXY_CHECKSUM_SIZE];
    memcpy(buffer, CSC__PROXY_SIGNATURE, CSC__PROXY_SIGNATURE_SIZE);
    buffer[12] = header->is_local ? COMMAND_LOCAL : COMMAND_PROXY;
    buffer[13] = (uint8_t)protocol_of(header);
    csc__write_16(buffer + 14, (uint16_t)(length - CSC__PROXY_FIXED_SIZE));
    uint8_t *next = write_addresses(header, buffer + CSC__PROXY_FIXED_SIZE);
    for (size_t i = 0; i < count; i++) {
        next = write_tlv(tlvs[i].type, tlvs[i].value.start, tlvs[i].value.count, next);
    }
    if (header->has_checksum) {
        next = write_tlv(CSC_PROXY_TLV_CRC32C, zeros, sizeof zeros, next);
        csc__write_32(next - sizeof zeros, csc__crc32c(0, buffer, length));
    }
}

// Both.

static csc_proxy_error check(const csc_proxy_header *header, const csc_proxy_tlv *tlvs,
                             size_t count) {
    if (header->version == 1) {
        bool has_tlvs = count > 0 || header->has_checksum;
        return has_tlvs ? CSC_PROXY_ERROR_V1_TLV : check_addresses(header);
    }
    if (header->version != 2) {
        return CSC_PROXY_ERROR_VERSION;
    }
    csc_proxy_error error = check_tlvs(tlvs, count);
    if (error != CSC_PROXY_ERROR_NONE) {
        return error;
    }
    if (measure(header, tlvs, count) > CSC_PROXY_HEADER_LONGEST) {
        return CSC_PROXY_ERROR_LENGTH;
    }
    return check_addresses(header);
}

size_t csc_proxy_header_write(const csc_proxy_header *header, const csc_proxy_tlv *tlvs,
                              size_t tlv_count, uint8_t *buffer, size_t size,
                              csc_proxy_error *error) {
    csc_proxy_error found = check(header, tlvs, tlv_count);
    if (error) {
        *error = found;
    }
    if (found != CSC_PROXY_ERROR_NONE) {
        return 0;
    }
    if (header->version == 1) {
        return write_line(header, buffer, size);
    }
    size_t length = measure(header, tlvs, tlv_count);
    if (length <= size) {
        write_bytes(header, tlvs, tlv_count, buffer, length);
    }
    return length;
}
