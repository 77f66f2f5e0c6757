// SPDX-License-Identifier: Apache-2.0

// Children of fork() that do not exec: whatever one does with the server it inherited, the parent
// goes on serving; and what the child may do instead.

#include "budget_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int listening_number; // that the inherited server listens with in the parent

// Runs in a child, whose status says whether all was as it should be.
typedef bool (*childs_part)(fixture *it);

static void in_child(fixture *it, childs_part part) {
    int status = -1;
    listening_number = csc_server_descriptor(it->server);
    fflush(NULL); // exit() would write what is buffered once more
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        exit(part(it) ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// The byte that comes within ten seconds, or the end as 0; -1 for neither.
static int read_byte(int descriptor) {
    char byte = 0;
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    if (poll(&entry, 1, 10000) != 1) {
        return -1;
    }
    ssize_t count = read(descriptor, &byte, 1);
    return count == 1 ? byte : (int)count;
}

// By the loop and by a wait, after limits were met, and with the check of the socket.
static void assert_serves(fixture *it) {
    int before = it->new_connections;
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, before + 1);
    int client = fixture_connect(it);
    assert_true(csc_server_has_pending(it->server));
    fixture_take(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    int connection = fixture_take(it).descriptor;
    assert_int_equal(write(connection, "x", 1), 1);
    assert_int_equal(read_byte(client), 'x');
    assert_int_equal(it->accept_errors, 0);
    fault_stop_clock();
    fault_advance_clock(1000);
    fault_reset_counts();
    fixture_run_ready(it);
    assert_true(fault_calls(FAULT_FSTAT) >= 2);
    fault_start_clock();
    assert_true(csc_server_is_listening(it->server));
}

static bool belongs_to_the_parent(const csc_server *server) {
    return csc_server_error(server) == CSC_ERROR_OPERATION &&
           strcmp(csc_server_error_string(server),
                  "The server belongs to the process that forked this one") == 0;
}

static bool do_nothing(fixture *it) {
    (void)it;
    return true;
}

static bool close_the_server(fixture *it) {
    csc_server_close(it->server);
    return !csc_server_is_listening(it->server) && fault_bad_closes() == 0;
}

static bool free_the_server(fixture *it) {
    csc_server_free(it->server);
    return fcntl(listening_number, F_GETFD) < 0 && fault_bad_closes() == 0;
}

static bool finish_it(fixture *it) {
    csc_server_finish(it->server);
    return fixture_statistics(it).accepted == fixture_statistics(it).delivered;
}

static bool change_everything(fixture *it) {
    csc_server_pause(it->server);
    csc_server_resume(it->server);
    csc_server_set_max_pending(it->server, 0);
    csc_server_set_max_pending(it->server, 10);
    csc_server_set_accept_batch(it->server, 1);
    csc_server_pause(it->server);
    return true;
}

static bool ask_and_be_refused(fixture *it) {
    csc_address address = address_of("127.0.0.1", 0);
    bool timed_out = true;
    return !csc_server_is_listening(it->server) && csc_server_port(it->server) == 0 &&
           csc_server_descriptor(it->server) == -1 && !csc_server_wait(it->server, 0, &timed_out) &&
           belongs_to_the_parent(it->server) && !csc_server_listen(it->server, &address) &&
           belongs_to_the_parent(it->server) &&
           !csc_server_adopt(it->server, dup(listening_number)) &&
           belongs_to_the_parent(it->server);
}

// The duplicate may get the very number that the parent's epoll knows.
static bool free_with_a_duplicate_at_hand(fixture *it) {
    for (int i = 0; i < 10; i++) {
        if (dup(listening_number) < 0) {
            return false;
        }
    }
    csc_server_free(it->server);
    return true;
}

static bool run_the_inherited_loop(fixture *it) {
    csc_address address = csc_server_address(it->server);
    // It is not silent about what it does not do, and says it once.
    for (int i = 0; i < 3; i++) {
        if ((i == 0 && event_reinit(it->base) != 0) ||
            event_base_loop(it->base, EVLOOP_NONBLOCK) < 0) {
            return false;
        }
    }
    return address.port == 0 && it->accept_errors == 1 && belongs_to_the_parent(it->server) &&
           fixture_statistics(it).accepted == fixture_statistics(it).delivered;
}

// Without event_reinit(), which a child should call.
static bool run_the_loop(fixture *it) {
    event_base_loop(it->base, EVLOOP_NONBLOCK);
    return fixture_statistics(it).accepted == fixture_statistics(it).delivered;
}

static void whatever_a_child_does_its_parent_goes_on(void **state) {
    fixture *it = *state;
    const childs_part parts[] = {
        do_nothing,
        close_the_server,
        free_the_server,
        finish_it,
        change_everything,
        ask_and_be_refused,
        free_with_a_duplicate_at_hand,
        run_the_inherited_loop,
        run_the_loop,
    };
    fixture_listen(it);
    fixture_watch(it);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        in_child(it, parts[i]);
        assert_serves(it);
    }
}

static bool run_the_loop_and_hear_of_it(fixture *it) {
    event_base_loop(it->base, EVLOOP_NONBLOCK);
    return it->accept_errors == 1 && belongs_to_the_parent(it->server);
}

static void
a_child_born_when_room_was_just_made_hears_that_the_server_is_not_its_own(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
    fixture_take(it);
    csc_server_connection_ended(it->server);
    in_child(it, run_the_loop_and_hear_of_it);
    csc_server_set_max_connections(it->server, -1, CSC_EXCESS_WAIT);
    assert_serves(it);
}

static void a_child_without_descriptors_closes_its_copies(void **state) {
    fixture *it = *state;
    const childs_part parts[] = {do_nothing, free_the_server, change_everything, run_the_loop};
    fixture_listen(it);
    fixture_watch(it);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        fault_fail(FAULT_EVENTFD, 1, -1, EMFILE);
        in_child(it, parts[i]);
        fault_clear();
        assert_serves(it);
    }
}

static void so_it_does_with_clients_in_both_queues(void **state) {
    fixture *it = *state;
    enum { TAKEN = 3, PENDING = 4, WAITING = 5 };
    char byte = 0;
    const childs_part parts[] = {do_nothing, close_the_server, free_the_server};
    fixture_listen(it);
    fixture_watch(it);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int clients[TAKEN + PENDING + WAITING];
        int connections[TAKEN];
        it->new_connections = 0;
        csc_server_set_max_pending(it->server, TAKEN + PENDING);
        for (int client = 0; client < TAKEN + PENDING + WAITING; client++) {
            clients[client] = fixture_connect(it);
        }
        fixture_run_until(it, &it->new_connections, TAKEN + PENDING);
        csc_server_set_max_pending(it->server, PENDING);
        for (int taken = 0; taken < TAKEN; taken++) {
            connections[taken] = fixture_take(it).descriptor;
        }
        in_child(it, parts[i]);

        for (int taken = 0; taken < TAKEN; taken++) {
            assert_int_equal(write(connections[taken], "x", 1), 1);
        }
        csc_server_set_max_pending(it->server, 30);
        fixture_run_until(it, &it->new_connections, TAKEN + PENDING + WAITING);
        for (int rest = 0; rest < PENDING + WAITING; rest++) {
            assert_int_equal(write(fixture_take(it).descriptor, "x", 1), 1);
        }
        for (int client = 0; client < TAKEN + PENDING + WAITING; client++) {
            assert_int_equal(read_byte(clients[client]), 'x');
            assert_int_equal(recv(clients[client], &byte, 1, MSG_DONTWAIT),
                             -1); // neither FIN nor RST
        }
    }
}

static bool not_even_one_that_does_not_listen(fixture *it) {
    csc_address address = address_of("127.0.0.1", 0);
    return !csc_server_listen(it->server, &address) && belongs_to_the_parent(it->server);
}

static void a_server_made_before_the_fork_cannot_listen_in_the_child(void **state) {
    fixture *it = *state;
    in_child(it, not_even_one_that_does_not_listen);
    fixture_listen(it);
    fixture_watch(it);
    assert_serves(it);
}

static bool serve_one_with_a_server_of_ones_own(fixture *it) {
    struct event_base *base = event_base_new();
    csc_server *own = csc_server_new(base);
    csc_connection connection;
    bool served = csc_server_adopt(own, csc_server_release(it->server)) &&
                  csc_server_wait(own, 10000, NULL) && csc_server_next_pending(own, &connection) &&
                  write(connection.descriptor, "c", 1) == 1;
    csc_server_free(it->server);
    csc_server_free(own);
    event_base_free(base);
    return served;
}

static void a_child_may_accept_from_the_same_queue(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    int client = fixture_connect(it); // waits, as the parent's loop does not run
    in_child(it, serve_one_with_a_server_of_ones_own);
    assert_int_equal(read_byte(client), 'c');
    assert_int_equal(read_byte(client), 0);
    assert_serves(it);
}

static int childs_status;

// The child ends the server in its own callback, and the loop goes on.
static void fork_in_the_callback(csc_server *server, void *context) {
    fixture *it = context;
    it->new_connections++;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        csc_server_free(server);
        it->server = NULL;
        event_base_loopexit(it->base, NULL);
    } else {
        waitpid(child, &childs_status, 0);
    }
}

static void a_child_may_be_born_in_a_callback(void **state) {
    fixture *it = *state;
    pid_t parent = getpid();
    fixture_listen(it);
    csc_server_on_new_connection(it->server, fork_in_the_callback, it);
    for (int i = 1; i <= 3; i++) {
        fixture_connect(it);
        childs_status = -1;
        fixture_run_until(it, &it->new_connections, i);
        if (getpid() != parent) {
            exit(it->server == NULL && fault_bad_closes() == 0 ? 0 : 1);
        }
        assert_int_equal(childs_status, 0);
    }
    fixture_watch(it);
    assert_int_equal(fixture_take_all(it), 3);
    assert_serves(it);
}

static bool fork_again(fixture *it) {
    int status = -1;
    csc_server_free(it->server);
    it->server = csc_server_new(NULL);
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    listening_number = csc_server_descriptor(it->server);
    pid_t child = fork();
    if (child == 0) {
        exit(ask_and_be_refused(it) && free_the_server(it) ? 0 : 1);
    }
    return waitpid(child, &status, 0) == child && status == 0 && connect_to(&address) >= 0 &&
           csc_server_wait(it->server, 10000, NULL);
}

static void children_have_children(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    in_child(it, fork_again);
    assert_serves(it);
}

static test_budget *inherited_budget;

// In a child: the servers and the budget are the parent's, and so are those that wait.
static bool leave_all_to_the_parent(fixture *it) {
    (void)it;
    test_budget *all = inherited_budget;
    csc_server *own = csc_server_new(NULL);
    bool refused = !csc_server_set_budget(all->servers[0], NULL) &&
                   !csc_server_set_budget(own, all->budget) &&
                   csc_server_error(own) == CSC_ERROR_OPERATION;
    fault_reset_counts();
    csc_budget_set_limit(all->budget, 5, CSC_EXCESS_WAIT);
    csc_server_close(all->servers[0]); // with what is pending
    bool kept = csc_budget_taken(all->budget) == 0 && fault_calls(FAULT_WRITE) == 0 &&
                fault_bad_closes() == 0;
    // The parent has woken the second one.
    bool slept = event_reinit(all->bases[1]) == 0 &&
                 event_base_loop(all->bases[1], EVLOOP_NONBLOCK) == 0 &&
                 csc_budget_taken(all->budget) == 0 && fault_calls(FAULT_ACCEPT4) == 0;
    for (int index = 0; index < SHARERS; index++) {
        csc_server_free(all->servers[index]);
    }
    csc_server_free(own);
    csc_budget_free(all->budget);
    return refused && kept && slept;
}

static void a_child_leaves_the_budget_to_its_parent(void **state) {
    test_budget *all = budget_setup(*state, 2);
    for (int index = 0; index < SHARERS; index++) {
        budget_connect(all, index, index == 0 ? 2 : 1);
        budget_run(all, index);
    }
    budget_end_one(all, 0);
    budget_run(all, 0); // wakes the second
    inherited_budget = all;
    in_child(*state, leave_all_to_the_parent);
    assert_int_equal(csc_budget_taken(all->budget), 1);
    budget_run_all(all);
    assert_pending(all, 1, 1, 0);
    budget_end_one(all, 0);
    budget_run_all(all);
    assert_pending(all, 0, 1, 1);
    budget_teardown(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(whatever_a_child_does_its_parent_goes_on),
        fact(a_child_born_when_room_was_just_made_hears_that_the_server_is_not_its_own),
        fact(a_child_without_descriptors_closes_its_copies),
        fact(so_it_does_with_clients_in_both_queues),
        fact(a_server_made_before_the_fork_cannot_listen_in_the_child),
        fact(a_child_may_accept_from_the_same_queue),
        fact(a_child_may_be_born_in_a_callback),
        fact(children_have_children),
        fact(a_child_leaves_the_budget_to_its_parent),
    };
    return cmocka_run_group_tests_name("forking", tests, NULL, NULL);
}
