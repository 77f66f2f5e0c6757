// SPDX-License-Identifier: Apache-2.0

// Groups: which member gets a connection, and what its limits and its end mean for the others.

#include "group_fixture.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void connections_go_to_the_member_with_the_fewest(void **state) {
    test_group *group = group_setup(*state, 2);
    group_connect(group, 10);
    assert_loads(group, 5, 5);
    group_run_all(group);
    assert_loads(group, 5, 5);
    assert_int_equal(group_take(group, 0, true), 5);
    group_connect(group, 4);
    assert_loads(group, 4, 5);
    group_connect(group, 3);
    assert_loads(group, 6, 6);
    group_run_all(group);
    group_take(group, 0, false);
    group_take(group, 1, false);
    assert_int_equal(group_statistics(group).accepted, 17);
    assert_int_equal(group_statistics(group).delivered, 17);
    assert_int_equal(group_statistics(group).live, 12);
    group_teardown(group);
}

static void the_acceptors_own_loop_comes_first_and_needs_no_mailbox(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    test_member *local = group_add(group, it->base);
    group_connect(group, 1);
    assert_int_equal(local->new_connections, 1);
    assert_loads(group, 0, 1);
    group_connect(group, 2);
    assert_loads(group, 1, 2);
    assert_int_equal(local->new_connections, 2);
    assert_int_equal(group->members[0].new_connections, 0);
    group_run_all(group);
    assert_int_equal(group->members[0].new_connections, 1);
    group_teardown(group);
}

static void a_round_gives_each_member_one(void **state) {
    test_group *group = group_setup(*state, 2);
    csc_group_set_distribution(group->group, CSC_ROUND_ROBIN);
    group_connect(group, 6);
    assert_loads(group, 3, 3);
    group_run_all(group);
    group_take(group, 0, true);
    group_connect(group, 4); // although one has fewer
    assert_loads(group, 2, 5);
    group_teardown(group);
}

static void a_peers_connections_stay_together(void **state) {
    test_group *group = group_setup(*state, 2);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    int seen[2] = {0};
    for (int host = 1; host < 20; host++) {
        char source[32];
        snprintf(source, sizeof source, "127.0.9.%d", host);
        uint64_t before = member_statistics(group, 0).in_mailbox;
        group_connect_from(group, source);
        bool is_first = member_statistics(group, 0).in_mailbox > before;
        group_connect_from(group, source);
        assert_int_equal(member_statistics(group, 0).in_mailbox, before + (is_first ? 2 : 0));
        seen[is_first]++;
        group_run_all(group);
        group_take(group, 0, true);
        group_take(group, 1, true);
    }
    assert_true(seen[0] > 0 && seen[1] > 0);
    group_teardown(group);
}

typedef struct chooser {
    size_t choice;
    uint16_t port; // of the last peer
} chooser;

static size_t choose(csc_server *acceptor, const csc_address *peer, void *context) {
    chooser *now = context;
    assert_true(csc_server_is_listening(acceptor));
    now->port = peer->port;
    return now->choice;
}

static void the_program_chooses_or_leaves_the_choice(void **state) {
    test_group *group = group_setup(*state, 2);
    chooser now = {.choice = 1};
    csc_group_set_distribution(group->group, CSC_CUSTOM);
    group_connect(group, 2); // no callback yet
    assert_loads(group, 1, 1);
    csc_group_on_choice(group->group, choose, &now);
    group_connect(group, 3);
    assert_loads(group, 1, 4);
    assert_int_not_equal(now.port, 0);
    now.choice = 2;
    group_connect(group, 2);
    assert_loads(group, 3, 4);
    group_teardown(group);
}

static void a_choice_of_one_that_was_freed_is_none(void **state) {
    test_group *group = group_setup(*state, 3);
    chooser now = {.choice = 1};
    csc_group_set_distribution(group->group, CSC_CUSTOM);
    csc_group_on_choice(group->group, choose, &now);
    csc_server_free(group->members[1].server);
    group->members[1].server = NULL;
    for (int round = 1; round <= 3; round++) {
        group_connect(group, 2);
        assert_int_equal(member_statistics(group, 0).in_mailbox, round);
        assert_int_equal(member_statistics(group, 2).in_mailbox, round);
    }
    group_teardown(group);
}

static void the_limit_of_connections_is_that_of_all_members(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    group_connect(group, 5);
    assert_loads(group, 2, 1);
    group_run_all(group);
    assert_int_equal(csc_server_live(it->server), 3);
    assert_int_equal(fixture_statistics(it).accept_queue, 2);
    assert_int_equal(group_take(group, 1, true), 1);
    group_run_all(group);
    assert_loads(group, 2, 1);
    assert_int_equal(fixture_statistics(it).accept_queue, 1);
    assert_int_equal(group_take(group, 0, true), 2);
    group_run_all(group);
    assert_int_equal(fixture_statistics(it).accept_queue, 0);
    assert_int_equal(csc_server_live(it->server), 2);

    csc_server_set_max_connections(it->server, 2, CSC_EXCESS_CLOSE);
    group_connect(group, 2);
    assert_int_equal(group_statistics(group).rejected_by_limit, 2);
    group_teardown(group);
}

static void clients_wait_in_the_kernel_when_all_mailboxes_are_full(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_server_set_max_pending(it->server, 3);
    fixture_connect_many(it, 10);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).in_mailbox, 6);
    assert_int_equal(fixture_statistics(it).accept_queue, 4);
    group_run_member(group, 1);
    assert_int_equal(group->members[1].new_connections, 3);
    group_run_acceptor(group);
    assert_int_equal(member_statistics(group, 1).in_mailbox, 3);
    assert_int_equal(fixture_statistics(it).accept_queue, 1);
    group_run_all(group);
    assert_int_equal(group_statistics(group).pending, 10);
    group_teardown(group);
}

static void a_member_at_its_own_limit_gets_none(void **state) {
    test_group *group = group_setup(*state, 2);
    csc_server *limited = group->members[0].server;
    csc_server_set_max_pending(limited, 1);
    group_connect(group, 2);
    group_run_all(group);
    group_connect(group, 3);
    assert_loads(group, 1, 4);
    group_run_all(group);

    assert_int_equal(group_take(group, 0, false), 1);
    csc_server_pause(limited);
    group_connect(group, 1);
    assert_loads(group, 1, 5);
    csc_server_resume(limited);
    group_connect(group, 1);
    assert_loads(group, 2, 5);

    // Of two that are on their way it takes one.
    csc_server_set_max_connections(limited, 10, CSC_EXCESS_WAIT);
    group_connect(group, 1);
    assert_loads(group, 3, 5);
    group_run_member(group, 0);
    assert_int_equal(member_statistics(group, 0).pending, 1);
    assert_int_equal(member_statistics(group, 0).in_mailbox, 1);
    assert_int_equal(group_take(group, 0, false), 1);
    group_run_member(group, 0);
    assert_int_equal(group_take(group, 0, false), 1);
    group_teardown(group);
}

static void accepting_waits_while_no_member_takes_any(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server_pause(group->members[0].server);
    fixture_connect_many(it, 3);
    group_run_all(group);
    assert_int_equal(fixture_statistics(it).accept_queue, 3);
    assert_int_equal(group->members[0].new_connections, 0);
    csc_server_resume(group->members[0].server);
    group_run_all(group);
    assert_int_equal(group->members[0].new_connections, 3);
    group_teardown(group);
}

static csc_admission reject_first(csc_server *server, const csc_address *peer, void *context) {
    (void)server, (void)peer;
    int *asked = context;
    return (*asked)++ == 0 ? CSC_CLOSE : CSC_ADMIT;
}

static void a_client_that_a_member_rejects_counts_no_longer(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    int asked = 0;
    csc_server_on_admission(group->members[0].server, reject_first, &asked);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    fixture_connect_many(it, 2);
    group_run_all(group);
    assert_int_equal(asked, 2);
    csc_statistics now = group_statistics(group);
    assert_int_equal(now.rejected_by_admission, 1);
    assert_int_equal(now.live, 1);
    assert_int_equal(csc_server_live(it->server), 1);
    group_teardown(group);
}

static void a_connection_that_was_added_counts_for_the_group(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_connection place = {.descriptor = -1};
    csc_server *member = group->members[0].server;
    csc_server_set_max_connections(it->server, 2, CSC_EXCESS_WAIT);
    assert_true(csc_server_add_pending(member, &place));
    group_connect(group, 2);
    assert_int_equal(group_statistics(group).accepted, 1);
    assert_loads(group, 1, 1);
    assert_int_equal(csc_server_live(it->server), 2);
    assert_true(csc_server_next_pending(member, &place));
    csc_server_connection_ended(member);
    group_run_all(group);
    assert_int_equal(group_statistics(group).accepted, 2);
    assert_int_equal(csc_server_live(it->server), 2);
    group_teardown(group);
}

static void a_turn_of_the_loop_receives_a_batch(void **state) {
    test_group *group = group_setup(*state, 1);
    csc_server_set_accept_batch(group->members[0].server, 2);
    group_connect(group, 5);
    for (int turn = 1; turn <= 3; turn++) {
        event_base_loop(group->members[0].base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
        assert_int_equal(group->members[0].new_connections, turn < 3 ? 2 * turn : 5);
    }
    group_teardown(group);
}

// On the acceptor's own loop, where connections need no mailbox.
static void what_waits_in_a_mailbox_is_not_overtaken(void **state) {
    enum { WAITING = 3, LAST_PORT = 7 };
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    csc_server *local = group_add(group, it->base)->server;
    csc_connection last = {.peer = address_of("192.0.2.1", LAST_PORT)};
    csc_server_pause(local);
    fixture_connect_many(it, WAITING);
    csc_server_finish(it->server);
    csc_server_resume(local);
    last.descriptor = fcntl(it->owned[0], F_DUPFD_CLOEXEC, 0);
    assert_true(csc_server_inject(it->server, &last));
    assert_int_equal(group->members[0].new_connections, 0);
    group_run_acceptor(group);
    for (int taken = 0; taken <= WAITING; taken++) {
        csc_connection connection;
        assert_true(csc_server_next_pending(local, &connection));
        fixture_own(it, connection.descriptor);
        assert_int_equal(connection.peer.port == LAST_PORT, taken == WAITING);
    }
    group_teardown(group);
}

static void clients_wait_while_no_queue_is_allowed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_server_set_max_pending(it->server, -1);
    group_connect(group, 2);
    assert_int_equal(fixture_statistics(it).accept_queue, 2);
    csc_server_set_max_pending(it->server, 1);
    group_run_all(group);
    assert_int_equal(group_statistics(group).pending, 2);
    group_teardown(group);
}

static void a_member_does_not_listen_itself(void **state) {
    test_group *group = group_setup(*state, 1);
    csc_server *member = group->members[0].server;
    csc_address address = address_of("127.0.0.1", 0);
    const char *text = "A member of a group gets its connections from the server that accepts";
    assert_false(csc_server_listen(member, &address));
    assert_int_equal(csc_server_error(member), CSC_ERROR_OPERATION);
    assert_string_equal(csc_server_error_string(member), text);
    assert_false(csc_server_adopt(member, 0));
    assert_false(csc_server_wait(member, 0, NULL));
    assert_int_equal(csc_server_release(member), -1);
    assert_int_equal(csc_server_port(member), 0);
    assert_int_equal(csc_server_descriptor(member), -1);
    group_teardown(group);
}

static void a_group_needs_a_server_of_its_own(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    assert_null(csc_group_new(NULL, 1));
    assert_null(csc_group_new(it->server, 1));
    fixture_assert_error(it, CSC_ERROR_OPERATION,
                         "A group needs a server with an event_base that is in no other group");
    assert_null(csc_group_new(group->members[0].server, 1));
    csc_server *without_base = csc_server_new(NULL);
    assert_null(csc_group_new(without_base, 1));
    csc_server_free(without_base);

    for (int count = 1; count < MOST_MEMBERS; count++) {
        group_add(group, it->base);
    }
    assert_false(csc_group_add(group->group, NULL));
    assert_false(csc_group_add(group->group, it->server));
    assert_false(csc_group_add(group->group, group->members[0].server));
    csc_server *another = csc_server_new(it->base);
    assert_false(csc_group_add(group->group, another));
    assert_string_equal(csc_server_error_string(another), "The group has no place for it");
    csc_address address = address_of("127.0.0.1", 0);
    assert_true(csc_server_listen(another, &address));
    assert_false(csc_group_add(group->group, another));
    assert_string_equal(csc_server_error_string(another),
                        "A member needs an event_base, is in no other group and does not listen");
    csc_server_free(another);
    assert_int_equal(csc_group_size(group->group), MOST_MEMBERS);
    csc_statistics none = {.live = 1};
    csc_group_member_statistics(group->group, MOST_MEMBERS, &none, sizeof none);
    assert_int_equal(none.live, 0);
    group_teardown(group);
}

static void a_server_that_listens_already_can_be_shared(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    test_group group = {.it = it, .group = csc_group_new(it->server, 1)};
    group_add(&group, NULL);
    assert_true(csc_group_is_listening(group.group));
    assert_true(csc_server_is_listening(group.members[0].server));
    group_connect(&group, 1);
    group_run_member(&group, 0);
    assert_int_equal(group_take(&group, 0, true), 1);
    csc_server_free(group.members[0].server);
    event_base_free(group.members[0].base);
}

// Ends so many of a member's connections, of those that it has.
static void end_some(test_group *group, int index, int count) {
    for (int ended = 0; ended < count; ended++) {
        csc_server_connection_ended(group->members[index].server);
    }
}

static void long_connections_stay_balanced_as_they_come_and_go(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_server_set_max_pending(it->server, 1000);
    csc_server_set_max_pending(group->members[0].server, 1000);
    csc_server_set_max_pending(group->members[1].server, 1000);
    group_connect(group, 1000);
    assert_loads(group, 500, 500);
    for (int round = 0; round < 10; round++) {
        group_run_all(group);
    }
    assert_int_equal(group_take(group, 0, false), 500);
    assert_int_equal(group_take(group, 1, false), 500);
    end_some(group, 0, 350);
    end_some(group, 1, 150);
    assert_loads(group, 150, 350);
    group_connect(group, 500);
    assert_loads(group, 500, 500);
    group_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(connections_go_to_the_member_with_the_fewest),
        fact(long_connections_stay_balanced_as_they_come_and_go),
        fact(the_acceptors_own_loop_comes_first_and_needs_no_mailbox),
        fact(a_round_gives_each_member_one),
        fact(a_peers_connections_stay_together),
        fact(the_program_chooses_or_leaves_the_choice),
        fact(the_limit_of_connections_is_that_of_all_members),
        fact(clients_wait_in_the_kernel_when_all_mailboxes_are_full),
        fact(a_member_at_its_own_limit_gets_none),
        fact(accepting_waits_while_no_member_takes_any),
        fact(a_client_that_a_member_rejects_counts_no_longer),
        fact(a_connection_that_was_added_counts_for_the_group),
        fact(a_choice_of_one_that_was_freed_is_none),
        fact(a_turn_of_the_loop_receives_a_batch),
        fact(what_waits_in_a_mailbox_is_not_overtaken),
        fact(clients_wait_while_no_queue_is_allowed),
        fact(a_member_does_not_listen_itself),
        fact(a_group_needs_a_server_of_its_own),
        fact(a_server_that_listens_already_can_be_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
