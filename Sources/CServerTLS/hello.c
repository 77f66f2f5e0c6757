// SPDX-License-Identifier: Apache-2.0

// What a server decides from the client's first message: the identity for its server name, the
// application protocol, and whether it can resume by tickets.
//
// The name is read from the message itself, before OpenSSL reads it: only there a handshake can wait
// for an answer, and end with the alert unrecognized_name, whether it resumes a session or not.

#include "identity_type.h"
#include "tickets.h"
#include "tls.h"

#include <string.h>

enum { LONGEST_NAME = 255, LIST_AND_TYPE = 3, NAME_HEADER = 5, HOST_NAME = 0, KE_DHE = 1 };

static size_t two_bytes(const unsigned char *bytes) {
    return (size_t)bytes[0] << 8 | bytes[1];
}

// Finds the server name, as RFC 6066 has it: length of the list, type, length, name. False where
// there is none, or it is no name; what is malformed OpenSSL refuses later.
static bool find_name(SSL *ssl, const unsigned char **name, size_t *length) {
    const unsigned char *bytes;
    size_t size;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &size) != 1 ||
        size < NAME_HEADER || bytes[LIST_AND_TYPE - 1] != HOST_NAME) {
        return false;
    }
    *name = bytes + NAME_HEADER;
    *length = two_bytes(bytes + LIST_AND_TYPE);
    return *length > 0 && *length <= LONGEST_NAME && *length == size - NAME_HEADER &&
           !memchr(*name, 0, *length);
}

// OpenSSL keeps the name, too, but reads it after the ticket in which it is looked for. A program may
// use what it is asked about as part of a path: only what can be a name gets that far, and without
// the dot at its end, which RFC 6066 does not allow and some clients send.
static bool keep_name(csc_tls *tls) {
    const unsigned char *name;
    size_t length;
    if (tls->server_name || !find_name(tls->ssl, &name, &length)) {
        return true;
    }
    if (name[length - 1] == '.') {
        length--;
    }
    char *copy = OPENSSL_strndup((const char *)name, length);
    if (copy && !csc__tls_is_sent_name(copy)) {
        OPENSSL_free(copy);
        return true;
    }
    tls->server_name = copy;
    return copy != NULL;
}

// RFC 8446, 4.2.9: a ticket is for clients that can use it with a key exchange of their own.
static bool reads_tickets(SSL *ssl) {
    const unsigned char *bytes;
    size_t size;
    return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk_kex_modes, &bytes, &size) == 1 &&
           size > 1 && memchr(bytes + 1, KE_DHE, size - 1);
}

// Asks the program once. True when the answer is there.
static bool ask(csc_tls *tls) {
    if (tls->lookup == CSC__TLS_NOT_ASKED) {
        tls->lookup = CSC__TLS_ASKED;
        tls->context->lookup(tls, tls->server_name, tls->owner);
    }
    return tls->lookup == CSC__TLS_ANSWERED;
}

// The map's, the program's, the default one. False while the program's answer is waited for.
static bool choose_identity(csc_tls *tls) {
    const csc_tls_context *context = tls->context;
    if (context->identities && tls->server_name) {
        tls->identity = csc__tls_identities_get(context->identities, tls->server_name);
    }
    if (!tls->identity && context->lookup && !ask(tls)) {
        return false;
    }
    if (!tls->identity && context->identities) {
        tls->identity = csc__tls_identities_get(context->identities, NULL);
    }
    return true;
}

static int on_client_hello(SSL *ssl, int *alert, void *unused) {
    (void)unused;
    csc_tls *tls = csc__tls_of(ssl);
    if (tls->identity) {
        return SSL_CLIENT_HELLO_SUCCESS; // after HelloRetryRequest
    }
    tls->takes_tickets = reads_tickets(ssl);
    csc__tls_plan_ticket(tls);
    if (!keep_name(tls)) {
        tls->failure = CSC_TLS_FAILURE_MEMORY;
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!choose_identity(tls)) {
        return SSL_CLIENT_HELLO_RETRY;
    }
    if (!tls->identity && !tls->context->psk) {
        tls->failure = CSC_TLS_FAILURE_UNKNOWN_NAME;
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

void csc_tls_answer_lookup(csc_tls *tls, csc_tls_identity *identity) {
    if (tls->lookup != CSC__TLS_ASKED) {
        return;
    }
    tls->lookup = CSC__TLS_ANSWERED;
    if (identity && !tls->identity) { // the map may have got one meanwhile
        tls->identity = csc__tls_identity_retain(identity);
    }
}

// Not asked where a session is resumed, which needs no certificate. A client without one sends none,
// and a server may have pre-shared keys instead.
static int on_certificate_needed(SSL *ssl, void *unused) {
    (void)unused;
    csc_tls *tls = csc__tls_of(ssl);
    if (!tls->identity && tls->context->is_client && tls->context->identities) {
        tls->identity = csc__tls_identities_get(tls->context->identities, NULL);
    }
    const csc_tls_identity *identity = tls->identity;
    return !identity ? tls->context->is_client || tls->context->psk
                     : SSL_use_cert_and_key(ssl, identity->certificate, identity->key,
                                            identity->chain, 1);
}

// The name was accepted in on_client_hello(). With this the session keeps it.
static int on_server_name(SSL *ssl, int *alert, void *unused) {
    (void)ssl;
    (void)alert;
    (void)unused;
    return SSL_TLSEXT_ERR_OK;
}

// The server's order. RFC 7301: without one in common the handshake fails.
static int on_protocols(SSL *ssl, const unsigned char **chosen, unsigned char *length,
                        const unsigned char *offered, unsigned offered_size, void *unused) {
    (void)unused;
    const csc_tls_context *context = csc__tls_of(ssl)->context;
    int result =
        SSL_select_next_proto((unsigned char **)chosen, length, context->application_protocols,
                              context->protocols_size, offered, offered_size);
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int on_status_request(SSL *ssl, void *unused) {
    (void)unused;
    const csc_tls_identity *identity = csc__tls_of(ssl)->identity;
    if (!identity || !identity->ocsp_response) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    unsigned char *copy = OPENSSL_memdup(identity->ocsp_response, identity->ocsp_size);
    if (!copy) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)identity->ocsp_size);
    return SSL_TLSEXT_ERR_OK;
}

void csc__tls_set_hello_callbacks(csc_tls_context *context) {
    SSL_CTX *ctx = context->ctx;
    SSL_CTX_set_cert_cb(ctx, on_certificate_needed, NULL);
    if (context->is_client) {
        return;
    }
    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_status_cb(ctx, on_status_request);
    if (context->protocols_size > 0) {
        SSL_CTX_set_alpn_select_cb(ctx, on_protocols, NULL);
    }
}
