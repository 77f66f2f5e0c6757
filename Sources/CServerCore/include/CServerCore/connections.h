// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/connections.h
 * Taking connections. Include CServerCore.h.
 */
#ifndef CSERVERCORE_CONNECTIONS_H
#define CSERVERCORE_CONNECTIONS_H

#include "base.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup connections Taking connections
 * The queue of pending connections, waiting for one, and pausing.
 * @{
 */

/**
 * Whether a connection is pending.
 *
 * @return true when csc_server_next_pending() would give one
 */
CSC_API bool csc_server_has_pending(const csc_server *CSC_NULLABLE server);

/**
 * Takes the oldest pending connection (QTcpServer::nextPendingConnection). Works when not
 * listening, too.
 *
 * @param connection filled on success, untouched otherwise; its descriptor *returned*: the caller
 *   closes it
 * @return false when none is pending
 */
CSC_API bool csc_server_next_pending(csc_server *CSC_NULLABLE server, csc_connection *connection);

/**
 * Appends a connection to the queue (QTcpServer::addPendingConnection), whatever the limits say.
 *
 * It is live from now on; one that was delivered before is to end by csc_server_connection_ended()
 * first, unless the incoming callback gives back what it was just handed.
 *
 * @param connection *taken* on success. A descriptor of -1 is allowed: it keeps a place in the
 * order for something the caller holds itself, and whose end it reports even when the server was
 * closed.
 * @return false when memory is short; the connection is still the caller's then
 */
CSC_API bool csc_server_add_pending(csc_server *CSC_NULLABLE server,
                                    const csc_connection *connection);

/**
 * Lets in a connection that did not come through accept4(2), such as one that a proxy passed on: it
 * counts as accepted, and goes through the same callbacks and the same queue, whatever the limits
 * say that make clients wait. The server need not listen. Where a PROXY header is required, the
 * connection has to begin with one, and the csc_connection::proxied that it came with is freed.
 *
 * @param connection *taken* on success, which a rejection is too, its descriptor
 * close-on-exec and non-blocking
 * @return false when memory is short; the connection is still the caller's then
 */
CSC_API bool csc_server_inject(csc_server *CSC_NULLABLE server, const csc_connection *connection);

/**
 * Waits for a connection without running the event loop (QTcpServer::waitForNewConnection).
 *
 * True at once when one is pending, listening or not. Otherwise accepts what the kernel holds, up
 * to the pending limit, with the same callbacks as the loop. Accepts while paused. Signals do not
 * shorten the wait.
 *
 * After csc_server_finish() it goes on while connections are in the preface.
 *
 * @param msec milliseconds; 0 polls; -1 or less waits without limit
 * @param timed_out if not NULL: set to whether the time ran out; untouched when the server does not
 * listen
 * @return false when the time ran out (CSC_ERROR_SOCKET_TIMEOUT), csc_server_wake() was called,
 * accepting failed, the server does not listen, or 16 waits of this server are already on the stack
 */
CSC_API bool csc_server_wait(csc_server *CSC_NULLABLE server, int msec,
                             bool *CSC_NULLABLE timed_out);

/**
 * Ends the csc_server_wait() that is running, or else the next one: it returns false, with
 * CSC_ERROR_UNFINISHED_SOCKET_OPERATION. Of waits within a wait it ends the innermost.
 *
 * May be called from any thread and from signal handlers, as long as the server is not freed
 * meanwhile. Several calls before a wait ends count as one. A wait has one descriptor more for it,
 * an eventfd; without one, because there are no others, it ends after a second at most.
 */
CSC_API void csc_server_wake(csc_server *CSC_NULLABLE server);

/** Stops accepting until csc_server_resume(); the server goes on listening and the kernel's queue
 * fills. */
CSC_API void csc_server_pause(csc_server *CSC_NULLABLE server);

/**
 * Undoes csc_server_pause(), and the pause of CSC_OVERLOAD_STRICT. After a lack of resources it
 * tries again at once; in a csc_accept_error_fn, or when the last resume was in vain, it leaves the
 * back-off its time instead. Harmless at any time.
 */
CSC_API void csc_server_resume(csc_server *CSC_NULLABLE server);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
