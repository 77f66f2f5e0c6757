// SPDX-License-Identifier: Apache-2.0

// What a child of fork() owns of its parent's servers, and how it goes on with their socket.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NUMBERS = 128 };

// Which numbers are open, with their flags; -1 for those that are not.
typedef struct numbers {
    int flags[NUMBERS];
} numbers;

static numbers look_at_numbers(void) {
    numbers result;
    for (int i = 0; i < NUMBERS; i++) {
        result.flags[i] = fcntl(i, F_GETFD);
    }
    return result;
}

static int count(const numbers *now) {
    int open = 0;
    for (int i = 0; i < NUMBERS; i++) {
        open += now->flags[i] >= 0;
    }
    return open;
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void assert_ends_well(pid_t child) {
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static pid_t fork_child(void) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
    }
    return child;
}

// Three servers: the middle one was closed before the fork, and the child frees all.
static void a_child_owns_copies_that_free_gives_back(void **state) {
    fixture *it = *state;
    numbers at_first = look_at_numbers();
    csc_server *servers[3];
    for (int i = 0; i < 3; i++) {
        servers[i] = csc_server_new(it->base);
        csc_server_set_overload_policy(servers[i], CSC_OVERLOAD_SHED);
        csc_address address = address_of(own_loopback(), 0);
        assert_true(csc_server_listen(servers[i], &address));
    }
    csc_server_close(servers[1]);
    numbers before = look_at_numbers();
    assert_int_equal(count(&before), count(&at_first) + 2 * 4); // socket, duplicate, timer, reserve
    pid_t child = fork_child();
    if (child == 0) {
        numbers now = look_at_numbers();
        for (int i = 0; i < NUMBERS; i++) {
            CHECK(now.flags[i] == before.flags[i]); // the same numbers, close-on-exec
        }
        for (int i = 0; i < 3; i++) {
            CHECK(csc_server_descriptor(servers[i]) == -1);
            CHECK(!csc_server_is_listening(servers[i]));
            csc_server_free(servers[i]);
        }
        now = look_at_numbers();
        CHECK(count(&now) == count(&at_first));
        CHECK(fault_bad_closes() == 0);
        _exit(0);
    }
    assert_ends_well(child);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(csc_server_is_listening(servers[i]), i != 1);
        if (csc_server_is_listening(servers[i])) {
            csc_address address = csc_server_address(servers[i]);
            fixture_own(it, connect_to(&address));
            assert_true(csc_server_wait(servers[i], 1000, NULL));
        }
        csc_server_free(servers[i]);
    }
}

static void wait_does_not_leave_the_child_with_an_old_error(void **state) {
    fixture *it = *state;
    pid_t child = fork_child();
    if (child == 0) {
        bool timed_out = false;
        CHECK(!csc_server_wait(it->server, 0, &timed_out)); // it never listened
        CHECK(csc_server_error(it->server) == CSC_ERROR_OPERATION);
        csc_connection place = {.descriptor = -1};
        CHECK(csc_server_add_pending(it->server, &place));
        CHECK(!csc_server_wait(it->server, 0, &timed_out));
        csc_server_wake(it->server); // no thread waits, and the parent does not notice it
        _exit(0);
    }
    assert_ends_well(child);
    fixture_listen(it);
    bool timed_out = false;
    assert_false(csc_server_wait(it->server, 1, &timed_out));
    assert_true(timed_out);
    child = fork_child();
    if (child == 0) {
        csc_server_wake(it->server);
        _exit(0);
    }
    assert_ends_well(child);
    assert_false(csc_server_wait(it->server, 1, &timed_out));
    assert_true(timed_out);
}

static void serve_one(csc_server *server, void *context) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        send(connection.descriptor, "d", 1, MSG_NOSIGNAL);
        close(connection.descriptor);
        event_base_loopbreak(context);
    }
}

// What daemon(3) does: the parent exits, and its child goes on.
static void be_daemon(fixture *it, int ready) {
    csc_server *server = csc_server_new(it->base);
    CHECK(event_reinit(it->base) == 0);
    int descriptor = csc_server_release(it->server);
    CHECK(descriptor >= 0 && csc_server_descriptor(it->server) == -1);
    CHECK(csc_server_release(it->server) == -1);
    csc_server_free(it->server);
    CHECK(csc_server_adopt(server, descriptor));
    csc_server_on_new_connection(server, serve_one, it->base);
    CHECK(write(ready, "r", 1) == 1);
    event_base_dispatch(it->base);
    csc_server_free(server);
    _exit(0);
}

static void a_daemon_goes_on_with_what_it_releases(void **state) {
    fixture *it = *state;
    int ready[2];
    char byte = 0;
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t child = fork_child();
    if (child == 0) {
        fixture_run_ready(it); // nothing is left of the parent's but its queue
        pid_t daemon = fork_child();
        if (daemon == 0) {
            be_daemon(it, ready[1]);
        }
        _exit(daemon > 0 ? 0 : 1);
    }
    assert_ends_well(child);
    csc_server_close(it->server); // the parent's copy
    assert_int_equal(read(ready[0], &byte, 1), 1);
    int client = fixture_own(it, connect_to(&address));
    struct pollfd entry = {.fd = client, .events = POLLIN};
    assert_int_equal(poll(&entry, 1, 60000), 1);
    assert_int_equal(read(client, &byte, 1), 1);
    assert_int_equal(byte, 'd');
    int status = -1;
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(ready[0]);
    close(ready[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_child_owns_copies_that_free_gives_back),
        fact_without_base(wait_does_not_leave_the_child_with_an_old_error),
        fact(wait_does_not_leave_the_child_with_an_old_error),
        fact(a_daemon_goes_on_with_what_it_releases),
    };
    return cmocka_run_group_tests_name("children", tests, NULL, NULL);
}
