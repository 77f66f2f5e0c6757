// SPDX-License-Identifier: Apache-2.0

// What a connection costs: one accept4, no allocation, and nothing else that grows with their
// number; where it is placed on another loop one write for a burst.

#include "group_fixture.h"

#include <event2/event.h>
#include <unistd.h>

enum { CONNECTIONS = 1000 };

typedef struct drain {
    fixture *it;
    int taken;
    uint64_t allocations_of_first_batch;
} drain;

static void take_at_once(csc_server *server, void *context) {
    drain *now = context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        fixture_own(now->it, connection.descriptor);
        if (++now->taken == 64) {
            now->allocations_of_first_batch = fault_allocations();
        }
    }
}

// Every call that the shim sees, but for those named; what it does not see, strace does.
static uint64_t other_calls(void) {
    uint64_t sum = 0;
    for (int call = 0; call < FAULT_CALLS; call++) {
        if (call != FAULT_ACCEPT4) {
            sum += fault_calls((fault_call)call);
        }
    }
    return sum;
}

static void start(fixture *it) {
    fault_stop_clock(); // or the check of the socket, once a second, would be among the calls
    csc_server_set_max_pending(it->server, CONNECTIONS);
    fixture_listen(it);
    if (fixture_statistics(it).accept_queue_limit < CONNECTIONS) {
        print_message("skipped: net.core.somaxconn is below %d\n", CONNECTIONS);
        skip();
    }
    fixture_connect_many(it, CONNECTIONS);
    assert_int_equal(fixture_statistics(it).accept_queue, CONNECTIONS);
    fault_reset_counts();
}

static void a_connection_taken_in_the_callback_costs_one_accept4(void **state) {
    fixture *it = *state;
    drain now = {.it = it};
    start(it);
    csc_server_on_new_connection(it->server, take_at_once, &now);
    fixture_run_until(it, &now.taken, CONNECTIONS);
    assert_in_range(fault_calls(FAULT_ACCEPT4), CONNECTIONS, CONNECTIONS + 2);
    assert_int_equal(fault_calls(FAULT_ACCEPT), 0);
    // A batch of 64 costs an epoll_wait, and nothing else.
    int batches = CONNECTIONS / 64 + 1;
    assert_in_range(other_calls(), batches, batches + 2);
    if (fault_counts_allocations()) {
        assert_int_equal(fault_allocations(), now.allocations_of_first_batch);
    }
}

static void queued_connections_cost_only_the_growth_of_the_ring(void **state) {
    fixture *it = *state;
    int accepted = 0;
    start(it);
    while (accepted < CONNECTIONS) {
        event_base_loop(it->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        accepted = (int)fixture_statistics(it).accepted;
    }
    assert_in_range(fault_calls(FAULT_ACCEPT4), CONNECTIONS, CONNECTIONS + 2);
    if (fault_counts_allocations()) {
        assert_in_range(fault_allocations(), 1, 10); // 32, 64, ... 1,024 slots
    }
    fault_reset_counts();
    assert_int_equal(fixture_take_all(it), CONNECTIONS);
    assert_int_equal(other_calls(), 0);
    assert_int_equal(fault_allocations(), 0);
}

static void a_wait_costs_one_accept4_for_a_connection(void **state) {
    fixture *it = *state;
    int taken = 0;
    start(it);
    while (taken < CONNECTIONS) {
        assert_true(csc_server_wait(it->server, 10000, NULL));
        taken += fixture_take_all(it);
    }
    assert_in_range(fault_calls(FAULT_ACCEPT4), CONNECTIONS, CONNECTIONS + 2);
    int batches = CONNECTIONS / 64 + 1;
    assert_in_range(fault_calls(FAULT_POLL), batches - 1, batches + 1);
    assert_in_range(other_calls(), batches - 1, 2 * batches);
}

static void taking_all_when_the_limit_is_met_costs_nothing_but_a_turn_of_the_loop(void **state) {
    fixture *it = *state;
    int taken = 0;
    start(it);
    csc_server_set_max_pending(it->server, 50);
    fault_reset_counts();
    for (int turn = 0; turn < CONNECTIONS / 50; turn++) {
        event_base_loop(it->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        taken += fixture_take_all(it);
    }
    assert_int_equal(taken, CONNECTIONS);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
}

static void a_limit_that_stays_met_lets_the_loop_sleep(void **state) {
    fixture *it = *state;
    start(it);
    csc_server_set_max_pending(it->server, 10);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 10);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 1);
    fault_reset_counts();
    // Nothing is ready for the loop, although the kernel's queue is full of clients.
    fixture_run_ready(it);
    assert_int_equal(fault_calls(FAULT_EPOLL_WAIT), 1);
    assert_int_equal(other_calls(), 1);
    fixture_close(it, fixture_take(it).descriptor);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 10);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 2);
}

static void a_connection_that_comes_alone_costs_no_allocation(void **state) {
    fixture *it = *state;
    int taken = 0;
    fixture_listen(it);
    for (int i = 0; i < 200; i++) {
        int client = fixture_connect(it);
        uint64_t accepts = fault_calls(FAULT_ACCEPT4);
        uint64_t allocations = fault_allocations();
        fixture_run_ready(it);
        csc_connection connection = fixture_take(it);
        fixture_run_ready(it);
        // The second accept4 is how the end of the kernel's queue is noticed.
        assert_in_range(fault_calls(FAULT_ACCEPT4) - accepts, 1, 2);
        if (i > 0) {
            assert_int_equal(fault_allocations(), allocations);
        }
        fixture_close(it, connection.descriptor);
        fixture_close(it, client);
        taken++;
    }
    assert_int_equal(fixture_statistics(it).delivered, taken);
}

/* ---------------------------------------------------------------------------------------------- */
// Connections that are placed on another loop

enum { BURST = 16 };

// One connection has gone its way before: what is allocated once for all is there.
static test_group *warm_group(fixture *it) {
    fault_stop_clock(); // as above, and no loop stalls
    test_group *group = group_setup(it, 1);
    csc_group_set_stall_limit(group->group, 1000);
    csc_server_set_accept_batch(it->server, BURST); // no accept4 finds the queue empty
    group_connect(group, BURST);
    group_run_all(group);
    assert_int_equal(group_take(group, 0, true), BURST);
    group_run_acceptor(group);
    return group;
}

static void a_burst_to_another_loop_costs_one_write_and_no_allocation(void **state) {
    fixture *it = *state;
    test_group *group = warm_group(it);
    fixture_connect_many(it, BURST);
    fault_reset_counts();
    group_run_acceptor(group);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), BURST);
    assert_int_equal(fault_calls(FAULT_WRITE), 1);
    assert_int_equal(fault_calls(FAULT_FCNTL), 1); // whether the eventfd is ours
    assert_int_equal(other_calls(), 2 + fault_calls(FAULT_EPOLL_WAIT));
    assert_int_equal(fault_allocations(), 0);

    fault_reset_counts();
    group_run_member(group, 0);
    assert_int_equal(group->members[0].new_connections, 2 * BURST);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
    assert_int_equal(other_calls(), fault_calls(FAULT_EPOLL_WAIT));
    assert_int_equal(fault_allocations(), 0);
    group_teardown(group);
}

static void an_end_on_another_loop_costs_nothing_while_there_is_room(void **state) {
    fixture *it = *state;
    csc_connection connection;
    test_group *group = warm_group(it);
    csc_server *member = group->members[0].server;
    fixture_connect_many(it, BURST);
    group_run_all(group);
    fault_reset_counts();
    while (csc_server_next_pending(member, &connection)) {
        fixture_own(it, connection.descriptor);
        csc_server_connection_ended(member);
    }
    assert_int_equal(other_calls(), 0);
    assert_int_equal(fault_allocations(), 0);
    group_teardown(group);
}

static void places_that_the_acceptor_waits_for_cost_one_write(void **state) {
    fixture *it = *state;
    csc_connection connection;
    test_group *group = warm_group(it);
    csc_server *member = group->members[0].server;
    csc_server_set_max_connections(it->server, BURST, CSC_EXCESS_WAIT);
    fixture_connect_many(it, BURST + 1);
    group_run_all(group);
    fault_reset_counts();
    while (csc_server_next_pending(member, &connection)) {
        fixture_own(it, connection.descriptor);
        csc_server_connection_ended(member);
    }
    assert_int_equal(fault_calls(FAULT_WRITE), 1);
    assert_int_equal(other_calls(), 2); // with the fcntl
    group_run_all(group);
    assert_int_equal(group_take(group, 0, true), 1);
    group_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_connection_taken_in_the_callback_costs_one_accept4),
        fact(queued_connections_cost_only_the_growth_of_the_ring),
        fact(taking_all_when_the_limit_is_met_costs_nothing_but_a_turn_of_the_loop),
        fact(a_limit_that_stays_met_lets_the_loop_sleep),
        fact_without_base(a_wait_costs_one_accept4_for_a_connection),
        fact(a_connection_that_comes_alone_costs_no_allocation),
        fact(a_burst_to_another_loop_costs_one_write_and_no_allocation),
        fact(an_end_on_another_loop_costs_nothing_while_there_is_room),
        fact(places_that_the_acceptor_waits_for_cost_one_write),
    };
    return cmocka_run_group_tests_name("costs", tests, NULL, NULL);
}
