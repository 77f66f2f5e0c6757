// SPDX-License-Identifier: Apache-2.0

// A program of libevent's that got a server on its event_base: bufferevents talk on the connections
// that it accepts, while a timer, a signal and a listener of libevent's own live beside it.

#include <CServerCore.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { CLIENTS = 50, SIZE = 100000 };

static struct event_base *base;
static int ended;        // connections of the server that were closed
static int answered;     // clients that got everything back
static int ticks;        // of the timer
static int signals;      // SIGUSR1
static int listener_had; // connections of libevent's own listener
static unsigned char bytes[SIZE];

// The server's side: sends back what comes, up to its end.

static void echo(struct bufferevent *channel, void *server) {
    (void)server;
    bufferevent_write_buffer(channel, bufferevent_get_input(channel));
}

static void end_channel(struct bufferevent *channel, void *server) {
    bufferevent_free(channel); // closes the descriptor
    csc_server_connection_ended(server);
    ended++;
}

static void channel_event(struct bufferevent *channel, short what, void *server) {
    CHECK(what & BEV_EVENT_EOF);
    if (evbuffer_get_length(bufferevent_get_output(channel)) == 0) {
        end_channel(channel, server);
        return;
    }
    bufferevent_setcb(channel, NULL, end_channel, channel_event, server);
}

static void take(csc_server *server, const csc_connection *connection, void *context) {
    (void)context;
    struct bufferevent *channel =
        bufferevent_socket_new(base, connection->descriptor, BEV_OPT_CLOSE_ON_FREE);
    CHECK(channel != NULL);
    bufferevent_setcb(channel, echo, NULL, channel_event, server);
    CHECK(bufferevent_enable(channel, EV_READ | EV_WRITE) == 0);
}

// The clients, on the same base.

static void read_answer(struct bufferevent *client, void *context) {
    (void)context;
    struct evbuffer *input = bufferevent_get_input(client);
    if (evbuffer_get_length(input) < SIZE) {
        return;
    }
    CHECK(evbuffer_get_length(input) == SIZE);
    CHECK(memcmp(evbuffer_pullup(input, -1), bytes, SIZE) == 0);
    answered++;
    bufferevent_free(client);
}

static void client_event(struct bufferevent *client, short what, void *context) {
    (void)client;
    (void)context;
    CHECK(what == BEV_EVENT_CONNECTED);
}

static void start_client(const csc_address *address) {
    struct sockaddr_storage name;
    int length = (int)csc_address_to_sockaddr(address, &name);
    struct bufferevent *client = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    CHECK(client != NULL);
    bufferevent_setcb(client, read_answer, NULL, client_event, NULL);
    CHECK(bufferevent_enable(client, EV_READ | EV_WRITE) == 0);
    CHECK(bufferevent_write(client, bytes, SIZE) == 0);
    CHECK(bufferevent_socket_connect(client, (struct sockaddr *)&name, length) == 0);
}

// What else is on the base.

static void tick(evutil_socket_t descriptor, short what, void *context) {
    (void)descriptor;
    (void)what;
    (void)context;
    ticks++;
    if (signals == 0) {
        CHECK(raise(SIGUSR1) == 0);
    }
}

static void note_signal(evutil_socket_t number, short what, void *context) {
    (void)what;
    (void)context;
    CHECK(number == SIGUSR1);
    signals++;
}

static void accept_beside(struct evconnlistener *listener, evutil_socket_t descriptor,
                          struct sockaddr *peer, int length, void *context) {
    (void)listener;
    (void)peer;
    (void)length;
    (void)context;
    listener_had++;
    evutil_closesocket(descriptor);
}

static struct evconnlistener *listen_beside(int *client) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    struct evconnlistener *listener =
        evconnlistener_new_bind(base, accept_beside, NULL, LEV_OPT_CLOSE_ON_FREE, -1,
                                (struct sockaddr *)&name, (int)length);
    CHECK(listener != NULL);
    CHECK(getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&name, &length) == 0);
    *client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(*client, (struct sockaddr *)&name, length) == 0);
    return listener;
}

static bool all_done(void) {
    return ended == CLIENTS && answered == CLIENTS && ticks > 0 && signals > 0 && listener_had > 0;
}

int main(void) {
    alarm(50);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (unsigned char)(i * 2654435761U >> 13);
    }
    base = event_base_new();
    CHECK(base != NULL);
    CHECK(event_base_priority_init(base, 3) == 0);

    struct event *timer = event_new(base, -1, EV_PERSIST, tick, NULL);
    struct event *on_signal = evsignal_new(base, SIGUSR1, note_signal, NULL);
    int beside;
    struct evconnlistener *listener = listen_beside(&beside);
    CHECK(event_priority_set(timer, 0) == 0);
    CHECK(event_add(timer, &(struct timeval){.tv_usec = 1000}) == 0);
    CHECK(event_add(on_signal, NULL) == 0);
    int events = event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);

    csc_address address;
    csc_server *server = csc_server_new(base);
    csc_server_on_incoming_connection(server, take, NULL);
    csc_server_set_max_connections(server, CLIENTS / 5, CSC_EXCESS_WAIT);
    CHECK(csc_address_parse("127.0.0.1", 0, &address) && csc_server_listen(server, &address));
    address = csc_server_address(server);
    for (int i = 0; i < CLIENTS; i++) {
        start_client(&address);
    }
    while (!all_done()) {
        CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
    }

    csc_statistics statistics;
    csc_server_statistics(server, &statistics, sizeof statistics);
    CHECK(statistics.delivered == CLIENTS && statistics.live == 0);

    // It takes away what it brought, and nothing else.
    csc_server_free(server);
    CHECK(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) == events);
    int ticks_with_it = ticks;
    int signals_with_it = signals;
    CHECK(raise(SIGUSR1) == 0);
    while (ticks == ticks_with_it || signals == signals_with_it) {
        CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
    }

    close(beside);
    evconnlistener_free(listener);
    event_free(timer);
    event_free(on_signal);
    event_base_free(base);
    return 0;
}
