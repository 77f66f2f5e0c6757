// SPDX-License-Identifier: Apache-2.0

// CServerCore as its own examples use it: the server hands out descriptors with the peer's address,
// and a connection that is to be read has a struct event inside.

#include "protocol.h"

#include <CServerCore.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct client {
    struct event event;
    size_t start, end; // of what the kernel did not take yet
    char *rest;
} client;

static protocol_load load;
static struct event_base *base;
static int *kept; // descriptors
static size_t kept_count;
static char buffer[65536];

static void receive(int descriptor, short events, void *context);

static void drop(client *self) {
    event_del(&self->event);
    close(event_get_fd(&self->event));
    free(self->rest);
    free(self);
}

static void wait_for(client *self, short events, event_callback_fn callback) {
    int descriptor = event_get_fd(&self->event);
    event_del(&self->event);
    event_assign(&self->event, base, descriptor, events | EV_PERSIST, callback, self);
    event_add(&self->event, NULL);
}

static void send_rest(int descriptor, short events, void *context) {
    (void)events;
    client *self = context;
    ssize_t sent =
        send(descriptor, self->rest + self->start, self->end - self->start, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) {
            drop(self);
        }
        return;
    }
    self->start += (size_t)sent;
    if (self->start == self->end) {
        free(self->rest);
        self->rest = NULL;
        wait_for(self, EV_READ, receive);
    }
}

static void receive(int descriptor, short events, void *context) {
    (void)events;
    client *self = context;
    ssize_t count = recv(descriptor, buffer, sizeof buffer, 0);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) {
            drop(self);
        }
        return;
    }
    ssize_t sent = send(descriptor, buffer, (size_t)count, MSG_NOSIGNAL);
    if (sent == count) {
        return;
    }
    size_t left = (size_t)count - (sent > 0 ? (size_t)sent : 0);
    self->rest = sent < 0 && errno != EAGAIN ? NULL : malloc(left);
    if (!self->rest) {
        drop(self);
        return;
    }
    memcpy(self->rest, buffer + (size_t)count - left, left);
    self->start = 0;
    self->end = left;
    wait_for(self, EV_WRITE, send_rest);
}

static void on_new_connection(csc_server *server, void *context) {
    (void)context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        if (load == PROTOCOL_DRAIN) {
            kept[kept_count++] = connection.descriptor;
            protocol_drained_from(connection.peer.bytes[3], connection.peer.port);
        } else if (load == PROTOCOL_STORM) {
            send(connection.descriptor, PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH, MSG_NOSIGNAL);
            close(connection.descriptor);
        } else {
            client *self = calloc(1, sizeof *self);
            if (!self) {
                close(connection.descriptor);
                continue;
            }
            event_assign(&self->event, base, connection.descriptor, EV_READ | EV_PERSIST, receive,
                         self);
            event_add(&self->event, NULL);
        }
    }
}

static void on_standard_input(int descriptor, short events, void *context) {
    (void)descriptor, (void)events, (void)context;
    protocol_standard_input_is_readable();
}

static void *run_acceptor(void *context) {
    event_base_dispatch(context);
    return NULL;
}

// A server on a loop of its own, which hands each connection over to `receiver`. It begins to accept
// when its loop runs.
static csc_server *acceptor_for(csc_server *receiver, struct event_base *own) {
    csc_server *acceptor = csc_server_new(own);
    csc_group *group = csc_group_new(acceptor, 1);
    if (!group || !csc_group_add(group, receiver)) {
        fprintf(stderr, "no group: %s\n", csc_server_error_string(acceptor));
        exit(1);
    }
    return acceptor;
}

static void limit_sources(csc_server *server) {
    csc_sources *sources = csc_sources_new(&(csc_source_limits){.max_connections = 1000000});
    csc_server_set_sources(server, sources);
    csc_sources_free(sources);
}

// Draining alone.
static void on_proxied_connection(csc_server *server, void *context) {
    (void)context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        kept[kept_count++] = connection.descriptor;
        protocol_drained_from(connection.peer.bytes[3], connection.peer.port);
        csc_proxied_free(connection.proxied);
    }
}

static void require_headers(csc_server *server) {
    const csc_network loopback = {.address = {.bytes = {127}, .family = CSC_FAMILY_IPV4},
                                  .prefix_length = 8};
    csc_server_require_proxy_header(
        server, &(csc_proxy_requirement){.networks = &loopback, .network_count = 1});
    csc_server_on_new_connection(server, on_proxied_connection, NULL);
}

// Takes the option out of the arguments.
static bool take_option(int *argc, char *argv[], const char *option) {
    bool found = *argc > 1 && strcmp(argv[*argc - 1], option) == 0;
    *argc -= found;
    return found;
}

int main(int argc, char *argv[]) {
    bool hands_off = take_option(&argc, argv, "--own-acceptor");
    bool limits_sources = take_option(&argc, argv, "--source-limits");
    bool requires_headers = take_option(&argc, argv, "--proxy-headers");
    load = protocol_parse(argc, argv);
    kept = calloc((size_t)protocol_wanted + 1, sizeof *kept);
    base = event_base_new();
    csc_server *server = csc_server_new(base);
    csc_server_on_new_connection(server, on_new_connection, NULL);
    struct event_base *own = hands_off ? event_base_new() : base;
    if (hands_off) {
        server = acceptor_for(server, own);
    }
    if (limits_sources) {
        limit_sources(server);
    }
    if (requires_headers) {
        require_headers(server);
    }
    csc_address address;
    csc_address_parse("127.0.0.1", 0, &address);
    if (!csc_server_listen(server, &address)) {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(server));
        return 1;
    }
    int on = 1; // inherited by the connections
    setsockopt(csc_server_descriptor(server), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

    struct event input;
    event_assign(&input, base, STDIN_FILENO, EV_READ | EV_PERSIST, on_standard_input, NULL);
    event_add(&input, NULL);
    protocol_start_on_port(load, csc_server_port(server));
    pthread_t thread;
    if (hands_off && pthread_create(&thread, NULL, run_acceptor, own) != 0) {
        return 1;
    }
    event_base_dispatch(base);
    return 1; // Standard input ends the program, nothing else.
}
