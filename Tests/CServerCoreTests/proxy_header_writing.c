// SPDX-License-Identifier: Apache-2.0

// Writing PROXY headers: the bytes themselves, what cannot be written, and that what was written is
// read as what it was.

#include "fixture.h"
#include "proxy_text.h"

#include <stdlib.h>
#include <string.h>

#define SIGNATURE   "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text) text, sizeof(text) - 1

enum { MOST_TLVS = 16, MOST_BYTES = 512 };

static csc_proxy_header header_of(int version, const char *source, const char *destination) {
    csc_proxy_header header = {.version = (uint8_t)version};
    if (source) {
        assert_true(csc_address_parse(source, 56324, &header.source));
    }
    if (destination) {
        assert_true(csc_address_parse(destination, 443, &header.destination));
    }
    return header;
}

static csc_proxy_tlv tlv_of(uint8_t type, const char *value) {
    return (csc_proxy_tlv){.type = type, .value = {(const uint8_t *)value, strlen(value)}};
}

// Writes into a buffer of exactly the size that is needed.
static void expect(const csc_proxy_header *header, const csc_proxy_tlv *tlvs, size_t tlv_count,
                   const char *bytes, size_t count) {
    csc_proxy_error error = CSC_PROXY_ERROR_TLV;
    uint8_t *buffer = malloc(count);
    assert_int_equal(csc_proxy_header_write(header, tlvs, tlv_count, NULL, 0, &error), count);
    assert_int_equal(error, CSC_PROXY_ERROR_NONE);
    assert_int_equal(csc_proxy_header_write(header, tlvs, tlv_count, buffer, count, NULL), count);
    assert_memory_equal(buffer, bytes, count);
    free(buffer);
}

static void a_line_is_written(void **state) {
    (void)state;
    static const struct {
        const char *source;
        const char *destination;
        const char *line;
    } rows[] = {
        {"192.0.2.1", "198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"},
        {"2001:db8::1", "2001:db8::2", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"},
        {"192.0.2.1", "2001:db8::2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 443\r\n"},
        {"2001:db8::1", "192.0.2.1", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 56324 443\r\n"},
        {"fe80::1%lo", "fe80::2%lo", "PROXY TCP6 fe80::1 fe80::2 56324 443\r\n"},
        {NULL, NULL, "PROXY UNKNOWN\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        csc_proxy_header header = header_of(1, rows[i].source, rows[i].destination);
        expect(&header, NULL, 0, rows[i].line, strlen(rows[i].line));
    }
}

static void bytes_are_written(void **state) {
    (void)state;
    csc_proxy_header header = header_of(2, "192.0.2.1", "198.51.100.2");
    expect(&header, NULL, 0,
           BYTES(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"));
    header = header_of(2, "2001:db8::1", "192.0.2.1");
    expect(&header, NULL, 0,
           BYTES(SIGNATURE "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                           "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01\xdc\x04\x01\xbb"));
    header = header_of(2, NULL, NULL);
    expect(&header, NULL, 0, BYTES(SIGNATURE "\x21\x00\x00\x00"));
    const csc_proxy_tlv tlvs[] = {tlv_of(CSC_PROXY_TLV_ALPN, "h2"), {.type = CSC_PROXY_TLV_NOOP}};
    expect(&header, tlvs, 2, BYTES(SIGNATURE "\x21\x00\x00\x08\x01\x00\x02h2\x04\x00\x00"));
}

static void a_local_header_has_no_addresses(void **state) {
    (void)state;
    csc_proxy_header header = header_of(2, "192.0.2.1", "*");
    header.is_local = true;
    expect(&header, NULL, 0, BYTES(SIGNATURE "\x20\x00\x00\x00"));
    header.version = 1;
    expect(&header, NULL, 0, BYTES("PROXY UNKNOWN\r\n"));
}

static size_t tlvs_of(const csc_proxy_header *header, const uint8_t *bytes, csc_proxy_tlv *tlvs) {
    csc_proxy_tlv tlv = {0};
    size_t count = 0;
    while (csc_proxy_tlv_next(csc_proxy_header_tlvs(header, bytes), &tlv)) {
        // The writer makes the checksum itself.
        if (tlv.type != CSC_PROXY_TLV_CRC32C) {
            assert_true(count < MOST_TLVS);
            tlvs[count++] = tlv;
        }
    }
    return count;
}

static void what_was_read_is_written_and_read_again(void **state) {
    (void)state;
    size_t same_bytes = 0;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        const uint8_t *bytes = (const uint8_t *)vector->bytes;
        csc_proxy_header first;
        csc_proxy_header second;
        csc_proxy_tlv tlvs[MOST_TLVS];
        uint8_t buffer[MOST_BYTES];
        char text[PROXY_TEXT_SIZE];
        if (csc_proxy_header_parse(bytes, vector->count, 0, &first) != CSC_PROXY_DONE) {
            continue;
        }
        size_t count = tlvs_of(&first, bytes, tlvs);
        size_t length = csc_proxy_header_write(&first, tlvs, count, buffer, sizeof buffer, NULL);
        assert_in_range(length, 15, sizeof buffer);
        assert_int_equal(csc_proxy_header_parse(buffer, length, 0, &second), CSC_PROXY_DONE);
        assert_int_equal(second.length, length);
        // The protocol is that of the addresses: a mapped one became IPv4, a UNIX socket has none.
        second.protocol = first.protocol;
        proxy_text(&second, buffer, text);
        assert_string_equal(text, vector->text);
        same_bytes += length == vector->count && memcmp(buffer, bytes, length) == 0;
    }
    assert_true(same_bytes >= 30);
}

static void a_checksum_is_written_last(void **state) {
    (void)state;
    csc_proxy_header header = header_of(2, "192.0.2.1", "198.51.100.2");
    const csc_proxy_tlv tlvs[] = {tlv_of(CSC_PROXY_TLV_ALPN, "h2"),
                                  tlv_of(CSC_PROXY_TLV_AUTHORITY, "example.org")};
    header.has_checksum = true;
    for (size_t i = 0;; i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        assert_non_null(vector);
        if (strcmp(vector->name, "v2 checksum after others") == 0) {
            expect(&header, tlvs, 2, vector->bytes, vector->count);
            return;
        }
    }
}

static void what_cannot_be_written_says_why(void **state) {
    (void)state;
    static const uint8_t zeros[65536];
    const csc_proxy_tlv alpn = tlv_of(CSC_PROXY_TLV_ALPN, "h2");
    const csc_proxy_tlv checksum = tlv_of(CSC_PROXY_TLV_CRC32C, "1234");
    const csc_proxy_tlv long_id = {.type = CSC_PROXY_TLV_UNIQUE_ID, .value = {zeros, 129}};
    const csc_proxy_tlv too_long = {.type = CSC_PROXY_TLV_NOOP, .value = {zeros, 65536}};
    // Its length is more than a sum can hold.
    const csc_proxy_tlv longest = {.type = CSC_PROXY_TLV_NOOP, .value = {zeros, SIZE_MAX - 10}};
    csc_proxy_header with_checksum = header_of(1, NULL, NULL);
    with_checksum.has_checksum = true;
    const struct {
        csc_proxy_header header;
        const csc_proxy_tlv *tlv;
        csc_proxy_error error;
    } rows[] = {
        {header_of(0, NULL, NULL), NULL, CSC_PROXY_ERROR_VERSION},
        {header_of(3, NULL, NULL), NULL, CSC_PROXY_ERROR_VERSION},
        {header_of(1, "192.0.2.1", NULL), NULL, CSC_PROXY_ERROR_ADDRESS},
        {header_of(1, NULL, "192.0.2.1"), NULL, CSC_PROXY_ERROR_ADDRESS},
        {header_of(2, "192.0.2.1", NULL), NULL, CSC_PROXY_ERROR_ADDRESS},
        {header_of(2, NULL, "192.0.2.1"), NULL, CSC_PROXY_ERROR_ADDRESS},
        {header_of(2, "*", "192.0.2.1"), NULL, CSC_PROXY_ERROR_ADDRESS},
        {header_of(2, "192.0.2.1", "*"), NULL, CSC_PROXY_ERROR_ADDRESS},
        {header_of(1, NULL, NULL), &alpn, CSC_PROXY_ERROR_V1_TLV},
        {with_checksum, NULL, CSC_PROXY_ERROR_V1_TLV},
        {header_of(2, NULL, NULL), &checksum, CSC_PROXY_ERROR_GIVEN_CHECKSUM},
        {header_of(2, NULL, NULL), &long_id, CSC_PROXY_ERROR_UNIQUE_ID},
        {header_of(2, NULL, NULL), &too_long, CSC_PROXY_ERROR_LENGTH},
        {header_of(2, NULL, NULL), &longest, CSC_PROXY_ERROR_LENGTH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        csc_proxy_error error = CSC_PROXY_ERROR_NONE;
        uint8_t buffer[64] = {0xa5};
        size_t tlv_count = rows[i].tlv ? 1 : 0;
        assert_int_equal(csc_proxy_header_write(&rows[i].header, rows[i].tlv, tlv_count, buffer,
                                                sizeof buffer, &error),
                         0);
        assert_int_equal(error, rows[i].error);
        assert_int_equal(buffer[0], 0xa5);
        assert_int_equal(
            csc_proxy_header_write(&rows[i].header, rows[i].tlv, tlv_count, NULL, 0, NULL), 0);
    }
}

static void the_longest_header_is_65551_bytes(void **state) {
    (void)state;
    static const uint8_t zeros[65532];
    csc_proxy_header header = header_of(2, NULL, NULL);
    csc_proxy_error error;
    csc_proxy_tlv tlvs[3] = {{.type = CSC_PROXY_TLV_NOOP, .value = {zeros, 65532}}};
    assert_int_equal(csc_proxy_header_write(&header, tlvs, 1, NULL, 0, &error), 65551);
    header.has_checksum = true;
    assert_int_equal(csc_proxy_header_write(&header, tlvs, 1, NULL, 0, &error), 0);
    assert_int_equal(error, CSC_PROXY_ERROR_LENGTH);
    tlvs[0].value.count -= 7;
    uint8_t *buffer = malloc(CSC_PROXY_HEADER_LONGEST);
    assert_int_equal(
        csc_proxy_header_write(&header, tlvs, 1, buffer, CSC_PROXY_HEADER_LONGEST, &error), 65551);
    csc_proxy_header read;
    assert_int_equal(csc_proxy_header_parse(buffer, 65551, 65551, &read), CSC_PROXY_DONE);
    assert_true(read.has_checksum);
    free(buffer);
    tlvs[1] = tlvs[0];
    tlvs[2] = tlvs[0];
    assert_int_equal(csc_proxy_header_write(&header, tlvs, 3, NULL, 0, &error), 0);
    assert_int_equal(error, CSC_PROXY_ERROR_LENGTH);
}

static void a_small_buffer_gets_no_half_a_header(void **state) {
    (void)state;
    for (int version = 1; version <= 2; version++) {
        csc_proxy_header header = header_of(version, "192.0.2.1", "198.51.100.2");
        uint8_t buffer[64];
        size_t length = csc_proxy_header_write(&header, NULL, 0, NULL, 0, NULL);
        for (size_t size = 0; size < length; size++) {
            memset(buffer, 0xa5, sizeof buffer);
            assert_int_equal(csc_proxy_header_write(&header, NULL, 0, buffer, size, NULL), length);
            assert_int_equal(buffer[0], 0xa5);
        }
        assert_int_equal(csc_proxy_header_write(&header, NULL, 0, buffer, length, NULL), length);
        assert_int_not_equal(buffer[0], 0xa5);
        assert_int_equal(buffer[length], 0xa5);
    }
}

static void writing_allocates_nothing(void **state) {
    (void)state;
    const csc_proxy_tlv alpn = tlv_of(CSC_PROXY_TLV_ALPN, "h2");
    uint8_t buffer[128];
    csc_proxy_header header = header_of(2, "192.0.2.1", "198.51.100.2");
    header.has_checksum = true;
    fault_reset_counts();
    assert_true(csc_proxy_header_write(&header, &alpn, 1, buffer, sizeof buffer, NULL) > 0);
    header.version = 1;
    header.has_checksum = false;
    assert_true(csc_proxy_header_write(&header, NULL, 0, buffer, sizeof buffer, NULL) > 0);
    assert_int_equal(fault_allocations(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_written),
        cmocka_unit_test(bytes_are_written),
        cmocka_unit_test(a_local_header_has_no_addresses),
        cmocka_unit_test(what_was_read_is_written_and_read_again),
        cmocka_unit_test(a_checksum_is_written_last),
        cmocka_unit_test(what_cannot_be_written_says_why),
        cmocka_unit_test(the_longest_header_is_65551_bytes),
        cmocka_unit_test(a_small_buffer_gets_no_half_a_header),
        cmocka_unit_test(writing_allocates_nothing),
    };
    return cmocka_run_group_tests_name("proxy_header_writing", tests, NULL, NULL);
}
