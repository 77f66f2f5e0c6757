// SPDX-License-Identifier: Apache-2.0

// Pre-shared keys of a context, and of a connection.
#ifndef CSC_TLS_PSK_H
#define CSC_TLS_PSK_H

#include "tls.h"

// Lets the context ask the program for keys, where the settings say so.
bool csc__tls_enable_psk(csc_tls_context *context, const csc_tls_settings *settings,
                         csc_tls_error *error);

// Whether a suite of TLS 1.2 is one with a pre-shared key.
bool csc__tls_is_psk_cipher(const SSL_CIPHER *cipher);

// Whether the handshake, which is complete now, was by a pre-shared key.
bool csc__tls_is_by_psk(const csc_tls *tls);

#endif
