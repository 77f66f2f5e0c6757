// SPDX-License-Identifier: Apache-2.0

// Ending in order: csc_server_finish() takes what the kernel held when it was called, and ends.

#include "fixture.h"

#include <errno.h>

static void finishing_takes_what_the_kernel_holds(void **state) {
    fixture *it = *state;
    for (int with_pause = 0; with_pause < 2; with_pause++) {
        csc_server_set_max_pending(it->server, 2);
        fixture_listen(it);
        fixture_watch(it);
        fixture_connect_many(it, 100);
        fixture_run_ready(it);
        if (with_pause) {
            csc_server_pause(it->server);
        }
        csc_address address = csc_server_address(it->server);
        csc_server_finish(it->server);
        assert_false(csc_server_is_listening(it->server));
        assert_int_equal(csc_server_descriptor(it->server), -1);
        assert_int_equal(it->new_connections, 100 * (with_pause + 1));
        assert_int_equal(connect_to(&address), -1);
        assert_int_equal(errno, ECONNREFUSED);
        assert_int_equal(fixture_take_all(it), 100);
        fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
    }
}

static void finishing_is_harmless_when_not_listening(void **state) {
    fixture *it = *state;
    csc_connection place = {.descriptor = -1};
    csc_server_finish(it->server);
    assert_true(csc_server_add_pending(it->server, &place));
    csc_server_finish(it->server);
    assert_int_equal(fixture_statistics(it).pending, 1);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
}

static void finishing_passes_over_peers_errors_but_ends_without_resources(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 5);
    fault_fail(FAULT_ACCEPT4, 2, 20, EPROTO);
    csc_server_finish(it->server);
    assert_int_equal(it->new_connections, 5);
    assert_int_equal(it->accept_errors, 0);

    fixture_listen(it);
    fixture_connect_many(it, 5);
    fault_fail(FAULT_ACCEPT4, 3, -1, EMFILE);
    csc_server_finish(it->server);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(it->new_connections, 7);
    assert_int_equal(it->accept_errors, 1);
    fault_clear();

    // Nothing of it is left for the next listen.
    fixture_listen(it);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 8);
    assert_int_equal(fixture_take_all(it), 8);
}

typedef struct eager_clients {
    fixture *it;
    csc_address address;
    int connected;
} eager_clients;

// Two come for each that is accepted.
static void connect_two_more(csc_server *server, void *context) {
    eager_clients *now = context;
    (void)server;
    for (int i = 0; i < 2 && now->connected < 1000; i++) {
        fixture_own(now->it, connect_to(&now->address));
        now->connected++;
    }
}

static void finishing_ends_although_clients_come_faster_than_it_accepts(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    eager_clients now = {.it = it, .address = csc_server_address(it->server)};
    csc_server_on_new_connection(it->server, connect_two_more, &now);
    fixture_connect_many(it, 10);
    csc_server_finish(it->server);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(now.connected, 20);
    assert_int_equal(fixture_statistics(it).accepted, 10);
    assert_int_equal(fixture_take_all(it), 10);
}

static void finishing_takes_all_although_the_kernel_does_not_say_how_many(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect_many(it, 100);
    fault_fail(FAULT_GETSOCKOPT, 1, 1, EOPNOTSUPP);
    csc_server_finish(it->server);
    assert_int_equal(fixture_take_all(it), 100);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
}

static void finishing_takes_as_many_as_were_there_between_peers_errors(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 10);
    fault_fail(FAULT_ACCEPT4, 1, 30, ECONNABORTED);
    csc_server_finish(it->server);
    assert_int_equal(it->new_connections, 10);
    assert_int_equal(fixture_take_all(it), 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(finishing_takes_what_the_kernel_holds),
        fact(finishing_is_harmless_when_not_listening),
        fact(finishing_passes_over_peers_errors_but_ends_without_resources),
        fact(finishing_ends_although_clients_come_faster_than_it_accepts),
        fact(finishing_takes_all_although_the_kernel_does_not_say_how_many),
        fact(finishing_takes_as_many_as_were_there_between_peers_errors),
    };
    return cmocka_run_group_tests_name("finishing", tests, NULL, NULL);
}
