// SPDX-License-Identifier: Apache-2.0

// The certificates that peers are verified with.
#ifndef CSC_TLS_AUTHORITIES_H
#define CSC_TLS_AUTHORITIES_H

#include "tls.h"

// Gives the context the authorities of the settings.
bool csc__tls_load_authorities(csc_tls_context *context, const csc_tls_settings *settings,
                               csc_tls_error *error);

#endif
