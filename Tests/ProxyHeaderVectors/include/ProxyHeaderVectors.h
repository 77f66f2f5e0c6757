// SPDX-License-Identifier: Apache-2.0

/**
 * @file ProxyHeaderVectors.h
 * PROXY headers and what they say, for the tests in C and in Swift.
 */
#ifndef PROXY_HEADER_VECTORS_H
#define PROXY_HEADER_VECTORS_H

#include <CServerCore.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One header. */
typedef struct proxy_vector {
    const char *name;
    const char *bytes; /**< of a good one exactly the header */
    size_t count;
    csc_proxy_error error; /**< CSC_PROXY_ERROR_NONE of a good one */
    uint32_t error_offset; /**< which byte is wrong */
    /**
     * What a good one says: its version, whose it is, its protocol, both addresses, `checksum`, and
     * what is known of its TLVs. The texts of TLVs as they are, the unique ID in hexadecimal, TLS
     * as version/cipher/common name/flags (t: TLS, c: certificate, v: verified). `others` is the
     * number of TLVs without NOOP and checksum.
     */
    const char *text;
} proxy_vector;

/** The vectors one after the other; NULL after the last one. */
const proxy_vector *proxy_vector_at(size_t index);

#ifdef __cplusplus
}
#endif

#endif
