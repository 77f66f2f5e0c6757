// SPDX-License-Identifier: Apache-2.0

// One limit for several servers: what it counts, what becomes of clients beyond it, and who is
// woken for a place.

#include "budget_fixture.h"
#include "guests.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

static csc_admission reject(csc_server *server, const csc_address *peer, void *context) {
    (void)peer;
    test_budget *all = context;
    assert_int_equal(csc_budget_taken(all->budget), 1); // it has its place already
    assert_false(csc_server_set_budget(server, NULL));
    csc_server_close(server);
    assert_false(csc_server_set_budget(server, NULL));
    assert_string_equal(csc_server_error_string(server),
                        "A budget is for a server that does not listen");
    return CSC_CLOSE;
}

static void who_is_not_admitted_gives_the_place_back(void **state) {
    test_budget *all = budget_setup(*state, 1);
    csc_server_on_admission(all->servers[0], reject, all);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    assert_int_equal(fixture_statistics(all->it).rejected_by_admission, 1);
    assert_int_equal(csc_budget_taken(all->budget), 0);
    assert_true(csc_server_set_budget(all->servers[0], NULL));
    budget_teardown(all);
}

static void an_accept_that_fails_gives_the_place_back(void **state) {
    test_budget *all = budget_setup(*state, 1);
    const int errnums[] = {ECONNABORTED, EMFILE, EINVAL};
    fault_stop_clock(); // the turn ends before the next attempt is due
    for (int nth = 0; nth < 3; nth++) {
        budget_connect(all, nth, 1);
        fault_fail(FAULT_ACCEPT4, 1, 1, errnums[nth]);
        event_base_loop(all->bases[nth], EVLOOP_NONBLOCK);
        fault_clear();
        assert_int_equal(csc_budget_taken(all->budget), nth == 0); // that was the next attempt
        if (nth == 0) {
            budget_end_one(all, 0);
        }
    }
    assert_false(csc_server_is_listening(all->servers[2]));
    budget_teardown(all);
}

static void free_it(csc_server *server, void *context) {
    test_budget *all = context;
    csc_server_free(server);
    all->servers[0] = NULL;
}

static void freed_by_a_callback_it_gives_all_back(void **state) {
    test_budget *all = budget_setup(*state, 2);
    csc_server_on_new_connection(all->servers[0], free_it, all);
    budget_connect(all, 0, 2);
    budget_run(all, 0);
    assert_null(all->servers[0]);
    assert_int_equal(csc_budget_taken(all->budget), 0);

    // The same where it was woken for a place.
    budget_connect(all, 1, 2);
    budget_run(all, 1);
    budget_teardown(all);
    fixture *it = *state;
    it->server = csc_server_new(it->base);
    all = budget_setup(it, 0);
    csc_server_on_new_connection(all->servers[0], free_it, all);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    csc_budget_set_limit(all->budget, 1, CSC_EXCESS_WAIT);
    budget_run(all, 0);
    assert_null(all->servers[0]);
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

static void counters_can_be_read_by_others(void **state) {
    fixture *it = *state;
    test_budget *all = budget_setup(it, 3);
    csc_statistics now;
    csc_server_shared_statistics(it->server, &now, sizeof now);
    assert_int_equal(now.accepted, 0);
    assert_true(csc_server_share_statistics(it->server));
    budget_connect(all, 0, 5);
    budget_run(all, 0);
    budget_end_one(all, 0);
    budget_run(all, 0);
    csc_server_shared_statistics(it->server, &now, sizeof now);
    assert_int_equal(now.accepted, 4);
    assert_int_equal(now.delivered, 1);
    assert_int_equal(now.pending, 3);
    assert_int_equal(now.live, 3);
    assert_int_equal(now.overload_pauses, 1);
    assert_true(csc_server_share_statistics(it->server)); // once more
    csc_server_shared_statistics(NULL, &now, sizeof now);
    assert_int_equal(now.accepted, 0);
    assert_false(csc_server_share_statistics(NULL));
    // A server without a budget does it, too.
    csc_server *plain = csc_server_new(all->bases[1]);
    csc_address address = address_of(own_loopback(), 0);
    assert_true(csc_server_share_statistics(plain));
    assert_null(csc_group_new(plain, 1));
    assert_true(csc_server_listen(plain, &address));
    address = csc_server_address(plain);
    fixture_own(it, connect_to(&address));
    budget_run(all, 1);
    csc_connection connection;
    assert_true(csc_server_next_pending(plain, &connection));
    fixture_own(it, connection.descriptor);
    csc_server_shared_statistics(plain, &now, sizeof now);
    assert_int_equal(now.delivered, 1);
    assert_int_equal(now.live, 1);
    csc_server_connection_ended(plain);
    csc_server_shared_statistics(plain, &now, sizeof now);
    assert_int_equal(now.live, 0);
    csc_server_free(plain);
    budget_teardown(all);
}

static void a_wait_keeps_it_too(void **state) {
    fixture *it = *state;
    bool timed_out = false;
    csc_budget *budget = csc_budget_new(1);
    assert_true(csc_server_set_budget(it->server, budget));
    fixture_listen(it);
    fixture_connect_many(it, 2);
    assert_true(csc_server_wait(it->server, 0, NULL));
    int taken = fixture_take(it).descriptor;
    assert_false(csc_server_wait(it->server, 20, &timed_out));
    assert_true(timed_out);
    fixture_close(it, taken);
    csc_server_connection_ended(it->server);
    assert_true(csc_server_wait(it->server, 0, NULL));
    csc_budget_free(budget);
}

// In a child: the servers and the budget are the parent's, and so are those that wait.
static bool leave_all_to_the_parent(test_budget *all) {
    csc_server *own = csc_server_new(NULL);
    bool refused = !csc_server_set_budget(all->servers[0], NULL) &&
                   !csc_server_set_budget(own, all->budget) &&
                   csc_server_error(own) == CSC_ERROR_OPERATION;
    fault_reset_counts();
    csc_budget_set_limit(all->budget, 5, CSC_EXCESS_WAIT);
    csc_server_close(all->servers[0]); // with what is pending
    bool kept = csc_budget_taken(all->budget) == 0 && fault_calls(FAULT_WRITE) == 0 &&
                fault_bad_closes() == 0;
    // The parent has woken the second one.
    bool slept = event_reinit(all->bases[1]) == 0 &&
                 event_base_loop(all->bases[1], EVLOOP_NONBLOCK) == 0 &&
                 csc_budget_taken(all->budget) == 0 && fault_calls(FAULT_ACCEPT4) == 0;
    for (int index = 0; index < SHARERS; index++) {
        csc_server_free(all->servers[index]);
    }
    csc_server_free(own);
    csc_budget_free(all->budget);
    return refused && kept && slept;
}

static void a_child_leaves_the_budget_to_its_parent(void **state) {
    test_budget *all = budget_setup(*state, 2);
    for (int index = 0; index < SHARERS; index++) {
        budget_connect(all, index, index == 0 ? 2 : 1);
        budget_run(all, index);
    }
    budget_end_one(all, 0);
    budget_run(all, 0); // wakes the second
    int status = -1;
    fflush(NULL); // exit() would write what is buffered once more
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        exit(leave_all_to_the_parent(all) ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(csc_budget_taken(all->budget), 1);
    budget_run_all(all);
    assert_pending(all, 1, 1, 0);
    budget_end_one(all, 0);
    budget_run_all(all);
    assert_pending(all, 0, 1, 1);
    budget_teardown(all);
}

static atomic_int waiting_thread;

static void *wait_for_one(void *context) {
    fault_stop_clock(); // the second after which it would look anyway never comes
    atomic_store(&waiting_thread, gettid());
    csc_server_wait(context, -1, NULL);
    fault_start_clock();
    return NULL;
}

static bool sleeps(int thread) {
    char path[64];
    char state = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    FILE *file = thread > 0 ? fopen(path, "re") : NULL;
    if (file) {
        int count = fscanf(file, "%*d (%*[^)]) %c", &state);
        (void)count;
        fclose(file);
    }
    return state == 'S';
}

static void a_wait_is_woken_for_a_place(void **state) {
    fixture *it = *state;
    csc_budget *budget = csc_budget_new(0);
    pthread_t thread;
    assert_true(csc_server_set_budget(it->server, budget));
    fixture_listen(it);
    fixture_connect(it);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_one, it->server), 0);
    while (!sleeps(atomic_load(&waiting_thread))) {
        sched_yield(); // the client is there, but no place
    }
    csc_budget_set_limit(budget, 1, CSC_EXCESS_WAIT);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fixture_take_all(it), 1);
    csc_budget_free(budget);
}

static void a_wait_that_lost_its_client_passes_its_place_on(void **state) {
    fixture *it = *state;
    test_budget *all = budget_setup(it, 1);
    csc_server *waiting = csc_server_new(NULL);
    csc_address address = address_of(own_loopback(), 0);
    pthread_t thread;
    assert_true(csc_server_set_budget(waiting, all->budget));
    assert_true(csc_server_listen(waiting, &address));
    address = csc_server_address(waiting);
    budget_connect(all, 0, 1);
    budget_run(all, 0);
    fixture_own(it, connect_to(&address));
    atomic_store(&waiting_thread, 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_one, waiting), 0);
    while (!sleeps(atomic_load(&waiting_thread))) {
        sched_yield();
    }
    budget_connect(all, 1, 1);
    budget_run(all, 1);
    fixture_own(it, accept(csc_server_descriptor(waiting), NULL, NULL));
    budget_end_one(all, 0);
    budget_run(all, 0);
    csc_server_wake(waiting); // it looks first, and then returns
    assert_int_equal(pthread_join(thread, NULL), 0);
    budget_run(all, 1);
    assert_pending(all, 0, 1, 0);
    csc_server_free(waiting);
    budget_teardown(all);
}

static void a_wait_without_a_client_passes_its_place_on(void **state) {
    fixture *it = *state;
    test_budget *all = budget_setup(it, 1);
    csc_server *waiting = csc_server_new(NULL);
    csc_address address = address_of(own_loopback(), 0);
    assert_true(csc_server_set_budget(waiting, all->budget));
    assert_true(csc_server_listen(waiting, &address));
    address = csc_server_address(waiting);
    fixture_own(it, connect_to(&address));
    assert_true(csc_server_wait(waiting, 0, NULL)); // which takes the place, and waits for no other
    budget_connect(all, 1, 1);
    budget_run(all, 1);
    csc_connection connection;
    assert_true(csc_server_next_pending(waiting, &connection));
    close(connection.descriptor);
    csc_server_connection_ended(waiting);
    budget_run(all, 1);
    assert_pending(all, 0, 1, 0);
    csc_server_free(waiting);
    budget_teardown(all);
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
        fact(who_is_not_admitted_gives_the_place_back),
        fact(an_accept_that_fails_gives_the_place_back),
        fact(freed_by_a_callback_it_gives_all_back),
        fact(another_budget_gets_the_connections_too),
        fact(a_group_has_its_acceptors_limit),
        fact(without_memory_or_descriptors_the_server_is_as_it_was),
        fact(counters_can_be_read_by_others),
        fact(a_wait_keeps_it_too),
        fact_without_base(a_wait_keeps_it_too),
        fact_without_base(a_wait_is_woken_for_a_place),
        fact(a_wait_without_a_client_passes_its_place_on),
        fact(a_wait_that_lost_its_client_passes_its_place_on),
        fact(a_child_leaves_the_budget_to_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
