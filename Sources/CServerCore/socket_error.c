// SPDX-License-Identifier: Apache-2.0

// errno -> csc_error -> text, for each system call. One table, so that a reader can check it
// against Qt's.

#include "CServerCore.h"

#include <errno.h>
#include <string.h>

typedef struct csc__error_row {
    csc_call call;
    int errnum;
    csc_error error;
    const char *text; // NULL: the C library's text for the errno
} csc__error_row;

static const char invalid_descriptor[] = "Invalid socket descriptor";
static const char unknown_error[] = "Unknown error";
static const char out_of_resources[] = "Out of resources";
static const char permission_denied[] = "Permission denied";
static const char protocol_not_supported[] = "Protocol type not supported";
static const char operation_on_non_socket[] = "Operation on non-socket";
static const char no_folder[] = "The folder of the path does not exist";
static const char no_space[] = "No space is left for the socket's file";
static const char too_many_links[] = "The path has too many symbolic links";
static const char read_only[] = "The file system can only be read";
static const char cannot_remove[] = "The file of an ended server cannot be removed";
static const char remote_host_closed[] = "The remote host closed the connection";

static const csc__error_row rows[] = {
    {CSC_CALL_SOCKET, EPROTONOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     protocol_not_supported},
    {CSC_CALL_SOCKET, EAFNOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, protocol_not_supported},
    {CSC_CALL_SOCKET, EINVAL, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, protocol_not_supported},
    {CSC_CALL_SOCKET, EMFILE, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_SOCKET, ENFILE, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_SOCKET, ENOBUFS, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_SOCKET, ENOMEM, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_SOCKET, EACCES, CSC_ERROR_SOCKET_ACCESS, permission_denied},

    {CSC_CALL_BIND, EADDRINUSE, CSC_ERROR_ADDRESS_IN_USE, "The bound address is already in use"},
    {CSC_CALL_BIND, EACCES, CSC_ERROR_SOCKET_ACCESS, "The address is protected"},
    {CSC_CALL_BIND, EINVAL, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, "Unsupported socket operation"},
    {CSC_CALL_BIND, EADDRNOTAVAIL, CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE,
     "The address is not available"},
    {CSC_CALL_BIND, EROFS, CSC_ERROR_SOCKET_ACCESS, read_only},
    {CSC_CALL_BIND, ENOENT, CSC_ERROR_HOST_NOT_FOUND, no_folder},
    {CSC_CALL_BIND, ENOSPC, CSC_ERROR_SOCKET_RESOURCE, no_space},
    {CSC_CALL_BIND, EDQUOT, CSC_ERROR_SOCKET_RESOURCE, no_space},

    // The errnos that the checks of csc_server_listen_path() give, and lstat(2).
    {CSC_CALL_PATH, ENAMETOOLONG, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The path of a socket has 1 to 107 bytes"},
    {CSC_CALL_PATH, EINVAL, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "Permissions are numbers from 0 to 0777"},
    {CSC_CALL_PATH, EOPNOTSUPP, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "An abstract name has no permissions"},
    {CSC_CALL_PATH, EEXIST, CSC_ERROR_ADDRESS_IN_USE, "What is at the path is not a socket"},
    {CSC_CALL_PATH, EPERM, CSC_ERROR_SOCKET_ACCESS, "The socket at the path is another user's"},
    {CSC_CALL_PATH, ENOENT, CSC_ERROR_HOST_NOT_FOUND, no_folder},
    {CSC_CALL_PATH, ENOTDIR, CSC_ERROR_HOST_NOT_FOUND, "A part of the path is not a folder"},
    {CSC_CALL_PATH, ELOOP, CSC_ERROR_HOST_NOT_FOUND, too_many_links},
    {CSC_CALL_CHMOD, EPERM, CSC_ERROR_SOCKET_ACCESS, "The permissions cannot be set"},
    {CSC_CALL_UNLINK, EPERM, CSC_ERROR_SOCKET_ACCESS, cannot_remove},
    {CSC_CALL_UNLINK, EACCES, CSC_ERROR_SOCKET_ACCESS, cannot_remove},
    {CSC_CALL_UNLINK, EROFS, CSC_ERROR_SOCKET_ACCESS, read_only},

    {CSC_CALL_LISTEN, EADDRINUSE, CSC_ERROR_ADDRESS_IN_USE,
     "Another socket is already listening on the same port"},

    {CSC_CALL_ACCEPT, EAGAIN, CSC_ERROR_TEMPORARY, "Temporary error"},
    {CSC_CALL_ACCEPT, EBADF, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, invalid_descriptor},
    {CSC_CALL_ACCEPT, EOPNOTSUPP, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, invalid_descriptor},
    {CSC_CALL_ACCEPT, ECONNABORTED, CSC_ERROR_NETWORK, remote_host_closed},
    {CSC_CALL_ACCEPT, EFAULT, CSC_ERROR_SOCKET_RESOURCE, operation_on_non_socket},
    {CSC_CALL_ACCEPT, ENOTSOCK, CSC_ERROR_SOCKET_RESOURCE, operation_on_non_socket},
    {CSC_CALL_ACCEPT, EPROTONOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     protocol_not_supported},
    {CSC_CALL_ACCEPT, EPROTO, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, protocol_not_supported},
    {CSC_CALL_ACCEPT, EAFNOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, protocol_not_supported},
    {CSC_CALL_ACCEPT, EINVAL, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, protocol_not_supported},
    {CSC_CALL_ACCEPT, EMFILE, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_ACCEPT, ENFILE, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_ACCEPT, ENOBUFS, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_ACCEPT, ENOMEM, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_ACCEPT, EACCES, CSC_ERROR_SOCKET_ACCESS, permission_denied},
    {CSC_CALL_ACCEPT, EPERM, CSC_ERROR_SOCKET_ACCESS, permission_denied},

    // The errnos that the checks of csc_server_adopt() give: one for each way a descriptor can be
    // wrong.
    {CSC_CALL_ADOPT, EBADF, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, invalid_descriptor},
    {CSC_CALL_ADOPT, ENOTSOCK, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor is not a socket"},
    {CSC_CALL_ADOPT, EPROTOTYPE, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor is not a stream socket"},
    {CSC_CALL_ADOPT, EAFNOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor is not an IPv4, IPv6 or UNIX socket"},
    {CSC_CALL_ADOPT, EPROTONOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor is not a TCP socket"},
    {CSC_CALL_ADOPT, EINVAL, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor is not a listening socket"},
    {CSC_CALL_ADOPT, ENOTCONN, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor is not a connected socket"},
    {CSC_CALL_ADOPT, EALREADY, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The descriptor already belongs to a server"},
    {CSC_CALL_ADOPT, EPERM, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "Unable to initialize non-blocking socket"},

    {CSC_CALL_CONNECT, ECONNREFUSED, CSC_ERROR_CONNECTION_REFUSED, "Connection refused"},
    {CSC_CALL_CONNECT, ECONNRESET, CSC_ERROR_CONNECTION_REFUSED, "Connection refused"},
    {CSC_CALL_CONNECT, ETIMEDOUT, CSC_ERROR_SOCKET_TIMEOUT, "Connection timed out"},
    {CSC_CALL_CONNECT, EHOSTUNREACH, CSC_ERROR_NETWORK, "Host unreachable"},
    {CSC_CALL_CONNECT, ENETUNREACH, CSC_ERROR_NETWORK, "Network unreachable"},
    {CSC_CALL_CONNECT, EADDRINUSE, CSC_ERROR_ADDRESS_IN_USE, "The bound address is already in use"},
    {CSC_CALL_CONNECT, EADDRNOTAVAIL, CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE,
     "The address is not available"},
    {CSC_CALL_CONNECT, EACCES, CSC_ERROR_SOCKET_ACCESS, permission_denied},
    {CSC_CALL_CONNECT, EPERM, CSC_ERROR_SOCKET_ACCESS, permission_denied},
    {CSC_CALL_CONNECT, EAFNOSUPPORT, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "Unsupported socket operation"},
    {CSC_CALL_CONNECT, EINVAL, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "Unsupported socket operation"},
    {CSC_CALL_CONNECT, ENOENT, CSC_ERROR_HOST_NOT_FOUND, "There is no server at the path"},
    {CSC_CALL_CONNECT, ENOTDIR, CSC_ERROR_HOST_NOT_FOUND, "There is no server at the path"},
    {CSC_CALL_CONNECT, ELOOP, CSC_ERROR_HOST_NOT_FOUND, too_many_links},
    {CSC_CALL_CONNECT, EPROTOTYPE, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
     "The path is not that of a stream socket"},

    {CSC_CALL_READ, ECONNRESET, CSC_ERROR_REMOTE_HOST_CLOSED, remote_host_closed},
    {CSC_CALL_READ, ETIMEDOUT, CSC_ERROR_SOCKET_TIMEOUT, NULL},
    {CSC_CALL_READ, ENOBUFS, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_READ, ENOMEM, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_WRITE, EPIPE, CSC_ERROR_REMOTE_HOST_CLOSED, remote_host_closed},
    {CSC_CALL_WRITE, ECONNRESET, CSC_ERROR_REMOTE_HOST_CLOSED, remote_host_closed},
    {CSC_CALL_WRITE, ETIMEDOUT, CSC_ERROR_SOCKET_TIMEOUT, NULL},
    {CSC_CALL_WRITE, ENOBUFS, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
    {CSC_CALL_WRITE, ENOMEM, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},

    {CSC_CALL_WATCH, ENOSPC, CSC_ERROR_SOCKET_RESOURCE, out_of_resources},
};

static const char *description_of(int errnum) {
    const char *description = strerrordesc_np(errnum);
    return description ? description : unknown_error;
}

static csc_error with_text(csc_error error, const char *description, const char **text) {
    if (text) {
        *text = description;
    }
    return error;
}

csc_error csc_error_from_errno(csc_call call, int errnum, const char **text) {
    if (errnum == EWOULDBLOCK) {
        errnum = EAGAIN;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].call == call && rows[i].errnum == errnum) {
            const char *known = rows[i].text;
            return with_text(rows[i].error, known ? known : description_of(errnum), text);
        }
    }
    // Reading and writing report what the kernel says; Qt calls every other errno unknown.
    if (call == CSC_CALL_READ || call == CSC_CALL_WRITE) {
        return with_text(CSC_ERROR_NETWORK, description_of(errnum), text);
    }
    switch (errnum) {
    case EPERM:
    case EACCES:
        return with_text(CSC_ERROR_SOCKET_ACCESS, permission_denied, text);
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return with_text(CSC_ERROR_SOCKET_RESOURCE, out_of_resources, text);
    default:
        return with_text(CSC_ERROR_UNKNOWN, unknown_error, text);
    }
}
