// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/server.h
 * A server, listening, and its last error. Include CServerCore.h.
 */
#ifndef CSERVERCORE_SERVER_H
#define CSERVERCORE_SERVER_H

#include "address.h"
#include "base.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct csc_proxied;
struct event_base;

CSC_ASSUME_NONNULL

/**
 * @defgroup listening A server, and listening
 * Making a server, listening, and ending it.
 * @{
 */

/** A server. Opaque; made by csc_server_new(), ended by csc_server_free(). */
typedef struct csc_server csc_server;

/** An accepted connection. A plain value: its last holder owns the descriptor, and what is allocated. */
typedef struct CSC_SAFE csc_connection {
    int descriptor; /**< close-on-exec, non-blocking */
    csc_address
        peer; /**< as accept4(2) gave it: right even when the peer has already gone; the client
                       where a proxy has said who that is */
    uint32_t
        source; /**< its place among those of its source, for csc_server_connection_ended_from();
                     0 where it counts nowhere */
    struct csc_proxied *CSC_NULLABLE
        proxied; /**< what a proxy said; its last holder owns it, and ends
                       it by csc_proxied_free(). NULL without csc_server_require_proxy_header() */
} csc_connection;

/**
 * Makes a server that does not listen yet.
 *
 * @param base *borrowed*, must outlive the server; NULL for use with csc_server_wait() alone
 * @return the server, freed by the caller with csc_server_free(); NULL when memory is short
 */
CSC_API csc_server *CSC_NULLABLE csc_server_new(struct event_base *CSC_NULLABLE base);

/** Closes the server as csc_server_close() does and frees it. Allowed in a callback of the same
 * server, which is then called back no more. The event_base is still the program's. */
CSC_API void csc_server_free(csc_server *CSC_NULLABLE server);

/**
 * Listens on an address and port (QTcpServer::listen).
 *
 * CSC_FAMILY_ANY listens on all interfaces for IPv4 and IPv6, or for IPv4 where the kernel has no
 * IPv6. An IPv6 address never takes IPv4 clients. Port 0 lets the kernel choose. SO_REUSEADDR is
 * set, SO_REUSEPORT is not. The process's descriptor table is grown once
 * (csc_server_set_expected_descriptors()).
 *
 * @param address borrowed
 * @return false when it already listens, the address is CSC_FAMILY_NONE, the csc_socket_fn refuses,
 *   or a system call fails; nothing is left open then
 */
CSC_API bool csc_server_listen(csc_server *CSC_NULLABLE server, const csc_address *address);

/**
 * Opens listening sockets of one address for several servers, as csc_server_listen() would open
 * one: with the backlog and the csc_socket_fn of this server, which itself does not listen. Each of
 * the others, on a loop and a thread of its own, takes one by csc_server_adopt(); one limit for all
 * is a csc_budget.
 *
 * Several share the port by SO_REUSEPORT, and the kernel spreads the clients over them by a hash of
 * both addresses and ports. It fails where another process listens there already, also with
 * SO_REUSEPORT, or joins meanwhile; one of the same user may join later. Clients wait in the queue
 * of their socket, whatever its loop does. Close all at about the same time: the kernel resets the
 * clients in the queue of one that is closed, and whose handshake it has not completed, unless the
 * administrator has set net.ipv4.tcp_migrate_req.
 *
 * @param address as for csc_server_listen()
 * @param descriptors filled; *returned*, non-blocking and close-on-exec: the caller closes those
 *   that no server takes
 * @param count how many; 1 opens one that does not share its port
 * @return false as csc_server_listen(), and when the port is another process's; nothing is left open
 */
CSC_API bool csc_server_open_sockets(csc_server *CSC_NULLABLE server, const csc_address *address,
                                     int *descriptors, size_t count);

/**
 * Takes over a listening socket (QTcpServer::setSocketDescriptor).
 *
 * The descriptor must be a listening IPv4, IPv6 or UNIX stream socket that no server of this
 * process uses. A UNIX socket's file is left to who made it. The descriptor is made non-blocking and close-on-exec; its queue length and options stay as they are.
 *
 * @param descriptor *taken* on success; untouched and still the caller's on failure
 * @return false when it is not such a socket, or the server listens already
 */
CSC_API bool csc_server_adopt(csc_server *CSC_NULLABLE server, int descriptor);

/**
 * Stops listening, closes the listening socket and every connection still pending. Connections
 * already taken are not touched. Settings and the last error stay. Does nothing when not listening
 * and empty.
 *
 * On a base with EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST the socket is closed in the next turn of the
 * loop: let it turn once before the base is freed.
 */
CSC_API void csc_server_close(csc_server *CSC_NULLABLE server);

/**
 * Stops listening without closing the listening socket, for another server, thread or process to
 * accept from: clients in the kernel's queue stay there. What is pending can still be taken.
 *
 * In a child of fork() it returns the child's copy of the descriptor.
 *
 * @return *returned*: the caller closes it; non-blocking and close-on-exec. -1 when it does not
 *   listen, or other code has closed the descriptor
 */
CSC_API int csc_server_release(csc_server *CSC_NULLABLE server);

/**
 * Stops listening in order: accepts what the kernel has completed by now, whatever the limits say,
 * then closes the listening socket. Only the admission callback may still reject a client. What is
 * pending can still be taken. A client that connects meanwhile may be reset; one that connects
 * later is refused. Connections in the preface go on, and become pending later.
 *
 * In a callback of another csc_server_finish() of the server it leaves the rest to that one: the
 * server stops listening when that returns.
 */
CSC_API void csc_server_finish(csc_server *CSC_NULLABLE server);

/**
 * Whether the server listens.
 *
 * A listening socket breaks when other code closes its descriptor, puts something else in its
 * place, or shuts the socket down. The server looks every second, on the loop or in
 * csc_server_wait(); then it stops, calls the accept error callback once, and leaves a number that
 * is no longer its own alone.
 *
 * @return true between a successful listen or adopt and close, or until the listening socket breaks
 */
CSC_API bool csc_server_is_listening(const csc_server *CSC_NULLABLE server);

/**
 * Where the server listens.
 *
 * @return the address with the port; CSC_FAMILY_NONE and 0 when it does not listen
 */
CSC_API csc_address csc_server_address(const csc_server *CSC_NULLABLE server);

/**
 * The port the server listens on, the kernel's choice where 0 was asked for.
 *
 * @return in host byte order; 0 when it does not listen
 */
CSC_API uint16_t csc_server_port(const csc_server *CSC_NULLABLE server);

/**
 * The listening descriptor. The server holds a duplicate for its own use beside it.
 *
 * @return *borrowed*: the server closes it; -1 when it does not listen
 */
CSC_API int csc_server_descriptor(const csc_server *CSC_NULLABLE server);

/** @} */

/**
 * @addtogroup errors
 * @{
 */

/**
 * The last error. A later success does not clear it.
 *
 * @return CSC_ERROR_UNKNOWN at first; CSC_ERROR_SOCKET_RESOURCE for NULL
 */
CSC_API csc_error csc_server_error(const csc_server *CSC_NULLABLE server);

/**
 * The last error for a person to read, in English.
 *
 * @return empty at first; static or what csc_server_set_error() was given, never freed
 */
CSC_API const char *csc_server_error_string(const csc_server *CSC_NULLABLE server);

/**
 * The errno of the last error: it separates EMFILE from ENFILE, ENOMEM and ENOBUFS, which are all
 * CSC_ERROR_SOCKET_RESOURCE.
 *
 * @return 0 at first, and for an error that is no system call's; ENOMEM for NULL
 */
CSC_API int csc_server_errno(const csc_server *CSC_NULLABLE server);

/**
 * Sets the last error; for layers above that refuse a call themselves.
 *
 * @param error the class
 * @param text NUL-terminated, *borrowed* as long as the server: not copied
 */
CSC_API void csc_server_set_error(csc_server *CSC_NULLABLE server, csc_error error,
                                  const char *text);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
