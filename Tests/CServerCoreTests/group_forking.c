// SPDX-License-Identifier: Apache-2.0

// Children of fork() that do not exec, and the group that they inherit: its parent goes on, and no
// connection gets to the child, too.

#include "group_fixture.h"

#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// Runs in a child, whose status says whether all was as it should be.
typedef bool (*childs_part)(test_group *group);

static void in_child(test_group *group, childs_part part, void (*leave)(int)) {
    int status = -1;
    fflush(NULL); // exit() would write what is buffered once more
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        leave(part(group) ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static bool belongs_to_the_parent(const csc_server *server) {
    return csc_server_error(server) == CSC_ERROR_OPERATION &&
           strcmp(csc_server_error_string(server),
                  "The server belongs to the process that forked this one") == 0;
}

static bool ask(test_group *group) {
    return !csc_server_is_listening(group->members[0].server) &&
           !csc_server_is_listening(group->members[1].server) &&
           !csc_group_is_listening(group->group);
}

static bool finish(test_group *group) {
    csc_server_finish(group->it->server);
    csc_server_finish(group->members[0].server);
    return group->members[0].new_connections == 0;
}

static bool close_members(test_group *group) {
    csc_server_close(group->members[0].server);
    csc_server_close(group->members[1].server);
    return group_statistics(group).in_mailbox == 0 && fault_bad_closes() == 0;
}

static bool free_all(test_group *group) {
    csc_server_free(group->members[0].server);
    csc_server_free(group->it->server);
    csc_server_free(group->members[1].server);
    return fault_bad_closes() == 0;
}

// As if the numbers of what is on its way had been free in the child, and were files of its own.
static bool free_what_has_other_files(test_group *group) {
    enum { MOST = 200 };
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int replaced[MOST];
    int count = 0;
    for (int number = 3; number < MOST; number++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        if (getpeername(number, (struct sockaddr *)&peer, &length) == 0) {
            replaced[count++] = number;
            dup2(file, number);
        }
    }
    csc_server_free(group->members[0].server);
    csc_server_free(group->members[1].server);
    bool are_open = count > 0;
    for (int index = 0; index < count; index++) {
        are_open = are_open && fcntl(replaced[index], F_GETFD) >= 0;
    }
    return are_open;
}

static bool run_the_members_loop(test_group *group) {
    struct event_base *base = group->members[0].base;
    return event_reinit(base) == 0 && event_base_loop(base, EVLOOP_NONBLOCK) == 0 &&
           group->members[0].new_connections == 0 && group_take(group, 0, false) == 0;
}

static bool run_the_acceptors_loop(test_group *group) {
    struct event_base *base = group->it->base;
    uint64_t placed = group_statistics(group).accepted;
    fault_advance_clock(100); // the connections in the mailboxes have waited too long
    return event_reinit(base) == 0 && event_base_loop(base, EVLOOP_NONBLOCK) == 0 &&
           group_statistics(group).accepted == placed && group_statistics(group).taken_back == 0;
}

static bool make_others(test_group *group) {
    struct event_base *base = event_base_new();
    csc_server *own = csc_server_new(base);
    csc_server *inherited = group->members[0].server;
    csc_group *of_child = csc_group_new(own, 1);
    csc_server *another = csc_server_new(base);
    bool refused = !csc_group_new(inherited, 1) && belongs_to_the_parent(inherited) &&
                   !csc_group_add(group->group, another) && belongs_to_the_parent(another) &&
                   !csc_group_add(of_child, inherited) && belongs_to_the_parent(inherited);
    bool added = csc_group_add(of_child, another);
    csc_server_free(own);
    csc_server_free(another);
    event_base_free(base);
    return refused && added;
}

static void assert_serves(test_group *group) {
    group_connect(group, 2);
    for (int index = 0; index < 2; index++) {
        group_run_member(group, index);
        assert_int_equal(group->members[index].new_connections, 3);
        assert_int_equal(group_take(group, index, true), 3);
        group->members[index].new_connections = 0;
    }
}

static void whatever_a_child_does_its_parent_goes_on(void **state) {
    const childs_part parts[] = {ask,
                                 finish,
                                 run_the_members_loop,
                                 close_members,
                                 free_all,
                                 free_what_has_other_files,
                                 run_the_acceptors_loop,
                                 make_others};
    test_group *group = group_setup(*state, 2);
    csc_group_set_stall_limit(group->group, 10);
    fault_stop_clock();
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
        group_connect(group, 4);
        in_child(group, parts[part], exit);
        assert_serves(group);
    }
    csc_statistics now = group_statistics(group);
    assert_int_equal(now.accepted, now.delivered);
    group_teardown(group);
    fault_reset_clock();
}

/* ---------------------------------------------------------------------------------------------- */
// Born while other threads hold the group's locks

typedef struct busy {
    pthread_t thread;
    test_group *group;
    atomic_bool is_over;
} busy;

// What is added wakes the acceptor, by a write within the group's lock.
static void *add_again_and_again(void *context) {
    busy *self = context;
    csc_server *member = self->group->members[0].server;
    csc_connection place = {.descriptor = -1};
    while (!atomic_load(&self->is_over)) {
        csc_server_add_pending(member, &place);
        csc_server_next_pending(member, &place);
        csc_server_connection_ended(member);
    }
    return NULL;
}

static void a_child_does_not_wait_for_threads_that_it_has_not(void **state) {
    enum { CHILDREN = 50 };
    skip_under_valgrind("the children have what their parent's threads had");
    test_group *group = group_setup(*state, 2);
    busy self = {.group = group};
    assert_int_equal(pthread_create(&self.thread, NULL, add_again_and_again, &self), 0);
    for (int child = 0; child < CHILDREN; child++) {
        in_child(group, free_all, _exit); // exit() takes a second under a sanitizer
    }
    atomic_store(&self.is_over, true);
    assert_int_equal(pthread_join(self.thread, NULL), 0);
    group_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(whatever_a_child_does_its_parent_goes_on),
        fact(a_child_does_not_wait_for_threads_that_it_has_not),
    };
    return cmocka_run_group_tests_name("group forking", tests, NULL, NULL);
}
