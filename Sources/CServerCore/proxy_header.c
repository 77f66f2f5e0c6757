// SPDX-License-Identifier: Apache-2.0

// Reads PROXY headers, the line of version 1 and the bytes of version 2. Every call reads from the first
// byte again: a header comes in one piece, or else is short. The verdict on a prefix never changes: what
// is CSC_PROXY_INVALID stays it, and of what is CSC_PROXY_MORE all bytes belong to the header.

#include "CServerCore.h"
#include "crc32c.h"
#include "proxy_format.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const char line_prefix[] = "PROXY ";
enum {
    LINE_PREFIX_SIZE = sizeof line_prefix - 1,
    KEYWORD_SIZE = sizeof "TCP4 " - 1,
    UNKNOWN_SIZE = sizeof "UNKNOWN" - 1,
    SHORTEST_LINE = sizeof "PROXY UNKNOWN\r\n" - 1,
};

static csc_proxy_state refuse(csc_proxy_header *header, csc_proxy_error error, size_t offset) {
    // Addresses may have been read already; and what is no header has no version.
    uint8_t version = error == CSC_PROXY_ERROR_SIGNATURE ? 0 : header->version;
    *header = (csc_proxy_header){
        .version = version, .error = (uint8_t)error, .error_offset = (uint32_t)offset};
    return CSC_PROXY_INVALID;
}

static csc_proxy_state need(csc_proxy_header *header, size_t least) {
    header->length = (uint32_t)least;
    return CSC_PROXY_MORE;
}

// How many of the first bytes are those of the prefix. Inline: comparing a known number of bytes needs no call.
static inline size_t matching(const uint8_t *bytes, size_t count, const char *prefix, size_t size) {
    size_t end = count < size ? count : size;
    if (end == size && memcmp(bytes, prefix, size) == 0) {
        return size;
    }
    size_t i = 0;
    while (i < end && bytes[i] == (uint8_t)prefix[i]) {
        i++;
    }
    return i;
}

// Into an address that is all zero.
static void set_ipv4(csc_address *address, const uint8_t *bytes, uint16_t port) {
    address->family = CSC_FAMILY_IPV4;
    address->port = port;
    memcpy(address->bytes, bytes, 4);
}

// A mapped address as IPv4, like the address of any other peer.
static void set_ipv6(csc_address *address, const uint8_t *bytes, uint16_t port) {
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memcpy(&name.sin6_addr, bytes, sizeof name.sin6_addr);
    csc_address_from_sockaddr((const struct sockaddr *)&name, sizeof name, address);
}

// Version 1: a line.

// A number of at most `most`, without leading zeros.
static bool parse_number(const uint8_t *text, size_t length, uint32_t most, uint32_t *number) {
    uint32_t value = 0;
    if (length == 0 || length > 5 || (length > 1 && text[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = 10 * value + (uint32_t)(text[i] - '0');
    }
    *number = value;
    return value <= most;
}

static bool parse_ipv4(const uint8_t *text, size_t length, uint8_t *bytes) {
    size_t start = 0;
    for (int part = 0; part < 4; part++) {
        size_t end = start;
        uint32_t number;
        while (end < length && text[end] != '.') {
            end++;
        }
        if (!parse_number(text + start, end - start, 255, &number)) {
            return false;
        }
        bytes[part] = (uint8_t)number;
        // Only the last part ends with the text.
        if ((end == length) != (part == 3)) {
            return false;
        }
        start = end + 1;
    }
    return true;
}

static bool parse_ipv6(const uint8_t *text, size_t length, uint8_t *bytes) {
    char plain[INET6_ADDRSTRLEN];
    if (length >= sizeof plain || memchr(text, '\0', length)) {
        return false;
    }
    memcpy(plain, text, length);
    plain[length] = '\0';
    return inet_pton(AF_INET6, plain, bytes) == 1;
}

typedef struct field {
    const uint8_t *text;
    size_t length;
} field;

enum { SOURCE, DESTINATION, SOURCE_PORT, DESTINATION_PORT, FIELDS };

// Splits a text at each single space; false, with the offset, unless that gives all fields.
static bool split(const uint8_t *bytes, size_t start, size_t end, field *fields, size_t *wrong) {
    for (int i = 0; i < FIELDS; i++) {
        const uint8_t *space = memchr(bytes + start, ' ', end - start);
        size_t stop = space ? (size_t)(space - bytes) : end;
        fields[i] = (field){bytes + start, stop - start};
        *wrong = stop;
        // Only the last field ends with the text.
        if (stop == start || !space != (i == FIELDS - 1)) {
            return false;
        }
        start = stop + 1;
    }
    return true;
}

static csc_proxy_state parse_addresses(const uint8_t *bytes, size_t end, csc_proxy_header *header) {
    bool is_ipv4 = header->protocol == CSC_PROXY_PROTOCOL_TCP4;
    csc_address *const addresses[] = {&header->source, &header->destination};
    field fields[FIELDS];
    size_t wrong = 0;
    if (!split(bytes, LINE_PREFIX_SIZE + KEYWORD_SIZE, end, fields, &wrong)) {
        return refuse(header, CSC_PROXY_ERROR_LINE_FIELDS, wrong);
    }
    for (int i = SOURCE; i <= DESTINATION; i++) {
        uint8_t address[16];
        uint32_t port;
        field text = fields[i];
        field port_text = fields[i + SOURCE_PORT];
        if (!(is_ipv4 ? parse_ipv4 : parse_ipv6)(text.text, text.length, address)) {
            return refuse(header, CSC_PROXY_ERROR_ADDRESS, (size_t)(text.text - bytes));
        }
        if (!parse_number(port_text.text, port_text.length, UINT16_MAX, &port)) {
            return refuse(header, CSC_PROXY_ERROR_PORT, (size_t)(port_text.text - bytes));
        }
        (is_ipv4 ? set_ipv4 : set_ipv6)(addresses[i], address, (uint16_t)port);
    }
    return CSC_PROXY_DONE;
}

// A whole line, which ends with a CR at `end`.
static csc_proxy_state parse_fields(const uint8_t *bytes, size_t end, csc_proxy_header *header) {
    const uint8_t *keyword = bytes + LINE_PREFIX_SIZE;
    size_t length = end - LINE_PREFIX_SIZE;
    if (length >= UNKNOWN_SIZE && memcmp(keyword, "UNKNOWN", UNKNOWN_SIZE) == 0 &&
        (length == UNKNOWN_SIZE || keyword[UNKNOWN_SIZE] == ' ')) {
        return CSC_PROXY_DONE;
    }
    if (length < KEYWORD_SIZE) {
        return refuse(header, CSC_PROXY_ERROR_PROTOCOL, LINE_PREFIX_SIZE);
    }
    if (memcmp(keyword, "TCP4 ", KEYWORD_SIZE) == 0) {
        header->protocol = CSC_PROXY_PROTOCOL_TCP4;
    } else if (memcmp(keyword, "TCP6 ", KEYWORD_SIZE) == 0) {
        header->protocol = CSC_PROXY_PROTOCOL_TCP6;
    } else {
        return refuse(header, CSC_PROXY_ERROR_PROTOCOL, LINE_PREFIX_SIZE);
    }
    return parse_addresses(bytes, end, header);
}

static csc_proxy_state parse_line(const uint8_t *bytes, size_t count, csc_proxy_header *header) {
    header->version = 1;
    size_t i = matching(bytes, count, line_prefix, LINE_PREFIX_SIZE);
    if (i < LINE_PREFIX_SIZE) {
        return i < count ? refuse(header, CSC_PROXY_ERROR_SIGNATURE, i)
                         : need(header, SHORTEST_LINE);
    }
    // Where the CR must be at the latest.
    const size_t last = CSC_PROXY_HEADER_LONGEST_V1 - 2;
    size_t end = count <= last ? count : last + 1;
    const uint8_t *cr = memchr(bytes + i, '\r', end - i);
    if (cr) {
        end = (size_t)(cr - bytes);
    }
    const uint8_t *lf = memchr(bytes + i, '\n', end - i);
    if (lf) {
        return refuse(header, CSC_PROXY_ERROR_LINE_END, (size_t)(lf - bytes));
    }
    if (end > last) {
        return refuse(header, CSC_PROXY_ERROR_LINE_LENGTH, last);
    }
    if (end + 1 >= count) {
        size_t least = end + 2; // with its CR LF
        return need(header, least > SHORTEST_LINE ? least : SHORTEST_LINE);
    }
    if (bytes[end + 1] != '\n') {
        return refuse(header, CSC_PROXY_ERROR_LINE_END, end + 1);
    }
    header->length = (uint32_t)(end + 2);
    return parse_fields(bytes, end, header);
}

// Version 2: bytes.

enum { FAMILY_IPV4 = 1, FAMILY_IPV6 = 2, FAMILY_UNIX = 3, TRANSPORT_STREAM = 1, DATAGRAM = 2 };

// What the addresses of each family take up.
static const uint8_t block_sizes[] = {0, 12, 36, 216};

// Looks at each TLV. Where one is wrong, `at` is its offset, otherwise that of the checksum, or 0.
static csc_proxy_error check_tlvs(const uint8_t *bytes, size_t offset, size_t end, size_t *at) {
    size_t checksum = 0;
    while (offset < end) {
        *at = offset;
        if (end - offset < CSC__PROXY_TLV_HEAD) {
            return CSC_PROXY_ERROR_TLV;
        }
        uint8_t type = bytes[offset];
        size_t size = csc__read_16(bytes + offset + 1);
        offset += CSC__PROXY_TLV_HEAD;
        if (size > end - offset) {
            return CSC_PROXY_ERROR_TLV;
        }
        if (type == CSC_PROXY_TLV_CRC32C) {
            if (size != CSC__PROXY_CHECKSUM_SIZE || checksum != 0) {
                return CSC_PROXY_ERROR_CHECKSUM_TLV;
            }
            checksum = offset;
        } else if (type == CSC_PROXY_TLV_UNIQUE_ID && size > CSC__PROXY_LONGEST_UNIQUE_ID) {
            return CSC_PROXY_ERROR_UNIQUE_ID;
        }
        offset += size;
    }
    *at = checksum;
    return CSC_PROXY_ERROR_NONE;
}

// The checksum is that of the header with zeros in its place.
static bool is_checksum_right(const uint8_t *bytes, size_t length, size_t offset) {
    static const uint8_t zeros[CSC__PROXY_CHECKSUM_SIZE];
    size_t end = offset + sizeof zeros;
    uint32_t checksum = csc__crc32c(0, bytes, offset);
    checksum = csc__crc32c(checksum, zeros, sizeof zeros);
    checksum = csc__crc32c(checksum, bytes + end, length - end);
    return checksum == csc__read_32(bytes + offset);
}

static csc_proxy_state parse_tlvs(const uint8_t *bytes, size_t offset, csc_proxy_header *header) {
    size_t length = header->length;
    size_t at = 0;
    csc_proxy_error error = check_tlvs(bytes, offset, length, &at);
    if (error != CSC_PROXY_ERROR_NONE) {
        // What follows LOCAL may be anything: some senders put no addresses there, some do.
        return header->is_local ? CSC_PROXY_DONE : refuse(header, error, at);
    }
    if (at != 0 && !is_checksum_right(bytes, length, at)) {
        return refuse(header, CSC_PROXY_ERROR_CHECKSUM, at);
    }
    header->has_checksum = at != 0;
    header->tlv_offset = (uint16_t)offset;
    header->tlv_size = (uint16_t)(length - offset);
    return CSC_PROXY_DONE;
}

// Refuses a byte that may not be there, as soon as it is.
static csc_proxy_error check_kind(const uint8_t *bytes, size_t count, size_t *at) {
    *at = CSC__PROXY_SIGNATURE_SIZE;
    if (count > *at && bytes[*at] >> 4 != 2) {
        return CSC_PROXY_ERROR_VERSION;
    }
    if (count > *at && (bytes[*at] & 0xf) > 1) {
        return CSC_PROXY_ERROR_COMMAND;
    }
    // LOCAL means the same whatever protocol it names.
    *at += 1;
    if (count > *at && bytes[*at - 1] != 0x20) {
        uint8_t protocol = bytes[*at];
        if (protocol >> 4 > FAMILY_UNIX || (protocol & 0xf) > DATAGRAM) {
            return CSC_PROXY_ERROR_PROTOCOL;
        }
        if ((protocol & 0xf) == DATAGRAM) {
            return CSC_PROXY_ERROR_DATAGRAM;
        }
    }
    return CSC_PROXY_ERROR_NONE;
}

// The addresses of a stream: source and destination, then both ports.
static void read_addresses(const uint8_t *block, int family, csc_proxy_header *header) {
    if (family == FAMILY_IPV4) {
        set_ipv4(&header->source, block, csc__read_16(block + 8));
        set_ipv4(&header->destination, block + 4, csc__read_16(block + 10));
    } else if (family == FAMILY_IPV6) {
        set_ipv6(&header->source, block, csc__read_16(block + 32));
        set_ipv6(&header->destination, block + 16, csc__read_16(block + 34));
    }
}

static csc_proxy_state parse_bytes(const uint8_t *bytes, size_t count, size_t maximum,
                                   csc_proxy_header *header) {
    header->version = 2;
    size_t at = matching(bytes, count, CSC__PROXY_SIGNATURE, CSC__PROXY_SIGNATURE_SIZE);
    if (at < count && at < CSC__PROXY_SIGNATURE_SIZE) {
        return refuse(header, CSC_PROXY_ERROR_SIGNATURE, at);
    }
    csc_proxy_error error = check_kind(bytes, count, &at);
    if (error != CSC_PROXY_ERROR_NONE) {
        return refuse(header, error, at);
    }
    if (count < CSC__PROXY_FIXED_SIZE) {
        return need(header, CSC__PROXY_FIXED_SIZE);
    }
    const size_t length_at = CSC__PROXY_FIXED_SIZE - 2;
    size_t length = (size_t)CSC__PROXY_FIXED_SIZE + csc__read_16(bytes + length_at);
    if (length > maximum) {
        return refuse(header, CSC_PROXY_ERROR_LENGTH, length_at);
    }
    bool is_local = bytes[CSC__PROXY_SIGNATURE_SIZE] == 0x20;
    uint8_t protocol = bytes[CSC__PROXY_SIGNATURE_SIZE + 1];
    size_t tlvs_at = CSC__PROXY_FIXED_SIZE;
    if (!is_local) {
        tlvs_at += block_sizes[protocol >> 4];
    }
    if (length < tlvs_at) {
        return refuse(header, CSC_PROXY_ERROR_ADDRESS_BLOCK, length_at);
    }
    if (count < length) {
        return need(header, length);
    }
    header->length = (uint32_t)length;
    header->is_local = is_local;
    if (!is_local && (protocol & 0xf) == TRANSPORT_STREAM && protocol >> 4 != 0) {
        header->protocol = protocol;
        read_addresses(bytes + CSC__PROXY_FIXED_SIZE, protocol >> 4, header);
    }
    return tlvs_at < length ? parse_tlvs(bytes, tlvs_at, header) : CSC_PROXY_DONE;
}

// Both.

csc_proxy_state csc_proxy_header_parse(const uint8_t *bytes, size_t count, size_t maximum,
                                       csc_proxy_header *header) {
    *header = (csc_proxy_header){0};
    if (count == 0) {
        return need(header, SHORTEST_LINE);
    }
    switch (bytes[0]) {
    case 'P':
        return parse_line(bytes, count, header);
    case '\r':
        return parse_bytes(bytes, count, maximum != 0 ? maximum : CSC_PROXY_HEADER_DEFAULT_MAXIMUM,
                           header);
    default:
        return refuse(header, CSC_PROXY_ERROR_SIGNATURE, 0);
    }
}

csc_proxy_bytes csc_proxy_header_tlvs(const csc_proxy_header *header, const uint8_t *bytes) {
    csc_proxy_bytes tlvs = {0};
    if (header->tlv_size > 0) {
        tlvs.start = bytes + header->tlv_offset;
        tlvs.count = header->tlv_size;
    }
    return tlvs;
}
