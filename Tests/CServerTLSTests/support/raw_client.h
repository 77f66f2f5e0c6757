// SPDX-License-Identifier: Apache-2.0

// A client of OpenSSL's alone, for what the library's client does not do.
#ifndef RAW_CLIENT_H
#define RAW_CLIENT_H

#include "pair.h"

#include <openssl/ssl.h>

typedef struct raw_client {
    SSL_CTX *ctx;
    SSL *ssl;
} raw_client;

// Takes the place of the pair's client in a new connection; it trusts any certificate. Settings and
// the session may be changed before the handshake.
raw_client raw_client_new(pair *it, const char *server_name);
void raw_client_free(raw_client client);

// Steps of both sides; the result of the server's last one.
csc_tls_result raw_client_shake_hands(pair *it, raw_client client);

#endif
