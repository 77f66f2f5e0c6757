// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/peer.h
 * What was agreed with the peer, and what went wrong. Include CServerTLS.h.
 */
#ifndef CSERVERTLS_PEER_H
#define CSERVERTLS_PEER_H

#include "base.h"
#include "connection.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup tls_peers What was agreed, and what went wrong
 * Of a connection whose handshake is complete, or has failed; in callbacks as far as it is known.
 * @{
 */

/**
 * The version that was agreed on.
 *
 * @param tls the connection
 * @return CSC_TLS_VERSION_ANY before the handshake
 */
CSC_API csc_tls_version csc_tls_version_of(const csc_tls *tls);

/**
 * The cipher suite, with its name in the standards.
 *
 * @param tls the connection
 * @return static; NULL before the handshake
 */
CSC_API const char *CSC_NULLABLE csc_tls_cipher(const csc_tls *tls);

/**
 * The application protocol that was agreed on (ALPN).
 *
 * @param tls the connection
 * @param size its length; it does not end with 0
 * @return *borrowed* until csc_tls_free(); NULL for none
 */
CSC_API const char *CSC_NULLABLE csc_tls_application_protocol(const csc_tls *tls, size_t *size);

/**
 * The server name that the client has asked for; to a server as csc_tls_lookup_fn gets it.
 *
 * @param tls the connection
 * @return *borrowed* until csc_tls_free(); NULL for none
 */
CSC_API const char *CSC_NULLABLE csc_tls_server_name(const csc_tls *tls);

/**
 * Whether a session was resumed, without a signature of the server.
 *
 * @param tls the connection
 * @return false for a full handshake
 */
CSC_API bool csc_tls_is_resumed(const csc_tls *tls);

/**
 * The identity of the pre-shared key by which the handshake was made.
 *
 * @param tls the connection
 * @return *borrowed* until csc_tls_free(); NULL for a handshake by certificates, or a resumed session
 */
CSC_API const char *CSC_NULLABLE csc_tls_psk_identity(const csc_tls *tls);

/**
 * What is wrong with the peer's certificate, which may have been accepted all the same.
 *
 * @param tls the connection
 * @return an X509_V_ERR_ of OpenSSL; 0 for nothing, also where none was asked for
 */
CSC_API long csc_tls_verify_error(const csc_tls *tls);

/**
 * Copies a certificate of the peer, in DER.
 *
 * @param tls the connection
 * @param index 0 for the peer's own, 1 for the one that it sent next, and so on; a resumed session
 *   of a server has the first one only
 * @param buffer NULL to ask for the size
 * @param size of the buffer; nothing is copied when it is too small
 * @return the size of the certificate; 0 for none
 */
CSC_API size_t csc_tls_copy_peer_certificate(const csc_tls *tls, size_t index,
                                             void *CSC_NULLABLE buffer, size_t size);

/**
 * Copies the session of a client, to resume it later. TLS 1.3 servers send it with or after their
 * first bytes, so ask when something was read. Keep it as secret as what it is used for.
 *
 * @param tls the connection
 * @param buffer NULL to ask for the size
 * @param size of the buffer; nothing is copied when it is too small
 * @return the size of the session; 0 when there is none that can be resumed, and for a client with a
 *   csc_tls_verify_fn, which is asked each time
 */
CSC_API size_t csc_tls_copy_session(csc_tls *tls, void *CSC_NULLABLE buffer, size_t size);

/**
 * Resumes a session in the handshake, if the server still accepts it. Of TLS 1.3 each session is to
 * be used once.
 *
 * @param tls a client's connection, before its handshake
 * @param session *borrowed*, from csc_tls_copy_session()
 * @param size bytes
 * @return false when the bytes are none, or the session is that of another server name or of
 *   settings that verify in another way, or the client has a csc_tls_verify_fn; the handshake will be
 *   a full one
 */
CSC_API bool csc_tls_resume(csc_tls *tls, const void *session, size_t size);

/**
 * Why the connection has failed.
 *
 * @param tls the connection
 * @return CSC_TLS_FAILURE_NONE while it has not
 */
CSC_API csc_tls_failure csc_tls_failure_of(const csc_tls *tls);

/**
 * The same as a text, for people.
 *
 * @param tls the connection
 * @return static, never freed
 */
CSC_API const char *csc_tls_failure_text(const csc_tls *tls);

/**
 * The errno of a system call that failed.
 *
 * @param tls the connection
 * @return 0 for none
 */
CSC_API int csc_tls_errno(const csc_tls *tls);

/**
 * The number of the last alert that the peer has sent, close_notify not among them.
 *
 * @param tls the connection
 * @return -1 for none
 */
CSC_API int csc_tls_alert_received(const csc_tls *tls);

/**
 * The number of the last alert that was sent to the peer, close_notify not among them.
 *
 * @param tls the connection
 * @return -1 for none
 */
CSC_API int csc_tls_alert_sent(const csc_tls *tls);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
