// SPDX-License-Identifier: Apache-2.0

// A client's session, as bytes: the program keeps it.

#include "tls.h"

#include <openssl/err.h>
#include <string.h>

size_t csc_tls_copy_session(csc_tls *tls, void *buffer, size_t size) {
    ERR_clear_error();
    SSL_SESSION *session = SSL_get_session(tls->ssl);
    int needed = 0;
    if (tls->context->is_client && !tls->context->verify && !tls->is_by_psk && session &&
        SSL_SESSION_is_resumable(session)) {
        needed = i2d_SSL_SESSION(session, NULL);
        if (needed > 0 && buffer && (size_t)needed <= size) {
            unsigned char *next = buffer;
            needed = i2d_SSL_SESSION(session, &next);
        }
    }
    ERR_clear_error();
    return needed > 0 ? (size_t)needed : 0;
}

// A session of another server, or one that was made without verifying, would go around the check of
// the certificate.
bool csc__tls_bind_session(csc_tls *tls, const char *server_name) {
    const csc_tls_context *context = tls->context;
    const char *name = server_name ? server_name : "";
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool is_bound =
        digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(digest, context->session_name, sizeof context->session_name) == 1 &&
        EVP_DigestUpdate(digest, name, strlen(name)) == 1 &&
        EVP_DigestFinal_ex(digest, tls->session_name, NULL) == 1 &&
        SSL_set_session_id_context(tls->ssl, tls->session_name, CSC__TLS_SESSION_NAME) == 1;
    EVP_MD_CTX_free(digest);
    return is_bound;
}

static bool is_ours(const csc_tls *tls, const SSL_SESSION *session) {
    unsigned size;
    const unsigned char *name = SSL_SESSION_get0_id_context(session, &size);
    return size == CSC__TLS_SESSION_NAME && memcmp(name, tls->session_name, size) == 0;
}

bool csc_tls_resume(csc_tls *tls, const void *bytes, size_t size) {
    ERR_clear_error();
    const unsigned char *next = bytes;
    SSL_SESSION *session = NULL;
    // In a resumed handshake there is no certificate to ask the program about.
    bool may_resume = tls->context->is_client && !tls->context->verify;
    if (may_resume && SSL_in_before(tls->ssl) && size <= INT_MAX) {
        session = d2i_SSL_SESSION(NULL, &next, (long)size);
    }
    bool is_resuming = session && is_ours(tls, session) && SSL_set_session(tls->ssl, session) == 1;
    SSL_SESSION_free(session);
    ERR_clear_error();
    return is_resuming;
}
