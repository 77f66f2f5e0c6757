// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/connection.h
 * One connection: handshake, bytes, end. Include CServerTLS.h.
 */
#ifndef CSERVERTLS_CONNECTION_H
#define CSERVERTLS_CONNECTION_H

#include "base.h"
#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup tls_connections Connections
 * TLS on a connected descriptor, which stays the program's: it watches it, and closes it after
 * csc_tls_free(). Nothing here blocks, whether the descriptor is non-blocking or not, and no
 * SIGPIPE comes.
 *
 * A connection is used by one thread at a time, and may go to another between two calls; only
 * csc_tls_abandon() may be called meanwhile. No function here may be called for a connection in its
 * own callbacks but csc_tls_answer_lookup(), csc_tls_answer_verify(), csc_tls_answer_psk(),
 * csc_tls_abandon(), and those of @ref tls_peers.
 * @{
 */

/** What a step has come to. */
typedef enum csc_tls_result {
    CSC_TLS_DONE,        /**< what was asked for */
    CSC_TLS_WANT_READ,   /**< call again when the descriptor is readable */
    CSC_TLS_WANT_WRITE,  /**< call again when the descriptor is writable */
    CSC_TLS_WANT_ANSWER, /**< call again after csc_tls_answer_lookup() or _verify() */
    CSC_TLS_END,         /**< the peer has ended its side, and said so (close_notify) */
    CSC_TLS_FAILED       /**< see csc_tls_failure_of() */
} csc_tls_result;

/** Why a connection has failed. */
typedef enum csc_tls_failure {
    CSC_TLS_FAILURE_NONE,         /**< it has not */
    CSC_TLS_FAILURE_SILENT,       /**< the peer has closed before its first byte */
    CSC_TLS_FAILURE_NOT_TLS,      /**< the peer's first byte is none of TLS; nothing was answered */
    CSC_TLS_FAILURE_TRUNCATED,    /**< the peer has closed without close_notify: bytes may lack */
    CSC_TLS_FAILURE_SYSTEM,       /**< a system call failed: csc_tls_errno() */
    CSC_TLS_FAILURE_PEER_ALERT,   /**< the peer has sent an alert: csc_tls_alert_received() */
    CSC_TLS_FAILURE_VERIFICATION, /**< the peer's certificate: csc_tls_verify_error() */
    CSC_TLS_FAILURE_UNKNOWN_NAME, /**< no identity for the client's server name */
    CSC_TLS_FAILURE_NO_KEY,       /**< no pre-shared key for the peer, and no certificate instead */
    CSC_TLS_FAILURE_MEMORY,       /**< memory is short */
    CSC_TLS_FAILURE_MISUSE,       /**< the call does not go with the state; it goes on as before */
    CSC_TLS_FAILURE_PROTOCOL      /**< what the peer has sent, or offers, cannot be used */
} csc_tls_failure;

/**
 * Makes the server's side of a connection. Nothing is read or written yet.
 *
 * @param tls_context kept until csc_tls_free()
 * @param descriptor *borrowed* until csc_tls_free()
 * @param context given to the callbacks of this connection
 * @return freed by csc_tls_free(); NULL when memory is short, or the context is a client's
 */
CSC_API csc_tls *CSC_NULLABLE csc_tls_new_server(csc_tls_context *tls_context, int descriptor,
                                                 void *CSC_NULLABLE context);

/**
 * Makes the client's side of a connection. Nothing is read or written yet.
 *
 * @param tls_context kept until csc_tls_free()
 * @param descriptor *borrowed* until csc_tls_free()
 * @param server_name what the server's certificate has to be for: a name, which is sent to the
 *   server, or an IP address, which is not. NULL only where certificates are not required, or where
 *   there is `psk`: then no certificate is accepted, and the server has to have the key.
 * @param context given to the callbacks of this connection
 * @return freed by csc_tls_free(); NULL when memory is short, the context is a server's, or the
 *   name is missing, or cannot be one
 */
CSC_API csc_tls *CSC_NULLABLE csc_tls_new_client(csc_tls_context *tls_context, int descriptor,
                                                 const char *CSC_NULLABLE server_name,
                                                 void *CSC_NULLABLE context);

/**
 * Frees it, and sends nothing. The descriptor stays open.
 *
 * @param tls NULL for nothing to do
 */
CSC_API void csc_tls_free(csc_tls *CSC_NULLABLE tls);

/**
 * Does as much of the handshake as is possible now.
 *
 * @param tls the connection
 * @return CSC_TLS_DONE when it is complete; ask csc_tls_has_buffered_input() then: the peer's first
 *   bytes may have come with it. CSC_TLS_WANT_READ, CSC_TLS_WANT_WRITE, CSC_TLS_WANT_ANSWER, or
 *   CSC_TLS_FAILED.
 */
CSC_API csc_tls_result csc_tls_handshake(csc_tls *tls);

/**
 * Answers a csc_tls_lookup_fn. Then call csc_tls_handshake(), unless this is in the callback.
 *
 * @param tls the connection; one that has not asked, or has its answer, ignores this
 * @param identity *borrowed*; NULL for the default identity of the map, and where there is none, for
 *   an end with the alert unrecognized_name
 */
CSC_API void csc_tls_answer_lookup(csc_tls *tls, csc_tls_identity *CSC_NULLABLE identity);

/**
 * Answers a csc_tls_verify_fn. Then call csc_tls_handshake(), unless this is in the callback.
 *
 * @param tls the connection; one that has not asked, or has its answer, ignores this
 * @param accepts whether the certificate is accepted, in spite of its error if it has one
 */
CSC_API void csc_tls_answer_verify(csc_tls *tls, bool accepts);

/**
 * Answers a csc_tls_psk_fn, in the callback. The key is copied, and the copy wiped after use.
 *
 * @param tls the connection; one that is not in the callback has nothing to answer
 * @param identity of the client, *borrowed*; a server's is ignored, and may be NULL
 * @param key *borrowed*
 * @param size bytes of it
 * @return false, and there is no answer, for a key or an identity that is too long, or missing
 */
CSC_API bool csc_tls_answer_psk(csc_tls *tls, const char *CSC_NULLABLE identity, const void *key,
                                size_t size);

/**
 * Reads bytes of one record at most, with one recv(2) or none.
 *
 * epoll is silent about what is buffered here: after CSC_TLS_DONE read on while
 * csc_tls_has_buffered_input(), or come back for it.
 *
 * @param tls the connection
 * @param buffer filled
 * @param size its size; at least 1
 * @param count how many bytes were read, at least 1, where the result is CSC_TLS_DONE; otherwise 0
 * @return CSC_TLS_DONE, CSC_TLS_WANT_READ, CSC_TLS_WANT_WRITE (the peer asked for something that
 *   has to be sent first), CSC_TLS_END, or CSC_TLS_FAILED. After CSC_TLS_END, and after
 *   CSC_TLS_FAILURE_TRUNCATED, writing goes on.
 */
CSC_API csc_tls_result csc_tls_read(csc_tls *tls, void *buffer, size_t size, size_t *count);

/**
 * Whether csc_tls_read() may give bytes without the descriptor being readable. It is false when the
 * last read returned CSC_TLS_WANT_READ, even where a part of a record is buffered.
 *
 * @param tls the connection
 * @return whether to read on
 */
CSC_API bool csc_tls_has_buffered_input(const csc_tls *tls);

/**
 * Writes bytes, a record of up to 16 KiB and one send(2) after the other.
 *
 * @param tls the connection
 * @param bytes *borrowed* for the call
 * @param size how many
 * @param count how many were taken; nothing of them needs to be kept
 * @return CSC_TLS_DONE when all were taken. After CSC_TLS_WANT_WRITE call again with the bytes that
 *   were not taken, at any address, with or without more behind them: a record with the first of
 *   them may have been sent in part. CSC_TLS_FAILED otherwise.
 */
CSC_API csc_tls_result csc_tls_write(csc_tls *tls, const void *bytes, size_t size, size_t *count);

/**
 * Ends this side, by close_notify, after the bytes that were taken. Shut the descriptor down for
 * writing afterwards. Reading goes on until the peer has ended its side, too.
 *
 * @param tls the connection
 * @return CSC_TLS_DONE when it is with the kernel, also where it was before; CSC_TLS_WANT_WRITE; or
 *   CSC_TLS_FAILED
 */
CSC_API csc_tls_result csc_tls_end_writing(csc_tls *tls);

/**
 * Frees the buffers, about 34 KiB, of a connection that is idle.
 *
 * A connection keeps them between records once it has read and written 16 since its handshake, or
 * since this call; before that each record makes them and frees them again, which costs an allocation.
 *
 * @param tls the connection
 * @return false, with them as they were, when something is in them
 */
CSC_API bool csc_tls_release_buffers(csc_tls *tls);

/**
 * Ends the use of the descriptor, also while another thread is in a call with this connection, which
 * then fails with CSC_TLS_FAILURE_SYSTEM and `EBADF`. After it no system call is made for the
 * connection, and the descriptor may be closed. What is left to the thread that has the connection is
 * csc_tls_free(). Any thread may call it, any number of times, before that. It waits for a recv(2) or
 * send(2) that is being made, and neither blocks.
 *
 * @param tls the connection
 */
CSC_API void csc_tls_abandon(csc_tls *tls);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
