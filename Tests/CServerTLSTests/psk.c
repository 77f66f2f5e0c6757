// SPDX-License-Identifier: Apache-2.0

// Pre-shared keys of TLS 1.2 and 1.3, of both sides of the library, and of OpenSSL's client.

#include "memory.h"
#include "raw_client.h"

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <string.h>

// The only key that the server has.
static const char IDENTITY[] = "device-1";
static const char KEY[] = "0123456789abcdefGHIJKLMNOPQRSTUV";

// What each side answers, and what the questions were.
static const char *client_identity;
static const char *client_key;
static int server_questions;
static int client_questions;
static char asked_identity[300];
static char last_hint[300];
static bool closes;

static void on_server_question(csc_tls *tls, const csc_tls_psk_question *question, void *context) {
    assert_non_null(context);
    assert_int_equal(question->longest_identity, 0);
    assert_true(question->longest_key >= 64);
    server_questions++;
    snprintf(asked_identity, sizeof asked_identity, "%s", question->text);
    if (closes) {
        csc_tls_abandon(tls);
    }
    if (strcmp(question->text, IDENTITY) == 0) {
        assert_true(csc_tls_answer_psk(tls, NULL, KEY, strlen(KEY)));
    }
}

static void on_client_question(csc_tls *tls, const csc_tls_psk_question *question, void *context) {
    assert_non_null(context);
    assert_true(question->longest_identity >= 128);
    client_questions++;
    snprintf(last_hint, sizeof last_hint, "%s", question->text ? question->text : "(none)");
    if (client_key) {
        csc_tls_answer_psk(tls, client_identity, client_key, strlen(client_key));
    }
}

static int set_up(void **state) {
    client_identity = IDENTITY;
    client_key = KEY;
    server_questions = client_questions = 0;
    closes = false;
    pair *it = pair_new();
    it->server_settings.psk = on_server_question;
    it->client_settings.psk = on_client_question;
    *state = it;
    return 0;
}

static int tear_down(void **state) {
    pair_free(*state);
    return 0;
}

static void remove_certificate(pair *it) {
    csc_tls_identities_set(it->identities, "localhost", NULL, NULL);
}

#define for_versions(it, version)                                                                  \
    for (csc_tls_version version = CSC_TLS_VERSION_1_2;                                            \
         version <= CSC_TLS_VERSION_1_3 && use_version(it, version); version++)

static bool use_version(pair *it, csc_tls_version version) {
    pair_disconnect(it);
    pair_forget_contexts(it);
    it->server_settings.maximum_version = version;
    server_questions = client_questions = 0;
    return true;
}

static void assert_is_by_key(pair *it) {
    assert_string_equal(csc_tls_psk_identity(it->server), IDENTITY);
    assert_string_equal(csc_tls_psk_identity(it->client), IDENTITY);
    assert_false(csc_tls_is_resumed(it->server));
    assert_false(csc_tls_is_resumed(it->client));
    assert_int_equal(csc_tls_verify_error(it->client), 0);
    assert_int_equal(csc_tls_copy_peer_certificate(it->client, 0, NULL, 0), 0);
}

static void a_key_needs_no_certificate(void **state) {
    pair *it = *state;
    remove_certificate(it);
    for_versions(it, version) {
        pair_handshake(it);
        assert_int_equal(csc_tls_version_of(it->server), version);
        assert_is_by_key(it);
        assert_int_equal(server_questions, 1);
        assert_string_equal(asked_identity, IDENTITY);
        const char *suite = version == CSC_TLS_VERSION_1_3
                                ? "_SHA256"
                                : "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256";
        assert_non_null(strstr(csc_tls_cipher(it->server), suite));
        pair_exchange(it->client, it->server, 1000);
        pair_exchange(it->server, it->client, 1000);
    }
}

static void a_key_goes_before_a_certificate(void **state) {
    pair *it = *state;
    for_versions(it, version) {
        pair_handshake(it);
        assert_is_by_key(it);
    }
}

static void an_unknown_identity_is_refused(void **state) {
    pair *it = *state;
    remove_certificate(it);
    client_identity = "stranger";
    for_versions(it, version) {
        pair_fail_on_server(it, CSC_TLS_FAILURE_NO_KEY);
        assert_string_equal(csc_tls_failure_text(it->server),
                            "There is no pre-shared key for the peer");
        // unknown_psk_identity; handshake_failure
        assert_int_equal(csc_tls_alert_sent(it->server), version == CSC_TLS_VERSION_1_2 ? 115 : 40);
        assert_null(csc_tls_psk_identity(it->server));
    }
}

static void an_unknown_identity_gets_the_certificate_of_tls_1_3(void **state) {
    pair *it = *state;
    client_identity = "stranger";
    pair_handshake(it);
    assert_int_equal(server_questions, 1);
    assert_null(csc_tls_psk_identity(it->server));
    assert_null(csc_tls_psk_identity(it->client));
    assert_string_equal(peer_name(it->client), "localhost");
}

static void a_wrong_key_is_refused(void **state) {
    pair *it = *state;
    client_key = "0123456789abcdefGHIJKLMNOPQRSTUW";
    for_versions(it, version) {
        pair_fail_on_server(it, CSC_TLS_FAILURE_PROTOCOL);
    }
}

static void a_client_without_a_key_gets_the_certificate(void **state) {
    pair *it = *state;
    client_key = NULL;
    pair_handshake(it);
    assert_int_equal(client_questions, 1);
    assert_int_equal(server_questions, 0);
    assert_string_equal(peer_name(it->client), "localhost");

    remove_certificate(it);
    use_version(it, CSC_TLS_VERSION_1_2); // the suite was offered, and there is no key for it
    pair_fail_on_client(it, CSC_TLS_FAILURE_NO_KEY);
}

static void a_hint_is_sent_by_tls_1_2(void **state) {
    pair *it = *state;
    remove_certificate(it);
    it->server_settings.psk_hint = "the usual";
    for_versions(it, version) {
        pair_handshake(it);
        assert_string_equal(last_hint, version == CSC_TLS_VERSION_1_2 ? "the usual" : "(none)");
    }
    char hint[1000];
    memset(hint, 'x', sizeof hint);
    hint[sizeof hint - 1] = 0;
    it->server_settings.psk_hint = hint;
    csc_tls_error error;
    assert_null(csc_tls_context_new(&it->server_settings, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_PSK_HINT);
    assert_non_null(strstr(error.text, "The hint for pre-shared keys cannot be used"));
}

static void answer_wrongly(csc_tls *tls, const csc_tls_psk_question *question, void *context) {
    (void)context;
    static const char bytes[2000] = "x";
    char name[1000];
    memset(name, 'x', sizeof name);
    name[question->longest_identity + 1] = 0;
    assert_false(csc_tls_answer_psk(tls, "name", bytes, 0));
    assert_false(csc_tls_answer_psk(tls, "name", bytes, question->longest_key + 1));
    assert_false(csc_tls_answer_psk(tls, NULL, bytes, 16));
    assert_false(csc_tls_answer_psk(tls, name, bytes, 16));
    name[question->longest_identity] = 0;
    assert_true(csc_tls_answer_psk(tls, name, bytes, question->longest_key));
    assert_true(csc_tls_answer_psk(tls, IDENTITY, KEY, strlen(KEY))); // the last one counts
}

static void answers_that_are_too_long_are_none(void **state) {
    pair *it = *state;
    it->client_settings.psk = answer_wrongly;
    pair_handshake(it);
    assert_is_by_key(it);
    assert_false(csc_tls_answer_psk(it->client, IDENTITY, KEY, strlen(KEY))); // not asked
}

static void without_a_name_only_the_key_is_accepted(void **state) {
    pair *it = *state;
    it->server_name = NULL;
    for_versions(it, version) {
        pair_handshake(it);
        assert_is_by_key(it);
    }
    csc_tls_identity *identity = identity_for("localhost", KEY_ECDSA);
    csc_tls_identities_set(it->identities, NULL, identity, NULL);
    csc_tls_identity_free(identity);
    it->server_settings.psk = NULL;
    for_versions(it, version) {
        pair_fail_on_client(it, CSC_TLS_FAILURE_VERIFICATION);
        assert_int_equal(csc_tls_verify_error(it->client), X509_V_ERR_HOSTNAME_MISMATCH);
    }
}

static void a_key_makes_no_session_to_resume(void **state) {
    pair *it = *state;
    for_versions(it, version) {
        pair_handshake(it);
        assert_int_equal(pair_session(it).size, 0);
    }
}

static unsigned give_key(SSL *ssl, const char *hint, char *identity, unsigned longest_identity,
                         unsigned char *key, unsigned longest_key) {
    (void)ssl;
    (void)hint;
    snprintf(identity, longest_identity, "%s", IDENTITY);
    assert_true(longest_key >= strlen(KEY));
    memcpy(key, KEY, strlen(KEY));
    return (unsigned)strlen(KEY);
}

static void a_key_of_tls_1_3_makes_no_ticket(void **state) {
    pair *it = *state;
    for (int has_key = 0; has_key < 2; has_key++) {
        raw_client client = raw_client_new(it, "localhost");
        if (has_key) {
            SSL_set_psk_client_callback(client.ssl, give_key);
        }
        assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_DONE);
        assert_int_equal(csc_tls_psk_identity(it->server) != NULL, has_key);
        assert_writes(it->server, "hello");
        char buffer[10];
        assert_int_equal(SSL_read(client.ssl, buffer, sizeof buffer), 5);
        assert_int_equal(SSL_SESSION_has_ticket(SSL_get0_session(client.ssl)), !has_key);
        raw_client_free(client);
    }
}

static void a_second_first_message_has_the_key_as_far_as_its_digest_goes(void **state) {
    pair *it = *state;
    it->server_settings.groups = "P-384"; // not the client's first choice
    pair_handshake(it);
    assert_is_by_key(it);
    assert_int_equal(client_questions, 2);
    it->client_settings.cipher_suites = "TLS_AES_256_GCM_SHA384";
    use_version(it, CSC_TLS_VERSION_1_3);
    pair_handshake(it);
    assert_null(csc_tls_psk_identity(it->server));
    assert_null(csc_tls_psk_identity(it->client));
    assert_string_equal(peer_name(it->client), "localhost");
    assert_int_equal(client_questions, 1);
}

static void a_ticket_of_a_key_is_not_accepted(void **state) {
    pair *it = *state;
    it->server_settings.maximum_version = CSC_TLS_VERSION_1_2;
    remove_certificate(it);
    SSL_SESSION *session = NULL;
    for (int round = 1; round <= 2; round++) {
        raw_client client = raw_client_new(it, "localhost");
        SSL_set_psk_client_callback(client.ssl, give_key);
        if (session) {
            assert_true(SSL_SESSION_has_ticket(session));
            assert_int_equal(SSL_set_session(client.ssl, session), 1);
        }
        assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_DONE);
        assert_int_equal(SSL_session_reused(client.ssl), 0);
        assert_int_equal(server_questions, round);
        SSL_SESSION_free(session);
        session = SSL_get1_session(client.ssl);
        raw_client_free(client);
    }
    SSL_SESSION_free(session);
}

static void a_ticket_is_not_taken_for_an_identity(void **state) {
    pair *it = *state;
    client_key = NULL;
    pair_handshake(it);
    session first = pair_session(it);
    assert_true(first.size > 0);
    assert_true(pair_resumes(it, &first));
    assert_int_equal(server_questions, 0);
    // With a ticket and a key the ticket counts.
    client_key = KEY;
    pair_disconnect(it);
    pair_handshake(it);
    assert_is_by_key(it);
    client_key = NULL;
    pair_handshake(it);
    first = pair_session(it);
    client_key = KEY;
    assert_true(pair_resumes(it, &first));
    assert_null(csc_tls_psk_identity(it->client));
    assert_null(csc_tls_psk_identity(it->server));
}

static void a_descriptor_may_be_closed_in_the_callback(void **state) {
    pair *it = *state;
    remove_certificate(it);
    closes = true;
    for_versions(it, version) {
        pair_fail_on_server(it, CSC_TLS_FAILURE_SYSTEM);
        assert_int_equal(csc_tls_errno(it->server), EBADF);
    }
}

static void the_key_is_wiped(void **state) {
    pair *it = *state;
    remove_certificate(it);
    memory_seek(KEY, strlen(KEY));
    for_versions(it, version) {
        pair_handshake(it);
        pair_exchange(it->client, it->server, 100);
    }
    client_identity = "stranger";
    for_versions(it, version) {
        pair_fail_on_server(it, CSC_TLS_FAILURE_NO_KEY);
    }
    pair_disconnect(it);
    pair_forget_contexts(it);
    assert_int_equal(memory_found(), 0);
    memory_seek(NULL, 0);
}

static void without_memory_the_handshake_fails(void **state) {
    pair *it = *state;
    remove_certificate(it);
    for_versions(it, version) {
        bool has_failed = true;
        for (int nth = 1; nth < 2000 && has_failed; nth++) {
            pair_connect(it);
            memory_fail(nth, 1);
            pair_results results = pair_step(it);
            has_failed = memory_failures() > 0;
            memory_fail(0, 0);
            assert_true(has_failed || results.server == CSC_TLS_DONE);
        }
        assert_false(has_failed);
        pair_handshake(it);
    }
}

int main(void) {
    memory_watch();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_needs_no_certificate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_goes_before_a_certificate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_identity_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_identity_gets_the_certificate_of_tls_1_3, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_without_a_key_gets_the_certificate, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_hint_is_sent_by_tls_1_2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_that_are_too_long_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_name_only_the_key_is_accepted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_makes_no_session_to_resume, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_of_tls_1_3_makes_no_ticket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_second_first_message_has_the_key_as_far_as_its_digest_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_ticket_of_a_key_is_not_accepted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_ticket_is_not_taken_for_an_identity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_descriptor_may_be_closed_in_the_callback, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_key_is_wiped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_the_handshake_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
