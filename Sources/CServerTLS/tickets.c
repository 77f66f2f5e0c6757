// SPDX-License-Identifier: Apache-2.0

// Tickets: encrypted with the shared keys, written before the first bytes of the server, and not
// accepted where they would go around a check.
//
// OpenSSL's default writes two at the end of the handshake. Where the client sends its bytes and
// closes without reading, that write fails, and with it the bytes are lost. So transport.c holds the
// one that OpenSSL makes then. To have it made with the first bytes costs 30,000 instructions more, for
// buffers of the handshake that OpenSSL makes again.

#include "tickets.h"

#include "psk.h"
#include "ticket_key.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>

static int set_key(EVP_MAC_CTX *mac, csc__tls_ticket_key *key) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, parameters);
}

enum { REFUSED = -1, UNKNOWN = 0, ACCEPTED = 1, ACCEPTED_TO_RENEW = 2 };

static int encrypt(csc_tls_context *context, unsigned char *name, unsigned char *iv,
                   EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac) {
    csc__tls_ticket_key key;
    csc__tls_ticket_keys_newest(context->ticket_keys, &key);
    bool is_set = RAND_bytes(iv, EVP_CIPHER_get_iv_length(context->ticket_cipher)) == 1 &&
                  EVP_EncryptInit_ex(cipher, context->ticket_cipher, NULL, key.cipher, iv) == 1 &&
                  set_key(mac, &key) == 1;
    memcpy(name, key.name, sizeof key.name);
    OPENSSL_cleanse(&key, sizeof key);
    return is_set ? ACCEPTED : REFUSED;
}

static int decrypt(csc_tls_context *context, const unsigned char *name, const unsigned char *iv,
                   EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac) {
    csc__tls_ticket_key key;
    bool is_newest;
    if (!csc__tls_ticket_keys_named(context->ticket_keys, name, &key, &is_newest)) {
        return UNKNOWN;
    }
    bool is_set = EVP_DecryptInit_ex(cipher, context->ticket_cipher, NULL, key.cipher, iv) == 1 &&
                  set_key(mac, &key) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!is_set) {
        return REFUSED;
    }
    return is_newest ? ACCEPTED : ACCEPTED_TO_RENEW;
}

static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int is_encrypting) {
    csc_tls_context *context = csc__tls_of(ssl)->context;
    return is_encrypting ? encrypt(context, name, iv, cipher, mac)
                         : decrypt(context, name, iv, cipher, mac);
}

// Whether the session goes around nothing that a full handshake would check: not the key that a
// program may have withdrawn meanwhile. OpenSSL compares what
// verifies certificates (the session ID context) itself.
static bool is_acceptable(SSL *ssl, const SSL_SESSION *session) {
    const csc_tls *tls = csc__tls_of(ssl);
    if (csc__tls_is_psk_cipher(SSL_SESSION_get0_cipher(session))) {
        return false;
    }
    X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)session);
    if (peer && (tls->context->verify || X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0)) {
        return false;
    }
    const char *name = SSL_SESSION_get0_hostname(session);
    return name && tls->server_name ? strcmp(name, tls->server_name) == 0
                                    : !name && !tls->server_name;
}

// A ticket of TLS 1.3 is for one use: the client gets another one, with this handshake.
static bool is_planned(const SSL *ssl) {
    return SSL_version(ssl) == TLS1_3_VERSION && SSL_get_num_tickets(ssl) > 0;
}

static SSL_TICKET_RETURN on_decrypted(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                      size_t length, SSL_TICKET_STATUS status, void *unused) {
    (void)name;
    (void)length;
    (void)unused;
    switch (status) {
    case SSL_TICKET_SUCCESS:
    case SSL_TICKET_SUCCESS_RENEW:
        if (!is_acceptable(ssl, session)) {
            return SSL_TICKET_RETURN_IGNORE_RENEW;
        }
        csc__tls_of(ssl)->has_key = false;
        return status == SSL_TICKET_SUCCESS && !is_planned(ssl) ? SSL_TICKET_RETURN_USE
                                                                : SSL_TICKET_RETURN_USE_RENEW;
    default:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
}

static int on_writing(SSL *ssl, void *unused) {
    (void)ssl;
    (void)unused;
    return 1;
}

bool csc__tls_enable_tickets(csc_tls_context *context) {
    SSL_CTX *ctx = context->ctx;
    // The cache is the server's memory of sessions; a client keeps its session itself.
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_timeout(ctx, CSC_TLS_TICKET_LIFETIME);
    if (context->is_client) {
        return true;
    }
    if (!context->ticket_keys) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return true;
    }
    context->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    return context->ticket_cipher &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket_key) == 1 &&
           SSL_CTX_set_session_ticket_cb(ctx, on_writing, on_decrypted, NULL) == 1;
}

// With pre-shared keys there is none where the client comes by one, which is not decided yet.
void csc__tls_plan_ticket(csc_tls *tls) {
    if (tls->takes_tickets && tls->context->ticket_keys && !tls->context->psk) {
        SSL_set_num_tickets(tls->ssl, 1);
    }
}

void csc__tls_offer_ticket(csc_tls *tls) {
    tls->owes_ticket = false;
    SSL_new_session_ticket(tls->ssl); // without memory the client gets none
}
