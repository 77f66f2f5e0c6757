// SPDX-License-Identifier: Apache-2.0

// The queue of pending connections: order, growth, what is added from outside, what the counters
// say.

#include "fixture.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int new_descriptor(void) {
    int descriptor = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    return descriptor;
}

static void an_empty_queue_has_nothing_to_take(void **state) {
    fixture *it = *state;
    csc_connection connection;
    memset(&connection, 0x5a, sizeof connection);
    csc_connection before = connection;
    assert_false(csc_server_has_pending(it->server));
    assert_false(csc_server_next_pending(it->server, &connection));
    assert_memory_equal(&connection, &before, sizeof before);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
}

static void connections_are_taken_in_the_order_they_came(void **state) {
    fixture *it = *state;
    uint16_t ports[50];
    csc_server_set_max_pending(it->server, 50);
    fixture_listen(it);
    fixture_watch(it);
    for (int i = 0; i < 50; i++) {
        struct sockaddr_storage name;
        socklen_t length = sizeof name;
        csc_address address;
        assert_int_equal(getsockname(fixture_connect(it), (struct sockaddr *)&name, &length), 0);
        assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &address));
        ports[i] = address.port;
    }
    fixture_run_until(it, &it->new_connections, 50);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(fixture_take(it).peer.port, ports[i]);
    }
}

static void what_was_added_comes_out_as_it_went_in(void **state) {
    fixture *it = *state;
    csc_connection added = {.descriptor = new_descriptor(), .peer = address_of("fe80::1%lo", 77)};
    assert_true(csc_server_add_pending(it->server, &added));
    assert_true(csc_server_has_pending(it->server));
    csc_connection taken = fixture_take(it);
    assert_memory_equal(&taken, &added, sizeof taken);
    assert_int_equal(fixture_statistics(it).added, 1);
    assert_int_equal(fixture_statistics(it).delivered, 1);
    assert_int_equal(fixture_statistics(it).accepted, 0);
}

static void an_injected_connection_counts_as_accepted_and_is_reported(void **state) {
    fixture *it = *state;
    fixture_watch(it);
    csc_server_set_max_pending(it->server, 0);
    const char *peers[] = {"192.0.2.1", "2001:db8::1", "fe80::1%lo"};
    for (int i = 0; i < 3; i++) {
        csc_connection given = {.descriptor = new_descriptor(), .peer = address_of(peers[i], 77)};
        assert_true(csc_server_inject(it->server, &given));
        assert_int_equal(it->new_connections, i + 1);
        csc_connection taken = fixture_take(it);
        assert_memory_equal(&taken, &given, sizeof taken);
    }
    csc_connection nameless = {.descriptor = new_descriptor()};
    assert_true(csc_server_inject(it->server, &nameless));
    assert_int_equal(fixture_take(it).peer.family, CSC_FAMILY_NONE);
    assert_int_equal(fixture_statistics(it).accepted, 4);
    assert_int_equal(fixture_statistics(it).delivered, 4);
    assert_int_equal(fixture_statistics(it).added, 0);
    assert_false(csc_server_inject(NULL, &nameless));
}

static void what_came_another_way_counts_against_the_limit(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 2);
    fixture_listen(it);
    fixture_watch(it);
    csc_connection given = {.descriptor = new_descriptor()};
    assert_true(csc_server_inject(it->server, &given));
    fixture_connect(it);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 2);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 2);
    for (int i = 0; i < 2; i++) {
        fixture_take(it);
    }
    fixture_run_until(it, &it->new_connections, 3);
}

static csc_admission turn_away(csc_server *server, const csc_address *peer, void *context) {
    (void)server;
    (void)peer;
    (*(int *)context)++;
    return CSC_CLOSE;
}

static void an_injected_connection_may_be_rejected(void **state) {
    fixture *it = *state;
    int asked = 0;
    fixture_watch(it);
    csc_server_on_admission(it->server, turn_away, &asked);
    csc_connection given = {.descriptor = new_descriptor()};
    assert_true(csc_server_inject(it->server, &given));
    assert_int_equal(asked, 1);
    assert_int_equal(fcntl(given.descriptor, F_GETFD), -1);
    assert_int_equal(it->new_connections, 0);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 1);
}

static void a_place_without_a_descriptor_keeps_its_turn(void **state) {
    fixture *it = *state;
    csc_connection first = {.descriptor = new_descriptor()};
    csc_connection place = {.descriptor = -1, .peer = address_of("10.0.0.1", 5)};
    csc_connection last = {.descriptor = new_descriptor()};
    csc_connection taken;
    assert_true(csc_server_add_pending(it->server, &first));
    assert_true(csc_server_add_pending(it->server, &place));
    assert_true(csc_server_add_pending(it->server, &last));
    assert_int_equal(fixture_take(it).descriptor, first.descriptor);
    assert_true(csc_server_next_pending(it->server, &taken));
    assert_memory_equal(&taken, &place, sizeof taken);
    csc_server_close(it->server); // closes the last one, as the fixture makes sure
    assert_int_equal(fcntl(last.descriptor, F_GETFD), -1);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);

    assert_true(csc_server_add_pending(it->server, &place));
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 2);
}

static void adding_ignores_the_limit_but_counts_towards_it(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 2);
    fixture_listen(it);
    fixture_watch(it);
    for (int i = 0; i < 5; i++) {
        csc_connection added = {.descriptor = new_descriptor()};
        assert_true(csc_server_add_pending(it->server, &added));
    }
    assert_int_equal(fixture_statistics(it).pending, 5);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(it->new_connections, 0);
        fixture_take(it);
        fixture_run_ready(it);
    }
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_take_all(it), 2);
}

static void the_queue_agrees_with_a_simple_model(void **state) {
    fixture *it = *state;
    enum { STEPS = 20000, MOST = 300 };
    static int model[STEPS];
    int first = 0;
    int last = 0;
    srandom(7);
    for (int step = 0; step < STEPS; step++) {
        // Long runs of one kind, so that the ring fills, wraps, grows and empties.
        bool add = (step / 50) % 2 == 0 ? random() % 10 < 8 : random() % 10 < 2;
        csc_connection connection = {.descriptor = -1};
        if (add && last - first < MOST) {
            connection.peer.scope_id = (uint32_t)step;
            model[last++] = step;
            assert_true(csc_server_add_pending(it->server, &connection));
        } else if (first < last) {
            assert_true(csc_server_next_pending(it->server, &connection));
            assert_int_equal(connection.peer.scope_id, model[first++]);
        } else {
            assert_false(csc_server_next_pending(it->server, &connection));
        }
        assert_int_equal(fixture_statistics(it).pending, last - first);
        assert_int_equal(csc_server_has_pending(it->server), last > first);
    }
    fixture_assert_balance(it);
}

typedef struct incoming {
    csc_connection last;
    int count;
    bool give_back;
    bool take_again;
} incoming;

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    incoming *seen = context;
    seen->last = *connection;
    seen->count++;
    if (!seen->give_back) {
        close(connection->descriptor);
        return;
    }
    assert_true(csc_server_add_pending(server, connection));
    csc_connection taken;
    if (seen->take_again) {
        assert_true(csc_server_next_pending(server, &taken));
        assert_int_equal(taken.descriptor, connection->descriptor);
        close(taken.descriptor);
    }
}

static void the_incoming_callback_owns_what_it_is_given(void **state) {
    fixture *it = *state;
    incoming seen = {0};
    csc_server_set_max_pending(it->server, 1);
    csc_server_on_incoming_connection(it->server, on_incoming, &seen);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 100); // never pending, so the limit does not matter
    fixture_run_until(it, &it->new_connections, 100);
    assert_int_equal(seen.count, 100);
    assert_true(csc_address_is_loopback(&seen.last.peer));
    assert_false(csc_server_has_pending(it->server));
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.accepted, 100);
    assert_int_equal(now.delivered, 100);
    assert_int_equal(now.added, 0);
}

static void what_the_incoming_callback_gives_back_counts_once(void **state) {
    fixture *it = *state;
    incoming seen = {.give_back = true};
    csc_server_on_incoming_connection(it->server, on_incoming, &seen);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 3);
    fixture_run_until(it, &it->new_connections, 3);
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.accepted, 3);
    assert_int_equal(now.added, 0);
    assert_int_equal(now.delivered, 0);
    assert_int_equal(now.pending, 3);
    assert_int_equal(fixture_take_all(it), 3);

    seen.take_again = true;
    fixture_connect_many(it, 3);
    fixture_run_until(it, &it->new_connections, 6);
    now = fixture_statistics(it);
    assert_int_equal(now.accepted, 6);
    assert_int_equal(now.added, 0);
    assert_int_equal(now.delivered, 6);
}

static void what_the_incoming_callback_gives_back_meets_the_limit(void **state) {
    fixture *it = *state;
    incoming seen = {.give_back = true};
    csc_server_set_max_pending(it->server, 2);
    csc_server_on_incoming_connection(it->server, on_incoming, &seen);
    fixture_listen(it);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    assert_int_equal(seen.count, 2);
    assert_int_equal(fixture_take_all(it), 2);
    fixture_run_ready(it);
    assert_int_equal(seen.count, 4);
}

static void a_null_callback_queues_again(void **state) {
    fixture *it = *state;
    incoming seen = {0};
    csc_server_on_incoming_connection(it->server, on_incoming, &seen);
    csc_server_on_incoming_connection(it->server, NULL, NULL);
    fixture_listen(it);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(seen.count, 0);
    assert_int_equal(fixture_take_all(it), 1);
}

static void without_memory_adding_leaves_the_connection_to_the_caller(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    csc_connection connection = {.descriptor = new_descriptor()};
    fault_fail_allocation(1, 1);
    assert_false(csc_server_add_pending(it->server, &connection));
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_false(csc_server_has_pending(it->server));
    assert_int_equal(fixture_statistics(it).added, 0);
    fault_fail_allocation(1, 1);
    assert_false(csc_server_inject(it->server, &connection));
    assert_int_equal(fixture_statistics(it).accepted, 0);
    assert_true(csc_server_add_pending(it->server, &connection));
    assert_int_equal(fixture_take(it).descriptor, connection.descriptor);
}

static void nor_is_what_came_another_way_taken_without_memory(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    csc_connection connection = {.descriptor = new_descriptor()};
    fault_fail_allocation(1, 1);
    assert_false(csc_server_inject(it->server, &connection));
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_int_equal(fixture_statistics(it).accepted, 0);
    assert_true(csc_server_inject(it->server, &connection));
    assert_int_equal(fixture_take(it).descriptor, connection.descriptor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(an_empty_queue_has_nothing_to_take),
        fact(connections_are_taken_in_the_order_they_came),
        fact(what_was_added_comes_out_as_it_went_in),
        fact(an_injected_connection_counts_as_accepted_and_is_reported),
        fact(what_came_another_way_counts_against_the_limit),
        fact(an_injected_connection_may_be_rejected),
        fact(a_place_without_a_descriptor_keeps_its_turn),
        fact(adding_ignores_the_limit_but_counts_towards_it),
        fact(the_queue_agrees_with_a_simple_model),
        fact(the_incoming_callback_owns_what_it_is_given),
        fact(what_the_incoming_callback_gives_back_counts_once),
        fact(what_the_incoming_callback_gives_back_meets_the_limit),
        fact(a_null_callback_queues_again),
        fact(without_memory_adding_leaves_the_connection_to_the_caller),
        fact(nor_is_what_came_another_way_taken_without_memory),
    };
    return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}
