// SPDX-License-Identifier: Apache-2.0

// io_uring: one multishot accept for all connections. It cannot deliver addresses, so drain asks
// with getpeername. Storm queues send and close as one chain; echo goes back and forth between recv
// and send.

#include "protocol.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct client {
    int descriptor;
    bool sending;
    char buffer[16384];
} client;

static protocol_load load;
static struct io_uring ring;

// Completions are distinguished by what they carry: these two, or a client.
static char accepted, input_ended;

static void check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-result));
        exit(1);
    }
}

static struct io_uring_sqe *next_entry(void) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    while (!entry) {
        check(io_uring_submit(&ring), "io_uring_submit");
        entry = io_uring_get_sqe(&ring);
    }
    return entry;
}

// Filling an entry may clear what it carries, so that is set after.
#define QUEUE(data, prepare, ...)                                                                  \
    do {                                                                                           \
        struct io_uring_sqe *entry = next_entry();                                                 \
        prepare(entry, __VA_ARGS__);                                                               \
        io_uring_sqe_set_data(entry, data);                                                        \
    } while (0)

static void accept_all(int listener) {
    QUEUE(&accepted, io_uring_prep_multishot_accept, listener, NULL, NULL, SOCK_CLOEXEC);
}

static void receive(client *self) {
    self->sending = false;
    QUEUE(self, io_uring_prep_recv, self->descriptor, self->buffer, sizeof self->buffer, 0);
}

static void answer(client *self, int count) {
    self->sending = true;
    QUEUE(self, io_uring_prep_send, self->descriptor, self->buffer, (size_t)count,
          MSG_WAITALL | MSG_NOSIGNAL);
}

static void greet(int descriptor) {
    // A chain must not be cut in two by a full queue.
    if (io_uring_sq_space_left(&ring) < 2) {
        check(io_uring_submit(&ring), "io_uring_submit");
    }
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_send(entry, descriptor, PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH,
                       MSG_WAITALL | MSG_NOSIGNAL);
    entry->flags |= IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data(entry, NULL);
    entry = next_entry();
    io_uring_prep_close(entry, descriptor);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data(entry, NULL);
}

static void take(int descriptor) {
    if (load == PROTOCOL_DRAIN) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        getpeername(descriptor, (struct sockaddr *)&peer, &length);
        protocol_drained(&peer);
    } else if (load == PROTOCOL_STORM) {
        greet(descriptor);
    } else {
        client *self = malloc(sizeof *self);
        self->descriptor = descriptor;
        receive(self);
    }
}

static void complete(struct io_uring_cqe *completion, int listener) {
    client *self = io_uring_cqe_get_data(completion);
    if (!self) {
        return; // a greeting to a client that has gone
    }
    if ((void *)self == &input_ended) {
        exit(0);
    }
    if ((void *)self == &accepted) {
        if (!(completion->flags & IORING_CQE_F_MORE)) {
            accept_all(listener);
        }
        check(completion->res, "accept");
        take(completion->res);
    } else if (completion->res <= 0) {
        close(self->descriptor);
        free(self);
    } else if (self->sending) {
        receive(self);
    } else {
        answer(self, completion->res);
    }
}

int main(int argc, char *argv[]) {
    load = protocol_parse(argc, argv);
    int listener = protocol_listen();
    // One thread, which runs the kernel's part of the work when it waits: what liburing recommends
    // for a server.
    check(io_uring_queue_init(4096, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
          "io_uring_queue_init");
    protocol_start(load, listener);
    accept_all(listener);
    QUEUE(&input_ended, io_uring_prep_poll_add, STDIN_FILENO, POLLIN | POLLHUP);
    for (;;) {
        int result = io_uring_submit_and_wait(&ring, 1);
        if (result != -EINTR) {
            check(result, "io_uring_submit_and_wait");
        }
        struct io_uring_cqe *completion;
        unsigned head, count = 0;
        io_uring_for_each_cqe(&ring, head, completion) {
            complete(completion, listener);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
