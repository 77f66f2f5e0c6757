// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/budget.h
 * One limit for several servers. Include CServerCore.h.
 */
#ifndef CSERVERCORE_BUDGET_H
#define CSERVERCORE_BUDGET_H

#include "base.h"
#include "limits.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup budgets One limit for several servers
 * How many connections several servers may have together, each of which accepts on a thread of its
 * own: from duplicates of one listening socket, or from the sockets of csc_server_open_sockets().
 *
 * A server takes a place before it accepts, and gives it back when the connection is reported as
 * ended (csc_server_connection_ended()), discarded or rejected: the limit is never exceeded, except
 * by csc_server_finish(), csc_server_inject() and csc_server_add_pending(). While there is no place
 * the servers do not watch their sockets, and clients wait in the kernel's queue. A place that
 * becomes free wakes one server, the one that has waited longest; one that cannot use it wakes the
 * next. An end that another thread reports gives its place back on the next turn of the server's
 * loop, whether the server still listens or not; without an event_base, in its next
 * csc_server_wait(). A server that waits looks once a second without being woken, so that a loop that is stuck
 * keeps no place from the others for longer.
 *
 * The limits of each server hold as well.
 * @{
 */

/** A limit that servers share. Opaque; made by csc_budget_new(). */
typedef struct csc_budget csc_budget;

/**
 * Makes a limit for servers to share. Clients beyond it wait in the kernel's queue.
 *
 * @param limit how many connections all servers may have together; less than 0 for no limit, 0
 *   admits no client
 * @return freed by csc_budget_free(); NULL when memory is short
 */
CSC_API csc_budget *CSC_NULLABLE csc_budget_new(int limit);

/**
 * Gives up the program's own use of it. Servers that have it keep it, until the last of them is
 * freed or gets another. Any thread may call it, once.
 *
 * @param budget NULL for nothing to do
 */
CSC_API void csc_budget_free(csc_budget *CSC_NULLABLE budget);

/**
 * Changes the limit; raising it resumes accepting. Any thread may call it.
 *
 * @param budget *borrowed* for the call
 * @param limit as for csc_budget_new(); connections beyond a lower one stay
 * @param excess what becomes of clients beyond it; CSC_EXCESS_WAIT at first
 */
CSC_API void csc_budget_set_limit(csc_budget *budget, int limit, csc_excess excess);

/**
 * How many places are taken: of the live connections of all servers, and of clients that are being
 * accepted now. Any thread may ask.
 *
 * @param budget *borrowed* for the call
 * @return more than the limit only as said above, and after the limit was lowered
 */
CSC_API uint32_t csc_budget_taken(const csc_budget *budget);

/**
 * Lets a server share a limit, with the connections that it has. Call it on the server's thread,
 * while the server does not listen.
 *
 * Freeing the server gives its places back, also those of connections that were not reported as
 * ended.
 *
 * @param budget *borrowed* until the server is freed or gets another; NULL for none, as at first
 * @return false, with everything as it was, when the server listens, is in a group, is just asking
 *   whether to admit a client, or memory or descriptors are short, as its error says
 */
CSC_API bool csc_server_set_budget(csc_server *CSC_NULLABLE server,
                                   csc_budget *CSC_NULLABLE budget);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
