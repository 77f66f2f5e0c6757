// SPDX-License-Identifier: Apache-2.0

// One limit for several servers: what it counts, what becomes of clients beyond it, and who is
// woken for a place.

#include "budget_fixture.h"
#include "guests.h"

#include <errno.h>
#include <event2/event.h>

static void the_limit_is_that_of_all_together(void **state) {
    test_budget *all = budget_setup(*state, 3);
    budget_connect(all, 0, 2);
    budget_connect(all, 1, 2);
    budget_run(all, 0);
    assert_int_equal(csc_budget_taken(all->budget), 2);
    budget_run_all(all);
    assert_pending(all, 2, 1, 0);
    assert_int_equal(csc_budget_taken(all->budget), 3);

    // Taking one makes no room; its end does, on whichever loop.
    fixture_close(all->it, fixture_take(all->it).descriptor);
    budget_run_all(all);
    assert_pending(all, 1, 1, 0);
    csc_server_connection_ended(all->servers[0]);
    budget_run_all(all);
    assert_pending(all, 1, 2, 0);
    assert_int_equal(csc_budget_taken(all->budget), 3);
    assert_int_equal(fixture_statistics(all->it).overload_pauses, 0); // had no more clients
    budget_teardown(all);
}

static void a_full_budget_pauses_accepting_and_loops_sleep(void **state) {
    test_budget *all = budget_setup(*state, 0);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    csc_statistics now = fixture_statistics(all->it);
    assert_int_equal(now.overload_pauses, 1);
    assert_int_equal(now.accept_queue, 1);
    // Out of the poll set: nothing is ready, and nothing is asked.
    fault_reset_counts();
    assert_int_equal(event_base_loop(all->bases[0], EVLOOP_NONBLOCK), 0);
    budget_run(all, 0);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
    assert_int_equal(fault_calls(FAULT_POLL), 0);
    budget_teardown(all);
}

static void a_freed_place_wakes_one_who_has_waited_longest(void **state) {
    test_budget *all = budget_setup(*state, 1);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    budget_connect(all, 2, 1);
    budget_run(all, 2);
    budget_connect(all, 1, 1);
    budget_run(all, 1);
    fault_reset_counts();
    budget_end_one(all, 0);
    assert_int_equal(fault_calls(FAULT_WRITE), 1);
    budget_run(all, 1);
    budget_run(all, 2);
    assert_pending(all, 0, 0, 0); // it is the first one's, which has no client any more
    budget_run(all, 0);
    assert_int_equal(fault_calls(FAULT_WRITE), 2);
    budget_run(all, 1);
    assert_pending(all, 0, 0, 0);
    budget_run(all, 2);
    assert_pending(all, 0, 0, 1);
    assert_int_equal(fault_calls(FAULT_WRITE), 2);
    budget_end_one(all, 2);
    budget_run(all, 1);
    assert_pending(all, 0, 1, 0);
    budget_teardown(all);
}

static void one_without_a_client_passes_its_place_on(void **state) {
    test_budget *all = budget_setup_idle(*state, 1);
    budget_listen(all, true);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    budget_connect(all, 0, 1);
    budget_run(all, 1);
    budget_run(all, 2);
    // All wait for a place for the one client in their common queue.
    budget_end_one(all, 0);
    budget_run(all, 0);
    assert_pending(all, 1, 0, 0);
    budget_end_one(all, 0);
    for (int index = 1; index < SHARERS; index++) {
        fault_reset_counts();
        budget_run(all, index);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1); // in vain
        assert_int_equal(fault_calls(FAULT_WRITE), 1);
        assert_int_equal(csc_budget_taken(all->budget), 0);
    }
    budget_connect(all, 0, 1);
    budget_run(all, 2);
    assert_pending(all, 0, 0, 1); // it watches again
    budget_teardown(all);
}

static void one_that_pauses_passes_its_place_on(void **state) {
    test_budget *all = budget_setup(*state, 1);
    for (int index = 0; index < SHARERS; index++) {
        budget_connect(all, index, 1);
        budget_run(all, index);
    }
    csc_server_pause(all->servers[1]);
    budget_end_one(all, 0);
    budget_run(all, 0);
    budget_run(all, 2);
    assert_pending(all, 0, 0, 0);
    budget_run(all, 1);
    budget_run(all, 2);
    assert_pending(all, 0, 0, 1);
    csc_server_resume(all->servers[1]);
    budget_run(all, 1);
    budget_end_one(all, 2);
    budget_run_all(all);
    assert_pending(all, 0, 1, 0);
    budget_teardown(all);
}

static void one_that_ends_passes_its_place_on(void **state) {
    fixture *it = *state;
    for (int frees = 0; frees < 2; frees++) {
        test_budget *all = budget_setup(it, 1);
        for (int index = 0; index < SHARERS; index++) {
            budget_connect(all, index, 1);
            budget_run(all, index);
        }
        budget_end_one(all, 0);
        budget_run(all, 0); // wakes the second
        if (frees == 0) {
            csc_server_close(all->servers[1]);
        } else {
            csc_server_free(all->servers[1]);
            all->servers[1] = NULL;
        }
        budget_run(all, 2);
        assert_pending(all, 0, 0, 1);
        budget_teardown(all);
        it->server = csc_server_new(it->base);
    }
}

static void what_waits_behind_leaves_the_queue_as_it_was(void **state) {
    fixture *it = *state;
    for (int leaves = 1; leaves < SHARERS; leaves++) {
        test_budget *all = budget_setup(it, 1);
        for (int index = 0; index < SHARERS; index++) {
            budget_connect(all, index, 1);
            budget_run(all, index);
        }
        csc_server_close(all->servers[leaves]);
        budget_end_one(all, 0);
        budget_run_all(all);
        assert_pending(all, 0, leaves == 2, leaves == 1);
        // The queue has an end to enter at.
        csc_address address = address_of(own_loopback(), 0);
        assert_true(csc_server_listen(all->servers[leaves], &address));
        budget_connect(all, leaves, 1);
        budget_run(all, leaves);
        budget_end_one(all, 3 - leaves);
        budget_run_all(all);
        assert_pending(all, 0, leaves == 1, leaves == 2);
        budget_teardown(all);
        it->server = csc_server_new(it->base);
    }
}

static void several_places_at_once_wake_as_many(void **state) {
    test_budget *all = budget_setup(*state, 2);
    budget_connect(all, 0, 2);
    budget_run(all, 0);
    for (int index = 1; index < SHARERS; index++) {
        budget_connect(all, index, 1);
        budget_run(all, index);
    }
    csc_server_free(all->servers[0]); // with what is pending
    all->servers[0] = NULL;
    budget_run(all, 1);
    budget_run(all, 2);
    csc_statistics now;
    for (int index = 1; index < SHARERS; index++) {
        csc_server_statistics(all->servers[index], &now, sizeof now);
        assert_int_equal(now.pending, 1);
    }
    budget_teardown(all);
}

static void a_wake_up_that_is_lost_costs_a_second(void **state) {
    fixture *it = *state;
    fixture_watch(it);
    test_budget *all = budget_setup(it, 1);
    budget_connect(all, 1, 1);
    budget_run(all, 1);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    fault_fail(FAULT_WRITE, 1, 1, EAGAIN);
    budget_end_one(all, 1);
    budget_run(all, 0);
    assert_int_equal(it->new_connections, 0);
    fixture_run_until(it, &it->new_connections, 1);
    budget_teardown(all);
}

static void clients_beyond_it_are_closed_or_reset(void **state) {
    fixture *it = *state;
    scene now;
    for (int excess = CSC_EXCESS_CLOSE; excess <= CSC_EXCESS_RESET; excess++) {
        csc_budget *budget = csc_budget_new(1);
        assert_true(csc_server_set_budget(it->server, budget));
        csc_budget_set_limit(budget, 1, (csc_excess)excess);
        guests_start(it, &now);
        it->new_connections = 0;
        fixture_connect_many(it, 2);
        int last = fixture_connect(it);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
        assert_int_equal(now.rejected, 2);
        guests_assert_rejected(it, &now, last, CSC_REJECTED_BY_LIMIT);
        excess == CSC_EXCESS_CLOSE ? guests_assert_closed(last) : guests_assert_reset(last);
        assert_int_equal(csc_budget_taken(budget), 1);
        assert_int_equal(fixture_statistics(it).overload_pauses, 0);
        csc_server_close(it->server);
        csc_budget_free(budget);
    }
    assert_int_equal(fixture_statistics(it).rejected_by_limit, 4);
}

static void a_limit_that_is_raised_wakes_all_who_wait(void **state) {
    test_budget *all = budget_setup(*state, 0);
    for (int index = 0; index < SHARERS; index++) {
        budget_connect(all, index, 2);
        budget_run(all, index);
    }
    csc_budget_set_limit(all->budget, 4, CSC_EXCESS_WAIT);
    budget_run_all(all);
    assert_int_equal(csc_budget_taken(all->budget), 4);
    csc_budget_set_limit(all->budget, -1, CSC_EXCESS_WAIT);
    budget_run_all(all);
    assert_pending(all, 2, 2, 2);
    csc_budget_set_limit(all->budget, 1, CSC_EXCESS_WAIT);
    assert_int_equal(csc_budget_taken(all->budget), 6); // what is there stays
    budget_connect(all, 0, 1);
    budget_end_one(all, 0);
    budget_run_all(all);
    assert_pending(all, 1, 2, 2);
    budget_teardown(all);
}

static void a_server_without_a_limit_of_its_own_has_its_others(void **state) {
    test_budget *all = budget_setup(*state, -1);
    csc_server_set_max_pending(all->servers[0], 3);
    csc_server_set_max_connections(all->servers[1], 2, CSC_EXCESS_WAIT);
    for (int index = 0; index < 2; index++) {
        budget_connect(all, index, 5);
    }
    budget_run_all(all);
    assert_pending(all, 3, 2, 0);
    csc_server_set_max_connections(all->servers[1], 4, CSC_EXCESS_WAIT);
    budget_end_one(all, 0);
    budget_run_all(all);
    assert_pending(all, 3, 4, 0);
    budget_teardown(all);
}

static void a_turn_accepts_a_batch_at_most(void **state) {
    test_budget *all = budget_setup(*state, -1);
    csc_server_set_accept_batch(all->servers[0], 1);
    budget_connect(all, 0, 4);
    for (unsigned turn = 1; turn <= 4; turn++) {
        fault_reset_counts();
        event_base_loop(all->bases[0], EVLOOP_NONBLOCK | EVLOOP_ONCE);
        assert_pending(all, turn, 0, 0);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 1);
        assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
    }
    budget_teardown(all);
}

static void what_comes_another_way_counts_too(void **state) {
    fixture *it = *state;
    test_budget *all = budget_setup(it, 1);
    csc_connection connection = {.descriptor = -1};
    assert_true(csc_server_add_pending(it->server, &connection));
    assert_true(csc_server_inject(it->server, &connection));
    assert_int_equal(csc_budget_taken(all->budget), 2); // beyond the limit
    for (int count = 0; count < 2; count++) {
        assert_true(csc_server_next_pending(it->server, &connection));
        csc_server_connection_ended(it->server);
    }
    assert_int_equal(csc_budget_taken(all->budget), 0);
    budget_teardown(all);
}

static void finishing_minds_no_limit(void **state) {
    test_budget *all = budget_setup(*state, 1);
    budget_connect(all, 0, 3);
    budget_connect(all, 1, 1);
    budget_run(all, 1);
    budget_run(all, 0);
    csc_server_finish(all->servers[0]);
    assert_pending(all, 3, 1, 0);
    assert_int_equal(csc_budget_taken(all->budget), 4);
    budget_teardown(all);
}

static void another_budget_gets_the_connections_too(void **state) {
    fixture *it = *state;
    csc_budget *one = csc_budget_new(5);
    csc_budget *other = csc_budget_new(5);
    fixture_listen(it);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    assert_false(csc_server_set_budget(it->server, one)); // it listens
    fixture_assert_error(it, CSC_ERROR_OPERATION, "A budget is for a server that does not listen");
    csc_server_finish(it->server);
    assert_true(csc_server_set_budget(it->server, one));
    assert_int_equal(csc_budget_taken(one), 2);
    csc_budget_free(one); // the server keeps it
    assert_true(csc_server_set_budget(it->server, other));
    assert_int_equal(csc_budget_taken(other), 2);
    assert_true(csc_server_set_budget(it->server, NULL));
    assert_int_equal(csc_budget_taken(other), 0);
    csc_budget_free(other);
    csc_budget_free(NULL);
    fixture_listen(it); // as without
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_take_all(it), 3);
}

static void a_group_has_its_acceptors_limit(void **state) {
    fixture *it = *state;
    csc_budget *budget = csc_budget_new(1);
    assert_true(csc_server_set_budget(it->server, budget));
    assert_null(csc_group_new(it->server, 1));
    fixture_assert_error(it, CSC_ERROR_OPERATION,
                         "A group needs a server with an event_base that is in no other group");
    assert_true(csc_server_set_budget(it->server, NULL));
    assert_non_null(csc_group_new(it->server, 1));
    assert_false(csc_server_set_budget(it->server, budget));
    fixture_assert_error(it, CSC_ERROR_OPERATION,
                         "The limit of a group is that of the server that accepts");
    csc_budget_free(budget);
    assert_false(csc_server_set_budget(NULL, NULL));
}

static void without_memory_or_descriptors_the_server_is_as_it_was(void **state) {
    fixture *it = *state;
    csc_budget *budget = csc_budget_new(1);
    const fault_call calls[] = {FAULT_EVENTFD, FAULT_EPOLL_CTL};
    for (size_t call = 0; call < 2; call++) {
        fault_fail(calls[call], 1, 1, ENOSPC);
        assert_false(csc_server_set_budget(it->server, budget));
        fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        fault_clear();
    }
    if (fault_counts_allocations()) {
        for (int nth = 1; nth <= 2; nth++) {
            fault_fail_allocation(nth, 1);
            assert_false(csc_server_set_budget(it->server, budget));
            fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
            fault_clear();
        }
        fault_fail_allocation(1, 1);
        assert_null(csc_budget_new(1));
        fault_clear();
        fault_fail_allocation(1, 1);
        assert_false(csc_server_share_statistics(it->server));
        fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        fault_clear();
    }
    fixture_listen(it);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    assert_int_equal(fixture_take_all(it), 2);
    assert_int_equal(csc_budget_taken(budget), 0);
    csc_budget_free(budget);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(the_limit_is_that_of_all_together),
        fact(a_full_budget_pauses_accepting_and_loops_sleep),
        fact(a_freed_place_wakes_one_who_has_waited_longest),
        fact(one_without_a_client_passes_its_place_on),
        fact(one_that_pauses_passes_its_place_on),
        fact(one_that_ends_passes_its_place_on),
        fact(what_waits_behind_leaves_the_queue_as_it_was),
        fact(several_places_at_once_wake_as_many),
        fact(a_wake_up_that_is_lost_costs_a_second),
        fact(clients_beyond_it_are_closed_or_reset),
        fact(a_limit_that_is_raised_wakes_all_who_wait),
        fact(a_server_without_a_limit_of_its_own_has_its_others),
        fact(a_turn_accepts_a_batch_at_most),
        fact(what_comes_another_way_counts_too),
        fact(finishing_minds_no_limit),
        fact(another_budget_gets_the_connections_too),
        fact(a_group_has_its_acceptors_limit),
        fact(without_memory_or_descriptors_the_server_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
