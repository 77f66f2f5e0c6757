// SPDX-License-Identifier: Apache-2.0

// libevent as its book shows it: evconnlistener, and a bufferevent for each connection.

#include "protocol.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static protocol_load load;

static void echo(struct bufferevent *connection, void *context) {
    (void)context;
    bufferevent_write_buffer(connection, bufferevent_get_input(connection));
}

static void close_when_written(struct bufferevent *connection, void *context) {
    (void)context;
    bufferevent_free(connection);
}

static void close_at_end(struct bufferevent *connection, short what, void *context) {
    (void)context;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        bufferevent_free(connection);
    }
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t descriptor,
                          struct sockaddr *peer, int length, void *context) {
    (void)length, (void)context;
    struct bufferevent *connection = bufferevent_socket_new(evconnlistener_get_base(listener),
                                                            descriptor, BEV_OPT_CLOSE_ON_FREE);
    if (load == PROTOCOL_STORM) {
        bufferevent_setcb(connection, NULL, close_when_written, close_at_end, NULL);
        bufferevent_write(connection, PROTOCOL_GREETING, PROTOCOL_GREETING_LENGTH);
        return;
    }
    bufferevent_setcb(connection, echo, NULL, close_at_end, NULL);
    bufferevent_enable(connection, EV_READ);
    if (load == PROTOCOL_DRAIN) {
        protocol_drained((struct sockaddr_in *)peer);
    }
}

static void on_standard_input(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events, (void)context;
    protocol_standard_input_is_readable();
}

int main(int argc, char *argv[]) {
    load = protocol_parse(argc, argv);
    struct event_base *base = event_base_new();
    struct sockaddr_in address = protocol_address();
    struct evconnlistener *listener = evconnlistener_new_bind(
        base, on_connection, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, PROTOCOL_BACKLOG,
        (struct sockaddr *)&address, sizeof address);
    if (!listener) {
        perror("evconnlistener_new_bind");
        return 1;
    }
    int on = 1; // inherited by the connections
    setsockopt(evconnlistener_get_fd(listener), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    event_add(event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_standard_input, NULL), NULL);
    protocol_start(load, evconnlistener_get_fd(listener));
    event_base_dispatch(base);
    return 1; // Standard input ends the program, nothing else.
}
