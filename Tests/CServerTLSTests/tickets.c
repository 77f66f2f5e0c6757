// SPDX-License-Identifier: Apache-2.0

// Ticket keys: shared, rotated, exported, imported; and what a ticket must not go around.

#include "raw_client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define for_both_versions(version)                                                                 \
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++)

static void renew_contexts(pair *it) {
    pair_disconnect(it);
    pair_forget_contexts(it);
}

static session first_session(pair *it, csc_tls_version version) {
    renew_contexts(it);
    it->server_settings.maximum_version = version;
    pair_handshake(it);
    session made = pair_session(it);
    assert_true(made.size > 0);
    return made;
}

static void tickets_outlive_two_rotations_and_not_three(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        session made = first_session(it, version);
        for (int rotations = 1; rotations <= 3; rotations++) {
            assert_true(csc_tls_ticket_keys_rotate(it->keys));
            assert_int_equal(pair_resumes(it, &made), rotations < 3);
        }
        made = pair_session(it); // after a full handshake there is a new one
        assert_true(pair_resumes(it, &made));
        pair_free(it);
    }
}

static void exported_keys_open_the_tickets_of_another_process(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        session made = first_session(it, version);
        unsigned char exported[CSC_TLS_TICKET_KEYS_SIZE];
        unsigned char again[CSC_TLS_TICKET_KEYS_SIZE];
        csc_tls_ticket_keys_export(it->keys, exported);
        renew_contexts(it);
        csc_tls_ticket_keys_free(it->keys);
        it->server_settings.ticket_keys = it->keys = csc_tls_ticket_keys_new();
        assert_false(pair_resumes(it, &made));
        assert_true(csc_tls_ticket_keys_import(it->keys, exported, sizeof exported, NULL));
        assert_true(pair_resumes(it, &made));
        csc_tls_ticket_keys_export(it->keys, again);
        assert_memory_equal(again, exported, sizeof exported);
        pair_free(it);
    }
}

static void bytes_that_are_no_keys_change_nothing(void **state) {
    (void)state;
    csc_tls_ticket_keys *keys = csc_tls_ticket_keys_new();
    unsigned char before[CSC_TLS_TICKET_KEYS_SIZE];
    unsigned char after[CSC_TLS_TICKET_KEYS_SIZE];
    unsigned char wrong[CSC_TLS_TICKET_KEYS_SIZE];
    csc_tls_error error;
    csc_tls_ticket_keys_export(keys, before);
    memcpy(wrong, before, sizeof wrong);
    assert_false(csc_tls_ticket_keys_import(keys, wrong, sizeof wrong - 1, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_TICKET_KEYS);
    assert_string_equal(error.text, "These are not exported ticket keys");
    wrong[0] ^= 1;
    assert_false(csc_tls_ticket_keys_import(keys, wrong, sizeof wrong, NULL));
    wrong[0] ^= 1;
    memset(wrong + 8, 0, sizeof wrong - 8);
    assert_false(csc_tls_ticket_keys_import(keys, wrong, sizeof wrong, &error));
    assert_string_equal(error.text, "These exported ticket keys have no key");
    for (size_t key = 0; key < 3; key++) { // of a time before 1970
        memcpy(wrong, before, sizeof wrong);
        memset(wrong + 8 + 88 * key, 0x80, sizeof(int64_t));
        assert_false(csc_tls_ticket_keys_import(keys, wrong, sizeof wrong, &error));
        assert_int_equal(error.fault, CSC_TLS_FAULT_TICKET_KEYS);
    }
    csc_tls_ticket_keys_export(keys, after);
    assert_memory_equal(before, after, sizeof before);
    csc_tls_ticket_keys_free(keys);
    csc_tls_ticket_keys_free(NULL);
}

// The exported form has the time of the newest key after its first eight bytes.
static void an_old_key_is_replaced_when_a_ticket_is_written(void **state) {
    (void)state;
    static const int64_t ages[] = {CSC_TLS_TICKET_PERIOD - 600, CSC_TLS_TICKET_PERIOD + 1,
                                   -CSC_TLS_TICKET_PERIOD - 600};
    for (size_t index = 0; index < sizeof ages / sizeof *ages; index++) {
        pair *it = pair_new();
        unsigned char exported[CSC_TLS_TICKET_KEYS_SIZE];
        unsigned char after[CSC_TLS_TICKET_KEYS_SIZE];
        csc_tls_ticket_keys_export(it->keys, exported);
        int64_t made = time(NULL) - ages[index];
        memcpy(exported + 8, &made, sizeof made);
        assert_true(csc_tls_ticket_keys_import(it->keys, exported, sizeof exported, NULL));
        pair_handshake(it);
        pair_session(it);
        csc_tls_ticket_keys_export(it->keys, after);
        if (index == 0) {
            assert_memory_equal(after, exported, sizeof after);
        } else {
            assert_memory_equal(after + 8 + 88, exported + 8, 88); // is the second one now
            assert_memory_not_equal(after + 8, exported + 8, 88);
        }
        pair_free(it);
    }
}

static void without_keys_there_are_no_tickets(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        it->server_settings.ticket_keys = NULL;
        it->server_settings.maximum_version = version;
        pair_handshake(it);
        session none = pair_session(it);
        assert_int_equal(none.size, 0);
        pair_free(it);
    }
}

static size_t arrived(const pair *it) {
    char bytes[1000];
    ssize_t count = recv(it->descriptors[1], bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    return count > 0 ? (size_t)count : 0;
}

static void a_ticket_comes_in_one_send_with_the_first_bytes(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    assert_int_equal(arrived(it), 0);
    fault_reset_counts();
    assert_writes(it->server, "hello");
    assert_int_equal(fault_calls(FAULT_SEND), 1);
    assert_reads(it->client, "hello");
    assert_true(csc_tls_copy_session(it->client, NULL, 0) > 0);
    pair_free(it);
}

static void a_ticket_that_is_sent_in_parts_arrives_whole(void **state) {
    (void)state;
    for (size_t most = 1; most < 400; most += 19) {
        pair *it = pair_new();
        pair_handshake(it);
        fault_shorten(FAULT_SEND, 1, 1, most);
        size_t count = 0;
        csc_tls_result result = csc_tls_write(it->server, "hello", 5, &count);
        if (result == CSC_TLS_WANT_WRITE) {
            assert_int_equal(csc_tls_write(it->server, "hello", 5, &count), CSC_TLS_DONE);
        }
        fault_clear();
        assert_int_equal(count, 5);
        assert_reads(it->client, "hello");
        assert_true(csc_tls_copy_session(it->client, NULL, 0) > 0);
        pair_exchange(it->server, it->client, 20000);
        pair_free(it);
    }
}

static void a_ticket_waits_for_room(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    fault_fail(FAULT_SEND, 1, 1, EAGAIN);
    size_t count;
    assert_int_equal(csc_tls_write(it->server, "hello", 5, &count), CSC_TLS_WANT_WRITE);
    fault_clear();
    assert_int_equal(csc_tls_write(it->server, "hello", 5, &count), CSC_TLS_DONE);
    assert_reads(it->client, "hello");
    assert_true(csc_tls_copy_session(it->client, NULL, 0) > 0);
    pair_free(it);
}

// What is encrypted has a place in the order of the records.
static void a_ticket_comes_before_the_end_of_a_server_that_wrote_nothing(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    assert_int_equal(csc_tls_end_writing(it->server), CSC_TLS_DONE);
    assert_read_result(it->client, CSC_TLS_END);
    assert_true(csc_tls_copy_session(it->client, NULL, 0) > 0);
    pair_free(it);
}

static void a_ticket_is_for_its_server_name_alone(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        csc_tls_identity *identity = identity_for("other.example.org", KEY_ECDSA);
        csc_tls_identities_set(it->identities, "other.example.org", identity, NULL);
        csc_tls_identity_free(identity);
        // Without names on the client, the server alone is what refuses.
        it->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
        session made = first_session(it, version);
        it->server_name = "other.example.org";
        pair_connect(it);
        assert_false(csc_tls_resume(it->client, made.bytes, made.size)); // the client refuses
        pair_free(it);
    }
}

// A client that offers it for another name all the same.
static void a_server_refuses_a_ticket_of_another_name(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        it->server_settings.maximum_version = version;
        csc_tls_identity *identity = identity_for("other.example.org", KEY_ECDSA);
        csc_tls_identities_set(it->identities, "other.example.org", identity, NULL);
        csc_tls_identity_free(identity);
        raw_client client = raw_client_new(it, "localhost");
        assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_DONE);
        char byte;
        assert_writes(it->server, "x");
        assert_int_equal(SSL_read(client.ssl, &byte, 1), 1);
        SSL_SESSION *ticket = SSL_get1_session(client.ssl);
        raw_client_free(client);
        const char *names[] = {"localhost", "other.example.org"};
        for (int index = 0; index < 2; index++) {
            client = raw_client_new(it, names[index]);
            must(SSL_set_session(client.ssl, ticket) == 1);
            assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_DONE);
            assert_int_equal(csc_tls_is_resumed(it->server), index == 0);
            raw_client_free(client);
        }
        SSL_SESSION_free(ticket);
        pair_free(it);
    }
}

static void a_ticket_does_not_go_around_a_certificate(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        session made = first_session(it, version); // no certificate was asked for
        renew_contexts(it);
        csc_tls_identity *identity = identity_for("client", KEY_ECDSA);
        csc_tls_identities_set(it->own, NULL, identity, NULL);
        csc_tls_identity_free(identity);
        it->server_settings.verify_mode = CSC_TLS_VERIFY_REQUIRED;
        assert_false(pair_resumes(it, &made));
        assert_string_equal(peer_name(it->server), "client");
        made = pair_session(it);
        assert_true(pair_resumes(it, &made));
        assert_string_equal(peer_name(it->server), "client");

        made = pair_session(it);
        renew_contexts(it);
        it->server_settings.authorities = other_authority()->text; // trusts others now
        it->server_settings.authorities_size = other_authority()->size;
        pair_connect(it);
        assert_true(csc_tls_resume(it->client, made.bytes, made.size));
        assert_int_equal(pair_step(it).server, CSC_TLS_FAILED);
        assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_VERIFICATION);
        pair_free(it);
    }
}

static void a_client_resumes_only_what_it_has_verified(void **state) {
    (void)state;
    pair *it = pair_new();
    it->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
    session made = first_session(it, CSC_TLS_VERSION_1_3);
    renew_contexts(it);
    it->client_settings.verify_mode = CSC_TLS_VERIFY_AUTOMATIC;
    pair_connect(it);
    assert_false(csc_tls_resume(it->client, made.bytes, made.size));
    assert_false(csc_tls_resume(it->client, "no session", 10));
    assert_false(csc_tls_resume(it->client, "", 0));
    assert_false(csc_tls_resume(it->server, made.bytes, made.size));
    pair_results results = pair_step(it);
    assert_int_equal(results.client, CSC_TLS_DONE);
    assert_false(csc_tls_is_resumed(it->client));
    assert_false(csc_tls_resume(it->client, made.bytes, made.size)); // too late
    assert_int_equal(csc_tls_copy_session(it->server, NULL, 0), 0);
    pair_free(it);
}

static void accept_any(csc_tls *tls, long verify_error, void *context) {
    (void)verify_error;
    (void)context;
    csc_tls_answer_verify(tls, true);
}

static void a_client_whose_program_decides_is_asked_each_time(void **state) {
    (void)state;
    for_both_versions(version) {
        pair *it = pair_new();
        session made = first_session(it, version);
        renew_contexts(it);
        it->client_settings.verify = accept_any;
        pair_connect(it);
        assert_false(csc_tls_resume(it->client, made.bytes, made.size));
        assert_int_equal(pair_step(it).client, CSC_TLS_DONE);
        assert_false(csc_tls_is_resumed(it->client));
        assert_int_equal(pair_session(it).size, 0); // it has none to give
        pair_free(it);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tickets_outlive_two_rotations_and_not_three),
        cmocka_unit_test(exported_keys_open_the_tickets_of_another_process),
        cmocka_unit_test(bytes_that_are_no_keys_change_nothing),
        cmocka_unit_test(an_old_key_is_replaced_when_a_ticket_is_written),
        cmocka_unit_test(without_keys_there_are_no_tickets),
        cmocka_unit_test(a_ticket_comes_in_one_send_with_the_first_bytes),
        cmocka_unit_test(a_ticket_that_is_sent_in_parts_arrives_whole),
        cmocka_unit_test(a_ticket_waits_for_room),
        cmocka_unit_test(a_ticket_comes_before_the_end_of_a_server_that_wrote_nothing),
        cmocka_unit_test(a_ticket_is_for_its_server_name_alone),
        cmocka_unit_test(a_server_refuses_a_ticket_of_another_name),
        cmocka_unit_test(a_ticket_does_not_go_around_a_certificate),
        cmocka_unit_test(a_client_resumes_only_what_it_has_verified),
        cmocka_unit_test(a_client_whose_program_decides_is_asked_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
