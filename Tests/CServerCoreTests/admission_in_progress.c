// SPDX-License-Identifier: Apache-2.0

// While the admission callback decides on a client, that client counts: waits and loops within the
// callback keep the limits, and do not poll in vain at one.

#include "fixture.h"

#include <event2/event.h>
#include <unistd.h>

typedef struct gate {
    fixture *it;
    int asked;
    int depth;
    int deepest;
    int most_pending;
    int waits; // that are left to be done within
    csc_admission answer;
    void (*operation)(struct gate *now, csc_server *server);
} gate;

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    gate *now = context;
    assert_int_equal(peer->family, CSC_FAMILY_IPV4);
    now->asked++;
    now->depth++;
    now->deepest = now->depth > now->deepest ? now->depth : now->deepest;
    if (now->operation) {
        now->operation(now, server);
    }
    int pending = (int)fixture_statistics(now->it).pending;
    now->most_pending = pending > now->most_pending ? pending : now->most_pending;
    now->depth--;
    return now->answer;
}

static void begin(fixture *it, gate *now, int clients) {
    csc_server_on_admission(it->server, on_admission, now);
    fixture_listen(it);
    fixture_connect_many(it, clients);
}

// More than may be pending, so that one that was not counted back would show.
static void a_hundred_in_a_row_are_let_in_one_by_one(void **state) {
    fixture *it = *state;
    gate now = {.it = it};
    begin(it, &now, 100);
    csc_server_set_max_pending(it->server, 1);
    for (int i = 1; i <= 100; i++) {
        if (it->base) {
            fixture_run_ready(it);
        } else {
            assert_true(csc_server_wait(it->server, 1000, NULL));
        }
        assert_int_equal(now.asked, i);
        fixture_take(it);
    }
    assert_int_equal(fixture_statistics(it).delivered, 100);
}

static void so_are_those_that_come_after_a_hundred_were_refused(void **state) {
    fixture *it = *state;
    gate now = {.it = it, .answer = CSC_CLOSE};
    begin(it, &now, 100);
    fixture_run_ready(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 100);
    now.answer = CSC_ADMIT;
    fixture_connect_many(it, 30);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 30);
}

static void wait_within(gate *now, csc_server *server) {
    if (now->waits > 0) {
        now->waits--;
        csc_server_wait(server, 0, NULL);
    }
}

static void a_wait_within_keeps_the_pending_limit(void **state) {
    fixture *it = *state;
    for (int limit = 1; limit <= 3; limit++) {
        gate now = {.it = it, .operation = wait_within, .waits = 200};
        csc_server_set_max_pending(it->server, limit);
        begin(it, &now, 20);
        for (int i = 0; i < 20; i++) {
            if (it->base && i % 2) {
                fixture_run_ready(it);
            } else {
                csc_server_wait(it->server, 0, NULL);
            }
            assert_in_range(fixture_statistics(it).pending, 1, limit);
            fixture_take(it);
        }
        assert_in_range(now.most_pending, 0, limit - 1); // the one that is asked about has a place
        assert_in_range(now.deepest, 1, limit);
        fixture_take_all(it);
        csc_server_close(it->server);
    }
}

static void a_wait_within_keeps_the_limit_of_connections(void **state) {
    fixture *it = *state;
    gate now = {.it = it, .operation = wait_within, .waits = 200};
    csc_server_set_max_connections(it->server, 2, CSC_EXCESS_WAIT);
    begin(it, &now, 10);
    for (int i = 0; i < 5; i++) {
        csc_server_wait(it->server, 0, NULL);
        assert_in_range(fixture_statistics(it).live, 1, 2);
    }
    assert_int_equal(now.asked, 2);
    assert_int_equal(now.deepest, 2);
    fixture_take_all(it);
}

static void wait_for_long(gate *now, csc_server *server) {
    bool timed_out = false;
    fault_reset_counts();
    assert_false(csc_server_wait(server, 1500, &timed_out));
    assert_true(timed_out);
    // It sleeps, and looks after the socket once a second: it does not turn.
    assert_in_range(fault_calls(FAULT_POLL), 1, 5);
    now->operation = NULL;
}

static void a_wait_within_at_the_limit_sleeps(void **state) {
    fixture *it = *state;
    gate now = {.it = it, .operation = wait_for_long};
    csc_server_set_max_pending(it->server, 1);
    begin(it, &now, 3);
    assert_true(csc_server_wait(it->server, 0, NULL));
    assert_int_equal(now.asked, 1);
    assert_int_equal(fixture_statistics(it).pending, 1);
}

static void run_the_loop(gate *now, csc_server *server) {
    (void)server;
    if (now->depth < 5) {
        event_base_loop(now->it->base, EVLOOP_NONBLOCK);
    }
}

// Only a wait leads there: libevent's loop does not nest.
static void a_loop_within_keeps_the_limits(void **state) {
    fixture *it = *state;
    gate now = {.it = it, .operation = run_the_loop};
    csc_server_set_max_pending(it->server, 3);
    begin(it, &now, 20);
    for (int i = 0; i < 20; i++) {
        csc_server_wait(it->server, 0, NULL);
        assert_in_range(fixture_statistics(it).pending, 1, 3);
        fixture_take(it);
    }
    fixture_take_all(it);
    while (csc_server_wait(it->server, 0, NULL)) {
        fixture_take_all(it);
    }
    assert_int_equal(fixture_statistics(it).delivered, 20);
}

static void lower_the_batch(csc_server *server, void *context) {
    fixture *it = context;
    it->new_connections++;
    if (it->new_connections == 10) {
        csc_server_set_accept_batch(server, 3);
    }
}

static void a_smaller_batch_holds_at_once_beside_a_limit_that_waits(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 1000);
    csc_server_set_max_connections(it->server, 500, CSC_EXCESS_WAIT);
    csc_server_on_new_connection(it->server, lower_the_batch, it);
    fixture_listen(it);
    fixture_connect_many(it, 40);
    event_base_loop(it->base, EVLOOP_ONCE);
    assert_int_equal(it->new_connections, 10);
    for (int i = 1; i <= 10; i++) {
        event_base_loop(it->base, EVLOOP_ONCE);
        assert_int_equal(it->new_connections, 10 + 3 * i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_hundred_in_a_row_are_let_in_one_by_one),
        fact_without_base(a_hundred_in_a_row_are_let_in_one_by_one),
        fact(so_are_those_that_come_after_a_hundred_were_refused),
        fact(a_wait_within_keeps_the_pending_limit),
        fact_without_base(a_wait_within_keeps_the_pending_limit),
        fact(a_wait_within_keeps_the_limit_of_connections),
        fact_without_base(a_wait_within_keeps_the_limit_of_connections),
        fact(a_wait_within_at_the_limit_sleeps),
        fact_without_base(a_wait_within_at_the_limit_sleeps),
        fact(a_loop_within_keeps_the_limits),
        fact(a_smaller_batch_holds_at_once_beside_a_limit_that_waits),
    };
    return cmocka_run_group_tests_name("admission in progress", tests, NULL, NULL);
}
