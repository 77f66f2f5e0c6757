// SPDX-License-Identifier: Apache-2.0

// With programs of others: openssl s_client and s_server, and gnutls-cli where it is.

#include "pair.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE = 120000 }; // milliseconds

static const char *const versions[] = {"-tls1_2", "-tls1_3"};

static int listen_anywhere(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0);
    must(listen(listener, 5) == 0);
    must(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

static void wait_for(int descriptor, short events) {
    struct pollfd one = {.fd = descriptor, .events = events};
    must(poll(&one, 1, PATIENCE) == 1);
}

// Calls again until the result is another than to wait.
#define until_done(descriptor, result, call)                                                       \
    while ((result = (call)) == CSC_TLS_WANT_READ || result == CSC_TLS_WANT_WRITE) {               \
        wait_for(descriptor, result == CSC_TLS_WANT_READ ? POLLIN : POLLOUT);                      \
    }

typedef struct served {
    csc_tls_result handshake;
    csc_tls_failure failure;
    bool is_resumed;
    csc_tls_version version;
    char protocol[20];
    char client[40]; // the name in its certificate
    char text[100];  // what it sent
} served;

// Serves one client: answers its first line, and ends.
static served serve(csc_tls_context *context, int listener) {
    served it = {.handshake = CSC_TLS_FAILED};
    wait_for(listener, POLLIN);
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    must(descriptor >= 0);
    csc_tls *tls = csc_tls_new_server(context, descriptor, NULL);
    must(tls);
    until_done(descriptor, it.handshake, csc_tls_handshake(tls));
    it.failure = csc_tls_failure_of(tls);
    if (it.handshake == CSC_TLS_DONE) {
        size_t count;
        csc_tls_result result;
        until_done(descriptor, result, csc_tls_read(tls, it.text, sizeof it.text - 1, &count));
        if (result == CSC_TLS_DONE) {
            until_done(descriptor, result, csc_tls_write(tls, it.text, strlen(it.text), &count));
        }
        until_done(descriptor, result, csc_tls_end_writing(tls));
        shutdown(descriptor, SHUT_WR);
        char rest[100];
        until_done(descriptor, result, csc_tls_read(tls, rest, sizeof rest, &count));
        it.is_resumed = csc_tls_is_resumed(tls);
        it.version = csc_tls_version_of(tls);
        snprintf(it.client, sizeof it.client, "%s", peer_name(tls));
        const char *protocol = csc_tls_application_protocol(tls, &count);
        snprintf(it.protocol, sizeof it.protocol, "%.*s", (int)count, protocol ? protocol : "");
    }
    csc_tls_free(tls);
    close(descriptor);
    return it;
}

static bool has_program(const char *name) {
    char command[100];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

static void need(const char *program) {
    if (under_valgrind()) {
        print_message("skipped: %s under valgrind\n", program);
        skip();
    }
    if (!has_program(program)) {
        print_message("skipped: %s is missing\n", program);
        skip();
    }
}

// Runs a client that gets a line as its input, and serves it. Its output is in `output`.
static served serve_program(csc_tls_context *context, int listener, const char *command,
                            char *output, size_t size) {
    char whole[1200];
    snprintf(whole, sizeof whole, "echo question | %s 2>&1", command);
    fault_suspend();
    FILE *program = popen(whole, "re");
    fault_resume();
    must(program);
    served it = serve(context, listener);
    size_t length = fread(output, 1, size - 1, program);
    output[length] = 0;
    pclose(program);
    return it;
}

typedef struct row {
    const char *name;
    const char *options;
    const certificate *client;
    bool is_accepted;
    const char *protocol;
} row;

static void check_row(pair *it, int listener, int port, const row *one, const char *version) {
    char command[1000];
    char client[300] = "";
    if (one->client) {
        snprintf(client, sizeof client, "-cert %s -cert_chain %s -key %s",
                 file_with(&one->client->chain), file_with(&one->client->chain),
                 file_with(&one->client->key));
    }
    snprintf(command, sizeof command,
             "openssl s_client -connect 127.0.0.1:%d -quiet -CAfile %s -verify_return_error "
             "-servername %s -verify_hostname %s %s %s %s",
             port, file_with(authority()), one->name, one->name, version, one->options, client);
    char output[4000];
    served result = serve_program(it->server_context, listener, command, output, sizeof output);
    if ((result.handshake == CSC_TLS_DONE) != one->is_accepted ||
        (one->is_accepted && !strstr(output, "question"))) {
        fail_msg("%s: failure %d: %s", command, (int)result.failure, output);
    }
    if (one->is_accepted) {
        assert_string_equal(result.text, "question\n");
        assert_string_equal(result.protocol, one->protocol ? one->protocol : "");
        assert_string_equal(result.client, one->client ? one->client->name : "");
        assert_int_equal(result.version, strcmp(version, "-tls1_2") == 0 ? CSC_TLS_VERSION_1_2
                                                                         : CSC_TLS_VERSION_1_3);
    }
}

static void check_rows(key_type key, bool asks_clients, const row *rows, size_t count) {
    static const char *const protocols[] = {"h2", "http/1.1"};
    pair *it = pair_new();
    csc_tls_identity *identity = identity_for("localhost", key);
    csc_tls_identities_set(it->identities, "localhost", identity, NULL);
    csc_tls_identity_free(identity);
    identity = identity_for("*.example.com", key);
    csc_tls_identities_set(it->identities, "*.example.com", identity, NULL);
    csc_tls_identity_free(identity);
    it->server_settings.application_protocols = protocols;
    it->server_settings.application_protocol_count = 2;
    it->server_settings.verify_mode =
        asks_clients ? CSC_TLS_VERIFY_REQUIRED : CSC_TLS_VERIFY_AUTOMATIC;
    it->server_context = csc_tls_context_new(&it->server_settings, NULL);
    must(it->server_context);
    int port;
    int listener = listen_anywhere(&port);
    for (size_t index = 0; index < count; index++) {
        check_row(it, listener, port, &rows[index], "-tls1_2");
        check_row(it, listener, port, &rows[index], "-tls1_3");
    }
    close(listener);
    pair_free(it);
}

static void openssl_s_client_ends_as_the_table_says(void **state) {
    (void)state;
    need("openssl");
    const row rows[] = {
        {"localhost", "", NULL, true, NULL},
        {"www.example.com", "", NULL, true, NULL},
        {"unknown.example.org", "", NULL, false, NULL},
        {"localhost", "-alpn http/1.1", NULL, true, "http/1.1"},
        {"localhost", "-alpn http/1.1,h2", NULL, true, "h2"}, // the server's order
        {"localhost", "-alpn spdy/1", NULL, false, NULL},
    };
    for (int key = 0; key < KEY_TYPES; key++) {
        check_rows((key_type)key, false, rows, sizeof rows / sizeof *rows);
    }
}

static void openssl_s_client_is_verified(void **state) {
    (void)state;
    need("openssl");
    certificate expired = {.name = "expired", .is_expired = true};
    certificate foreign = {.name = "foreign", .is_by_other_authority = true};
    const row rows[] = {
        {"localhost", "", certificate_for("ecdsa", KEY_ECDSA), true, NULL},
        {"localhost", "", certificate_for("rsa", KEY_RSA), true, NULL},
        {"localhost", "", certificate_for("ed25519", KEY_ED25519), true, NULL},
        {"localhost", "", certificate_of(expired), false, NULL},
        {"localhost", "", certificate_of(foreign), false, NULL},
        {"localhost", "", NULL, false, NULL},
    };
    check_rows(KEY_ECDSA, true, rows, sizeof rows / sizeof *rows);
}

static void openssl_s_client_resumes_on_another_context(void **state) {
    (void)state;
    need("openssl");
    for (int version = 0; version < 2; version++) {
        pair *it = pair_new();
        int port;
        int listener = listen_anywhere(&port);
        const char *kept = file_with(&(pem){"", 0});
        for (int turn = 0; turn < 3; turn++) {
            csc_tls_context *context = csc_tls_context_new(&it->server_settings, NULL);
            char command[600];
            char output[4000];
            snprintf(command, sizeof command,
                     "openssl s_client -connect 127.0.0.1:%d -quiet -CAfile %s -servername "
                     "localhost %s %s %s -sess_out %s",
                     port, file_with(authority()), versions[version], turn ? "-sess_in" : "",
                     turn ? kept : "", kept);
            served result = serve_program(context, listener, command, output, sizeof output);
            assert_int_equal(result.handshake, CSC_TLS_DONE);
            assert_int_equal(result.is_resumed, turn > 0);
            csc_tls_context_free(context);
        }
        close(listener);
        pair_free(it);
    }
}

static void gnutls_cli_talks_to_the_server(void **state) {
    (void)state;
    need("gnutls-cli");
    pair *it = pair_new();
    int port;
    int listener = listen_anywhere(&port);
    it->server_context = csc_tls_context_new(&it->server_settings, NULL);
    char command[600];
    char output[8000];
    snprintf(command, sizeof command,
             "gnutls-cli --port %d --x509cafile %s --sni-hostname localhost --verify-hostname "
             "localhost 127.0.0.1",
             port, file_with(authority()));
    served result = serve_program(it->server_context, listener, command, output, sizeof output);
    assert_int_equal(result.handshake, CSC_TLS_DONE);
    assert_string_equal(result.text, "question\n");
    assert_non_null(strstr(output, "question"));
    close(listener);
    pair_free(it);
}

static int connect_to_port(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(descriptor >= 0);
    must(connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0);
    return descriptor;
}

// Connects a client to a s_server with these options, which sends each line back reversed.
static void talk_to_s_server(pair *it, const char *options) {
    char command[600];
    snprintf(command, sizeof command,
             "openssl s_server -accept 127.0.0.1:0 -naccept 1 -rev %s 2>&1 </dev/null", options);
    FILE *program = popen(command, "re");
    must(program);
    char line[300];
    int port = 0;
    while (fgets(line, sizeof line, program) && sscanf(line, "ACCEPT 127.0.0.1:%d", &port) < 1) {
    }
    assert_true(port > 0);
    int descriptor = connect_to_port(port);
    it->client_context = csc_tls_context_new(&it->client_settings, NULL);
    csc_tls *client = csc_tls_new_client(it->client_context, descriptor, it->server_name, NULL);
    must(client);
    csc_tls_result result;
    until_done(descriptor, result, csc_tls_handshake(client));
    assert_int_equal(result, CSC_TLS_DONE);
    assert_writes(client, "stressed\n");
    char answer[100] = {0};
    size_t count;
    until_done(descriptor, result, csc_tls_read(client, answer, sizeof answer - 1, &count));
    assert_int_equal(result, CSC_TLS_DONE);
    assert_string_equal(answer, "desserts\n");
    assert_int_equal(csc_tls_end_writing(client), CSC_TLS_DONE);
    csc_tls_free(client);
    close(descriptor);
    pclose(program);
}

static void the_client_talks_to_openssl_s_server(void **state) {
    (void)state;
    need("openssl");
    for (int version = 0; version < 2; version++) {
        pair *it = pair_new();
        const certificate *one = certificate_for("localhost", KEY_RSA);
        char options[400];
        snprintf(options, sizeof options, "-cert %s -cert_chain %s -key %s %s",
                 file_with(&one->chain), file_with(&one->chain), file_with(&one->key),
                 versions[version]);
        talk_to_s_server(it, options);
        pair_free(it);
    }
}

static const unsigned char shared_key[16] = "0123456789abcde";
static const char shared_key_in_hex[] = "30313233343536373839616263646500";

static void give_key(csc_tls *tls, const csc_tls_psk_question *question, void *context) {
    (void)context;
    if (!question->text || question->longest_identity > 0 ||
        strcmp(question->text, "device-1") == 0) {
        csc_tls_answer_psk(tls, "device-1", shared_key, sizeof shared_key);
    }
}

static void openssl_s_client_has_a_key(void **state) {
    (void)state;
    need("openssl");
    pair *it = pair_new();
    csc_tls_identities_set(it->identities, "localhost", NULL, NULL);
    it->server_settings.psk = give_key;
    it->server_context = csc_tls_context_new(&it->server_settings, NULL);
    int port;
    int listener = listen_anywhere(&port);
    for (int round = 0; round < 4; round++) {
        char command[400];
        char output[4000];
        snprintf(command, sizeof command,
                 "openssl s_client -connect 127.0.0.1:%d -quiet -psk %s -psk_identity %s %s", port,
                 shared_key_in_hex, round < 2 ? "device-1" : "device-2", versions[round % 2]);
        served result = serve_program(it->server_context, listener, command, output, sizeof output);
        assert_int_equal(result.failure, round < 2 ? CSC_TLS_FAILURE_NONE : CSC_TLS_FAILURE_NO_KEY);
        assert_string_equal(result.text, round < 2 ? "question\n" : "");
    }
    close(listener);
    pair_free(it);
}

static void the_client_has_a_key_for_openssl_s_server(void **state) {
    (void)state;
    need("openssl");
    for (int version = 0; version < 2; version++) {
        pair *it = pair_new();
        it->client_settings.psk = give_key;
        it->server_name = NULL;
        char options[300];
        snprintf(options, sizeof options,
                 "-nocert -psk %s -psk_identity device-1 -psk_hint hint %s", shared_key_in_hex,
                 versions[version]);
        talk_to_s_server(it, options);
        pair_free(it);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openssl_s_client_ends_as_the_table_says),
        cmocka_unit_test(openssl_s_client_is_verified),
        cmocka_unit_test(openssl_s_client_resumes_on_another_context),
        cmocka_unit_test(gnutls_cli_talks_to_the_server),
        cmocka_unit_test(the_client_talks_to_openssl_s_server),
        cmocka_unit_test(openssl_s_client_has_a_key),
        cmocka_unit_test(the_client_has_a_key_for_openssl_s_server),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
