// SPDX-License-Identifier: Apache-2.0

// Errors of accept through the loop: every errno once, twenty times and for ever. Each has a class;
// what a class promises is asserted for all its members.

#include "failing_accept.h"

#include <event2/event.h>
#include <sys/socket.h>

// Runs through one back-off and makes sure that it is so many milliseconds long.
static void assert_backs_off(fixture *it, int msec) {
    uint64_t calls = fault_calls(FAULT_ACCEPT4);
    fault_advance_clock(msec - 1);
    fixture_run_ready(it);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), calls);
    fault_advance_clock(1);
    fixture_run_ready(it);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), calls + 1);
}

static void a_peers_error_is_passed_over(void **state) {
    fixture *it = *state;
    for (int count = 1; count <= 20; count += 19) {
        for (each(errnum, peer_errors)) {
            start_failing(it);
            uint64_t before = fixture_statistics(it).peer_errors;
            fail_accept(count, *errnum);
            fixture_run_until(it, &it->new_connections, 1);
            assert_int_equal(fixture_statistics(it).peer_errors - before, count);
            assert_in_range(fault_calls(FAULT_ACCEPT4), count + 1, count + 2);
            assert_int_equal(it->accept_errors, 0);
            fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
            finish_failing(it);
        }
    }
    assert_int_equal(fixture_statistics(it).error_episodes, 0);
}

static void an_interrupted_or_aborted_accept_is_retried(void **state) {
    fixture *it = *state;
    for (int count = 1; count <= 20; count += 19) {
        for (each(errnum, silent_peer_errors)) {
            start_failing(it);
            fail_accept(count, *errnum);
            fixture_run_until(it, &it->new_connections, 1);
            assert_in_range(fault_calls(FAULT_ACCEPT4), count + 1, count + 2);
            assert_int_equal(it->accept_errors, 0);
            finish_failing(it);
        }
    }
}

static void sixty_four_peer_errors_in_a_row_back_off(void **state) {
    fixture *it = *state;
    for (each(errnum, peer_errors)) {
        start_failing(it);
        fault_stop_clock();
        fail_accept(-1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 64);
        assert_accept_error(it, *errnum);
        // From now on one attempt at a time, until one succeeds.
        assert_backs_off(it, 5);
        assert_backs_off(it, 10);
        assert_int_equal(it->accept_errors, 1);
        fault_clear();
        fault_advance_clock(20);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
        assert_int_equal(it->accept_errors, 1);
        finish_failing(it);
    }
}

static void a_row_that_libevent_hides_backs_off_too(void **state) {
    fixture *it = *state;
    for (each(errnum, silent_peer_errors)) {
        start_failing(it);
        fault_stop_clock();
        fail_accept(-1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_in_range(fault_calls(FAULT_ACCEPT4), 64, 66);
        assert_accept_error(it, *errnum);
        assert_backs_off(it, 5);
        assert_backs_off(it, 10);
        assert_int_equal(it->accept_errors, 1);
        fault_clear();
        fault_advance_clock(20);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
        finish_failing(it);
    }
}

static void run_turns(fixture *it, int count) {
    for (int turn = 0; turn < count; turn++) {
        event_base_loop(it->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    }
}

// As when other processes take every client first.
static void nothing_to_accept_again_and_again_backs_off_without_a_report(void **state) {
    fixture *it = *state;
    for (int strict = 0; strict <= 1; strict++) {
        csc_server_set_overload_policy(it->server,
                                       strict ? CSC_OVERLOAD_STRICT : CSC_OVERLOAD_WAIT);
        start_failing(it);
        fault_stop_clock();
        fail_accept(-1, EAGAIN);
        run_turns(it, 200);
        assert_in_range(fault_calls(FAULT_ACCEPT4), 64, 66);
        assert_backs_off(it, 5);
        assert_backs_off(it, 10);
        fault_clear();
        fault_advance_clock(20);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
        assert_int_equal(it->accept_errors, 0);
        fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
        finish_failing(it);
    }
}

static void an_accepted_connection_ends_the_row_of_peer_errors(void **state) {
    fixture *it = *state;
    start_failing(it);
    for (int i = 1; i <= 5; i++) {
        fail_accept(63, EPROTO);
        fixture_run_until(it, &it->new_connections, i);
        fixture_connect(it);
    }
    assert_int_equal(it->accept_errors, 0);
    finish_failing(it);
}

static void a_lack_of_resources_pauses_and_resumes_by_itself(void **state) {
    fixture *it = *state;
    for (each(errnum, resource_errors)) {
        start_failing(it);
        uint64_t before = fixture_statistics(it).resource_errors;
        fail_accept(1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_accept_error(it, *errnum);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);
        assert_int_equal(fixture_statistics(it).accept_queue, 1);
        assert_true(csc_server_is_listening(it->server));
        fixture_run_until(it, &it->new_connections, 1);
        assert_int_equal(fixture_statistics(it).resource_errors - before, 1);
        assert_int_equal(it->accept_errors, 1);
        finish_failing(it);
    }
}

static void a_refusal_by_policy_waits_longer_first(void **state) {
    fixture *it = *state;
    for (each(errnum, permission_errors)) {
        start_failing(it);
        uint64_t before = fixture_statistics(it).permission_errors;
        fault_stop_clock();
        fail_accept(1, *errnum);
        fixture_run_ready(it);
        assert_accept_error(it, *errnum);
        fault_advance_clock(99);
        fixture_run_ready(it);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);
        fault_advance_clock(1);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
        assert_int_equal(fixture_statistics(it).permission_errors - before, 1);
        assert_int_equal(it->accept_errors, 1);
        finish_failing(it);
    }
}

static void the_back_off_doubles_up_to_a_second(void **state) {
    fixture *it = *state;
    static const int delays[] = {5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000};
    for (each(errnum, resource_errors)) {
        start_failing(it);
        fault_stop_clock();
        fail_accept(-1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        for (each(delay, delays)) {
            assert_backs_off(it, *delay);
        }
        assert_int_equal(it->accept_errors, 1);
        fault_clear();
        fault_advance_clock(1000);
        fixture_run_until(it, &it->new_connections, 1);

        // A success starts it again, with another report.
        fixture_connect(it);
        fail_accept(-1, *errnum);
        fixture_run_until(it, &it->accept_errors, 2);
        assert_backs_off(it, 5);
        fault_clear();
        fault_advance_clock(1000);
        fixture_run_until(it, &it->new_connections, 2);
        assert_int_equal(it->accept_errors, 2);
        finish_failing(it);
    }
}

static void the_back_off_of_a_refusal_starts_at_a_tenth_of_a_second(void **state) {
    fixture *it = *state;
    static const int delays[] = {100, 200, 400, 800, 1000, 1000};
    for (each(errnum, permission_errors)) {
        start_failing(it);
        fault_stop_clock();
        fail_accept(-1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        for (each(delay, delays)) {
            assert_backs_off(it, *delay);
        }
        assert_int_equal(it->accept_errors, 1);
        finish_failing(it);
    }
}

static void twenty_failures_in_a_row_lose_nothing(void **state) {
    fixture *it = *state;
    static const int errnums[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EXDEV, EPERM, EACCES, ENOSYS};
    for (each(errnum, errnums)) {
        start_failing(it);
        fault_stop_clock(); // time that passes by itself would end another back-off
        fixture_connect_many(it, 9);
        fail_accept(20, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        for (int i = 1; i < 20; i++) {
            fault_advance_clock(1000);
            fixture_run_ready(it);
        }
        assert_int_equal(fault_failures(FAULT_ACCEPT4), 20);
        assert_int_equal(it->new_connections, 0);
        fault_advance_clock(1000);
        fixture_run_until(it, &it->new_connections, 10);
        assert_int_equal(it->accept_errors, 1);
        finish_failing(it);
    }
}

static void while_an_error_lasts_the_loop_does_not_spin(void **state) {
    fixture *it = *state;
    for (each(errnum, resource_errors)) {
        start_failing(it);
        fail_accept(-1, *errnum);
        fixture_run_for(it, 100);
        // At 0, 5, 15, 35, 75 ms; fewer where the machine is busy.
        assert_in_range(fault_calls(FAULT_ACCEPT4), 1, 6);
        assert_in_range(fault_calls(FAULT_EPOLL_WAIT), 1, 20);
        finish_failing(it);
    }
}

// Where processes share a queue, the others may be faster each time. That is no error to report.
static void a_queue_that_is_always_found_empty_does_not_make_it_spin(void **state) {
    fixture *it = *state;
    start_failing(it);
    fault_stop_clock();
    fail_accept(-1, EAGAIN);
    fixture_run_ready(it);
    assert_in_range(fault_calls(FAULT_ACCEPT4), 1, 100);
    assert_int_equal(it->accept_errors, 0);
    assert_int_equal(it->new_connections, 0);
    fault_clear();
    fault_advance_clock(5);
    fixture_run_until(it, &it->new_connections, 1);
}

// The loop is to look at the room in its next turn, and the setting has it accept at once.
static void a_setting_that_changes_when_room_was_made_does_not_make_it_spin(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    fixture_take(it);
    csc_server_connection_ended(it->server);
    csc_server_set_max_pending(it->server, 10);
    fail_accept(-1, EAGAIN);
    fault_reset_counts();
    fault_stop_clock();
    for (int turn = 0; turn < 500; turn++) {
        event_base_loop(it->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    }
    assert_in_range(fault_calls(FAULT_ACCEPT4), 1, 100);
}

static void a_pause_during_a_back_off_holds_when_it_ends(void **state) {
    fixture *it = *state;
    start_failing(it);
    fail_accept(1, EMFILE);
    fixture_run_until(it, &it->accept_errors, 1);
    csc_server_pause(it->server);
    fault_advance_clock(1000);
    fixture_run_for(it, 20);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);
    csc_server_resume(it->server);
    fixture_run_until(it, &it->new_connections, 1);
}

static void resume_ends_a_back_off_at_once(void **state) {
    fixture *it = *state;
    start_failing(it);
    fail_accept(8, ENFILE);
    fixture_run_until(it, &it->accept_errors, 1);
    for (int i = 0; i < 7; i++) {
        fault_advance_clock(1000);
        fixture_run_ready(it);
    }
    csc_server_resume(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
}

static void close_ends_a_back_off(void **state) {
    fixture *it = *state;
    start_failing(it);
    fail_accept(-1, ENFILE);
    fixture_run_until(it, &it->accept_errors, 1);
    fault_clear();
    start_failing(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
}

static void descriptors_really_run_out_and_come_back(void **state) {
    skip_under_valgrind("it loses the connection accepted over a limit");
    fixture *it = *state;
    enum { CLIENTS = 50, FREE = 10 };
    csc_server_set_max_pending(it->server, 1000);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, CLIENTS);
    fixture_leave_descriptors(it, FREE);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_int_equal(it->new_connections, FREE);
    assert_int_equal(it->accept_error, CSC_ERROR_SOCKET_RESOURCE);
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_int_equal(fixture_statistics(it).accept_queue, CLIENTS - FREE);

    fault_reset_counts();
    fixture_run_for(it, 100);
    assert_in_range(fault_calls(FAULT_ACCEPT4), 0, 6);
    assert_int_equal(it->accept_errors, 1);

    fixture_restore_descriptors(it);
    fault_advance_clock(1000);
    fixture_run_until(it, &it->new_connections, CLIENTS);
    assert_int_equal(fixture_take_all(it), CLIENTS);
    assert_int_equal(fixture_statistics(it).error_episodes, 1);
}

static void strict_mode_pauses_until_resume(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    static const int errnums[] = {EMFILE, EPERM};
    for (each(errnum, errnums)) {
        start_failing(it);
        fail_accept(2, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_accept_error(it, *errnum);
        for (int i = 0; i < 5; i++) {
            fault_advance_clock(1000);
            fixture_run_ready(it);
        }
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);

        // Still failing: paused again, and the program must be notified again.
        csc_server_resume(it->server);
        fixture_run_until(it, &it->accept_errors, 2);
        fault_advance_clock(1000);
        fixture_run_ready(it);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 2);

        csc_server_resume(it->server);
        fixture_run_until(it, &it->new_connections, 1);
        assert_int_equal(it->accept_errors, 2);
        finish_failing(it);
    }
    assert_int_equal(fixture_statistics(it).error_episodes, 4);
}

static void strict_mode_passes_over_a_peers_error(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    start_failing(it);
    fail_accept(20, EPROTO);
    fixture_run_until(it, &it->new_connections, 1);
    assert_int_equal(it->accept_errors, 0);
}

static void a_strict_pause_ends_with_close(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    start_failing(it);
    fail_accept(1, EMFILE);
    fixture_run_until(it, &it->accept_errors, 1);
    start_failing(it);
    fixture_run_until(it, &it->new_connections, 1);

    // The program's own pause does not.
    csc_server_pause(it->server);
    start_failing(it);
    fixture_run_for(it, 20);
    assert_int_equal(it->new_connections, 0);
}

static void a_broken_listener_stops_the_server_with_one_error(void **state) {
    fixture *it = *state;
    for (each(errnum, listener_errors)) {
        start_failing(it);
        fixture_run_until(it, &it->new_connections, 1);
        fixture_connect(it);
        uint64_t before = fixture_statistics(it).listener_errors;
        fault_reset_counts();
        fail_accept(-1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);
        assert_accept_error(it, *errnum);
        assert_false(csc_server_is_listening(it->server));
        assert_int_equal(csc_server_descriptor(it->server), -1);
        assert_int_equal(fixture_statistics(it).listener_errors - before, 1);
        fault_advance_clock(2000);
        fixture_run_for(it, 10);
        assert_int_equal(it->accept_errors, 1);

        // What was accepted before is still there.
        assert_int_equal(fixture_statistics(it).pending, 1);
        finish_failing(it);
    }
}

static void not_supported_breaks_only_a_socket_that_no_longer_listens(void **state) {
    fixture *it = *state;
    start_failing(it);
    fail_accept(1, EOPNOTSUPP);
    fault_fail(FAULT_GETSOCKOPT, 1, 1, ENOTSOCK);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_accept_error(it, EOPNOTSUPP);
    assert_false(csc_server_is_listening(it->server));
}

static void a_listener_that_was_shut_down_stops_the_server(void **state) {
    fixture *it = *state;
    start_failing(it);
    fixture_run_until(it, &it->new_connections, 1);
    fault_reset_counts();
    assert_int_equal(shutdown(csc_server_descriptor(it->server), SHUT_RDWR), 0);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_int_equal(it->accept_error, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION);
    assert_in_range(fault_calls(FAULT_ACCEPT4), 1, 3);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(fixture_take_all(it), 1);
    start_failing(it);
    fixture_run_until(it, &it->new_connections, 1);
}

static void a_loop_that_cannot_watch_again_backs_off(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 1);
    start_failing(it);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
    fixture_run_ready(it); // until the loop does not watch the socket any more
    fault_fail(FAULT_EPOLL_CTL, 1, 2, ENOSPC);
    fixture_take(it);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_int_equal(it->accept_error, CSC_ERROR_SOCKET_RESOURCE);
    fixture_run_until(it, &it->new_connections, 2); // by the retry, which needs no watch
    assert_int_equal(fault_failures(FAULT_EPOLL_CTL), 1);
    assert_int_equal(it->accept_errors, 1);
}

static void free_it(csc_server *server, csc_error error, void *context) {
    fixture *it = context;
    it->accept_error = error;
    it->server = NULL;
    csc_server_free(server);
}

static void the_report_of_that_may_free_the_server(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 0);
    start_failing(it);
    fixture_run_ready(it); // until the loop does not watch the socket any more
    csc_server_on_accept_error(it->server, free_it, it);
    fault_fail(FAULT_EPOLL_CTL, 1, 2, ENOSPC);
    csc_server_set_max_pending(it->server, 1);
    assert_null(it->server);
    assert_int_equal(it->accept_error, CSC_ERROR_SOCKET_RESOURCE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_peers_error_is_passed_over),
        fact(an_interrupted_or_aborted_accept_is_retried),
        fact(sixty_four_peer_errors_in_a_row_back_off),
        fact(a_row_that_libevent_hides_backs_off_too),
        fact(nothing_to_accept_again_and_again_backs_off_without_a_report),
        fact(an_accepted_connection_ends_the_row_of_peer_errors),
        fact(a_lack_of_resources_pauses_and_resumes_by_itself),
        fact(a_refusal_by_policy_waits_longer_first),
        fact(the_back_off_doubles_up_to_a_second),
        fact(the_back_off_of_a_refusal_starts_at_a_tenth_of_a_second),
        fact(twenty_failures_in_a_row_lose_nothing),
        fact(while_an_error_lasts_the_loop_does_not_spin),
        fact(a_queue_that_is_always_found_empty_does_not_make_it_spin),
        fact(a_setting_that_changes_when_room_was_made_does_not_make_it_spin),
        fact(a_pause_during_a_back_off_holds_when_it_ends),
        fact(resume_ends_a_back_off_at_once),
        fact(close_ends_a_back_off),
        fact(descriptors_really_run_out_and_come_back),
        fact(strict_mode_pauses_until_resume),
        fact(strict_mode_passes_over_a_peers_error),
        fact(a_strict_pause_ends_with_close),
        fact(a_broken_listener_stops_the_server_with_one_error),
        fact(not_supported_breaks_only_a_socket_that_no_longer_listens),
        fact(a_listener_that_was_shut_down_stops_the_server),
        fact(a_loop_that_cannot_watch_again_backs_off),
        fact(the_report_of_that_may_free_the_server),
    };
    return cmocka_run_group_tests_name("accept errors", tests, NULL, NULL);
}
