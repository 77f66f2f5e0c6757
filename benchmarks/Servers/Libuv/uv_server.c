// SPDX-License-Identifier: Apache-2.0

// libuv as its authors write a fast server: a uv_tcp_t on the heap for each connection, one buffer a
// loop for all reads, and uv_try_write; only what the kernel does not take becomes a request of its
// own. Several loops are threads that each listen on the port, by SO_REUSEPORT, as libuv's
// maintainers advise.

#include "protocol.h"
#include "workload.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

// The part of an answer for which the kernel had no room.
typedef struct rest {
    uv_write_t request;
    char data[];
} rest;

typedef struct server {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_timer_t stalls;
    char buffer[65536]; // of the read whose callback runs
} server;

static protocol_load load;
static workload work;

static void free_handle(uv_handle_t *handle) {
    free(handle);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)suggested;
    server *self = handle->loop->data;
    *buffer = uv_buf_init(self->buffer, sizeof self->buffer);
}

static void end(uv_stream_t *stream) {
    if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, free_handle);
    }
}

static void after_rest(uv_write_t *request, int status) {
    if (status < 0) {
        end(request->handle);
    }
    free(request);
}

// Returns whether all is written or on its way.
static bool answer(uv_stream_t *stream, const char *bytes, size_t count) {
    uv_buf_t data = uv_buf_init((char *)bytes, (unsigned)count);
    int written = uv_try_write(stream, &data, 1);
    if (written < 0 && written != UV_EAGAIN) {
        return false;
    }
    size_t sent = written > 0 ? (size_t)written : 0;
    if (sent == count) {
        return true;
    }
    rest *self = malloc(sizeof *self + count - sent);
    memcpy(self->data, bytes + sent, count - sent);
    data = uv_buf_init(self->data, (unsigned)(count - sent));
    return uv_write(&self->request, stream, &data, 1, after_rest) == 0;
}

static void echo(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    if (count > 0) {
        workload_burn(work.burn_rounds);
        if (!answer(stream, buffer->base, (size_t)count)) {
            end(stream);
        }
    } else if (count < 0) {
        end(stream);
    }
}

static void on_connection(uv_stream_t *server, int status) {
    if (status < 0) {
        fprintf(stderr, "accept: %s\n", uv_strerror(status));
        return;
    }
    uv_tcp_t *client = malloc(sizeof *client);
    uv_tcp_init(server->loop, client);
    if (uv_accept(server, (uv_stream_t *)client) != 0) {
        uv_close((uv_handle_t *)client, free_handle);
    } else if (load == PROTOCOL_DRAIN) {
        struct sockaddr_in peer;
        int length = sizeof peer;
        uv_tcp_getpeername(client, (struct sockaddr *)&peer, &length);
        protocol_drained(&peer);
    } else if (load == PROTOCOL_STORM) {
        // There is room for so little in a new connection.
        uv_buf_t greeting = uv_buf_init((char *)PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH);
        uv_try_write((uv_stream_t *)client, &greeting, 1);
        end((uv_stream_t *)client);
    } else {
        uv_tcp_nodelay(client, 1);
        uv_read_start((uv_stream_t *)client, allocate, echo);
    }
}

static void on_standard_input(uv_poll_t *handle, int status, int events) {
    (void)handle, (void)status, (void)events;
    protocol_standard_input_is_readable();
}

static void on_stall(uv_timer_t *timer) {
    (void)timer;
    workload_stall(&work);
}

// Leaves the address with its port for the next.
static void listen_on(server *self, struct sockaddr_in *address) {
    uv_loop_init(&self->loop);
    self->loop.data = self;
    uv_tcp_init_ex(&self->loop, &self->listener, AF_INET);
    int descriptor;
    uv_fileno((uv_handle_t *)&self->listener, &descriptor);
    int shared = work.loops > 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof shared);
    uv_tcp_bind(&self->listener, (struct sockaddr *)address, 0);
    int error = uv_listen((uv_stream_t *)&self->listener, PROTOCOL_BACKLOG, on_connection);
    if (error != 0) {
        fprintf(stderr, "listen: %s\n", uv_strerror(error));
        exit(1);
    }
    int length = sizeof *address;
    uv_tcp_getsockname(&self->listener, (struct sockaddr *)address, &length);
}

static void run(void *context) {
    server *self = context;
    uv_run(&self->loop, UV_RUN_DEFAULT);
}

int main(int argc, char *argv[]) {
    work = workload_parse(&argc, &argv);
    load = protocol_parse(argc, argv);
    if (load == PROTOCOL_DRAIN) {
        work = (workload){.loops = 1}; // one loop takes all and does nothing else
    }
    server *servers = calloc((size_t)work.loops, sizeof *servers);
    struct sockaddr_in address = protocol_address();
    for (int i = 0; i < work.loops; i++) {
        listen_on(&servers[i], &address);
    }
    if (work.stall_period > 0) {
        server *stuck = &servers[work.stall_loop];
        uv_timer_init(&stuck->loop, &stuck->stalls);
        uv_timer_start(&stuck->stalls, on_stall, work.stall_period, work.stall_period);
    }
    for (int i = 1; i < work.loops; i++) {
        uv_thread_t thread;
        uv_thread_create(&thread, run, &servers[i]);
    }
    protocol_start_on_port(load, ntohs(address.sin_port));
    uv_poll_t input; // only now: it makes standard input non-blocking
    uv_poll_init(&servers[0].loop, &input, STDIN_FILENO);
    uv_poll_start(&input, UV_READABLE | UV_DISCONNECT, on_standard_input);
    run(&servers[0]);
    return 0;
}
