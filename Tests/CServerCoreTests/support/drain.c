// SPDX-License-Identifier: Apache-2.0

// A server to count the system calls of. `drain serve N` adopts descriptor 3, takes N connections
// from its queue and ends. `drain N command...` makes that listener with N clients queued, then
// becomes the command, so that nothing but the serving is counted.

#include <CServerCore.h>

#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENER = 3 };

typedef struct drain {
    struct event_base *base;
    int left;
} drain;

static void on_new_connection(csc_server *server, void *context) {
    drain *now = context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        if (--now->left == 0) {
            event_base_loopbreak(now->base);
        }
    }
}

static int serve(int count) {
    drain now = {.base = event_base_new(), .left = count};
    csc_server *server = csc_server_new(now.base);
    csc_server_on_new_connection(server, on_new_connection, &now);
    if (!csc_server_adopt(server, LISTENER)) {
        fprintf(stderr, "cannot adopt: %s\n", csc_server_error_string(server));
        return 1;
    }
    event_base_dispatch(now.base);
    csc_server_free(server);
    event_base_free(now.base);
    return now.left == 0 ? 0 : 1;
}

static int prepare(int count, char *const command[]) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || dup2(listener, LISTENER) != LISTENER ||
        bind(LISTENER, (struct sockaddr *)&name, length) != 0 || listen(LISTENER, count) != 0 ||
        getsockname(LISTENER, (struct sockaddr *)&name, &length) != 0) {
        perror("listening");
        return 1;
    }
    for (int i = 0; i < count; i++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        if (client < 0 || connect(client, (struct sockaddr *)&name, length) != 0) {
            perror("connecting");
            return 1;
        }
    }
    execvp(command[0], command);
    perror(command[0]);
    return 1;
}

int main(int argc, char *argv[]) {
    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        return serve(atoi(argv[2]));
    }
    if (argc >= 3) {
        return prepare(atoi(argv[1]), argv + 2);
    }
    fprintf(stderr, "usage: drain serve N | drain N command...\n");
    return 2;
}
