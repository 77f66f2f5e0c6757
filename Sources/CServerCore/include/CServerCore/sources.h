// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/sources.h
 * Limits for one source, and the rate of accepting. Include CServerCore.h.
 */
#ifndef CSERVERCORE_SOURCES_H
#define CSERVERCORE_SOURCES_H

#include "base.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup sources Limits for one source
 * What one network of clients may take, so that it leaves something to the others; and how many
 * connections a server accepts in a second, of all clients together.
 *
 * A source is all addresses that begin with the same bits. A client beyond its source's limits is
 * closed or reset before anything is made of it, and counted in
 * csc_statistics::rejected_by_source_limit or csc_statistics::rejected_by_source_rate. Peers of UNIX
 * sockets have no source. Where a PROXY header is required (csc_server_require_proxy_header()), the
 * source is that of the client which the header declares: proxies themselves are not limited, nor are
 * connections whose header declares no client.
 *
 * The sources are in a table of fixed size, found by a hash with a random key: clients cannot choose
 * addresses that share a place. A source without connections, which has used nothing of its rate for
 * so long that it may use all of it again, gives its place to another. Where there is none, a client
 * is let in without being counted, which csc_statistics::uncounted_sources counts: the table limits
 * what single sources take, not how many sources there are.
 * @{
 */

/** What one source may take. All 0 limits nothing. */
typedef struct csc_source_limits {
    uint32_t max_connections;    /**< live at once; 0 for no limit */
    uint32_t accepts_per_second; /**< in the long run; 0 for no limit */
    uint32_t burst; /**< at once, after a time with fewer; 0 is as many as in a second */
    uint32_t
        table_size; /**< places for sources, 32 bytes each: 0 is 65,536; a power of two from 64 to
                         2^24, others count as the next one */
    uint8_t ipv4_prefix; /**< bits of an IPv4 address; 0, and more than 32, count as 32 */
    uint8_t ipv6_prefix; /**< bits of an IPv6 address; 0 counts as 56, more than 128 as 128 */
    bool resets;         /**< clients beyond the limits are reset, otherwise closed */
    uint8_t reserved[5]; /**< 0 */
} csc_source_limits;

/** The sources of one server, or of several. Opaque; made by csc_sources_new(). */
typedef struct csc_sources csc_sources;

/**
 * Makes a table of sources.
 *
 * @param limits *borrowed* for the call
 * @return freed by csc_sources_free(); NULL when memory is short, or the kernel has no random number
 */
CSC_API csc_sources *CSC_NULLABLE csc_sources_new(const csc_source_limits *limits);

/**
 * Gives up the program's own use of it. Servers that have it keep it. Any thread may call it, once.
 *
 * @param sources NULL for nothing to do
 */
CSC_API void csc_sources_free(csc_sources *CSC_NULLABLE sources);

/**
 * Changes the limits from the next client on; the prefixes and the size of the table stay. Any thread
 * may call it.
 *
 * @param sources *borrowed* for the call
 * @param limits *borrowed* for the call; connections beyond lower ones stay
 */
CSC_API void csc_sources_set_limits(csc_sources *sources, const csc_source_limits *limits);

/**
 * How many sources have connections now, of those that are counted. Looks at the whole table. Any
 * thread may ask.
 *
 * @param sources *borrowed* for the call
 * @return 0 to the size of the table
 */
CSC_API size_t csc_sources_in_use(const csc_sources *sources);

/**
 * Limits what one source takes of a server: each accepted connection has its place in
 * csc_connection::source, which csc_server_connection_ended_from() gives back. Several servers may
 * share a table, on several threads; of a group it is set for the acceptor.
 *
 * Only the server knows which table a place is in: a connection whose end was not reported before the
 * server is freed keeps its place as long as there is the table. Where servers that share one come and
 * go, report the ends first.
 *
 * @param sources *borrowed* until the server is freed or gets another; NULL for none, as at first
 * @return false, with everything as it was, when the server is a member of a group, when it has another
 *   table and connections, or when the table is that of a process which has forked this one, as its
 *   error says
 */
CSC_API bool csc_server_set_sources(csc_server *CSC_NULLABLE server,
                                    csc_sources *CSC_NULLABLE sources);

/**
 * Reports that a delivered connection has ended, as csc_server_connection_ended(), and gives its
 * source's place back. In place of that function, once for each connection, from any thread.
 *
 * @param source csc_connection::source; 0 for a connection whose source is not counted
 */
CSC_API void csc_server_connection_ended_from(csc_server *CSC_NULLABLE server, uint32_t source);

/** How many connections are accepted in a second. Opaque; made by csc_rate_new(). */
typedef struct csc_rate csc_rate;

/**
 * Makes a rate.
 *
 * @param accepts_per_second in the long run; 0 for no limit
 * @param burst how many at once, after a time with fewer; 0 is as many as in a second, and less than
 *   in a millisecond counts as that
 * @return freed by csc_rate_free(); NULL when memory is short
 */
CSC_API csc_rate *CSC_NULLABLE csc_rate_new(uint32_t accepts_per_second, uint32_t burst);

/**
 * Gives up the program's own use of it. Servers that have it keep it. Any thread may call it, once.
 *
 * @param rate NULL for nothing to do
 */
CSC_API void csc_rate_free(csc_rate *CSC_NULLABLE rate);

/**
 * Changes the rate. A pause that lasts ends when it would have ended before, or within a second. Any
 * thread may call it.
 *
 * @param rate *borrowed* for the call
 * @param accepts_per_second as for csc_rate_new()
 * @param burst as for csc_rate_new()
 */
CSC_API void csc_rate_set(csc_rate *rate, uint32_t accepts_per_second, uint32_t burst);

/**
 * Limits how many connections a server accepts in a second. Beyond that it does not watch its socket,
 * for as long as it takes until it may accept again, and clients wait in the kernel's queue: that is
 * counted as a pause (csc_statistics::overload_pauses), and in csc_statistics::rate_pauses. Several
 * servers may share a rate, on several threads; of a group it is set for the acceptor. No limit for
 * csc_server_finish(), csc_server_inject() and csc_server_add_pending().
 *
 * @param rate *borrowed* until the server is freed or gets another; NULL for none, as at first
 * @return false, with everything as it was, when the server is a member of a group, or memory is
 *   short, as its error says
 */
CSC_API bool csc_server_set_accept_rate(csc_server *CSC_NULLABLE server,
                                        csc_rate *CSC_NULLABLE rate);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
