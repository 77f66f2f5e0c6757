// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/limits.h
 * Limits. Include CServerCore.h.
 */
#ifndef CSERVERCORE_LIMITS_H
#define CSERVERCORE_LIMITS_H

#include "base.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup limits Limits
 * How much a server takes, and what becomes of the rest.
 * @{
 */

/**
 * Sets how many connections may be pending: 30 at first. At the limit the rest waits in the
 * kernel's queue. Raising it resumes accepting.
 *
 * @param count 0 or less accepts nothing
 */
CSC_API void csc_server_set_max_pending(csc_server *CSC_NULLABLE server, int count);

/**
 * How many connections may be pending.
 *
 * @return as it was set
 */
CSC_API int csc_server_max_pending(const csc_server *CSC_NULLABLE server);

/**
 * Sets the length of the kernel's queue, used by the next listen.
 *
 * @param length connections; INT_MAX, the default, and any number above net.core.somaxconn mean
 *   that, the kernel's maximum
 */
CSC_API void csc_server_set_backlog(csc_server *CSC_NULLABLE server, int length);

/**
 * The length of the kernel's queue that the next listen asks for.
 *
 * @return as it was set
 */
CSC_API int csc_server_backlog(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many connections one turn of the loop accepts at most, 64 at first: what else the loop
 * has to do waits so long.
 *
 * @param count less than 1 counts as 1
 */
CSC_API void csc_server_set_accept_batch(csc_server *CSC_NULLABLE server, int count);

/**
 * How many connections one turn of the loop accepts at most.
 *
 * @return 1 or more
 */
CSC_API int csc_server_accept_batch(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many descriptors the program expects to have open; 65,536 at first, bounded by
 * RLIMIT_NOFILE.
 *
 * Listening grows the descriptor table to this size, 8 bytes of kernel memory each, because in a
 * process with threads each later doubling would stall accept4(2) for milliseconds.
 *
 * @param count 0 or less leaves the table alone
 */
CSC_API void csc_server_set_expected_descriptors(csc_server *CSC_NULLABLE server, int count);

/**
 * How many descriptors the next listen makes room for.
 *
 * @return as it was set
 */
CSC_API int csc_server_expected_descriptors(const csc_server *CSC_NULLABLE server);

/** What a lack of descriptors or memory does. */
typedef enum csc_overload_policy {
    /** Pause, retry after 5 ms doubling to 1 s, lose nothing: clients wait in the kernel's queue.
     */
    CSC_OVERLOAD_WAIT,
    /** The same, but first the clients in the kernel's queue are rejected, a batch at most each
     * time descriptors have run out: they learn at once that they will not be served. */
    CSC_OVERLOAD_SHED,
    /** Pause until csc_server_resume(), as Qt does. */
    CSC_OVERLOAD_STRICT
} csc_overload_policy;

/**
 * Chooses what a lack of descriptors or memory does from the next one on; CSC_OVERLOAD_WAIT at
 * first.
 *
 * With CSC_OVERLOAD_SHED a listening server holds one descriptor more, which it gives up for a
 * moment to take a client and close the connection. While others have taken that descriptor, it
 * behaves as with CSC_OVERLOAD_WAIT.
 *
 * @param policy one of the three
 */
CSC_API void csc_server_set_overload_policy(csc_server *CSC_NULLABLE server,
                                            csc_overload_policy policy);

/**
 * What a lack of descriptors or memory does.
 *
 * @return as it was set
 */
CSC_API csc_overload_policy csc_server_overload_policy(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many descriptors accepting leaves to the rest of the program; 32 at first.
 *
 * When no others are left, accepting pauses as for EMFILE, with the same error. The limit is read
 * when the server starts to listen and whenever descriptors seem to run out, each end of a back-off
 * included, so that a changed one is noticed.
 *
 * @param count more than a quarter of RLIMIT_NOFILE counts as that; 0 or less leaves none
 */
CSC_API void csc_server_set_descriptor_reserve(csc_server *CSC_NULLABLE server, int count);

/**
 * How many descriptors accepting leaves to the rest of the program.
 *
 * @return as it was set
 */
CSC_API int csc_server_descriptor_reserve(const csc_server *CSC_NULLABLE server);

/**
 * How many more descriptors the process may open before the reserve is touched. Counted in
 * /proc/self/fd when asked, which takes longer the more there are.
 *
 * @return 0 or more
 */
CSC_API int csc_server_descriptor_headroom(const csc_server *CSC_NULLABLE server);

/**
 * The program has closed a descriptor: a back-off for lack of resources then ends on the
 * loop's next turn instead of when its time is over. Harmless at any time, calls no callback.
 *
 * csc_server_connection_ended() does the same.
 *
 * @return whether the server still lacks resources, as far as it knows: until then each further
 *   descriptor is worth reporting
 */
CSC_API bool csc_server_descriptor_freed(csc_server *CSC_NULLABLE server);

/** What becomes of clients beyond csc_server_set_max_connections(). */
typedef enum csc_excess {
    CSC_EXCESS_WAIT,  /**< they wait in the kernel's queue until a connection ends */
    CSC_EXCESS_CLOSE, /**< they are accepted and closed */
    CSC_EXCESS_RESET  /**< they are accepted and reset */
} csc_excess;

/**
 * Sets how many connections may be live at once: pending, or delivered and not yet ended by
 * csc_server_connection_ended(). Raising it resumes accepting.
 *
 * @param count less than 0, as at first, for no limit; 0 admits no client
 * @param excess what becomes of clients beyond it; CSC_EXCESS_WAIT at first
 */
CSC_API void csc_server_set_max_connections(csc_server *CSC_NULLABLE server, int count,
                                            csc_excess excess);

/**
 * How many connections may be live at once.
 *
 * @return as it was set; -1 for no limit
 */
CSC_API int csc_server_max_connections(const csc_server *CSC_NULLABLE server);

/**
 * What becomes of clients beyond csc_server_max_connections().
 *
 * @return as it was set
 */
CSC_API csc_excess csc_server_excess(const csc_server *CSC_NULLABLE server);

/**
 * Reports that a delivered connection has ended: once for each, after its descriptor was closed.
 * Makes room below csc_server_set_max_connections(), and ends a back-off for lack of resources.
 * Calls no callback; a program that sets no limit may do without it.
 *
 * May be called from any thread, as long as the server is not freed meanwhile: from another one
 * than the server's it takes effect on the loop's next turn; without a loop in the wait that is
 * running, or in the next one.
 */
CSC_API void csc_server_connection_ended(csc_server *CSC_NULLABLE server);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
