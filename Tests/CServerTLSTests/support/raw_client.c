// SPDX-License-Identifier: Apache-2.0

#include "raw_client.h"

#include <fcntl.h>
#include <openssl/err.h>

raw_client raw_client_new(pair *it, const char *server_name) {
    pair_connect(it);
    raw_client client;
    client.ctx = SSL_CTX_new(TLS_client_method());
    client.ssl = SSL_new(client.ctx);
    must(client.ssl && SSL_set_fd(client.ssl, it->descriptors[1]) == 1);
    SSL_set_tlsext_host_name(client.ssl, server_name);
    SSL_set_connect_state(client.ssl);
    must(fcntl(it->descriptors[1], F_SETFL, O_NONBLOCK) == 0);
    return client;
}

void raw_client_free(raw_client client) {
    // Otherwise OpenSSL takes its session for one that must not be resumed.
    SSL_set_shutdown(client.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(client.ssl);
    SSL_CTX_free(client.ctx);
    ERR_clear_error();
}

csc_tls_result raw_client_shake_hands(pair *it, raw_client client) {
    csc_tls_result result = CSC_TLS_WANT_READ;
    for (int steps = 0; steps < 10 && result == CSC_TLS_WANT_READ; steps++) {
        SSL_do_handshake(client.ssl);
        result = csc_tls_handshake(it->server);
    }
    SSL_do_handshake(client.ssl);
    ERR_clear_error();
    return result;
}
