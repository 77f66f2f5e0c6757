// SPDX-License-Identifier: Apache-2.0

// Passes every probe that needs no second thread, in the order in which `check` expects them. What
// differs each time is printed: NAME=VALUE.

#include <CServerCore.h>

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void require(bool fact, const char *text) {
    if (!fact) {
        fprintf(stderr, "not so: %s\n", text);
        exit(1);
    }
}

static int connect_to(const csc_server *server) {
    struct sockaddr_storage name;
    csc_address address = csc_server_address(server);
    socklen_t length = csc_address_to_sockaddr(&address, &name);
    int client = socket(name.ss_family, SOCK_STREAM, 0);
    require(connect(client, (struct sockaddr *)&name, length) == 0, "a client connects");
    return client;
}

static void listen_on_loopback(csc_server *server, const char *name) {
    csc_address address;
    require(csc_address_parse("127.0.0.1", 0, &address), "127.0.0.1 is an address");
    require(csc_server_listen(server, &address), "the server listens");
    printf("%s=%p\n%s_socket=%d\n%s_port=%d\n", name, (void *)server, name,
           csc_server_descriptor(server), name, csc_server_port(server));
}

// Closes the connection and its client, so that the next ones have the same numbers.
static void take(csc_server *server, int client) {
    csc_connection connection;
    require(csc_server_next_pending(server, &connection), "a connection is pending");
    close(connection.descriptor);
    close(client);
}

static void run_out_of_descriptors(csc_server *server) {
    struct rlimit limit;
    int client = connect_to(server);
    require(getrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit is known");
    struct rlimit none = {.rlim_cur = (rlim_t)client + 1, .rlim_max = limit.rlim_max};
    require(setrlimit(RLIMIT_NOFILE, &none) == 0, "the limit can be lowered");
    require(!csc_server_wait(server, 0, NULL), "there is no descriptor for the connection");
    require(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit can be raised again");
    require(csc_server_wait(server, 10000, NULL), "the pause ends by itself");
    take(server, client);
}

static void serve_alone(void) {
    csc_server *server = csc_server_new(NULL);
    csc_server_set_descriptor_reserve(server, 0);
    listen_on_loopback(server, "alone");
    int client = connect_to(server);
    require(csc_server_wait(server, 10000, NULL), "a connection comes");
    take(server, client);

    csc_server_pause(server);
    csc_server_resume(server);

    csc_server_set_max_connections(server, 1, CSC_EXCESS_CLOSE);
    client = connect_to(server);
    csc_server_wait(server, 0, NULL);
    close(client);
    csc_server_set_max_connections(server, -1, CSC_EXCESS_WAIT);

    run_out_of_descriptors(server);
    csc_server_finish(server);
    csc_server_free(server);
}

static void serve_in_a_group(void) {
    struct event_base *base = event_base_new();
    csc_server *acceptor = csc_server_new(base);
    csc_server *member = csc_server_new(base);
    csc_group *group = csc_group_new(acceptor, 1);
    require(group && csc_group_add(group, member), "there is a group");
    listen_on_loopback(acceptor, "acceptor");
    printf("member=%p\n", (void *)member);
    int client = connect_to(acceptor);
    while (!csc_server_has_pending(member)) {
        event_base_loop(base, EVLOOP_ONCE);
    }
    take(member, client);
    close(csc_server_release(acceptor));
    csc_server_free(member);
    csc_server_free(acceptor);
    event_base_free(base);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    serve_alone();
    serve_in_a_group();
    return 0;
}
