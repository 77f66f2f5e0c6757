// SPDX-License-Identifier: Apache-2.0

// Fuzzes PROXY headers. The first byte chooses what the rest is: the beginning of a stream, the middle
// of a line, what follows version 2's signature, or a header to be written.
//
// What was decided on fewer bytes must be decided on more, and what was read must be read again when it
// was written. Buffers have the exact size, so that the address sanitizer sees each byte too many.

#include "check.h"

#include <CServerCore.h>

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_TLVS = 700, FIXED_SIZE = 16, MOST_BYTES = 2048 };

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";

static bool are_equal(csc_proxy_bytes one, csc_proxy_bytes other) {
    return one.count == other.count &&
           (one.count == 0 || memcmp(one.start, other.start, one.count) == 0);
}

static csc_proxy_state parse(const uint8_t *bytes, size_t count, csc_proxy_header *header) {
    uint8_t *copy = malloc(count);
    memcpy(copy, bytes, count);
    csc_proxy_state state = csc_proxy_header_parse(copy, count, 0, header);
    free(copy);
    return state;
}

static size_t list(csc_proxy_bytes tlvs, csc_proxy_tlv *listed) {
    csc_proxy_tlv tlv = {0};
    size_t count = 0;
    while (csc_proxy_tlv_next(tlvs, &tlv)) {
        // The writer makes the checksum itself.
        if (tlv.type != CSC_PROXY_TLV_CRC32C) {
            CHECK(count < MOST_TLVS, "%zu", tlvs.count);
            listed[count++] = tlv;
        }
    }
    return count;
}

// Touches every byte that is given out.
static void check_values(csc_proxy_bytes tlvs) {
    csc_proxy_bytes value = {0};
    csc_proxy_tls tls = {0};
    csc_proxy_tlv listed[MOST_TLVS];
    uint32_t link;
    uint64_t connection;
    CHECK(!csc_proxy_azure_link_id(tlvs, &link) ||
              csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_AZURE, &value),
          "%u", link);
    CHECK(!csc_proxy_gcp_connection_id(tlvs, &connection) ||
              csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_GCP, &value),
          "%d", CSC_PROXY_TLV_GCP);
    if (csc_proxy_aws_vpc_endpoint(tlvs, &value)) {
        CHECK(value.count > 0 && !memchr(value.start, '.', value.count), "%zu", value.count);
    }
    if (csc_proxy_tls_read(tlvs, &tls)) {
        CHECK(!tls.is_verified || tls.has_certificate, "%zu", tls.tlvs.count);
        // A certificate that was not found valid has a result other than 0.
        static const uint8_t zeros[4];
        if (tls.has_certificate && !tls.is_verified) {
            CHECK(csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_TLS, &value) &&
                      memcmp(value.start + 1, zeros, sizeof zeros) != 0,
                  "%zu", value.count);
        }
        CHECK(are_equal(tls.version, tls.version) && are_equal(tls.cipher, tls.cipher) &&
                  are_equal(tls.common_name, tls.common_name),
              "%zu", tls.tlvs.count);
        list(tls.tlvs, listed);
    }
}

static void check_same(const csc_proxy_header *one, const csc_proxy_header *other) {
    CHECK(one->version == other->version, "%d", other->version);
    CHECK(one->is_local == other->is_local, "%d", other->is_local);
    CHECK(one->has_checksum == other->has_checksum, "%d", other->has_checksum);
    CHECK(csc_address_equal(&one->source, &other->source), "%d", one->source.family);
    CHECK(csc_address_equal(&one->destination, &other->destination), "%d", one->source.family);
}

// Writes a header and reads that again.
static void check_round_trip(const csc_proxy_header *header, const csc_proxy_tlv *tlvs,
                             size_t count) {
    csc_proxy_error error;
    csc_proxy_header again;
    csc_proxy_tlv listed[MOST_TLVS];
    size_t length = csc_proxy_header_write(header, tlvs, count, NULL, 0, &error);
    CHECK((length == 0) == (error != CSC_PROXY_ERROR_NONE), "%d", error);
    if (length == 0) {
        return;
    }
    uint8_t *buffer = malloc(length);
    CHECK(csc_proxy_header_write(header, tlvs, count, buffer, length, NULL) == length, "%zu",
          length);
    csc_proxy_state state = csc_proxy_header_parse(buffer, length, length, &again);
    CHECK(state == CSC_PROXY_DONE && again.length == length, "%s",
          csc_proxy_error_text((csc_proxy_error)again.error));
    if (header->is_local && header->version == 2) {
        CHECK(again.is_local && again.source.family == CSC_FAMILY_NONE, "%d", again.source.family);
    } else if (!header->is_local) {
        check_same(header, &again);
    }
    size_t found = list(csc_proxy_header_tlvs(&again, buffer), listed);
    CHECK(found == count, "%zu of %zu", found, count);
    for (size_t i = 0; i < count; i++) {
        CHECK(listed[i].type == tlvs[i].type && are_equal(listed[i].value, tlvs[i].value), "%zu",
              i);
    }
    free(buffer);
}

// Reads a stream in two ways: cut at some byte, and as far as is needed.
static csc_proxy_state read_stream(const uint8_t *bytes, size_t count, size_t cut) {
    csc_proxy_header header;
    csc_proxy_header part;
    csc_proxy_state whole = parse(bytes, count, &header);
    cut = count == 0 ? 0 : cut % count;
    csc_proxy_state early = parse(bytes, cut, &part);
    if (early == CSC_PROXY_MORE) {
        CHECK(part.length > cut && part.length <= CSC_PROXY_HEADER_DEFAULT_MAXIMUM, "%u",
              part.length);
        CHECK(whole != CSC_PROXY_DONE || part.length <= header.length, "%u", part.length);
    } else {
        CHECK(early == whole && memcmp(&part, &header, sizeof part) == 0, "%zu", cut);
    }
    size_t taken = 0;
    do {
        early = parse(bytes, taken, &part);
        taken = part.length;
    } while (early == CSC_PROXY_MORE && taken <= count);
    CHECK(early == whole || whole == CSC_PROXY_INVALID, "%d", early);

    if (whole == CSC_PROXY_INVALID) {
        CHECK(header.error_offset < count, "%u", header.error_offset);
        CHECK(csc_proxy_error_text((csc_proxy_error)header.error)[0] != '\0', "%d", header.error);
    }
    if (whole == CSC_PROXY_DONE) {
        CHECK(header.length <= count, "%u", header.length);
        uint8_t *copy = malloc(header.length);
        memcpy(copy, bytes, header.length);
        csc_proxy_tlv listed[MOST_TLVS];
        csc_proxy_bytes tlvs = csc_proxy_header_tlvs(&header, copy);
        CHECK(tlvs.count == 0 || tlvs.start + tlvs.count == copy + header.length, "%zu",
              tlvs.count);
        check_values(tlvs);
        check_round_trip(&header, listed, list(tlvs, listed));
        free(copy);
    }
    return whole;
}

static void read_line(const uint8_t *data, size_t size, size_t cut) {
    uint8_t line[MOST_BYTES];
    memcpy(line, "PROXY ", 6);
    memcpy(line + 6, data, size);
    memcpy(line + 6 + size, "\r\n", 2);
    CHECK(read_stream(line, size + 8, cut) != CSC_PROXY_MORE, "%zu", size);
}

// Signature and length are right.
static void read_bytes(const uint8_t *data, size_t size, size_t cut) {
    uint8_t bytes[MOST_BYTES];
    if (size < 2) {
        return;
    }
    size_t length = size - 2;
    memcpy(bytes, signature, 12);
    memcpy(bytes + 12, data, 2);
    bytes[14] = (uint8_t)(length >> 8);
    bytes[15] = (uint8_t)(length & 0xff);
    memcpy(bytes + FIXED_SIZE, data + 2, length);
    CHECK(read_stream(bytes, FIXED_SIZE + length, cut) != CSC_PROXY_MORE, "%zu", size);
}

static void write_header(const uint8_t *data, size_t size) {
    csc_proxy_header header = {0};
    csc_proxy_tlv tlvs[MOST_TLVS];
    if (size < 40) {
        return;
    }
    header.version = data[0] & 3;
    header.is_local = data[0] & 4;
    header.has_checksum = data[0] & 8;
    static const uint8_t families[] = {CSC_FAMILY_NONE, CSC_FAMILY_IPV4, CSC_FAMILY_IPV6,
                                       CSC_FAMILY_ANY};
    header.source.family = families[data[1] & 3];
    header.destination.family = families[data[1] >> 2 & 3];
    header.source.port = data[2];
    header.destination.port = (uint16_t)(data[3] << 8);
    memcpy(header.source.bytes, data + 4, header.source.family == CSC_FAMILY_IPV6 ? 16 : 4);
    memcpy(header.destination.bytes, data + 20,
           header.destination.family == CSC_FAMILY_IPV6 ? 16 : 4);
    csc_proxy_bytes rest = {data + 36, size - 36};
    size_t count = 0;
    csc_proxy_tlv tlv = {0};
    while (count < MOST_TLVS && csc_proxy_tlv_next(rest, &tlv)) {
        tlvs[count++] = tlv;
    }
    if (header.source.family == CSC_FAMILY_NONE || header.is_local) {
        header.source.port = 0;
        header.destination.port = 0;
    }
    check_round_trip(&header, tlvs, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > MOST_BYTES - FIXED_SIZE) {
        return 0;
    }
    size_t cut = data[1];
    switch (data[0] & 3) {
    case 0:
        read_stream(data + 2, size - 2, cut);
        break;
    case 1:
        read_line(data + 2, size - 2, cut);
        break;
    case 2:
        read_bytes(data + 2, size - 2, cut);
        break;
    default:
        write_header(data + 2, size - 2);
        break;
    }
    return 0;
}
