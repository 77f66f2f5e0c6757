// SPDX-License-Identifier: Apache-2.0

#include "connecting.h"

#include "failure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

// How long one connection may take before it counts as lost: three times the kernel's first resend
// of a SYN.
enum { CONNECT_SECONDS = 3 };

static struct sockaddr_in loopback(int last_octet, uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(0x7f000000U | (uint32_t)last_octet),
        .sin_port = htons(port),
    };
}

static int make_socket(const options *options, int flags, uint64_t index) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (descriptor < 0) {
        fail_errno("cannot make the socket of connection %llu", (unsigned long long)index);
    }
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options->sources > 1) {
        // The port is chosen by connect, which knows the whole pair: each source address then has
        // all ports to itself.
        setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        struct sockaddr_in own = loopback(1 + (int)(index % (uint64_t)options->sources), 0);
        if (bind(descriptor, (struct sockaddr *)&own, sizeof own) != 0) {
            fail_errno("cannot bind to 127.0.0.%u", (unsigned)(ntohl(own.sin_addr.s_addr) & 0xff));
        }
    }
    return descriptor;
}

_Noreturn void connecting_fail(const options *options, uint64_t index) {
    switch (errno) {
    case ECONNREFUSED:
        fail("connection %llu was refused: nobody listens on 127.0.0.1:%u",
             (unsigned long long)index, (unsigned)options->port);
    case EADDRNOTAVAIL:
        fail("no port is left for connection %llu: more --sources give more",
             (unsigned long long)index);
    case EAGAIN:
    case EINPROGRESS:
    case ETIMEDOUT:
        fail("connection %llu got no answer in %d s: is the server's queue (its backlog, or "
             "net.core.somaxconn) shorter than what is to wait in it?",
             (unsigned long long)index, CONNECT_SECONDS);
    default:
        fail_errno("connection %llu", (unsigned long long)index);
    }
}

int connecting_begin(const options *options, uint64_t index) {
    int descriptor = make_socket(options, SOCK_NONBLOCK, index);
    struct sockaddr_in server = loopback(1, options->port);
    if (connect(descriptor, (struct sockaddr *)&server, sizeof server) != 0 &&
        errno != EINPROGRESS) {
        connecting_fail(options, index);
    }
    return descriptor;
}

int *connecting_all(const options *options) {
    int *descriptors = calloc((size_t)options->connections, sizeof *descriptors);
    if (!descriptors) {
        fail("no memory for %d connections", options->connections);
    }
    struct sockaddr_in server = loopback(1, options->port);
    struct timeval limit = {.tv_sec = CONNECT_SECONDS};
    for (int i = 0; i < options->connections; i++) {
        int descriptor = make_socket(options, 0, (uint64_t)i);
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(descriptor, (struct sockaddr *)&server, sizeof server) != 0) {
            connecting_fail(options, (uint64_t)i);
        }
        if (fcntl(descriptor, F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
            fail_errno("cannot make connection %d non-blocking", i);
        }
        descriptors[i] = descriptor;
    }
    return descriptors;
}
