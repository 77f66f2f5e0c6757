// SPDX-License-Identifier: Apache-2.0

import CServerTLS

// The C library for TLS from Swift: a context, and a setting that cannot be used.
var settings = csc_tls_settings()
let context = csc_tls_context_new(&settings, nil)
precondition(context != nil)
csc_tls_context_free(context)

settings.verify_mode = CSC_TLS_VERIFY_REQUIRED
var error = csc_tls_error()
precondition(csc_tls_context_new(&settings, &error) == nil)
precondition(error.fault == CSC_TLS_FAULT_AUTHORITIES)
