// SPDX-License-Identifier: Apache-2.0

// Pre-shared keys: OpenSSL's callbacks have no way to answer later, so the program answers within
// them. The key is copied to where OpenSSL wants it, which wipes it there; no copy is kept here.

#include "psk.h"

#include "setting_error.h"
#include "ticket_key.h"

#include <openssl/obj_mac.h>
#include <string.h>

// Where OpenSSL wants the answer.
struct csc__tls_psk_answer {
    char *identity; // of a client; NULL on a server
    size_t longest_identity;
    unsigned char *key;
    size_t longest_key;
    size_t size; // 0 for no answer
};

// Returns the bytes of the key; 0 for none.
static unsigned ask(csc_tls *tls, const char *text, csc__tls_psk_answer *answer) {
    csc_tls_psk_question question = {
        .text = text,
        .longest_identity = answer->longest_identity,
        .longest_key = answer->longest_key,
    };
    tls->psk_answer = answer;
    tls->context->psk(tls, &question, tls->owner);
    tls->psk_answer = NULL;
    tls->has_key = answer->size > 0;
    tls->lacks_key = answer->size == 0;
    return (unsigned)answer->size;
}

static bool keep_identity(csc_tls *tls, const char *identity) {
    char *copy = OPENSSL_strdup(identity);
    if (copy) {
        OPENSSL_free(tls->psk_identity);
        tls->psk_identity = copy;
    }
    return copy != NULL;
}

// TLS 1.3 offers tickets in the same list. Those of this server begin with what begins no text.
static unsigned on_server(SSL *ssl, const char *identity, unsigned char *key, unsigned longest) {
    csc_tls *tls = csc__tls_of(ssl);
    if ((unsigned char)identity[0] == CSC__TLS_TICKET_MARK || !keep_identity(tls, identity)) {
        return 0;
    }
    csc__tls_psk_answer answer = {.key = key, .longest_key = longest};
    return ask(tls, identity, &answer);
}

// With the name of the connection's own sessions, which OpenSSL compares.
static SSL_SESSION *new_session(csc_tls *tls, const unsigned char *key, size_t size) {
    static const unsigned char suite[] = {0x13, 0x01}; // TLS_AES_128_GCM_SHA256
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && SSL_SESSION_set_cipher(session, SSL_CIPHER_find(tls->ssl, suite)) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1 &&
        SSL_SESSION_set1_master_key(session, key, size) == 1 &&
        SSL_SESSION_set1_id_context(session, tls->session_name, CSC__TLS_SESSION_NAME) == 1) {
        return session;
    }
    SSL_SESSION_free(session);
    return NULL;
}

// Before a first message that offers TLS 1.3, and before a second one, for which the server has chosen
// the digest. OpenSSL calls on_client() next, where there is no session.
static int on_first_message(SSL *ssl, const EVP_MD *digest, const unsigned char **identity,
                            size_t *length, SSL_SESSION **session) {
    csc_tls *tls = csc__tls_of(ssl);
    *session = NULL;
    tls->was_asked = true;
    if (digest && !EVP_MD_is_a(digest, "SHA256")) {
        return 1;
    }
    char name[PSK_MAX_IDENTITY_LEN + 1];
    unsigned char key[PSK_MAX_PSK_LEN];
    csc__tls_psk_answer answer = {
        .identity = name,
        .longest_identity = PSK_MAX_IDENTITY_LEN,
        .key = key,
        .longest_key = sizeof key,
    };
    unsigned size = ask(tls, NULL, &answer);
    bool has_failed =
        size > 0 && !(keep_identity(tls, name) && (*session = new_session(tls, key, size)));
    OPENSSL_cleanse(key, sizeof key);
    if (*session) {
        tls->was_asked = false;
        *identity = (const unsigned char *)tls->psk_identity;
        *length = strlen(tls->psk_identity);
    }
    return !has_failed;
}

// TLS 1.2, where the server has chosen a suite with a key.
static unsigned on_client(SSL *ssl, const char *hint, char *identity, unsigned longest_identity,
                          unsigned char *key, unsigned longest_key) {
    csc_tls *tls = csc__tls_of(ssl);
    if (tls->was_asked) {
        tls->was_asked = false;
        return 0;
    }
    csc__tls_psk_answer answer = {
        .identity = identity,
        .longest_identity = longest_identity,
        .key = key,
        .longest_key = longest_key,
    };
    unsigned size = ask(tls, hint, &answer);
    return size > 0 && keep_identity(tls, identity) ? size : 0;
}

bool csc_tls_answer_psk(csc_tls *tls, const char *identity, const void *key, size_t size) {
    csc__tls_psk_answer *answer = tls->psk_answer;
    if (!answer || size == 0 || size > answer->longest_key) {
        return false;
    }
    if (answer->identity) {
        size_t length = identity ? strlen(identity) : 0;
        if (!identity || length > answer->longest_identity) {
            return false;
        }
        memcpy(answer->identity, identity, length + 1);
    }
    memcpy(answer->key, key, size);
    answer->size = size;
    return true;
}

bool csc__tls_is_psk_cipher(const SSL_CIPHER *cipher) {
    switch (cipher ? SSL_CIPHER_get_kx_nid(cipher) : NID_undef) {
    case NID_kx_psk:
    case NID_kx_dhe_psk:
    case NID_kx_ecdhe_psk:
    case NID_kx_rsa_psk:
        return true;
    default:
        return false;
    }
}

// For OpenSSL a key of TLS 1.3 is a session that is resumed; one from a ticket has that ticket on a
// client, and comes after the last question on a server.
bool csc__tls_is_by_psk(const csc_tls *tls) {
    if (SSL_version(tls->ssl) != TLS1_3_VERSION) {
        return csc__tls_is_psk_cipher(SSL_get_current_cipher(tls->ssl));
    }
    bool is_session = tls->context->is_client && SSL_SESSION_has_ticket(SSL_get_session(tls->ssl));
    return tls->has_key && SSL_session_reused(tls->ssl) == 1 && !is_session;
}

const char *csc_tls_psk_identity(const csc_tls *tls) {
    return tls->is_by_psk ? tls->psk_identity : NULL;
}

bool csc__tls_enable_psk(csc_tls_context *context, const csc_tls_settings *settings,
                         csc_tls_error *error) {
    if (!context->psk) {
        return true;
    }
    if (context->is_client) {
        SSL_CTX_set_psk_use_session_callback(context->ctx, on_first_message);
        SSL_CTX_set_psk_client_callback(context->ctx, on_client);
        return true;
    }
    SSL_CTX_set_psk_server_callback(context->ctx, on_server);
    return !settings->psk_hint || SSL_CTX_use_psk_identity_hint(context->ctx, settings->psk_hint) ||
           csc__tls_openssl_error(error, CSC_TLS_FAULT_PSK_HINT,
                                  "The hint for pre-shared keys cannot be used");
}
