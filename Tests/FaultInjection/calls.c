// SPDX-License-Identifier: Apache-2.0

// The interposing calls. Each has the real one's signature, asks its thread's plans, and calls the
// real one.
//
// The headers that declare the socket calls are left out on purpose: glibc declares them with
// transparent unions, which a plain definition would contradict.

#undef _FORTIFY_SOURCE // its inline functions would take the names that are defined here

#include "plans.h"
#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>

struct addrinfo;
struct epoll_event;
struct iovec;
struct msghdr;
struct sockaddr;
struct stat;

typedef unsigned int socket_length; // socklen_t

enum { AF_INET6 = 10, REMOVE = 2 }; // EPOLL_CTL_DEL

// A sanitizer's own version of a call comes before the C library's, as it would without the shim.
void *fault__find_real(const char *name) {
    char interceptor[64] = "__interceptor_";
    strncat(interceptor, name, sizeof interceptor - sizeof "__interceptor_");
    fault__begin_own_work();
    void *function = dlsym(RTLD_DEFAULT, interceptor);
    function = function ? function : dlsym(RTLD_NEXT, name);
    fault__end_own_work();
    return function;
}

#define INTERPOSE(result, call, name, parameters, arguments)                                       \
    result name parameters;                                                                        \
    result name parameters {                                                                       \
        REAL(result, name, parameters)                                                             \
        return fault__fails(call) || !real.object ? -1 : real.function arguments;                  \
    }

// For calls that return a new descriptor.
#define INTERPOSE_OPENING(call, name, parameters, arguments)                                       \
    int name parameters;                                                                           \
    int name parameters {                                                                          \
        REAL(int, name, parameters)                                                                \
        return fault__fails(call) || !real.object ? -1 : fault__opened(real.function arguments);   \
    }

// For calls that fill an array with two new descriptors.
#define INTERPOSE_OPENING_TWO(call, name, parameters, arguments, both)                             \
    int name parameters;                                                                           \
    int name parameters {                                                                          \
        REAL(int, name, parameters)                                                                \
        if (fault__fails(call) || !real.object || real.function arguments != 0) {                  \
            return -1;                                                                             \
        }                                                                                          \
        fault__opened((both)[0]);                                                                  \
        fault__opened((both)[1]);                                                                  \
        return 0;                                                                                  \
    }

// For calls with a parameter `size` that says how much to move.
#define INTERPOSE_TRANSFER(call, name, parameters, arguments)                                      \
    ssize_t name parameters;                                                                       \
    ssize_t name parameters {                                                                      \
        REAL(ssize_t, name, parameters)                                                            \
        return fault__fails_or_shortens(call, &size) || !real.object ? -1                          \
                                                                     : real.function arguments;    \
    }

INTERPOSE_OPENING(FAULT_ACCEPT, accept, (int fd, struct sockaddr *address, socket_length *length),
                  (fd, address, length))
INTERPOSE_OPENING(FAULT_ACCEPT4, accept4,
                  (int fd, struct sockaddr *address, socket_length *length, int flags),
                  (fd, address, length, flags))
INTERPOSE(int, FAULT_BIND, bind, (int fd, const struct sockaddr *address, socket_length length),
          (fd, address, length))
INTERPOSE(int, FAULT_CHMOD, chmod, (const char *path, unsigned int mode), (path, mode))
INTERPOSE(int, FAULT_CONNECT, connect,
          (int fd, const struct sockaddr *address, socket_length length), (fd, address, length))
INTERPOSE_OPENING(FAULT_EPOLL_CREATE, epoll_create, (int size), (size))
INTERPOSE_OPENING(FAULT_EPOLL_CREATE1, epoll_create1, (int flags), (flags))
INTERPOSE_OPENING(FAULT_EVENTFD, eventfd, (unsigned int count, int flags), (count, flags))
INTERPOSE(int, FAULT_FSTAT, fstat, (int fd, struct stat *status), (fd, status))
INTERPOSE(int, FAULT_GETPEERNAME, getpeername,
          (int fd, struct sockaddr *address, socket_length *length), (fd, address, length))
INTERPOSE(int, FAULT_GETSOCKNAME, getsockname,
          (int fd, struct sockaddr *address, socket_length *length), (fd, address, length))
INTERPOSE(int, FAULT_LISTEN, listen, (int fd, int backlog), (fd, backlog))
INTERPOSE(int, FAULT_LSTAT, lstat, (const char *path, struct stat *status), (path, status))
INTERPOSE(int, FAULT_SETSOCKOPT, setsockopt,
          (int fd, int level, int option, const void *value, socket_length length),
          (fd, level, option, value, length))
INTERPOSE(int, FAULT_SHUTDOWN, shutdown, (int fd, int how), (fd, how))
INTERPOSE(int, FAULT_UNLINK, unlink, (const char *path), (path))

INTERPOSE_OPENING_TWO(FAULT_PIPE, pipe, (int both[2]), (both), both)
INTERPOSE_OPENING_TWO(FAULT_PIPE2, pipe2, (int both[2], int flags), (both, flags), both)
INTERPOSE_OPENING_TWO(FAULT_SOCKETPAIR, socketpair,
                      (int domain, int type, int protocol, int both[2]),
                      (domain, type, protocol, both), both)

INTERPOSE_TRANSFER(FAULT_READ, read, (int fd, void *buffer, size_t size), (fd, buffer, size))
INTERPOSE_TRANSFER(FAULT_RECV, recv, (int fd, void *buffer, size_t size, int flags),
                   (fd, buffer, size, flags))
INTERPOSE_TRANSFER(FAULT_SEND, send, (int fd, const void *buffer, size_t size, int flags),
                   (fd, buffer, size, flags))
INTERPOSE_TRANSFER(FAULT_SPLICE, splice,
                   (int from, long *from_offset, int to, long *to_offset, size_t size,
                    unsigned int flags),
                   (from, from_offset, to, to_offset, size, flags))
INTERPOSE_TRANSFER(FAULT_WRITE, write, (int fd, const void *buffer, size_t size),
                   (fd, buffer, size))

INTERPOSE(ssize_t, FAULT_READV, readv, (int fd, const struct iovec *parts, int count),
          (fd, parts, count))
INTERPOSE(ssize_t, FAULT_SENDMSG, sendmsg, (int fd, const struct msghdr *message, int flags),
          (fd, message, flags))
INTERPOSE(ssize_t, FAULT_WRITEV, writev, (int fd, const struct iovec *parts, int count),
          (fd, parts, count))

ssize_t recvmsg(int fd, struct msghdr *message, int flags);
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    REAL(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))
    if (fault__fails(FAULT_RECVMSG) || !real.object) {
        return -1;
    }
    ssize_t result = real.function(fd, message, flags);
    if (result >= 0) {
        fault__received(message);
    }
    return result;
}

ssize_t getrandom(void *buffer, size_t size, unsigned int flags);
ssize_t getrandom(void *buffer, size_t size, unsigned int flags) {
    REAL(ssize_t, getrandom, (void *buffer, size_t size, unsigned int flags))
    if (fault__fails(FAULT_GETRANDOM) || !real.object) {
        return -1;
    }
    uint64_t number;
    if (!fault__answers_random(&number)) {
        return real.function(buffer, size, flags);
    }
    for (size_t at = 0; at < size; at++) {
        ((uint8_t *)buffer)[at] = ((const uint8_t *)&number)[at % sizeof number];
    }
    return (ssize_t)size;
}

int getsockopt(int fd, int level, int option, void *value, socket_length *length);
int getsockopt(int fd, int level, int option, void *value, socket_length *length) {
    REAL(int, getsockopt, (int fd, int level, int option, void *value, socket_length *length))
    if (fault__fails(FAULT_GETSOCKOPT) || !real.object) {
        return -1;
    }
    int answer;
    int result = real.function(fd, level, option, value, length);
    if (fault__answers_option(&answer) && result == 0) {
        memcpy(value, &answer, sizeof answer);
    }
    return result;
}

static _Thread_local bool ipv6_is_hidden;

void fault_hide_ipv6(bool hide) {
    ipv6_is_hidden = hide;
}

int socket(int domain, int type, int protocol);
int socket(int domain, int type, int protocol) {
    REAL(int, socket, (int domain, int type, int protocol))
    if (fault__fails(FAULT_SOCKET) || !real.object) {
        return -1;
    }
    if (domain == AF_INET6 && ipv6_is_hidden) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return fault__opened(real.function(domain, type, protocol));
}

int close(int fd);
int close(int fd) {
    REAL(int, close, (int fd))
    if (!real.object) {
        return -1;
    }
    fault__forget_timer(fd);
    int result = real.function(fd);
    fault__closes(fd, result == 0 || errno != EBADF);
    return fault__fails(FAULT_CLOSE) ? -1 : result;
}

// ENOENT and EBADF say that a descriptor to be removed is not there: then it must not be.
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
    REAL(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event))
    bool fails = fault__fails(FAULT_EPOLL_CTL) || !real.object;
    int errnum = errno;
    int result = -1;
    if (real.object && (!fails || operation == REMOVE)) {
        result = real.function(epoll, operation, fd, event);
    }
    errno = fails ? errnum : errno;
    return fails ? -1 : result;
}

// The third argument is an int, a pointer, or missing; all arrive in the same register.
int fcntl(int fd, int command, ...);
int fcntl(int fd, int command, ...) {
    REAL(int, fcntl, (int fd, int command, ...))
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fault__fails(FAULT_FCNTL) || !real.object) {
        return -1;
    }
    int result = real.function(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? fault__opened(result) : result;
}

// The same call for programs that are built with 64-bit file offsets.
int fcntl64(int fd, int command, ...);
int fcntl64(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(fd, command, argument);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **results);
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **results) {
    REAL(int, getaddrinfo,
         (const char *node, const char *service, const struct addrinfo *hints,
          struct addrinfo **results))
    int saved_errno = errno;
    if (fault__fails(FAULT_GETADDRINFO)) {
        int code = errno;
        errno = saved_errno;
        return code;
    }
    return real.object ? real.function(node, service, hints, results) : -1;
}
