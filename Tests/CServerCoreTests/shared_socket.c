// SPDX-License-Identifier: Apache-2.0

// Two servers of two processes share a listening socket with a third process that was stopped
// within its accept(2): each client is served once, and no loop turns in vain meanwhile.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 500, AT_ONCE = 20 };

static void answer(csc_server *server, void *context) {
    const char *name = context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        send(connection.descriptor, name, 1, MSG_NOSIGNAL);
        close(connection.descriptor);
    }
}

static void end_loop(evutil_socket_t descriptor, short events, void *base) {
    (void)descriptor, (void)events;
    event_base_loopbreak(base);
}

// Serves until the pipe is closed. Its status says whether the descriptor was left open, or more
// than two seconds of CPU were used.
static void serve(int listener, int orders, int ready, const char *name, bool by_wait) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
    struct event_base *base = by_wait ? NULL : event_base_new();
    csc_server *server = csc_server_new(base);
    csc_server_on_new_connection(server, answer, (void *)(uintptr_t)name);
    if (!csc_server_adopt(server, listener) || write(ready, "r", 1) != 1) {
        _exit(100);
    }
    if (by_wait) {
        struct pollfd entry = {.fd = orders, .events = POLLIN};
        while (poll(&entry, 1, 0) == 0) {
            csc_server_wait(server, 20, NULL);
        }
    } else {
        struct event *order = event_new(base, orders, EV_READ, end_loop, base);
        event_add(order, NULL);
        event_base_dispatch(base);
        event_free(order);
    }
    csc_server_free(server);
    if (base) {
        event_base_free(base);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    long tenths = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 10 +
                  (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 100000;
    _exit(fcntl(listener, F_GETFD) >= 0 ? 101 : tenths > 20 ? 102 : 0);
}

static void accept_for_ever(int listener) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(listener, F_SETFL, 0); // blocking until a server adopts it
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0) {
            send(connection, "c", 1, MSG_NOSIGNAL);
            close(connection);
        } else {
            poll(NULL, 0, 10);
        }
    }
}

// Reads the one byte of the answer, and the end behind it.
static char answer_of(int client) {
    char bytes[4];
    size_t length = 0;
    struct pollfd entry = {.fd = client, .events = POLLIN};
    while (length < sizeof bytes && poll(&entry, 1, 20000) == 1) {
        ssize_t count = read(client, bytes + length, sizeof bytes - length);
        if (count <= 0) {
            break;
        }
        length += (size_t)count;
    }
    return length == 1 ? bytes[0] : '?';
}

static void wait_for_state(pid_t process, char wanted) {
    for (int i = 0; i < 2000; i++) {
        char path[64];
        char text[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t count = read(file, text, sizeof text - 1);
        close(file);
        const char *end = count > 0 ? strrchr(text, ')') : NULL;
        if (end && end[2] == wanted) {
            return;
        }
        poll(NULL, 0, 5);
    }
    fail_msg("process %d is never %c", (int)process, wanted);
}

static void two_servers_and_a_stopped_third_serve_each_client_once(void **state) {
    (void)state;
    csc_address address;
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int orders[2];
    int ready[2];
    int listener = raw_listener(own_loopback(), 1000);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &length), 0);
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
    assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t third = fork();
    if (third == 0) {
        close(orders[1]);
        accept_for_ever(listener);
    }
    wait_for_state(third, 'S');
    assert_int_equal(kill(third, SIGSTOP), 0);
    wait_for_state(third, 'T');
    pid_t servers[2];
    for (int i = 0; i < 2; i++) {
        servers[i] = fork();
        if (servers[i] == 0) {
            close(orders[1]);
            serve(listener, orders[0], ready[1], i == 0 ? "a" : "b", i == 1);
        }
        char byte;
        assert_int_equal(read(ready[0], &byte, 1), 1);
    }
    int served[256] = {0};
    for (int i = 0; i < CLIENTS / AT_ONCE; i++) {
        int clients[AT_ONCE];
        for (int j = 0; j < AT_ONCE; j++) {
            clients[j] = connect_to(&address);
            assert_true(clients[j] >= 0);
        }
        for (int j = 0; j < AT_ONCE; j++) {
            served[(unsigned char)answer_of(clients[j])]++;
            close(clients[j]);
        }
    }
    poll(NULL, 0, 500); // idle: a loop that turns in vain uses up time
    assert_int_equal(served['a'] + served['b'], CLIENTS);
    close(orders[1]);
    for (int i = 0; i < 2; i++) {
        int status = -1;
        assert_int_equal(waitpid(servers[i], &status, 0), servers[i]);
        assert_int_equal(status, 0);
    }
    kill(third, SIGKILL);
    waitpid(third, NULL, 0);
    close(orders[0]);
    close(ready[0]);
    close(ready[1]);
    close(listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_servers_and_a_stopped_third_serve_each_client_once),
    };
    return cmocka_run_group_tests_name("shared socket", tests, NULL, NULL);
}
