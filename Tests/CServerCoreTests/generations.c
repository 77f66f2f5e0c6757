// SPDX-License-Identifier: Apache-2.0

// Processes that hand their listening socket over to the next while clients connect.

#include "folder.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno));       \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

typedef struct generation {
    const char *path;
    csc_server *server;
    int descriptor;
    int control; // of the successor, open to the end of the process
    atomic_bool is_over;
} generation;

static void *wait_for_successor(void *context) {
    generation *it = context;
    const csc_handover_listener listeners[] = {{"echo", it->descriptor}};
    int listener = -1;
    CHECK(csc_handover_listen(it->path, &listener) == 0);
    for (;;) {
        CHECK(csc_handover_accept(listener, -1, &it->control) == 0);
        if (csc_handover_offer(it->control, listeners, 1, NULL) == 0 &&
            csc_handover_wait_ready(it->control, 60000) == 0) {
            break;
        }
        close(it->control); // and serve on
    }
    close(listener);
    atomic_store(&it->is_over, true);
    csc_server_wake(it->server);
    return NULL;
}

static void answer_all(csc_server *server, char number) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        send(connection.descriptor, &number, 1, MSG_NOSIGNAL);
        close(connection.descriptor);
    }
}

// A successor that is killed, ends or hangs at some step, before one that works.
static void fail_at(const char *path, int step) {
    int control = -1;
    if (csc_handover_connect(path, &control) != 0 || step == 0) {
        _exit(0);
    }
    csc_inherited *set = csc_inherited_new();
    csc_handover_receive(control, set, NULL);
    _exit(0);
}

// Asks again where one of the two was held up for longer than the other waits for it.
static int take_over(const char *path, csc_inherited *set, int *predecessor) {
    int errnum = ETIMEDOUT;
    while (errnum == ETIMEDOUT || errnum == ECONNRESET || errnum == EPIPE) {
        errnum = csc_handover_connect(path, predecessor);
        if (errnum == 0) {
            errnum = csc_handover_receive(*predecessor, set, NULL);
            if (errnum != 0) {
                close(*predecessor);
            }
        }
    }
    return errnum;
}

static void serve(const char *path, char number, const csc_address *address, bool is_first) {
    generation it = {.path = path, .server = csc_server_new(NULL), .control = -1};
    csc_inherited *set = csc_inherited_new();
    pthread_t thread;
    int predecessor = -1;
    alarm(120);
    if (!is_first) {
        CHECK(take_over(path, set, &predecessor) == 0);
    }
    CHECK(csc_server_listen_inherited(it.server, set, "echo", address));
    it.descriptor = csc_server_descriptor(it.server);
    if (!is_first) {
        CHECK(csc_handover_ready(predecessor) == 0);
    }
    CHECK(pthread_create(&thread, NULL, wait_for_successor, &it) == 0);
    while (!atomic_load(&it.is_over)) {
        bool timed_out;
        csc_server_wait(it.server, 100, &timed_out);
        answer_all(it.server, number);
    }
    pthread_join(thread, NULL); // which has woken the server
    csc_server_finish(it.server);
    answer_all(it.server, number);
    csc_server_free(it.server);
    _exit(0);
}

static pid_t start(const char *path, int number, const csc_address *address) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        serve(path, (char)number, address, number == 0);
    }
    assert_true(child > 0);
    return child;
}

// Connects, and returns the number of who answered; -1 for a client that was not served.
static int ask(const csc_address *address) {
    char number = 0;
    int client = connect_to(address);
    if (client < 0) {
        return -1;
    }
    struct pollfd entry = {.fd = client, .events = POLLIN};
    bool answered = poll(&entry, 1, 60000) == 1 && recv(client, &number, 1, 0) == 1;
    close(client);
    return answered ? number : -1;
}

static bool has_control_socket(const char *path) {
    int control = -1;
    bool connects = csc_handover_connect(path, &control) == 0;
    if (connects) {
        close(control);
    }
    return connects;
}

enum { GENERATIONS = 12 };

static void no_client_is_lost_over_generations_of_processes(void **state) {
    fixture *it = *state;
    folder where = folder_make();
    // A port of the process's own address, which stays free.
    int bound = fixture_own(it, raw_listener(own_loopback(), 1));
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address address;
    assert_int_equal(getsockname(bound, (struct sockaddr *)&name, &length), 0);
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
    fixture_close(it, bound);
    pid_t current = start(where.path, 0, &address);
    while (ask(&address) < 0 || !has_control_socket(where.path)) {
        assert_int_equal(waitpid(current, NULL, WNOHANG), 0);
    }
    for (int number = 1; number < GENERATIONS; number++) {
        fflush(NULL);
        pid_t failing = fork();
        if (failing == 0) {
            fail_at(where.path, number % 2);
        }
        while (waitpid(failing, NULL, WNOHANG) == 0) {
            assert_int_equal(ask(&address), number - 1);
        }
        while (!has_control_socket(where.path)) { // it may be busy with the one that failed
            assert_int_equal(ask(&address), number - 1);
        }
        pid_t next = start(where.path, number, &address);
        int status = -1;
        while (waitpid(current, &status, WNOHANG) == 0) {
            assert_in_range(ask(&address), number - 1, number);
            assert_int_equal(waitpid(next, NULL, WNOHANG), 0);
        }
        assert_int_equal(status, 0);
        assert_int_equal(ask(&address), number);
        current = next;
    }
    while (!has_control_socket(where.path)) { // it may be making that, under another name at first
        assert_int_equal(ask(&address), GENERATIONS - 1);
    }
    kill(current, SIGKILL);
    waitpid(current, NULL, 0);
    unlink(where.path);
    folder_remove(&where);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(no_client_is_lost_over_generations_of_processes),
    };
    return cmocka_run_group_tests_name("generations", tests, NULL, NULL);
}
