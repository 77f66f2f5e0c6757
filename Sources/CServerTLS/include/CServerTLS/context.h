// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/context.h
 * Settings, and what connections are made of. Include CServerTLS.h.
 */
#ifndef CSERVERTLS_CONTEXT_H
#define CSERVERTLS_CONTEXT_H

#include "base.h"
#include "error.h"
#include "identity.h"
#include "ticket_keys.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup tls_contexts Contexts
 * Settings, checked once, and what connections are made of.
 * @{
 */

/** One connection; see @ref tls_connections. Opaque. */
typedef struct csc_tls csc_tls;

/** A version of the protocol. There is none before 1.2. */
typedef enum csc_tls_version {
    CSC_TLS_VERSION_ANY = 0, /**< the lowest or the highest that there is */
    CSC_TLS_VERSION_1_2 = 2, /**< RFC 5246 */
    CSC_TLS_VERSION_1_3 = 3  /**< RFC 8446 */
} csc_tls_version;

/** Whether the peer must send a certificate, and a valid one. */
typedef enum csc_tls_verify_mode {
    CSC_TLS_VERIFY_AUTOMATIC, /**< a server asks for none, a client requires one */
    CSC_TLS_VERIFY_NONE,      /**< a server asks for none; a client takes any, from anyone */
    CSC_TLS_VERIFY_QUERY,     /**< asked for; none, or one that is not valid, is accepted */
    CSC_TLS_VERIFY_REQUIRED   /**< asked for; without a valid one the handshake fails */
} csc_tls_verify_mode;

/**
 * Asks for the identity of a server name that the map does not have. Answer with
 * csc_tls_answer_lookup(), in the callback or later: until then csc_tls_handshake() returns
 * CSC_TLS_WANT_ANSWER.
 *
 * @param tls the connection, in its handshake
 * @param name as the client sent it, in any case, but for a dot at its end, *borrowed* for the call:
 *   letters, digits, hyphens and underscores, with dots between; NULL when it sent none, or something
 *   else
 */
typedef void (*csc_tls_lookup_fn)(csc_tls *tls, const char *CSC_NULLABLE name,
                                  void *CSC_NULLABLE context);

/**
 * Asks whether a peer's certificate is accepted. Answer with csc_tls_answer_verify(), in the
 * callback or later. A client waits with its own certificate for the answer. A server cannot: where
 * the answer comes later, its handshake is complete for the client meanwhile, and after a refusal
 * the connection ends without an alert. No byte is read or written before the answer.
 *
 * Where there is such a callback, a client with a certificate resumes no session, and a client that
 * asks it neither keeps nor resumes any, so that the question is asked each time. A server with
 * CSC_TLS_VERIFY_QUERY accepts a peer that sends no certificate, without a question.
 *
 * @param tls the connection; csc_tls_copy_peer_certificate() has the certificates
 * @param verify_error what is wrong with them, an X509_V_ERR_ of OpenSSL; 0 for nothing
 */
typedef void (*csc_tls_verify_fn)(csc_tls *tls, long verify_error, void *CSC_NULLABLE context);

/**
 * Gets a line with the secrets of a connection, for Wireshark. Whoever has it can read all of the
 * connection.
 *
 * @param tls the connection
 * @param line in the format of NSS, without a line break, *borrowed* for the call
 */
typedef void (*csc_tls_key_log_fn)(csc_tls *tls, const char *line, void *CSC_NULLABLE context);

/** What a csc_tls_psk_fn is asked. */
typedef struct csc_tls_psk_question {
    /** On a server the identity that the client has sent; on a client the server's hint, or NULL for
        none, as in TLS 1.3, which has no hints. *Borrowed* for the call; bytes of the peer. */
    const char *CSC_NULLABLE text;
    size_t longest_identity; /**< bytes that a client's identity may have; 0 on a server */
    size_t longest_key;      /**< bytes that a key may have */
} csc_tls_psk_question;

/**
 * Asks for a pre-shared key. Answer with csc_tls_answer_psk() in the callback; without an answer
 * there is no key: a server of TLS 1.2 refuses, and with TLS 1.3 the handshake goes on with
 * certificates, if there are any. It may be called several times in a handshake: a client of TLS 1.3
 * offers its key in its first message, and is asked again where the server has chosen TLS 1.2.
 *
 * With TLS 1.3 the key is for suites with SHA-256, which a server then prefers. A handshake by a key
 * asks the peer for no certificate and makes no ticket: resuming would cost as much, and go around a
 * key that was withdrawn.
 *
 * A callback that closes the descriptor calls csc_tls_abandon() first.
 *
 * @param tls the connection, in its handshake
 * @param question *borrowed* for the call
 */
typedef void (*csc_tls_psk_fn)(csc_tls *tls, const csc_tls_psk_question *question,
                               void *CSC_NULLABLE context);

/**
 * What a context is made of. All zero is a server with the defaults: begin with `= {0}`. All
 * pointers are *borrowed* for csc_tls_context_new() alone.
 */
typedef struct csc_tls_settings {
    /** The context is for connections that this side has opened. */
    bool is_client;
    /** The lowest version; 1.2 at first. */
    csc_tls_version minimum_version;
    /** The highest version; 1.3 at first. */
    csc_tls_version maximum_version;
    /** Ciphers of TLS 1.2, in OpenSSL's form; NULL for those with forward secrecy and AEAD, of which
        one is with a pre-shared key, where there is `psk`. */
    const char *CSC_NULLABLE ciphers;
    /** Cipher suites of TLS 1.3, in OpenSSL's form; NULL for OpenSSL's. */
    const char *CSC_NULLABLE cipher_suites;
    /** Groups for the key exchange, in OpenSSL's form; NULL for "X25519:P-256:P-384". */
    const char *CSC_NULLABLE groups;
    /** Application protocols (ALPN), such as "h2", the preferred one first. */
    const char *CSC_NULLABLE const *CSC_NULLABLE application_protocols;
    /** How many; 0 for none: what a client offers is then ignored. */
    size_t application_protocol_count;
    /** Whether a certificate of the peer is requested. */
    csc_tls_verify_mode verify_mode;
    /** Certificates of authorities in PEM; a server names them to clients. */
    const void *CSC_NULLABLE authorities;
    /** Bytes of them. */
    size_t authorities_size;
    /** The same from a file; both may be given. */
    const char *CSC_NULLABLE authorities_file;
    /** The system's authorities, too; a client without any others has them in any case. */
    bool uses_system_authorities;
    /** Identities by name; a client's own certificate is its default identity. */
    csc_tls_identities *CSC_NULLABLE identities;
    /** Keys of session tickets, of a server; NULL for no tickets. */
    csc_tls_ticket_keys *CSC_NULLABLE ticket_keys;
    /** Asked for names that the map does not have; NULL to go by the map alone. */
    csc_tls_lookup_fn CSC_NULLABLE lookup;
    /** Asked about each peer's certificate; NULL to go by the authorities alone. */
    csc_tls_verify_fn CSC_NULLABLE verify;
    /** Gets the secrets of all connections; NULL for never. No environment variable sets it. */
    csc_tls_key_log_fn CSC_NULLABLE key_log;
    /** Asked for pre-shared keys; NULL for none. With it a server needs no certificate. */
    csc_tls_psk_fn CSC_NULLABLE psk;
    /** What a server of TLS 1.2 sends to clients that choose a key; NULL for no hint. */
    const char *CSC_NULLABLE psk_hint;
} csc_tls_settings;

/** Checked settings, and OpenSSL's part of them. Opaque. */
typedef struct csc_tls_context csc_tls_context;

/**
 * Makes a context. Its connections may be used on any threads. Make one for each loop, of the same
 * settings: then threads share no reference counts of OpenSSL's. Any thread may call it.
 *
 * @param settings *borrowed*
 * @param error says which setting cannot be used, and why
 * @return freed by csc_tls_context_free(); NULL for an error
 */
CSC_API csc_tls_context *CSC_NULLABLE csc_tls_context_new(const csc_tls_settings *settings,
                                                          csc_tls_error *CSC_NULLABLE error);

/**
 * Gives up the program's use of it. Connections that were made of it keep it. Any thread may call
 * it, once.
 *
 * @param tls_context NULL for nothing to do
 */
CSC_API void csc_tls_context_free(csc_tls_context *CSC_NULLABLE tls_context);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
