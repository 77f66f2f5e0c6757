// SPDX-License-Identifier: Apache-2.0

// The table of errors: every errno of every call has its number and its text. Written out here once
// more, so that a change of the library's own table shows.

#include "fixture.h"

#include <errno.h>
#include <string.h>

typedef struct row {
    csc_call call;
    int errnum;
    csc_error error;
    const char *text;
} row;

static const row rows[] = {
    {CSC_CALL_SOCKET, EPROTONOSUPPORT, 10, "Protocol type not supported"},
    {CSC_CALL_SOCKET, EAFNOSUPPORT, 10, "Protocol type not supported"},
    {CSC_CALL_SOCKET, EINVAL, 10, "Protocol type not supported"},
    {CSC_CALL_SOCKET, EMFILE, 4, "Out of resources"},
    {CSC_CALL_SOCKET, ENFILE, 4, "Out of resources"},
    {CSC_CALL_SOCKET, ENOBUFS, 4, "Out of resources"},
    {CSC_CALL_SOCKET, ENOMEM, 4, "Out of resources"},
    {CSC_CALL_SOCKET, EACCES, 3, "Permission denied"},
    {CSC_CALL_SOCKET, EIO, -1, "Unknown error"},

    {CSC_CALL_BIND, EADDRINUSE, 8, "The bound address is already in use"},
    {CSC_CALL_BIND, EACCES, 3, "The address is protected"},
    {CSC_CALL_BIND, EINVAL, 10, "Unsupported socket operation"},
    {CSC_CALL_BIND, EADDRNOTAVAIL, 9, "The address is not available"},
    {CSC_CALL_BIND, EROFS, 3, "The file system can only be read"},
    {CSC_CALL_BIND, ENOENT, 2, "The folder of the path does not exist"},
    {CSC_CALL_BIND, ENOSPC, 4, "No space is left for the socket's file"},
    {CSC_CALL_BIND, EDQUOT, 4, "No space is left for the socket's file"},
    {CSC_CALL_BIND, EIO, -1, "Unknown error"},

    {CSC_CALL_PATH, ENAMETOOLONG, 10, "The path of a socket has 1 to 107 bytes"},
    {CSC_CALL_PATH, EINVAL, 10, "Permissions are numbers from 0 to 0777"},
    {CSC_CALL_PATH, EOPNOTSUPP, 10, "An abstract name has no permissions"},
    {CSC_CALL_PATH, EEXIST, 8, "What is at the path is not a socket"},
    {CSC_CALL_PATH, EPERM, 3, "The socket at the path is another user's"},
    {CSC_CALL_PATH, ENOENT, 2, "The folder of the path does not exist"},
    {CSC_CALL_PATH, ENOTDIR, 2, "A part of the path is not a folder"},
    {CSC_CALL_PATH, ELOOP, 2, "The path has too many symbolic links"},
    {CSC_CALL_PATH, EACCES, 3, "Permission denied"},
    {CSC_CALL_PATH, EMFILE, 4, "Out of resources"},
    {CSC_CALL_PATH, EIO, -1, "Unknown error"},
    {CSC_CALL_CHMOD, EPERM, 3, "The permissions cannot be set"},
    {CSC_CALL_CHMOD, EACCES, 3, "Permission denied"},
    {CSC_CALL_CHMOD, EIO, -1, "Unknown error"},
    {CSC_CALL_UNLINK, EPERM, 3, "The file of an ended server cannot be removed"},
    {CSC_CALL_UNLINK, EACCES, 3, "The file of an ended server cannot be removed"},
    {CSC_CALL_UNLINK, EROFS, 3, "The file system can only be read"},
    {CSC_CALL_UNLINK, EIO, -1, "Unknown error"},

    {CSC_CALL_LISTEN, EADDRINUSE, 8, "Another socket is already listening on the same port"},
    {CSC_CALL_LISTEN, EIO, -1, "Unknown error"},

    {CSC_CALL_ACCEPT, EAGAIN, 22, "Temporary error"},
    {CSC_CALL_ACCEPT, EWOULDBLOCK, 22, "Temporary error"},
    {CSC_CALL_ACCEPT, EBADF, 10, "Invalid socket descriptor"},
    {CSC_CALL_ACCEPT, EOPNOTSUPP, 10, "Invalid socket descriptor"},
    {CSC_CALL_ACCEPT, ECONNABORTED, 7, "The remote host closed the connection"},
    {CSC_CALL_ACCEPT, EFAULT, 4, "Operation on non-socket"},
    {CSC_CALL_ACCEPT, ENOTSOCK, 4, "Operation on non-socket"},
    {CSC_CALL_ACCEPT, EPROTONOSUPPORT, 10, "Protocol type not supported"},
    {CSC_CALL_ACCEPT, EPROTO, 10, "Protocol type not supported"},
    {CSC_CALL_ACCEPT, EAFNOSUPPORT, 10, "Protocol type not supported"},
    {CSC_CALL_ACCEPT, EINVAL, 10, "Protocol type not supported"},
    {CSC_CALL_ACCEPT, EMFILE, 4, "Out of resources"},
    {CSC_CALL_ACCEPT, ENFILE, 4, "Out of resources"},
    {CSC_CALL_ACCEPT, ENOBUFS, 4, "Out of resources"},
    {CSC_CALL_ACCEPT, ENOMEM, 4, "Out of resources"},
    {CSC_CALL_ACCEPT, EACCES, 3, "Permission denied"},
    {CSC_CALL_ACCEPT, EPERM, 3, "Permission denied"},
    {CSC_CALL_ACCEPT, EINTR, -1, "Unknown error"},
    {CSC_CALL_ACCEPT, ENETDOWN, -1, "Unknown error"},
    {CSC_CALL_ACCEPT, EHOSTUNREACH, -1, "Unknown error"},
    {CSC_CALL_ACCEPT, ETIMEDOUT, -1, "Unknown error"},
    {CSC_CALL_ACCEPT, ENOSYS, -1, "Unknown error"},

    {CSC_CALL_ADOPT, EBADF, 10, "Invalid socket descriptor"},
    {CSC_CALL_ADOPT, ENOTSOCK, 10, "The descriptor is not a socket"},
    {CSC_CALL_ADOPT, EPROTOTYPE, 10, "The descriptor is not a stream socket"},
    {CSC_CALL_ADOPT, EAFNOSUPPORT, 10, "The descriptor is not an IPv4, IPv6 or UNIX socket"},
    {CSC_CALL_ADOPT, EPROTONOSUPPORT, 10, "The descriptor is not a TCP socket"},
    {CSC_CALL_ADOPT, EINVAL, 10, "The descriptor is not a listening socket"},
    {CSC_CALL_ADOPT, ENOTCONN, 10, "The descriptor is not a connected socket"},
    {CSC_CALL_ADOPT, EALREADY, 10, "The descriptor already belongs to a server"},
    {CSC_CALL_ADOPT, EPERM, 10, "Unable to initialize non-blocking socket"},
    {CSC_CALL_ADOPT, EIO, -1, "Unknown error"},

    {CSC_CALL_CONNECT, ECONNREFUSED, 0, "Connection refused"},
    {CSC_CALL_CONNECT, ECONNRESET, 0, "Connection refused"},
    {CSC_CALL_CONNECT, ETIMEDOUT, 5, "Connection timed out"},
    {CSC_CALL_CONNECT, EHOSTUNREACH, 7, "Host unreachable"},
    {CSC_CALL_CONNECT, ENETUNREACH, 7, "Network unreachable"},
    {CSC_CALL_CONNECT, EADDRINUSE, 8, "The bound address is already in use"},
    {CSC_CALL_CONNECT, EADDRNOTAVAIL, 9, "The address is not available"},
    {CSC_CALL_CONNECT, EACCES, 3, "Permission denied"},
    {CSC_CALL_CONNECT, EPERM, 3, "Permission denied"},
    {CSC_CALL_CONNECT, EAFNOSUPPORT, 10, "Unsupported socket operation"},
    {CSC_CALL_CONNECT, EINVAL, 10, "Unsupported socket operation"},
    {CSC_CALL_CONNECT, ENOENT, 2, "There is no server at the path"},
    {CSC_CALL_CONNECT, ENOTDIR, 2, "There is no server at the path"},
    {CSC_CALL_CONNECT, ELOOP, 2, "The path has too many symbolic links"},
    {CSC_CALL_CONNECT, EPROTOTYPE, 10, "The path is not that of a stream socket"},
    {CSC_CALL_CONNECT, EIO, -1, "Unknown error"},

    {CSC_CALL_READ, ECONNRESET, 1, "The remote host closed the connection"},
    {CSC_CALL_READ, ETIMEDOUT, 5, NULL},
    {CSC_CALL_READ, ENOBUFS, 4, "Out of resources"},
    {CSC_CALL_READ, ENOMEM, 4, "Out of resources"},
    {CSC_CALL_READ, EIO, 7, NULL},
    {CSC_CALL_READ, EHOSTUNREACH, 7, NULL},

    {CSC_CALL_WRITE, EPIPE, 1, "The remote host closed the connection"},
    {CSC_CALL_WRITE, ECONNRESET, 1, "The remote host closed the connection"},
    {CSC_CALL_WRITE, ETIMEDOUT, 5, NULL},
    {CSC_CALL_WRITE, ENOBUFS, 4, "Out of resources"},
    {CSC_CALL_WRITE, ENOMEM, 4, "Out of resources"},
    {CSC_CALL_WRITE, EIO, 7, NULL},

    {CSC_CALL_WATCH, EMFILE, 4, "Out of resources"},
    {CSC_CALL_WATCH, ENFILE, 4, "Out of resources"},
    {CSC_CALL_WATCH, ENOMEM, 4, "Out of resources"},
    {CSC_CALL_WATCH, ENOSPC, 4, "Out of resources"},
    {CSC_CALL_WATCH, EIO, -1, "Unknown error"},
};

static void every_errno_has_its_number_and_text(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text = NULL;
        const char *expected = rows[i].text ? rows[i].text : strerrordesc_np(rows[i].errnum);
        csc_error error = csc_error_from_errno(rows[i].call, rows[i].errnum, &text);
        if (error != rows[i].error || strcmp(text, expected) != 0) {
            fail_msg("call %d, %s: %d \"%s\"", rows[i].call, strerrorname_np(rows[i].errnum),
                     (int)error, text);
        }
    }
}

// Whichever call it was: a filter or a security module may forbid any.
static void permissions_and_resources_are_the_same_for_every_call(void **state) {
    (void)state;
    static const int resources[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    static const csc_call calls[] = {CSC_CALL_SOCKET, CSC_CALL_BIND,    CSC_CALL_LISTEN,
                                     CSC_CALL_ACCEPT, CSC_CALL_CONNECT, CSC_CALL_WATCH};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const char *text = NULL;
        assert_int_equal(csc_error_from_errno(calls[i], EPERM, &text), CSC_ERROR_SOCKET_ACCESS);
        assert_string_equal(text, "Permission denied");
        assert_int_equal(csc_error_from_errno(calls[i], EACCES, NULL), CSC_ERROR_SOCKET_ACCESS);
        for (size_t j = 0; j < sizeof resources / sizeof resources[0]; j++) {
            assert_int_equal(csc_error_from_errno(calls[i], resources[j], &text),
                             CSC_ERROR_SOCKET_RESOURCE);
            assert_string_equal(text, "Out of resources");
        }
    }
}

static void the_text_is_optional(void **state) {
    (void)state;
    assert_int_equal(csc_error_from_errno(CSC_CALL_BIND, EADDRINUSE, NULL),
                     CSC_ERROR_ADDRESS_IN_USE);
    assert_int_equal(csc_error_from_errno(CSC_CALL_BIND, EIO, NULL), CSC_ERROR_UNKNOWN);
}

static void an_errno_that_does_not_exist_is_unknown(void **state) {
    (void)state;
    const char *text = NULL;
    assert_int_equal(csc_error_from_errno(CSC_CALL_READ, 100000, &text), CSC_ERROR_NETWORK);
    assert_string_equal(text, "Unknown error");
    assert_int_equal(csc_error_from_errno(CSC_CALL_ACCEPT, 0, &text), CSC_ERROR_UNKNOWN);
    assert_string_equal(text, "Unknown error");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_errno_has_its_number_and_text),
        cmocka_unit_test(permissions_and_resources_are_the_same_for_every_call),
        cmocka_unit_test(the_text_is_optional),
        cmocka_unit_test(an_errno_that_does_not_exist_is_unknown),
    };
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
