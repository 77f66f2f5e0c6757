// SPDX-License-Identifier: Apache-2.0

// A connection's life: made, its handshake, freed.

#include "identity_type.h"
#include "psk.h"
#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

void csc_tls_free(csc_tls *tls) {
    if (!tls) {
        return;
    }
    SSL_free(tls->ssl);
    csc_tls_identity_free(tls->identity);
    OPENSSL_free(tls->server_name);
    OPENSSL_free(tls->psk_identity);
    OPENSSL_free(tls->held);
    csc_tls_context_free(tls->context);
    OPENSSL_free(tls);
}

static bool attach(csc_tls *tls) {
    tls->ssl = SSL_new(tls->context->ctx);
    BIO *transport = csc__tls_transport_of(tls);
    if (!tls->ssl || !transport) {
        BIO_free(transport);
        return false;
    }
    SSL_set_bio(tls->ssl, transport, transport);
    return true;
}

static csc_tls *new_connection(csc_tls_context *context, int descriptor, void *owner) {
    ERR_clear_error();
    size_t session_name = context->is_client ? CSC__TLS_SESSION_NAME : 0;
    csc_tls *tls = OPENSSL_zalloc(sizeof *tls + session_name);
    if (tls) {
        tls->context = csc__tls_context_retain(context);
        tls->owner = owner;
        tls->descriptor = descriptor;
        tls->alert_received = -1;
        tls->alert_sent = -1;
        if (!attach(tls)) {
            csc_tls_free(tls);
            tls = NULL;
        }
    }
    ERR_clear_error();
    return tls;
}

csc_tls *csc_tls_new_server(csc_tls_context *context, int descriptor, void *owner) {
    csc_tls *tls = context->is_client ? NULL : new_connection(context, descriptor, owner);
    if (tls) {
        SSL_set_accept_state(tls->ssl);
    }
    return tls;
}

static bool is_address(const char *name) {
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

static bool expect_name(csc_tls *tls, const char *name) {
    X509_VERIFY_PARAM *parameters = SSL_get0_param(tls->ssl);
    if (is_address(name)) {
        return X509_VERIFY_PARAM_set1_ip_asc(parameters, name) == 1;
    }
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return name[0] != 0 && SSL_set_tlsext_host_name(tls->ssl, name) == 1 &&
           X509_VERIFY_PARAM_set1_host(parameters, name, 0) == 1;
}

csc_tls *csc_tls_new_client(csc_tls_context *context, int descriptor, const char *server_name,
                            void *owner) {
    bool has_no_name = !server_name && context->verify_mode == CSC_TLS_VERIFY_REQUIRED;
    if (!context->is_client || (has_no_name && !context->psk)) {
        return NULL;
    }
    csc_tls *tls = new_connection(context, descriptor, owner);
    if (tls && !(csc__tls_bind_session(tls, server_name) &&
                 (!server_name || expect_name(tls, server_name)))) {
        csc_tls_free(tls);
        ERR_clear_error();
        return NULL;
    }
    if (tls) {
        tls->has_no_name = has_no_name;
        SSL_set_connect_state(tls->ssl);
    }
    return tls;
}

// A server's answer may come after the handshake.
static csc_tls_result completed(csc_tls *tls) {
    if (tls->verify == CSC__TLS_ASKED) {
        return CSC_TLS_WANT_ANSWER;
    }
    if (tls->verify == CSC__TLS_ANSWERED && !tls->is_accepted) {
        if (tls->verify_error == X509_V_OK) {
            tls->verify_error = X509_V_ERR_APPLICATION_VERIFICATION;
        }
        return csc__tls_fail(tls, CSC_TLS_FAILURE_VERIFICATION);
    }
    tls->is_complete = true;
    csc__tls_free_buffers(tls);
    tls->may_have_more = true;
    tls->is_by_psk = tls->context->psk && csc__tls_is_by_psk(tls);
    tls->owes_ticket = tls->takes_tickets && tls->context->ticket_keys && !tls->is_by_psk &&
                       !tls->held && SSL_version(tls->ssl) == TLS1_3_VERSION;
    return csc__tls_succeed();
}

csc_tls_result csc_tls_handshake(csc_tls *tls) {
    if (tls->has_failed || tls->is_complete) {
        return tls->has_failed ? CSC_TLS_FAILED : CSC_TLS_DONE;
    }
    csc__tls_begin(tls);
    int returned = SSL_do_handshake(tls->ssl);
    if (returned == 1) {
        return completed(tls);
    }
    csc_tls_result result = csc__tls_conclude(tls, returned);
    if (result == CSC_TLS_WANT_READ) {
        csc__tls_free_buffers(tls); // many clients may be slow at once
    }
    return result;
}
