// SPDX-License-Identifier: Apache-2.0

// What was agreed with the peer.

#include "tls.h"

#include <openssl/err.h>
#include <string.h>

csc_tls_version csc_tls_version_of(const csc_tls *tls) {
    if (SSL_in_before(tls->ssl)) {
        return CSC_TLS_VERSION_ANY;
    }
    switch (SSL_version(tls->ssl)) {
    case TLS1_2_VERSION:
        return CSC_TLS_VERSION_1_2;
    case TLS1_3_VERSION:
        return CSC_TLS_VERSION_1_3;
    default:
        return CSC_TLS_VERSION_ANY;
    }
}

const char *csc_tls_cipher(const csc_tls *tls) {
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
    return cipher ? SSL_CIPHER_standard_name(cipher) : NULL;
}

const char *csc_tls_application_protocol(const csc_tls *tls, size_t *size) {
    const unsigned char *protocol;
    unsigned length;
    SSL_get0_alpn_selected(tls->ssl, &protocol, &length);
    *size = length;
    return length > 0 ? (const char *)protocol : NULL;
}

const char *csc_tls_server_name(const csc_tls *tls) {
    return tls->context->is_client ? SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name)
                                   : tls->server_name;
}

bool csc_tls_is_resumed(const csc_tls *tls) {
    return SSL_session_reused(tls->ssl) == 1 && !tls->is_by_psk;
}

// Of a session that was resumed it is the session's.
long csc_tls_verify_error(const csc_tls *tls) {
    return tls->verify_error != X509_V_OK ? tls->verify_error : SSL_get_verify_result(tls->ssl);
}

int csc_tls_alert_received(const csc_tls *tls) {
    return tls->alert_received;
}

int csc_tls_alert_sent(const csc_tls *tls) {
    return tls->alert_sent;
}

// OpenSSL's chain has the peer's own certificate on a client, and not on a server.
static X509 *certificate_at(const csc_tls *tls, size_t index) {
    X509 *own = NULL;
    STACK_OF(X509) *sent = NULL;
    if (tls->verifying) {
        own = X509_STORE_CTX_get0_cert(tls->verifying);
        sent = X509_STORE_CTX_get0_untrusted(tls->verifying);
    } else {
        own = SSL_get0_peer_certificate(tls->ssl);
        sent = SSL_get_peer_cert_chain(tls->ssl);
    }
    if (index == 0 || !own) {
        return own;
    }
    size_t skipped = sk_X509_num(sent) > 0 && sk_X509_value(sent, 0) == own;
    index = index - 1 + skipped;
    return index < (size_t)(sk_X509_num(sent) > 0 ? sk_X509_num(sent) : 0)
               ? sk_X509_value(sent, (int)index)
               : NULL;
}

size_t csc_tls_copy_peer_certificate(const csc_tls *tls, size_t index, void *buffer, size_t size) {
    X509 *certificate = certificate_at(tls, index);
    int needed = certificate ? i2d_X509(certificate, NULL) : 0;
    if (needed > 0 && buffer && (size_t)needed <= size) {
        unsigned char *next = buffer;
        needed = i2d_X509(certificate, &next);
    }
    if (!tls->verifying) { // there it is part of OpenSSL's own call
        ERR_clear_error();
    }
    return needed > 0 ? (size_t)needed : 0;
}
