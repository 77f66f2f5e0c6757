// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/ticket_keys.h
 * The keys of session tickets. Include CServerTLS.h.
 */
#ifndef CSERVERTLS_TICKET_KEYS_H
#define CSERVERTLS_TICKET_KEYS_H

#include "base.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup tls_tickets Session tickets
 * With a ticket a client resumes a session without a signature of the server. The server keeps
 * nothing: the ticket holds the session, encrypted with the newest of three keys. Contexts that
 * share the keys accept each other's tickets, and so do processes, and the next start of a program,
 * that import them.
 *
 * Every CSC_TLS_TICKET_PERIOD the first ticket that is written makes a new key, and the oldest one
 * is wiped. Who gets the keys can read what was sent in TLS 1.2 with them, and resume as a server.
 *
 * All functions here may be called on any thread.
 * @{
 */

/** How long tickets are written with a key, and for how long they are accepted. */
enum {
    CSC_TLS_TICKET_PERIOD = 43200,   /**< seconds until a new key is made: 12 hours */
    CSC_TLS_TICKET_LIFETIME = 86400, /**< seconds in which a ticket is accepted: 24 hours */
    CSC_TLS_TICKET_KEYS_SIZE = 272   /**< bytes of exported keys */
};

/** Three keys. Opaque. */
typedef struct csc_tls_ticket_keys csc_tls_ticket_keys;

/**
 * Makes random keys.
 *
 * @return freed by csc_tls_ticket_keys_free(); NULL when memory or random numbers are short
 */
CSC_API csc_tls_ticket_keys *CSC_NULLABLE csc_tls_ticket_keys_new(void);

/**
 * Gives up the program's use of them. Contexts that have them keep them; the last use that ends
 * wipes them.
 *
 * @param keys NULL for nothing to do
 */
CSC_API void csc_tls_ticket_keys_free(csc_tls_ticket_keys *CSC_NULLABLE keys);

/**
 * Makes a new key now, and wipes the oldest.
 *
 * @param keys the keys
 * @return false, with the keys as they were, when random numbers are short
 */
CSC_API bool csc_tls_ticket_keys_rotate(csc_tls_ticket_keys *keys);

/**
 * Copies the keys, for another process or the next start. Keep the bytes as secret as a private
 * key, and wipe them.
 *
 * @param keys the keys
 * @param bytes filled with CSC_TLS_TICKET_KEYS_SIZE bytes
 */
CSC_API void csc_tls_ticket_keys_export(csc_tls_ticket_keys *keys, void *bytes);

/**
 * Replaces the keys by exported ones, and wipes those that were there.
 *
 * @param keys the keys
 * @param bytes *borrowed*, from csc_tls_ticket_keys_export()
 * @param size bytes
 * @param error says why they cannot be used
 * @return false for an error, with the keys as they were
 */
CSC_API bool csc_tls_ticket_keys_import(csc_tls_ticket_keys *keys, const void *bytes, size_t size,
                                        csc_tls_error *CSC_NULLABLE error);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
