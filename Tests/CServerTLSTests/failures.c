// SPDX-License-Identifier: Apache-2.0

// Peers that do not speak TLS, or badly; and errors of others in the thread's queue.

#include "raw_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

// What a server says to a peer that has sent these bytes and, if it is to, ended its side.
static csc_tls_failure failure_of(pair *it, const void *bytes, size_t size, bool ends,
                                  const char *text) {
    pair_connect(it);
    if (size > 0) {
        assert_int_equal(send(it->descriptors[1], bytes, size, 0), size);
    }
    if (ends) {
        assert_int_equal(shutdown(it->descriptors[1], SHUT_WR), 0);
    }
    csc_tls_result result = csc_tls_handshake(it->server);
    csc_tls_failure failure = csc_tls_failure_of(it->server);
    assert_int_equal(result, text ? CSC_TLS_FAILED : CSC_TLS_WANT_READ);
    assert_string_equal(csc_tls_failure_text(it->server), text ? text : "");
    assert_int_equal(ERR_peek_error(), 0);
    if (failure == CSC_TLS_FAILURE_NOT_TLS || failure == CSC_TLS_FAILURE_SILENT) {
        char answer;
        assert_int_equal(recv(it->descriptors[1], &answer, 1, MSG_DONTWAIT), -1); // nothing
    }
    return failure;
}

static void a_peer_that_closes_before_its_first_byte_is_silent(void **state) {
    (void)state;
    pair *it = pair_new();
    assert_int_equal(
        failure_of(it, "", 0, true, "The peer has closed the connection without a byte"),
        CSC_TLS_FAILURE_SILENT);
    pair_free(it);
}

static void a_first_byte_of_another_protocol_is_noticed(void **state) {
    (void)state;
    pair *it = pair_new();
    for (int first = 0; first < 256; first++) {
        char bytes[] = {(char)first, 'E', 'T', ' ', '/'};
        assert_int_equal(failure_of(it, bytes, sizeof bytes, false,
                                    first == 0x16 ? "The peer has sent what TLS does not allow"
                                                  : "The peer does not speak TLS"),
                         first == 0x16 ? CSC_TLS_FAILURE_PROTOCOL : CSC_TLS_FAILURE_NOT_TLS);
    }
    assert_int_equal(failure_of(it, "\x16", 1, false, NULL), CSC_TLS_FAILURE_NONE);
    pair_free(it);
}

static void an_end_within_the_handshake_is_truncation(void **state) {
    (void)state;
    pair *it = pair_new();
    assert_int_equal(failure_of(it, "\x16\x03\x01", 3, true,
                                "The peer has closed the connection without the end of TLS"),
                     CSC_TLS_FAILURE_TRUNCATED);
    pair_free(it);
}

static void a_client_notices_a_server_that_does_not_speak_tls(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        size_t size;
        csc_tls_failure failure;
    } cases[] = {
        {"220 smtp", 8, CSC_TLS_FAILURE_NOT_TLS},
        {"\x15\x03\x03\x00\x02\x02\x28", 7, CSC_TLS_FAILURE_PEER_ALERT}, // handshake_failure
        {"\x17\x03\x03\x00\x01\x00", 6, CSC_TLS_FAILURE_NOT_TLS},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        pair *it = pair_new();
        pair_connect(it);
        assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_WANT_READ);
        send(it->descriptors[0], cases[index].answer, cases[index].size, 0);
        assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_FAILED);
        assert_int_equal(csc_tls_failure_of(it->client), cases[index].failure);
        if (cases[index].failure == CSC_TLS_FAILURE_PEER_ALERT) {
            assert_int_equal(csc_tls_alert_received(it->client), 40);
            assert_string_equal(csc_tls_failure_text(it->client),
                                "The peer has refused by an alert");
        }
        pair_free(it);
    }
}

// A ClientHello, or a record of a connection, with one byte changed: an error at the most.
static void changed_bytes_are_refused_or_mean_nothing(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_WANT_READ);
    unsigned char hello[2000];
    ssize_t size = recv(it->descriptors[0], hello, sizeof hello, 0);
    must(size > 100);
    int stride = under_valgrind() ? 61 : 1;
    for (ssize_t position = 0; position < size; position += stride) {
        for (int bit = 0; bit < 8; bit += 3) {
            pair_connect(it);
            hello[position] ^= (unsigned char)(1 << bit);
            send(it->descriptors[1], hello, (size_t)size, 0);
            hello[position] ^= (unsigned char)(1 << bit);
            shutdown(it->descriptors[1], SHUT_WR);
            for (int steps = 0; steps < 5; steps++) {
                csc_tls_result result = csc_tls_handshake(it->server);
                assert_true(result == CSC_TLS_FAILED || result == CSC_TLS_WANT_READ);
            }
        }
    }
    for (int position = 0; position < 40; position += under_valgrind() ? 7 : 1) {
        pair_handshake(it);
        assert_writes(it->client, "some more bytes");
        unsigned char record[200];
        size = recv(it->descriptors[0], record, sizeof record, 0);
        record[position % size] ^= 1;
        send(it->descriptors[1], record, (size_t)size, 0);
        char buffer[100];
        size_t count;
        csc_tls_result result = csc_tls_read(it->server, buffer, sizeof buffer, &count);
        assert_true(result == CSC_TLS_FAILED || result == CSC_TLS_WANT_READ);
        assert_int_equal(count, 0);
    }
    pair_free(it);
}

static void bytes_behind_a_handshake_that_are_none_fail_the_read_alone(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    send(it->descriptors[1], "garbage after Finished", 22, 0);
    assert_read_result(it->server, CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_PROTOCOL);
    assert_true(csc_tls_alert_sent(it->server) > 0);
    assert_read_result(it->server, CSC_TLS_FAILED);
    size_t count;
    assert_int_equal(csc_tls_write(it->server, "x", 1, &count), CSC_TLS_FAILED);
    assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_FAILED);
    pair_free(it);
}

static void errors_of_others_in_the_queue_change_nothing(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    for (int steps = 0; steps < 10; steps++) {
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        csc_tls_result result = csc_tls_handshake(it->client);
        assert_true(result == CSC_TLS_WANT_READ || result == CSC_TLS_DONE);
        ERR_raise(ERR_LIB_SYS, EIO);
        result = csc_tls_handshake(it->server);
        assert_true(result == CSC_TLS_WANT_READ || result == CSC_TLS_DONE);
    }
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_read_result(it->server, CSC_TLS_WANT_READ);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_writes(it->server, "x");
    assert_reads(it->client, "x");
    ERR_clear_error();
    pair_free(it);
}

static raw_client connect_raw(pair *it, csc_tls_version version) {
    it->server_settings.maximum_version = version;
    raw_client client = raw_client_new(it, "localhost");
    assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_DONE);
    return client;
}

static void versions_before_1_2_are_refused(void **state) {
    (void)state;
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION};
    for (int index = 0; index < 2; index++) {
        pair *it = pair_new();
        raw_client client = raw_client_new(it, "localhost");
        SSL_set_security_level(client.ssl, 0);
        SSL_set_min_proto_version(client.ssl, TLS1_VERSION);
        SSL_set_max_proto_version(client.ssl, versions[index]);
        assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_FAILED);
        assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_PROTOCOL);
        assert_int_equal(csc_tls_alert_sent(it->server), 70); // protocol_version
        raw_client_free(client);
        pair_free(it);
    }
}

static void early_data_is_not_offered(void **state) {
    (void)state;
    pair *it = pair_new();
    raw_client client = connect_raw(it, CSC_TLS_VERSION_1_3);
    char byte;
    assert_writes(it->server, "x");
    assert_int_equal(SSL_read(client.ssl, &byte, 1), 1);
    SSL_SESSION *ticket = SSL_get0_session(client.ssl);
    assert_true(SSL_SESSION_is_resumable(ticket));
    assert_int_equal(SSL_SESSION_get_max_early_data(ticket), 0);
    raw_client_free(client);
    pair_free(it);
}

static void renegotiation_is_refused_and_the_connection_goes_on(void **state) {
    (void)state;
    pair *it = pair_new();
    raw_client client = connect_raw(it, CSC_TLS_VERSION_1_2);
    must(SSL_renegotiate(client.ssl) == 1);
    assert_int_equal(SSL_do_handshake(client.ssl), -1);
    assert_read_result(it->server, CSC_TLS_WANT_READ);
    assert_int_equal(csc_tls_alert_sent(it->server), 100); // no_renegotiation
    assert_writes(it->server, "still here");
    raw_client_free(client);
    pair_free(it);
}

static void update_key(raw_client client, int updates) {
    while (updates-- > 0) {
        must(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        must(SSL_do_handshake(client.ssl) == 1);
    }
}

static void key_updates_go_through_and_a_flood_keeps_no_read_busy(void **state) {
    (void)state;
    pair *it = pair_new();
    raw_client client = connect_raw(it, CSC_TLS_VERSION_1_3);
    for (int rounds = 0; rounds < 5; rounds++) {
        char byte;
        update_key(client, 10);
        must(SSL_write(client.ssl, "y", 1) == 1);
        assert_reads(it->server, "y");
        assert_writes(it->server, "z"); // behind its own update
        assert_int_equal(SSL_read(client.ssl, &byte, 1), 1);
    }
    // A read does not go on as long as they come.
    char flood[65536];
    size_t size = 0;
    for (int rounds = 0; rounds < 20; rounds++) {
        update_key(client, 100);
        ssize_t length = recv(it->descriptors[0], flood + size, sizeof flood - size, 0);
        must(length > 0);
        size += (size_t)length;
    }
    must(send(it->descriptors[1], flood, size, 0) == (ssize_t)size);
    must(SSL_write(client.ssl, "y", 1) == 1);
    char buffer[10];
    size_t count;
    int reads = 0;
    csc_tls_result result;
    do {
        recv(it->descriptors[1], flood, sizeof flood, MSG_DONTWAIT); // the answers
        fault_reset_counts();
        result = csc_tls_read(it->server, buffer, sizeof buffer, &count);
        assert_true(fault_calls(FAULT_RECV) <= 1 && fault_calls(FAULT_SEND) < 2000);
        reads++;
    } while ((result == CSC_TLS_WANT_READ || result == CSC_TLS_WANT_WRITE) && reads < 9999);
    assert_int_equal(result, CSC_TLS_DONE);
    assert_true(reads > 2);
    raw_client_free(client);
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_closes_before_its_first_byte_is_silent),
        cmocka_unit_test(a_first_byte_of_another_protocol_is_noticed),
        cmocka_unit_test(an_end_within_the_handshake_is_truncation),
        cmocka_unit_test(a_client_notices_a_server_that_does_not_speak_tls),
        cmocka_unit_test(changed_bytes_are_refused_or_mean_nothing),
        cmocka_unit_test(bytes_behind_a_handshake_that_are_none_fail_the_read_alone),
        cmocka_unit_test(errors_of_others_in_the_queue_change_nothing),
        cmocka_unit_test(versions_before_1_2_are_refused),
        cmocka_unit_test(early_data_is_not_offered),
        cmocka_unit_test(renegotiation_is_refused_and_the_connection_goes_on),
        cmocka_unit_test(key_updates_go_through_and_a_flood_keeps_no_read_busy),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
