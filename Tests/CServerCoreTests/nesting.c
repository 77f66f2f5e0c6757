// SPDX-License-Identifier: Apache-2.0

// How deep callbacks nest is the program's choice, never the clients'; and nothing is reported
// within a report, or after free.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 500 };

typedef struct nest {
    fixture *it;
    int calls;
    int depth;
    int deepest;
    int done_after; // so many connections
    int more;       // clients that connect within the callbacks
    csc_admission answer;
    csc_address address; // of clients that connect within
} nest;

static void enter(nest *now) {
    now->calls++;
    now->depth++;
    now->deepest = now->depth > now->deepest ? now->depth : now->deepest;
}

static void leave(nest *now) {
    now->depth--;
}

static void take_all(csc_server *server) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        close(connection.descriptor);
    }
}

static void finish_after_some(csc_server *server, void *context) {
    nest *now = context;
    enter(now);
    take_all(server);
    if (now->calls >= now->done_after) {
        csc_server_finish(server);
    }
    leave(now);
}

static void finishing_in_the_callback_does_not_recurse(void **state) {
    fixture *it = *state;
    nest now = {.it = it, .done_after = 10};
    csc_server_on_new_connection(it->server, finish_after_some, &now);
    fixture_listen(it);
    fixture_connect_many(it, CLIENTS);
    fixture_run_ready(it);
    assert_int_equal(now.calls, CLIENTS);
    assert_int_equal(now.deepest, 2);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(fixture_statistics(it).delivered, CLIENTS);
}

static csc_admission finish_and_answer(csc_server *server, const csc_address *peer, void *context) {
    nest *now = context;
    (void)peer;
    enter(now);
    csc_server_finish(server);
    leave(now);
    return now->answer;
}

static void finish_when_rejected(csc_server *server, const csc_rejection *rejection,
                                 void *context) {
    nest *now = context;
    (void)rejection;
    enter(now);
    csc_server_finish(server);
    leave(now);
}

static void nor_in_an_admission_or_for_those_rejected(void **state) {
    fixture *it = *state;
    static const csc_admission answers[] = {CSC_ADMIT, CSC_CLOSE, CSC_RESET};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        nest now = {.it = it, .answer = answers[i]};
        csc_server_on_admission(it->server, finish_and_answer, &now);
        csc_server_on_rejected(it->server, finish_when_rejected, &now);
        fixture_listen(it);
        fixture_connect_many(it, CLIENTS);
        fixture_run_ready(it);
        assert_int_equal(now.calls, answers[i] == CSC_ADMIT ? CLIENTS : 2 * CLIENTS);
        assert_in_range(now.deepest, 2, 2);
        assert_false(csc_server_is_listening(it->server));
        fixture_take_all(it);
    }
}

static void finish_and_listen_again(csc_server *server, void *context) {
    nest *now = context;
    enter(now);
    take_all(server);
    csc_server_close(server);
    if (now->more > 0) {
        now->more--;
        assert_true(csc_server_listen(server, &now->address));
        csc_address address = csc_server_address(server);
        fixture_own(now->it, connect_to(&address));
    }
    csc_server_finish(server);
    leave(now);
}

// Every callback listens on another socket, and finishes that one.
static void nor_where_the_server_listens_again_each_time(void **state) {
    fixture *it = *state;
    nest now = {.it = it, .more = 200, .address = address_of(own_loopback(), 0)};
    csc_server_on_new_connection(it->server, finish_and_listen_again, &now);
    fixture_listen(it);
    fixture_connect(it);
    csc_server_finish(it->server);
    assert_int_equal(now.calls, 201);
    assert_int_equal(now.deepest, 1);
    assert_false(csc_server_is_listening(it->server));
}

static void wait_in_the_callback(csc_server *server, void *context) {
    nest *now = context;
    enter(now);
    take_all(server);
    csc_server_wait(server, 0, NULL);
    leave(now);
}

static void waits_nest_sixteen_deep_at_most(void **state) {
    fixture *it = *state;
    nest now = {.it = it};
    csc_server_on_new_connection(it->server, wait_in_the_callback, &now);
    fixture_listen(it);
    fixture_connect_many(it, CLIENTS);
    for (int i = 0; i < CLIENTS && now.calls < CLIENTS; i++) {
        csc_server_wait(it->server, 0, NULL);
    }
    assert_int_equal(now.calls, CLIENTS);
    assert_in_range(now.deepest, 2, 16);
}

static void resume_and_count(csc_server *server, csc_error error, void *context) {
    nest *now = context;
    (void)error;
    enter(now);
    csc_server_resume(server);
    leave(now);
}

static void resuming_within_a_report_neither_recurses_nor_spins(void **state) {
    fixture *it = *state;
    static const csc_overload_policy policies[] = {CSC_OVERLOAD_WAIT, CSC_OVERLOAD_STRICT};
    for (size_t i = 0; i < 2; i++) {
        nest now = {.it = it};
        csc_server_set_overload_policy(it->server, policies[i]);
        csc_server_on_accept_error(it->server, resume_and_count, &now);
        fixture_listen(it);
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, -1, EMFILE);
        fault_stop_clock();
        for (int turn = 0; turn < 100; turn++) {
            fixture_run_ready(it);
        }
        assert_int_equal(now.calls, 1); // the clock has stopped
        for (int turn = 0; turn < 2000; turn++) {
            fault_advance_clock(1);
            fixture_run_ready(it);
        }
        // After 5, 15, 35, 75 ... milliseconds: the delay doubles all the same.
        assert_in_range(now.calls, 8, 10);
        assert_int_equal(now.deepest, 1);
        fault_clear();
        fault_advance_clock(1000);
        fixture_run_ready(it);
        fixture_take(it);
        csc_server_close(it->server);
        fault_start_clock();
    }
}

static void resume_in_an_event(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_server_resume(context);
}

static void resume_after_the_report(csc_server *server, csc_error error, void *context) {
    static const struct timeval at_once;
    nest *now = context;
    (void)error;
    enter(now);
    event_base_once(now->it->base, -1, EV_TIMEOUT, resume_in_an_event, server, &at_once);
    leave(now);
}

static void nor_does_resuming_right_after_it(void **state) {
    fixture *it = *state;
    nest now = {.it = it};
    csc_server_on_accept_error(it->server, resume_after_the_report, &now);
    fixture_listen(it);
    fixture_connect(it);
    fault_fail(FAULT_ACCEPT4, 1, -1, EMFILE);
    fault_stop_clock();
    for (int turn = 0; turn < 2000; turn++) {
        fault_advance_clock(1);
        fixture_run_ready(it);
    }
    assert_in_range(now.calls, 8, 11);
    fault_clear();
    fault_advance_clock(1000);
    fixture_run_ready(it);
    fixture_take(it);
}

// The first resume tries again at once, and so does one after a success.
static void a_resume_that_is_not_in_vain_tries_at_once(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    for (int i = 1; i <= 3; i++) {
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
        fault_stop_clock();
        fixture_run_ready(it);
        assert_int_equal(it->accept_errors, i);
        csc_server_resume(it->server);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, i);
    }
}

static void a_loop_that_cannot_watch_is_reported_once(void **state) {
    fixture *it = *state;
    nest now = {.it = it};
    csc_server_on_accept_error(it->server, resume_and_count, &now);
    fixture_listen(it);
    csc_server_pause(it->server);
    fixture_connect(it);
    for (int i = 0; i < 3; i++) {
        fixture_run_ready(it); // the socket leaves the poll set
    }
    fault_fail(FAULT_EPOLL_CTL, 1, -1, ENOSPC);
    fault_stop_clock();
    csc_server_resume(it->server);
    assert_int_equal(now.calls, 1);
    assert_int_equal(csc_server_errno(it->server), ENOSPC);
    fault_clear();
    fault_advance_clock(1000);
    fixture_run_ready(it);
    fixture_take(it);
}

static void break_within_the_report(csc_server *server, csc_error error, void *context) {
    nest *now = context;
    enter(now);
    assert_int_equal(csc_server_error(server), error);
    if (now->calls == 1) {
        assert_int_equal(error, CSC_ERROR_SOCKET_RESOURCE);
        assert_int_equal(shutdown(csc_server_descriptor(server), SHUT_RDWR), 0);
        fault_clear();
        fault_advance_clock(1000);
        assert_false(csc_server_wait(server, 0, NULL));
        assert_false(csc_server_is_listening(server));
        assert_int_equal(now->calls, 1);
        assert_false(csc_server_listen(server, &(csc_address){.family = CSC_FAMILY_NONE}));
    } else {
        assert_int_equal(error, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION);
        assert_int_equal(csc_server_errno(server), EINVAL);
    }
    leave(now);
}

static void what_fails_within_a_report_is_reported_after_it(void **state) {
    fixture *it = *state;
    nest now = {.it = it};
    csc_server_on_accept_error(it->server, break_within_the_report, &now);
    fixture_listen(it);
    fixture_connect(it);
    fault_stop_clock();
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    fixture_run_ready(it);
    assert_int_equal(now.calls, 2);
    assert_int_equal(now.deepest, 1);
}

static csc_admission free_and_answer(csc_server *server, const csc_address *peer, void *context) {
    nest *now = context;
    (void)peer;
    now->calls++;
    csc_server_free(server);
    now->it->server = NULL;
    return now->answer;
}

static void not_after_free(csc_server *server, const csc_rejection *rejection, void *context) {
    (void)server, (void)rejection, (void)context;
    fail_msg("reported after free");
}

static void not_a_connection_after_free(csc_server *server, void *context) {
    (void)server, (void)context;
    fail_msg("reported after free");
}

static void nothing_is_reported_after_an_admission_has_freed_the_server(void **state) {
    fixture *it = *state;
    static const csc_admission answers[] = {CSC_ADMIT, CSC_CLOSE, CSC_RESET};
    csc_server *first = it->server;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        nest now = {.it = it, .answer = answers[i]};
        it->server = csc_server_new(it->base);
        csc_server_on_admission(it->server, free_and_answer, &now);
        csc_server_on_rejected(it->server, not_after_free, &now);
        csc_server_on_new_connection(it->server, not_a_connection_after_free, &now);
        fixture_listen(it);
        fixture_connect_many(it, 3);
        fixture_run_ready(it);
        assert_int_equal(now.calls, 1);
        assert_null(it->server);
    }
    it->server = first;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(finishing_in_the_callback_does_not_recurse),
        fact(nor_in_an_admission_or_for_those_rejected),
        fact(nor_where_the_server_listens_again_each_time),
        fact(waits_nest_sixteen_deep_at_most),
        fact(resuming_within_a_report_neither_recurses_nor_spins),
        fact(nor_does_resuming_right_after_it),
        fact(a_resume_that_is_not_in_vain_tries_at_once),
        fact(a_loop_that_cannot_watch_is_reported_once),
        fact(what_fails_within_a_report_is_reported_after_it),
        fact(nothing_is_reported_after_an_admission_has_freed_the_server),
    };
    return cmocka_run_group_tests_name("nesting", tests, NULL, NULL);
}
