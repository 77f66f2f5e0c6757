// SPDX-License-Identifier: Apache-2.0

// Bytes: partial writes, buffers that move, what is buffered while the descriptor is silent.

#include "pair.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { LARGE = 1 << 20 };

static bool is_readable(int descriptor) {
    struct pollfd one = {.fd = descriptor, .events = POLLIN};
    return poll(&one, 1, 0) == 1;
}

static void partial_writes_go_on_from_another_buffer_with_more_bytes(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    unsigned char *bytes = malloc(LARGE);
    unsigned char *got = malloc(LARGE);
    must(bytes && got);
    for (size_t index = 0; index < LARGE; index++) {
        bytes[index] = (unsigned char)(index / 3);
    }
    size_t sent = 0;
    size_t received = 0;
    size_t offered = 5000; // of the first call; more comes to it with each
    while (received < LARGE) {
        size_t count = 0;
        if (sent < LARGE) {
            offered = offered + 30000 < LARGE - sent ? offered + 30000 : LARGE - sent;
            unsigned char *moved = malloc(offered);
            must(moved);
            memcpy(moved, bytes + sent, offered);
            csc_tls_result result = csc_tls_write(it->server, moved, offered, &count);
            assert_true(result == (count == offered ? CSC_TLS_DONE : CSC_TLS_WANT_WRITE));
            free(moved);
            sent += count;
            offered -= count;
        }
        if (received < LARGE &&
            csc_tls_read(it->client, got + received, LARGE - received, &count) == CSC_TLS_DONE) {
            received += count;
        }
    }
    assert_memory_equal(bytes, got, LARGE);
    free(bytes);
    free(got);
    pair_free(it);
}

static void fewer_bytes_than_a_write_has_begun_are_refused_and_harm_nothing(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    char *bytes = calloc(1, LARGE);
    must(bytes);
    size_t count;
    size_t total = 0;
    assert_int_equal(csc_tls_write(it->server, bytes, LARGE, &count), CSC_TLS_WANT_WRITE);
    total += count;
    size_t more;
    assert_int_equal(csc_tls_write(it->server, bytes, 10, &more), CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_MISUSE);
    assert_string_equal(csc_tls_failure_text(it->server),
                        "The call does not go with the state of the connection");
    assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_FAILED);
    size_t received = 0;
    while (received < LARGE) {
        csc_tls_read(it->client, bytes, LARGE, &count);
        received += count;
        if (total < LARGE) {
            csc_tls_write(it->server, bytes, LARGE - total, &count);
            total += count;
        }
    }
    assert_int_equal(received, LARGE);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_NONE);
    assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_DONE);
    free(bytes);
    pair_free(it);
}

// With the program's loop: it reads when the descriptor is readable, or as it is asked to.
static size_t read_as_a_loop_does(csc_tls *tls, int descriptor, size_t buffer_size) {
    char buffer[512];
    size_t received = 0;
    size_t count;
    while (csc_tls_has_buffered_input(tls) || is_readable(descriptor)) {
        csc_tls_read(tls, buffer, buffer_size, &count);
        received += count;
    }
    return received;
}

static void bytes_behind_the_handshake_are_announced(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    // The client's Finished and its first bytes come together.
    assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_WANT_READ);
    assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_WANT_READ);
    assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_DONE);
    assert_writes(it->client, "GET /");
    assert_false(csc_tls_has_buffered_input(it->server));
    assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_DONE);
    assert_false(is_readable(it->descriptors[0]));
    assert_true(csc_tls_has_buffered_input(it->server));
    assert_reads(it->server, "GET /");
    assert_false(csc_tls_has_buffered_input(it->server));
    pair_free(it);
}

static void no_record_is_left_where_the_descriptor_is_silent(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    for (size_t records = 1; records <= 5; records++) {
        for (size_t buffer_size = 1; buffer_size <= 300; buffer_size += 23) {
            for (size_t record = 0; record < records; record++) {
                char bytes[150] = {0};
                size_t count;
                assert_int_equal(csc_tls_write(it->client, bytes, sizeof bytes, &count),
                                 CSC_TLS_DONE);
            }
            assert_int_equal(read_as_a_loop_does(it->server, it->descriptors[0], buffer_size),
                             records * 150);
        }
    }
    pair_free(it);
}

static void a_part_of_a_record_is_no_buffered_input(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    assert_writes(it->client, "in two parts");
    char record[200];
    ssize_t size = recv(it->descriptors[0], record, sizeof record, 0);
    assert_true(size > 20);
    assert_int_equal(send(it->descriptors[1], record, 20, 0), 20);
    assert_read_result(it->server, CSC_TLS_WANT_READ);
    assert_false(csc_tls_has_buffered_input(it->server));
    assert_int_equal(send(it->descriptors[1], record + 20, (size_t)size - 20, 0), size - 20);
    assert_reads(it->server, "in two parts");
    pair_free(it);
}

static void a_message_costs_one_recv_and_one_send(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    pair_exchange(it->server, it->client, 10); // with it the ticket
    size_t sizes[] = {1, 64, 4096, 16384};
    for (size_t index = 0; index < sizeof sizes / sizeof *sizes; index++) {
        static char bytes[16384];
        size_t count;
        fault_reset_counts();
        assert_int_equal(csc_tls_write(it->client, bytes, sizes[index], &count), CSC_TLS_DONE);
        assert_int_equal(fault_calls(FAULT_SEND), 1);
        assert_int_equal(csc_tls_read(it->server, bytes, sizeof bytes, &count), CSC_TLS_DONE);
        assert_int_equal(count, sizes[index]);
        assert_false(csc_tls_has_buffered_input(it->server));
        assert_int_equal(fault_calls(FAULT_RECV), 1);
        assert_int_equal(fault_calls(FAULT_SEND), 1);
        assert_int_equal(fault_calls(FAULT_READ) + fault_calls(FAULT_WRITE), 0);
    }
    pair_free(it);
}

static void calls_do_not_block_where_the_descriptor_does(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it); // of sockets that block
    assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_WANT_READ);
    pair_step(it);
    assert_read_result(it->server, CSC_TLS_WANT_READ);
    char *bytes = calloc(1, LARGE);
    size_t count;
    must(bytes);
    assert_int_equal(csc_tls_write(it->server, bytes, LARGE, &count), CSC_TLS_WANT_WRITE);
    free(bytes);
    pair_free(it);
}

static void buffers_of_an_idle_connection_are_released(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    for (int messages = 0; messages < 17; messages++) { // after 16 they are kept
        pair_exchange(it->server, it->client, 100);
    }
    int64_t before = fault_live_allocations();
    assert_true(csc_tls_release_buffers(it->server));
    if (fault_counts_allocations() && !under_valgrind()) {
        assert_true(fault_live_allocations() < before);
    }
    assert_writes(it->client, "one");
    assert_writes(it->client, "two");
    assert_reads(it->server, "one");
    assert_false(csc_tls_release_buffers(it->server)); // the second one is in them
    assert_reads(it->server, "two");
    assert_true(csc_tls_release_buffers(it->server));
    pair_exchange(it->server, it->client, 100);
    pair_free(it);
}

static void a_record_whose_header_was_read_survives_a_release_of_buffers(void **state) {
    (void)state;
    enum { HEADER = 5 };
    pair *it = pair_new();
    pair_handshake(it);
    for (ssize_t part = 1; part <= HEADER + 1; part++) {
        assert_writes(it->client, "in two parts");
        char record[200];
        ssize_t size = recv(it->descriptors[0], record, sizeof record, 0);
        assert_true(size > HEADER + 1);
        assert_int_equal(send(it->descriptors[1], record, (size_t)part, 0), part);
        assert_read_result(it->server, CSC_TLS_WANT_READ);
        assert_false(csc_tls_release_buffers(it->server));
        assert_int_equal(send(it->descriptors[1], record + part, (size_t)(size - part), 0),
                         size - part);
        assert_reads(it->server, "in two parts");
        assert_true(csc_tls_release_buffers(it->server));
    }
    pair_free(it);
}

static void calls_before_the_handshake_are_refused(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    size_t count = 1;
    char byte = 0;
    assert_int_equal(csc_tls_write(it->client, &byte, 1, &count), CSC_TLS_FAILED);
    assert_int_equal(count, 0);
    assert_int_equal(csc_tls_failure_of(it->client), CSC_TLS_FAILURE_MISUSE);
    assert_read_result(it->client, CSC_TLS_FAILED);
    assert_int_equal(csc_tls_end_writing(it->client), CSC_TLS_FAILED);
    assert_false(csc_tls_has_buffered_input(it->client));
    assert_int_equal(csc_tls_version_of(it->client), CSC_TLS_VERSION_ANY);
    assert_null(csc_tls_cipher(it->client));
    pair_results results = pair_step(it);
    assert_int_equal(results.server, CSC_TLS_DONE);
    pair_exchange(it->client, it->server, 100);
    assert_null(csc_tls_new_server(it->client_context, 0, NULL));
    assert_null(csc_tls_new_client(it->server_context, 0, "localhost", NULL));
    assert_null(csc_tls_new_client(it->client_context, 0, NULL, NULL)); // a name is required
    assert_null(csc_tls_new_client(it->client_context, 0, "", NULL));
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partial_writes_go_on_from_another_buffer_with_more_bytes),
        cmocka_unit_test(fewer_bytes_than_a_write_has_begun_are_refused_and_harm_nothing),
        cmocka_unit_test(bytes_behind_the_handshake_are_announced),
        cmocka_unit_test(no_record_is_left_where_the_descriptor_is_silent),
        cmocka_unit_test(a_part_of_a_record_is_no_buffered_input),
        cmocka_unit_test(a_message_costs_one_recv_and_one_send),
        cmocka_unit_test(calls_do_not_block_where_the_descriptor_does),
        cmocka_unit_test(buffers_of_an_idle_connection_are_released),
        cmocka_unit_test(a_record_whose_header_was_read_survives_a_release_of_buffers),
        cmocka_unit_test(calls_before_the_handshake_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
