// SPDX-License-Identifier: Apache-2.0

// relay: both ends of connections through a relay. This program listens for the relay's own
// connections and prints that port, reads the port of the relay, and connects to it. Then bytes go
// through each connection, one way or both, as many as the relay takes. Every byte is compared.
//
// Of the last --stalled connections the far end does not read, so the relay has to leave what comes
// from the near one to the kernel: how much that was, is reported.

#include "connecting.h"
#include "failure.h"
#include "modes.h"
#include "window.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { PIECE = 256 * 1024, PERIOD = 65521, WAIT_SECONDS = 5 };

// What the bytes of a stream are: the same again after a period that is no power of two.
static unsigned char pattern[PERIOD + PIECE];
static unsigned char received[PIECE];

typedef struct end {
    int descriptor;
    uint64_t sent;
    uint64_t got;
    int sends_from; // where in the pattern its stream begins
    int gets_from;
    bool sends;
    bool reads;
    bool counts; // is no part of a stalled connection
} end;

static int listen_for_relay(uint16_t *port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
        listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        fail_errno("cannot listen for the relay");
    }
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    *port = ntohs(address.sin_port);
    return listener;
}

static uint16_t read_port(void) {
    int port;
    if (scanf("%d", &port) != 1 || port < 1 || port > 65535) {
        fail("the relay's port did not come on standard input");
    }
    return (uint16_t)port;
}

static void begin(end *self, int epoll) {
    int on = 1;
    setsockopt(self->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(self->descriptor, F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
        fail_errno("cannot make a connection non-blocking");
    }
    struct epoll_event event = {
        .events = (self->sends ? EPOLLOUT : 0U) | (self->reads ? EPOLLIN : 0U), .data.ptr = self};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, self->descriptor, &event) != 0) {
        fail_errno("cannot watch a connection");
    }
}

// One connection after the other, so that the two ends of one are known.
static end *open_all(const options *options, int listener, int epoll) {
    size_t count = (size_t)options->connections;
    end *ends = calloc(count * 2, sizeof *ends);
    struct options one = *options;
    one.connections = 1;
    for (size_t i = 0; ends && i < count; i++) {
        bool stalled = i + (size_t)options->stalled >= count;
        int *connected = connecting_all(&one);
        ends[2 * i] = (end){.descriptor = *connected,
                            .gets_from = 7777,
                            .sends = true,
                            .reads = true,
                            .counts = !stalled};
        free(connected);
        int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (accepted < 0) {
            fail_errno("the relay made no connection for connection %zu", i);
        }
        ends[2 * i + 1] = (end){.descriptor = accepted,
                                .sends_from = 7777,
                                .sends = !options->one_way && !stalled,
                                .reads = !stalled,
                                .counts = !stalled};
    }
    for (size_t i = 0; ends && i < 2 * count; i++) {
        begin(&ends[i], epoll);
    }
    return ends;
}

static void send_some(end *self) {
    uint64_t offset = (self->sent + (uint64_t)self->sends_from) % PERIOD;
    ssize_t count = send(self->descriptor, pattern + offset, PIECE, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
        fail_errno("a connection broke after %" PRIu64 " bytes sent", self->sent);
    }
    self->sent += count > 0 ? (uint64_t)count : 0;
}

// Returns how many bytes came.
static size_t receive_some(end *self) {
    ssize_t count = recv(self->descriptor, received, sizeof received, 0);
    if (count < 0 && errno == EAGAIN) {
        return 0;
    }
    if (count <= 0) {
        fail("a connection ended after %" PRIu64 " bytes", self->got);
    }
    uint64_t offset = (self->got + (uint64_t)self->gets_from) % PERIOD;
    if (memcmp(received, pattern + offset, (size_t)count) != 0) {
        fail("a connection brought something that was not sent, after %" PRIu64 " bytes",
             self->got);
    }
    self->got += (uint64_t)count;
    return (size_t)count;
}

static uint64_t stalled_bytes(const options *options, const end *ends) {
    uint64_t sum = 0;
    for (int i = 0; i < 2 * options->connections; i++) {
        sum += ends[i].counts ? 0 : ends[i].sent;
    }
    return sum;
}

// Returns how many bytes came while they counted.
static uint64_t pass_bytes(const options *options, int epoll, window *window) {
    struct epoll_event events[64];
    uint64_t bytes = 0;
    uint64_t last = now();
    window_begin(window, options);
    for (uint64_t time = last; !window_is_over(window, time); time = now()) {
        static bool said;
        if (window->open && !said) {
            said = true;
            puts("opened"); // now the relay's CPU time counts
            fflush(stdout);
        }
        int count = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < count; i++) {
            end *end = events[i].data.ptr;
            if ((events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
                size_t came = receive_some(end);
                bytes += window->open && end->counts ? came : 0;
                last = came > 0 ? time : last;
            }
            if ((events[i].events & EPOLLOUT) != 0) {
                send_some(end);
            }
        }
        if (time - last > (uint64_t)WAIT_SECONDS * 1000000000) {
            fail("no byte came for %d s", WAIT_SECONDS);
        }
    }
    window_close(window);
    return bytes;
}

void relay(const options *options) {
    for (size_t i = 0; i < sizeof pattern; i++) {
        size_t j = i % PERIOD;
        pattern[i] = (unsigned char)(j * 31 + j / 251);
    }
    uint16_t port;
    int listener = listen_for_relay(&port);
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
    struct options to_relay = *options;
    to_relay.port = read_port();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    end *ends = open_all(&to_relay, listener, epoll);
    if (epoll < 0 || !ends) {
        fail_errno("cannot prepare %d connections", options->connections);
    }
    window window;
    uint64_t bytes = pass_bytes(options, epoll, &window);
    printf("{\"mode\":\"relay\",\"bytes\":%" PRIu64 ",\"seconds\":%.9f,\"stalled_bytes\":%" PRIu64
           "}\n",
           bytes, (double)window.elapsed / 1e9, stalled_bytes(options, ends));
    fflush(stdout);
    free(ends);
}
