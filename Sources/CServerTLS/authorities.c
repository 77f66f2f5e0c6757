// SPDX-License-Identifier: Apache-2.0

// The certificates that peers are verified with, from memory, a file and the system; and the name of
// what verifies, without which a session of a context that verifies less would be resumed.

#include "authorities.h"

#include "setting_error.h"

#include <openssl/err.h>
#include <openssl/pem.h>

static int give_no_password(char *buffer, int size, int is_writing, void *unused) {
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)unused;
    return -1;
}

// A server names its authorities to clients, which choose their certificate by that.
static bool add(csc_tls_context *context, EVP_MD_CTX *digest, X509 *authority) {
    unsigned char fingerprint[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ctx), authority) == 1 &&
           (context->is_client || SSL_CTX_add_client_CA(context->ctx, authority) == 1) &&
           X509_digest(authority, EVP_sha256(), fingerprint, &length) == 1 &&
           EVP_DigestUpdate(digest, fingerprint, length) == 1;
}

static bool read_all(csc_tls_context *context, EVP_MD_CTX *digest, BIO *input,
                     csc_tls_error *error) {
    size_t count = 0;
    X509 *authority = NULL;
    while ((authority = PEM_read_bio_X509(input, NULL, give_no_password, NULL))) {
        bool is_added = add(context, digest, authority);
        X509_free(authority);
        if (!is_added) {
            return csc__tls_no_memory(error);
        }
        count++;
    }
    bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (count == 0 || !is_end) {
        return csc__tls_openssl_error(error, CSC_TLS_FAULT_AUTHORITIES,
                                      "The authorities cannot be read");
    }
    ERR_clear_error();
    return true;
}

static bool load_given(csc_tls_context *context, const csc_tls_settings *settings,
                       EVP_MD_CTX *digest, csc_tls_error *error) {
    if (settings->authorities) {
        if (settings->authorities_size > INT_MAX) {
            return csc__tls_error(error, CSC_TLS_FAULT_AUTHORITIES, "The authorities are too long");
        }
        BIO *input = BIO_new_mem_buf(settings->authorities_size ? settings->authorities : "",
                                     (int)settings->authorities_size);
        bool is_read = input ? read_all(context, digest, input, error) : csc__tls_no_memory(error);
        BIO_free(input);
        if (!is_read) {
            return false;
        }
    }
    if (settings->authorities_file) {
        BIO *input = BIO_new_file(settings->authorities_file, "re");
        bool is_read = input
                           ? read_all(context, digest, input, error)
                           : csc__tls_openssl_error(error, CSC_TLS_FAULT_AUTHORITIES,
                                                    "The file of the authorities cannot be opened");
        BIO_free(input);
        return is_read;
    }
    return true;
}

static bool load_system(csc_tls_context *context, EVP_MD_CTX *digest, csc_tls_error *error) {
    return (SSL_CTX_set_default_verify_paths(context->ctx) == 1 &&
            EVP_DigestUpdate(digest, "system", 6) == 1) ||
           csc__tls_no_memory(error);
}

static bool name_sessions(csc_tls_context *context, EVP_MD_CTX *digest, csc_tls_error *error) {
    unsigned char how[2] = {(unsigned char)context->verify_mode, context->verify != NULL};
    bool is_named = EVP_DigestUpdate(digest, how, sizeof how) == 1 &&
                    EVP_DigestFinal_ex(digest, context->session_name, NULL) == 1 &&
                    SSL_CTX_set_session_id_context(context->ctx, context->session_name,
                                                   sizeof context->session_name) == 1;
    return is_named || csc__tls_no_memory(error);
}

static bool load(csc_tls_context *context, const csc_tls_settings *settings, EVP_MD_CTX *digest,
                 csc_tls_error *error) {
    bool has_given = settings->authorities || settings->authorities_file;
    bool is_required = context->verify_mode == CSC_TLS_VERIFY_REQUIRED;
    bool has_system =
        settings->uses_system_authorities || (context->is_client && !has_given && is_required);
    if (is_required && !has_given && !has_system && !settings->verify) {
        return csc__tls_error(error, CSC_TLS_FAULT_AUTHORITIES,
                              "There are no authorities to verify certificates with");
    }
    return load_given(context, settings, digest, error) &&
           (!has_system || load_system(context, digest, error)) &&
           name_sessions(context, digest, error);
}

bool csc__tls_load_authorities(csc_tls_context *context, const csc_tls_settings *settings,
                               csc_tls_error *error) {
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool is_loaded = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1
                         ? load(context, settings, digest, error)
                         : csc__tls_no_memory(error);
    EVP_MD_CTX_free(digest);
    return is_loaded;
}
