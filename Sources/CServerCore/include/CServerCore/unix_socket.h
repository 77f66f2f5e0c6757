// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/unix_socket.h
 * UNIX sockets. Include CServerCore.h.
 */
#ifndef CSERVERCORE_UNIX_SOCKET_H
#define CSERVERCORE_UNIX_SOCKET_H

#include "base.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup unix_sockets UNIX sockets
 * Listening at a path, for clients of the same machine, and who they are.
 *
 * All else is as for TCP. A peer's csc_address is CSC_FAMILY_UNIX alone; the length of the kernel's
 * queue is unknown; what CSC_RESET and CSC_EXCESS_RESET do is closing; an accepted connection has
 * the kernel's options, and inherits none of the listening socket's.
 * @{
 */

/** The most bytes of a path, without its NUL. */
#define CSC_PATH_MOST 107

/** Room for what csc_server_path() returns, the final NUL included. */
#define CSC_PATH_SIZE 110

/** What csc_server_listen_path() gives a file where no permissions are asked for: owner and group
 * may connect. */
#define CSC_PATH_PERMISSIONS 0660

/**
 * Listens at a path, with a UNIX stream socket (QLocalServer::listen).
 *
 * The file is made without a moment in which others than those with permission could connect. When
 * the server stops listening it is removed, if it is still the one that was made, wherever the
 * working directory is then; not where csc_server_release() stops it, not in a child of fork(), and
 * not once a successor has the socket, as csc_handover_offer() says.
 *
 * A socket of the process's own user at the path that refuses connections is what a server has left
 * that ended without removing it: it is removed, unless `keep_stale`. Anything else at the path is
 * left alone, and is an error. Of several servers that begin at one path at the same time one
 * succeeds, on one network namespace.
 *
 * A path that begins with `@` is an abstract name, without a file: any process of the network
 * namespace may connect. Write `./@name` for a file.
 *
 * @param path NUL-terminated, borrowed; at most CSC_PATH_MOST bytes, and a relative one is of the
 *   working directory of this moment
 * @param permissions of the file, 0 to 0777, whatever the umask is; -1 for CSC_PATH_PERMISSIONS, and
 *   the only value for an abstract name. To connect, a process needs the permission to write
 * @param keep_stale whether what an ended server has left is an error as well
 * @return false when it already listens, the csc_socket_fn refuses, or a system call or one of these
 *   rules fails; nothing is left open then
 */
CSC_API bool csc_server_listen_path(csc_server *CSC_NULLABLE server, const char *path,
                                    int permissions, bool keep_stale);

/**
 * The path that the server listens at, also that of a socket it has adopted; an abstract name begins
 * with `@`, and has an `@` for each NUL in it.
 *
 * @return *borrowed*, until the server stops listening; NULL when it does not listen at a path
 */
CSC_API const char *CSC_NULLABLE csc_server_path(const csc_server *CSC_NULLABLE server);

/** Which process a peer is, or was when it connected. */
typedef struct csc_credentials {
    int32_t pid;       /**< the process; 0 for one outside of this PID namespace */
    uint32_t uid;      /**< its effective user */
    uint32_t gid;      /**< its effective group */
    uint32_t reserved; /**< 0 */
} csc_credentials;

/**
 * The credentials of a UNIX socket's peer, as the kernel noted them when it connected. The process
 * may have ended since, and its number may be another's. Any thread may ask.
 *
 * @param descriptor of a connection, borrowed
 * @param credentials filled on success, untouched otherwise
 * @return false when it is not a connected UNIX socket
 */
CSC_API bool csc_peer_credentials(int descriptor, csc_credentials *credentials);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
