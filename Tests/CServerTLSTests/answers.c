// SPDX-License-Identifier: Apache-2.0

// Questions to the program: the identity of a name, and whether a certificate is accepted; answered
// at once, or later.

#include "pair.h"

#include <openssl/x509_vfy.h>
#include <string.h>

// What the callbacks saw, and what they answer.
static int lookups;
static char looked_up[64];
static csc_tls_identity *answer_at_once;
static int questions;
static long asked_error;
static char asked_name[64];

static void note_lookup(csc_tls *tls, const char *name, void *context) {
    assert_non_null(context);
    lookups++;
    snprintf(looked_up, sizeof looked_up, "%s", name ? name : "(none)");
    if (answer_at_once) {
        csc_tls_answer_lookup(tls, answer_at_once);
    }
}

static void note_question(csc_tls *tls, long verify_error, void *context) {
    assert_non_null(context);
    questions++;
    asked_error = verify_error;
    snprintf(asked_name, sizeof asked_name, "%s", peer_name(tls));
}

static void accept_any(csc_tls *tls, long verify_error, void *context) {
    (void)verify_error;
    (void)context;
    csc_tls_answer_verify(tls, true);
    csc_tls_answer_verify(tls, false); // too late
}

static int set_up(void **state) {
    lookups = 0;
    questions = 0;
    answer_at_once = NULL;
    *state = pair_new();
    return 0;
}

static int tear_down(void **state) {
    pair_free(*state);
    return 0;
}

static void a_lookup_that_answers_at_once_costs_no_wait(void **state) {
    pair *it = *state;
    it->server_settings.lookup = note_lookup;
    it->server_name = "customer.example.org";
    answer_at_once = identity_for("customer.example.org", KEY_ECDSA);
    pair_handshake(it);
    assert_int_equal(lookups, 1);
    assert_string_equal(looked_up, "customer.example.org");
    assert_string_equal(peer_name(it->client), "customer.example.org");
    it->server_name = "localhost"; // is in the map
    pair_handshake(it);
    assert_int_equal(lookups, 1);
    csc_tls_identity_free(answer_at_once);
}

static void a_lookup_may_answer_later(void **state) {
    pair *it = *state;
    it->server_settings.lookup = note_lookup;
    it->server_name = "later.example.org";
    csc_tls_identity *identity = identity_for("later.example.org", KEY_ECDSA);
    for (int groups = 0; groups < 2; groups++) {
        it->server_settings.groups = groups ? "P-384" : NULL; // a second ClientHello
        pair_connect(it);
        pair_results results = pair_step(it);
        assert_int_equal(results.server, CSC_TLS_WANT_ANSWER);
        assert_int_equal(csc_tls_handshake(it->server), CSC_TLS_WANT_ANSWER);
        assert_int_equal(lookups, groups + 1); // asked once
        assert_string_equal(csc_tls_server_name(it->server), "later.example.org");
        csc_tls_answer_lookup(it->server, identity);
        csc_tls_answer_lookup(it->server, NULL); // ignored
        results = pair_step(it);
        assert_int_equal(results.server, CSC_TLS_DONE);
        assert_int_equal(results.client, CSC_TLS_DONE);
        assert_string_equal(peer_name(it->client), "later.example.org");
        pair_exchange(it->client, it->server, 1000);
        pair_disconnect(it);
        pair_forget_contexts(it);
    }
    csc_tls_identity_free(identity);
}

static void a_lookup_is_for_names_alone(void **state) {
    pair *it = *state;
    static const char *const others[] = {"../../etc/passwd", "a b", "a..b",          "%2e%2e", ".",
                                         "*.example.org",    "a..", "*.example.org."};
    it->server_settings.lookup = note_lookup;
    it->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
    for (int index = 0; index < 8; index++) {
        it->server_name = others[index];
        pair_connect(it);
        assert_int_equal(pair_step(it).server, CSC_TLS_WANT_ANSWER);
        assert_int_equal(lookups, index + 1);
        assert_null(csc_tls_server_name(it->server));
    }
    it->server_name = "Www.example.org."; // the last dot is left out
    pair_connect(it);
    assert_int_equal(pair_step(it).server, CSC_TLS_WANT_ANSWER);
    assert_string_equal(looked_up, "Www.example.org");
    assert_string_equal(csc_tls_server_name(it->server), "Www.example.org");
}

static void a_lookup_without_an_identity_gives_the_default_or_the_alert(void **state) {
    pair *it = *state;
    it->server_settings.lookup = note_lookup;
    it->server_name = "none.example.org";
    pair_connect(it);
    assert_int_equal(pair_step(it).server, CSC_TLS_WANT_ANSWER);
    csc_tls_answer_lookup(it->server, NULL);
    pair_results results = pair_step(it);
    assert_int_equal(results.server, CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_UNKNOWN_NAME);
    assert_string_equal(csc_tls_failure_text(it->server),
                        "There is no certificate for the server name");
    assert_int_equal(csc_tls_alert_received(it->client), 112);

    csc_tls_identity *identity = identity_for("none.example.org", KEY_ECDSA);
    csc_tls_identities_set(it->identities, NULL, identity, NULL);
    csc_tls_identity_free(identity);
    pair_connect(it);
    assert_int_equal(pair_step(it).server, CSC_TLS_WANT_ANSWER);
    csc_tls_answer_lookup(it->server, NULL);
    results = pair_step(it);
    assert_int_equal(results.server, CSC_TLS_DONE);
    assert_int_equal(results.client, CSC_TLS_DONE);
}

static void a_client_without_a_name_is_looked_up_too(void **state) {
    pair *it = *state;
    it->server_settings.lookup = note_lookup;
    it->server_name = "127.0.0.1";
    answer_at_once = identity_for("127.0.0.1", KEY_ECDSA);
    pair_handshake(it);
    assert_string_equal(looked_up, "(none)");
    assert_null(csc_tls_server_name(it->server));
    csc_tls_identity_free(answer_at_once);
}

static void a_name_that_comes_into_the_map_needs_no_answer(void **state) {
    pair *it = *state;
    it->server_settings.lookup = note_lookup;
    it->server_name = "later.example.org";
    pair_connect(it);
    assert_int_equal(pair_step(it).server, CSC_TLS_WANT_ANSWER);
    csc_tls_identity *identity = identity_for("later.example.org", KEY_ECDSA);
    csc_tls_identities_set(it->identities, "later.example.org", identity, NULL);
    pair_results results = pair_step(it);
    assert_int_equal(results.server, CSC_TLS_DONE);
    csc_tls_answer_lookup(it->server, identity); // too late, and harmless
    csc_tls_identity_free(identity);
    pair_exchange(it->client, it->server, 100);
}

static void a_connection_may_end_while_it_waits(void **state) {
    pair *it = *state;
    it->server_settings.lookup = note_lookup;
    it->server_name = "later.example.org";
    pair_connect(it);
    assert_int_equal(pair_step(it).server, CSC_TLS_WANT_ANSWER);
    pair_disconnect(it);
    assert_int_equal(lookups, 1);
}

// Client and server certificates: the side that asks is the other one's.
static void prepare_question(pair *it, bool is_client, csc_tls_version version,
                             csc_tls_verify_fn verify) {
    csc_tls_identity *identity = identity_for("client", KEY_ECDSA);
    csc_tls_identities_set(it->own, NULL, identity, NULL);
    csc_tls_identity_free(identity);
    it->server_settings.maximum_version = version;
    it->server_settings.verify_mode = CSC_TLS_VERIFY_REQUIRED;
    (is_client ? &it->client_settings : &it->server_settings)->verify = verify;
}

#define for_sides_and_versions(is_client, version)                                                 \
    for (int is_client = 0; is_client < 2; is_client++)                                            \
        for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3;        \
             version++)

static void a_verification_may_be_accepted_later(void **state) {
    pair *it = *state;
    for_sides_and_versions(is_client, version) {
        prepare_question(it, is_client, version, note_question);
        pair_connect(it);
        questions = 0;
        pair_results results = pair_step(it);
        csc_tls *asking = is_client ? it->client : it->server;
        assert_int_equal(is_client ? results.client : results.server, CSC_TLS_WANT_ANSWER);
        assert_int_equal(questions, 1);
        assert_int_equal(asked_error, 0);
        assert_string_equal(asked_name, is_client ? "localhost" : "client");
        assert_read_result(asking, CSC_TLS_FAILED); // no byte before the answer
        assert_int_equal(csc_tls_failure_of(asking), CSC_TLS_FAILURE_MISUSE);
        csc_tls_answer_verify(asking, true);
        results = pair_step(it);
        assert_int_equal(results.server, CSC_TLS_DONE);
        assert_int_equal(results.client, CSC_TLS_DONE);
        assert_int_equal(questions, 1);
        pair_exchange(it->client, it->server, 1000);
        pair_exchange(it->server, it->client, 1000);
        pair_disconnect(it);
        pair_forget_contexts(it);
        it->client_settings.verify = NULL;
        it->server_settings.verify = NULL;
    }
}

static void a_verification_may_be_refused_later(void **state) {
    pair *it = *state;
    for_sides_and_versions(is_client, version) {
        prepare_question(it, is_client, version, note_question);
        pair_connect(it);
        pair_step(it);
        csc_tls *asking = is_client ? it->client : it->server;
        csc_tls_answer_verify(asking, false);
        pair_results results = pair_step(it);
        assert_int_equal(is_client ? results.client : results.server, CSC_TLS_FAILED);
        assert_int_equal(csc_tls_failure_of(asking), CSC_TLS_FAILURE_VERIFICATION);
        assert_int_equal(csc_tls_verify_error(asking), X509_V_ERR_APPLICATION_VERIFICATION);
        assert_string_equal(csc_tls_failure_text(asking),
                            "The certificate of the peer is not accepted");
        assert_read_result(asking, CSC_TLS_FAILED);
        // Only a client can wait within the handshake, and so send the alert.
        assert_int_equal(csc_tls_alert_sent(asking), is_client ? 40 : -1);
        pair_disconnect(it);
        pair_forget_contexts(it);
        it->client_settings.verify = NULL;
        it->server_settings.verify = NULL;
    }
}

static void a_verification_may_accept_what_is_wrong(void **state) {
    pair *it = *state;
    it->server_name = "other.example.org"; // the certificate is for localhost
    csc_tls_identity *identity = identity_for("localhost", KEY_ECDSA);
    csc_tls_identities_set(it->identities, NULL, identity, NULL);
    csc_tls_identity_free(identity);
    it->client_settings.verify = accept_any;
    pair_handshake(it);
    assert_int_equal(csc_tls_verify_error(it->client), X509_V_ERR_HOSTNAME_MISMATCH);
    pair_exchange(it->client, it->server, 100);
}

static void where_the_program_verifies_no_certificate_is_resumed(void **state) {
    pair *it = *state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        prepare_question(it, false, version, accept_any);
        pair_handshake(it);
        session first = pair_session(it);
        assert_true(first.size > 0);
        assert_false(pair_resumes(it, &first));
        pair_disconnect(it);
        pair_forget_contexts(it);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lookup_that_answers_at_once_costs_no_wait, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lookup_may_answer_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lookup_is_for_names_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lookup_without_an_identity_gives_the_default_or_the_alert,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_without_a_name_is_looked_up_too, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_comes_into_the_map_needs_no_answer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_connection_may_end_while_it_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_verification_may_be_accepted_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_verification_may_be_refused_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_verification_may_accept_what_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_the_program_verifies_no_certificate_is_resumed,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
