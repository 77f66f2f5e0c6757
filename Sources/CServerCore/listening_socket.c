// SPDX-License-Identifier: Apache-2.0

// Opening, checking and closing a listening socket.
//
// Every system call is made here and has its own error: evconnlistener_new_bind() would lose errno
// on its way out and turn SO_KEEPALIVE on, which accepted sockets inherit.
//
// A program can get at the descriptor of its server, and close it. epoll would then go on reporting
// the number for as long as anybody holds a duplicate of the socket, with no way to make it stop,
// and the number may come back for a socket of the same loop. So we watch, accept and ask through a
// duplicate of our own; the number that the program knows is only looked at (watchdog.c).

#include "listening_socket.h"
#include "other_listeners.h"
#include "private_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

const csc__listening_socket csc__no_listening_socket = {.descriptor = -1, .private_fd = -1};

static bool fail(csc__failure *failure, csc_call call, int errnum) {
    *failure = (csc__failure){.call = call, .errnum = errnum};
    return false;
}

static bool fail_to_set_flags(csc__failure *failure) {
    *failure = (csc__failure){CSC_CALL_ADOPT, EPERM, .system_errnum = errno};
    return false;
}

static bool read_option(int descriptor, int level, int option, int *value) {
    socklen_t length = sizeof *value;
    return getsockopt(descriptor, level, option, value, &length) == 0;
}

static bool set_option(int descriptor, int level, int option, int value) {
    return setsockopt(descriptor, level, option, &value, sizeof value) == 0;
}

// 0 where the kernel has none: it gives every socket another number.
static uint64_t cookie_of(int descriptor) {
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

// The identity that close is checked against.
static bool remember(csc__listening_socket *socket, int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        return false;
    }
    socket->device = status.st_dev;
    socket->inode = status.st_ino;
    socket->cookie = cookie_of(descriptor);
    return true;
}

// Reads back what the kernel knows: the identity and the bound address.
static bool identify(csc__listening_socket *socket, int descriptor) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (!remember(socket, descriptor) ||
        getsockname(descriptor, (struct sockaddr *)&name, &length) != 0) {
        return false;
    }
    socket->descriptor = descriptor;
    socket->private_fd = -1;
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &socket->address);
    csc__path_of((struct sockaddr *)&name, length, socket->path);

    static const uint8_t unspecified[16];
    int v6_only = 1;
    if (socket->address.family == CSC_FAMILY_IPV6 &&
        memcmp(socket->address.bytes, unspecified, sizeof unspecified) == 0 &&
        read_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only) && !v6_only) {
        socket->address.family = CSC_FAMILY_ANY;
    }
    return true;
}

typedef enum holder { OURS, STRANGER, NOT_KNOWN } holder;

static holder holder_of(const csc__listening_socket *listening, int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) == 0) {
        bool same = status.st_dev == listening->device && status.st_ino == listening->inode;
        return same ? OURS : STRANGER;
    }
    if (errno == EBADF) {
        return STRANGER;
    }
    // Without another criterion, a socket whose inode cannot be asked would never be closed.
    uint64_t cookie = cookie_of(descriptor);
    if (cookie == 0 || listening->cookie == 0) {
        return NOT_KNOWN;
    }
    return cookie == listening->cookie ? OURS : STRANGER;
}

// How sockets of one address share it.
typedef enum sharing {
    ALONE,
    FIRST, // fails where another process listens already, with SO_REUSEPORT or without
    ONE_MORE,
} sharing;

static bool bind_socket(int descriptor, const csc_address *address, const csc__opening *opening,
                        sharing sharing, csc__failure *failure) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(address, &name);

    if (name.ss_family == AF_INET6 &&
        !set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, address->family != CSC_FAMILY_ANY)) {
        return fail(failure, CSC_CALL_SOCKET, errno);
    }
    // Accepted sockets inherit this: an urgent byte arrives in line, as it does in Qt.
    if (!set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) ||
        !set_option(descriptor, SOL_SOCKET, SO_OOBINLINE, 1)) {
        return fail(failure, CSC_CALL_SOCKET, errno);
    }
    int errnum = opening->made ? opening->made(descriptor, opening->context) : 0;
    if (errnum == 0 && sharing == ONE_MORE &&
        !set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1)) {
        errnum = errno;
    }
    if (errnum != 0) {
        return fail(failure, CSC_CALL_SOCKET, errnum);
    }
    if (bind(descriptor, (struct sockaddr *)&name, length) != 0) {
        return fail(failure, CSC_CALL_BIND, errno);
    }
    // Once it is bound: with the option before, it would join those of another process.
    if (sharing == FIRST && !set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1)) {
        return fail(failure, CSC_CALL_SOCKET, errno);
    }
    return true;
}

// The program has seen the number, too: it may be another file's now.
void csc__listening_socket_abandon(csc__listening_socket *listening) {
    csc__listening_socket_remove_file(listening);
    bool is_known = listening->inode != 0;
    if (!is_known || holder_of(listening, listening->descriptor) == OURS) {
        close(listening->descriptor);
    }
}

bool csc__listening_socket_make(csc__listening_socket *listening, int family,
                                const csc__opening *opening, csc__failure *failure) {
    int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return fail(failure, CSC_CALL_SOCKET, errno);
    }
    *listening = csc__no_listening_socket;
    listening->descriptor = csc__above_standard(descriptor);
    if (opening->made && !remember(listening, listening->descriptor)) {
        listening->inode = 0;
    }
    return true;
}

static bool open_bound(csc__listening_socket *listening, const csc_address *address,
                       const csc__opening *opening, sharing sharing, csc__failure *failure) {
    int family = address->family == CSC_FAMILY_IPV4 ? AF_INET : AF_INET6;
    if (!csc__listening_socket_make(listening, family, opening, failure)) {
        return false;
    }
    if (!bind_socket(listening->descriptor, address, opening, sharing, failure)) {
        csc__listening_socket_abandon(listening);
        return false;
    }
    return true;
}

// Its queue is open as soon as it listens: the last that can fail but for a look at the others.
bool csc__listening_socket_listen(csc__listening_socket *listening, const csc__opening *opening,
                                  csc__failure *failure) {
    return (listen(listening->descriptor, opening->backlog) == 0 &&
            identify(listening, listening->descriptor)) ||
           fail(failure, CSC_CALL_LISTEN, errno);
}

typedef struct own_sockets {
    const csc__listening_socket *sockets;
    size_t count;
} own_sockets;

static bool is_own(unsigned long inode, const void *context) {
    const own_sockets *own = context;
    size_t index = 0;
    while (index < own->count && own->sockets[index].inode != inode) {
        index++;
    }
    return index < own->count;
}

static bool open_all(csc__listening_socket *sockets, size_t count, size_t *opened,
                     const csc_address *address, const csc__opening *opening,
                     csc__failure *failure) {
    csc_address wanted = *address;
    for (*opened = 0; *opened < count; ++*opened) {
        sharing sharing = count == 1 ? ALONE : *opened == 0 ? FIRST : ONE_MORE;
        if (!open_bound(&sockets[*opened], &wanted, opening, sharing, failure)) {
            return false;
        }
        if (sharing == FIRST && !identify(&sockets[0], sockets[0].descriptor)) {
            ++*opened;
            return fail(failure, CSC_CALL_LISTEN, errno);
        }
        wanted.port = sharing == FIRST ? sockets[0].address.port : wanted.port;
    }
    for (size_t index = 0; index < count; index++) {
        if (!csc__listening_socket_listen(&sockets[index], opening, failure)) {
            return false;
        }
    }
    // Since the first one was bound, another process of the same user may have joined.
    const own_sockets own = {sockets, count};
    if (count > 1 && csc__others_listen(&sockets[0].address, is_own, &own)) {
        return fail(failure, CSC_CALL_BIND, EADDRINUSE);
    }
    return true;
}

static bool open_address(csc__listening_socket *sockets, size_t count, const csc_address *address,
                         const csc__opening *opening, csc__failure *failure) {
    size_t opened;
    bool opens = open_all(sockets, count, &opened, address, opening, failure);
    while (!opens && opened > 0) {
        csc__listening_socket_abandon(&sockets[--opened]);
    }
    return opens;
}

bool csc__listening_sockets_open(csc__listening_socket *sockets, size_t count,
                                 const csc_address *address, const csc__opening *opening,
                                 csc__failure *failure) {
    struct sockaddr_storage name;
    csc_address wanted = *address;
    if (address->family == CSC_FAMILY_NONE || address->family == CSC_FAMILY_UNIX) {
        // Never 0.0.0.0: a bad literal must not open the server to every interface.
        return fail(failure, CSC_CALL_BIND, EADDRNOTAVAIL);
    }
    if (address->family == CSC_FAMILY_IPV6) {
        // A mapped address is its IPv4 address: a v6-only socket could not bind it.
        socklen_t length = csc_address_to_sockaddr(address, &name);
        csc_address_from_sockaddr((struct sockaddr *)&name, length, &wanted);
    }
    if (open_address(sockets, count, &wanted, opening, failure)) {
        return true;
    }
    bool no_ipv6 = failure->errnum == EAFNOSUPPORT &&
                   (failure->call == CSC_CALL_SOCKET || failure->call == CSC_CALL_BIND);
    if (wanted.family != CSC_FAMILY_ANY || !no_ipv6) {
        return false;
    }
    wanted.family = CSC_FAMILY_IPV4;
    return open_address(sockets, count, &wanted, opening, failure);
}

bool csc__listening_socket_inspect(csc__listening_socket *listening, int descriptor,
                                   csc__failure *failure) {
    int value = 0;
    if (fcntl(descriptor, F_GETFD) < 0) {
        return fail(failure, CSC_CALL_ADOPT, EBADF);
    }
    if (!read_option(descriptor, SOL_SOCKET, SO_TYPE, &value)) {
        return fail(failure, CSC_CALL_ADOPT, errno);
    }
    if (value != SOCK_STREAM) {
        return fail(failure, CSC_CALL_ADOPT, EPROTOTYPE);
    }
    if (!read_option(descriptor, SOL_SOCKET, SO_DOMAIN, &value)) {
        return fail(failure, CSC_CALL_ADOPT, errno);
    }
    if (value != AF_INET && value != AF_INET6 && value != AF_UNIX) {
        return fail(failure, CSC_CALL_ADOPT, EAFNOSUPPORT);
    }
    if (!read_option(descriptor, SOL_SOCKET, SO_PROTOCOL, &value)) {
        return fail(failure, CSC_CALL_ADOPT, errno);
    }
    if (value != 0 && value != IPPROTO_TCP && value != IPPROTO_MPTCP) {
        return fail(failure, CSC_CALL_ADOPT, EPROTONOSUPPORT);
    }
    if (!read_option(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value)) {
        return fail(failure, CSC_CALL_ADOPT, errno);
    }
    if (!value) {
        return fail(failure, CSC_CALL_ADOPT, EINVAL);
    }
    if (!identify(listening, descriptor)) {
        return fail(failure, CSC_CALL_ADOPT, errno);
    }
    return true;
}

bool csc__listening_socket_take(const csc__listening_socket *listening,
                                csc__descriptor_flags *before, csc__failure *failure) {
    before->status = fcntl(listening->descriptor, F_GETFL);
    before->descriptor = fcntl(listening->descriptor, F_GETFD);
    if (before->status < 0 || before->descriptor < 0 ||
        fcntl(listening->descriptor, F_SETFL, before->status | O_NONBLOCK) != 0) {
        return fail_to_set_flags(failure);
    }
    if (fcntl(listening->descriptor, F_SETFD, before->descriptor | FD_CLOEXEC) != 0) {
        fail_to_set_flags(failure);
        fcntl(listening->descriptor, F_SETFL, before->status);
        return false;
    }
    return true;
}

void csc__listening_socket_give_back(const csc__listening_socket *listening,
                                     const csc__descriptor_flags *before) {
    fcntl(listening->descriptor, F_SETFL, before->status);
    fcntl(listening->descriptor, F_SETFD, before->descriptor);
}

bool csc__listening_socket_duplicate(csc__listening_socket *listening, csc__failure *failure) {
    listening->private_fd = fcntl(listening->descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return listening->private_fd >= 0 || fail(failure, CSC_CALL_SOCKET, errno);
}

bool csc__listening_socket_was_taken(const csc__listening_socket *listening) {
    return holder_of(listening, listening->descriptor) == STRANGER ||
           holder_of(listening, listening->private_fd) == STRANGER;
}

// SO_ACCEPTCONN of a UNIX socket does not say that it was shut down.
static bool was_shut_down(const csc__listening_socket *listening) {
    struct pollfd entry = {.fd = listening->private_fd, .events = POLLRDHUP};
    return listening->address.family == CSC_FAMILY_UNIX && poll(&entry, 1, 0) > 0;
}

bool csc__listening_socket_listens(const csc__listening_socket *listening) {
    int value = 0;
    if (was_shut_down(listening)) {
        return false;
    }
    return read_option(listening->private_fd, SOL_SOCKET, SO_ACCEPTCONN, &value) && value;
}

bool csc__listening_socket_remove_file(csc__listening_socket *listening) {
    bool removed = csc__socket_file_remove(listening->file);
    listening->file = NULL;
    return removed;
}

void csc__listening_socket_release(csc__listening_socket *listening) {
    if (listening->private_fd >= 0 && holder_of(listening, listening->private_fd) == OURS) {
        close(listening->private_fd);
    }
    listening->private_fd = -1;
}

int csc__listening_socket_forget(csc__listening_socket *listening) {
    int descriptor = listening->descriptor;
    bool is_ours = descriptor >= 0 && holder_of(listening, descriptor) == OURS;
    listening->descriptor = -1;
    csc__socket_file_forget(listening->file);
    listening->file = NULL;
    return is_ours ? descriptor : -1;
}

void csc__listening_socket_close(csc__listening_socket *listening) {
    csc__listening_socket_remove_file(listening);
    csc__listening_socket_release(listening);
    int descriptor = csc__listening_socket_forget(listening);
    if (descriptor >= 0) {
        close(descriptor);
    }
    *listening = csc__no_listening_socket;
}

void csc__grow_descriptor_table(const csc__listening_socket *listening, int descriptors) {
    struct rlimit limit;
    if (descriptors <= 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    int highest = descriptors;
    if (limit.rlim_cur < (rlim_t)highest) {
        highest = (int)limit.rlim_cur;
    }
    // A duplicate with the highest number makes the kernel grow the table, and closing it does not
    // shrink it.
    int duplicate = fcntl(listening->private_fd, F_DUPFD_CLOEXEC, highest - 1);
    if (duplicate >= 0) {
        close(duplicate);
    }
}
