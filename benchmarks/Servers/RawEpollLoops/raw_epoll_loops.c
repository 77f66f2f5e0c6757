// SPDX-License-Identifier: Apache-2.0

// The floor for several event loops: threads, each with an epoll of its own, for echo and storm.
// There are two ways to spread connections:
//
//     ACCEPTS_FOR_ALL=0   each loop watches the listening socket and keeps what it accepts, one
//                         connection at a time, so that an idle loop has the next
//     ACCEPTS_FOR_ALL=1   the first loop accepts, and registers connections with all in turn; the
//                         kernel lets one thread do that to the epoll of another
//
// The first leaves a loop that hangs alone, but spreads by chance: of 64 connections that come in
// one go, one loop may get one. The second spreads evenly, and also to a loop that hangs.

#include "protocol.h"
#include "workload.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { BUFFER_SIZE = 65536 };

typedef struct loop {
    int epoll;
    int stalls; // a timer, or -1
    char buffer[BUFFER_SIZE];
} loop;

static workload work;
static bool greets; // and closes: storm
static int listener;
static loop *loops;

static void check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static void watch(const loop *self, int descriptor, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    check(epoll_ctl(self->epoll, EPOLL_CTL_ADD, descriptor, &event), "epoll_ctl");
}

static const loop *choose(const loop *self) {
    static unsigned count; // only the first loop gets here where it accepts for all
    return ACCEPTS_FOR_ALL ? &loops[count++ % (unsigned)work.loops] : self;
}

static void take(const loop *self) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    int descriptor =
        accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
        watch(choose(self), descriptor, greets ? EPOLLOUT : EPOLLIN);
    } else if (errno != EAGAIN && errno != ECONNABORTED) { // EAGAIN: another loop was first
        check(-1, "accept4");
    }
}

static void echo(loop *self, int descriptor) {
    ssize_t count = read(descriptor, self->buffer, BUFFER_SIZE);
    if (count < 0 && errno == EAGAIN) {
        return;
    }
    if (count > 0) {
        workload_burn(work.burn_rounds);
    }
    for (ssize_t sent = 0; sent < count;) {
        size_t rest = (size_t)(count - sent);
        ssize_t more = send(descriptor, self->buffer + sent, rest, MSG_NOSIGNAL);
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

static void greet(int descriptor) {
    if (send(descriptor, PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH, MSG_NOSIGNAL) < 0) {
        perror("send");
    }
    close(descriptor);
}

static void stall(const loop *self) {
    uint64_t times;
    if (read(self->stalls, &times, sizeof times) > 0) {
        workload_stall(&work);
    }
}

static void *run(void *context) {
    loop *self = context;
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(self->epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == listener) {
                take(self);
            } else if (descriptor == STDIN_FILENO) {
                protocol_standard_input_is_readable();
            } else if (descriptor == self->stalls) {
                stall(self);
            } else if (greets) {
                greet(descriptor);
            } else {
                echo(self, descriptor);
            }
        }
    }
    return NULL;
}

static int begin_stalls(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    check(timer, "timerfd_create");
    struct timespec period = {.tv_sec = (time_t)(work.stall_period / 1000),
                              .tv_nsec = (long)(work.stall_period % 1000 * 1000000)};
    struct itimerspec times = {.it_interval = period, .it_value = period};
    check(timerfd_settime(timer, 0, &times, NULL), "timerfd_settime");
    return timer;
}

static void prepare(loop *self, int index) {
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    check(self->epoll, "epoll_create1");
    if (index == 0 || !ACCEPTS_FOR_ALL) {
        watch(self, listener, EPOLLIN);
    }
    self->stalls = -1;
    if (work.stall_period > 0 && index == work.stall_loop) {
        self->stalls = begin_stalls();
        watch(self, self->stalls, EPOLLIN);
    }
}

int main(int argc, char *argv[]) {
    work = workload_parse(&argc, &argv);
    protocol_load load = protocol_parse(argc, argv);
    if (load != PROTOCOL_ECHO && load != PROTOCOL_STORM) {
        fprintf(stderr, "%s is of one loop: raw-epoll is its floor\n", argv[1]);
        return 64;
    }
    greets = load == PROTOCOL_STORM;
    listener = protocol_listen();
    loops = calloc((size_t)work.loops, sizeof *loops);
    if (!loops) {
        perror("loops");
        return 1;
    }
    for (int i = 0; i < work.loops; i++) {
        prepare(&loops[i], i);
    }
    for (int i = 1; i < work.loops; i++) {
        pthread_t thread;
        errno = pthread_create(&thread, NULL, run, &loops[i]);
        check(-errno, "pthread_create");
    }
    protocol_start(load, listener);
    watch(&loops[0], STDIN_FILENO, EPOLLIN);
    run(&loops[0]); // does not return
}
