// SPDX-License-Identifier: Apache-2.0

// CServerCore and CServerTLS as their documentation uses them:
//
//     ours-c-tls echo CERTIFICATE KEY

#include "protocol.h"

#include <CServerCore.h>
#include <CServerTLS.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct client {
    struct event event;
    csc_tls *tls;
    bool is_encrypted;
    bool is_idle;          // nothing has moved since the last sweep
    struct client *next;   // of all
    struct client **place; // what refers to it
} client;

static struct event_base *base;
static csc_tls_context *context;
static client *clients;
static char buffer[65536];

static void drop(client *self) {
    *self->place = self->next;
    if (self->next) {
        self->next->place = self->place;
    }
    int descriptor = event_get_fd(&self->event);
    event_del(&self->event);
    csc_tls_free(self->tls);
    close(descriptor);
    free(self);
}

// Sends all of it, waiting for a client that does not read.
static bool write_all(client *self, size_t size) {
    for (size_t sent = 0; sent < size;) {
        size_t count = 0;
        csc_tls_result result = csc_tls_write(self->tls, buffer + sent, size - sent, &count);
        sent += count;
        if (result == CSC_TLS_WANT_WRITE) {
            struct pollfd writable = {.fd = event_get_fd(&self->event), .events = POLLOUT};
            poll(&writable, 1, -1);
        } else if (result != CSC_TLS_DONE) {
            return false;
        }
    }
    return true;
}

static bool shake_hands(client *self) {
    csc_tls_result result = csc_tls_handshake(self->tls);
    self->is_encrypted = result == CSC_TLS_DONE;
    return result == CSC_TLS_DONE || result == CSC_TLS_WANT_READ;
}

static bool echo(client *self) {
    do {
        size_t count = 0;
        csc_tls_result result = csc_tls_read(self->tls, buffer, sizeof buffer, &count);
        if (result != CSC_TLS_DONE) {
            return result == CSC_TLS_WANT_READ;
        }
        if (!write_all(self, count)) {
            return false;
        }
    } while (csc_tls_has_buffered_input(self->tls));
    return true;
}

static void receive(int descriptor, short events, void *argument) {
    (void)descriptor, (void)events;
    client *self = argument;
    self->is_idle = false;
    bool goes_on = self->is_encrypted || shake_hands(self);
    if (goes_on && self->is_encrypted) {
        goes_on = echo(self);
    }
    if (!goes_on) {
        drop(self);
    }
}

static void on_new_connection(csc_server *server, void *unused) {
    (void)unused;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        client *self = calloc(1, sizeof *self);
        if (self) {
            self->tls = csc_tls_new_server(context, connection.descriptor, NULL);
        }
        if (!self || !self->tls) {
            fprintf(stderr, "no memory\n");
            exit(1);
        }
        self->next = clients;
        self->place = &clients;
        if (clients) {
            clients->place = &self->next;
        }
        clients = self;
        event_assign(&self->event, base, connection.descriptor, EV_READ | EV_PERSIST, receive,
                     self);
        event_add(&self->event, NULL);
    }
}

// Buffers are kept while a connection is busy, and freed once it has been idle for a second.
static void sweep(int descriptor, short events, void *unused) {
    (void)descriptor, (void)events, (void)unused;
    for (client *self = clients; self; self = self->next) {
        if (self->is_idle) {
            csc_tls_release_buffers(self->tls);
        }
        self->is_idle = true;
    }
}

static void on_standard_input(int descriptor, short events, void *unused) {
    (void)descriptor, (void)events, (void)unused;
    protocol_standard_input_is_readable();
}

static csc_tls_context *context_of(char *certificate, char *key) {
    csc_tls_error error = {0};
    csc_tls_identity *identity = csc_tls_identity_from_files(certificate, key, NULL, &error);
    csc_tls_identities *identities = csc_tls_identities_new();
    if (!identity || !identities || !csc_tls_identities_set(identities, NULL, identity, &error)) {
        fprintf(stderr, "no certificate: %s\n", error.text);
        exit(1);
    }
    csc_tls_settings settings = {.identities = identities,
                                 .ticket_keys = csc_tls_ticket_keys_new()};
    csc_tls_context *made = csc_tls_context_new(&settings, &error);
    if (!made) {
        fprintf(stderr, "no context: %s\n", error.text);
        exit(1);
    }
    csc_tls_ticket_keys_free(settings.ticket_keys);
    csc_tls_identities_free(identities);
    csc_tls_identity_free(identity);
    return made;
}

int main(int argc, char *argv[]) {
    if (argc != 4 || strcmp(argv[1], "echo") != 0) {
        fprintf(stderr, "usage: ours-c-tls echo CERTIFICATE KEY\n");
        return 64;
    }
    context = context_of(argv[2], argv[3]);
    base = event_base_new();
    csc_server *server = csc_server_new(base);
    csc_server_on_new_connection(server, on_new_connection, NULL);
    csc_address address;
    csc_address_parse("127.0.0.1", 0, &address);
    if (!csc_server_listen(server, &address)) {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(server));
        return 1;
    }
    int on = 1; // inherited by the connections
    setsockopt(csc_server_descriptor(server), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

    struct event input, second;
    event_assign(&input, base, STDIN_FILENO, EV_READ | EV_PERSIST, on_standard_input, NULL);
    event_add(&input, NULL);
    event_assign(&second, base, -1, EV_PERSIST, sweep, NULL);
    event_add(&second, &(struct timeval){.tv_sec = 1});
    protocol_start_on_port(PROTOCOL_ECHO, csc_server_port(server));
    event_base_dispatch(base);
    return 1; // Standard input ends the program, nothing else.
}
