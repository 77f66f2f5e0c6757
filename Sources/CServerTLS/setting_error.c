// SPDX-License-Identifier: Apache-2.0

// The texts of errors of settings: what cannot be used, and OpenSSL's reason behind it.

#include "setting_error.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void csc__tls_no_error(csc_tls_error *error) {
    if (error) {
        error->fault = CSC_TLS_FAULT_NONE;
        error->text[0] = 0;
    }
}

bool csc__tls_error(csc_tls_error *error, csc_tls_fault fault, const char *format, ...) {
    if (error) {
        error->fault = fault;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    ERR_clear_error();
    return false;
}

bool csc__tls_no_memory(csc_tls_error *error) {
    return csc__tls_error(error, CSC_TLS_FAULT_MEMORY, "There is not enough memory");
}

// The first error is the cause; those after it say what did not come about therefore.
bool csc__tls_openssl_error(csc_tls_error *error, csc_tls_fault fault, const char *what) {
    unsigned long code = ERR_peek_error();
    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ||
        ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE) {
        return csc__tls_no_memory(error);
    }
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) // after this
                                                : ERR_reason_error_string(code);
    return csc__tls_error(error, fault, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}
