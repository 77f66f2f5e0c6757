// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/error.h
 * Which setting is wrong, and why. Include CServerTLS.h.
 */
#ifndef CSERVERTLS_ERROR_H
#define CSERVERTLS_ERROR_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup tls_errors Errors of settings
 * Which setting cannot be used, and why.
 * @{
 */

/** What cannot be used. */
typedef enum csc_tls_fault {
    CSC_TLS_FAULT_NONE,          /**< no error */
    CSC_TLS_FAULT_MEMORY,        /**< memory is short, or random numbers are */
    CSC_TLS_FAULT_VERSIONS,      /**< minimum_version, maximum_version */
    CSC_TLS_FAULT_CIPHERS,       /**< ciphers */
    CSC_TLS_FAULT_CIPHER_SUITES, /**< cipher_suites */
    CSC_TLS_FAULT_GROUPS,        /**< groups */
    CSC_TLS_FAULT_PROTOCOLS,     /**< application_protocols */
    CSC_TLS_FAULT_AUTHORITIES,   /**< authorities, or that there are none to verify with */
    CSC_TLS_FAULT_CERTIFICATE,   /**< the certificate of an identity, or one of its chain */
    CSC_TLS_FAULT_KEY,           /**< the key of an identity, or its password */
    CSC_TLS_FAULT_PAIR,          /**< the key is that of another certificate */
    CSC_TLS_FAULT_OCSP,          /**< a response to staple */
    CSC_TLS_FAULT_NAME,          /**< the name that an identity is for */
    CSC_TLS_FAULT_TICKET_KEYS,   /**< exported ticket keys */
    CSC_TLS_FAULT_PSK_HINT       /**< psk_hint */
} csc_tls_fault;

/** An error, as a number and as a text. */
typedef struct csc_tls_error {
    csc_tls_fault fault; /**< which setting */
    char text[256];      /**< one sentence: the setting, and the reason; for people */
} csc_tls_error;

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
