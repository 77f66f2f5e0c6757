// SPDX-License-Identifier: Apache-2.0

// Errors of settings.
#ifndef CSC_TLS_SETTING_ERROR_H
#define CSC_TLS_SETTING_ERROR_H

#include "CServerTLS/error.h"

// Sets an error where there is room for one, with a text of printf(). False, for the caller to
// return.
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
bool csc__tls_error(csc_tls_error *error, csc_tls_fault fault, const char *format, ...);

// The same with the reason of OpenSSL's last error behind a colon; empties OpenSSL's queue.
bool csc__tls_openssl_error(csc_tls_error *error, csc_tls_fault fault, const char *what);

// There is no error.
void csc__tls_no_error(csc_tls_error *error);

bool csc__tls_no_memory(csc_tls_error *error);

#endif
