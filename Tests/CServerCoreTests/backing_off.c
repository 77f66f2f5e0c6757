// SPDX-License-Identifier: Apache-2.0

// Back-offs by the clock and by statistics: how they begin, who hears of them, and what ends them.

#include "failing_accept.h"
#include "running_out.h"

#include <event2/event.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void a_wait_that_ends_a_back_off_leaves_the_loop_its_ears(void **state) {
    fixture *it = *state;
    static const csc_overload_policy policies[] = {CSC_OVERLOAD_WAIT, CSC_OVERLOAD_SHED};
    for (size_t i = 0; i < 2; i++) {
        it->new_connections = it->accept_errors = 0;
        csc_server_set_overload_policy(it->server, policies[i]);
        fixture_listen(it);
        fixture_watch(it);
        fault_stop_clock();
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, 1, ENOMEM);
        for (int turn = 0; turn < 4; turn++) {
            fixture_run_ready(it); // it backs off, and the socket leaves the poll set
        }
        assert_int_equal(it->accept_errors, 1);
        csc_server_set_max_pending(it->server, 0); // so that the wait accepts no client
        fault_advance_clock(1000);
        assert_false(csc_server_wait(it->server, 0, NULL));
        csc_server_set_max_pending(it->server, 30);
        fixture_run_ready(it);
        fixture_connect(it);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 2);
        fixture_take_all(it);
        csc_server_close(it->server);
        fault_start_clock();
    }
}

// The loop had disabled the listener for the back-off; a wait without a client ends that.
static void so_does_one_that_finds_no_client(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fault_stop_clock();
    int client = fixture_connect(it);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    for (int turn = 0; turn < 4; turn++) {
        fixture_run_ready(it);
    }
    (void)client;
    fault_advance_clock(5);
    csc_connection connection;
    assert_true(csc_server_wait(it->server, 0, NULL));
    assert_true(csc_server_next_pending(it->server, &connection));
    close(connection.descriptor);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 2);
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
    fixture_take_all(it);
}

static void a_wait_gives_what_it_took_after_lost_races(void **state) {
    fixture *it = *state;
    for (int lost = 60; lost <= 70; lost++) {
        fixture_listen(it);
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, lost, EAGAIN);
        bool timed_out = true;
        uint64_t accepted = fixture_statistics(it).accepted;
        assert_true(csc_server_wait(it->server, 10000, &timed_out));
        assert_false(timed_out);
        assert_int_equal(fixture_statistics(it).accepted, accepted + 1);
        assert_int_equal(fixture_take_all(it), 1);
        assert_int_equal(csc_server_error(it->server), CSC_ERROR_UNKNOWN); // there was none
        csc_server_close(it->server);
    }
}

static void *free_a_descriptor(void *server) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    csc_server_connection_ended(server);
    return NULL;
}

// By another thread; on the server's own no call can come.
static void a_wait_in_a_back_off_ends_when_a_connection_does(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    int prompt = 0;
    for (int round = 0; round < 20; round++) {
        fixture_connect(it);
        fault_stop_clock();
        fault_fail(FAULT_ACCEPT4, 1, 9, EMFILE); // up to a delay of a second
        for (int i = 0; i < 9; i++) {
            fault_advance_clock(1000);
            assert_false(csc_server_wait(it->server, 0, NULL));
        }
        fault_start_clock(); // the last back-off of a second has just begun
        fault_advance_clock(0);
        pthread_t thread;
        int64_t begin = monotonic_milliseconds();
        assert_int_equal(pthread_create(&thread, NULL, free_a_descriptor, it->server), 0);
        bool result = csc_server_wait(it->server, 60000, NULL);
        pthread_join(thread, NULL);
        assert_true(result);
        prompt += monotonic_milliseconds() - begin < 500;
        fixture_take(it);
    }
    // The end of the back-off would take a second each time, a busy machine now and then.
    assert_in_range(prompt, 10, 20);
}

static void a_freed_descriptor_lets_a_wait_try_at_once(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect(it);
    fault_stop_clock();
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    assert_false(csc_server_wait(it->server, 0, NULL));
    assert_false(csc_server_wait(it->server, 0, NULL)); // the clock has stopped
    assert_true(csc_server_descriptor_freed(it->server));
    assert_true(csc_server_wait(it->server, 0, NULL));
    fixture_take(it);
}

static void a_wait_of_seconds_looks_once_a_second_and_does_not_turn(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fault_stop_clock();
    fault_skip_waits(true);
    fault_reset_counts();
    bool timed_out = false;
    assert_false(csc_server_wait(it->server, 10000, &timed_out));
    assert_true(timed_out);
    fault_skip_waits(false);
    // With a loop the clock is also moved on to its timer, a moment beside the wait's own look.
    assert_in_range(fault_calls(FAULT_POLL), 10, 24);
    assert_in_range(fault_calls(FAULT_FSTAT), 18, 22); // both numbers of the socket
}

// As the statistics see it: one attempt, one episode, one pause that lasts.
static void a_strict_server_is_silent_until_it_resumes(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    start_failing(it);
    fault_stop_clock();
    fail_accept(1, EMFILE);
    fixture_run_ready(it);
    for (int i = 0; i < 100; i++) {
        fault_advance_clock(100);
        csc_server_descriptor_freed(it->server);
        fixture_run_ready(it);
    }
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.resource_errors, 1);
    assert_int_equal(now.error_episodes, 1);
    assert_int_equal(now.overload_pauses, 1);
    assert_int_equal(now.overload_milliseconds, 10000);
    assert_int_equal(it->accept_errors, 1);
    csc_server_resume(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
    finish_failing(it);
}

// Two numbers far apart are free: a shortage after a success below the watermark is reported.
static void a_second_shortage_after_a_success_is_reported(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fault_stop_clock();
    for (int i = 1; i <= 5; i++) {
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
        fixture_run_ready(it);
        assert_int_equal(it->accept_errors, i);
        fault_advance_clock(5); // as after the first: the success has ended the doubling
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, i);
        fixture_take(it);
    }
    assert_int_equal(fixture_statistics(it).error_episodes, 5);
}

static void a_wait_near_the_reserve_leaves_it_alone(void **state) {
    fixture *it = *state;
    enum { RESERVE = 5 };
    run_out(it, RESERVE);
    int accepted = 0;
    for (int i = 0; i < 30; i++) {
        csc_server_wait(it->server, 0, NULL);
        accepted += fixture_take_all(it);
        fault_advance_clock(1000);
    }
    assert_int_equal(accepted, FREE - RESERVE);
    assert_int_equal(csc_server_descriptor_headroom(it->server), 0);
    assert_int_equal(fault_failures(FAULT_ACCEPT4), 0);
    fixture_restore_descriptors(it);
}

static void pauses_end_with_the_connection_without_a_loop_too(void **state) {
    fixture *it = *state;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    fixture_listen(it);
    fixture_connect(it);
    fault_stop_clock();
    if (it->base) {
        fixture_run_ready(it);
    } else {
        assert_true(csc_server_wait(it->server, 0, NULL));
    }
    fault_advance_clock(7);
    fixture_take(it);
    csc_server_connection_ended(it->server);
    fault_advance_clock(2000);
    assert_int_equal(fixture_statistics(it).overload_milliseconds, 7);
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
}

static void closing_ends_an_episode(void **state) {
    fixture *it = *state;
    for (int i = 1; i <= 2; i++) {
        fixture_listen(it);
        fixture_watch(it);
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
        fixture_run_until(it, &it->accept_errors, i);
        assert_true(csc_server_descriptor_freed(it->server));
        csc_server_close(it->server);
        assert_false(csc_server_descriptor_freed(it->server));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_wait_that_ends_a_back_off_leaves_the_loop_its_ears),
        fact(so_does_one_that_finds_no_client),
        fact(a_wait_gives_what_it_took_after_lost_races),
        fact_without_base(a_wait_gives_what_it_took_after_lost_races),
        fact_without_base(a_wait_in_a_back_off_ends_when_a_connection_does),
        fact(a_wait_in_a_back_off_ends_when_a_connection_does),
        fact_without_base(a_freed_descriptor_lets_a_wait_try_at_once),
        fact(a_wait_of_seconds_looks_once_a_second_and_does_not_turn),
        fact_without_base(a_wait_of_seconds_looks_once_a_second_and_does_not_turn),
        fact(a_strict_server_is_silent_until_it_resumes),
        fact(a_second_shortage_after_a_success_is_reported),
        fact_without_base(a_wait_near_the_reserve_leaves_it_alone),
        fact(pauses_end_with_the_connection_without_a_loop_too),
        fact(closing_ends_an_episode),
        fact_without_base(pauses_end_with_the_connection_without_a_loop_too),
    };
    return cmocka_run_group_tests_name("backing off", tests, NULL, NULL);
}
