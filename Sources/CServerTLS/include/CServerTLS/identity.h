// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/identity.h
 * Certificates with their keys, and the names that they are for. Include CServerTLS.h.
 */
#ifndef CSERVERTLS_IDENTITY_H
#define CSERVERTLS_IDENTITY_H

#include "base.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup tls_identities Identities
 * A certificate with its chain and its key, and the map from server names to them.
 *
 * An identity never changes, and may be in use on several threads. To renew a certificate, make
 * another identity and set it under the same name: handshakes that are in progress keep theirs, and
 * those that begin later get the new one, on all loops at once.
 *
 * All functions here may be called on any thread.
 * @{
 */

/** A certificate, its chain, its key, and a response of OCSP. Opaque, immutable. */
typedef struct csc_tls_identity csc_tls_identity;

/**
 * Makes an identity of texts in PEM.
 *
 * @param chain *borrowed*: the certificate first, then those that issued it, in their order; the
 *   root may be left out
 * @param chain_size bytes
 * @param key *borrowed*: the private key
 * @param key_size bytes
 * @param password of an encrypted key, or NULL; there is no prompt for it
 * @param error says which of them cannot be used, and why
 * @return freed by csc_tls_identity_free(); NULL for an error
 */
CSC_API csc_tls_identity *CSC_NULLABLE csc_tls_identity_from_pem(const void *chain,
                                                                 size_t chain_size, const void *key,
                                                                 size_t key_size,
                                                                 const char *CSC_NULLABLE password,
                                                                 csc_tls_error *CSC_NULLABLE error);

/**
 * Makes an identity of two files in PEM, or of one that has both. It reads files, and blocks for
 * that.
 *
 * @param chain_path as for csc_tls_identity_from_pem()
 * @param key_path as for csc_tls_identity_from_pem(); may be the same file
 * @param password of an encrypted key, or NULL
 * @param error says which of them cannot be used, and why
 * @return freed by csc_tls_identity_free(); NULL for an error
 */
CSC_API csc_tls_identity *CSC_NULLABLE
csc_tls_identity_from_files(const char *chain_path, const char *key_path,
                            const char *CSC_NULLABLE password, csc_tls_error *CSC_NULLABLE error);

/**
 * Makes an identity that staples a response of OCSP, of another one, which stays as it is. The
 * response is sent to clients that ask for it, in full handshakes.
 *
 * @param identity *borrowed*
 * @param response *borrowed*, in DER; whether it is about the certificate, and still valid, is not
 *   looked at
 * @param size bytes
 * @param error says why it cannot be used
 * @return freed by csc_tls_identity_free(); NULL for an error
 */
CSC_API csc_tls_identity *CSC_NULLABLE csc_tls_identity_stapling(const csc_tls_identity *identity,
                                                                 const void *response, size_t size,
                                                                 csc_tls_error *CSC_NULLABLE error);

/**
 * When the certificate expires. An expired one is used all the same.
 *
 * @param identity *borrowed*
 * @return seconds since 1970
 */
CSC_API int64_t csc_tls_identity_expiry(const csc_tls_identity *identity);

/**
 * Gives up the program's use of it. What uses it otherwise keeps it.
 *
 * @param identity NULL for nothing to do
 */
CSC_API void csc_tls_identity_free(csc_tls_identity *CSC_NULLABLE identity);

/** A map from server names to identities, for one or several contexts. Opaque. */
typedef struct csc_tls_identities csc_tls_identities;

/**
 * Makes an empty map.
 *
 * @return freed by csc_tls_identities_free(); NULL when memory is short
 */
CSC_API csc_tls_identities *CSC_NULLABLE csc_tls_identities_new(void);

/**
 * Gives up the program's use of it. Contexts that have it keep it.
 *
 * @param identities NULL for nothing to do
 */
CSC_API void csc_tls_identities_free(csc_tls_identities *CSC_NULLABLE identities);

/**
 * Sets, replaces or removes the identity of a name, in one step for all contexts that have the map.
 *
 * The exact name is looked for first, then the wildcard of one label, then the default identity.
 * Where there is none, a handshake with an unknown name fails with the alert unrecognized_name. A
 * client sends its certificate from the default identity of its map.
 *
 * @param identities the map
 * @param name in ASCII, any case, such as "www.example.com" or "*.example.com"; NULL for the
 *   default identity
 * @param identity *borrowed*; NULL removes
 * @param error says why not: the name cannot be one, or memory is short
 * @return false for an error, with the map as it was
 */
CSC_API bool csc_tls_identities_set(csc_tls_identities *identities, const char *CSC_NULLABLE name,
                                    csc_tls_identity *CSC_NULLABLE identity,
                                    csc_tls_error *CSC_NULLABLE error);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
