// SPDX-License-Identifier: Apache-2.0

// Ends: close_notify against truncation, half-close both ways, resets.

#include "pair.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static pair *pair_of(csc_tls_version version) {
    pair *it = pair_new();
    it->server_settings.maximum_version = version;
    pair_handshake(it);
    return it;
}

#define for_both_versions(version)                                                                 \
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++)

static void after_the_peers_end_writing_goes_on(void **state) {
    (void)state;
    for_both_versions(version) {
        for (int side = 0; side < 2; side++) {
            pair *it = pair_of(version);
            csc_tls *ending = side == 0 ? it->client : it->server;
            csc_tls *other = side == 0 ? it->server : it->client;
            assert_writes(ending, "request");
            assert_int_equal(csc_tls_end_writing(ending), CSC_TLS_DONE);
            assert_int_equal(csc_tls_end_writing(ending), CSC_TLS_DONE);
            assert_int_equal(shutdown(it->descriptors[side == 0], SHUT_WR), 0);
            assert_reads(other, "request");
            assert_read_result(other, CSC_TLS_END);
            assert_read_result(other, CSC_TLS_END);
            assert_int_equal(csc_tls_failure_of(other), CSC_TLS_FAILURE_NONE);
            pair_exchange(other, ending, 100000);
            assert_int_equal(csc_tls_end_writing(other), CSC_TLS_DONE);
            assert_read_result(ending, CSC_TLS_END);
            size_t count;
            assert_int_equal(csc_tls_write(ending, "x", 1, &count), CSC_TLS_FAILED);
            assert_int_equal(csc_tls_failure_of(ending), CSC_TLS_FAILURE_MISUSE);
            pair_free(it);
        }
    }
}

static void an_end_without_close_notify_is_truncation(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_of(version);
        assert_writes(it->client, "half a mess");
        assert_int_equal(shutdown(it->descriptors[1], SHUT_WR), 0);
        assert_reads(it->server, "half a mess"); // what came before stays readable
        assert_read_result(it->server, CSC_TLS_FAILED);
        assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_TRUNCATED);
        assert_string_equal(csc_tls_failure_text(it->server),
                            "The peer has closed the connection without the end of TLS");
        assert_read_result(it->server, CSC_TLS_FAILED);
        assert_false(csc_tls_has_buffered_input(it->server));
        pair_exchange(it->server, it->client, 1000); // for protocols that allow that
        assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_DONE);
        assert_read_result(it->client, CSC_TLS_END);
        pair_free(it);
    }
}

static void an_end_within_a_record_is_truncation(void **state) {
    (void)state;
    pair *it = pair_of(CSC_TLS_VERSION_1_3);
    assert_writes(it->client, "cut");
    char record[100];
    ssize_t size = recv(it->descriptors[0], record, sizeof record, 0);
    assert_int_equal(send(it->descriptors[1], record, (size_t)size - 1, 0), size - 1);
    assert_int_equal(shutdown(it->descriptors[1], SHUT_WR), 0);
    assert_read_result(it->server, CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_TRUNCATED);
    pair_free(it);
}

static void an_end_waits_for_room_and_follows_what_was_written(void **state) {
    (void)state;
    pair *it = pair_of(CSC_TLS_VERSION_1_3);
    char *bytes = calloc(1, 1 << 20);
    must(bytes);
    size_t count;
    size_t total = 0;
    while (csc_tls_write(it->server, bytes, 1000, &count) == CSC_TLS_DONE) {
        total += count;
    }
    size_t received = 0;
    bool has_ended = false;
    bool is_written = false;
    while (!has_ended) {
        csc_tls_result result = csc_tls_read(it->client, bytes, 1 << 20, &count);
        received += count;
        if (result == CSC_TLS_END) {
            has_ended = true;
        } else if (!is_written) {
            is_written = csc_tls_write(it->server, bytes, 1000, &count) == CSC_TLS_DONE;
            total += count;
        } else {
            assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_DONE);
        }
    }
    assert_int_equal(received, total);

    // Where there is no room for close_notify itself, it is sent later.
    pair_handshake(it);
    char junk[4096] = {0};
    while (send(it->descriptors[0], junk, sizeof junk, MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_WANT_WRITE);
    while (recv(it->descriptors[1], bytes, 1 << 20, MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_DONE);
    assert_read_result(it->client, CSC_TLS_END);
    free(bytes);
    pair_free(it);
}

static void a_peer_that_is_gone_is_an_error_and_no_signal(void **state) {
    (void)state;
    struct sigaction first = {.sa_handler = SIG_DFL};
    struct sigaction before;
    assert_int_equal(sigaction(SIGPIPE, &first, &before), 0);
    pair *it = pair_of(CSC_TLS_VERSION_1_3);
    shutdown(it->descriptors[1], SHUT_RDWR);
    size_t count;
    assert_int_equal(csc_tls_write(it->server, "x", 1, &count), CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_SYSTEM);
    assert_int_equal(csc_tls_errno(it->server), EPIPE);
    assert_string_equal(csc_tls_failure_text(it->server), "A system call failed");
    pair_free(it);
    sigaction(SIGPIPE, &before, NULL);
}

static void after_a_failed_write_what_came_stays_readable(void **state) {
    (void)state;
    pair *it = pair_of(CSC_TLS_VERSION_1_3);
    assert_writes(it->server, "hello"); // with the ticket, whose failure would end the session
    assert_writes(it->client, "last words");
    fault_fail(FAULT_SEND, 1, 1, EPIPE);
    size_t count;
    assert_int_equal(csc_tls_write(it->server, "x", 1, &count), CSC_TLS_FAILED);
    fault_clear();
    assert_reads(it->server, "last words");
    pair_free(it);
}

static void a_reset_is_an_error_with_its_errno(void **state) {
    (void)state;
    pair *it = pair_of(CSC_TLS_VERSION_1_3);
    fault_fail(FAULT_RECV, 1, 1, ECONNRESET);
    assert_read_result(it->server, CSC_TLS_FAILED);
    fault_clear();
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_SYSTEM);
    assert_int_equal(csc_tls_errno(it->server), ECONNRESET);
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_the_peers_end_writing_goes_on),
        cmocka_unit_test(an_end_without_close_notify_is_truncation),
        cmocka_unit_test(an_end_within_a_record_is_truncation),
        cmocka_unit_test(an_end_waits_for_room_and_follows_what_was_written),
        cmocka_unit_test(a_peer_that_is_gone_is_an_error_and_no_signal),
        cmocka_unit_test(after_a_failed_write_what_came_stays_readable),
        cmocka_unit_test(a_reset_is_an_error_with_its_errno),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
