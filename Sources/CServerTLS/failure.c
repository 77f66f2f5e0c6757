// SPDX-License-Identifier: Apache-2.0

// What a call of OpenSSL has come to. OpenSSL answers from the thread's queue of errors, where an
// error of another connection would make "would block" a failure: so the queue is empty before each
// call, and after it.

#include "tls.h"

#include <errno.h>
#include <openssl/err.h>

static void clear_errors(void) {
    if (ERR_peek_error() != 0) { // asking is cheaper than clearing
        ERR_clear_error();
    }
}

csc_tls_result csc__tls_succeed(void) {
    clear_errors(); // of what went wrong on the way, and did not matter
    return CSC_TLS_DONE;
}

void csc__tls_begin(csc_tls *tls) {
    tls->has_call_failed = false;
    tls->would_block = false;
    if (tls->failure == CSC_TLS_FAILURE_MISUSE) {
        tls->failure = CSC_TLS_FAILURE_NONE;
    }
    clear_errors();
}

csc_tls_result csc__tls_fail(csc_tls *tls, csc_tls_failure failure) {
    tls->has_failed = true;
    tls->failure = failure;
    return CSC_TLS_FAILED;
}

csc_tls_result csc__tls_misused(csc_tls *tls) {
    tls->failure = CSC_TLS_FAILURE_MISUSE;
    return CSC_TLS_FAILED;
}

// The peer has closed, and not said so before.
static csc_tls_result truncated(csc_tls *tls) {
    if (!tls->is_complete) {
        return csc__tls_fail(tls,
                             tls->has_input ? CSC_TLS_FAILURE_TRUNCATED : CSC_TLS_FAILURE_SILENT);
    }
    tls->failure = CSC_TLS_FAILURE_TRUNCATED; // writing goes on
    return CSC_TLS_FAILED;
}

static bool is_short_of_memory(void) {
    return ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE ||
           ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

static csc_tls_result failed(csc_tls *tls) {
    if (tls->failure == CSC_TLS_FAILURE_NOT_TLS || tls->failure == CSC_TLS_FAILURE_UNKNOWN_NAME ||
        tls->failure == CSC_TLS_FAILURE_MEMORY) {
        return csc__tls_fail(tls, tls->failure); // noted in a callback
    }
    if (is_short_of_memory()) {
        return csc__tls_fail(tls, CSC_TLS_FAILURE_MEMORY);
    }
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (reason > SSL_AD_REASON_OFFSET) {
        return csc__tls_fail(tls, CSC_TLS_FAILURE_PEER_ALERT);
    }
    if (tls->has_call_failed) {
        tls->has_failed = !tls->is_complete; // the other direction may go on
        tls->failure = CSC_TLS_FAILURE_SYSTEM;
        return CSC_TLS_FAILED;
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        return csc__tls_fail(tls, CSC_TLS_FAILURE_VERIFICATION);
    }
    if (tls->has_reached_end && ERR_peek_error() == 0) {
        return truncated(tls);
    }
    bool has_nothing = tls->lacks_key && !tls->identity && !tls->context->is_client;
    if (reason == SSL_R_PSK_IDENTITY_NOT_FOUND || has_nothing) {
        return csc__tls_fail(tls, CSC_TLS_FAILURE_NO_KEY);
    }
    return csc__tls_fail(tls, CSC_TLS_FAILURE_PROTOCOL);
}

csc_tls_result csc__tls_conclude(csc_tls *tls, int returned) {
    csc_tls_result result;
    switch (SSL_get_error(tls->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        result = CSC_TLS_WANT_READ;
        break;
    case SSL_ERROR_WANT_WRITE:
        result = CSC_TLS_WANT_WRITE;
        break;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
    case SSL_ERROR_WANT_RETRY_VERIFY:
        result = CSC_TLS_WANT_ANSWER;
        break;
    case SSL_ERROR_ZERO_RETURN:
        result = CSC_TLS_END;
        break;
    default:
        result = failed(tls);
        break;
    }
    ERR_clear_error();
    return result;
}

csc_tls_failure csc_tls_failure_of(const csc_tls *tls) {
    return tls->failure;
}

int csc_tls_errno(const csc_tls *tls) {
    return tls->system_error;
}

const char *csc_tls_failure_text(const csc_tls *tls) {
    switch (tls->failure) {
    case CSC_TLS_FAILURE_NONE:
        return "";
    case CSC_TLS_FAILURE_SILENT:
        return "The peer has closed the connection without a byte";
    case CSC_TLS_FAILURE_NOT_TLS:
        return "The peer does not speak TLS";
    case CSC_TLS_FAILURE_TRUNCATED:
        return "The peer has closed the connection without the end of TLS";
    case CSC_TLS_FAILURE_SYSTEM:
        return "A system call failed";
    case CSC_TLS_FAILURE_PEER_ALERT:
        return "The peer has refused by an alert";
    case CSC_TLS_FAILURE_VERIFICATION:
        return "The certificate of the peer is not accepted";
    case CSC_TLS_FAILURE_UNKNOWN_NAME:
        return "There is no certificate for the server name";
    case CSC_TLS_FAILURE_NO_KEY:
        return "There is no pre-shared key for the peer";
    case CSC_TLS_FAILURE_MEMORY:
        return "There is not enough memory";
    case CSC_TLS_FAILURE_MISUSE:
        return "The call does not go with the state of the connection";
    case CSC_TLS_FAILURE_PROTOCOL:
        break;
    }
    return "The peer has sent what TLS does not allow";
}
