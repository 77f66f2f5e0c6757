// SPDX-License-Identifier: Apache-2.0

// The counters of a group: whatever its servers did before, and whichever way a connection comes,
// the sum of all adds up, and the limit of the group counts it.

#include "group_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

// Ends a connection that the fixture owns.
static void end(fixture *it, csc_server *server, int descriptor) {
    fixture_close(it, descriptor);
    csc_server_connection_ended(server);
}

static void an_acceptor_keeps_what_it_had(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    int delivered = fixture_take(it).descriptor;
    test_group group = {.it = it, .group = csc_group_new(it->server, 1)};
    group_add(&group, NULL);
    group_assert_balance(&group);
    assert_int_equal(group_statistics(&group).delivered, 1);
    assert_int_equal(group_statistics(&group).pending, 2);
    assert_int_equal(group_statistics(&group).live, 3);

    group_connect(&group, 2);
    group_run_member(&group, 0);
    assert_int_equal(group_statistics(&group).live, 5);
    fixture_take(it);
    assert_int_equal(group_statistics(&group).delivered, 2);
    end(it, it->server, delivered);
    assert_int_equal(group_take(&group, 0, true), 2);
    group_assert_balance(&group);
    assert_int_equal(group_statistics(&group).live, 2);
    assert_int_equal(csc_server_live(it->server), 2);

    csc_server_close(it->server); // one is pending
    assert_int_equal(group_statistics(&group).discarded_on_close, 1);
    assert_int_equal(group_statistics(&group).live, 1);
    group_assert_balance(&group);
    csc_server_free(group.members[0].server);
    event_base_free(group.members[0].base);
}

static void a_member_keeps_what_it_had_and_it_counts_for_the_limit(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    struct event_base *base = event_base_new();
    csc_server *server = csc_server_new(base);
    csc_address address = address_of(own_loopback(), 0);
    csc_connection connection;
    assert_true(csc_server_listen(server, &address));
    address = csc_server_address(server);
    for (int client = 0; client < 2; client++) {
        fixture_own(it, connect_to(&address));
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_true(csc_server_next_pending(server, &connection));
    fixture_own(it, connection.descriptor);
    csc_server_finish(server);
    assert_true(csc_group_add(group->group, server));
    group->members[group->count++] = (test_member){.base = base, .server = server};
    group_assert_balance(group);
    assert_int_equal(group_statistics(group).accepted, 2);
    assert_int_equal(group_statistics(group).live, 2);

    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    fixture_connect_many(it, 2);
    group_run_all(group);
    assert_int_equal(group_statistics(group).live, 3);
    assert_int_equal(csc_server_live(it->server), 3);
    end(it, server, connection.descriptor);
    group_run_all(group);
    assert_int_equal(group_statistics(group).live, 3);
    assert_int_equal(group_statistics(group).accepted, 4);
    assert_int_equal(csc_server_live(it->server), 3);
    group_teardown(group);
}

static csc_connection pair_with(fixture *it) {
    int both[2];
    csc_connection connection = {.peer = address_of("192.0.2.1", 7)};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both), 0);
    connection.descriptor = both[0];
    fixture_own(it, both[1]);
    return connection;
}

static void what_is_injected_at_a_member_counts_for_the_group(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server *member = group->members[0].server;
    csc_connection connection = pair_with(it);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    assert_true(csc_server_inject(member, &connection));
    assert_int_equal(group_statistics(group).accepted, 1);
    assert_int_equal(csc_server_live(it->server), 1);
    group_assert_balance(group);
    fixture_connect(it);
    group_run_all(group);
    assert_int_equal(group_statistics(group).accepted, 1);
    assert_int_equal(group_take(group, 0, true), 1);
    group_run_all(group);
    assert_int_equal(group_statistics(group).accepted, 2);
    group_teardown(group);
}

static void what_is_injected_at_the_acceptor_is_placed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_connection connection = pair_with(it);
    assert_true(csc_server_inject(it->server, &connection));
    assert_int_equal(group_statistics(group).in_mailbox, 1);
    group_run_all(group);
    assert_int_equal(group_take(group, 0, true), 1);
    group_teardown(group);
}

static void the_next_client_gets_the_place_of_one_that_has_ended(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_CLOSE);
    for (int served = 0; served < 5; served++) {
        group_connect(group, 1);
        group_run_member(group, 0);
        assert_int_equal(group_take(group, 0, true), 1);
    }
    group_teardown(group);
}

static void a_program_gets_as_much_as_it_knows(void **state) {
    test_group *group = group_setup(*state, 1);
    csc_statistics now = {.added = 7};
    group_connect(group, 1);
    csc_group_statistics(group->group, &now, sizeof now.accepted);
    assert_int_equal(now.accepted, 1);
    csc_group_member_statistics(group->group, 0, &now, sizeof now.accepted);
    assert_int_equal(now.accepted, 0);
    assert_int_equal(now.added, 7);
    group_teardown(group);
}

// Nothing runs on the acceptor's loop any more that would wake the member.
static void so_is_what_is_injected_before_the_acceptor_ends(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_connection connection = pair_with(it);
    csc_server_close(it->server);
    assert_true(csc_server_inject(it->server, &connection));
    fixture_free_server(it);
    group_run_member(group, 0);
    assert_int_equal(group_take(group, 0, true), 1);
    group_teardown(group);
}

static void errors_count_at_once(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    fault_fail(FAULT_ACCEPT4, 1, 1, EPROTO);
    fixture_connect(it);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).peer_errors, 1);
    fault_fail(FAULT_ACCEPT4, 1, 1, EPROTO);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_int_equal(group_statistics(group).peer_errors, 2);
    fault_fail(FAULT_ACCEPT4, 1, 1, EBADF);
    fixture_connect(it);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).listener_errors, 1);
    group_teardown(group);
}

static void clients_that_are_shed_count_at_once(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    fixture_connect_many(it, 2);
    group_run_acceptor(group);
    assert_int_equal(fixture_statistics(it).shed, 2);
    assert_int_equal(group_statistics(group).shed, 2);
    group_assert_balance(group);
    group_teardown(group);
}

static void so_do_those_that_a_member_has_no_memory_for(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    test_group *group = group_setup(it, 1);
    group_connect(group, 2);
    fault_fail_allocation(1, -1);
    group_run_member(group, 0);
    fault_clear();
    assert_int_equal(group_statistics(group).shed, 2);
    group_assert_balance(group);
    assert_int_equal(csc_server_live(it->server), 0);
    group_teardown(group);
}

// When the acceptor finishes, whose limits do not hold then.
static void so_do_those_that_a_mailbox_has_no_memory_for(void **state) {
    enum { CLIENTS = 300, CAPACITY = 256 };
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
    test_group *group = group_setup(it, 1);
    fixture_connect_many(it, CLIENTS);
    fault_fail_allocation(1, -1);
    csc_server_finish(it->server);
    fault_clear();
    assert_int_equal(group_statistics(group).in_mailbox, CAPACITY);
    assert_int_equal(group_statistics(group).shed, CLIENTS - CAPACITY);
    group_assert_balance(group);
    csc_server_finish(group->members[0].server);
    assert_int_equal(group_take(group, 0, true), CAPACITY);
    group_teardown(group);
}

// The limit holds for what is accepted after that was known.
static void what_is_added_takes_places_at_once(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_connection place = {.descriptor = -1};
    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    for (int added = 0; added < 3; added++) {
        assert_true(csc_server_add_pending(group->members[0].server, &place));
    }
    assert_int_equal(csc_server_live(it->server), 3);
    fixture_connect(it);
    assert_false(csc_server_wait(it->server, 0, NULL));
    assert_int_equal(group_statistics(group).accepted, 0);
    group_teardown(group);
}

static csc_admission close_and_admit(csc_server *server, const csc_address *peer, void *context) {
    (void)peer, (void)context;
    csc_server_close(server);
    return CSC_ADMIT;
}

static void so_do_those_for_whom_it_was_closed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server_on_admission(it->server, close_and_admit, NULL);
    fixture_connect(it);
    group_run_acceptor(group);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(group_statistics(group).discarded_on_close, 1);
    group_teardown(group);
}

static csc_admission admit_nobody(csc_server *server, const csc_address *peer, void *context) {
    (void)server, (void)peer, (void)context;
    return CSC_CLOSE;
}

static void so_do_those_that_a_member_rejected_before_it_was_one(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    csc_server *server = csc_server_new(it->base);
    csc_connection connection = pair_with(it);
    csc_server_on_admission(server, admit_nobody, NULL);
    assert_true(csc_server_inject(server, &connection));
    assert_true(csc_group_add(group->group, server));
    group->members[group->count++] = (test_member){.base = it->base, .server = server};
    assert_int_equal(group_statistics(group).rejected_by_admission, 1);
    group_teardown(group);
}

static void own_and_free(csc_server *server, const csc_connection *connection, void *context) {
    fixture_own(context, connection->descriptor);
    csc_server_free(server);
}

static void so_does_the_one_for_which_a_member_was_freed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server *member = group->members[0].server;
    csc_server_on_incoming_connection(member, own_and_free, it);
    group_connect(group, 2);
    group->members[0].server = NULL;
    csc_server_finish(member);
    assert_int_equal(group_statistics(group).delivered, 1);
    assert_int_equal(group_statistics(group).discarded_on_close, 1);
    group_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(an_acceptor_keeps_what_it_had),
        fact(a_member_keeps_what_it_had_and_it_counts_for_the_limit),
        fact(what_is_injected_at_a_member_counts_for_the_group),
        fact(what_is_injected_at_the_acceptor_is_placed),
        fact(so_is_what_is_injected_before_the_acceptor_ends),
        fact(the_next_client_gets_the_place_of_one_that_has_ended),
        fact(a_program_gets_as_much_as_it_knows),
        fact(errors_count_at_once),
        fact(clients_that_are_shed_count_at_once),
        fact(so_do_those_that_a_member_has_no_memory_for),
        fact(so_do_those_that_a_mailbox_has_no_memory_for),
        fact(so_do_those_for_whom_it_was_closed),
        fact(so_do_those_that_a_member_rejected_before_it_was_one),
        fact(so_does_the_one_for_which_a_member_was_freed),
        fact(what_is_added_takes_places_at_once),
    };
    return cmocka_run_group_tests_name("group counting", tests, NULL, NULL);
}
