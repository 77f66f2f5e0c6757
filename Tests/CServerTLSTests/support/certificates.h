// SPDX-License-Identifier: Apache-2.0

// Certificates, made when a test asks for them. What was made once is used by all tests of the
// process.
#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <CServerTLS.h>

#include <stdbool.h>
#include <stddef.h>

typedef enum key_type { KEY_ECDSA, KEY_RSA, KEY_ED25519, KEY_SHORT_RSA } key_type;

enum { KEY_TYPES = 3 }; // without the last one, which no one accepts

// A text in PEM.
typedef struct pem {
    char *text;
    size_t size;
} pem;

typedef struct certificate {
    const char *name; // of the subject, and as a DNS name
    key_type key_type;
    bool is_by_other_authority;
    bool is_expired;
    pem chain; // the certificate, and that of its intermediate authority
    pem key;
} certificate;

// The authority that the tests trust, and another one.
const pem *authority(void);
const pem *other_authority(void);

// Makes one of the fields before `chain`; the same fields give the same certificate.
const certificate *certificate_for(const char *name, key_type type);
const certificate *certificate_of(certificate wanted);

// The same as an identity, which the caller frees.
csc_tls_identity *identity_for(const char *name, key_type type);
csc_tls_identity *identity_of(const certificate *one);

// The common name of a certificate in DER; of a peer's. Static until the next call.
const char *name_in(const void *der, size_t size);
const char *peer_name(const csc_tls *tls);

// Writes a text to a file that is removed when the process ends; returns its path.
const char *file_with(const pem *text);

// An encrypted form of a key.
pem encrypted(const pem *key, const char *password);

// Frees what was made.
void free_certificates(void);

#endif
