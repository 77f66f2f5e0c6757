// SPDX-License-Identifier: Apache-2.0

// Reading PROXY headers: the vectors whole, cut at every byte, and with what follows them.

#include "fixture.h"
#include "proxy_text.h"

#include <stdlib.h>
#include <string.h>

static const char client_hello[] = "\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03";
static const char request[] = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
static const char second_line[] = "PROXY TCP4 192.0.2.9 192.0.2.9 9 9\r\n";
static const char second_header[] = "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

static const struct {
    const char *bytes;
    size_t count;
} payloads[] = {
    {client_hello, sizeof client_hello - 1},
    {request, sizeof request - 1},
    {second_line, sizeof second_line - 1},
    {second_header, sizeof second_header - 1},
};
enum { PAYLOADS = sizeof payloads / sizeof payloads[0] };

// From a copy of exactly this size, so that a sanitizer sees each byte too many.
static csc_proxy_state parse_exactly(const void *bytes, size_t count, csc_proxy_header *header) {
    uint8_t *copy = malloc(count);
    memcpy(copy, bytes, count);
    csc_proxy_state state = csc_proxy_header_parse(copy, count, 0, header);
    free(copy);
    return state;
}

static csc_proxy_state parse(const proxy_vector *vector, csc_proxy_header *header) {
    return parse_exactly(vector->bytes, vector->count, header);
}

static bool is_good(const proxy_vector *vector) {
    return vector->error == CSC_PROXY_ERROR_NONE;
}

static const proxy_vector *vector_named(const char *name) {
    for (size_t i = 0; proxy_vector_at(i); i++) {
        if (strcmp(proxy_vector_at(i)->name, name) == 0) {
            return proxy_vector_at(i);
        }
    }
    fail_msg("no vector %s", name);
    return NULL;
}

static void there_are_vectors_for_all_errors_of_reading(void **state) {
    (void)state;
    size_t good = 0;
    size_t of_error[CSC_PROXY_ERROR_CHECKSUM + 1] = {0};
    for (size_t i = 0; proxy_vector_at(i); i++) {
        of_error[proxy_vector_at(i)->error]++;
        good += is_good(proxy_vector_at(i));
    }
    assert_true(good >= 30);
    for (size_t i = 0; i < sizeof of_error / sizeof of_error[0]; i++) {
        if (of_error[i] == 0) {
            fail_msg("no vector of error %zu", i);
        }
    }
}

static void every_good_header_says_what_it_says(void **state) {
    (void)state;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        csc_proxy_header header;
        char text[PROXY_TEXT_SIZE];
        if (!is_good(vector)) {
            continue;
        }
        if (parse(vector, &header) != CSC_PROXY_DONE) {
            fail_msg("%s: %s, byte %u", vector->name,
                     csc_proxy_error_text((csc_proxy_error)header.error), header.error_offset);
        }
        proxy_text(&header, (const uint8_t *)vector->bytes, text);
        if (strcmp(text, vector->text) != 0) {
            fail_msg("%s: %s", vector->name, text);
        }
        assert_int_equal(header.length, vector->count);
        assert_int_equal(header.error_offset, 0);
    }
}

static void every_wrong_header_has_its_error_and_its_byte(void **state) {
    (void)state;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        csc_proxy_header header;
        if (is_good(vector)) {
            continue;
        }
        if (parse(vector, &header) != CSC_PROXY_INVALID || header.error != vector->error ||
            header.error_offset != vector->error_offset) {
            fail_msg("%s: %s, byte %u", vector->name,
                     csc_proxy_error_text((csc_proxy_error)header.error), header.error_offset);
        }
        assert_int_equal(header.version == 0, vector->error == CSC_PROXY_ERROR_SIGNATURE);
        csc_proxy_header nothing_else = {
            .version = header.version, .error = header.error, .error_offset = header.error_offset};
        assert_memory_equal(&header, &nothing_else, sizeof header);
    }
}

static void a_good_header_needs_more_until_its_last_byte(void **state) {
    (void)state;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        for (size_t count = 0; is_good(vector) && count < vector->count; count++) {
            csc_proxy_header header;
            if (parse_exactly(vector->bytes, count, &header) != CSC_PROXY_MORE) {
                fail_msg("%s: decided at byte %zu", vector->name, count);
            }
            if (header.length <= count || header.length > vector->count) {
                fail_msg("%s: needs %u after byte %zu", vector->name, header.length, count);
            }
            assert_int_equal(header.version, count == 0 ? 0 : vector->text[0] - '0');
            csc_proxy_header nothing_else = {.version = header.version, .length = header.length};
            assert_memory_equal(&header, &nothing_else, sizeof header);
        }
    }
}

static void reading_what_is_needed_reads_no_payload(void **state) {
    (void)state;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        csc_proxy_header header;
        size_t count = 0;
        while (is_good(vector) && parse_exactly(vector->bytes, count, &header) == CSC_PROXY_MORE) {
            count = header.length;
            assert_true(count <= vector->count);
        }
    }
}

// What decides is some byte; before it nothing is known, and after it nothing changes.
static void a_wrong_header_is_refused_from_one_byte_on(void **state) {
    (void)state;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        bool decided = false;
        for (size_t count = 0; !is_good(vector) && count <= vector->count; count++) {
            csc_proxy_header header;
            csc_proxy_state found = parse_exactly(vector->bytes, count, &header);
            if (!decided && found == CSC_PROXY_MORE) {
                assert_true(header.length > count);
                continue;
            }
            decided = true;
            if (found != CSC_PROXY_INVALID || header.error != vector->error ||
                header.error_offset != vector->error_offset || header.error_offset >= count) {
                fail_msg("%s: state %d, error %d, byte %u of %zu", vector->name, found,
                         header.error, header.error_offset, count);
            }
        }
    }
}

static void what_follows_a_header_changes_nothing(void **state) {
    (void)state;
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        csc_proxy_header alone;
        csc_proxy_state expected = parse(vector, &alone);
        for (int j = 0; j < PAYLOADS; j++) {
            uint8_t both[1024];
            csc_proxy_header header;
            memcpy(both, vector->bytes, vector->count);
            memcpy(both + vector->count, payloads[j].bytes, payloads[j].count);
            size_t count = vector->count + payloads[j].count;
            if (parse_exactly(both, count, &header) != expected) {
                fail_msg("%s: another state with payload %d", vector->name, j);
            }
            assert_memory_equal(&header, &alone, sizeof header);
        }
    }
}

// A peer that is no proxy is not waited for.
static void an_error_is_found_as_soon_as_it_can_be(void **state) {
    (void)state;
    static const struct {
        csc_proxy_error error;
        size_t most; // bytes from the wrong one on
    } rows[] = {
        {CSC_PROXY_ERROR_SIGNATURE, 1},   {CSC_PROXY_ERROR_LINE_END, 1},
        {CSC_PROXY_ERROR_LINE_LENGTH, 1}, {CSC_PROXY_ERROR_VERSION, 1},
        {CSC_PROXY_ERROR_COMMAND, 1},     {CSC_PROXY_ERROR_DATAGRAM, 1},
        {CSC_PROXY_ERROR_LENGTH, 2},      {CSC_PROXY_ERROR_ADDRESS_BLOCK, 2},
    };
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++) {
            csc_proxy_header header;
            if (rows[j].error == vector->error &&
                parse_exactly(vector->bytes, vector->error_offset + rows[j].most, &header) !=
                    CSC_PROXY_INVALID) {
                fail_msg("%s: is waited for", vector->name);
            }
        }
    }
}

static void no_bytes_are_the_beginning_of_a_header(void **state) {
    (void)state;
    csc_proxy_header header;
    memset(&header, 0xa5, sizeof header);
    assert_int_equal(csc_proxy_header_parse(NULL, 0, 0, &header), CSC_PROXY_MORE);
    assert_int_equal(header.length, 15);
    assert_int_equal(header.version, 0);
    assert_int_equal(csc_proxy_header_tlvs(&header, (const uint8_t *)"").count, 0);
}

// A version 2 header of this length, filled with TLVs that have no values: 3 divides what they take.
static uint8_t *header_of_length(size_t length) {
    uint8_t *bytes = calloc(1, length);
    memcpy(bytes, second_header, 16);
    bytes[12] = 0x21;
    bytes[14] = (uint8_t)((length - 16) >> 8);
    bytes[15] = (uint8_t)((length - 16) & 0xff);
    for (size_t i = 16; i < length; i += 3) {
        bytes[i] = CSC_PROXY_TLV_NOOP;
    }
    return bytes;
}

static void the_longest_header_is_that_of_the_maximum(void **state) {
    (void)state;
    static const struct {
        size_t length;
        size_t maximum;
        csc_proxy_state state;
    } rows[] = {
        {4096, 0, CSC_PROXY_DONE},         {4099, 0, CSC_PROXY_INVALID},
        {4096, 4096, CSC_PROXY_DONE},      {4096, 4095, CSC_PROXY_INVALID},
        {4099, 4099, CSC_PROXY_DONE},      {65551, 65551, CSC_PROXY_DONE},
        {65551, SIZE_MAX, CSC_PROXY_DONE}, {65551, 65550, CSC_PROXY_INVALID},
        {16, 16, CSC_PROXY_DONE},          {16, 15, CSC_PROXY_INVALID},
        {16, 1, CSC_PROXY_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        csc_proxy_header header;
        uint8_t *bytes = header_of_length(rows[i].length);
        if (csc_proxy_header_parse(bytes, rows[i].length, rows[i].maximum, &header) !=
            rows[i].state) {
            fail_msg("%zu of %zu bytes", rows[i].length, rows[i].maximum);
        }
        bool is_done = rows[i].state == CSC_PROXY_DONE;
        assert_int_equal(header.error, is_done ? CSC_PROXY_ERROR_NONE : CSC_PROXY_ERROR_LENGTH);
        assert_int_equal(header.tlv_size, is_done ? rows[i].length - 16 : 0);
        free(bytes);
    }
}

static void the_line_of_version_1_has_no_maximum_but_its_own(void **state) {
    (void)state;
    const proxy_vector *vector = vector_named("v1 longest IPv6");
    csc_proxy_header header;
    const uint8_t *bytes = (const uint8_t *)vector->bytes;
    assert_int_equal(csc_proxy_header_parse(bytes, vector->count, 16, &header), CSC_PROXY_DONE);
}

static void many_tlvs_are_gone_through_one_by_one(void **state) {
    (void)state;
    uint8_t *bytes = header_of_length(16 + 21000 * 3);
    csc_proxy_header header;
    csc_proxy_tlv tlv = {0};
    int count = 0;
    assert_int_equal(csc_proxy_header_parse(bytes, 16 + 21000 * 3, SIZE_MAX, &header),
                     CSC_PROXY_DONE);
    while (csc_proxy_tlv_next(csc_proxy_header_tlvs(&header, bytes), &tlv)) {
        assert_int_equal(tlv.type, CSC_PROXY_TLV_NOOP);
        assert_int_equal(tlv.value.count, 0);
        count++;
    }
    assert_int_equal(count, 21000);
    free(bytes);
}

// A program may go through TLVs that were not read by csc_proxy_header_parse().
static void what_is_no_whole_tlv_is_the_end(void **state) {
    (void)state;
    static const uint8_t bytes[] = {CSC_PROXY_TLV_ALPN, 0, 2, 'h', '2', CSC_PROXY_TLV_GCP, 0, 1};
    for (size_t count = 0; count <= sizeof bytes; count++) {
        csc_proxy_tlv tlv = {0};
        csc_proxy_bytes tlvs = {bytes, count};
        csc_proxy_bytes value = {0};
        uint64_t number = 7;
        assert_int_equal(csc_proxy_tlv_next(tlvs, &tlv), count >= 5);
        assert_int_equal(tlv.type, count >= 5 ? CSC_PROXY_TLV_ALPN : 0);
        assert_false(csc_proxy_tlv_next(tlvs, &tlv) && count >= 5);
        assert_false(csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_GCP, &value));
        assert_null(value.start);
        assert_false(csc_proxy_gcp_connection_id(tlvs, &number));
        assert_int_equal(number, 7);
    }
}

static void what_cannot_be_read_leaves_the_result_alone(void **state) {
    (void)state;
    csc_proxy_bytes none = {0};
    csc_proxy_bytes value = {0};
    csc_proxy_tls tls = {.is_verified = true};
    uint32_t link = 7;
    assert_false(csc_proxy_tls_read(none, &tls));
    assert_true(tls.is_verified);
    assert_false(csc_proxy_aws_vpc_endpoint(none, &value));
    assert_null(value.start);
    assert_false(csc_proxy_azure_link_id(none, &link));
    assert_int_equal(link, 7);
}

static void all_of_what_tls_says_can_be_gone_through(void **state) {
    (void)state;
    const proxy_vector *vector = vector_named("v2 TLS");
    csc_proxy_header header;
    csc_proxy_tls tls;
    csc_proxy_tlv tlv = {0};
    static const uint8_t types[] = {CSC_PROXY_TLV_TLS_VERSION, CSC_PROXY_TLV_TLS_COMMON_NAME,
                                    CSC_PROXY_TLV_TLS_CIPHER, 0x7f};
    size_t count = 0;
    const uint8_t *bytes = (const uint8_t *)vector->bytes;
    csc_proxy_header_parse(bytes, vector->count, 0, &header);
    assert_true(csc_proxy_tls_read(csc_proxy_header_tlvs(&header, bytes), &tls));
    while (csc_proxy_tlv_next(tls.tlvs, &tlv)) {
        assert_int_equal(tlv.type, types[count]);
        count++;
    }
    assert_int_equal(count, sizeof types);
}

static void each_error_has_its_text(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "There is no PROXY header",
        "The version of the PROXY header is unknown",
        "The PROXY header has no CR LF within 107 bytes",
        "The PROXY header has a CR or an LF without the other",
        "The PROXY header does not have six fields with one space between each two",
        "The PROXY header names an unknown protocol",
        "An address is missing, or is not one of the PROXY header's protocol",
        "A port in the PROXY header is not a number from 0 to 65535",
        "The PROXY header's command is neither LOCAL nor PROXY",
        "The PROXY header is one of datagrams",
        "The PROXY header is too long",
        "The PROXY header is too short for its addresses",
        "A TLV goes past the end of the PROXY header",
        "The unique ID in the PROXY header is longer than 128 bytes",
        "The PROXY header's checksum has another length than 4, or is there twice",
        "The PROXY header's checksum is wrong",
        "A PROXY header of version 1 has neither TLVs nor a checksum",
        "The checksum of a PROXY header is calculated, not given as a TLV",
        "Unknown error of a PROXY header",
    };
    for (int error = 0; error <= CSC_PROXY_ERROR_GIVEN_CHECKSUM + 1; error++) {
        assert_string_equal(csc_proxy_error_text((csc_proxy_error)error), texts[error]);
    }
    assert_string_equal(csc_proxy_error_text((csc_proxy_error)-1),
                        "Unknown error of a PROXY header");
}

static void reading_allocates_nothing(void **state) {
    (void)state;
    fault_reset_counts();
    for (size_t i = 0; proxy_vector_at(i); i++) {
        const proxy_vector *vector = proxy_vector_at(i);
        const uint8_t *bytes = (const uint8_t *)vector->bytes;
        csc_proxy_header header;
        char text[PROXY_TEXT_SIZE];
        if (csc_proxy_header_parse(bytes, vector->count, 0, &header) == CSC_PROXY_DONE) {
            proxy_text(&header, bytes, text);
        }
    }
    assert_int_equal(fault_allocations(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_vectors_for_all_errors_of_reading),
        cmocka_unit_test(every_good_header_says_what_it_says),
        cmocka_unit_test(every_wrong_header_has_its_error_and_its_byte),
        cmocka_unit_test(a_good_header_needs_more_until_its_last_byte),
        cmocka_unit_test(reading_what_is_needed_reads_no_payload),
        cmocka_unit_test(a_wrong_header_is_refused_from_one_byte_on),
        cmocka_unit_test(what_follows_a_header_changes_nothing),
        cmocka_unit_test(an_error_is_found_as_soon_as_it_can_be),
        cmocka_unit_test(no_bytes_are_the_beginning_of_a_header),
        cmocka_unit_test(the_longest_header_is_that_of_the_maximum),
        cmocka_unit_test(the_line_of_version_1_has_no_maximum_but_its_own),
        cmocka_unit_test(many_tlvs_are_gone_through_one_by_one),
        cmocka_unit_test(what_is_no_whole_tlv_is_the_end),
        cmocka_unit_test(what_cannot_be_read_leaves_the_result_alone),
        cmocka_unit_test(all_of_what_tls_says_can_be_gone_through),
        cmocka_unit_test(each_error_has_its_text),
        cmocka_unit_test(reading_allocates_nothing),
    };
    return cmocka_run_group_tests_name("proxy_header", tests, NULL, NULL);
}
