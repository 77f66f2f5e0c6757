// SPDX-License-Identifier: Apache-2.0

// A whole program on the installed library: it serves one connection, to itself, and checks the
// reply. Built by each of the consumers beside it.

#include <CServerCore.h>

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void greet(csc_server *server, void *base) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        send(connection.descriptor, "hello", 5, MSG_NOSIGNAL);
        close(connection.descriptor);
    }
    event_base_loopbreak(base);
}

static int connect_to(const csc_address *address) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(address, &name);
    int client = socket(name.ss_family, SOCK_STREAM, 0);
    return connect(client, (struct sockaddr *)&name, length) == 0 ? client : -1;
}

int main(void) {
    csc_address address;
    char reply[6] = "";
    struct event_base *base = event_base_new();
    csc_server *server = csc_server_new(base);
    csc_server_on_new_connection(server, greet, base);
    if (!csc_address_parse("127.0.0.1", 0, &address) || !csc_server_listen(server, &address)) {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(server));
        return 1;
    }
    address = csc_server_address(server);
    int client = connect_to(&address);
    event_base_dispatch(base);
    ssize_t received = recv(client, reply, sizeof reply - 1, MSG_WAITALL);
    close(client);
    csc_server_free(server);
    event_base_free(base);
    printf("version %d.%d.%d: %s\n", CSC_VERSION_MAJOR, CSC_VERSION_MINOR, CSC_VERSION_PATCH,
           reply);
    return received == 5 && strcmp(reply, "hello") == 0 ? 0 : 1;
}
