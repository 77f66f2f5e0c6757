// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/proxied.h
 * Connections that come through a proxy. Include CServerCore.h.
 */
#ifndef CSERVERCORE_PROXIED_H
#define CSERVERCORE_PROXIED_H

#include "address.h"
#include "base.h"
#include "proxy_header.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup proxied Connections through a proxy
 * A server behind load balancers that send the PROXY protocol's header before a client's own bytes.
 *
 * Such a server accepts a connection, and then reads its header before it delivers it: meanwhile the
 * connection is in the preface. It counts among the live connections, takes no place in the queue,
 * and never keeps others from being accepted.
 * @{
 */

/**
 * All addresses that begin with the same bits; or, with CSC_FAMILY_UNIX, all peers that connect to a
 * path. Who those may be is decided by the permissions of that path's file.
 */
typedef struct csc_network {
    csc_address address;   /**< its port and the bits beyond the prefix do not matter */
    uint8_t prefix_length; /**< 0 to 32 for IPv4, 0 to 128 for IPv6, 0 for CSC_FAMILY_UNIX */
    uint8_t reserved[3];   /**< 0 */
} csc_network;

/** Which versions of the header a server takes. */
typedef enum csc_proxy_versions {
    CSC_PROXY_V1_AND_V2, /**< both */
    CSC_PROXY_V1_ONLY,   /**< version 1, the line of text */
    CSC_PROXY_V2_ONLY    /**< version 2, the bytes */
} csc_proxy_versions;

/** Whose headers a server requires, and what they may be. All 0 but the networks is what most need. */
typedef struct csc_proxy_requirement {
    const csc_network *networks; /**< those of the proxies, *borrowed* for the call */
    size_t network_count;        /**< 1 or more */
    size_t maximum_length;       /**< of a header of version 2 in bytes, at least 16: 0 is
                                 CSC_PROXY_HEADER_DEFAULT_MAXIMUM, more than CSC_PROXY_HEADER_LONGEST
                                 counts as that */
    int timeout;                 /**< milliseconds for the whole header; 0 is 5,000 */
    csc_proxy_versions versions; /**< both, or one */
} csc_proxy_requirement;

/** What a proxy has said of a connection. */
typedef struct csc_proxied {
    csc_address proxy;       /**< the peer of the connection itself */
    csc_proxy_header header; /**< as csc_proxy_header_parse() fills it */
    csc_proxy_bytes tlvs; /**< what csc_proxy_tlv_find() and the like read; part of this memory */
} csc_proxied;

/**
 * Requires a PROXY header of each connection that is accepted from now on.
 *
 * A peer outside of the networks is rejected before a byte of it is read: any client could send such
 * a header. There is no mode that takes connections with and without one. Of a header's connection
 * the bytes up to its end are read, and none after it.
 *
 * The admission callback is asked twice: for the proxy's address before anything is read, and for the
 * client's, where the header has one. csc_connection::peer is the client then, csc_connection::proxied
 * the rest; without an address, as for the proxy's own health checks, the peer is the proxy.
 *
 * A connection whose header is wrong or late is rejected, and counted by reason in csc_statistics. One
 * that its peer ends before its first byte, as health checks do, is counted and not reported.
 *
 * May be called at any time. Another requirement holds for the connections that are in the preface, too;
 * NULL leaves those to the one before. On a server with a group it concerns the clients of the whole
 * group; on its members it has no effect. Each server has a buffer of maximum_length bytes for it.
 *
 * @param requirement *borrowed* for the call; NULL, as at first, requires no header
 * @return false when there is no network in it, or one of another family or with too long a prefix, and
 * when memory is short: the server's error says which, and nothing has changed
 */
CSC_API bool csc_server_require_proxy_header(csc_server *CSC_NULLABLE server,
                                             const csc_proxy_requirement *CSC_NULLABLE requirement);

/**
 * Frees what a proxy has said of a connection.
 *
 * @param proxied *taken*, may be NULL. Any thread may call it.
 */
CSC_API void csc_proxied_free(csc_proxied *CSC_NULLABLE proxied);

/**
 * Sets how many connections may be in the preface; 1,024 at first. Beyond it one is closed: the oldest of
 * those that have not sent a byte, or of those that have, whichever are more.
 *
 * They may become pending beyond csc_server_max_pending(), which limits what is accepted: what a client
 * has sent is not held up by those that have not been taken.
 *
 * @param count less than 1 counts as 1
 */
CSC_API void csc_server_set_max_prefaces(csc_server *CSC_NULLABLE server, int count);

/**
 * How many connections may be in the preface.
 *
 * @return 1 or more
 */
CSC_API int csc_server_max_prefaces(const csc_server *CSC_NULLABLE server);

/**
 * csc_statistics::in_preface alone, without a system call: how many connections are in the preface.
 *
 * @return 0 when the server is NULL
 */
CSC_API uint64_t csc_server_in_preface(const csc_server *CSC_NULLABLE server);

/** Called when the last connection that was in the preface has left it, delivered or not. */
typedef void (*csc_prefaces_over_fn)(csc_server *server, void *CSC_NULLABLE context);

/**
 * Sets the callback for the end of what is in the preface, in place of the one before. After
 * csc_server_finish() no connection comes any more once csc_server_in_preface() is 0.
 * csc_server_close() ends them all without the callback.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_prefaces_over(csc_server *CSC_NULLABLE server,
                                         csc_prefaces_over_fn CSC_NULLABLE callback,
                                         void *CSC_NULLABLE context);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
