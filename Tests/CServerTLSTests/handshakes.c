// SPDX-License-Identifier: Apache-2.0

// Handshakes of all kinds: versions, keys, server names, application protocols, certificates of
// clients, fresh and resumed.

#include "pair.h"

#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

typedef enum client_kind { NO_CERTIFICATE, GOOD, EXPIRED, OTHER_AUTHORITY, REVOKED } client_kind;
typedef enum alpn_kind { NOT_OFFERED, IN_COMMON, NOT_IN_COMMON } alpn_kind;

typedef struct combination {
    csc_tls_version version;
    key_type key;
    const char *name;     // that the client asks for
    const char *answered; // the name of the certificate; NULL for a refusal
    alpn_kind alpn;
    client_kind client;
} combination;

static void refuse_revoked(csc_tls *tls, long verify_error, void *context) {
    (void)context;
    csc_tls_answer_verify(tls, verify_error == 0 && strcmp(peer_name(tls), "revoked") != 0);
}

static void set_identity(csc_tls_identities *identities, const char *name, const certificate *one) {
    csc_tls_identity *identity = identity_of(one);
    assert_true(csc_tls_identities_set(identities, name, identity, NULL));
    csc_tls_identity_free(identity);
}

static const certificate *client_certificate(client_kind kind) {
    return certificate_of((certificate){
        .name = kind == REVOKED ? "revoked" : "client",
        .key_type = KEY_ECDSA,
        .is_expired = kind == EXPIRED,
        .is_by_other_authority = kind == OTHER_AUTHORITY,
    });
}

static const char *const server_protocols[] = {"h2", "http/1.1"};
static const char *const client_protocols[] = {"http/1.1"};
static const char *const other_protocols[] = {"spdy/1"};

static pair *pair_for(const combination *wanted) {
    pair *it = pair_new();
    it->server_name = wanted->name;
    csc_tls_settings *server = &it->server_settings;
    csc_tls_settings *client = &it->client_settings;
    server->minimum_version = server->maximum_version = wanted->version;
    set_identity(it->identities, "localhost", certificate_for("localhost", wanted->key));
    set_identity(it->identities, "*.example.com", certificate_for("*.example.com", wanted->key));
    if (wanted->alpn != NOT_OFFERED) {
        server->application_protocols = server_protocols;
        server->application_protocol_count = 2;
        client->application_protocols =
            wanted->alpn == IN_COMMON ? client_protocols : other_protocols;
        client->application_protocol_count = 1;
    }
    if (wanted->client != NO_CERTIFICATE) {
        server->verify_mode = CSC_TLS_VERIFY_REQUIRED;
        server->verify = wanted->client == REVOKED ? refuse_revoked : NULL;
        set_identity(it->own, NULL, client_certificate(wanted->client));
    }
    return it;
}

static void assert_agreed(const pair *it, const combination *wanted) {
    size_t size = 0;
    assert_int_equal(csc_tls_version_of(it->server), wanted->version);
    assert_int_equal(csc_tls_version_of(it->client), wanted->version);
    assert_string_equal(csc_tls_cipher(it->server), csc_tls_cipher(it->client));
    assert_string_equal(csc_tls_server_name(it->server), wanted->name);
    assert_string_equal(peer_name(it->client), wanted->answered);
    assert_int_equal(csc_tls_verify_error(it->client), 0);
    const char *protocol = csc_tls_application_protocol(it->server, &size);
    if (wanted->alpn == IN_COMMON) {
        assert_int_equal(size, strlen("http/1.1"));
        assert_memory_equal(protocol, "http/1.1", size);
    } else {
        assert_null(protocol);
    }
    assert_string_equal(peer_name(it->server), wanted->client == GOOD ? "client" : "");
}

// Fresh, by a ticket, by a ticket on a context of another loop, and after a restart.
static void check_resumption(pair *it, const combination *wanted) {
    assert_false(csc_tls_is_resumed(it->server));
    session first = pair_session(it);
    assert_true(first.size > 0);
    assert_true(pair_resumes(it, &first));
    assert_agreed(it, wanted);
    pair_exchange(it->client, it->server, 1000);
    session second = pair_session(it);
    pair_disconnect(it);
    pair_forget_contexts(it);
    assert_true(pair_resumes(it, &second)); // of contexts of the same settings
    assert_agreed(it, wanted);
    session third = pair_session(it);

    unsigned char exported[CSC_TLS_TICKET_KEYS_SIZE];
    csc_tls_ticket_keys_export(it->keys, exported);
    pair_disconnect(it);
    pair_forget_contexts(it);
    csc_tls_ticket_keys_free(it->keys);
    it->keys = csc_tls_ticket_keys_new();
    it->server_settings.ticket_keys = it->keys;
    assert_true(csc_tls_ticket_keys_import(it->keys, exported, sizeof exported, NULL));
    assert_true(pair_resumes(it, &third));
    assert_agreed(it, wanted);
}

static void check_refused_client(pair *it, const combination *wanted) {
    static const long errors[] = {
        [EXPIRED] = X509_V_ERR_CERT_HAS_EXPIRED,
        [OTHER_AUTHORITY] = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        [REVOKED] = X509_V_ERR_APPLICATION_VERIFICATION,
    };
    static const int alerts[] = {[EXPIRED] = 45, [OTHER_AUTHORITY] = 48, [REVOKED] = 40};
    pair_fail_on_server(it, CSC_TLS_FAILURE_VERIFICATION);
    // Without the root the chain of the other authority ends at its intermediate.
    long error = csc_tls_verify_error(it->server);
    assert_true(error == errors[wanted->client] || (wanted->client == OTHER_AUTHORITY &&
                                                    error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT));
    assert_int_equal(csc_tls_alert_sent(it->server), alerts[wanted->client]);
}

static void check(const combination *wanted) {
    pair *it = pair_for(wanted);
    if (!wanted->answered) {
        pair_fail_on_server(it, CSC_TLS_FAILURE_UNKNOWN_NAME);
        assert_int_equal(csc_tls_alert_sent(it->server), 112);
        assert_int_equal(csc_tls_alert_received(it->client), 112);
        assert_int_equal(csc_tls_failure_of(it->client), CSC_TLS_FAILURE_PEER_ALERT);
    } else if (wanted->alpn == NOT_IN_COMMON) {
        pair_fail_on_server(it, CSC_TLS_FAILURE_PROTOCOL);
        assert_int_equal(csc_tls_alert_received(it->client), 120);
    } else if (wanted->client > GOOD) {
        check_refused_client(it, wanted);
    } else {
        pair_handshake(it);
        assert_agreed(it, wanted);
        pair_exchange(it->client, it->server, 100);
        pair_exchange(it->server, it->client, 40000);
        check_resumption(it, wanted);
    }
    pair_free(it);
}

static void check_clients(combination wanted) {
    for (wanted.client = NO_CERTIFICATE; wanted.client <= REVOKED; wanted.client++) {
        check(&wanted);
    }
}

static void check_protocols(combination wanted) {
    alpn_kind last =
        under_valgrind() ? NOT_OFFERED : NOT_IN_COMMON; // the matrix takes minutes there
    for (wanted.alpn = NOT_OFFERED; wanted.alpn <= last; wanted.alpn++) {
        check_clients(wanted);
    }
}

static void check_keys(csc_tls_version version) {
    int key_types = under_valgrind() ? 1 : KEY_TYPES;
    for (int key = 0; key < key_types; key++) {
        combination wanted = {.version = version, .key = (key_type)key};
        wanted.name = wanted.answered = "localhost";
        check_protocols(wanted);
        wanted.name = "www.example.com";
        wanted.answered = "*.example.com";
        check_protocols(wanted);
        wanted.name = "unknown.example.org";
        wanted.answered = NULL;
        check_clients(wanted);
    }
}

static void all_combinations_of_tls_1_2_end_as_the_table_says(void **state) {
    (void)state;
    check_keys(CSC_TLS_VERSION_1_2);
}

static void all_combinations_of_tls_1_3_end_as_the_table_says(void **state) {
    (void)state;
    check_keys(CSC_TLS_VERSION_1_3);
}

static void a_version_that_only_one_side_has_fails(void **state) {
    (void)state;
    pair *it = pair_new();
    it->server_settings.minimum_version = CSC_TLS_VERSION_1_3;
    it->client_settings.maximum_version = CSC_TLS_VERSION_1_2;
    pair_fail_on_server(it, CSC_TLS_FAILURE_PROTOCOL);
    assert_int_equal(csc_tls_alert_received(it->client), 70);
    pair_free(it);
}

static void ciphers_and_groups_are_those_of_the_settings(void **state) {
    (void)state;
    pair *it = pair_new();
    it->server_settings.maximum_version = CSC_TLS_VERSION_1_2;
    it->server_settings.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
    pair_handshake(it);
    assert_string_equal(csc_tls_cipher(it->server),
                        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    pair_disconnect(it);
    pair_forget_contexts(it);
    it->server_settings.maximum_version = CSC_TLS_VERSION_1_3;
    it->server_settings.cipher_suites = "TLS_CHACHA20_POLY1305_SHA256";
    it->server_settings.groups = "P-384"; // the client offers another first: HelloRetryRequest
    pair_handshake(it);
    assert_string_equal(csc_tls_cipher(it->server), "TLS_CHACHA20_POLY1305_SHA256");
    pair_exchange(it->client, it->server, 100);
    pair_free(it);
}

static void a_client_accepts_only_the_server_it_asked_for(void **state) {
    (void)state;
    static const struct {
        const char *certificate;
        const char *asked;
        bool is_accepted;
    } cases[] = {
        {"localhost", "localhost", true},
        {"localhost", "other", false},
        {"*.example.com", "a.example.com", true},
        {"*.example.com", "a.b.example.com", false},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"localhost", "::1", false},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        pair *it = pair_new();
        set_identity(it->identities, NULL, certificate_for(cases[index].certificate, KEY_ECDSA));
        csc_tls_identities_set(it->identities, "localhost", NULL, NULL);
        it->server_name = cases[index].asked;
        if (cases[index].is_accepted) {
            pair_handshake(it);
        } else {
            pair_fail_on_client(it, CSC_TLS_FAILURE_VERIFICATION);
            assert_true(csc_tls_verify_error(it->client) == X509_V_ERR_HOSTNAME_MISMATCH ||
                        csc_tls_verify_error(it->client) == X509_V_ERR_IP_ADDRESS_MISMATCH);
            assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_PEER_ALERT);
        }
        pair_free(it);
    }
}

static void a_client_without_authorities_trusts_no_one(void **state) {
    (void)state;
    pair *it = pair_new();
    it->client_settings.authorities = other_authority()->text;
    it->client_settings.authorities_size = other_authority()->size;
    pair_fail_on_client(it, CSC_TLS_FAILURE_VERIFICATION);
    pair_disconnect(it);
    pair_forget_contexts(it);
    it->client_settings.authorities = NULL; // then the system's
    pair_fail_on_client(it, CSC_TLS_FAILURE_VERIFICATION);
    pair_disconnect(it);
    pair_forget_contexts(it);
    it->client_settings.verify_mode = CSC_TLS_VERIFY_NONE;
    pair_handshake(it);
    pair_free(it);
}

static void a_server_that_queries_accepts_any_certificate_and_none(void **state) {
    (void)state;
    for (int has_certificate = 0; has_certificate < 2; has_certificate++) {
        pair *it = pair_new();
        it->server_settings.verify_mode = CSC_TLS_VERIFY_QUERY;
        if (has_certificate) {
            set_identity(it->own, NULL, client_certificate(EXPIRED));
        }
        pair_handshake(it);
        assert_int_equal(csc_tls_verify_error(it->server),
                         has_certificate ? X509_V_ERR_CERT_HAS_EXPIRED : X509_V_OK);
        assert_string_equal(peer_name(it->server), has_certificate ? "client" : "");
        pair_free(it);
    }
}

static void a_required_certificate_that_is_missing_fails(void **state) {
    (void)state;
    for (int version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        pair *it = pair_new();
        it->server_settings.maximum_version = (csc_tls_version)version;
        it->server_settings.verify_mode = CSC_TLS_VERIFY_REQUIRED;
        pair_fail_on_server(it, CSC_TLS_FAILURE_PROTOCOL);
        assert_int_equal(csc_tls_alert_sent(it->server),
                         version == CSC_TLS_VERSION_1_3 ? 116 : 40); // certificate_required
        pair_free(it);
    }
}

static void a_certificate_of_the_peer_is_copied_with_its_chain(void **state) {
    (void)state;
    pair *it = pair_new();
    it->server_settings.verify_mode = CSC_TLS_VERIFY_REQUIRED;
    set_identity(it->own, NULL, client_certificate(GOOD));
    pair_handshake(it);
    const csc_tls *sides[] = {it->server, it->client};
    const char *names[] = {"client", "localhost"};
    for (int side = 0; side < 2; side++) {
        unsigned char der[4096];
        size_t size = csc_tls_copy_peer_certificate(sides[side], 0, NULL, 0);
        assert_true(size > 0);
        der[0] = 1;
        assert_int_equal(csc_tls_copy_peer_certificate(sides[side], 0, der, size - 1), size);
        assert_int_equal(der[0], 1); // too small: nothing is copied
        assert_int_equal(csc_tls_copy_peer_certificate(sides[side], 0, der, size), size);
        assert_string_equal(name_in(der, size), names[side]);
        size = csc_tls_copy_peer_certificate(sides[side], 1, der, sizeof der);
        assert_string_equal(name_in(der, size), "intermediate");
        assert_int_equal(csc_tls_copy_peer_certificate(sides[side], 2, der, sizeof der), 0);
    }
    pair_free(it);
}

static void tickets_are_not_written_before_the_first_bytes(void **state) {
    (void)state;
    pair *it = pair_new();
    pair_handshake(it);
    // A one-way client: it sends, ends and closes without reading.
    assert_writes(it->client, "log line");
    assert_int_equal(csc_tls_end_writing(it->client), CSC_TLS_DONE);
    assert_int_equal(csc_tls_copy_session(it->client, NULL, 0), 0);
    assert_reads(it->server, "log line");
    assert_read_result(it->server, CSC_TLS_END);
    assert_read_result(it->client, CSC_TLS_WANT_READ);
    assert_int_equal(csc_tls_copy_session(it->client, NULL, 0), 0);
    assert_writes(it->server, "x");
    assert_reads(it->client, "x");
    assert_true(csc_tls_copy_session(it->client, NULL, 0) > 0);
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_combinations_of_tls_1_2_end_as_the_table_says),
        cmocka_unit_test(all_combinations_of_tls_1_3_end_as_the_table_says),
        cmocka_unit_test(a_version_that_only_one_side_has_fails),
        cmocka_unit_test(ciphers_and_groups_are_those_of_the_settings),
        cmocka_unit_test(a_client_accepts_only_the_server_it_asked_for),
        cmocka_unit_test(a_client_without_authorities_trusts_no_one),
        cmocka_unit_test(a_server_that_queries_accepts_any_certificate_and_none),
        cmocka_unit_test(a_required_certificate_that_is_missing_fails),
        cmocka_unit_test(a_certificate_of_the_peer_is_copied_with_its_chain),
        cmocka_unit_test(tickets_are_not_written_before_the_first_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
