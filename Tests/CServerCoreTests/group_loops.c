// SPDX-License-Identifier: Apache-2.0

// The loops of a group: those without epoll, those that end by themselves, members on the
// acceptor's own loop, and an acceptor that waits in place of its loop.

#include "group_fixture.h"

#include <event2/event.h>
#include <pthread.h>
#include <unistd.h>

static void end_run(evutil_socket_t descriptor, short events, void *base) {
    (void)descriptor, (void)events;
    event_base_loopbreak(base);
}

// Runs the loop for a while and returns how often it polled.
static uint64_t polls_of(struct event_base *base) {
    const struct timeval time = {.tv_usec = 100000};
    event_base_once(base, -1, EV_TIMEOUT, end_run, base, &time);
    fault_reset_counts();
    event_base_dispatch(base);
    return fault_calls(FAULT_POLL) + fault_calls(FAULT_EPOLL_WAIT);
}

static struct event_base *base_without_epoll(void) {
    struct event_config *config = event_config_new();
    event_config_avoid_method(config, "epoll");
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    assert_non_null(base);
    assert_false(event_base_get_features(base) & EV_FEATURE_ET);
    return base;
}

// Nothing is edge-triggered there: what wakes the loop must not go on waking it.
static void loops_without_epoll_sleep(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    struct event_base *base = base_without_epoll();
    group_add(group, base);
    group_connect(group, 1);
    assert_true(polls_of(base) < 20);
    assert_int_equal(group_take(group, 0, true), 1);
    group_connect(group, 1);
    group_run_member(group, 0);
    assert_int_equal(group_take(group, 0, true), 1);
    group_teardown(group);
}

static void so_does_an_acceptors_loop_that_was_woken(void **state) {
    fixture *it = *state;
    struct event_base *base = base_without_epoll();
    csc_server *acceptor = csc_server_new(base);
    csc_group *group = csc_group_new(acceptor, 1);
    csc_server *member = csc_server_new(it->base);
    csc_address address = address_of(own_loopback(), 0);
    assert_true(csc_group_add(group, member));
    csc_server_set_max_connections(acceptor, 1, CSC_EXCESS_WAIT);
    assert_true(csc_server_listen(acceptor, &address));
    address = csc_server_address(acceptor);
    int clients[] = {connect_to(&address), connect_to(&address)};
    for (int served = 0; served < 2; served++) {
        csc_connection connection;
        event_base_loop(base, EVLOOP_NONBLOCK);
        fixture_run_ready(it);
        assert_true(csc_server_next_pending(member, &connection));
        close(connection.descriptor);
        csc_server_connection_ended(member);
        assert_true(polls_of(base) < 20);
        close(clients[served]);
    }
    csc_server_free(member);
    csc_server_free(acceptor);
    event_base_free(base);
}

// As that of any server that closes.
static void the_acceptors_loop_ends_when_it_closes(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    group_connect(group, 2);
    csc_server_close(it->server);
    assert_int_equal(event_base_loop(it->base, EVLOOP_NONBLOCK), 1); // for want of events
    group_run_member(group, 0);
    assert_int_equal(group_take(group, 0, true), 2);
    assert_int_equal(csc_server_live(it->server), 0);

    fixture_listen(it);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    fixture_connect_many(it, 2);
    for (int served = 0; served < 2; served++) {
        group_run_all(group);
        assert_int_equal(group_take(group, 0, true), 1);
    }
    group_teardown(group);
}

typedef struct waiter {
    test_group *group;
    int depth;
    int most_pending;
    bool takes;
} waiter;

static void wait_within(csc_server *member, void *context) {
    waiter *self = context;
    csc_statistics now;
    csc_server_statistics(member, &now, sizeof now);
    self->most_pending =
        (int)now.pending > self->most_pending ? (int)now.pending : self->most_pending;
    if (self->depth < 3) {
        self->depth++;
        csc_server_wait(self->group->it->server, 0, NULL);
        self->depth--;
    }
    if (self->takes) {
        group_take(self->group, 0, true);
    }
}

static void a_wait_within_a_members_callback_keeps_its_limits(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    waiter self = {.group = group};
    csc_server *member = group_add(group, it->base)->server;
    csc_server_on_new_connection(member, wait_within, &self);
    csc_server_set_max_pending(member, 1);
    fixture_connect_many(it, 3);
    group_run_acceptor(group);
    assert_int_equal(self.most_pending, 1);
    // What came meanwhile is not forgotten when the callback has made room.
    self.takes = true;
    assert_int_equal(group_take(group, 0, true), 1);
    group_run_acceptor(group);
    group_run_acceptor(group);
    assert_int_equal(self.most_pending, 1);
    assert_int_equal(group_statistics(group).delivered, 3);
    group_teardown(group);
}

static csc_admission wait_before(csc_server *member, const csc_address *peer, void *context) {
    (void)peer;
    wait_within(member, context);
    return CSC_ADMIT;
}

static void so_does_one_within_the_admission_callback(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    waiter self = {.group = group};
    csc_server *member = group_add(group, it->base)->server;
    csc_server_on_admission(member, wait_before, &self);
    csc_server_set_max_connections(member, 1, CSC_EXCESS_WAIT);
    fixture_connect_many(it, 3);
    for (int served = 1; served <= 3; served++) {
        group_run_acceptor(group);
        assert_int_equal(member_statistics(group, 0).live, 1);
        assert_int_equal(group_take(group, 0, true), 1);
    }
    group_teardown(group);
}

static void *run_once(void *base) {
    event_base_loop(base, EVLOOP_NONBLOCK);
    return NULL;
}

// A loop and its servers may be made on one thread and run on another.
static void an_end_on_the_thread_that_made_a_local_member_is_elsewhere(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    csc_server *member = group_add(group, it->base)->server;
    csc_connection connection;
    pthread_t thread;
    fixture_connect(it);
    assert_int_equal(pthread_create(&thread, NULL, run_once, it->base), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(csc_server_next_pending(member, &connection));
    close(connection.descriptor);
    fault_reset_counts();
    csc_server_connection_ended(member);
    assert_int_equal(fault_calls(FAULT_WRITE), 1);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).live, 0);
    group_teardown(group);
}

static void an_acceptor_that_waits_finds_room(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server_set_max_pending(it->server, 1);
    fixture_connect_many(it, 3);
    for (int served = 1; served <= 3; served++) {
        assert_true(csc_server_wait(it->server, 10000, NULL));
        group_run_member(group, 0);
        assert_int_equal(group_take(group, 0, true), 1);
    }
    group_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(loops_without_epoll_sleep),
        fact(so_does_an_acceptors_loop_that_was_woken),
        fact(the_acceptors_loop_ends_when_it_closes),
        fact(a_wait_within_a_members_callback_keeps_its_limits),
        fact(so_does_one_within_the_admission_callback),
        fact(an_end_on_the_thread_that_made_a_local_member_is_elsewhere),
        fact(an_acceptor_that_waits_finds_room),
    };
    return cmocka_run_group_tests_name("group loops", tests, NULL, NULL);
}
