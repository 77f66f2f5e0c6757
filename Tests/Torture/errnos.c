// SPDX-License-Identifier: Apache-2.0

// The errnos of each call, as its manual page documents them; for accept also what it passes on
// from the network, and what a security module or a filter makes it return.

#include "torture.h"

#include <errno.h>

static const int of_accept[] = {
    EAGAIN,   EINTR,           ECONNABORTED,    EPROTO,       ECONNRESET, ETIMEDOUT,
    ENETDOWN, ENETUNREACH,     EHOSTDOWN,       EHOSTUNREACH, ENONET,     ENOPROTOOPT,
    EPIPE,    EOPNOTSUPP,      EMFILE,          ENFILE,       ENOBUFS,    ENOMEM,
    ENOSR,    ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM,        EACCES,     ENOSYS,
    EBADF,    ENOTSOCK,        EINVAL,          EFAULT,       0};
static const int of_bind[] = {EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EBADF,
                              EFAULT, EINVAL,     ENOMEM,        ENOTSOCK,     0};
static const int of_chmod[] = {EACCES, EIO, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EPERM, EROFS, 0};
static const int of_connect[] = {EACCES,     EAGAIN,    EBADF, ECONNREFUSED, EINPROGRESS, EINTR,
                                 EPROTOTYPE, ETIMEDOUT, 0};
static const int of_lstat[] = {EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EOVERFLOW, 0};
static const int of_unlink[] = {EACCES, EBUSY,   EIO,   EISDIR, ENOENT,
                                ENOMEM, ENOTDIR, EPERM, EROFS,  0};
static const int of_close[] = {EBADF, EINTR, EIO, ENOSPC, EDQUOT, 0};
static const int of_epoll_create[] = {EINVAL, EMFILE, ENFILE, ENOMEM, 0};
static const int of_epoll_ctl[] = {EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM, 0};
static const int of_epoll_wait[] = {EBADF, EFAULT, EINTR, EINVAL, 0};
static const int of_eventfd[] = {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, 0};
static const int of_fcntl[] = {EACCES, EAGAIN, EBADF, EINVAL, EMFILE, EPERM, 0};
static const int of_fstat[] = {EACCES, EBADF, EFAULT, ENOMEM, EOVERFLOW, 0};
static const int of_getrandom[] = {EAGAIN, EFAULT, ENOSYS, 0};
static const int of_getsockname[] = {EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK, 0};
static const int of_socket_option[] = {EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, 0};
static const int of_listen[] = {EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP, 0};
static const int of_pipe2[] = {EFAULT, EINVAL, EMFILE, ENFILE, 0};
static const int of_poll[] = {EFAULT, EINTR, EINVAL, ENOMEM, 0};
static const int of_read[] = {EAGAIN, EBADF, ECANCELED, EFAULT, EINTR, EINVAL, EIO, 0};
static const int of_recv[] = {EAGAIN, EBADF,  ECONNREFUSED, ECONNRESET, EFAULT,    EINTR,
                              EINVAL, ENOMEM, ENOTCONN,     ENOTSOCK,   ETIMEDOUT, 0};
static const int of_socket[] = {EACCES,  EAFNOSUPPORT, EINVAL,          EMFILE, ENFILE,
                                ENOBUFS, ENOMEM,       EPROTONOSUPPORT, 0};
static const int of_timerfd_create[] = {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EPERM, 0};
static const int of_timerfd_settime[] = {EBADF, ECANCELED, EFAULT, EINVAL, 0};
static const int of_write[] = {EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, 0};

const int *errnos_of(fault_call call) {
    static const int none[] = {0};
    static const int *const lists[FAULT_CALLS] = {
        [FAULT_ACCEPT4] = of_accept,
        [FAULT_BIND] = of_bind,
        [FAULT_CHMOD] = of_chmod,
        [FAULT_CLOSE] = of_close,
        [FAULT_CONNECT] = of_connect,
        [FAULT_EPOLL_CREATE] = of_epoll_create,
        [FAULT_EPOLL_CREATE1] = of_epoll_create,
        [FAULT_EPOLL_CTL] = of_epoll_ctl,
        [FAULT_EPOLL_WAIT] = of_epoll_wait,
        [FAULT_EVENTFD] = of_eventfd,
        [FAULT_FCNTL] = of_fcntl,
        [FAULT_FSTAT] = of_fstat,
        [FAULT_GETRANDOM] = of_getrandom,
        [FAULT_GETSOCKNAME] = of_getsockname,
        [FAULT_GETSOCKOPT] = of_socket_option,
        [FAULT_LISTEN] = of_listen,
        [FAULT_LSTAT] = of_lstat,
        [FAULT_PIPE2] = of_pipe2,
        [FAULT_POLL] = of_poll,
        [FAULT_READ] = of_read,
        [FAULT_RECV] = of_recv,
        [FAULT_SETSOCKOPT] = of_socket_option,
        [FAULT_SOCKET] = of_socket,
        [FAULT_SOCKETPAIR] = of_pipe2,
        [FAULT_TIMERFD_CREATE] = of_timerfd_create,
        [FAULT_TIMERFD_SETTIME] = of_timerfd_settime,
        [FAULT_UNLINK] = of_unlink,
        [FAULT_WRITE] = of_write,
    };
    return lists[call] ? lists[call] : none;
}
