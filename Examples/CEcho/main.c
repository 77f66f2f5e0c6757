// An echo server on the C core: what a client sends comes back, until the client has no more.
//
// With the library installed, this builds it:
//   cc main.c -o c-echo $(pkg-config --cflags --libs cservercore libevent_core)
//
// Usage: c-echo [address [port]], for example `c-echo 127.0.0.1 7007`. Ctrl-C ends it.

#include <CServerCore.h>

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

// A client's bytes are on their way in or, while the kernel takes no more, on their way out. Never
// both, so nothing is read from a client that does not read.
typedef struct client {
    LIST_ENTRY(client) others;
    struct event readable, writable;
    size_t start, end; // what the buffer holds that is not sent yet
    char buffer[16384];
} client;

static LIST_HEAD(, client) clients = LIST_HEAD_INITIALIZER(clients);

static void drop(client *self) {
    event_del(&self->readable);
    event_del(&self->writable);
    close(event_get_fd(&self->readable));
    LIST_REMOVE(self, others);
    free(self);
}

static void send_rest(int descriptor, short events, void *context) {
    (void)events;
    client *self = context;
    while (self->start < self->end) {
        // Without MSG_NOSIGNAL, sending to a client that has gone would end the program.
        ssize_t sent =
            send(descriptor, self->buffer + self->start, self->end - self->start, MSG_NOSIGNAL);
        if (sent >= 0) {
            self->start += (size_t)sent;
        } else if (errno == EAGAIN) {
            event_del(&self->readable);
            event_add(&self->writable, NULL);
            return;
        } else {
            drop(self);
            return;
        }
    }
    event_add(&self->readable, NULL);
}

static void receive(int descriptor, short events, void *context) {
    client *self = context;
    ssize_t received = recv(descriptor, self->buffer, sizeof self->buffer, 0);
    if (received > 0) {
        self->start = 0;
        self->end = (size_t)received;
        send_rest(descriptor, events, self);
    } else if (received == 0 || errno != EAGAIN) {
        drop(self);
    }
}

static void on_new_connection(csc_server *server, void *base) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        int descriptor = connection.descriptor;
        client *self = calloc(1, sizeof *self);
        if (!self) {
            close(descriptor);
            continue;
        }
        LIST_INSERT_HEAD(&clients, self, others);
        event_assign(&self->readable, base, descriptor, EV_READ | EV_PERSIST, receive, self);
        event_assign(&self->writable, base, descriptor, EV_WRITE, send_rest, self);
        event_add(&self->readable, NULL);
    }
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    (void)error;
    (void)context;
    fprintf(stderr, "cannot accept: %s\n", csc_server_error_string(server));
}

static void on_interrupt(int number, short events, void *base) {
    (void)number;
    (void)events;
    event_base_loopbreak(base);
}

int main(int argc, char *argv[]) {
    csc_address address;
    char text[CSC_ADDRESS_TEXT_SIZE];
    uint16_t port = (uint16_t)(argc > 2 ? atoi(argv[2]) : 0);
    if (!csc_address_parse(argc > 1 ? argv[1] : "*", port, &address)) {
        fprintf(stderr, "usage: %s [address [port]]\n", argv[0]);
        return 2;
    }

    struct event_base *base = event_base_new();
    if (!base) {
        perror("event_base_new");
        return 1;
    }
    csc_server *server = csc_server_new(base);
    csc_server_on_new_connection(server, on_new_connection, base);
    csc_server_on_accept_error(server, on_accept_error, NULL);
    bool listening = csc_server_listen(server, &address);
    if (listening) {
        struct event interrupt;
        event_assign(&interrupt, base, SIGINT, EV_SIGNAL | EV_PERSIST, on_interrupt, base);
        event_add(&interrupt, NULL); // before it says that it listens: Ctrl-C works from then on
        address = csc_server_address(server);
        csc_address_format(&address, text, sizeof text);
        printf("listening on %s port %u\n", text, (unsigned)address.port);
        fflush(stdout);
        event_base_dispatch(base);
        event_del(&interrupt);
    } else {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(server));
    }

    csc_server_free(server);
    while (!LIST_EMPTY(&clients)) {
        drop(LIST_FIRST(&clients));
    }
    event_base_free(base);
    return listening ? 0 : 1;
}
