// SPDX-License-Identifier: Apache-2.0

// The limit of live connections, in its three ways.

#include "guests.h"
#include "must.h"

#include <event2/event.h>
#include <pthread.h>
#include <sys/socket.h>

static void end_one(fixture *it) {
    fixture_close(it, fixture_take(it).descriptor);
    csc_server_connection_ended(it->server);
}

static void clients_beyond_the_limit_wait_in_the_kernels_queue(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    guests_start(it, &now);
    fault_stop_clock();
    fixture_connect_many(it, 6);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    assert_int_equal(fixture_statistics(it).live, 3);
    assert_int_equal(fixture_statistics(it).accept_queue, 3);

    // Taking one makes no room; its end does, without a timer.
    int taken = fixture_take(it).descriptor;
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    fixture_close(it, taken);
    csc_server_connection_ended(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 4);
    assert_int_equal(fixture_statistics(it).live, 3);

    fault_advance_clock(7);
    assert_int_equal(fixture_statistics(it).overload_pauses, 2);
    assert_int_equal(fixture_statistics(it).overload_milliseconds, 7);
    assert_int_equal(fixture_statistics(it).error_episodes, 0);
    assert_int_equal(now.rejected, 0);
    assert_int_equal(it->accept_errors, 0);

    csc_server_set_max_connections(it->server, 4, CSC_EXCESS_WAIT);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 5);
    csc_server_set_max_connections(it->server, -7, CSC_EXCESS_WAIT);
    assert_int_equal(csc_server_max_connections(it->server), -1);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 6);
    assert_int_equal(fixture_take_all(it), 5);
}

static void clients_beyond_the_limit_are_closed_or_reset(void **state) {
    fixture *it = *state;
    scene now;
    for (int excess = CSC_EXCESS_CLOSE; excess <= CSC_EXCESS_RESET; excess++) {
        csc_server_set_max_connections(it->server, 2, (csc_excess)excess);
        assert_int_equal(csc_server_max_connections(it->server), 2);
        assert_int_equal(csc_server_excess(it->server), excess);
        guests_start(it, &now);
        it->new_connections = 0;
        uint64_t before = fixture_statistics(it).rejected_by_limit;
        fixture_connect_many(it, 3);
        int last = fixture_connect(it);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 2);
        assert_int_equal(now.rejected, 2);
        assert_int_equal(fixture_statistics(it).rejected_by_limit - before, 2);
        guests_assert_rejected(it, &now, last, CSC_REJECTED_BY_LIMIT);
        excess == CSC_EXCESS_CLOSE ? guests_assert_closed(last) : guests_assert_reset(last);

        // Where one ended there is room for one.
        end_one(it);
        fixture_connect_many(it, 2);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 3);
        assert_int_equal(now.rejected, 3);
        assert_int_equal(fixture_statistics(it).overload_pauses, 0);
        end_one(it);
        end_one(it);
        csc_server_close(it->server);
    }
}

static void a_limit_of_nothing_admits_no_client(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 0, CSC_EXCESS_WAIT);
    guests_start(it, &now);
    int client = fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 0);
    csc_server_set_max_connections(it->server, 0, CSC_EXCESS_CLOSE);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1);
    guests_assert_closed(client);
}

static void a_wait_keeps_the_limit_too(void **state) {
    fixture *it = *state;
    scene now;
    bool timed_out = false;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    guests_start(it, &now);
    fixture_connect_many(it, 3);
    assert_true(csc_server_wait(it->server, 0, NULL));
    int taken = fixture_take(it).descriptor;
    assert_false(csc_server_wait(it->server, 20, &timed_out));
    assert_true(timed_out);
    fixture_close(it, taken);
    csc_server_connection_ended(it->server);
    assert_true(csc_server_wait(it->server, 0, NULL));
    assert_int_equal(it->new_connections, 2);

    // A rejected client does not end the wait.
    fixture_take(it);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_CLOSE);
    assert_false(csc_server_wait(it->server, 20, &timed_out));
    assert_true(timed_out);
    assert_int_equal(now.rejected, 1);
}

static void finishing_takes_clients_beyond_the_limit_that_wait(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    guests_start(it, &now);
    fixture_connect_many(it, 3);
    csc_server_finish(it->server);
    assert_int_equal(fixture_take_all(it), 3);
}

static void what_a_close_discards_is_live_no_more(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    guests_start(it, &now);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    fixture_take(it);
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).live, 1);
    for (int i = 0; i < 3; i++) {
        csc_server_connection_ended(it->server); // oftener than there are
        assert_int_equal(fixture_statistics(it).live, 0);
    }
}

static void an_added_connection_is_live_as_well(void **state) {
    fixture *it = *state;
    scene now;
    csc_connection place = {.descriptor = -1};
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    guests_start(it, &now);
    assert_true(csc_server_add_pending(it->server, &place));
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 0);
    assert_true(csc_server_next_pending(it->server, &place));
    csc_server_connection_ended(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);

    // The owner of what a place was kept for ends it.
    assert_true(csc_server_add_pending(it->server, &place));
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).live, 1);
    csc_server_connection_ended(it->server);
    assert_int_equal(fixture_statistics(it).live, 0);
}

// A server that one thread has made, and another one uses.
typedef struct moved {
    fixture *it;
    csc_connection other;     // that comes another way
    pthread_barrier_t report; // before the end is reported, and afterwards
    uint64_t live_published;  // by the thread that uses the server, after an end elsewhere
} moved;

static void await_report(moved *now) {
    csc_statistics published;
    must(csc_server_share_statistics(now->it->server)); // publishes what is counted
    pthread_barrier_wait(&now->report);
    pthread_barrier_wait(&now->report);
    csc_server_shared_statistics(now->it->server, &published, sizeof published);
    now->live_published = published.live;
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    moved *now = context;
    (void)server;
    fixture_own(now->it, connection->descriptor);
    await_report(now);
}

static void *accept_one(void *context) {
    const moved *now = context;
    event_base_loop(now->it->base, EVLOOP_NONBLOCK);
    return NULL;
}

static void *inject_one(void *context) {
    const moved *now = context;
    must(csc_server_inject(now->it->server, &now->other));
    return NULL;
}

static void *add_one(void *context) {
    moved *now = context;
    must(csc_server_add_pending(now->it->server, &now->other));
    await_report(now);
    return NULL;
}

// The loop takes its thread's place in its first turn: before the callbacks of that.
static void an_end_on_the_thread_that_made_the_server_is_elsewhere(void **state) {
    fixture *it = *state;
    void *(*const ways[])(void *) = {accept_one, inject_one, add_one};
    fixture_listen(it);
    for (int way = 0; way < 3; way++) {
        moved now = {.it = it};
        int both[2];
        pthread_t thread;
        assert_int_equal(pthread_barrier_init(&now.report, NULL, 2), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both),
                         0);
        now.other.descriptor = both[0];
        fixture_own(it, both[1]);
        if (way == 0) {
            fixture_own(it, both[0]);
            fixture_connect(it);
        }
        csc_server_on_incoming_connection(it->server, way < 2 ? on_incoming : NULL, &now);
        assert_int_equal(pthread_create(&thread, NULL, ways[way], &now), 0);
        pthread_barrier_wait(&now.report);
        csc_server_connection_ended(it->server);
        assert_int_equal(csc_server_live(it->server), 0);
        pthread_barrier_wait(&now.report);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(now.live_published, 1); // this thread has changed nothing of the server
        pthread_barrier_destroy(&now.report);
        fixture_free_server(it);
        it->server = csc_server_new(it->base);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(clients_beyond_the_limit_wait_in_the_kernels_queue),
        fact(clients_beyond_the_limit_are_closed_or_reset),
        fact(a_limit_of_nothing_admits_no_client),
        fact(a_wait_keeps_the_limit_too),
        fact_without_base(a_wait_keeps_the_limit_too),
        fact(finishing_takes_clients_beyond_the_limit_that_wait),
        fact(what_a_close_discards_is_live_no_more),
        fact(an_added_connection_is_live_as_well),
        fact(an_end_on_the_thread_that_made_the_server_is_elsewhere),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
