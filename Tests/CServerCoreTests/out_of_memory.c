// SPDX-License-Identifier: Apache-2.0

// Every allocation of a server's life fails once: nothing crashes, nothing leaks, no connection is
// lost without a counter.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>

enum { CLIENTS = 100 };

// How many of them have a descriptor.
static int take_all(fixture *it) {
    int count = 0;
    csc_connection connection;
    while (csc_server_next_pending(it->server, &connection)) {
        if (connection.descriptor >= 0) {
            fixture_own(it, connection.descriptor);
            count++;
        }
    }
    return count;
}

// A life of a server in which memory may end at any moment. Returns how many connections were
// served.
static int live(fixture *it) {
    int served = 0;
    it->server = csc_server_new(it->base);
    if (!it->server) {
        return 0;
    }
    fixture_watch(it);
    csc_server_set_max_pending(it->server, CLIENTS);
    csc_address address = {.bytes = {127, 0, 0, 1}, .family = CSC_FAMILY_IPV4};
    while (!csc_server_listen(it->server, &address)) { // at once again, until there is memory
        fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        assert_int_equal(csc_server_descriptor(it->server), -1);
    }
    csc_connection place = {.descriptor = -1};
    bool added = csc_server_add_pending(it->server, &place);
    fixture_connect_many(it, CLIENTS);
    for (int turn = 0; turn < 50 && fixture_statistics(it).accepted < CLIENTS; turn++) {
        event_base_loop(it->base, EVLOOP_NONBLOCK);
        fixture_assert_balance(it);
        if (turn % 2 == 0) {
            served += take_all(it);
        }
        fault_advance_clock(1000);
    }
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.accepted, CLIENTS);
    assert_int_equal(now.added, added);
    served += take_all(it);
    fixture_free_server(it);
    return served;
}

static struct event_base *make_base(bool with_change_list) {
    struct event_config *config = event_config_new();
    if (with_change_list) {
        event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    }
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

// Returns false when the life needs fewer allocations than that.
static bool live_with_failures(int nth, int count, bool with_change_list) {
    // A base of its own each time, so that its tables grow each time.
    fixture it = {.base = make_base(with_change_list)};
    fault_reset_counts();
    fault_fail_allocation(nth, count);
    int served = live(&it);
    bool failed = fault_allocations() >= (uint64_t)nth;
    fault_clear();
    assert_int_equal(served, nth == 1 ? 0 : CLIENTS);
    while (it.owned_count > 0) {
        fixture_close(&it, it.owned[0]);
    }
    event_base_loop(it.base, EVLOOP_NONBLOCK); // the turn in which a late socket is closed
    event_base_free(it.base);
    return failed;
}

static void whichever_allocation_fails_the_server_lives_on(void **state) {
    (void)state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    // Two in a row: the timer that should end a back-off has no memory either.
    for (int variant = 0; variant < 6; variant++) {
        int nth = 1;
        while (live_with_failures(nth, 1 + variant / 2, variant % 2 == 0)) {
            nth++;
        }
        assert_in_range(nth, 5, 100);
    }
}

static void without_memory_there_is_no_server(void **state) {
    (void)state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    fault_fail_allocation(1, 1);
    assert_null(csc_server_new(NULL));
}

static void a_wait_without_memory_fails_and_recovers(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    bool timed_out = true;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect(it);
    fault_fail_allocation(1, 1);
    assert_false(csc_server_wait(it->server, 10000, &timed_out));
    assert_false(timed_out);
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_int_equal(it->accept_errors, 1);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
    assert_int_equal(fixture_statistics(it).accept_queue, 1);
    assert_true(csc_server_wait(it->server, 10000, &timed_out));
    assert_int_equal(fixture_take_all(it), 1);
}

static void a_back_off_without_memory_for_its_timer_does_not_hold_the_loop(void **state) {
    (void)state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    fixture it = {.base = event_base_new()}; // which has never had a timer
    it.server = csc_server_new(it.base);
    fault_stop_clock();
    fixture_watch(&it);
    fixture_listen(&it);
    fixture_connect(&it);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    fault_fail_allocation(1, -1);
    for (int turn = 0; turn < 10; turn++) {
        event_base_loop(it.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    }
    assert_int_equal(it.accept_errors, 1);
    assert_int_equal(it.new_connections, 0);
    fault_advance_clock(1000); // memory is short all the time
    event_base_loop(it.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    assert_int_equal(it.new_connections, 1);
    fault_clear();
    fault_start_clock();
    fixture_free_server(&it);
    fixture_close(&it, it.owned[0]);
    event_base_free(it.base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(whichever_allocation_fails_the_server_lives_on),
        fact(a_back_off_without_memory_for_its_timer_does_not_hold_the_loop),
        fact(without_memory_there_is_no_server),
        fact_without_base(a_wait_without_memory_fails_and_recovers),
    };
    return cmocka_run_group_tests_name("out of memory", tests, NULL, NULL);
}
