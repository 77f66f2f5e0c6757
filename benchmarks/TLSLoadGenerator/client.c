// SPDX-License-Identifier: Apache-2.0

#include "client.h"

#include "failure.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *context;
static struct sockaddr_in server;
static size_t message_size;
static char *message, *answer;
static bool is_greeted, resumes;

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    client *self = SSL_get_app_data(ssl);
    SSL_SESSION_free(self->session);
    self->session = session;
    return 1; // it is ours
}

void client_prepare(uint16_t port, size_t size, bool greeted, bool resuming) {
    server = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    message_size = size;
    is_greeted = greeted;
    resumes = resuming;
    message = malloc(size);
    answer = malloc(size);
    context = SSL_CTX_new(TLS_client_method());
    if (!message || !answer || !context) {
        fail("no memory");
    }
    memset(message, 'x', size);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set1_groups_list(context, "X25519");
    SSL_CTX_set_read_ahead(context, 1);
    if (resuming) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    } else {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
}

void client_begin(client *self, int epoll, uint64_t since) {
    self->since = since;
    self->sent = self->received = 0;
    self->messages = 1;
    self->is_resumed = false;
    self->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (self->descriptor < 0) {
        fail_errno("cannot make a socket");
    }
    int on = 1;
    setsockopt(self->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(self->descriptor, (struct sockaddr *)&server, sizeof server) != 0 &&
        errno != EINPROGRESS) {
        fail_errno("cannot connect");
    }
    self->ssl = SSL_new(context);
    if (!self->ssl || SSL_set_fd(self->ssl, self->descriptor) != 1) {
        fail("no memory for a connection");
    }
    SSL_set_app_data(self->ssl, self);
    SSL_set_connect_state(self->ssl);
    if (resumes && self->session && SSL_set_session(self->ssl, self->session) != 1) {
        fail("a session cannot be resumed");
    }
    self->phase = CLIENT_SHAKING_HANDS;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = self};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, self->descriptor, &event) != 0) {
        fail_errno("cannot watch a connection");
    }
}

void client_send(client *self, uint64_t since) {
    self->since = since;
    self->sent = self->received = 0;
    self->messages++;
    self->phase = CLIENT_SENDING;
    client_continue(self);
}

// Whether to wait for events; ends the program for everything else.
static bool waits(client *self, int returned, const char *what) {
    int error = SSL_get_error(self->ssl, returned);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return true;
    }
    char text[256] = "the connection has ended";
    unsigned long reason = ERR_peek_error();
    if (reason != 0) {
        ERR_error_string_n(reason, text, sizeof text);
    }
    fail("%s: %s", what, text);
}

static bool shake_hands(client *self) {
    int returned = SSL_do_handshake(self->ssl);
    if (returned != 1) {
        return !waits(self, returned, "a handshake failed");
    }
    self->is_resumed = SSL_session_reused(self->ssl) == 1;
    self->phase = is_greeted ? CLIENT_RECEIVING : CLIENT_SENDING;
    return true;
}

static bool send_message(client *self) {
    while (self->sent < message_size) {
        size_t count = 0;
        int returned =
            SSL_write_ex(self->ssl, message + self->sent, message_size - self->sent, &count);
        if (returned != 1) {
            return !waits(self, returned, "a message was not sent");
        }
        self->sent += count;
    }
    self->phase = CLIENT_RECEIVING;
    return true;
}

static bool receive_answer(client *self) {
    while (self->received < message_size) {
        size_t count = 0;
        int returned = SSL_read_ex(self->ssl, answer, message_size - self->received, &count);
        if (returned != 1) {
            return !waits(self, returned, "a message did not come back");
        }
        if (memcmp(answer, message + self->received, count) != 0) {
            fail("something else than the message came back");
        }
        self->received += count;
    }
    self->phase = CLIENT_IDLE;
    return true;
}

bool client_continue(client *self) {
    ERR_clear_error();
    bool is_back = self->phase != CLIENT_IDLE && self->phase != CLIENT_CLOSED;
    while (is_back && self->phase != CLIENT_IDLE) {
        is_back = self->phase == CLIENT_SHAKING_HANDS ? shake_hands(self)
                  : self->phase == CLIENT_SENDING     ? send_message(self)
                                                      : receive_answer(self);
    }
    return is_back;
}

void client_close(client *self) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(self->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    // OpenSSL gives up the session of a connection that has ended without close_notify.
    SSL_set_shutdown(self->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(self->ssl);
    close(self->descriptor);
    self->phase = CLIENT_CLOSED;
}
