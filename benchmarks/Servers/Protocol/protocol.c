// SPDX-License-Identifier: Apache-2.0

#include "protocol.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

long protocol_wanted;

static struct {
    long count;
    uint64_t sum;
    uint64_t wall, cpu; // at the start
} drain;

static uint64_t read_clock(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void end_with_errno(const char *what) {
    perror(what);
    exit(1);
}

protocol_load protocol_parse(int argc, char *argv[]) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (argc == 3 && strcmp(argv[1], "drain") == 0) {
        protocol_wanted = atol(argv[2]);
        if (protocol_wanted > 0) {
            return PROTOCOL_DRAIN;
        }
    } else if (argc == 2 && strcmp(argv[1], "storm") == 0) {
        return PROTOCOL_STORM;
    } else if (argc == 2 && strcmp(argv[1], "echo") == 0) {
        return PROTOCOL_ECHO;
    }
    fprintf(stderr, "usage: %s drain N | storm | echo\n", argv[0]);
    exit(64);
}

struct sockaddr_in protocol_address(void) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int protocol_listen(void) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = protocol_address();
    int on = 1;
    if (descriptor < 0 || setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(descriptor, PROTOCOL_BACKLOG) != 0) {
        end_with_errno("listen");
    }
    return descriptor;
}

void protocol_start(protocol_load load, int listening_socket) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(listening_socket, (struct sockaddr *)&address, &length) != 0) {
        end_with_errno("getsockname");
    }
    protocol_start_on_port(load, ntohs(address.sin_port));
}

void protocol_start_on_port(protocol_load load, uint16_t port) {
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
    if (load != PROTOCOL_DRAIN) {
        return;
    }
    char byte;
    do {
        if (read(STDIN_FILENO, &byte, 1) != 1) {
            exit(0);
        }
    } while (byte != '\n');
    drain.wall = read_clock(CLOCK_MONOTONIC);
    drain.cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void protocol_drained(const struct sockaddr_in *peer) {
    protocol_drained_from((uint8_t)ntohl(peer->sin_addr.s_addr), ntohs(peer->sin_port));
}

void protocol_drained_from(uint8_t last_octet, uint16_t port) {
    drain.sum += (uint64_t)last_octet * 65536 + port;
    if (++drain.count != protocol_wanted) {
        return;
    }
    uint64_t wall = read_clock(CLOCK_MONOTONIC) - drain.wall;
    uint64_t cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - drain.cpu;
    printf("drained %ld %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", drain.count, wall, cpu, drain.sum);
    fflush(stdout);
}

void protocol_standard_input_is_readable(void) {
    char ignored[256];
    ssize_t count = read(STDIN_FILENO, ignored, sizeof ignored);
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) {
        exit(0);
    }
}
