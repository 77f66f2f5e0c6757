// SPDX-License-Identifier: Apache-2.0

// The shim itself: what the other tests rely on.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_plan_fails_the_nth_call_and_then_so_many(void **state) {
    (void)state;
    fault_fail(FAULT_FCNTL, 3, 2, ENOLCK);
    for (int call = 1; call <= 6; call++) {
        bool fails = call == 3 || call == 4;
        errno = 0;
        assert_int_equal(fcntl(0, F_GETFD) < 0, fails);
        assert_int_equal(errno, fails ? ENOLCK : 0);
    }
    assert_int_equal(fault_calls(FAULT_FCNTL), 6);
    assert_int_equal(fault_failures(FAULT_FCNTL), 2);
}

static void a_plan_for_ever_ends_when_cleared(void **state) {
    (void)state;
    fault_fail(FAULT_SOCKET, 1, -1, ENFILE);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(socket(AF_INET, SOCK_STREAM, 0), -1);
    }
    fault_clear();
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(descriptor >= 0);
    close(descriptor);
}

static void the_calls_that_libevent_makes_come_through_the_shim(void **state) {
    fixture *it = *state;
    fault_reset_counts();
    fixture_listen(it);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 2); // the socket, and the timer of its check

    fixture_watch(it);
    fixture_connect(it);
    fault_fail(FAULT_ACCEPT4, 1, 1, ECONNABORTED);
    fixture_run_until(it, &it->new_connections, 1);
    assert_int_equal(fault_failures(FAULT_ACCEPT4), 1);
    assert_true(fault_calls(FAULT_EPOLL_WAIT) >= 1);

    fault_fail(FAULT_EPOLL_CREATE1, 1, -1, EMFILE);
    struct event_base *base = event_base_new();
    assert_true(fault_failures(FAULT_EPOLL_CREATE1) >= 1);
    fault_clear();
    if (base) {
        event_base_free(base);
    }
}

static void transfers_can_be_made_short(void **state) {
    (void)state;
    int ends[2];
    char buffer[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fault_shorten(FAULT_SEND, 2, 1, 3);
    assert_int_equal(send(ends[0], "abcd", 4, MSG_NOSIGNAL), 4);
    assert_int_equal(send(ends[0], "efgh", 4, MSG_NOSIGNAL), 3);
    fault_shorten(FAULT_READ, 1, -1, 1);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(read(ends[1], buffer + i, sizeof buffer), 1);
    }
    assert_memory_equal(buffer, "abcdefg", 7);
    close(ends[0]);
    close(ends[1]);
}

static void a_failing_close_closes_all_the_same(void **state) {
    (void)state;
    int descriptor = fcntl(0, F_DUPFD_CLOEXEC, 0);
    fault_fail(FAULT_CLOSE, 1, 1, EINTR);
    assert_int_equal(close(descriptor), -1);
    assert_int_equal(errno, EINTR);
    assert_int_equal(fault_bad_closes(), 0);
    assert_int_equal(fcntl(descriptor, F_GETFD), -1);
    assert_int_equal(close(descriptor), -1);
    assert_int_equal(fault_bad_closes(), 1);
    fault_reset_counts();
}

static void getaddrinfo_fails_with_a_code_of_its_own(void **state) {
    (void)state;
    struct addrinfo *results = NULL;
    fault_fail(FAULT_GETADDRINFO, 1, 1, EAI_AGAIN);
    assert_int_equal(getaddrinfo("127.0.0.1", NULL, NULL, &results), EAI_AGAIN);
    assert_int_equal(getaddrinfo("127.0.0.1", NULL, NULL, &results), 0);
    freeaddrinfo(results);
}

static void allocations_are_counted_and_fail_on_demand(void **state) {
    (void)state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    void *volatile memory;
    fault_reset_counts();
    memory = malloc(1);
    memory = realloc(memory, 100);
    free(memory);
    memory = calloc(1, 1);
    free(memory);
    assert_int_equal(fault_allocations(), 3);
    fault_fail_allocation(2, 1);
    memory = malloc(1);
    assert_non_null(memory);
    free(memory);
    memory = malloc(1);
    assert_null(memory);
    memory = malloc(1);
    assert_non_null(memory);
    free(memory);
}

static void *count_on_another_thread(void *failed) {
    fault_fail(FAULT_FCNTL, 1, 1, EMFILE);
    *(bool *)failed = fcntl(0, F_GETFD) < 0 && fault_calls(FAULT_FCNTL) == 1;
    return NULL;
}

static void plans_and_counters_belong_to_their_thread(void **state) {
    (void)state;
    pthread_t thread;
    bool failed = false;
    fault_fail(FAULT_FCNTL, 2, 1, EACCES);
    assert_int_equal(pthread_create(&thread, NULL, count_on_another_thread, &failed), 0);
    pthread_join(thread, NULL);
    assert_true(failed);
    assert_int_equal(fault_calls(FAULT_FCNTL), 0);
    assert_true(fcntl(0, F_GETFD) >= 0);
    assert_int_equal(fcntl(0, F_GETFD), -1);
    assert_int_equal(errno, EACCES);
}

static void the_clock_moves_forward_for_timers(void **state) {
    fixture *it = *state;
    int64_t before = monotonic_milliseconds();
    struct timeval hour = {.tv_sec = 3600};
    event_base_loopexit(it->base, &hour);
    fault_advance_clock(3600000);
    event_base_dispatch(it->base);
    assert_in_range(monotonic_milliseconds() - before, 3600000, 3610000);
}

static void a_stopped_clock_moves_only_when_it_is_advanced(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    int64_t before = monotonic_milliseconds();
    struct timeval delay = {.tv_usec = 5000};
    struct event *limit = it->limit;
    event_add(limit, &delay);
    fault_advance_clock(4);
    fixture_run_ready(it);
    assert_true(event_pending(limit, EV_TIMEOUT, NULL));
    assert_int_equal(monotonic_milliseconds(), before + 4);
    fault_advance_clock(1);
    fixture_run_ready(it);
    assert_false(event_pending(limit, EV_TIMEOUT, NULL));
    fault_start_clock();
    assert_true(monotonic_milliseconds() >= before + 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_plan_fails_the_nth_call_and_then_so_many),
        fact(a_plan_for_ever_ends_when_cleared),
        fact(the_calls_that_libevent_makes_come_through_the_shim),
        fact(transfers_can_be_made_short),
        fact(a_failing_close_closes_all_the_same),
        fact(getaddrinfo_fails_with_a_code_of_its_own),
        fact(allocations_are_counted_and_fail_on_demand),
        fact(plans_and_counters_belong_to_their_thread),
        fact(the_clock_moves_forward_for_timers),
        fact(a_stopped_clock_moves_only_when_it_is_advanced),
    };
    return cmocka_run_group_tests_name("fault injection", tests, NULL, NULL);
}
