// SPDX-License-Identifier: Apache-2.0

// Accepting at a rate: how many are let in, when accepting goes on, and that nothing polls meanwhile.

#include "budget_fixture.h"
#include "group_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"

static csc_rate *pace(csc_server *server, uint32_t per_second, uint32_t burst) {
    csc_rate *rate = csc_rate_new(per_second, burst);
    assert_non_null(rate);
    assert_true(csc_server_set_accept_rate(server, rate));
    csc_rate_free(rate); // the server's from now on
    return rate;
}

static void start(fixture *it, uint32_t per_second, uint32_t burst) {
    fault_stop_clock();
    pace(it->server, per_second, burst);
    fixture_watch(it);
    fixture_listen(it);
}

static void advance(fixture *it, int milliseconds) {
    fault_advance_clock(milliseconds);
    fixture_run_ready(it);
}

static void a_burst_is_accepted_and_then_the_rate(void **state) {
    fixture *it = *state;
    start(it, 10, 3);
    fixture_connect_many(it, 6);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    assert_int_equal(fixture_statistics(it).accept_queue, 3);
    assert_int_equal(fixture_statistics(it).rate_pauses, 1);
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
    advance(it, 99);
    assert_int_equal(it->new_connections, 3);
    advance(it, 2);
    assert_int_equal(it->new_connections, 4);
    advance(it, 100);
    assert_int_equal(it->new_connections, 5);
    advance(it, 100);
    assert_int_equal(it->new_connections, 6);
    advance(it, 10000); // no more than the burst gathers
    fixture_connect_many(it, 6);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 9);
    assert_int_equal(fixture_take_all(it), 9);
}

static void nothing_polls_while_it_waits(void **state) {
    fixture *it = *state;
    start(it, 1, 1);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    fault_reset_counts();
    for (int turn = 0; turn < 20; turn++) {
        assert_return_code(event_base_loop(it->base, EVLOOP_NONBLOCK), 0);
    }
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
    assert_int_equal(fault_calls(FAULT_POLL), 0);
    advance(it, 1001);
    assert_int_equal(it->new_connections, 2);
}

static void a_second_s_worth_is_the_burst_where_none_is_said(void **state) {
    fixture *it = *state;
    start(it, 5, 0);
    fixture_connect_many(it, 8);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 5);
    // Of a rate beyond one a millisecond, at least what comes in a millisecond.
    csc_server_close(it->server);
    pace(it->server, 20000, 1);
    fixture_listen(it);
    it->new_connections = 0;
    csc_server_set_max_pending(it->server, 1000);
    fixture_connect_many(it, 45);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 20);
    advance(it, 2);
    assert_int_equal(it->new_connections, 40);
    pace(it->server, UINT32_MAX, UINT32_MAX);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 45);
}

static void another_rate_holds_from_now_on(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    csc_rate *rate = pace(it->server, 1, 1);
    fixture_watch(it);
    fixture_listen(it);
    fixture_connect_many(it, 10);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    csc_rate_set(rate, 0, 0);
    advance(it, 1001);
    assert_int_equal(it->new_connections, 10);
    csc_rate_set(rate, 1, 1);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    assert_in_range(it->new_connections, 10, 13);
    assert_true(csc_server_set_accept_rate(it->server, NULL));
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 13);
}

// Of a burst that was larger than what may come now.
static void a_higher_rate_asks_for_no_old_debt(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    csc_rate *rate = pace(it->server, 1, 20);
    fixture_watch(it);
    fixture_listen(it);
    fixture_connect_many(it, 22);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 20);
    csc_rate_set(rate, 10, 1);
    advance(it, 1001); // the longest pause
    assert_int_equal(it->new_connections, 21);
    advance(it, 101);
    assert_int_equal(it->new_connections, 22);
}

static void count_slowly(csc_server *server, void *context) {
    (void)server;
    fixture *it = context;
    it->new_connections++;
    fault_advance_clock(50);
}

// The loop's clock is that of the beginning of its turn.
static void a_timer_that_fires_early_is_set_again(void **state) {
    fixture *it = *state;
    start(it, 10, 1);
    csc_server_on_new_connection(it->server, count_slowly, it);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    advance(it, 51); // the timer is due by the loop's clock
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).rate_pauses, 1);
    advance(it, 50);
    assert_int_equal(it->new_connections, 2);
}

static void finishing_and_injecting_know_no_rate(void **state) {
    fixture *it = *state;
    start(it, 1, 1);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    int pair[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
    fixture_own(it, pair[1]);
    const csc_connection other = {.descriptor = pair[0], .peer.family = CSC_FAMILY_UNIX};
    assert_true(csc_server_inject(it->server, &other));
    assert_int_equal(it->new_connections, 2);
    csc_server_finish(it->server);
    assert_int_equal(it->new_connections, 6);
    // Which costs nothing later.
    csc_server_on_new_connection(it->server, NULL, NULL);
    fixture_take_all(it);
}

static void a_wait_sleeps_until_it_may_accept(void **state) {
    fixture *it = *state;
    bool timed_out;
    start(it, 10, 1);
    fault_skip_waits(true);
    fixture_connect_many(it, 3);
    assert_true(csc_server_wait(it->server, 0, NULL));
    fixture_close(it, fixture_take(it).descriptor);
    fault_reset_counts();
    assert_false(csc_server_wait(it->server, 50, &timed_out));
    assert_true(timed_out);
    assert_in_range(fault_calls(FAULT_POLL), 1, 3);
    assert_true(csc_server_wait(it->server, 100, NULL));
    fixture_close(it, fixture_take(it).descriptor);
    assert_true(csc_server_wait(it->server, -1, NULL));
    assert_int_equal(fixture_statistics(it).rate_pauses, 3);
    // Steps in vain take no token.
    fixture_close(it, fixture_take(it).descriptor);
    fault_advance_clock(1000);
    fault_fail(FAULT_ACCEPT4, 1, 1, ECONNABORTED);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 1, NULL));
}

static void servers_share_a_rate(void **state) {
    test_budget *all = budget_setup_idle(*state, -1);
    csc_rate *rate = csc_rate_new(10, 2);
    fault_stop_clock();
    for (int index = 0; index < SHARERS; index++) {
        assert_true(csc_server_set_accept_rate(all->servers[index], rate));
    }
    csc_rate_free(rate);
    budget_listen(all, false);
    for (int index = 0; index < SHARERS; index++) {
        budget_connect(all, index, 2);
    }
    budget_run_all(all);
    assert_pending(all, 2, 0, 0);
    fault_advance_clock(101);
    budget_run(all, 1);
    budget_run(all, 2);
    assert_pending(all, 2, 1, 0);
    fault_advance_clock(101);
    budget_run(all, 2);
    assert_pending(all, 2, 1, 1);
    assert_int_equal(csc_budget_taken(all->budget), 4);
    budget_teardown(all);
}

// One that waits for a place has taken no token.
static void a_place_and_a_token_are_both_needed(void **state) {
    test_budget *all = budget_setup_idle(*state, 1);
    fault_stop_clock();
    csc_rate *rate = pace(all->servers[0], 1, 2);
    budget_listen(all, false);
    budget_connect(all, 0, 2);
    budget_run(all, 0);
    assert_pending(all, 1, 0, 0);
    budget_end_one(all, 0);
    budget_run(all, 0);
    assert_pending(all, 1, 0, 0);
    csc_rate_set(rate, 0, 0);
    budget_teardown(all);
}

static void the_rate_of_a_group_is_its_acceptors(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    pace(it->server, 10, 2);
    test_group *group = group_setup(it, 2);
    group_connect(group, 4);
    group_run_all(group);
    assert_int_equal(group_statistics(group).accepted, 2);
    assert_int_equal(group_statistics(group).rate_pauses, 1);
    fault_advance_clock(101);
    group_run_all(group);
    assert_int_equal(group_statistics(group).accepted, 3);
    csc_rate *rate = csc_rate_new(1, 1);
    assert_false(csc_server_set_accept_rate(group->members[0].server, rate));
    csc_rate_free(rate);
    group_take(group, 0, true);
    group_take(group, 1, true);
    group_teardown(group);
}

static void without_memory_the_server_is_as_it_was(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        skip();
    }
    csc_rate *rate = csc_rate_new(1, 1);
    for (int nth = 1; nth <= 2; nth++) {
        fault_fail_allocation(nth, 1);
        assert_false(csc_server_set_accept_rate(it->server, rate));
        fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    }
    fault_fail_allocation(1, 1);
    assert_null(csc_rate_new(1, 1));
    fault_clear();
    csc_rate_free(rate);
    csc_rate_free(NULL);
    fixture_listen(it);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 3);
    assert_false(csc_server_set_accept_rate(NULL, NULL));
}

// Without memory for the timer the watchdog ends the pause.
static void the_watchdog_takes_the_place_of_the_timer(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        skip();
    }
    start(it, 10, 1);
    fixture_connect_many(it, 2);
    fault_fail_allocation(1, -1);
    fixture_run_ready(it);
    fault_clear();
    assert_int_equal(it->new_connections, 1);
    advance(it, 1100);
    assert_int_equal(it->new_connections, 2);
}

static void a_child_of_fork_leaves_the_timer_alone(void **state) {
    fixture *it = *state;
    start(it, 10, 1);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    pid_t child = fork();
    if (child == 0) {
        fault_advance_clock(200);
        event_base_loop(it->base, EVLOOP_NONBLOCK);
        csc_server_set_accept_rate(it->server, NULL);
        csc_server_free(it->server);
        leave_child(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    advance(it, 200);
    assert_int_equal(it->new_connections, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_burst_is_accepted_and_then_the_rate),
        fact(nothing_polls_while_it_waits),
        fact(a_second_s_worth_is_the_burst_where_none_is_said),
        fact(another_rate_holds_from_now_on),
        fact(a_higher_rate_asks_for_no_old_debt),
        fact(a_timer_that_fires_early_is_set_again),
        fact(finishing_and_injecting_know_no_rate),
        fact_without_base(a_wait_sleeps_until_it_may_accept),
        fact(servers_share_a_rate),
        fact(a_place_and_a_token_are_both_needed),
        fact(the_rate_of_a_group_is_its_acceptors),
        fact(without_memory_the_server_is_as_it_was),
        fact(the_watchdog_takes_the_place_of_the_timer),
        fact(a_child_of_fork_leaves_the_timer_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
