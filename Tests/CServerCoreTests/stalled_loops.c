// SPDX-License-Identifier: Apache-2.0

// Groups whose loops are busy: what they leave in their mailboxes is placed elsewhere. Only the
// tests move the clock.

#include "group_fixture.h"

#include <event2/event.h>

enum { STALL_LIMIT = 10 };

static test_group *stopped_setup(fixture *it, int count) {
    fault_stop_clock();
    test_group *group = group_setup(it, count);
    csc_group_set_stall_limit(group->group, STALL_LIMIT);
    return group;
}

static void stopped_teardown(test_group *group) {
    group_teardown(group);
    fault_reset_clock();
}

static void pass_time(test_group *group, int msec) {
    fault_advance_clock(msec);
    group_run_acceptor(group);
}

static void what_a_busy_loop_leaves_is_placed_elsewhere(void **state) {
    test_group *group = stopped_setup(*state, 2);
    group_connect(group, 6);
    assert_loads(group, 3, 3);
    group_run_member(group, 1);
    pass_time(group, STALL_LIMIT - 1);
    assert_loads(group, 3, 3);
    pass_time(group, 1);
    assert_loads(group, 0, 6);
    assert_int_equal(group_statistics(group).taken_back, 3);
    group_run_member(group, 1);
    assert_int_equal(group->members[1].new_connections, 6);
    stopped_teardown(group);
}

static void a_loop_gets_none_until_it_has_looked_again(void **state) {
    test_group *group = stopped_setup(*state, 2);
    group_connect(group, 2);
    group_run_member(group, 1);
    pass_time(group, STALL_LIMIT);
    group_connect(group, 2);
    assert_loads(group, 0, 4);
    group_run_member(group, 1);
    group_run_member(group, 0); // to which nothing is left
    assert_int_equal(group->members[0].new_connections, 0);
    group_connect(group, 1);
    assert_loads(group, 1, 4);
    stopped_teardown(group);
}

static void where_all_are_busy_connections_wait(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    csc_server_set_max_pending(it->server, 3);
    fixture_connect_many(it, 10);
    group_run_acceptor(group);
    pass_time(group, STALL_LIMIT);
    // Full ones are no better.
    assert_loads(group, 3, 3);
    group_run_member(group, 1);
    pass_time(group, STALL_LIMIT);
    assert_int_equal(member_statistics(group, 0).in_mailbox, 0);
    assert_int_equal(group_statistics(group).taken_back, 3);
    for (int round = 0; round < 3; round++) {
        group_run_member(group, 1);
        pass_time(group, STALL_LIMIT);
    }
    assert_int_equal(group->members[1].new_connections, 10);
    stopped_teardown(group);
}

static void the_timer_ends_with_what_waits(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 1);
    group_run_acceptor(group);
    int before = event_base_get_num_events(it->base, EVENT_BASE_COUNT_ADDED);
    group_connect(group, 1);
    assert_int_equal(event_base_get_num_events(it->base, EVENT_BASE_COUNT_ADDED), before + 1);
    group_run_member(group, 0);
    pass_time(group, STALL_LIMIT);
    assert_int_equal(event_base_get_num_events(it->base, EVENT_BASE_COUNT_ADDED), before);
    stopped_teardown(group);
}

static void those_that_came_later_stay_as_long(void **state) {
    test_group *group = stopped_setup(*state, 2);
    csc_group_set_distribution(group->group, CSC_ROUND_ROBIN);
    group_connect(group, 2);
    pass_time(group, STALL_LIMIT / 2);
    group_connect(group, 2);
    group_run_member(group, 1);
    pass_time(group, STALL_LIMIT / 2);
    assert_loads(group, 1, 3);
    pass_time(group, STALL_LIMIT / 2);
    assert_loads(group, 0, 4);
    stopped_teardown(group);
}

// The places of 256 are used again.
static void the_oldest_is_that_however_many_came_before(void **state) {
    test_group *group = stopped_setup(*state, 2);
    csc_group_set_distribution(group->group, CSC_ROUND_ROBIN);
    csc_group_set_stall_limit(group->group, -1);
    for (int round = 0; round < 10; round++) {
        group_connect(group, 50);
        for (int index = 0; index < 2; index++) {
            group_run_member(group, index);
            assert_int_equal(group_take(group, index, true), 25);
        }
    }
    csc_group_set_stall_limit(group->group, STALL_LIMIT);
    group_connect(group, 8);
    pass_time(group, STALL_LIMIT / 2);
    group_connect(group, 8);
    group_run_member(group, 1);
    pass_time(group, STALL_LIMIT / 2);
    assert_loads(group, 4, 12);
    stopped_teardown(group);
}

static void a_peers_connections_stay_where_they_belong(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    csc_server_set_max_pending(it->server, 2);
    fixture_connect_many(it, 5);
    group_run_acceptor(group);
    pass_time(group, 10 * STALL_LIMIT);
    csc_statistics now = group_statistics(group);
    assert_int_equal(now.taken_back, 0);
    // The next one may be for the mailbox that is full.
    assert_int_equal(now.in_mailbox, 2);
    assert_int_equal(fixture_statistics(it).accept_queue, 3);
    for (int round = 0; round < 3; round++) {
        group_run_all(group);
    }
    assert_int_equal(group_statistics(group).pending, 5);
    stopped_teardown(group);
}

static void room_is_found_without_being_woken(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 1);
    csc_server_set_max_pending(it->server, 1);
    fixture_connect_many(it, 2);
    group_run_acceptor(group);
    fault_fail(FAULT_WRITE, 1, -1, EAGAIN);
    group_run_member(group, 0);
    fault_clear();
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).accepted, 1);
    pass_time(group, 1000);
    assert_int_equal(group_statistics(group).accepted, 2);
    stopped_teardown(group);
}

static void a_loop_whose_limits_do_not_let_it_take_is_as_one_that_is_busy(void **state) {
    test_group *group = stopped_setup(*state, 2);
    csc_server_set_max_pending(group->members[0].server, 1);
    csc_group_set_distribution(group->group, CSC_ROUND_ROBIN);
    group_connect(group, 4);
    assert_loads(group, 2, 2);
    group_run_member(group, 0);
    group_run_member(group, 1);
    assert_int_equal(member_statistics(group, 0).in_mailbox, 1);
    pass_time(group, STALL_LIMIT);
    assert_loads(group, 1, 3);
    // And takes more once they do.
    assert_int_equal(group_take(group, 0, true), 1);
    group_connect(group, 2);
    assert_loads(group, 1, 4);
    stopped_teardown(group);
}

// The look a second later that a lack of room asks for must not put this one off.
static void a_lack_of_room_before_delays_nothing(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 1);
    group_add(group, it->base);
    for (int index = 0; index < 2; index++) {
        csc_server_set_max_connections(group->members[index].server, 1, CSC_EXCESS_WAIT);
    }
    group_connect(group, 2);
    group_run_all(group);
    pass_time(group, STALL_LIMIT);
    group_connect(group, 1);
    assert_int_equal(fixture_statistics(it).accept_queue, 1); // there is no room
    assert_int_equal(group_take(group, 0, true), 1);
    group_run_acceptor(group);
    group_run_acceptor(group);
    assert_loads(group, 1, 1);
    assert_int_equal(group_take(group, 1, true), 1);
    pass_time(group, STALL_LIMIT);
    assert_loads(group, 0, 1);
    stopped_teardown(group);
}

// What a member's csc_server_finish() does not find must not come to it later.
static void nothing_is_placed_elsewhere_when_the_acceptor_has_finished(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    group_connect(group, 4);
    csc_server_finish(it->server);
    csc_server_finish(group->members[0].server);
    assert_false(csc_server_is_listening(group->members[0].server));
    pass_time(group, STALL_LIMIT);
    assert_false(csc_server_is_listening(group->members[0].server));
    assert_loads(group, 2, 2);
    csc_server_finish(group->members[1].server);
    assert_int_equal(group_statistics(group).pending, 4);
    stopped_teardown(group);
}

static void a_longer_queue_is_used_at_once(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 1);
    csc_server_set_max_pending(it->server, 1);
    fixture_connect_many(it, 3);
    group_run_acceptor(group);
    assert_loads(group, 1, 0);
    csc_server_set_max_pending(it->server, 3);
    group_run_acceptor(group);
    group_run_acceptor(group);
    assert_int_equal(member_statistics(group, 0).in_mailbox, 3);
    stopped_teardown(group);
}

static void a_change_of_settings_holds_for_what_is_on_its_way(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    csc_server_set_max_pending(it->server, 2);
    csc_group_set_stall_limit(group->group, -1);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    fixture_connect_many(it, 4);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).in_mailbox, 2);
    csc_group_set_distribution(group->group, CSC_LEAST_CONNECTIONS);
    group_run_acceptor(group);
    group_run_acceptor(group);
    assert_loads(group, 2, 2);
    group_run_member(group, 0);
    pass_time(group, STALL_LIMIT);
    csc_group_set_stall_limit(group->group, STALL_LIMIT);
    group_run_acceptor(group);
    assert_loads(group, 4, 0);
    stopped_teardown(group);
}

static void a_write_that_fails_is_made_up_for_by_the_next(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    fault_fail(FAULT_WRITE, 1, 1, EAGAIN);
    group_connect(group, 1);
    group_run_member(group, 0);
    assert_loads(group, 1, 0);
    assert_int_equal(group->members[0].new_connections, 0);
    group_connect(group, 1);
    group_run_member(group, 0);
    assert_int_equal(group->members[0].new_connections, 2);
    group_teardown(group);
}

static void take_long(csc_server *server, void *context) {
    (void)server, (void)context;
    fault_advance_clock(2 * STALL_LIMIT);
}

// The time that a connection may wait begins when its loop is woken.
static void a_batch_that_takes_long_stalls_no_loop(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    csc_server_on_new_connection(it->server, take_long, NULL);
    fixture_connect_many(it, 2);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).taken_back, 0);
    assert_loads(group, 1, 1);
    pass_time(group, STALL_LIMIT - 1);
    assert_int_equal(group_statistics(group).taken_back, 0);
    group_run_member(group, 1);
    pass_time(group, 1);
    assert_loads(group, 0, 2);
    stopped_teardown(group);
}

static void run_the_other_loop(csc_server *server, void *context) {
    test_group *group = context;
    (void)server;
    group_run_member(group, 0);
    group->members[1].new_connections++;
}

// A callback on the acceptor's loop may block: the others have been woken before.
static void no_loop_waits_for_a_callback_on_the_acceptors(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_group_set_distribution(group->group, CSC_ROUND_ROBIN);
    test_member *local = group_add(group, it->base);
    csc_server_on_new_connection(local->server, run_the_other_loop, group);
    fixture_connect_many(it, 2);
    group_run_acceptor(group);
    assert_int_equal(local->new_connections, 1);
    assert_int_equal(group->members[0].new_connections, 1);
    group_teardown(group);
}

static void a_loop_that_was_not_woken_is_not_lost_for_the_group(void **state) {
    test_group *group = stopped_setup(*state, 2);
    fault_fail(FAULT_WRITE, 1, 1, EAGAIN);
    group_connect(group, 1);
    pass_time(group, STALL_LIMIT);
    assert_loads(group, 0, 1);
    group_run_member(group, 0);
    group_connect(group, 1);
    assert_loads(group, 1, 1);
    stopped_teardown(group);
}

static void a_loop_that_cannot_wake_itself_receives_all_the_same(void **state) {
    test_group *group = group_setup(*state, 1);
    csc_server_set_accept_batch(group->members[0].server, 1);
    group_connect(group, 3);
    fault_fail(FAULT_WRITE, 1, -1, EAGAIN);
    group_run_member(group, 0);
    fault_clear();
    assert_int_equal(group->members[0].new_connections, 3);
    group_teardown(group);
}

static void free_acceptor(csc_server *server, void *context) {
    fixture *it = context;
    (void)server;
    csc_server_free(it->server);
    it->server = NULL;
}

// It is placed on the acceptor's own loop, where the callback ends the acceptor.
static void the_acceptor_may_be_freed_while_it_takes_back(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    group_connect(group, 4);
    test_member *local = group_add(group, it->base);
    csc_server_on_new_connection(local->server, free_acceptor, it);
    pass_time(group, STALL_LIMIT);
    assert_null(it->server);
    assert_int_equal(group_take(group, 2, true), 1);
    group_run_all(group);
    assert_int_equal(group_take(group, 0, true) + group_take(group, 1, true), 3);
    stopped_teardown(group);
}

// On a member's loop: a handler that takes as long.
static void block(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    pass_time(context, STALL_LIMIT);
}

static void what_arrives_in_the_turn_of_a_handler_that_blocks_is_taken_back(void **state) {
    test_group *group = stopped_setup(*state, 2);
    const struct timeval soon = {.tv_usec = 1000};
    event_base_once(group->members[0].base, -1, EV_TIMEOUT, block, group, &soon);
    group_connect(group, 2);
    fault_advance_clock(1);
    group_run_member(group, 0);
    assert_loads(group, 0, 2);
    assert_int_equal(group->members[0].new_connections, 0);
    // It has looked since.
    group_connect(group, 1);
    assert_loads(group, 1, 2);
    stopped_teardown(group);
}

static void ignore(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events, (void)context;
}

static void what_arrives_beside_other_events_is_received_in_the_same_turn(void **state) {
    test_group *group = stopped_setup(*state, 1);
    const struct timeval soon = {.tv_usec = 1000};
    event_base_once(group->members[0].base, -1, EV_TIMEOUT, ignore, NULL, &soon);
    group_connect(group, 1);
    fault_advance_clock(1);
    group_run_member(group, 0);
    assert_int_equal(group->members[0].new_connections, 1);
    stopped_teardown(group);
}

static void what_is_sent_as_the_time_is_over_is_looked_after_as_well(void **state) {
    fixture *it = *state;
    test_group *group = stopped_setup(it, 2);
    group_connect(group, 1);
    fixture_connect(it);
    // In one turn: accepted and sent, the time of the first is over, the loop of the second woken.
    pass_time(group, STALL_LIMIT);
    assert_loads(group, 0, 2);
    group_run_member(group, 0); // which is well again
    pass_time(group, STALL_LIMIT);
    assert_loads(group, 2, 0);
    stopped_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(what_a_busy_loop_leaves_is_placed_elsewhere),
        fact(what_is_sent_as_the_time_is_over_is_looked_after_as_well),
        fact(what_arrives_in_the_turn_of_a_handler_that_blocks_is_taken_back),
        fact(what_arrives_beside_other_events_is_received_in_the_same_turn),
        fact(a_loop_gets_none_until_it_has_looked_again),
        fact(where_all_are_busy_connections_wait),
        fact(the_timer_ends_with_what_waits),
        fact(those_that_came_later_stay_as_long),
        fact(the_oldest_is_that_however_many_came_before),
        fact(a_peers_connections_stay_where_they_belong),
        fact(room_is_found_without_being_woken),
        fact(a_loop_whose_limits_do_not_let_it_take_is_as_one_that_is_busy),
        fact(a_lack_of_room_before_delays_nothing),
        fact(nothing_is_placed_elsewhere_when_the_acceptor_has_finished),
        fact(a_longer_queue_is_used_at_once),
        fact(a_change_of_settings_holds_for_what_is_on_its_way),
        fact(a_write_that_fails_is_made_up_for_by_the_next),
        fact(a_batch_that_takes_long_stalls_no_loop),
        fact(no_loop_waits_for_a_callback_on_the_acceptors),
        fact(a_loop_that_was_not_woken_is_not_lost_for_the_group),
        fact(a_loop_that_cannot_wake_itself_receives_all_the_same),
        fact(the_acceptor_may_be_freed_while_it_takes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
