// SPDX-License-Identifier: Apache-2.0

// A server with a shared limit gives back the places of what it does not let in.

#include "budget_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <unistd.h>

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

static void close_released(csc_server *server) {
    close(csc_server_release(server));
}

static void *end_one(void *server) {
    csc_server_connection_ended(server);
    return NULL;
}

static void end_one_elsewhere(csc_server *server) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end_one, server), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void (*const stops[])(csc_server *) = {csc_server_finish, csc_server_close, close_released};

static void who_listens_no_more_gives_places_back_all_the_same(void **state) {
    for (size_t way = 0; way < sizeof stops / sizeof stops[0]; way++) {
        fixture *it = *state;
        it->server = it->server ? it->server : csc_server_new(it->base);
        test_budget *all = budget_setup(it, 1);
        csc_connection connection;
        budget_connect(all, 0, 1);
        budget_run(all, 0);
        assert_true(csc_server_next_pending(all->servers[0], &connection));
        stops[way](all->servers[0]);
        budget_connect(all, 1, 1);
        budget_run_all(all);
        assert_pending(all, 0, 0, 0);
        close(connection.descriptor);
        end_one_elsewhere(all->servers[0]);
        budget_run(all, 0); // the loop's next turn
        assert_int_equal(csc_budget_taken(all->budget), 0);
        budget_run(all, 1);
        assert_pending(all, 0, 1, 0);
        budget_teardown(all);
    }
}

// Without a loop, in its next wait, which fails.
static void so_does_one_that_waits(void **state) {
    for (size_t way = 0; way < sizeof stops / sizeof stops[0]; way++) {
        fixture *it = *state;
        csc_budget *budget = csc_budget_new(1);
        assert_true(csc_server_set_budget(it->server, budget));
        fixture_listen(it);
        fixture_connect(it);
        assert_true(csc_server_wait(it->server, 10000, NULL));
        fixture_take(it);
        stops[way](it->server);
        end_one_elsewhere(it->server);
        assert_int_equal(csc_budget_taken(budget), 1);
        assert_false(csc_server_wait(it->server, 0, NULL));
        assert_int_equal(csc_budget_taken(budget), 0);
        csc_budget_free(budget);
    }
}

static void what_has_ended_before_takes_no_place(void **state) {
    fixture *it = *state;
    const csc_connection place = {.descriptor = -1};
    csc_connection taken;
    csc_budget *budgets[] = {csc_budget_new(2), csc_budget_new(2)};
    for (int nth = 0; nth < 2; nth++) {
        assert_true(csc_server_add_pending(it->server, &place));
        assert_true(csc_server_next_pending(it->server, &taken));
        end_one_elsewhere(it->server);
        assert_true(csc_server_set_budget(it->server, budgets[nth]));
        assert_int_equal(csc_budget_taken(budgets[nth]), 0);
    }
    assert_int_equal(csc_budget_taken(budgets[0]), 0);
    csc_budget_free(budgets[0]);
    csc_budget_free(budgets[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(who_is_not_admitted_gives_the_place_back),
        fact(an_accept_that_fails_gives_the_place_back),
        fact(freed_by_a_callback_it_gives_all_back),
        fact(who_listens_no_more_gives_places_back_all_the_same),
        fact_without_base(so_does_one_that_waits),
        fact(what_has_ended_before_takes_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
