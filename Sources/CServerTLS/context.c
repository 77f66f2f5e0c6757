// SPDX-License-Identifier: Apache-2.0

// From settings to a context of OpenSSL's. Each step that fails says which setting is wrong.

#include "authorities.h"
#include "identity_type.h"
#include "prepare.h"
#include "psk.h"
#include "setting_error.h"
#include "ticket_key.h"
#include "tickets.h"
#include "tls.h"

#include <openssl/err.h>
#include <string.h>

// Forward secrecy and AEAD. The client's order holds: all of them are good, and the client knows what
// its machine is fast at.
#define DEFAULT_CIPHERS                                                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

// The only one with a pre-shared key that has both; a client that has a key prefers it.
#define DEFAULT_CIPHERS_WITH_PSK "ECDHE-PSK-CHACHA20-POLY1305:" DEFAULT_CIPHERS

static bool set_versions(SSL_CTX *ctx, const csc_tls_settings *settings, csc_tls_error *error) {
    static const int numbers[] = {0, 0, TLS1_2_VERSION, TLS1_3_VERSION};
    unsigned lowest = settings->minimum_version ? settings->minimum_version : CSC_TLS_VERSION_1_2;
    unsigned highest = settings->maximum_version ? settings->maximum_version : CSC_TLS_VERSION_1_3;
    bool is_set = lowest >= CSC_TLS_VERSION_1_2 && highest <= CSC_TLS_VERSION_1_3 &&
                  lowest <= highest && SSL_CTX_set_min_proto_version(ctx, numbers[lowest]) == 1 &&
                  SSL_CTX_set_max_proto_version(ctx, numbers[highest]) == 1;
    return is_set || csc__tls_error(error, CSC_TLS_FAULT_VERSIONS,
                                    "There is no version from minimum_version to maximum_version");
}

static bool set_ciphers(SSL_CTX *ctx, const csc_tls_settings *settings, csc_tls_error *error) {
    const char *ciphers = settings->psk ? DEFAULT_CIPHERS_WITH_PSK : DEFAULT_CIPHERS;
    if (SSL_CTX_set_cipher_list(ctx, settings->ciphers ? settings->ciphers : ciphers) != 1) {
        return csc__tls_openssl_error(error, CSC_TLS_FAULT_CIPHERS, "The ciphers cannot be used");
    }
    if (settings->cipher_suites && SSL_CTX_set_ciphersuites(ctx, settings->cipher_suites) != 1) {
        return csc__tls_openssl_error(error, CSC_TLS_FAULT_CIPHER_SUITES,
                                      "The cipher suites cannot be used");
    }
    const char *groups = settings->groups ? settings->groups : "X25519:P-256:P-384";
    return SSL_CTX_set1_groups_list(ctx, groups) == 1 ||
           csc__tls_openssl_error(error, CSC_TLS_FAULT_GROUPS, "The groups cannot be used");
}

// In the form of the extension: a byte with the length before each name.
static bool set_protocols(csc_tls_context *context, const csc_tls_settings *settings,
                          csc_tls_error *error) {
    size_t size = 0;
    for (size_t index = 0; index < settings->application_protocol_count; index++) {
        size_t length = strlen(settings->application_protocols[index]);
        size += 1 + length;
        if (length == 0 || length > 255 || size > 65533) {
            return csc__tls_error(error, CSC_TLS_FAULT_PROTOCOLS,
                                  "An application protocol is empty, or they are too long");
        }
    }
    if (size == 0) {
        return true;
    }
    unsigned char *next = OPENSSL_malloc(size);
    if (!next) {
        return csc__tls_no_memory(error);
    }
    context->application_protocols = next;
    context->protocols_size = (unsigned)size;
    for (size_t index = 0; index < settings->application_protocol_count; index++) {
        size_t length = strlen(settings->application_protocols[index]);
        *next = (unsigned char)length;
        memcpy(next + 1, settings->application_protocols[index], length);
        next += 1 + length;
    }
    return !context->is_client ||
           SSL_CTX_set_alpn_protos(context->ctx, context->application_protocols,
                                   context->protocols_size) == 0 ||
           csc__tls_no_memory(error);
}

static void set_options(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // Without the second one a read ends when what is buffered was of no bytes for the program, such
    // as a flood of key updates, and does not go on as long as the peer sends them.
    SSL_CTX_clear_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(ctx, 1); // one recv() a record, not one for its header, too
    SSL_CTX_set_max_early_data(ctx, 0);
}

static void on_key_log(const SSL *ssl, const char *line) {
    csc_tls *tls = csc__tls_of(ssl);
    tls->context->key_log(tls, line, tls->owner);
}

static void on_state(const SSL *ssl, int where, int value) {
    if (!(where & SSL_CB_ALERT) || (value & 0xff) == SSL_AD_CLOSE_NOTIFY) {
        return;
    }
    csc_tls *tls = csc__tls_of(ssl);
    *(where & SSL_CB_READ ? &tls->alert_received : &tls->alert_sent) = (int16_t)(value & 0xff);
}

static void take_settings(csc_tls_context *context, const csc_tls_settings *settings) {
    context->is_client = settings->is_client;
    context->lookup = settings->lookup;
    context->verify = settings->verify;
    context->key_log = settings->key_log;
    context->psk = settings->psk;
    context->verify_mode = settings->verify_mode;
    if (context->verify_mode == CSC_TLS_VERIFY_AUTOMATIC) {
        context->verify_mode = settings->is_client ? CSC_TLS_VERIFY_REQUIRED : CSC_TLS_VERIFY_NONE;
    }
    if (settings->identities) {
        context->identities = csc__tls_identities_retain(settings->identities);
    }
    if (settings->ticket_keys) {
        context->ticket_keys = csc__tls_ticket_keys_retain(settings->ticket_keys);
    }
}

static bool set_up(csc_tls_context *context, const csc_tls_settings *settings,
                   csc_tls_error *error) {
    take_settings(context, settings);
    context->transport = csc__tls_transport_new();
    context->ctx = SSL_CTX_new(TLS_method());
    if (!context->transport || !context->ctx) {
        return csc__tls_no_memory(error);
    }
    SSL_CTX *ctx = context->ctx;
    set_options(ctx);
    if (!set_versions(ctx, settings, error) || !set_ciphers(ctx, settings, error) ||
        !set_protocols(context, settings, error) ||
        !csc__tls_load_authorities(context, settings, error) ||
        !csc__tls_enable_psk(context, settings, error)) {
        return false;
    }
    csc__tls_set_hello_callbacks(context);
    csc__tls_set_verify_callback(context);
    SSL_CTX_set_info_callback(ctx, on_state);
    if (context->key_log) {
        SSL_CTX_set_keylog_callback(ctx, on_key_log);
    }
    return csc__tls_enable_tickets(context) || csc__tls_no_memory(error);
}

csc_tls_context *csc_tls_context_new(const csc_tls_settings *settings, csc_tls_error *error) {
    csc__tls_no_error(error);
    csc__tls_prepare_openssl();
    csc_tls_context *context = OPENSSL_zalloc(sizeof *context);
    if (!context) {
        csc__tls_no_memory(error);
        return NULL;
    }
    atomic_init(&context->references, 1);
    if (!set_up(context, settings, error)) {
        csc_tls_context_free(context);
        context = NULL;
    }
    ERR_clear_error();
    return context;
}

csc_tls_context *csc__tls_context_retain(csc_tls_context *context) {
    atomic_fetch_add(&context->references, 1);
    return context;
}

void csc_tls_context_free(csc_tls_context *context) {
    if (!context || atomic_fetch_sub(&context->references, 1) != 1) {
        return;
    }
    SSL_CTX_free(context->ctx);
    BIO_meth_free(context->transport);
    EVP_CIPHER_free(context->ticket_cipher);
    csc_tls_identities_free(context->identities);
    csc_tls_ticket_keys_free(context->ticket_keys);
    OPENSSL_free(context->application_protocols);
    OPENSSL_free(context);
}
