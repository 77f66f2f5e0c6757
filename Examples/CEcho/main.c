// SPDX-License-Identifier: Apache-2.0

// An echo server on the C core: what a client sends comes back, until the client has no more.
//
// With the library installed, this builds it:
//   cc -pthread main.c -o c-echo $(pkg-config --cflags --libs cservercore libevent_core)
//
// Usage: c-echo [-c connections] [-f seconds] [-i seconds] [-l loops] [-r rate] [-s connections]
// [address [port]], for example `c-echo 127.0.0.1 7007`. Ctrl-C ends it.
//   -c  how many connections may be open at once (1000); further clients wait
//   -f  how many seconds a client may take to send its first byte (10)
//   -i  how many seconds a connection may be silent after that (60)
//   -l  how many loops serve them, each on a thread of its own (1)
//   -r  how many connections are accepted in a second (all); further clients wait
//   -s  how many connections one address, or one /56 of IPv6, may have at once (all)

#include <CServerCore.h>

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

static struct timeval first_byte = {.tv_sec = 10};
static struct timeval idle = {.tv_sec = 60};
static int stop[2]; // a pipe: its end is the end of all loops

// A loop, and the server that receives this loop's share of the connections.
typedef struct loop {
    struct event_base *base;
    csc_server *server;
    LIST_HEAD(, client) clients;
    struct event stopped;
    pthread_t thread;
} loop;

// A client's bytes are on their way in or, while the kernel takes no more, on their way out. Never
// both, so nothing is read from a client that does not read.
typedef struct client {
    LIST_ENTRY(client) others;
    csc_server *server;
    uint32_t source; // its place among the connections of its address
    struct event readable, writable;
    size_t start, end; // what the buffer holds that is not sent yet
    char buffer[16384];
} client;

static void drop(client *self) {
    event_del(&self->readable);
    event_del(&self->writable);
    close(event_get_fd(&self->readable));
    csc_server_connection_ended_from(self->server, self->source); // makes room for another one
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

static void on_new_connection(csc_server *server, void *context) {
    loop *here = context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        int descriptor = connection.descriptor;
        client *self = calloc(1, sizeof *self);
        if (!self) {
            close(descriptor);
            csc_server_connection_ended_from(server, connection.source);
            continue;
        }
        self->server = server;
        self->source = connection.source;
        LIST_INSERT_HEAD(&here->clients, self, others);
        event_assign(&self->readable, here->base, descriptor, EV_READ | EV_PERSIST, receive, self);
        event_assign(&self->writable, here->base, descriptor, EV_WRITE, send_rest, self);
        wait_for(self, &self->readable, &first_byte);
    }
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    (void)error;
    (void)context;
    fprintf(stderr, "cannot accept: %s\n", csc_server_error_string(server));
}

// Of Ctrl-C, and of the pipe that ends the other loops then.
static void end_loop(int number, short events, void *base) {
    (void)number;
    (void)events;
    event_base_loopbreak(base);
}

static bool open_loop(loop *self, struct event_base *base, csc_group *group) {
    LIST_INIT(&self->clients);
    self->base = base;
    self->server = base ? csc_server_new(base) : NULL;
    csc_server_on_new_connection(self->server, on_new_connection, self);
    return self->server && csc_group_add(group, self->server) &&
           event_assign(&self->stopped, base, stop[0], EV_READ, end_loop, base) == 0 &&
           event_add(&self->stopped, NULL) == 0;
}

static void *run_loop(void *context) {
    loop *self = context;
    event_base_dispatch(self->base);
    while (!LIST_EMPTY(&self->clients)) {
        drop(LIST_FIRST(&self->clients));
    }
    event_del(&self->stopped);
    csc_server_free(self->server);
    return NULL;
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
    fputs("usage: c-echo [-c connections] [-f seconds] [-i seconds] [-l loops] [-r rate] "
          "[-s connections] [address [port]]\n",
          stderr);
    return EX_USAGE;
}

// Each client has a descriptor. A limit costs less than to find out, again and again, that none is
// left, which the last one before the reserve counts as.
static void limit_connections(csc_server *acceptor, int most) {
    int room = csc_server_descriptor_headroom(acceptor) - 1;
    csc_server_set_max_connections(acceptor, room < most ? (room > 1 ? room : 1) : most,
                                   CSC_EXCESS_WAIT);
}

// 0 is no limit for either.
static bool limit_sources(csc_server *acceptor, uint32_t per_source, uint32_t per_second) {
    csc_sources *sources = csc_sources_new(&(csc_source_limits){.max_connections = per_source});
    csc_rate *rate = csc_rate_new(per_second, 0);
    bool limited = sources && rate;
    if (limited && per_source > 0) {
        limited = csc_server_set_sources(acceptor, sources);
    }
    if (limited && per_second > 0) {
        limited = csc_server_set_accept_rate(acceptor, rate);
    }
    csc_sources_free(sources); // the server's from now on
    csc_rate_free(rate);
    return limited;
}

static bool start_listening(csc_server *acceptor, const csc_address *wanted, int most) {
    if (!csc_server_listen(acceptor, wanted)) {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(acceptor));
        return false;
    }
    limit_connections(acceptor, most);
    csc_address address = csc_server_address(acceptor);
    char text[CSC_ADDRESS_TEXT_SIZE];
    csc_address_format(&address, text, sizeof text);
    printf("listening on %s port %u\n", text, (unsigned)address.port);
    fflush(stdout);
    return true;
}

// The first one is this thread's, which goes on to accept for all of them.
static bool start_loops(loop *loops, size_t count, csc_server *acceptor, struct event_base *base) {
    csc_group *group = csc_group_new(acceptor, count);
    bool opened = group && loops && pipe(stop) == 0;
    for (size_t i = 0; opened && i < count; i++) {
        opened = open_loop(&loops[i], i == 0 ? base : event_base_new(), group);
    }
    for (size_t i = 1; opened && i < count; i++) {
        opened = pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]) == 0;
    }
    return opened;
}

static void end_loops(loop *loops, size_t count) {
    close(stop[1]);
    run_loop(&loops[0]); // to its end
    for (size_t i = 1; i < count; i++) {
        pthread_join(loops[i].thread, NULL);
        event_base_free(loops[i].base);
    }
    free(loops);
    close(stop[0]);
}

static int serve(const csc_address *wanted, int most, size_t count, uint32_t per_source,
                 uint32_t per_second) {
    struct event_base *base = event_base_new();
    csc_server *acceptor = base ? csc_server_new(base) : NULL;
    loop *loops = calloc(count, sizeof *loops);
    if (!start_loops(loops, count, acceptor, base) ||
        !limit_sources(acceptor, per_source, per_second)) {
        fputs("c-echo: no memory, no descriptors or no threads for the event loops\n", stderr);
        return EX_OSERR;
    }
    csc_server_on_accept_error(acceptor, on_accept_error, NULL);
    struct event interrupt;
    event_assign(&interrupt, base, SIGINT, EV_SIGNAL | EV_PERSIST, end_loop, base);
    event_add(&interrupt, NULL); // before it says that it listens: Ctrl-C works from then on
    bool listening = start_listening(acceptor, wanted, most);
    if (listening) {
        event_base_dispatch(base);
    }
    csc_server_close(acceptor);
    end_loops(loops, count);
    event_del(&interrupt);
    csc_server_free(acceptor);
    event_base_free(base);
    return listening ? EX_OK : EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
    long most = 1000;
    long seconds = 0;
    long loops = 1;
    long per_second = 0;
    long per_source = 0;
    int option;
    // The + ends the options at the address, so that a port of -1 is not taken for one.
    while ((option = getopt(argc, argv, "+c:f:i:l:r:s:")) != -1) {
        if (option == 'c') {
            if (!parse_number(optarg, INT_MAX, &most) || most == 0) {
                return refuse("-c takes a number from 1 on", optarg);
            }
        } else if (option == 'f' || option == 'i') {
            if (!parse_number(optarg, 1000000, &seconds) || seconds == 0) {
                return refuse("-f and -i take a number of seconds from 1 to 1000000", optarg);
            }
            *(option == 'f' ? &first_byte : &idle) = (struct timeval){.tv_sec = seconds};
        } else if (option == 'l') {
            if (!parse_number(optarg, 1024, &loops) || loops == 0) {
                return refuse("-l takes a number of loops from 1 to 1024", optarg);
            }
        } else if (option == 'r' || option == 's') {
            long *number = option == 'r' ? &per_second : &per_source;
            if (!parse_number(optarg, INT_MAX, number) || *number == 0) {
                return refuse("-r and -s take a number from 1 on", optarg);
            }
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
    return serve(&address, (int)most, (size_t)loops, (uint32_t)per_source, (uint32_t)per_second);
}
