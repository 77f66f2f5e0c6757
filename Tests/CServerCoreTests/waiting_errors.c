// SPDX-License-Identifier: Apache-2.0

// Errors of accept in csc_server_wait(): the same classes as through the loop, and each wait says
// how it ended.

#include "failing_accept.h"

#include <sys/socket.h>

static void a_wait_passes_over_a_peers_error(void **state) {
    fixture *it = *state;
    bool timed_out = true;
    static const int *const lists[] = {peer_errors, silent_peer_errors};
    static const size_t lengths[] = {sizeof peer_errors / sizeof peer_errors[0],
                                     sizeof silent_peer_errors / sizeof silent_peer_errors[0]};
    for (int list = 0; list < 2; list++) {
        for (size_t i = 0; i < lengths[list]; i++) {
            for (int count = 1; count <= 20; count += 19) {
                start_failing(it);
                uint64_t before = fixture_statistics(it).peer_errors;
                fail_accept(count, lists[list][i]);
                assert_true(csc_server_wait(it->server, 10000, &timed_out));
                assert_false(timed_out);
                assert_int_equal(fixture_statistics(it).peer_errors - before, count);
                assert_int_equal(it->accept_errors, 0);
                finish_failing(it);
            }
        }
    }
}

static void a_wait_ends_after_sixty_four_peer_errors(void **state) {
    fixture *it = *state;
    bool timed_out = true;
    for (each(errnum, silent_peer_errors)) {
        start_failing(it);
        fail_accept(-1, *errnum);
        assert_false(csc_server_wait(it->server, 10000, &timed_out));
        assert_false(timed_out);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 64);
        assert_accept_error(it, *errnum);
        finish_failing(it);
    }
}

static void a_wait_ends_with_the_error_and_the_next_one_backs_off(void **state) {
    fixture *it = *state;
    static const int errnums[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EXDEV, EPERM, EACCES, ENOSYS};
    for (each(errnum, errnums)) {
        bool timed_out = true;
        start_failing(it);
        fault_stop_clock();
        fail_accept(-1, *errnum);
        assert_false(csc_server_wait(it->server, 10000, &timed_out));
        assert_false(timed_out);
        assert_accept_error(it, *errnum);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);

        // Not before the back-off has ended.
        assert_false(csc_server_wait(it->server, 0, &timed_out));
        assert_true(timed_out);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);
        fixture_assert_error(it, CSC_ERROR_SOCKET_TIMEOUT, "Network operation timed out");

        fault_advance_clock(1000);
        assert_false(csc_server_wait(it->server, 0, &timed_out));
        assert_false(timed_out);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 2);
        assert_int_equal(it->accept_errors, 1);

        fault_clear();
        fault_start_clock();
        assert_true(csc_server_wait(it->server, 10000, &timed_out));
        finish_failing(it);
    }
}

static void a_wait_on_a_broken_listener_stops_the_server(void **state) {
    fixture *it = *state;
    for (each(errnum, listener_errors)) {
        bool timed_out = true;
        start_failing(it);
        fail_accept(-1, *errnum);
        assert_false(csc_server_wait(it->server, 10000, &timed_out));
        assert_false(timed_out);
        assert_int_equal(it->accept_errors, 1);
        assert_accept_error(it, *errnum);
        assert_false(csc_server_is_listening(it->server));
        finish_failing(it);
    }
}

static void a_wait_notices_a_listener_that_was_shut_down(void **state) {
    fixture *it = *state;
    start_failing(it);
    shutdown(csc_server_descriptor(it->server), SHUT_RDWR);
    assert_false(csc_server_wait(it->server, 10000, NULL));
    assert_false(csc_server_is_listening(it->server));
}

static void a_strict_pause_outlives_a_wait(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    start_failing(it);
    fail_accept(1, EMFILE);
    fixture_run_until(it, &it->accept_errors, 1);
    fault_advance_clock(1000);
    assert_true(csc_server_wait(it->server, 10000, NULL)); // a wait accepts while paused
    fixture_connect(it);
    fixture_run_for(it, 20);
    assert_int_equal(it->new_connections, 1);
    csc_server_resume(it->server);
    fixture_run_until(it, &it->new_connections, 2);
}

static void a_wait_during_a_back_off_leaves_the_loop_able_to_resume(void **state) {
    fixture *it = *state;
    start_failing(it);
    fail_accept(1, EMFILE);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact_without_base(a_wait_passes_over_a_peers_error),
        fact_without_base(a_wait_ends_after_sixty_four_peer_errors),
        fact_without_base(a_wait_ends_with_the_error_and_the_next_one_backs_off),
        fact_without_base(a_wait_on_a_broken_listener_stops_the_server),
        fact_without_base(a_wait_notices_a_listener_that_was_shut_down),
        fact(a_strict_pause_outlives_a_wait),
        fact(a_wait_during_a_back_off_leaves_the_loop_able_to_resume),
    };
    return cmocka_run_group_tests_name("waiting errors", tests, NULL, NULL);
}
