// SPDX-License-Identifier: Apache-2.0

// The counters, and a server that could not be made.

#include "budget_fixture.h"

#include <event2/event.h>
#include <string.h>

static void every_counter_starts_at_zero(void **state) {
    fixture *it = *state;
    static const csc_statistics none;
    csc_statistics now = fixture_statistics(it);
    assert_memory_equal(&now, &none, sizeof none);
}

static void the_counters_follow_a_connection(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    csc_server_set_max_pending(it->server, 4);
    fixture_connect_many(it, 6);
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.accepted, 0);
    assert_int_equal(now.accept_queue, 6);

    fixture_run_ready(it);
    now = fixture_statistics(it);
    assert_int_equal(now.accepted, 4);
    assert_int_equal(now.pending, 4);
    assert_int_equal(now.accept_queue, 2);

    fixture_take(it);
    now = fixture_statistics(it);
    assert_int_equal(now.delivered, 1);
    assert_int_equal(now.pending, 3);
    assert_int_equal(now.live, 4);
    assert_int_equal(csc_server_live(it->server), 4);

    csc_server_close(it->server);
    now = fixture_statistics(it);
    assert_int_equal(now.discarded_on_close, 3);
    assert_int_equal(now.live, 1);
    assert_int_equal(now.pending, 0);
    assert_int_equal(now.accept_queue, 0);
    assert_int_equal(now.accept_queue_limit, 0);

    // They go on counting over close and listen.
    fixture_listen(it);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).accepted, 5);
}

static void an_older_program_gets_as_much_as_it_knows(void **state) {
    fixture *it = *state;
    csc_connection place = {.descriptor = -1};
    csc_server_add_pending(it->server, &place);
    for (size_t size = 0; size <= sizeof(csc_statistics); size += sizeof(uint64_t)) {
        csc_statistics now;
        unsigned char expected[sizeof now];
        csc_statistics whole = fixture_statistics(it);
        memset(&now, 0xee, sizeof now);
        memset(expected, 0xee, sizeof expected);
        memcpy(expected, &whole, size);
        csc_server_statistics(it->server, &now, size);
        assert_memory_equal(&now, expected, sizeof now);
    }
    assert_int_equal(fixture_statistics(it).added, 1);
    assert_int_equal(fixture_statistics(it).pending, 1);
}

static void a_newer_program_gets_what_the_library_has(void **state) {
    fixture *it = *state;
    struct {
        csc_statistics known;
        uint64_t from_the_future;
    } now = {.from_the_future = 99};
    csc_server_statistics(it->server, &now.known, sizeof now);
    assert_int_equal(now.from_the_future, 99);
}

static void without_tcp_info_the_kernels_queue_is_zero(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect(it);
    fault_fail(FAULT_GETSOCKOPT, 1, 1, ENOPROTOOPT);
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.accept_queue, 0);
    assert_int_equal(now.accept_queue_limit, 0);
    assert_int_equal(fixture_statistics(it).accept_queue, 1);
}

static void on_new_connection(csc_server *server, void *context) {
    (void)server;
    (void)context;
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    (void)server;
    (void)connection;
    (void)context;
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    (void)server;
    (void)error;
    (void)context;
}

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    (void)server;
    (void)peer;
    (void)context;
    return CSC_ADMIT;
}

static void on_rejected(csc_server *server, const csc_rejection *rejection, void *context) {
    (void)server;
    (void)rejection;
    (void)context;
}

static void no_server_is_allowed_everywhere(void **state) {
    (void)state;
    csc_address address = address_of("127.0.0.1", 0);
    csc_connection connection = {.descriptor = -1};
    bool timed_out = true;
    csc_statistics now;
    static const csc_statistics none;
    memset(&now, 0xee, sizeof now);

    csc_server_free(NULL);
    csc_server_close(NULL);
    csc_server_finish(NULL);
    csc_server_pause(NULL);
    csc_server_resume(NULL);
    csc_server_on_new_connection(NULL, on_new_connection, NULL);
    csc_server_on_incoming_connection(NULL, on_incoming, NULL);
    csc_server_on_accept_error(NULL, on_accept_error, NULL);
    csc_server_set_max_pending(NULL, 1);
    csc_server_set_backlog(NULL, 1);
    csc_server_set_accept_batch(NULL, 1);
    csc_server_set_expected_descriptors(NULL, 1);
    csc_server_set_overload_policy(NULL, CSC_OVERLOAD_STRICT);
    csc_server_on_admission(NULL, on_admission, NULL);
    csc_server_on_rejected(NULL, on_rejected, NULL);
    csc_server_set_descriptor_reserve(NULL, 1);
    csc_server_set_max_connections(NULL, 1, CSC_EXCESS_CLOSE);
    csc_server_connection_ended(NULL);
    csc_server_set_error(NULL, CSC_ERROR_NETWORK, "");

    assert_false(csc_server_listen(NULL, &address));
    assert_false(csc_server_adopt(NULL, 0));
    assert_false(csc_server_is_listening(NULL));
    assert_int_equal(csc_server_address(NULL).family, CSC_FAMILY_NONE);
    assert_int_equal(csc_server_port(NULL), 0);
    assert_int_equal(csc_server_descriptor(NULL), -1);
    assert_int_equal(csc_server_max_pending(NULL), 30);
    assert_int_equal(csc_server_backlog(NULL), 2147483647);
    assert_int_equal(csc_server_accept_batch(NULL), 64);
    assert_int_equal(csc_server_expected_descriptors(NULL), 65536);
    assert_int_equal(csc_server_overload_policy(NULL), CSC_OVERLOAD_WAIT);
    assert_int_equal(csc_server_descriptor_reserve(NULL), 32);
    assert_int_equal(csc_server_descriptor_headroom(NULL), 0);
    assert_false(csc_server_descriptor_freed(NULL));
    assert_int_equal(csc_server_max_connections(NULL), -1);
    assert_int_equal(csc_server_excess(NULL), CSC_EXCESS_WAIT);
    assert_false(csc_server_has_pending(NULL));
    assert_false(csc_server_next_pending(NULL, &connection));
    assert_false(csc_server_add_pending(NULL, &connection));
    assert_false(csc_server_wait(NULL, -1, &timed_out));
    assert_true(timed_out);
    assert_int_equal(csc_server_error(NULL), CSC_ERROR_SOCKET_RESOURCE);
    assert_string_equal(csc_server_error_string(NULL), "Out of resources");
    csc_server_statistics(NULL, &now, sizeof now);
    assert_int_equal(csc_server_live(NULL), 0);
    assert_memory_equal(&now, &none, sizeof now);
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

static csc_statistics shared(const fixture *it) {
    csc_statistics now;
    csc_server_shared_statistics(it->server, &now, sizeof now);
    return now;
}

static void what_is_taken_while_the_loop_does_not_watch_counts_at_once(void **state) {
    fixture *it = *state;
    assert_true(csc_server_share_statistics(it->server));
    csc_server_set_max_pending(it->server, 1);
    fixture_listen(it);
    fixture_connect_many(it, 2);
    fixture_run_ready(it);
    fixture_run_ready(it); // until it does not watch the socket any more
    assert_int_equal(shared(it).pending, 1);
    fixture_take(it);
    assert_int_equal(shared(it).delivered, 1);
    assert_int_equal(shared(it).pending, 0);
}

static void own_and_close(csc_server *server, const csc_connection *connection, void *context) {
    fixture_own(context, connection->descriptor);
    csc_server_close(server);
}

static void so_does_the_one_for_which_the_server_closed(void **state) {
    fixture *it = *state;
    assert_true(csc_server_share_statistics(it->server));
    csc_server_on_incoming_connection(it->server, own_and_close, it);
    fixture_listen(it);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(shared(it).accepted, 1);
    assert_int_equal(shared(it).delivered, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(every_counter_starts_at_zero),
        fact(the_counters_follow_a_connection),
        fact(an_older_program_gets_as_much_as_it_knows),
        fact(a_newer_program_gets_what_the_library_has),
        fact(without_tcp_info_the_kernels_queue_is_zero),
        fact(no_server_is_allowed_everywhere),
        fact(counters_can_be_read_by_others),
        fact(what_is_taken_while_the_loop_does_not_watch_counts_at_once),
        fact(so_does_the_one_for_which_the_server_closed),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
