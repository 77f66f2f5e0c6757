// SPDX-License-Identifier: Apache-2.0

// Loops on several threads with a context each, while another thread renews the identity and the
// ticket keys: every handshake gets one or the other certificate, whole. And connections whose use of
// the descriptor ends while another thread has them.

#include "pair.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOPS = 2, HANDSHAKES = 60 };

typedef struct loop {
    pthread_t thread;
    pair *common; // the settings alone are used
    int resumed;
} loop;

static atomic_int loops_left;
static csc_tls_identity *both[2];

static void one_handshake(loop *it, csc_tls_context *server_context,
                          csc_tls_context *client_context, session *kept) {
    int descriptors[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, descriptors) == 0);
    csc_tls *server = csc_tls_new_server(server_context, descriptors[0], it);
    csc_tls *client = csc_tls_new_client(client_context, descriptors[1], NULL, it);
    must(server && client);
    if (kept->size > 0) {
        must(csc_tls_resume(client, kept->bytes, kept->size));
    }
    csc_tls_result result = CSC_TLS_WANT_READ;
    for (int steps = 0; steps < 20 && result != CSC_TLS_DONE; steps++) {
        csc_tls_handshake(client);
        result = csc_tls_handshake(server);
    }
    must(result == CSC_TLS_DONE);
    must(csc_tls_handshake(client) == CSC_TLS_DONE);
    it->resumed += csc_tls_is_resumed(server);
    size_t count;
    char byte = 0;
    must(csc_tls_write(server, "x", 1, &count) == CSC_TLS_DONE);
    must(csc_tls_read(client, &byte, 1, &count) == CSC_TLS_DONE && byte == 'x');
    kept->size = csc_tls_copy_session(client, kept->bytes, sizeof kept->bytes);
    must(kept->size > 0 && kept->size <= sizeof kept->bytes);
    csc_tls_free(server);
    csc_tls_free(client);
    close(descriptors[0]);
    close(descriptors[1]);
}

static void *run_loop(void *argument) {
    loop *it = argument;
    csc_tls_context *server = csc_tls_context_new(&it->common->server_settings, NULL);
    csc_tls_context *client = csc_tls_context_new(&it->common->client_settings, NULL);
    must(server && client);
    session kept = {.size = 0};
    for (int index = 0; index < (under_valgrind() ? 9 : HANDSHAKES); index++) {
        if (index % 3 == 0) {
            kept.size = 0; // a full one
        }
        one_handshake(it, server, client, &kept);
    }
    csc_tls_context_free(server);
    csc_tls_context_free(client);
    atomic_fetch_sub(&loops_left, 1);
    return NULL;
}

static void identities_and_keys_change_while_loops_shake_hands(void **state) {
    (void)state;
    pair *common = pair_new();
    common->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
    both[0] = identity_for("first", KEY_ECDSA);
    both[1] = identity_for("second", KEY_RSA);
    assert_true(csc_tls_identities_set(common->identities, NULL, both[0], NULL));
    loop loops[LOOPS] = {0};
    atomic_store(&loops_left, LOOPS);
    for (int index = 0; index < LOOPS; index++) {
        loops[index].common = common;
        must(pthread_create(&loops[index].thread, NULL, run_loop, &loops[index]) == 0);
    }
    char name[40];
    for (int round = 0; atomic_load(&loops_left) > 0; round++) {
        must(csc_tls_identities_set(common->identities, NULL, both[round % 2], NULL));
        snprintf(name, sizeof name, "h%d.example.com", round % 50);
        must(csc_tls_identities_set(common->identities, name, round % 3 ? both[0] : NULL, NULL));
        if (round % 1000 == 0) {
            must(csc_tls_ticket_keys_rotate(common->keys));
        }
        sched_yield();
    }
    int resumed = 0;
    for (int index = 0; index < LOOPS; index++) {
        must(pthread_join(loops[index].thread, NULL) == 0);
        resumed += loops[index].resumed;
    }
    assert_true(resumed > 0);
    csc_tls_identity_free(both[0]);
    csc_tls_identity_free(both[1]);
    pair_free(common);
}

static void an_abandoned_connection_makes_no_system_call(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_connect(it);
    assert_int_equal(csc_tls_handshake(it->client), CSC_TLS_WANT_READ);
    csc_tls_abandon(it->server);
    csc_tls_abandon(it->server);
    fault_reset_counts();
    assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_SYSTEM);
    assert_int_equal(csc_tls_errno(it->server), EBADF);
    pair_disconnect(it);

    pair_handshake(it);
    csc_tls_abandon(it->server);
    fault_reset_counts();
    size_t count;
    assert_int_equal(csc_tls_write(it->server, "x", 1, &count), CSC_TLS_FAILED);
    assert_int_equal(csc_tls_errno(it->server), EBADF);
    char byte;
    assert_int_equal(csc_tls_read(it->server, &byte, 1, &count), CSC_TLS_FAILED);
    assert_int_equal(csc_tls_errno(it->server), EBADF);
    assert_int_equal(fault_calls(FAULT_RECV) + fault_calls(FAULT_SEND), 0);
    pair_free(it);
}

// Its recv() is interrupted so often that another thread comes meanwhile.
enum { INTERRUPTIONS = 300000 };

typedef struct step {
    csc_tls *tls;
    atomic_bool has_begun;
    csc_tls_result result;
} step;

static void *make_step(void *argument) {
    step *it = argument;
    fault_fail(FAULT_RECV, 1, under_valgrind() ? 1000 : INTERRUPTIONS, EINTR);
    atomic_store(&it->has_begun, true);
    it->result = csc_tls_handshake(it->tls);
    fault_clear();
    return NULL;
}

static void a_descriptor_that_is_abandoned_during_a_step_is_not_used_after_it(void **state) {
    (void)state;
    pair *it = pair_new();
    for (int round = 0; round < 10; round++) {
        pair_connect(it);
        step step = {.tls = it->server};
        pthread_t thread;
        must(pthread_create(&thread, NULL, make_step, &step) == 0);
        while (!atomic_load(&step.has_begun)) {
            sched_yield();
        }
        csc_tls_abandon(it->server);
        // The number is another file's from now on, and there is something to read.
        int other[2];
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other) == 0);
        must(dup2(other[0], it->descriptors[0]) == it->descriptors[0]);
        must(write(other[1], "theirs", 6) == 6);
        must(pthread_join(thread, NULL) == 0);
        assert_true(step.result == CSC_TLS_FAILED || step.result == CSC_TLS_WANT_READ);
        char bytes[10];
        assert_int_equal(recv(other[0], bytes, sizeof bytes, MSG_DONTWAIT), 6);
        assert_int_equal(recv(other[1], bytes, sizeof bytes, MSG_DONTWAIT), -1);
        close(other[0]);
        close(other[1]);
        pair_disconnect(it);
    }
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_abandoned_connection_makes_no_system_call),
        cmocka_unit_test(a_descriptor_that_is_abandoned_during_a_step_is_not_used_after_it),
        cmocka_unit_test(identities_and_keys_change_while_loops_shake_hands),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
