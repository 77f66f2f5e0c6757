// SPDX-License-Identifier: Apache-2.0

// What other threads and signal handlers may do: end a wait, report the end of a connection.

#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static csc_server *server_of_handler;
static csc_server *server_of_thread;
static atomic_int ends;

static void assert_wait_is_woken(fixture *it, int msec) {
    bool timed_out = true;
    assert_false(csc_server_wait(it->server, msec, &timed_out));
    assert_false(timed_out);
    fixture_assert_error(it, CSC_ERROR_UNFINISHED_SOCKET_OPERATION,
                         "The wait was ended by csc_server_wake()");
    assert_int_equal(csc_server_errno(it->server), 0);
}

static void a_wake_before_the_wait_ends_it(void **state) {
    fixture *it = *state;
    bool timed_out = true;
    fixture_listen(it);
    csc_server_wake(it->server);
    csc_server_wake(it->server); // counts as one
    assert_wait_is_woken(it, -1);
    assert_false(csc_server_wait(it->server, 1, &timed_out));
    assert_true(timed_out);
    csc_server_wake(it->server);
    assert_wait_is_woken(it, 0);
    // What is pending comes first.
    csc_server_wake(it->server);
    csc_connection place = {.descriptor = -1};
    assert_true(csc_server_add_pending(it->server, &place));
    assert_true(csc_server_wait(it->server, -1, NULL));
    assert_true(csc_server_next_pending(it->server, &place));
    assert_wait_is_woken(it, -1);
}

// Whatever is lost is noticed within a second or so. A busy machine makes some as late, not most.
static bool is_prompt(int64_t begin) {
    return monotonic_milliseconds() - begin < 500;
}

static void *wake_again_and_again(void *context) {
    (void)context;
    while (atomic_load(&ends) == 0) {
        csc_server_wake(server_of_thread);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

static void a_wait_is_woken_by_another_thread(void **state) {
    fixture *it = *state;
    pthread_t thread;
    fixture_listen(it);
    server_of_thread = it->server;
    atomic_store(&ends, 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_again_and_again, NULL), 0);
    int prompt = 0;
    for (int i = 0; i < 100; i++) {
        int64_t begin = monotonic_milliseconds();
        assert_wait_is_woken(it, 60000);
        prompt += is_prompt(begin);
    }
    atomic_store(&ends, 1);
    pthread_join(thread, NULL);
    assert_in_range(prompt, 50, 100);
}

static void wake_on_signal(int number) {
    (void)number;
    int errnum = errno;
    errno = ENXIO;
    csc_server_wake(server_of_handler);
    if (errno != ENXIO) {
        abort();
    }
    errno = errnum;
}

static void a_wait_is_woken_by_a_signal_handler(void **state) {
    fixture *it = *state;
    struct sigaction action = {.sa_handler = wake_on_signal};
    struct sigaction before;
    const struct itimerval soon = {.it_value.tv_usec = 20000};
    fixture_listen(it);
    server_of_handler = it->server;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    assert_wait_is_woken(it, 60000);
    sigaction(SIGALRM, &before, NULL);
}

static void a_wake_ends_a_wait_in_a_back_off(void **state) {
    fixture *it = *state;
    pthread_t thread;
    fixture_listen(it);
    fixture_connect(it);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    assert_false(csc_server_wait(it->server, 0, NULL));
    csc_server_set_max_pending(it->server, 0);
    server_of_thread = it->server;
    atomic_store(&ends, 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_again_and_again, NULL), 0);
    assert_wait_is_woken(it, 60000);
    atomic_store(&ends, 1);
    pthread_join(thread, NULL);
    csc_server_set_max_pending(it->server, 1);
    // The other thread may have asked once more before it ended.
    assert_true(csc_server_wait(it->server, 0, NULL) || csc_server_wait(it->server, 10000, NULL));
    fixture_take(it);
}

static void without_a_descriptor_for_it_a_wake_is_noticed_within_a_second(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fault_fail(FAULT_EVENTFD, 1, -1, EMFILE);
    pthread_t thread;
    server_of_thread = it->server;
    atomic_store(&ends, 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_again_and_again, NULL), 0);
    assert_wait_is_woken(it, 60000);
    atomic_store(&ends, 1);
    pthread_join(thread, NULL);
}

static void *end_one(void *server) {
    csc_server_connection_ended(server);
    return NULL;
}

static void end_elsewhere(fixture *it, int count) {
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, end_one, it->server), 0);
        pthread_join(thread, NULL);
    }
}

// At the limit, the loop asleep with nothing but the watchdog's timer to wake it.
static void connections_may_end_on_other_threads(void **state) {
    fixture *it = *state;
    csc_server_set_max_connections(it->server, 2, CSC_EXCESS_WAIT);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 22);
    fixture_run_until(it, &it->new_connections, 2);
    int prompt = 0;
    for (int i = 1; i <= 20; i++) {
        int64_t begin = monotonic_milliseconds();
        fixture_close(it, fixture_take(it).descriptor);
        end_elsewhere(it, 1);
        assert_int_equal(fixture_statistics(it).live, 1);
        fixture_run_until(it, &it->new_connections, 2 + i);
        prompt += is_prompt(begin);
    }
    assert_in_range(prompt, 10, 20); // the watchdog would take a second for each
    assert_int_equal(fixture_statistics(it).live, 2);
    assert_int_equal(fixture_take_all(it), 2);
    end_elsewhere(it, 2);
    assert_int_equal(fixture_statistics(it).live, 0);
    end_elsewhere(it, 1); // one too many is none
    assert_int_equal(fixture_statistics(it).live, 0);
}

static void so_they_may_while_the_server_waits(void **state) {
    fixture *it = *state;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    fixture_listen(it);
    fixture_connect_many(it, 4);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        fixture_close(it, fixture_take(it).descriptor);
        assert_int_equal(pthread_create(&thread, NULL, end_one, it->server), 0);
        bool result = csc_server_wait(it->server, 60000, NULL);
        pthread_join(thread, NULL);
        assert_true(result);
    }
    fixture_take(it);
}

static void so_they_may_in_a_back_off(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    int prompt = 0;
    for (int round = 1; round <= 20; round++) {
        fixture_connect(it);
        fault_fail(FAULT_ACCEPT4, 1, 9, EMFILE);
        fault_stop_clock();
        for (int i = 0; i < 9; i++) {
            fault_advance_clock(1000);
            fixture_run_ready(it);
        }
        fault_start_clock(); // the last back-off of a second has just begun
        int64_t begin = monotonic_milliseconds();
        end_elsewhere(it, 1);
        fixture_run_until(it, &it->new_connections, round);
        prompt += is_prompt(begin);
        fixture_take(it);
    }
    assert_in_range(prompt, 10, 20); // the end of the back-off would take a second each time
}

static void *end_many(void *server) {
    for (int i = 0; i < 20000; i++) {
        csc_server_connection_ended(server);
    }
    atomic_fetch_add(&ends, 1);
    return NULL;
}

// For the thread sanitizer: the server starts and stops listening meanwhile.
static void they_may_end_while_anything_happens_to_the_server(void **state) {
    fixture *it = *state;
    pthread_t threads[2];
    atomic_store(&ends, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, end_many, it->server), 0);
    }
    while (atomic_load(&ends) < 2) {
        fixture_listen(it);
        fixture_run_ready(it);
        csc_server_wait(it->server, 0, NULL);
        fixture_statistics(it);
        csc_server_close(it->server);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(fixture_statistics(it).live, 0);
}

static void a_server_that_is_none_is_not_woken(void **state) {
    (void)state;
    csc_server_wake(NULL);
    csc_server_connection_ended(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact_without_base(a_wake_before_the_wait_ends_it),
        fact(a_wake_before_the_wait_ends_it),
        fact_without_base(a_wait_is_woken_by_another_thread),
        fact(a_wait_is_woken_by_another_thread),
        fact_without_base(a_wait_is_woken_by_a_signal_handler),
        fact_without_base(a_wake_ends_a_wait_in_a_back_off),
        fact_without_base(without_a_descriptor_for_it_a_wake_is_noticed_within_a_second),
        fact(connections_may_end_on_other_threads),
        fact_without_base(so_they_may_while_the_server_waits),
        fact(so_they_may_while_the_server_waits),
        fact(so_they_may_in_a_back_off),
        fact(they_may_end_while_anything_happens_to_the_server),
        cmocka_unit_test(a_server_that_is_none_is_not_woken),
    };
    return cmocka_run_group_tests_name("waking", tests, NULL, NULL);
}
