// SPDX-License-Identifier: Apache-2.0

// Allocations and system calls of a life fail: once, 20 times, for ever. No crash, no
// leak, no spin; and afterwards a connection works. Usually of some of them; of all in `make torture`.

#include "memory.h"
#include "pair.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// From settings to the last byte, with whatever works. The certificates are there before.
typedef struct life {
    pem chain;
    pem key;
    csc_tls_version version;
} life;

typedef struct sides {
    csc_tls_identities *identities;
    csc_tls_identities *own;
    csc_tls_ticket_keys *keys;
    csc_tls_context *contexts[2];
    csc_tls *tls[2];
    int descriptors[2];
    unsigned char session[8192];
    size_t session_size; // 0 for none to resume
    bool keeps_session;  // of the next connection
    bool has_resumed;
} sides;

static void talk(sides *all) {
    csc_tls_result results[2] = {CSC_TLS_WANT_READ, CSC_TLS_WANT_READ};
    for (int steps = 0; steps < 40; steps++) {
        for (int side = 0; side < 2; side++) {
            if (all->tls[side]) {
                results[side] = csc_tls_handshake(all->tls[side]);
                assert_int_equal(ERR_peek_error(), 0);
            }
        }
        if (results[0] == CSC_TLS_DONE && results[1] == CSC_TLS_DONE) {
            break;
        }
    }
    char buffer[100];
    size_t count;
    for (int side = 0; side < 2; side++) {
        csc_tls *from = all->tls[side];
        csc_tls *to = all->tls[1 - side];
        for (int steps = 0; steps < 4 && from && to; steps++) {
            csc_tls_write(from, "some bytes", 10, &count);
            csc_tls_read(to, buffer, sizeof buffer, &count);
            assert_true(count == 0 || memcmp(buffer, "some bytes", count) == 0);
        }
    }
    for (int side = 0; side < 2; side++) {
        if (all->tls[side]) {
            unsigned char session[sizeof all->session];
            size_t size = csc_tls_copy_session(all->tls[side], session, sizeof session);
            if (all->keeps_session && size > 0) {
                memcpy(all->session, session, size);
                all->session_size = size;
            }
            csc_tls_copy_peer_certificate(all->tls[side], 0, session, sizeof session);
            csc_tls_release_buffers(all->tls[side]);
            csc_tls_end_writing(all->tls[side]);
            csc_tls_read(all->tls[side], buffer, sizeof buffer, &count);
            assert_int_equal(ERR_peek_error(), 0);
        }
    }
}

static csc_tls_context *new_context(const life *one, const sides *all, bool is_client) {
    static const char *const protocols[] = {"h2"};
    csc_tls_settings settings = {
        .is_client = is_client,
        .maximum_version = one->version,
        .application_protocols = protocols,
        .application_protocol_count = 1,
        .verify_mode = CSC_TLS_VERIFY_REQUIRED,
        .authorities = authority()->text,
        .authorities_size = authority()->size,
        .identities = is_client ? all->own : all->identities,
        .ticket_keys = all->keys,
    };
    csc_tls_error error;
    csc_tls_context *context = csc_tls_context_new(&settings, &error);
    assert_true(context || error.text[0] != 0);
    return context;
}

static void give_identity(const life *one, csc_tls_identities *identities) {
    csc_tls_error error;
    csc_tls_identity *identity = csc_tls_identity_from_pem(
        one->chain.text, one->chain.size, one->key.text, one->key.size, NULL, &error);
    if (identity && identities) {
        csc_tls_identity *stapling = csc_tls_identity_stapling(identity, "x", 1, NULL);
        csc_tls_identities_set(identities, NULL, stapling ? stapling : identity, NULL);
        csc_tls_identities_set(identities, "localhost", identity, NULL);
        csc_tls_identity_free(stapling);
    }
    csc_tls_identity_free(identity);
}

// What is allocated, without what OpenSSL keeps for the thread: texts of errors, random numbers.
static int64_t left(void) {
    OPENSSL_thread_stop();
    return memory_live();
}

static void prepare(const life *one, sides *all) {
    *all = (sides){.identities = csc_tls_identities_new(),
                   .own = csc_tls_identities_new(),
                   .keys = csc_tls_ticket_keys_new()};
    give_identity(one, all->identities);
    give_identity(one, all->own);
    all->contexts[0] = new_context(one, all, false);
    all->contexts[1] = new_context(one, all, true);
}

static void clean_up(sides *all) {
    csc_tls_context_free(all->contexts[0]);
    csc_tls_context_free(all->contexts[1]);
    csc_tls_identities_free(all->identities);
    csc_tls_identities_free(all->own);
    csc_tls_ticket_keys_free(all->keys);
}

// A connection's life.
static void connect_and_talk(sides *all) {
    fault_suspend();
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, all->descriptors) == 0);
    fault_resume();
    all->tls[0] = csc_tls_new_server(all->contexts[0], all->descriptors[0], NULL);
    all->tls[1] = csc_tls_new_client(all->contexts[1], all->descriptors[1], "localhost", NULL);
    if (all->session_size > 0 && all->tls[1]) {
        csc_tls_resume(all->tls[1], all->session, all->session_size);
    }
    talk(all);
    all->has_resumed = all->tls[0] && csc_tls_is_resumed(all->tls[0]);
    for (int side = 0; side < 2; side++) {
        csc_tls_free(all->tls[side]);
        fault_suspend();
        close(all->descriptors[side]);
        fault_resume();
    }
}

static life life_of(csc_tls_version version) {
    const certificate *one = certificate_for("localhost", KEY_ECDSA);
    authority();
    return (life){one->chain, one->key, version};
}

// EVERY_FAULT=1 in the environment: some minutes.
static int64_t stride_of(int64_t usual) {
    if (getenv("EVERY_FAULT")) {
        return 1;
    }
    return under_valgrind() ? usual * 61 : usual;
}

static void fail_connections(csc_tls_version version, bool is_resumed, int64_t count,
                             int64_t stride) {
    life one = life_of(version);
    sides all;
    prepare(&one, &all);
    all.keeps_session = is_resumed;
    connect_and_talk(&all); // OpenSSL loads what it needs once
    all.keeps_session = false;
    connect_and_talk(&all);
    assert_int_equal(all.has_resumed, is_resumed);
    int64_t before = left();
    memory_fail(0, 0);
    connect_and_talk(&all);
    int64_t total = memory_allocations();
    assert_true(total > 100);
    for (int64_t nth = 1; nth <= total; nth += stride) {
        memory_fail(nth, count);
        connect_and_talk(&all);
        memory_fail(0, 0);
        if (nth % 16 == 0) {
            assert_int_equal(left(), before);
        }
    }
    connect_and_talk(&all);
    assert_int_equal(left(), before);
    clean_up(&all);
}

static void any_allocation_of_a_connection_may_fail(void **state) {
    (void)state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        fail_connections(version, false, 1, stride_of(13));
        fail_connections(version, false, 20, stride_of(53));
        fail_connections(version, false, -1, stride_of(53));
    }
}

static void any_allocation_of_a_resumed_connection_may_fail(void **state) {
    (void)state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        fail_connections(version, true, 1, stride_of(13));
        fail_connections(version, true, 20, stride_of(53));
        fail_connections(version, true, -1, stride_of(53));
    }
}

static void any_allocation_of_settings_may_fail(void **state) {
    (void)state;
    static const int counts[] = {1, 20, -1};
    life one = life_of(CSC_TLS_VERSION_1_3);
    sides all;
    prepare(&one, &all);
    clean_up(&all);
    int64_t before = left();
    memory_fail(0, 0);
    prepare(&one, &all);
    int64_t total = memory_allocations();
    clean_up(&all);
    for (int index = 0; index < 3; index++) {
        for (int64_t nth = 1; nth <= total; nth += stride_of(97)) {
            memory_fail(nth, counts[index]);
            prepare(&one, &all);
            memory_fail(0, 0);
            clean_up(&all);
            assert_int_equal(left(), before);
        }
    }
}

static void any_system_call_may_fail(void **state) {
    (void)state;
    static const int errnos[][4] = {{EAGAIN, EINTR, ECONNRESET, ENOMEM},
                                    {EAGAIN, EPIPE, ECONNRESET, ENOBUFS}};
    static const fault_call calls[] = {FAULT_RECV, FAULT_SEND};
    static const int counts[] = {1, 20, -1};
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        life one = life_of(version);
        sides all;
        prepare(&one, &all);
        connect_and_talk(&all);
        int64_t before = left();
        for (int combination = 0; combination < 2 * 4 * 3 * 9;
             combination += under_valgrind() ? 7 : 1) {
            fault_call call = calls[combination % 2];
            int errnum = errnos[combination % 2][combination / 2 % 4];
            int count = counts[combination / 8 % 3];
            int nth = combination / 24 + 1;
            if (errnum == EINTR && count < 0) {
                continue; // interrupted for ever: no kernel does that
            }
            fault_fail(call, nth, count, errnum);
            fault_reset_counts();
            connect_and_talk(&all);
            assert_true(fault_calls(call) < 1000);
            fault_clear();
            assert_int_equal(left(), before);
        }
        clean_up(&all);
    }
}

static void a_lack_of_memory_is_said(void **state) {
    (void)state;
    csc_tls_settings settings = {0};
    csc_tls_error error;
    memory_fail(1, -1);
    csc_tls_context *context = csc_tls_context_new(&settings, &error);
    memory_fail(0, 0);
    assert_null(context);
    assert_int_equal(error.fault, CSC_TLS_FAULT_MEMORY);
    assert_string_equal(error.text, "There is not enough memory");

    pair *it = pair_new();
    csc_tls_failure failure = CSC_TLS_FAILURE_NONE;
    for (int64_t nth = 1; failure != CSC_TLS_FAILURE_MEMORY && nth < 100; nth++) {
        pair_connect(it);
        csc_tls_handshake(it->client);
        memory_fail(nth, 1);
        csc_tls_handshake(it->server);
        memory_fail(0, 0);
        failure = csc_tls_failure_of(it->server);
    }
    assert_int_equal(failure, CSC_TLS_FAILURE_MEMORY);
    assert_string_equal(csc_tls_failure_text(it->server), "There is not enough memory");
    pair_free(it);
}

int main(void) {
    memory_watch();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_of_a_connection_may_fail),
        cmocka_unit_test(any_allocation_of_a_resumed_connection_may_fail),
        cmocka_unit_test(any_allocation_of_settings_may_fail),
        cmocka_unit_test(any_system_call_may_fail),
        cmocka_unit_test(a_lack_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
