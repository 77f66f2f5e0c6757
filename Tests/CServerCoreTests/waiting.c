// SPDX-License-Identifier: Apache-2.0

// Waiting for a connection without running the loop.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void assert_times_out(fixture *it, int msec) {
    bool timed_out = false;
    csc_server_set_error(it->server, CSC_ERROR_UNKNOWN, "");
    int64_t before = monotonic_nanoseconds();
    assert_false(csc_server_wait(it->server, msec, &timed_out));
    int64_t elapsed = monotonic_nanoseconds() - before;
    // Not early by a moment, and as late as a busy machine makes it.
    assert_in_range(elapsed, msec * 1000000LL, (msec + 20000) * 1000000LL);
    assert_true(timed_out);
    fixture_assert_error(it, CSC_ERROR_SOCKET_TIMEOUT, "Network operation timed out");
}

static void nothing_new_times_out(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    assert_times_out(it, 0);
    assert_times_out(it, 1);
    assert_times_out(it, 50);
    assert_false(csc_server_wait(it->server, 0, NULL));
    assert_true(csc_server_is_listening(it->server));
}

static void no_wait_ends_before_its_time(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    for (int i = 0; i < 20; i++) {
        assert_times_out(it, 2);
    }
}

static void without_listening_a_wait_fails_at_once_and_touches_nothing(void **state) {
    fixture *it = *state;
    for (int before = 0; before < 2; before++) {
        bool timed_out = before;
        assert_false(csc_server_wait(it->server, -1, &timed_out));
        assert_int_equal(timed_out, before);
        fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
    }
}

static void zero_polls(void **state) {
    fixture *it = *state;
    bool timed_out = true;
    fixture_listen(it);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 0, &timed_out));
    assert_false(timed_out);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
    fixture_take(it);
    assert_times_out(it, 0);
}

static void a_pending_connection_answers_at_once(void **state) {
    fixture *it = *state;
    bool timed_out = true;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    fixture_connect(it);
    fault_reset_counts();
    assert_true(csc_server_wait(it->server, -1, &timed_out));
    assert_false(timed_out);
    assert_int_equal(fault_calls(FAULT_POLL) + fault_calls(FAULT_ACCEPT4), 0);
    assert_int_equal(it->new_connections, 1);
}

static void a_wait_accepts_all_that_the_kernel_holds(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 20);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(it->new_connections, 20);
    assert_int_equal(fixture_take_all(it), 20);
    assert_times_out(it, 0);
}

static void a_wait_keeps_the_limit_and_the_batch(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 7);
    fixture_listen(it);
    fixture_connect_many(it, 20);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(fixture_take_all(it), 7);
    csc_server_set_accept_batch(it->server, 3);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(fixture_take_all(it), 3);
}

static void limit_zero_waits_and_times_out(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect(it);
    static const int limits[] = {0, -5};
    for (int i = 0; i < 2; i++) {
        csc_server_set_max_pending(it->server, limits[i]);
        fault_reset_counts();
        assert_times_out(it, 50);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
        assert_in_range(fault_calls(FAULT_POLL), 1, 3); // asleep, not spinning
    }
}

static void a_paused_server_accepts_in_a_wait(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    csc_server_pause(it->server);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(fixture_take_all(it), 1);
    // The pause itself stays.
    fixture_connect(it);
    fixture_run_for(it, 20);
    assert_int_equal(it->new_connections, 1);
}

static void count_call(evutil_socket_t descriptor, short events, void *calls) {
    (void)descriptor;
    (void)events;
    ++*(int *)calls;
}

static void a_wait_runs_no_other_callback_of_the_loop(void **state) {
    fixture *it = *state;
    int calls = 0;
    fixture_listen(it);
    struct event *due = event_new(it->base, -1, 0, count_call, &calls);
    event_active(due, EV_TIMEOUT, 0);
    assert_times_out(it, 30);
    int calls_in_wait = calls;
    fixture_run_ready(it);
    event_free(due);
    assert_int_equal(calls_in_wait, 0);
    assert_int_equal(calls, 1);
}

static void *connect_later(void *context) {
    const csc_address *address = context;
    // Not a synchronisation: the wait must see a client whenever it comes.
    struct timespec pause = {.tv_nsec = 30000000};
    nanosleep(&pause, NULL);
    int descriptor = connect_to(address);
    char byte;
    recv(descriptor, &byte, 1, 0); // until the server has closed
    close(descriptor);
    return NULL;
}

static void a_wait_without_limit_ends_with_a_connection(void **state) {
    fixture *it = *state;
    static const int durations[] = {-1, -100, 2147483647};
    for (int i = 0; i < 3; i++) {
        fixture_listen(it);
        csc_address address = csc_server_address(it->server);
        pthread_t thread;
        bool timed_out = true;
        assert_int_equal(pthread_create(&thread, NULL, connect_later, &address), 0);
        assert_true(csc_server_wait(it->server, durations[i], &timed_out));
        assert_false(timed_out);
        csc_connection connection = fixture_take(it);
        assert_true(csc_address_is_loopback(&connection.peer));
        assert_true(is_non_blocking(connection.descriptor));
        assert_true(is_close_on_exec(connection.descriptor));
        fixture_close(it, connection.descriptor);
        pthread_join(thread, NULL);
        csc_server_close(it->server);
    }
}

static volatile sig_atomic_t signals;

static void count_signal(int number) {
    (void)number;
    signals = signals + 1;
}

static void signals_do_not_shorten_a_wait(void **state) {
    skip_under_valgrind("it delivers signals later, to a handler that is gone");
    fixture *it = *state;
    struct sigaction action = {.sa_handler = count_signal}; // without SA_RESTART
    struct sigaction before;
    struct itimerval storm = {.it_interval.tv_usec = 500, .it_value.tv_usec = 500};
    struct itimerval calm = {0};
    fixture_listen(it);
    signals = 0;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &storm, NULL), 0);
    do { // until enough have come, which takes longer on a busy machine
        assert_times_out(it, 200);
    } while (signals < 10);
    assert_int_equal(setitimer(ITIMER_REAL, &calm, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

static void a_failing_poll_ends_the_wait(void **state) {
    fixture *it = *state;
    bool timed_out = true;
    fixture_listen(it);
    fault_fail(FAULT_POLL, 1, 1, ENOMEM);
    assert_false(csc_server_wait(it->server, 10000, &timed_out));
    assert_false(timed_out);
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    fault_fail(FAULT_POLL, 1, 5, EINTR);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, &timed_out));
}

static void a_connection_that_another_process_took_is_waited_for(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect(it);
    // The poll says ready, and the queue is empty when we come.
    fault_fail(FAULT_ACCEPT4, 1, 1, EAGAIN);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(fixture_statistics(it).accepted, 1);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
}

static void a_timeout_is_reported_every_time(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    for (int i = 0; i < 3; i++) {
        fixture_connect(it);
        assert_true(csc_server_wait(it->server, 10000, NULL));
        fixture_take(it);
        assert_times_out(it, 0);
    }
}

typedef struct nesting {
    fixture *it;
    int depth;
    int deepest;
    int refused;
} nesting;

static void wait_within(csc_server *server, void *context) {
    nesting *now = context;
    while (csc_server_has_pending(server)) {
        fixture_take(now->it);
    }
    now->depth++;
    now->deepest = now->depth > now->deepest ? now->depth : now->deepest;
    bool timed_out = true;
    if (!csc_server_wait(server, 0, &timed_out) && !timed_out) {
        assert_int_equal(csc_server_error(server), CSC_ERROR_OPERATION);
        assert_string_equal(csc_server_error_string(server),
                            "waitForNewConnection() called from within itself too often");
        now->refused++;
    }
    now->depth--;
}

static void waits_nest_sixteen_deep(void **state) {
    fixture *it = *state;
    nesting now = {.it = it};
    csc_server_on_new_connection(it->server, wait_within, &now);
    fixture_listen(it);
    fixture_connect_many(it, 25);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(now.deepest, 16);
    assert_true(now.refused >= 1);
    assert_int_equal(fixture_statistics(it).accepted, 25);
    assert_int_equal(fixture_statistics(it).delivered, 25);

    // The depth is given back.
    csc_server_on_new_connection(it->server, NULL, NULL);
    assert_times_out(it, 0);
}

// With as many pending, which fills the queue to its limit or to its last place.
enum { FULL = 32 };

static void run_the_loop_when_full(csc_server *server, void *context) {
    fixture *it = context;
    if (fixture_statistics(it).pending == FULL) {
        fixture_run_ready(it);
        assert_true(fixture_statistics(it).pending == FULL ||
                    csc_server_max_pending(server) > FULL);
    }
}

static void a_callback_of_a_wait_may_run_the_loop(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, FULL);
    fixture_listen(it);
    csc_server_on_new_connection(it->server, run_the_loop_when_full, it);
    fixture_connect_many(it, FULL + 8);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(fixture_take_all(it), FULL);
}

static void finishing_may_run_the_loop_too(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 2 * FULL);
    fixture_listen(it);
    csc_server_on_new_connection(it->server, run_the_loop_when_full, it);
    fixture_connect_many(it, FULL + 8);
    csc_server_finish(it->server);
    assert_int_equal(fixture_take_all(it), FULL + 8);
}

static void a_wait_and_the_loop_serve_the_same_queue(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    for (int i = 1; i <= 10; i++) {
        fixture_connect_many(it, 2);
        if (i % 2 == 0) {
            assert_true(csc_server_wait(it->server, 10000, NULL));
        } else {
            fixture_run_until(it, &it->new_connections, 2 * i);
        }
        assert_int_equal(it->new_connections, 2 * i);
        assert_int_equal(fixture_take_all(it), 2);
    }
}

static void without_a_loop_everything_goes_through_waits(void **state) {
    fixture *it = *state;
    assert_null(it->base);
    csc_server_set_max_pending(it->server, 3);
    fixture_listen_on(it, "*");
    fixture_watch(it);
    fixture_connect_many(it, 10);
    csc_server_pause(it->server);
    csc_server_resume(it->server);
    int taken = 0;
    while (taken < 10) {
        assert_true(csc_server_wait(it->server, 10000, NULL));
        int now = fixture_take_all(it);
        assert_in_range(now, 1, 3);
        taken += now;
    }
    assert_int_equal(it->new_connections, 10);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
    csc_server_close(it->server);
    assert_true(csc_server_adopt(it->server, raw_listener("127.0.0.1", 3)));
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(nothing_new_times_out),
        fact(no_wait_ends_before_its_time),
        fact(without_listening_a_wait_fails_at_once_and_touches_nothing),
        fact(zero_polls),
        fact(a_pending_connection_answers_at_once),
        fact(a_wait_accepts_all_that_the_kernel_holds),
        fact(a_wait_keeps_the_limit_and_the_batch),
        fact(limit_zero_waits_and_times_out),
        fact(a_paused_server_accepts_in_a_wait),
        fact(a_wait_runs_no_other_callback_of_the_loop),
        fact(a_wait_without_limit_ends_with_a_connection),
        fact(signals_do_not_shorten_a_wait),
        fact(a_failing_poll_ends_the_wait),
        fact(a_connection_that_another_process_took_is_waited_for),
        fact(a_timeout_is_reported_every_time),
        fact(waits_nest_sixteen_deep),
        fact(a_callback_of_a_wait_may_run_the_loop),
        fact(finishing_may_run_the_loop_too),
        fact(a_wait_and_the_loop_serve_the_same_queue),
        fact_without_base(nothing_new_times_out),
        fact_without_base(a_wait_accepts_all_that_the_kernel_holds),
        fact_without_base(limit_zero_waits_and_times_out),
        fact_without_base(signals_do_not_shorten_a_wait),
        fact_without_base(waits_nest_sixteen_deep),
        fact_without_base(without_a_loop_everything_goes_through_waits),
    };
    return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
