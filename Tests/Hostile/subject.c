// SPDX-License-Identifier: Apache-2.0

// A server that does what its driver says, and reports what it sees.
//
// Usage: hostile_subject close|hold|echo|leave|name [--adopt DESCRIPTOR] [--address A]
//        [--max-pending N] [--user-timeout MSEC] [--keep-alive SECONDS] [--policy wait|shed]
//        [--proxy-headers MSEC] [--path P]
//
// Says its port as "port N", then reads commands (commands.c). Ends with its standard input.

#include "subject.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static subject self;

static void count_signal(int number) {
    (void)number;
    self.signals++;
}

static void count_accept_error(csc_server *server, csc_error error, void *context) {
    (void)server, (void)error, (void)context;
    self.accept_errors++;
}

static void on_command(int descriptor, short events, void *context) {
    (void)descriptor, (void)events, (void)context;
    if (!commands_read(&self)) {
        event_base_loopbreak(self.base);
    }
}

static int usage(void) {
    fputs("usage: hostile_subject close|hold|echo|leave|name [--adopt DESCRIPTOR] [--address A]"
          " [--max-pending N] [--user-timeout MSEC] [--keep-alive SECONDS]"
          " [--policy wait|shed] [--proxy-headers MSEC] [--path P]\n",
          stderr);
    return 2;
}

// Accepted connections inherit these.
static bool set_options(int descriptor, int user_timeout, int keep_alive) {
    const struct {
        int wanted, level, name, value;
    } options[] = {
        {user_timeout, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout},
        {keep_alive, SOL_SOCKET, SO_KEEPALIVE, 1},
        {keep_alive, IPPROTO_TCP, TCP_KEEPIDLE, keep_alive},
        {keep_alive, IPPROTO_TCP, TCP_KEEPINTVL, keep_alive},
        {keep_alive, IPPROTO_TCP, TCP_KEEPCNT, 2},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (options[i].wanted > 0 && setsockopt(descriptor, options[i].level, options[i].name,
                                                &options[i].value, sizeof options[i].value) != 0) {
            perror("setsockopt");
            return false;
        }
    }
    return true;
}

static bool parse_service(const char *word) {
    static const char *const words[] = {"close", "hold", "echo", "leave", "name"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) == 0) {
            self.service = (service)i;
            return true;
        }
    }
    return false;
}

// Of the loopback network and of paths, each within so many milliseconds.
static bool require_headers(int timeout) {
    const csc_network networks[] = {
        {.address = {.bytes = {127}, .family = CSC_FAMILY_IPV4}, .prefix_length = 8},
        {.address = {.family = CSC_FAMILY_UNIX}},
    };
    const csc_proxy_requirement requirement = {
        .networks = networks, .network_count = 2, .timeout = timeout};
    csc_server_set_max_prefaces(self.server, 10000);
    return csc_server_require_proxy_header(self.server, &requirement);
}

int main(int argc, char *argv[]) {
    const char *address_text = "127.0.0.1";
    const char *path = NULL;
    int adopted = -1;
    int max_pending = 30;
    int user_timeout = 0;
    int keep_alive = 0;
    int proxy_headers = 0;
    bool sheds = false;
    if (argc < 2 || argc % 2 != 0 || !parse_service(argv[1])) {
        return usage();
    }
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--adopt") == 0) {
            adopted = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--address") == 0) {
            address_text = argv[i + 1];
        } else if (strcmp(argv[i], "--max-pending") == 0) {
            max_pending = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--user-timeout") == 0) {
            user_timeout = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--keep-alive") == 0) {
            keep_alive = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--proxy-headers") == 0) {
            proxy_headers = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--path") == 0) {
            path = argv[i + 1];
        } else if (strcmp(argv[i], "--policy") == 0) {
            sheds = strcmp(argv[i + 1], "shed") == 0;
        } else {
            return usage();
        }
    }
    struct sigaction action = {.sa_handler = count_signal}; // without SA_RESTART
    sigaction(SIGALRM, &action, NULL);

    self.base = event_base_new();
    self.server = csc_server_new(self.base);
    csc_server_set_max_pending(self.server, max_pending);
    csc_server_set_overload_policy(self.server, sheds ? CSC_OVERLOAD_SHED : CSC_OVERLOAD_WAIT);
    csc_server_on_new_connection(self.server, connections_serve, &self);
    csc_server_on_accept_error(self.server, count_accept_error, NULL);
    csc_address address;
    if (!csc_address_parse(address_text, 0, &address)) {
        return usage();
    }
    if (proxy_headers > 0 && !require_headers(proxy_headers)) {
        fprintf(stderr, "%s\n", csc_server_error_string(self.server));
        return 1;
    }
    bool listening = path           ? csc_server_listen_path(self.server, path, -1, false)
                     : adopted >= 0 ? csc_server_adopt(self.server, adopted)
                                    : csc_server_listen(self.server, &address);
    if (!listening) {
        fprintf(stderr, "%s\n", csc_server_error_string(self.server));
        return 1;
    }
    if (!set_options(csc_server_descriptor(self.server), user_timeout, keep_alive)) {
        return 1;
    }
    struct event commands;
    event_assign(&commands, self.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_command, NULL);
    event_add(&commands, NULL);
    printf("port %u\n", (unsigned)csc_server_port(self.server));
    fflush(stdout);
    event_base_dispatch(self.base);

    connections_drop(connections_held());
    csc_server_free(self.server);
    event_base_free(self.base);
    return 0;
}
