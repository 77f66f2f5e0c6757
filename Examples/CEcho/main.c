// SPDX-License-Identifier: Apache-2.0

// An echo server on the C core: what a client sends comes back, until the client has no more.
//
// With the library installed, this builds it:
//   cc main.c -o c-echo $(pkg-config --cflags --libs cservercore libevent_core)
//
// Usage: c-echo [-c connections] [-f seconds] [-i seconds] [address [port]], for example
// `c-echo 127.0.0.1 7007`. Ctrl-C ends it.
//   -c  how many connections may be open at once (1000); further clients wait
//   -f  how many seconds a client may take to send its first byte (10)
//   -i  how many seconds a connection may be silent after that (60)

#include <CServerCore.h>

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

static struct timeval first_byte = {.tv_sec = 10};
static struct timeval idle = {.tv_sec = 60};

// A client's bytes are on their way in or, while the kernel takes no more, on their way out. Never
// both, so nothing is read from a client that does not read.
typedef struct client {
    LIST_ENTRY(client) others;
    csc_server *server;
    struct event readable, writable;
    size_t start, end; // what the buffer holds that is not sent yet
    char buffer[16384];
} client;

static LIST_HEAD(, client) clients = LIST_HEAD_INITIALIZER(clients);

static void drop(client *self) {
    event_del(&self->readable);
    event_del(&self->writable);
    close(event_get_fd(&self->readable));
    csc_server_connection_ended(self->server); // makes room for another one
    LIST_REMOVE(self, others);
    free(self);
}

// Calls back when that has happened, or has not for so long.
static bool wait_for(client *self, struct event *event, const struct timeval *timeout) {
    if (event_add(event, timeout) == 0) {
        return true;
    }
    drop(self); // no memory
    return false;
}

static void send_rest(int descriptor, short events, void *context) {
    client *self = context;
    if (events & EV_TIMEOUT) {
        drop(self); // it does not take what it was sent
        return;
    }
    while (self->start < self->end) {
        // Without MSG_NOSIGNAL, sending to a client that has gone would end the program.
        ssize_t sent =
            send(descriptor, self->buffer + self->start, self->end - self->start, MSG_NOSIGNAL);
        if (sent >= 0) {
            self->start += (size_t)sent;
        } else if (errno == EAGAIN) {
            event_del(&self->readable);
            wait_for(self, &self->writable, &idle);
            return;
        } else {
            drop(self);
            return;
        }
    }
    wait_for(self, &self->readable, &idle);
}

static void receive(int descriptor, short events, void *context) {
    client *self = context;
    if (events & EV_TIMEOUT) {
        drop(self);
        return;
    }
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
            csc_server_connection_ended(server);
            continue;
        }
        self->server = server;
        LIST_INSERT_HEAD(&clients, self, others);
        event_assign(&self->readable, base, descriptor, EV_READ | EV_PERSIST, receive, self);
        event_assign(&self->writable, base, descriptor, EV_WRITE, send_rest, self);
        wait_for(self, &self->readable, &first_byte);
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

// Reads a whole number of at most so much; nothing else counts as one, no sign and no blank.
static bool parse_number(const char *text, long most, long *number) {
    char *end;
    errno = 0;
    *number = strtol(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number <= most;
}

static int refuse(const char *what, const char *text) {
    fprintf(stderr, "c-echo: %s, not '%s'\n", what, text);
    return EX_USAGE;
}

static int usage(void) {
    fputs("usage: c-echo [-c connections] [-f seconds] [-i seconds] [address [port]]\n", stderr);
    return EX_USAGE;
}

static int serve(const csc_address *wanted, int most) {
    struct event_base *base = event_base_new();
    csc_server *server = base ? csc_server_new(base) : NULL;
    if (!server) {
        fputs("c-echo: no memory or no descriptors for an event loop\n", stderr);
        return EX_OSERR;
    }
    csc_server_on_new_connection(server, on_new_connection, base);
    csc_server_on_accept_error(server, on_accept_error, NULL);
    bool listening = csc_server_listen(server, wanted);
    if (listening) {
        struct event interrupt;
        event_assign(&interrupt, base, SIGINT, EV_SIGNAL | EV_PERSIST, on_interrupt, base);
        event_add(&interrupt, NULL); // before it says that it listens: Ctrl-C works from then on
        // Each client has a descriptor. A limit costs less than to find out, again and again, that
        // none is left, which the last one before the reserve counts as.
        int room = csc_server_descriptor_headroom(server) - 1;
        csc_server_set_max_connections(server, room < most ? (room > 1 ? room : 1) : most,
                                       CSC_EXCESS_WAIT);
        csc_address address = csc_server_address(server);
        char text[CSC_ADDRESS_TEXT_SIZE];
        csc_address_format(&address, text, sizeof text);
        printf("listening on %s port %u\n", text, (unsigned)address.port);
        fflush(stdout);
        event_base_dispatch(base);
        event_del(&interrupt);
    } else {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(server));
    }

    while (!LIST_EMPTY(&clients)) {
        drop(LIST_FIRST(&clients));
    }
    csc_server_free(server);
    event_base_free(base);
    return listening ? EX_OK : EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
    long most = 1000;
    long seconds = 0;
    int option;
    // The + ends the options at the address, so that a port of -1 is not taken for one.
    while ((option = getopt(argc, argv, "+c:f:i:")) != -1) {
        if (option == 'c') {
            if (!parse_number(optarg, INT_MAX, &most) || most == 0) {
                return refuse("-c takes a number from 1 on", optarg);
            }
        } else if (option == 'f' || option == 'i') {
            if (!parse_number(optarg, 1000000, &seconds) || seconds == 0) {
                return refuse("-f and -i take a number of seconds from 1 to 1000000", optarg);
            }
            *(option == 'f' ? &first_byte : &idle) = (struct timeval){.tv_sec = seconds};
        } else {
            return usage();
        }
    }
    if (argc - optind > 2) {
        return usage();
    }
    const char *address_text = optind < argc ? argv[optind] : "*";
    const char *port_text = optind + 1 < argc ? argv[optind + 1] : "0";
    long port;
    if (!parse_number(port_text, UINT16_MAX, &port)) {
        return refuse("a port is a number from 0 to 65535", port_text);
    }
    csc_address address;
    if (!csc_address_parse(address_text, (uint16_t)port, &address)) {
        return refuse("an address is IPv4, IPv6 or *", address_text);
    }
    // The reader of what this prints may have gone; sockets are written to with MSG_NOSIGNAL.
    signal(SIGPIPE, SIG_IGN);
    return serve(&address, (int)most);
}
