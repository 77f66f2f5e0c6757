// SPDX-License-Identifier: Apache-2.0

// libuv as its guide shows it: a uv_tcp_t on the heap for each connection, a buffer for each read,
// a request for each write.

#include "protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

typedef struct answer {
    uv_write_t request;
    uv_buf_t data;
} answer;

static protocol_load load;

static void free_handle(uv_handle_t *handle) {
    free(handle);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle;
    *buffer = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void after_answer(uv_write_t *request, int status) {
    if (status < 0) {
        uv_close((uv_handle_t *)request->handle, free_handle);
    }
    answer *self = (answer *)request;
    free(self->data.base);
    free(self);
}

static void echo(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    if (count > 0) {
        answer *self = malloc(sizeof *self);
        self->data = uv_buf_init(buffer->base, (unsigned)count);
        uv_write(&self->request, stream, &self->data, 1, after_answer);
        return;
    }
    if (count < 0 && !uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, free_handle);
    }
    free(buffer->base);
}

static void after_greeting(uv_write_t *request, int status) {
    (void)status;
    uv_close((uv_handle_t *)request->handle, free_handle);
    free(request);
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
        uv_write_t *request = malloc(sizeof *request);
        uv_buf_t greeting = uv_buf_init((char *)PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH);
        uv_write(request, (uv_stream_t *)client, &greeting, 1, after_greeting);
    } else {
        uv_tcp_nodelay(client, 1);
        uv_read_start((uv_stream_t *)client, allocate, echo);
    }
}

static void on_standard_input(uv_poll_t *handle, int status, int events) {
    (void)handle, (void)status, (void)events;
    protocol_standard_input_is_readable();
}

int main(int argc, char *argv[]) {
    load = protocol_parse(argc, argv);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t server;
    struct sockaddr_in address = protocol_address();
    uv_tcp_init(loop, &server);
    uv_tcp_bind(&server, (struct sockaddr *)&address, 0);
    int error = uv_listen((uv_stream_t *)&server, PROTOCOL_BACKLOG, on_connection);
    if (error != 0) {
        fprintf(stderr, "listen: %s\n", uv_strerror(error));
        return 1;
    }
    int listener;
    uv_fileno((uv_handle_t *)&server, &listener);
    protocol_start(load, listener);
    uv_poll_t input; // only now: it makes standard input non-blocking
    uv_poll_init(loop, &input, STDIN_FILENO);
    uv_poll_start(&input, UV_READABLE | UV_DISCONNECT, on_standard_input);
    return uv_run(loop, UV_RUN_DEFAULT);
}
