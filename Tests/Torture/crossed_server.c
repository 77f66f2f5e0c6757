// SPDX-License-Identifier: Apache-2.0

// A small server, with the shim linked in, for cross-check: five clients come, each is greeted;
// their results are printed in one line. Its failures come from the shim, or from strace
// outside:
//
//   crossed_server                       whatever strace injects
//   crossed_server CALL NTH COUNT ERRNO  the shim fails a call, COUNT -1 for ever
//   crossed_server wait ...              the same without a loop
//
// The clients are another process's, so that strace, which follows none, sees the server's calls.

#include <CServerCore.h>
#include <FaultInjection.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 5, LONGEST_S = 60, LONGEST_WAIT_MS = 20000 };

static int greeted;
static int told;
static struct event_base *loop;

static void greet(csc_server *server, void *context) {
    (void)context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        if (write(connection.descriptor, "hello", 5) == 5) {
            greeted++;
        }
        close(connection.descriptor);
    }
    if (loop && greeted == CLIENTS) {
        event_base_loopbreak(loop);
    }
}

static void count_error(csc_server *server, csc_error error, void *context) {
    (void)error;
    (void)context;
    told++;
    if (loop && !csc_server_is_listening(server)) {
        event_base_loopbreak(loop);
    }
}

static void ignore_log(int severity, const char *message) {
    (void)severity;
    (void)message;
}

// They connect one after the other and stay until the server has gone.
static pid_t start_clients(const csc_address *where) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(where, &name);
    int ready[2];
    if (pipe(ready) != 0) {
        return -1;
    }
    pid_t process = fork();
    if (process == 0) {
        char byte;
        close(ready[0]);
        alarm(LONGEST_S);
        for (int i = 0; i < CLIENTS; i++) {
            int descriptor = socket(name.ss_family, SOCK_STREAM, 0);
            if (connect(descriptor, (struct sockaddr *)&name, length) != 0) {
                break;
            }
        }
        _exit(write(ready[1], "r", 1) == 1 && pause() == 0 && read(0, &byte, 1) == 0);
    }
    // Until all are in the kernel's queue: then each run makes the same calls.
    char byte;
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        process = -1;
    }
    close(ready[0]);
    return process;
}

static void serve_by_waiting(csc_server *server) {
    bool timed_out = false;
    for (int i = 0; i < 2 * CLIENTS && greeted < CLIENTS && !timed_out; i++) {
        if (!csc_server_is_listening(server)) {
            break;
        }
        csc_server_wait(server, LONGEST_WAIT_MS, &timed_out);
    }
}

static void print_outcome(const char *step, csc_server *server) {
    csc_statistics now;
    csc_server_statistics(server, &now, sizeof now);
    printf("%s: greeted %d, told %d, %s, error %d \"%s\"; peer %lu, resources %lu, refused %lu, "
           "listener %lu, episodes %lu\n",
           step, greeted, told, csc_server_is_listening(server) ? "listening" : "not listening",
           csc_server_error(server), csc_server_error_string(server), now.peer_errors,
           now.resource_errors > 0 ? 1ul : 0ul, now.permission_errors > 0 ? 1ul : 0ul,
           now.listener_errors, now.error_episodes);
}

static void plan(char **arguments) {
    for (int call = 0; call < FAULT_CALLS; call++) {
        if (strcmp(fault_call_name((fault_call)call), arguments[0]) == 0) {
            fault_fail((fault_call)call, atoi(arguments[1]), atoi(arguments[2]),
                       atoi(arguments[3]));
        }
    }
}

int main(int count, char **arguments) {
    bool waits = count > 1 && strcmp(arguments[1], "wait") == 0;
    alarm(LONGEST_S);
    event_set_log_callback(ignore_log);
    if (count - waits == 5) {
        plan(arguments + 1 + waits);
    }
    loop = waits ? NULL : event_base_new();
    csc_server *server = csc_server_new(loop);
    csc_server_on_new_connection(server, greet, NULL);
    csc_server_on_accept_error(server, count_error, NULL);
    csc_address where = {.bytes = {127, 0, 0, 1}, .family = CSC_FAMILY_IPV4};
    if (!csc_server_listen(server, &where)) {
        print_outcome("listen", server);
        return 0;
    }
    where = csc_server_address(server);
    pid_t clients = start_clients(&where);
    if (clients < 0) {
        return 1;
    }
    if (loop) {
        event_base_dispatch(loop);
    } else {
        serve_by_waiting(server);
    }
    print_outcome("serve", server);
    csc_server_free(server);
    kill(clients, SIGKILL);
    waitpid(clients, NULL, 0);
    if (loop) {
        event_base_free(loop);
    }
    return 0;
}
