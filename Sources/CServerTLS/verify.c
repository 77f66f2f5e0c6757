// SPDX-License-Identifier: Apache-2.0

// Whether a peer's certificate is accepted: by its chain, then by the program, which may answer
// later.
//
// A client waits inside the handshake. OpenSSL has no such wait for servers, so there the handshake
// goes on, and csc_tls_handshake() does not return CSC_TLS_DONE before the answer.

#include "tls.h"

#include <openssl/x509_vfy.h>

static void ask(csc_tls *tls, X509_STORE_CTX *chain) {
    tls->verify = CSC__TLS_ASKED;
    tls->verifying = chain;
    tls->context->verify(tls, tls->verify_error, tls->owner);
    tls->verifying = NULL;
}

static bool accepts(csc_tls *tls, SSL *ssl, X509_STORE_CTX *chain) {
    const csc_tls_context *context = tls->context;
    if (!context->verify) {
        return tls->verify_error == X509_V_OK || context->verify_mode != CSC_TLS_VERIFY_REQUIRED;
    }
    if (tls->verify == CSC__TLS_NOT_ASKED) {
        ask(tls, chain);
    }
    if (tls->verify == CSC__TLS_ANSWERED) {
        return tls->is_accepted;
    }
    if (context->is_client) {
        SSL_set_retry_verify(ssl);
    }
    return true;
}

static int on_certificate(X509_STORE_CTX *chain, void *unused) {
    (void)unused;
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    csc_tls *tls = csc__tls_of(ssl);
    bool is_valid = X509_verify_cert(chain) == 1;
    tls->verify_error = X509_STORE_CTX_get_error(chain);
    if (is_valid && tls->has_no_name) {
        is_valid = false;
        tls->verify_error = X509_V_ERR_HOSTNAME_MISMATCH; // only a key is accepted
    }
    if (!is_valid && tls->verify_error == X509_V_OK) {
        tls->verify_error = X509_V_ERR_UNSPECIFIED;
    }
    bool is_accepted = accepts(tls, ssl, chain);
    if (!is_accepted && tls->verify_error == X509_V_OK) {
        tls->verify_error = X509_V_ERR_APPLICATION_VERIFICATION;
    }
    X509_STORE_CTX_set_error(chain, tls->verify_error);
    return is_accepted;
}

void csc_tls_answer_verify(csc_tls *tls, bool accepts) {
    if (tls->verify == CSC__TLS_ASKED) {
        tls->verify = CSC__TLS_ANSWERED;
        tls->is_accepted = accepts;
    }
}

void csc__tls_set_verify_callback(csc_tls_context *context) {
    int mode = SSL_VERIFY_NONE;
    if (context->verify_mode == CSC_TLS_VERIFY_QUERY) {
        mode = SSL_VERIFY_PEER;
    } else if (context->verify_mode == CSC_TLS_VERIFY_REQUIRED) {
        mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(context->ctx, mode, NULL);
    if (context->verify_mode != CSC_TLS_VERIFY_NONE) {
        SSL_CTX_set_cert_verify_callback(context->ctx, on_certificate, NULL);
    }
}
