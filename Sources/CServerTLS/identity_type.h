// SPDX-License-Identifier: Apache-2.0

// Identities, and the map of names.
#ifndef CSC_TLS_IDENTITY_TYPE_H
#define CSC_TLS_IDENTITY_TYPE_H

#include "CServerTLS/identity.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

struct csc_tls_identity {
    atomic_uint references;
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain; // without the certificate
    unsigned char *ocsp_response;
    size_t ocsp_size;
};

csc_tls_identity *csc__tls_identity_retain(const csc_tls_identity *identity);
csc_tls_identities *csc__tls_identities_retain(csc_tls_identities *identities);

// Whether a client may send this name: one of the map, but without a wildcard or a dot at its end.
bool csc__tls_is_sent_name(const char *name);

// The identity for a name, or the default one for NULL; NULL for none. The caller frees it.
csc_tls_identity *csc__tls_identities_get(csc_tls_identities *identities, const char *name);

#endif
