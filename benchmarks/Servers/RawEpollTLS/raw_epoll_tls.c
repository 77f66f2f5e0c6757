// SPDX-License-Identifier: Apache-2.0

// The floor of encrypted connections: epoll and OpenSSL, and as little else as the protocol allows.
//
//     raw-epoll-tls echo CERTIFICATE KEY [--release-buffers]
//
// A message costs it one recv and one send, as a server that reads ahead does. --release-buffers has
// OpenSSL free its buffers after each record, which is the least that an idle connection can hold.

#include "protocol.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct connection {
    SSL *ssl;
    int descriptor;
} connection;

static int epoll;
static SSL_CTX *context;
static char buffer[65536];

static void die(const char *what) {
    ERR_print_errors_fp(stderr);
    perror(what);
    exit(1);
}

static SSL_CTX *context_of(int argc, char *argv[]) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (argc < 4 || !ctx || SSL_CTX_use_certificate_chain_file(ctx, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[3], SSL_FILETYPE_PEM) != 1) {
        die("usage: raw-epoll-tls echo CERTIFICATE KEY [--release-buffers]");
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (argc > 4 && strcmp(argv[4], "--release-buffers") == 0) {
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    }
    return ctx;
}

static void watch(int descriptor, void *pointer) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = pointer};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        die("epoll_ctl");
    }
}

static void drop(connection *self) {
    SSL_free(self->ssl);
    close(self->descriptor);
    free(self);
}

static void accept_all(int listener) {
    for (;;) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) {
            if (errno == EAGAIN) {
                return;
            }
            die("accept4");
        }
        connection *self = malloc(sizeof *self);
        if (!self || !(self->ssl = SSL_new(context)) || SSL_set_fd(self->ssl, descriptor) != 1) {
            die("SSL_new");
        }
        self->descriptor = descriptor;
        SSL_set_accept_state(self->ssl);
        watch(descriptor, self);
    }
}

static bool write_all(connection *self, size_t count) {
    for (size_t sent = 0; sent < count;) {
        size_t more = 0;
        int returned = SSL_write_ex(self->ssl, buffer + sent, count - sent, &more);
        sent += more;
        if (returned != 1) {
            if (SSL_get_error(self->ssl, returned) != SSL_ERROR_WANT_WRITE) {
                return false;
            }
            struct pollfd writable = {.fd = self->descriptor, .events = POLLOUT};
            poll(&writable, 1, -1);
        }
    }
    return true;
}

// The handshake, too: SSL_read() makes it.
static void echo(connection *self) {
    size_t count = 0;
    do {
        ERR_clear_error();
        int returned = SSL_read_ex(self->ssl, buffer, sizeof buffer, &count);
        if (returned != 1) {
            if (SSL_get_error(self->ssl, returned) != SSL_ERROR_WANT_READ) {
                drop(self);
            }
            return;
        }
        if (!write_all(self, count)) {
            drop(self);
            return;
        }
    } while (SSL_has_pending(self->ssl));
}

int main(int argc, char *argv[]) {
    if (argc < 2 || strcmp(argv[1], "echo") != 0) {
        fprintf(stderr, "usage: raw-epoll-tls echo CERTIFICATE KEY [--release-buffers]\n");
        return 1;
    }
    context = context_of(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    int listener = protocol_listen();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    protocol_start(PROTOCOL_ECHO, listener);
    watch(listener, &context);
    watch(STDIN_FILENO, NULL);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &context) {
                accept_all(listener);
            } else if (!events[i].data.ptr) {
                protocol_standard_input_is_readable();
            } else {
                echo(events[i].data.ptr);
            }
        }
    }
}
