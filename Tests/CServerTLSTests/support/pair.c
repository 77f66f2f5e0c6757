// SPDX-License-Identifier: Apache-2.0

#include "pair.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_STEPS = 100 };

bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "/vgpreload_");
}

pair *pair_new(void) {
    pair *it = calloc(1, sizeof *it);
    must(it);
    it->descriptors[0] = it->descriptors[1] = -1;
    it->identities = csc_tls_identities_new();
    it->own = csc_tls_identities_new();
    it->keys = csc_tls_ticket_keys_new();
    must(it->identities && it->own && it->keys);
    csc_tls_identity *identity = identity_for("localhost", KEY_ECDSA);
    must(csc_tls_identities_set(it->identities, "localhost", identity, NULL));
    csc_tls_identity_free(identity);
    it->server_name = "localhost";
    it->server_settings = (csc_tls_settings){
        .identities = it->identities,
        .ticket_keys = it->keys,
        .authorities = authority()->text,
        .authorities_size = authority()->size,
    };
    it->client_settings = (csc_tls_settings){
        .is_client = true,
        .identities = it->own,
        .authorities = authority()->text,
        .authorities_size = authority()->size,
    };
    return it;
}

void pair_disconnect(pair *it) {
    csc_tls_free(it->server);
    csc_tls_free(it->client);
    it->server = NULL;
    it->client = NULL;
    for (int side = 0; side < 2; side++) {
        if (it->descriptors[side] >= 0) {
            close(it->descriptors[side]);
            it->descriptors[side] = -1;
        }
    }
}

void pair_forget_contexts(pair *it) {
    csc_tls_context_free(it->server_context);
    csc_tls_context_free(it->client_context);
    it->server_context = NULL;
    it->client_context = NULL;
}

void pair_free(pair *it) {
    pair_disconnect(it);
    pair_forget_contexts(it);
    csc_tls_identities_free(it->identities);
    csc_tls_identities_free(it->own);
    csc_tls_ticket_keys_free(it->keys);
    free(it);
}

static csc_tls_context *context_of(const csc_tls_settings *settings) {
    csc_tls_error error;
    csc_tls_context *context = csc_tls_context_new(settings, &error);
    if (!context) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(error.fault, CSC_TLS_FAULT_NONE);
    return context;
}

void pair_connect(pair *it) {
    pair_disconnect(it);
    if (!it->server_context) {
        it->server_context = context_of(&it->server_settings);
        it->client_context = context_of(&it->client_settings);
    }
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, it->descriptors) == 0);
    it->server = csc_tls_new_server(it->server_context, it->descriptors[0], it);
    it->client = csc_tls_new_client(it->client_context, it->descriptors[1], it->server_name, it);
    assert_non_null(it->server);
    assert_non_null(it->client);
}

pair_results pair_step(pair *it) {
    pair_results results = {CSC_TLS_WANT_READ, CSC_TLS_WANT_READ};
    for (int steps = 0; steps < MOST_STEPS; steps++) {
        results.client = csc_tls_handshake(it->client);
        results.server = csc_tls_handshake(it->server);
        bool client_waits = results.client == CSC_TLS_WANT_READ;
        bool server_waits = results.server == CSC_TLS_WANT_READ;
        // One turn more, for what the server's last step has sent.
        if (!client_waits && !server_waits) {
            break;
        }
        if (steps > 10 &&
            (results.client == CSC_TLS_FAILED || results.server == CSC_TLS_FAILED ||
             results.client == CSC_TLS_WANT_ANSWER || results.server == CSC_TLS_WANT_ANSWER)) {
            break;
        }
    }
    return results;
}

static void say(const char *side, csc_tls_result result, const csc_tls *tls) {
    fprintf(stderr, "%s: result %d, failure %d: %s; verify error %ld, alerts %d and %d\n", side,
            (int)result, (int)csc_tls_failure_of(tls), csc_tls_failure_text(tls),
            csc_tls_verify_error(tls), csc_tls_alert_received(tls), csc_tls_alert_sent(tls));
}

void pair_handshake(pair *it) {
    pair_connect(it);
    pair_results results = pair_step(it);
    if (results.client != CSC_TLS_DONE || results.server != CSC_TLS_DONE) {
        say("server", results.server, it->server);
        say("client", results.client, it->client);
    }
    assert_int_equal(results.server, CSC_TLS_DONE);
    assert_int_equal(results.client, CSC_TLS_DONE);
    assert_int_equal(csc_tls_failure_of(it->server), CSC_TLS_FAILURE_NONE);
}

static void assert_failed(csc_tls *tls, csc_tls_result result, csc_tls_failure failure) {
    if (result != CSC_TLS_FAILED || csc_tls_failure_of(tls) != failure) {
        say("not as expected", result, tls);
    }
    assert_int_equal(result, CSC_TLS_FAILED);
    assert_int_equal(csc_tls_failure_of(tls), failure);
    assert_int_equal(csc_tls_handshake(tls), CSC_TLS_FAILED);
}

void pair_fail_on_server(pair *it, csc_tls_failure failure) {
    pair_connect(it);
    pair_results results = pair_step(it);
    assert_failed(it->server, results.server, failure);
}

void pair_fail_on_client(pair *it, csc_tls_failure failure) {
    pair_connect(it);
    pair_results results = pair_step(it);
    assert_failed(it->client, results.client, failure);
}

void pair_exchange(csc_tls *from, csc_tls *to, size_t size) {
    unsigned char *sent = malloc(size);
    unsigned char *got = malloc(size);
    must(sent && got);
    for (size_t index = 0; index < size; index++) {
        sent[index] = (unsigned char)(index * 7 + index / 256);
    }
    size_t written = 0;
    size_t received = 0;
    for (size_t steps = 0; received < size && steps < size + MOST_STEPS; steps++) {
        size_t count = 0;
        if (written < size) {
            csc_tls_result result = csc_tls_write(from, sent + written, size - written, &count);
            assert_true(result == CSC_TLS_DONE || result == CSC_TLS_WANT_WRITE);
            written += count;
        }
        while (csc_tls_read(to, got + received, size - received + (size == received), &count) ==
               CSC_TLS_DONE) {
            received += count;
            if (received == size) {
                break;
            }
        }
    }
    assert_int_equal(received, size);
    assert_memory_equal(sent, got, size);
    free(sent);
    free(got);
}

void assert_writes(csc_tls *tls, const char *text) {
    size_t count = 0;
    assert_int_equal(csc_tls_write(tls, text, strlen(text), &count), CSC_TLS_DONE);
    assert_int_equal(count, strlen(text));
}

void assert_reads(csc_tls *tls, const char *text) {
    char buffer[256] = {0};
    size_t count = 0;
    assert_int_equal(csc_tls_read(tls, buffer, sizeof buffer - 1, &count), CSC_TLS_DONE);
    assert_string_equal(buffer, text);
    assert_int_equal(count, strlen(text));
}

void assert_read_result(csc_tls *tls, csc_tls_result expected) {
    char buffer[256];
    size_t count = 1;
    assert_int_equal(csc_tls_read(tls, buffer, sizeof buffer, &count), expected);
    assert_int_equal(count, 0);
}

session pair_session(pair *it) {
    assert_writes(it->server, "hello");
    assert_reads(it->client, "hello");
    session copied;
    copied.size = csc_tls_copy_session(it->client, copied.bytes, sizeof copied.bytes);
    assert_true(copied.size <= sizeof copied.bytes);
    return copied;
}

bool pair_resumes(pair *it, const session *offered) {
    pair_connect(it);
    assert_true(csc_tls_resume(it->client, offered->bytes, offered->size));
    pair_results results = pair_step(it);
    assert_int_equal(results.server, CSC_TLS_DONE);
    assert_int_equal(results.client, CSC_TLS_DONE);
    assert_int_equal(csc_tls_is_resumed(it->server), csc_tls_is_resumed(it->client));
    return csc_tls_is_resumed(it->server);
}

int free_shared(void **state) {
    (void)state;
    free_certificates();
    return 0;
}
