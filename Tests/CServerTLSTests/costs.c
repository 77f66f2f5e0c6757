// SPDX-License-Identifier: Apache-2.0

// What a message, an idle connection and a handshake cost: exact counts, so that they do not depend
// on the machine's load.

#include "memory.h"
#include "pair.h"

#include <openssl/ssl.h>
#include <string.h>

// OpenSSL 3.0 itself makes blocks of 40 bytes while it puts a record's header together: of TLS 1.2 two
// for one that it writes, of TLS 1.3 three, and one for one that it reads.
static int64_t writing_of_openssl(csc_tls_version version) {
    return version == CSC_TLS_VERSION_1_3 ? 3 : 2;
}

static int64_t reading_of_openssl(csc_tls_version version) {
    return version == CSC_TLS_VERSION_1_3;
}

// So many records that both keep their buffers.
static void make_busy(pair *it) {
    for (int messages = 0; messages < 16; messages++) {
        pair_exchange(it->client, it->server, 100);
        pair_exchange(it->server, it->client, 100);
    }
}

static void a_message_allocates_nothing_but_what_openssl_does(void **state) {
    (void)state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        pair *it = pair_new();
        it->server_settings.maximum_version = version;
        pair_handshake(it);
        make_busy(it);
        static const size_t sizes[] = {1, 64, 1000, 16384};
        for (size_t index = 0; index < sizeof sizes / sizeof *sizes; index++) {
            static char bytes[16384];
            size_t count;
            for (int messages = 0; messages < 10; messages++) {
                csc_tls *from = messages % 2 ? it->client : it->server;
                csc_tls *to = messages % 2 ? it->server : it->client;
                memory_reset();
                assert_int_equal(csc_tls_write(from, bytes, sizes[index], &count), CSC_TLS_DONE);
                assert_true(memory_allocations() <= writing_of_openssl(version));
                memory_reset();
                assert_int_equal(csc_tls_read(to, bytes, sizeof bytes, &count), CSC_TLS_DONE);
                assert_int_equal(count, sizes[index]);
                assert_true(memory_allocations() <= reading_of_openssl(version));
            }
        }
        pair_free(it);
    }
}

// Frees them: what is free already is none of it.
static int64_t held_in_buffers(csc_tls *tls) {
    int64_t before = memory_bytes();
    assert_true(csc_tls_release_buffers(tls));
    return before - memory_bytes();
}

static void an_idle_connection_has_no_buffers(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    make_busy(it);
    int64_t released = held_in_buffers(it->server);
    print_message("released: %ld bytes\n", (long)released);
    assert_true(released > 32000);
    int64_t with = memory_bytes();
    csc_tls_free(it->server);
    it->server = NULL;
    // Not the library's: OpenSSL 3.0 has about 10 KiB for a connection of TLS 1.3 without buffers.
    int64_t idle = with - memory_bytes();
    print_message("idle: %ld bytes\n", (long)idle);
    assert_true(idle < 20000);
    pair_free(it);
}

// Without a call of csc_tls_release_buffers(): of many clients that are slow in their handshakes, or that
// exchange a message now and then, the allocator would keep what all of them held at one time.
static void buffers_are_not_kept_before_a_connection_is_busy(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    csc_tls_handshake(it->client);
    assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_WANT_READ);
    assert_int_equal(held_in_buffers(it->server), 0);
    csc_tls_handshake(it->client);
    assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_DONE);
    int64_t before = memory_bytes();
    for (int messages = 0; messages < 5; messages++) {
        pair_exchange(it->server, it->client, 100); // the first one with a ticket
        assert_true(memory_bytes() - before < 2000);
        pair_exchange(it->client, it->server, 100);
        assert_true(memory_bytes() - before < 2000);
    }
    pair_free(it);
}

static void an_idle_connection_is_busy_no_more(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    make_busy(it);
    assert_true(held_in_buffers(it->server) > 32000);
    pair_exchange(it->client, it->server, 100);
    assert_int_equal(held_in_buffers(it->server), 0);
    make_busy(it);
    assert_true(held_in_buffers(it->server) > 32000);
    pair_free(it);
}

static void the_library_itself_allocates_little_for_a_connection(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    int64_t sizes[2];
    memory_reset();
    int64_t before = memory_bytes();
    csc_tls *one = csc_tls_new_server(it->server_context, 0, NULL);
    sizes[0] = memory_bytes() - before;
    int64_t allocations = memory_allocations();
    csc_tls_free(one);
    // The same of OpenSSL's alone.
    memory_reset();
    before = memory_bytes();
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int64_t with_context = memory_bytes();
    memory_reset();
    SSL *bare = SSL_new(ctx);
    BIO *bio = BIO_new(BIO_s_null());
    SSL_set_bio(bare, bio, bio);
    sizes[1] = memory_bytes() - with_context;
    int64_t bare_allocations = memory_allocations();
    SSL_free(bare);
    SSL_CTX_free(ctx);
    print_message("a connection: %ld bytes in %ld allocations, of OpenSSL alone %ld in %ld\n",
                  (long)sizes[0], (long)allocations, (long)sizes[1], (long)bare_allocations);
    // The connection's own, and OpenSSL's copy of the groups; a bare one has the BIO, too.
    assert_true(sizes[0] - sizes[1] <= 112);
    assert_true(allocations - bare_allocations <= 2);
    pair_free(it);
}

static void assert_first_write_is_cheap(const pair *it) {
    memory_reset();
    assert_writes(it->server, "hello");
    assert_true(memory_allocations() <= writing_of_openssl(CSC_TLS_VERSION_1_3) + 1);
    assert_reads(it->client, "hello");
    assert_true(csc_tls_copy_session(it->client, NULL, 0) > 0);
}

// The ticket of TLS 1.3 was made with the handshake, whose buffers were there.
static void the_first_write_costs_what_any_other_does(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    assert_first_write_is_cheap(it);
    session made = pair_session(it);
    assert_true(pair_resumes(it, &made));
    assert_first_write_is_cheap(it);
    pair_free(it);
}

static void a_handshake_costs_few_system_calls(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    fault_reset_counts();
    pair_results results = {CSC_TLS_WANT_READ, CSC_TLS_WANT_READ};
    uint64_t receives = 0;
    uint64_t sends = 0;
    while (results.server != CSC_TLS_DONE) {
        results.client = csc_tls_handshake(it->client);
        fault_reset_counts();
        results.server = csc_tls_handshake(it->server);
        receives += fault_calls(FAULT_RECV);
        sends += fault_calls(FAULT_SEND);
    }
    // ClientHello, nothing more, Finished; one flight.
    assert_int_equal(receives, 3);
    assert_int_equal(sends, 1);
    pair_free(it);
}

int main(void) {
    memory_watch();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_allocates_nothing_but_what_openssl_does),
        cmocka_unit_test(an_idle_connection_has_no_buffers),
        cmocka_unit_test(buffers_are_not_kept_before_a_connection_is_busy),
        cmocka_unit_test(an_idle_connection_is_busy_no_more),
        cmocka_unit_test(the_library_itself_allocates_little_for_a_connection),
        cmocka_unit_test(the_first_write_costs_what_any_other_does),
        cmocka_unit_test(a_handshake_costs_few_system_calls),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
