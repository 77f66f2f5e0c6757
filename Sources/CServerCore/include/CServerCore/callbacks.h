// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/callbacks.h
 * Callbacks. Include CServerCore.h.
 */
#ifndef CSERVERCORE_CALLBACKS_H
#define CSERVERCORE_CALLBACKS_H

#include "address.h"
#include "base.h"
#include "error.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup callbacks Callbacks
 * What a server reports to the program, always on the thread of its loop.
 * @{
 */

/** Called once for each new connection, after it was queued or given to the incoming callback. */
typedef void (*csc_new_connection_fn)(csc_server *server, void *CSC_NULLABLE context);

/**
 * Called instead of queuing a connection.
 *
 * @param connection its descriptor *taken*: the callback owns it and closes it or passes it on, to
 *   any thread; csc_server_add_pending() gives it back to the queue. The pointer is *borrowed* for
 *   the call
 */
typedef void (*csc_incoming_connection_fn)(csc_server *server, const csc_connection *connection,
                                           void *CSC_NULLABLE context);

/**
 * Called when accepting fails for a reason the program should know: once an episode, not per
 * attempt. An episode ends with the next connection or csc_server_resume().
 *
 * A server that does not listen when this is called has lost its listening socket; any other goes
 * on by itself, unless its policy is CSC_OVERLOAD_STRICT. What fails within the callback is
 * reported when it has returned.
 *
 * @param error the class; csc_server_error_string() has the text
 */
typedef void (*csc_accept_error_fn)(csc_server *server, csc_error error,
                                    void *CSC_NULLABLE context);

/** What an admission callback decides. */
typedef enum csc_admission {
    CSC_ADMIT, /**< lets it in */
    CSC_CLOSE, /**< closes the connection */
    CSC_RESET  /**< resets it, which leaves nothing of it in the kernel */
} csc_admission;

/**
 * Called for each connection before anything is made of it; where a PROXY header is required, for the
 * proxy, and then for the client.
 *
 * @param peer the client's address and port, *borrowed* for the call
 * @return what becomes of the client
 */
typedef csc_admission (*csc_admission_fn)(csc_server *server, const csc_address *peer,
                                          void *CSC_NULLABLE context);

/** Why a connection was rejected. */
typedef enum csc_rejection_reason {
    CSC_REJECTED_BY_ADMISSION,    /**< the admission callback said so */
    CSC_REJECTED_BY_LIMIT,        /**< csc_server_set_max_connections() was reached */
    CSC_REJECTED_BY_OVERLOAD,     /**< CSC_OVERLOAD_SHED, or no memory to queue it */
    CSC_REJECTED_AS_UNTRUSTED,    /**< not from a network whose PROXY headers are taken */
    CSC_REJECTED_BY_HEADER,       /**< no PROXY header, or a wrong one */
    CSC_REJECTED_BY_PEER,         /**< its peer ended it in the middle of the header */
    CSC_REJECTED_BY_TIMEOUT,      /**< the header was not complete in time */
    CSC_REJECTED_BY_PREFACES,     /**< csc_server_set_max_prefaces() was reached */
    CSC_REJECTED_BY_SOURCE_LIMIT, /**< its source has as many connections as it may have */
    CSC_REJECTED_BY_SOURCE_RATE   /**< its source connects faster than it may */
} csc_rejection_reason;

/** A connection that was rejected. */
typedef struct csc_rejection {
    csc_address peer;            /**< the client's address and port; before its header was read, the
                                 proxy's */
    csc_address local;           /**< the address that the client connected to */
    csc_rejection_reason reason; /**< why it was rejected */
    uint32_t proxy_error;        /**< CSC_REJECTED_BY_HEADER: a csc_proxy_error; otherwise 0 */
    uint32_t proxy_error_offset; /**< CSC_REJECTED_BY_HEADER: which byte is wrong, from 0 */
    uint32_t reserved[1];        /**< 0 */
} csc_rejection;

/**
 * Called by csc_server_listen() for each socket that it makes, between socket(2) and bind(2): for
 * options that must be set before, such as SO_REUSEPORT, IP_FREEBIND, SO_BINDTODEVICE, IP_TOS.
 *
 * SO_REUSEADDR and IPV6_V6ONLY are set by then. For CSC_FAMILY_ANY there may be a second socket,
 * where the kernel has no IPv6. A callback that closes or frees the server makes listening fail.
 *
 * @param descriptor *borrowed* for the call
 * @return 0, or the errno that csc_server_listen() is to fail with
 */
typedef int (*csc_socket_fn)(csc_server *server, int descriptor, void *CSC_NULLABLE context);

/**
 * Called for each connection that was rejected, when its descriptor has been closed.
 *
 * @param rejection who and why, *borrowed* for the call
 */
typedef void (*csc_rejected_fn)(csc_server *server, const csc_rejection *rejection,
                                void *CSC_NULLABLE context);

/**
 * Sets the callback for new connections, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_new_connection(csc_server *CSC_NULLABLE server,
                                          csc_new_connection_fn CSC_NULLABLE callback,
                                          void *CSC_NULLABLE context);

/**
 * Sets the callback that takes connections, in place of the one before.
 *
 * @param callback NULL, the default, queues them
 */
CSC_API void csc_server_on_incoming_connection(csc_server *CSC_NULLABLE server,
                                               csc_incoming_connection_fn CSC_NULLABLE callback,
                                               void *CSC_NULLABLE context);

/**
 * Sets the callback for accept errors, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_accept_error(csc_server *CSC_NULLABLE server,
                                        csc_accept_error_fn CSC_NULLABLE callback,
                                        void *CSC_NULLABLE context);

/**
 * Sets the callback that admits connections, in place of the one before.
 *
 * @param callback NULL, the default, admits all
 */
CSC_API void csc_server_on_admission(csc_server *CSC_NULLABLE server,
                                     csc_admission_fn CSC_NULLABLE callback,
                                     void *CSC_NULLABLE context);

/**
 * Sets the callback for the sockets that csc_server_listen() makes, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_socket(csc_server *CSC_NULLABLE server,
                                  csc_socket_fn CSC_NULLABLE callback, void *CSC_NULLABLE context);

/**
 * Sets the callback for connections that were rejected, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_rejected(csc_server *CSC_NULLABLE server,
                                    csc_rejected_fn CSC_NULLABLE callback,
                                    void *CSC_NULLABLE context);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
