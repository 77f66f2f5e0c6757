// SPDX-License-Identifier: Apache-2.0

// Servers with a shared limit that wait for a client without a loop.

#include "budget_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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
        fact(a_wait_keeps_it_too),
        fact_without_base(a_wait_keeps_it_too),
        fact_without_base(a_wait_is_woken_for_a_place),
        fact(a_wait_without_a_client_passes_its_place_on),
        fact(a_wait_that_lost_its_client_passes_its_place_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
