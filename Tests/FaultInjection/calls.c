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
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>

struct addrinfo;
struct epoll_event;
struct iovec;
struct msghdr;
struct pollfd;
struct sockaddr;
struct stat;

typedef unsigned int socket_length; // socklen_t
typedef unsigned long poll_count;   // nfds_t

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

// For calls with a parameter `size` that says how much to move.
#define INTERPOSE_TRANSFER(call, name, parameters, arguments)                                      \
    ssize_t name parameters;                                                                       \
    ssize_t name parameters {                                                                      \
        REAL(ssize_t, name, parameters)                                                            \
        return fault__fails_or_shortens(call, &size) || !real.object ? -1                          \
                                                                     : real.function arguments;    \
    }

INTERPOSE(int, FAULT_ACCEPT, accept, (int fd, struct sockaddr *address, socket_length *length),
          (fd, address, length))
INTERPOSE(int, FAULT_ACCEPT4, accept4,
          (int fd, struct sockaddr *address, socket_length *length, int flags),
          (fd, address, length, flags))
INTERPOSE(int, FAULT_BIND, bind, (int fd, const struct sockaddr *address, socket_length length),
          (fd, address, length))
INTERPOSE(int, FAULT_CONNECT, connect,
          (int fd, const struct sockaddr *address, socket_length length), (fd, address, length))
INTERPOSE(int, FAULT_EPOLL_CREATE1, epoll_create1, (int flags), (flags))
INTERPOSE(int, FAULT_EPOLL_CTL, epoll_ctl,
          (int epoll, int operation, int fd, struct epoll_event *event),
          (epoll, operation, fd, event))
INTERPOSE(int, FAULT_EPOLL_WAIT, epoll_wait,
          (int epoll, struct epoll_event *events, int most, int msec), (epoll, events, most, msec))
INTERPOSE(int, FAULT_EVENTFD, eventfd, (unsigned int count, int flags), (count, flags))
INTERPOSE(int, FAULT_FSTAT, fstat, (int fd, struct stat *status), (fd, status))
INTERPOSE(int, FAULT_GETPEERNAME, getpeername,
          (int fd, struct sockaddr *address, socket_length *length), (fd, address, length))
INTERPOSE(int, FAULT_GETSOCKNAME, getsockname,
          (int fd, struct sockaddr *address, socket_length *length), (fd, address, length))
INTERPOSE(int, FAULT_LISTEN, listen, (int fd, int backlog), (fd, backlog))
INTERPOSE(int, FAULT_POLL, poll, (struct pollfd * entries, poll_count count, int msec),
          (entries, count, msec))
INTERPOSE(int, FAULT_SETSOCKOPT, setsockopt,
          (int fd, int level, int option, const void *value, socket_length length),
          (fd, level, option, value, length))
INTERPOSE(int, FAULT_SHUTDOWN, shutdown, (int fd, int how), (fd, how))
INTERPOSE(int, FAULT_SOCKET, socket, (int domain, int type, int protocol), (domain, type, protocol))

INTERPOSE_TRANSFER(FAULT_READ, read, (int fd, void *buffer, size_t size), (fd, buffer, size))
INTERPOSE_TRANSFER(FAULT_RECV, recv, (int fd, void *buffer, size_t size, int flags),
                   (fd, buffer, size, flags))
INTERPOSE_TRANSFER(FAULT_SEND, send, (int fd, const void *buffer, size_t size, int flags),
                   (fd, buffer, size, flags))
INTERPOSE_TRANSFER(FAULT_WRITE, write, (int fd, const void *buffer, size_t size),
                   (fd, buffer, size))

INTERPOSE(ssize_t, FAULT_READV, readv, (int fd, const struct iovec *parts, int count),
          (fd, parts, count))
INTERPOSE(ssize_t, FAULT_RECVMSG, recvmsg, (int fd, struct msghdr *message, int flags),
          (fd, message, flags))
INTERPOSE(ssize_t, FAULT_SENDMSG, sendmsg, (int fd, const struct msghdr *message, int flags),
          (fd, message, flags))
INTERPOSE(ssize_t, FAULT_WRITEV, writev, (int fd, const struct iovec *parts, int count),
          (fd, parts, count))

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

int close(int fd);
int close(int fd) {
    REAL(int, close, (int fd))
    if (!real.object) {
        return -1;
    }
    fault__forget_timer(fd);
    int result = real.function(fd);
    if (result != 0 && errno == EBADF) {
        fault__count_bad_close();
    }
    return fault__fails(FAULT_CLOSE) ? -1 : result;
}

// The third argument is an int, a pointer, or missing; all arrive in the same register.
int fcntl(int fd, int command, ...);
int fcntl(int fd, int command, ...) {
    REAL(int, fcntl, (int fd, int command, ...))
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fault__fails(FAULT_FCNTL) || !real.object ? -1 : real.function(fd, command, argument);
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
