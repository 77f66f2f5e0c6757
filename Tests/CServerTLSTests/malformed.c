// SPDX-License-Identifier: Apache-2.0

// Beginnings of handshakes that are malformed, or only unusual: the right alert, another connection
// undisturbed, and the memory back.

#include "memory.h"
#include "pair.h"

#include <string.h>
#include <sys/socket.h>

enum { HEADER = 5, MESSAGE_HEADER = 4, LARGEST = 16384, NO_ALERT = -1 };
enum { UNEXPECTED_MESSAGE = 10, RECORD_OVERFLOW = 22, ILLEGAL_PARAMETER = 47, DECODE_ERROR = 50 };

// A ClientHello of the library's client, in one record.
static unsigned char hello[4096];
static size_t hello_size;

// What is sent.
static unsigned char sent[1 << 20];
static size_t sent_size;

static void begin(void) {
    sent_size = 0;
}

static void add(const void *bytes, size_t size) {
    must(sent_size + size <= sizeof sent);
    memcpy(sent + sent_size, bytes, size);
    sent_size += size;
}

static void add_record(int type, const void *bytes, size_t size) {
    unsigned char header[HEADER] = {(unsigned char)type, 3, 1, (unsigned char)(size >> 8),
                                    (unsigned char)size};
    add(header, sizeof header);
    add(bytes, size);
}

static void add_hello(void) {
    add(hello, hello_size);
}

static void take_hello(pair *it) {
    pair_connect(it);
    assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_WANT_READ);
    ssize_t size = recv(it->descriptors[0], hello, sizeof hello, 0);
    must(size > 100);
    hello_size = (size_t)size;
}

// Sends it to a server, as fast as that reads, and says how that goes.
static csc_tls_result server_result(pair *it) {
    pair_connect(it);
    size_t passed = 0;
    csc_tls_result result = CSC_TLS_WANT_READ;
    while (result == CSC_TLS_WANT_READ && passed < sent_size) {
        ssize_t count = send(it->descriptors[1], sent + passed, sent_size - passed,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
        must(count > 0);
        passed += (size_t)count;
        fault_reset_counts();
        for (int steps = 0; steps < 100 && result == CSC_TLS_WANT_READ; steps++) {
            result = csc_tls_handshake(it->server);
        }
    }
    return result;
}

static void expect(pair *it, csc_tls_result result, int alert) {
    csc_tls_result got = server_result(it);
    if (got != result || csc_tls_alert_sent(it->server) != alert) {
        fail_msg("result %d, alert %d", (int)got, csc_tls_alert_sent(it->server));
    }
    if (result == CSC_TLS_FAILED) {
        assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_PROTOCOL);
    }
}

// The answer to a good ClientHello has begun, and the handshake waits for the client.
static void expect_answer(pair *it) {
    expect(it, CSC_TLS_WANT_READ, NO_ALERT);
    unsigned char answer;
    assert_int_equal(recv(it->descriptors[1], &answer, 1, MSG_DONTWAIT), 1);
    assert_int_equal(answer, 0x16);
}

static int set_up(void **state) {
    pair *it = pair_new();
    take_hello(it);
    begin();
    *state = it;
    return 0;
}

static int tear_down(void **state) {
    pair_handshake(*state); // the next client
    pair_exchange(((pair *)*state)->client, ((pair *)*state)->server, 100);
    pair_free(*state);
    return 0;
}

static void records_of_one_byte_are_put_together(void **state) {
    for (size_t index = HEADER; index < hello_size; index++) {
        add_record(0x16, hello + index, 1);
    }
    expect_answer(*state);
}

static void records_may_be_cut_anywhere(void **state) {
    for (size_t first = 1; first < hello_size - HEADER; first += 13) {
        begin();
        add_record(0x16, hello + HEADER, first);
        add_record(0x16, hello + HEADER + first, hello_size - HEADER - first);
        expect_answer(*state);
    }
}

static void lengths_of_records_have_their_limit(void **state) {
    static unsigned char bytes[65535];
    static const struct {
        size_t size;
        csc_tls_result result;
        int alert;
    } cases[] = {
        {LARGEST + 1, CSC_TLS_FAILED, RECORD_OVERFLOW},
        {LARGEST + 256, CSC_TLS_FAILED, RECORD_OVERFLOW},
        {LARGEST + 2048, CSC_TLS_FAILED, RECORD_OVERFLOW},
        {LARGEST + 2049, CSC_TLS_FAILED, RECORD_OVERFLOW},
        {65535, CSC_TLS_FAILED, RECORD_OVERFLOW},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        begin();
        add_record(0x16, bytes, cases[index].size);
        expect(*state, cases[index].result, cases[index].alert);
    }
}

static void a_flood_of_empty_records_ends(void **state) {
    for (int records = 0; records < 1000; records++) {
        add_record(0x16, "", 0);
    }
    expect(*state, CSC_TLS_FAILED, UNEXPECTED_MESSAGE);
}

static void a_flood_of_alerts_ends(void **state) {
    for (int alerts = 0; alerts < 1000; alerts++) {
        add_record(0x16, hello + HEADER, 1); // the first byte of a connection is a handshake's
        add_record(0x15, "\x01\x5a", 2);     // user_canceled
    }
    csc_tls_result result = server_result(*state);
    assert_int_equal(result, CSC_TLS_FAILED);
}

static void two_hellos_in_a_record_are_refused(void **state) {
    unsigned char both[8192];
    size_t size = hello_size - HEADER;
    memcpy(both, hello + HEADER, size);
    memcpy(both + size, hello + HEADER, size);
    add_record(0x16, both, 2 * size);
    expect(*state, CSC_TLS_FAILED, UNEXPECTED_MESSAGE);
}

static void another_message_than_a_hello_is_refused(void **state) {
    for (int type = 0; type < 256; type++) {
        if (type == 1) {
            continue;
        }
        unsigned char message[] = {(unsigned char)type, 0, 0, 4, 0, 0, 0, 0};
        begin();
        add_record(0x16, message, sizeof message);
        expect(*state, CSC_TLS_FAILED, UNEXPECTED_MESSAGE);
    }
}

static void a_length_that_is_not_the_messages_is_refused(void **state) {
    static const int changes[] = {-200, -33, -2, -1};
    for (size_t index = 0; index < sizeof changes / sizeof *changes; index++) {
        unsigned char message[4096];
        size_t size = hello_size - HEADER;
        memcpy(message, hello + HEADER, size);
        size_t length = size - MESSAGE_HEADER + (size_t)changes[index];
        message[2] = (unsigned char)(length >> 8);
        message[3] = (unsigned char)length;
        begin();
        add_record(0x16, message, size);
        csc_tls_result result = server_result(*state);
        assert_int_equal(result, CSC_TLS_FAILED);
    }
}

static void a_hello_without_an_end_is_bounded(void **state) {
    static unsigned char zeros[LARGEST];
    unsigned char message[] = {1, 0xff, 0xff, 0xff};
    add_record(0x16, message, sizeof message);
    for (int records = 0; records < 20; records++) {
        add_record(0x16, zeros, sizeof zeros);
    }
    int64_t before = memory_bytes();
    expect(*state, CSC_TLS_FAILED, ILLEGAL_PARAMETER); // refused by its length alone
    assert_true(memory_bytes() - before < 100000);
}

// With the extension that is for it (RFC 7685).
static void a_large_hello_is_answered(void **state) {
    unsigned char message[LARGEST];
    size_t size = hello_size - HEADER;
    memcpy(message, hello + HEADER, size);
    size_t padding = sizeof message - size - 4;
    // Where the extensions begin: version, random, session, ciphers, compression.
    size_t place = MESSAGE_HEADER + 2 + 32;
    place += 1 + message[place];
    place += 2 + ((size_t)message[place] << 8 | message[place + 1]);
    place += 1 + message[place];
    size_t extensions = ((size_t)message[place] << 8 | message[place + 1]) + 4 + padding;
    message[place] = (unsigned char)(extensions >> 8);
    message[place + 1] = (unsigned char)extensions;
    unsigned char header[] = {0, 21, (unsigned char)(padding >> 8), (unsigned char)padding};
    memcpy(message + size, header, sizeof header);
    memset(message + size + sizeof header, 0, padding);
    size_t length = sizeof message - MESSAGE_HEADER;
    message[2] = (unsigned char)(length >> 8);
    message[3] = (unsigned char)length;
    add_record(0x16, message, sizeof message);
    expect_answer(*state);
}

static void records_of_other_types_are_refused(void **state) {
    static const int types[] = {0, 20, 23, 24, 255};
    for (size_t index = 0; index < sizeof types / sizeof *types; index++) {
        begin();
        add_record(0x16, hello + HEADER, 1);
        add_record(types[index], "\x01\x02\x03", 3);
        csc_tls_result result = server_result(*state);
        assert_int_equal(result, CSC_TLS_FAILED);
        assert_true(csc_tls_alert_sent(((pair *)*state)->server) > 0);
    }
}

static void bytes_of_clear_text_after_the_hello_are_refused(void **state) {
    add_hello();
    add_record(0x17, "early", 5);
    expect(*state, CSC_TLS_FAILED, DECODE_ERROR);
}

static void bad_clients_leave_no_memory(void **state) {
    pair *it = *state;
    int64_t before = 0;
    for (int clients = 0; clients < (under_valgrind() ? 20 : 300); clients++) {
        begin();
        add_record(0x16, hello + HEADER, hello_size - HEADER - (size_t)clients % 200);
        add_record(0x14, "\x02", 1);
        server_result(it);
        pair_disconnect(it);
        if (clients == 10) {
            before = memory_bytes();
        }
    }
    assert_true(memory_bytes() <= before + 2000); // texts of OpenSSL's errors
}

#define one(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    memory_watch();
    const struct CMUnitTest tests[] = {
        one(records_of_one_byte_are_put_together),
        one(records_may_be_cut_anywhere),
        one(lengths_of_records_have_their_limit),
        one(a_flood_of_empty_records_ends),
        one(a_flood_of_alerts_ends),
        one(two_hellos_in_a_record_are_refused),
        one(another_message_than_a_hello_is_refused),
        one(a_length_that_is_not_the_messages_is_refused),
        one(a_hello_without_an_end_is_bounded),
        one(a_large_hello_is_answered),
        one(records_of_other_types_are_refused),
        one(bytes_of_clear_text_after_the_hello_are_refused),
        one(bad_clients_leave_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
