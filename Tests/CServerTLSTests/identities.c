// SPDX-License-Identifier: Apache-2.0

// Identities: what can be one, for which names it is, and that a change is for handshakes that begin
// later.

#include "raw_client.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void set(csc_tls_identities *identities, const char *name, const char *subject) {
    csc_tls_identity *identity = subject ? identity_for(subject, KEY_ECDSA) : NULL;
    assert_true(csc_tls_identities_set(identities, name, identity, NULL));
    csc_tls_identity_free(identity);
}

// What a server answers a client that takes any certificate.
static const char *answer(pair *it, const char *name) {
    static char answered[100];
    it->server_name = name;
    it->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
    pair_connect(it);
    pair_results results = pair_step(it);
    snprintf(answered, sizeof answered, "%s",
             results.client == CSC_TLS_DONE ? peer_name(it->client) : "(none)");
    assert_int_equal(results.server, results.client);
    return answered;
}

static void names_are_found_exactly_by_wildcard_and_by_default(void **state) {
    (void)state;
    pair *it = pair_new();
    set(it->identities, "*.example.com", "wildcard");
    set(it->identities, "WWW.Example.com", "exact");
    assert_string_equal(answer(it, "www.example.com"), "exact");
    assert_string_equal(answer(it, "Www.EXAMPLE.com"), "exact");
    assert_string_equal(answer(it, "mail.example.com"), "wildcard");
    assert_string_equal(answer(it, "mail.example.com."), "wildcard");
    assert_string_equal(answer(it, "a.mail.example.com"), "(none)"); // one label
    assert_string_equal(answer(it, "example.com"), "(none)");
    assert_string_equal(answer(it, "127.0.0.1"), "(none)"); // sends no name
    set(it->identities, NULL, "default");
    assert_string_equal(answer(it, "a.mail.example.com"), "default");
    assert_string_equal(answer(it, "127.0.0.1"), "default");
    assert_string_equal(answer(it, "localhost"), "localhost");
    set(it->identities, "www.example.com", NULL);
    assert_string_equal(answer(it, "www.example.com"), "wildcard");
    set(it->identities, "www.example.com", NULL); // is not there
    set(it->identities, "*.example.com", NULL);
    set(it->identities, NULL, NULL);
    assert_string_equal(answer(it, "www.example.com"), "(none)");
    assert_string_equal(answer(it, "localhost"), "localhost");
    pair_free(it);
}

static void many_names_keep_their_identities(void **state) {
    (void)state;
    csc_tls_identities *identities = csc_tls_identities_new();
    csc_tls_identity *identity = identity_for("localhost", KEY_ECDSA);
    char name[100];
    for (int index = 0; index < 300; index++) {
        snprintf(name, sizeof name, "h%d.example.com", index * 7919 % 300);
        assert_true(csc_tls_identities_set(identities, name, identity, NULL));
    }
    pair *it = pair_new();
    it->server_settings.identities = identities;
    assert_string_equal(answer(it, "h0.example.com"), "localhost");
    assert_string_equal(answer(it, "h299.example.com"), "localhost");
    assert_string_equal(answer(it, "h300.example.com"), "(none)");
    pair_free(it);
    csc_tls_identity_free(identity);
    csc_tls_identities_free(identities);
    csc_tls_identities_free(NULL);
    csc_tls_identity_free(NULL);
}

static void a_handshake_in_progress_keeps_its_identity(void **state) {
    (void)state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        pair *it = pair_new();
        it->server_settings.maximum_version = version;
        it->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
        set(it->identities, NULL, "localhost");
        pair_connect(it);
        csc_tls_handshake(it->client);
        csc_tls_handshake(it->server); // has chosen
        set(it->identities, "localhost", "renewed");
        pair_results results = pair_step(it);
        assert_int_equal(results.client, CSC_TLS_DONE);
        assert_string_equal(peer_name(it->client), "localhost");
        assert_string_equal(answer(it, "localhost"), "renewed");
        pair_free(it);
    }
}

static void assert_name_is_refused(csc_tls_identities *identities, const char *name) {
    csc_tls_error error;
    csc_tls_identity *identity = identity_for("localhost", KEY_ECDSA);
    assert_false(csc_tls_identities_set(identities, name, identity, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_NAME);
    assert_non_null(strstr(error.text, "is not the name of a server"));
    csc_tls_identity_free(identity);
}

static void names_that_cannot_be_sent_are_refused(void **state) {
    (void)state;
    csc_tls_identities *identities = csc_tls_identities_new();
    char long_name[300];
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = 0;
    const char *names[] = {"",       ".",   "a..b",  ".a",       "*",          "*.",
                           "a.*.b",  "a b", "a/b",   "\xc3\xa4", "**.b",       long_name,
                           "w*.b.c", "..",  "a.b..", "[::1]",    "exa\tmple.c"};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        assert_name_is_refused(identities, names[index]);
    }
    csc_tls_identities_free(identities);
}

typedef struct parts {
    const void *chain;
    size_t chain_size;
    const void *key;
    size_t key_size;
    const char *password;
} parts;

static void assert_refused(parts given, csc_tls_fault fault, const char *text) {
    csc_tls_error error;
    assert_null(csc_tls_identity_from_pem(given.chain, given.chain_size, given.key, given.key_size,
                                          given.password, &error));
    if (!strstr(error.text, text)) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(error.fault, fault);
    assert_null(csc_tls_identity_from_pem(given.chain, given.chain_size, given.key, given.key_size,
                                          given.password, NULL));
}

static void parts_of_an_identity_that_are_wrong_are_named(void **state) {
    (void)state;
    const certificate *good = certificate_for("localhost", KEY_ECDSA);
    const certificate *other = certificate_for("other", KEY_ECDSA);
    parts given = {good->chain.text, good->chain.size, good->key.text, good->key.size, NULL};
    parts wrong = given;
    wrong.chain_size = 0;
    assert_refused(wrong, CSC_TLS_FAULT_CERTIFICATE, "The certificate cannot be read");
    wrong.chain = "junk";
    wrong.chain_size = 4;
    assert_refused(wrong, CSC_TLS_FAULT_CERTIFICATE,
                   "The certificate cannot be read: no start line");
    wrong = given;
    wrong.chain_size = good->chain.size - 60; // ends within the intermediate
    assert_refused(wrong, CSC_TLS_FAULT_CERTIFICATE, "A certificate of the chain cannot be read");
    wrong = given;
    wrong.key = good->chain.text;
    wrong.key_size = good->chain.size;
    assert_refused(wrong, CSC_TLS_FAULT_KEY, "The private key cannot be read");
    wrong.key = other->key.text;
    wrong.key_size = other->key.size;
    assert_refused(wrong, CSC_TLS_FAULT_PAIR, "The private key is not that of the certificate");
    const certificate *weak = certificate_for("weak", KEY_SHORT_RSA);
    wrong = (parts){weak->chain.text, weak->chain.size, weak->key.text, weak->key.size, NULL};
    assert_refused(wrong, CSC_TLS_FAULT_CERTIFICATE,
                   "The certificate cannot be used: ee key too small");
    wrong = given;
    wrong.key_size = (size_t)INT_MAX + 1;
    assert_refused(wrong, CSC_TLS_FAULT_CERTIFICATE, "The certificate or the key is too long");
}

static void an_encrypted_key_needs_its_password_and_asks_no_one(void **state) {
    (void)state;
    const certificate *good = certificate_for("localhost", KEY_ECDSA);
    pem secret = encrypted(&good->key, "open sesame");
    parts given = {good->chain.text, good->chain.size, secret.text, secret.size, NULL};
    assert_refused(given, CSC_TLS_FAULT_KEY,
                   "The private key is encrypted, and there is no password for it");
    given.password = "wrong";
    assert_refused(given, CSC_TLS_FAULT_KEY, "The private key cannot be read");
    char longer[2000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    given.password = longer;
    assert_refused(given, CSC_TLS_FAULT_KEY, "The private key cannot be read");
    csc_tls_identity *identity = csc_tls_identity_from_pem(
        good->chain.text, good->chain.size, secret.text, secret.size, "open sesame", NULL);
    assert_non_null(identity);
    csc_tls_identity_free(identity);
    free(secret.text);
}

static void files_are_read_and_those_that_cannot_be_are_named(void **state) {
    (void)state;
    const certificate *good = certificate_for("localhost", KEY_ED25519);
    const char *chain = file_with(&good->chain);
    const char *key = file_with(&good->key);
    csc_tls_error error;
    csc_tls_identity *identity = csc_tls_identity_from_files(chain, key, NULL, &error);
    assert_non_null(identity);
    assert_int_equal(error.fault, CSC_TLS_FAULT_NONE);
    int64_t left = csc_tls_identity_expiry(identity) - time(NULL);
    assert_true(left > 99 * 86400 && left <= 100 * 86400);
    csc_tls_identity_free(identity);
    assert_null(csc_tls_identity_from_files("/nowhere", key, NULL, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_CERTIFICATE);
    assert_string_equal(error.text, "The file of the certificate cannot be opened: "
                                    "No such file or directory");
    assert_null(csc_tls_identity_from_files(chain, "/nowhere", NULL, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_KEY);
    assert_string_equal(error.text, "The file of the private key cannot be opened: "
                                    "No such file or directory");
    assert_null(csc_tls_identity_from_files(chain, chain, NULL, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_KEY);
}

static void a_stapled_response_reaches_clients_that_ask(void **state) {
    (void)state;
    pair *it = pair_new();
    csc_tls_identity *plain = identity_for("localhost", KEY_ECDSA);
    csc_tls_error error;
    assert_null(csc_tls_identity_stapling(plain, "", 0, &error));
    assert_int_equal(error.fault, CSC_TLS_FAULT_OCSP);
    assert_string_equal(error.text, "The response of OCSP is empty, or too long");
    csc_tls_identity *stapling = csc_tls_identity_stapling(plain, "response", 8, NULL);
    assert_non_null(stapling);
    assert_int_equal(csc_tls_identity_expiry(stapling), csc_tls_identity_expiry(plain));
    csc_tls_identity_free(plain);
    csc_tls_identities_set(it->identities, "localhost", stapling, NULL);
    csc_tls_identity_free(stapling);

    // The library's client does not ask; OpenSSL's does.
    raw_client client = raw_client_new(it, "localhost");
    SSL_set_tlsext_status_type(client.ssl, TLSEXT_STATUSTYPE_ocsp);
    assert_int_equal(raw_client_shake_hands(it, client), CSC_TLS_DONE);
    const unsigned char *response = NULL;
    assert_int_equal(SSL_get_tlsext_status_ocsp_resp(client.ssl, &response), 8);
    assert_memory_equal(response, "response", 8);
    raw_client_free(client);
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_exactly_by_wildcard_and_by_default),
        cmocka_unit_test(many_names_keep_their_identities),
        cmocka_unit_test(a_handshake_in_progress_keeps_its_identity),
        cmocka_unit_test(names_that_cannot_be_sent_are_refused),
        cmocka_unit_test(parts_of_an_identity_that_are_wrong_are_named),
        cmocka_unit_test(an_encrypted_key_needs_its_password_and_asks_no_one),
        cmocka_unit_test(files_are_read_and_those_that_cannot_be_are_named),
        cmocka_unit_test(a_stapled_response_reaches_clients_that_ask),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
