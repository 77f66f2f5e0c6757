// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/error.h
 * Errors, as numbers and texts. Include CServerCore.h.
 */
#ifndef CSERVERCORE_ERROR_H
#define CSERVERCORE_ERROR_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup errors Errors
 * What went wrong, as a number and as a text.
 * @{
 */

/**
 * What went wrong, with the numbers of QAbstractSocket::SocketError.
 *
 * A server's own calls give only some of them; the rest is there so that a program, or a socket
 * class above this library, has one set of numbers for all.
 */
typedef enum csc_error {
    CSC_ERROR_UNKNOWN = -1,           /**< no error yet, or one without a class of its own */
    CSC_ERROR_CONNECTION_REFUSED = 0, /**< the peer refused, or there is no listener */
    CSC_ERROR_REMOTE_HOST_CLOSED = 1, /**< the peer ended the connection */
    CSC_ERROR_HOST_NOT_FOUND = 2,     /**< a host name has no address; a path leads nowhere */
    CSC_ERROR_SOCKET_ACCESS = 3,   /**< not permitted: privileged port, seccomp, security module */
    CSC_ERROR_SOCKET_RESOURCE = 4, /**< out of descriptors or memory */
    CSC_ERROR_SOCKET_TIMEOUT = 5,  /**< a wait ended without what it waited for */
    CSC_ERROR_DATAGRAM_TOO_LARGE = 6,           /**< given by nothing here */
    CSC_ERROR_NETWORK = 7,                      /**< the network failed */
    CSC_ERROR_ADDRESS_IN_USE = 8,               /**< the address and port, or the path, are taken */
    CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE = 9, /**< not an address of this machine */
    CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION = 10,  /**< the socket or address cannot do this */
    CSC_ERROR_UNFINISHED_SOCKET_OPERATION = 11,   /**< the caller gave up before the end */
    CSC_ERROR_PROXY_AUTHENTICATION_REQUIRED = 12, /**< the proxy wants credentials, or others */
    CSC_ERROR_SSL_HANDSHAKE_FAILED = 13,          /**< given by nothing here */
    CSC_ERROR_PROXY_CONNECTION_REFUSED = 14,      /**< no listener where the proxy should be */
    CSC_ERROR_PROXY_CONNECTION_CLOSED = 15,       /**< the proxy closed the connection too early */
    CSC_ERROR_PROXY_CONNECTION_TIMEOUT = 16,      /**< the proxy did not answer in time */
    CSC_ERROR_PROXY_NOT_FOUND = 17,               /**< the proxy's host name has no address */
    CSC_ERROR_PROXY_PROTOCOL = 18,                /**< the proxy speaks another protocol */
    CSC_ERROR_OPERATION = 19,    /**< the call was made in a state that does not allow it */
    CSC_ERROR_SSL_INTERNAL = 20, /**< given by nothing here */
    CSC_ERROR_SSL_INVALID_USER_DATA = 21, /**< given by nothing here */
    CSC_ERROR_TEMPORARY = 22              /**< nothing is wrong, but there is nothing now */
} csc_error;

/** The system call that an errno came from; the same errno means different things to different
 * calls. */
typedef enum csc_call {
    CSC_CALL_SOCKET,  /**< socket(2) */
    CSC_CALL_BIND,    /**< bind(2) */
    CSC_CALL_LISTEN,  /**< listen(2) */
    CSC_CALL_ACCEPT,  /**< accept4(2) */
    CSC_CALL_ADOPT,   /**< checking a descriptor that the program hands over */
    CSC_CALL_CONNECT, /**< for client sockets built beside the server */
    CSC_CALL_READ,    /**< read(2), recv(2) */
    CSC_CALL_WRITE,   /**< write(2), send(2) */
    CSC_CALL_PATH,    /**< checking the path of a UNIX socket, lstat(2) included */
    CSC_CALL_CHMOD,   /**< chmod(2) of its file */
    CSC_CALL_UNLINK,  /**< unlink(2) of what an ended server has left */
    CSC_CALL_WATCH    /**< registering a descriptor with the event loop */
} csc_call;

/**
 * The class of an errno, as QTcpServer and QTcpSocket report it. Any thread may ask.
 *
 * @param call the system call that failed
 * @param errnum its errno
 * @param text if not NULL, set to the human-readable text: static, never freed
 * @return the class; CSC_ERROR_UNKNOWN for an errno that has none, CSC_ERROR_NETWORK where the call
 *   is CSC_CALL_READ or CSC_CALL_WRITE
 */
CSC_API csc_error csc_error_from_errno(csc_call call, int errnum,
                                       const char *CSC_NULLABLE *CSC_NULLABLE text);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
