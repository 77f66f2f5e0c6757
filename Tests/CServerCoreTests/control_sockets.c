// SPDX-License-Identifier: Apache-2.0

// The socket at a path through which a successor finds the process that serves.

#include "folder.h"
#include "handover_pair.h"
#include "signal_storm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void remove_with_socket(const folder *it) {
    unlink(it->path);
    folder_remove(it);
}

static int listen_at(fixture *it, const folder *where) {
    int listener = -1;
    assert_int_equal(csc_handover_listen(where->path, &listener), 0);
    return fixture_own(it, listener);
}

static void the_control_socket_is_the_users_alone(void **state) {
    fixture *it = *state;
    folder where = folder_make();
    struct stat status;
    int control = -1;
    int accepted = -1;
    mode_t before = umask(0);
    int listener = listen_at(it, &where);
    umask(before);
    assert_int_equal(stat(where.path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | S_IRUSR | S_IWUSR);
    assert_true(is_close_on_exec(listener));
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    assert_true(is_close_on_exec(fixture_own(it, control)));
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), 0);
    assert_true(is_close_on_exec(fixture_own(it, accepted)));
    assert_int_equal(csc_handover_accept(listener, 0, &accepted), ETIMEDOUT);
    remove_with_socket(&where);
}

// Two successors wait in its queue, and a third gives up.
static void fill_queue(fixture *it, const folder *where) {
    int control = -1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(csc_handover_connect(where->path, &control), 0);
        fixture_own(it, control);
    }
    assert_int_equal(csc_handover_connect(where->path, &control), ETIMEDOUT);
}

static void signals_neither_end_nor_prolong_the_wait_for_a_busy_predecessor(void **state) {
    skip_under_valgrind("it delivers signals later, to a handler that is gone");
    fixture *it = *state;
    folder where = folder_make();
    int control = -1;
    listen_at(it, &where);
    fill_queue(it, &where);
    signal_storm storm = begin_storm();
    int errnum = csc_handover_connect(where.path, &control);
    end_storm(&storm);
    assert_int_equal(errnum, ETIMEDOUT);
    remove_with_socket(&where);
}

static void a_path_is_taken_over_from_a_predecessor_dead_or_alive(void **state) {
    fixture *it = *state;
    folder where = folder_make();
    int control = -1;
    int accepted = -1;
    assert_int_equal(csc_handover_connect(where.path, &control), ENOENT);
    int first = listen_at(it, &where);
    int second = listen_at(it, &where);
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    fixture_own(it, control);
    assert_int_equal(csc_handover_accept(first, 0, &accepted), ETIMEDOUT);
    assert_int_equal(csc_handover_accept(second, -1, &accepted), 0);
    fixture_own(it, accepted);
    fixture_close(it, first);
    fixture_close(it, second);
    assert_int_equal(csc_handover_connect(where.path, &control), ECONNREFUSED);
    listen_at(it, &where);
    remove_with_socket(&where);
}

static void an_accept_that_fails_says_why(void **state) {
    fixture *it = *state;
    folder where = folder_make();
    int control = -1;
    int accepted = -1;
    int listener = listen_at(it, &where);
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    fixture_own(it, control);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), EMFILE);
    fault_clear();
    assert_int_equal(accepted, -1);
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), 0);
    fixture_own(it, accepted);
    remove_with_socket(&where);
}

static void a_path_that_is_anything_else_is_left_alone(void **state) {
    fixture *it = *state;
    folder where = folder_make();
    int listener = -1;
    int file = open(where.path, O_CREAT | O_WRONLY | O_CLOEXEC, S_IRUSR);
    close(file);
    assert_int_equal(csc_handover_listen(where.path, &listener), EADDRINUSE);
    assert_int_equal(unlink(where.path), 0);
    assert_int_equal(symlink("/tmp/nothing", where.path), 0);
    assert_int_equal(csc_handover_listen(where.path, &listener), EADDRINUSE);
    assert_int_equal(listener, -1);
    remove_with_socket(&where);
    assert_int_equal(csc_handover_listen(where.path, &listener), ENOENT); // the folder
    assert_int_equal(csc_handover_listen("", &listener), ENOENT);
    assert_int_equal(csc_handover_connect("", &listener), ENOENT);
    char longest[92];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[91] = '\0';
    assert_int_equal(csc_handover_listen(longest, &listener), ENAMETOOLONG);
    assert_int_equal(csc_handover_connect(longest, &listener), ENAMETOOLONG);
    longest[90] = '\0';
    assert_int_equal(csc_handover_connect(longest, &listener), ENOENT);
    (void)it;
}

static void processes_of_another_user_are_refused(void **state) {
    fixture *it = *state;
    if (geteuid() != 0) {
        print_message("skipped: only root can be another user\n");
        skip();
    }
    folder where = folder_make();
    int listener = listen_at(it, &where);
    assert_int_equal(chmod(where.name, 0755), 0);
    assert_int_equal(chmod(where.path, 0666), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int control = -1;
        alarm(60);
        _exit(seteuid(65534) == 0 && csc_handover_connect(where.path, &control) == EPERM ? 0 : 1);
    }
    int status = -1;
    int accepted = -1;
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), EPERM);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(accepted, -1);
    remove_with_socket(&where);
}

static void each_call_may_fail(void **state) {
    fixture *it = *state;
    folder where = folder_make();
    int control = -1;
    static const fault_call of_listen[] = {FAULT_SOCKET, FAULT_BIND, FAULT_LISTEN};
    for (size_t i = 0; i < sizeof of_listen / sizeof of_listen[0]; i++) {
        fault_fail(of_listen[i], 1, 1, ENOBUFS);
        assert_int_equal(csc_handover_listen(where.path, &control), ENOBUFS);
    }
    int listener = listen_at(it, &where);
    static const fault_call of_connect[] = {FAULT_SOCKET, FAULT_CONNECT, FAULT_GETSOCKOPT};
    for (size_t i = 0; i < sizeof of_connect / sizeof of_connect[0]; i++) {
        fault_fail(of_connect[i], 1, 1, ENOBUFS);
        assert_int_equal(csc_handover_connect(where.path, &control), ENOBUFS);
    }
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    fixture_own(it, control);
    // A signal is no failure.
    fault_fail(FAULT_POLL, 1, 2, EINTR);
    fault_fail(FAULT_ACCEPT4, 1, 2, EINTR);
    int accepted = -1;
    if (csc_handover_accept(listener, -1, &accepted) == 0) { // perhaps one that gave up before
        fixture_own(it, accepted);
    }
    fault_fail(FAULT_POLL, 1, 1, ENOMEM);
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), ENOMEM);
    static const struct {
        fault_call call;
        int errnum;
        int expected;
    } of_packets[] = {
        {FAULT_GETSOCKOPT, ENOBUFS, ENOBUFS},
        {FAULT_RECVMSG, EMFILE, EMFILE},
        {FAULT_SENDMSG, ENOBUFS, ENOBUFS},
        {FAULT_RECVMSG, EINTR, 0},
        {FAULT_SENDMSG, EINTR, 0},
    };
    for (size_t i = 0; i < sizeof of_packets / sizeof of_packets[0]; i++) {
        handover_pair both = handover_connect(it);
        handover_say_hello(both.successor);
        fault_fail(of_packets[i].call, 1, 1, of_packets[i].errnum);
        assert_int_equal(handover_offer_nothing(&both), of_packets[i].expected);
        fault_clear();
    }
    remove_with_socket(&where);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(an_accept_that_fails_says_why),
        fact(the_control_socket_is_the_users_alone),
        fact(signals_neither_end_nor_prolong_the_wait_for_a_busy_predecessor),
        fact(a_path_is_taken_over_from_a_predecessor_dead_or_alive),
        fact(a_path_that_is_anything_else_is_left_alone),
        fact(processes_of_another_user_are_refused),
        fact(each_call_may_fail),
    };
    return cmocka_run_group_tests_name("control_sockets", tests, NULL, NULL);
}
