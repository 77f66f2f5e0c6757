// SPDX-License-Identifier: Apache-2.0

// The floor: epoll and accept4 until EAGAIN, and as little else as the protocol allows. With
// REGISTERS_AT_ONCE drain and storm also make each connection ready to read, as a server that waits
// for a request must. With CLOSES_IN_ORDER storm closes a connection once its client has ended, so
// that nothing that client may still send resets the connection and destroys the greeting.

#include "protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static protocol_load load;
static int epoll;
static char buffer[65536];

static void watch(int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void take(int descriptor, const struct sockaddr_in *peer) {
    if (load == PROTOCOL_ECHO || REGISTERS_AT_ONCE) {
        watch(descriptor);
    }
    if (load == PROTOCOL_DRAIN) {
        protocol_drained(peer);
    } else if (load == PROTOCOL_STORM) {
        if (write(descriptor, PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH) < 0) {
            perror("write");
        }
        if (CLOSES_IN_ORDER) {
            shutdown(descriptor, SHUT_WR);
            watch(descriptor);
        } else {
            close(descriptor);
        }
    }
}

static void accept_all(int listener) {
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        int descriptor =
            accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            take(descriptor, &peer);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != ECONNABORTED) {
            perror("accept4");
            exit(1);
        }
    }
}

static void echo(int descriptor) {
    ssize_t count = read(descriptor, buffer, sizeof buffer);
    if ((count < 0 && errno == EAGAIN) || (CLOSES_IN_ORDER && count > 0)) {
        return;
    }
    for (ssize_t sent = 0; sent < count;) {
        ssize_t more = send(descriptor, buffer + sent, (size_t)(count - sent), MSG_NOSIGNAL);
        if (more >= 0) {
            sent += more;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {.fd = descriptor, .events = POLLOUT};
            poll(&writable, 1, -1);
        } else {
            count = -1;
        }
    }
    if (count <= 0) {
        close(descriptor);
    }
}

int main(int argc, char *argv[]) {
    load = protocol_parse(argc, argv);
    int listener = protocol_listen();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    protocol_start(load, listener);
    watch(listener);
    watch(STDIN_FILENO);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == listener) {
                accept_all(listener);
            } else if (descriptor == STDIN_FILENO) {
                protocol_standard_input_is_readable();
            } else {
                echo(descriptor);
            }
        }
    }
}
