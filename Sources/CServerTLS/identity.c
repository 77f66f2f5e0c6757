// SPDX-License-Identifier: Apache-2.0

// Identities: read, checked, and counted by reference. Nothing of one changes after it was made, so
// threads share it without a lock.

#include "identity_type.h"

#include "prepare.h"
#include "setting_error.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>

typedef struct key_password {
    const char *text; // NULL where there is none
    bool is_missing;  // and it was needed
} key_password;

// Never OpenSSL's own, which asks at the terminal. `context`: a key_password, or NULL.
static int give_password(char *buffer, int size, int is_writing, void *context) {
    (void)is_writing;
    key_password *password = context;
    if (!password || !password->text) {
        if (password) {
            password->is_missing = true;
        }
        return -1;
    }
    size_t length = strlen(password->text);
    if (length > (size_t)size) {
        return -1;
    }
    memcpy(buffer, password->text, length);
    return (int)length;
}

static csc_tls_identity *new_identity(void) {
    csc_tls_identity *identity = OPENSSL_zalloc(sizeof *identity);
    if (identity) {
        atomic_init(&identity->references, 1);
    }
    return identity;
}

void csc_tls_identity_free(csc_tls_identity *identity) {
    if (!identity || atomic_fetch_sub(&identity->references, 1) != 1) {
        return;
    }
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    sk_X509_pop_free(identity->chain, X509_free);
    OPENSSL_free(identity->ocsp_response);
    OPENSSL_free(identity);
}

csc_tls_identity *csc__tls_identity_retain(const csc_tls_identity *identity) {
    csc_tls_identity *shared = (csc_tls_identity *)identity;
    atomic_fetch_add(&shared->references, 1);
    return shared;
}

// Whether reading PEM has ended because there is no more, and not in the middle.
static bool is_end_of_pem(void) {
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static bool read_chain(csc_tls_identity *identity, BIO *input, csc_tls_error *error) {
    identity->certificate = PEM_read_bio_X509_AUX(input, NULL, give_password, NULL);
    if (!identity->certificate) {
        return csc__tls_openssl_error(error, CSC_TLS_FAULT_CERTIFICATE,
                                      "The certificate cannot be read");
    }
    identity->chain = sk_X509_new_null();
    X509 *next = NULL;
    while (identity->chain && (next = PEM_read_bio_X509(input, NULL, give_password, NULL))) {
        if (!sk_X509_push(identity->chain, next)) {
            X509_free(next);
            return csc__tls_no_memory(error);
        }
    }
    if (!identity->chain) {
        return csc__tls_no_memory(error);
    }
    if (!is_end_of_pem()) {
        return csc__tls_openssl_error(error, CSC_TLS_FAULT_CERTIFICATE,
                                      "A certificate of the chain cannot be read");
    }
    ERR_clear_error();
    return true;
}

static bool read_key(csc_tls_identity *identity, BIO *input, const char *password,
                     csc_tls_error *error) {
    key_password given = {.text = password};
    identity->key = PEM_read_bio_PrivateKey(input, NULL, give_password, &given);
    if (identity->key) {
        return true;
    }
    if (given.is_missing) {
        return csc__tls_error(error, CSC_TLS_FAULT_KEY,
                              "The private key is encrypted, and there is no password for it");
    }
    return csc__tls_openssl_error(error, CSC_TLS_FAULT_KEY, "The private key cannot be read");
}

// By a context that is thrown away: what OpenSSL would find in a handshake is found here.
static bool check(const csc_tls_identity *identity, csc_tls_error *error) {
    if (X509_check_private_key(identity->certificate, identity->key) != 1) {
        return csc__tls_openssl_error(error, CSC_TLS_FAULT_PAIR,
                                      "The private key is not that of the certificate");
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    bool is_usable = ctx && SSL_CTX_use_cert_and_key(ctx, identity->certificate, identity->key,
                                                     identity->chain, 1) == 1;
    if (!is_usable) {
        csc__tls_openssl_error(error, CSC_TLS_FAULT_CERTIFICATE, "The certificate cannot be used");
    }
    SSL_CTX_free(ctx);
    return is_usable;
}

static csc_tls_identity *read_both(BIO *chain, BIO *key, const char *password,
                                   csc_tls_error *error) {
    csc_tls_identity *identity = new_identity();
    if (!identity) {
        csc__tls_no_memory(error);
    } else if (!read_chain(identity, chain, error) || !read_key(identity, key, password, error) ||
               !check(identity, error)) {
        csc_tls_identity_free(identity);
        identity = NULL;
    }
    return identity;
}

csc_tls_identity *csc_tls_identity_from_pem(const void *chain, size_t chain_size, const void *key,
                                            size_t key_size, const char *password,
                                            csc_tls_error *error) {
    csc__tls_no_error(error);
    csc__tls_prepare_openssl();
    if (chain_size > INT_MAX || key_size > INT_MAX) {
        csc__tls_error(error, CSC_TLS_FAULT_CERTIFICATE, "The certificate or the key is too long");
        return NULL;
    }
    // Never NULL and 0 for OpenSSL, which takes that for an error of the program.
    BIO *chain_input = BIO_new_mem_buf(chain_size ? chain : "", (int)chain_size);
    BIO *key_input = BIO_new_mem_buf(key_size ? key : "", (int)key_size);
    csc_tls_identity *identity = NULL;
    if (chain_input && key_input) {
        identity = read_both(chain_input, key_input, password, error);
    } else {
        csc__tls_no_memory(error);
    }
    BIO_free(chain_input);
    BIO_free(key_input);
    return identity;
}

csc_tls_identity *csc_tls_identity_from_files(const char *chain_path, const char *key_path,
                                              const char *password, csc_tls_error *error) {
    csc__tls_no_error(error);
    csc__tls_prepare_openssl();
    csc_tls_identity *identity = NULL;
    BIO *key = NULL;
    BIO *chain = BIO_new_file(chain_path, "re");
    if (!chain) {
        csc__tls_openssl_error(error, CSC_TLS_FAULT_CERTIFICATE,
                               "The file of the certificate cannot be opened");
    } else {
        key = BIO_new_file(key_path, "re");
        if (!key) {
            csc__tls_openssl_error(error, CSC_TLS_FAULT_KEY,
                                   "The file of the private key cannot be opened");
        }
    }
    if (key) {
        identity = read_both(chain, key, password, error);
    }
    BIO_free(chain);
    BIO_free(key);
    return identity;
}

csc_tls_identity *csc_tls_identity_stapling(const csc_tls_identity *identity, const void *response,
                                            size_t size, csc_tls_error *error) {
    csc__tls_no_error(error);
    ERR_clear_error();
    if (size == 0 || size > 65535) {
        csc__tls_error(error, CSC_TLS_FAULT_OCSP, "The response of OCSP is empty, or too long");
        return NULL;
    }
    csc_tls_identity *other = new_identity();
    if (other) {
        other->ocsp_response = OPENSSL_memdup(response, size);
        other->ocsp_size = size;
        other->chain = X509_chain_up_ref(identity->chain);
    }
    if (!other || !other->ocsp_response || !other->chain) {
        csc_tls_identity_free(other);
        csc__tls_no_memory(error);
        return NULL;
    }
    X509_up_ref(identity->certificate);
    other->certificate = identity->certificate;
    EVP_PKEY_up_ref(identity->key);
    other->key = identity->key;
    return other;
}

int64_t csc_tls_identity_expiry(const csc_tls_identity *identity) {
    struct tm when;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(identity->certificate), &when) != 1) {
        ERR_clear_error();
        return 0;
    }
    return timegm(&when);
}
