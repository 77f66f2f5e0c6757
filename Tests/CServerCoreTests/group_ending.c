// SPDX-License-Identifier: Apache-2.0

// The end of a group's servers: finished, closed, freed, one before the other, and in callbacks.

#include "group_fixture.h"

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

static void finishing_loses_nothing_although_no_loop_has_looked(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    fixture_connect_many(it, 1000);
    csc_server_finish(it->server);
    assert_int_equal(group_statistics(group).in_mailbox, 1000);
    for (int index = 0; index < 2; index++) {
        csc_server *member = group->members[index].server;
        assert_true(csc_server_is_listening(member));
        csc_server_finish(member);
        assert_false(csc_server_is_listening(member));
        csc_server_finish(member);
        assert_int_equal(group_take(group, index, true), 500);
    }
    group_teardown(group);
}

static void finish_again(csc_server *server, void *context) {
    (void)context;
    csc_server_finish(server);
}

static void finishing_does_not_nest(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server_on_new_connection(group->members[0].server, finish_again, NULL);
    fixture_connect_many(it, 4000);
    csc_server_finish(it->server);
    csc_server_finish(group->members[0].server);
    assert_int_equal(group_take(group, 0, true), 4000);
    group_teardown(group);
}

static void closing_discards_what_is_on_its_way(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    group_connect(group, 6);
    csc_server_close(it->server);
    group_run_member(group, 0);
    for (int index = 0; index < 2; index++) {
        csc_server_close(group->members[index].server);
        assert_false(csc_server_is_listening(group->members[index].server));
    }
    assert_int_equal(group_statistics(group).discarded_on_close, 6);
    assert_int_equal(group_statistics(group).live, 0);

    // It listens again with the same members.
    fixture_listen(it);
    assert_true(csc_server_is_listening(group->members[0].server));
    group_connect(group, 2);
    assert_loads(group, 1, 1);
    group_teardown(group);
}

static void a_member_that_is_freed_gets_no_more(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    group_connect(group, 4);
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    assert_int_equal(group_statistics(group).discarded_on_close, 2);
    assert_int_equal(csc_group_size(group->group), 2);
    group_connect(group, 2);
    assert_loads(group, 0, 4);
    // Not even where it is the only one that could.
    csc_server_pause(group->members[1].server);
    group_connect(group, 1);
    assert_loads(group, 0, 5);
    csc_server_free(group->members[1].server);
    group->members[1].server = NULL;
    csc_server_set_max_connections(it->server, -1, CSC_EXCESS_WAIT);
    group_add(group, NULL);
    group_run_acceptor(group);
    group_connect(group, 1);
    group_run_member(group, 2);
    assert_int_equal(group->members[2].new_connections, 1);
    group_teardown(group);
}

// Its peers' connections go to another one from then on, and always to the same.
static void a_peers_member_may_be_freed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    for (int host = 1; host < 10; host++) {
        char source[32];
        snprintf(source, sizeof source, "127.0.9.%d", host);
        group_connect_from(group, source);
        group_run_all(group);
        assert_int_equal(group_take(group, 1, true), 1);
    }
    group_teardown(group);
}

static void the_others_go_on_when_a_member_that_was_full_is_freed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    csc_server_pause(group->members[0].server);
    group_connect(group, 2);
    assert_int_equal(fixture_statistics(it).accept_queue, 2);
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    group_run_all(group);
    assert_int_equal(fixture_statistics(it).accept_queue, 0);
    group_teardown(group);
}

static void without_members_for_a_peer_clients_wait(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    fixture_connect_many(it, 3);
    group_run_acceptor(group);
    assert_int_equal(fixture_statistics(it).accept_queue, 3);
    group_add(group, NULL);
    group_run_all(group);
    assert_int_equal(group->members[0].new_connections, 3);
    group_teardown(group);
}

// More than the limit may come in then, and the next one waits until the limit allows it.
static void limits_hold_again_after_finishing(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server *member = group->members[0].server;
    csc_server_set_max_connections(member, 1, CSC_EXCESS_WAIT);
    group_connect(group, 3);
    csc_server_finish(member);
    assert_int_equal(group->members[0].new_connections, 3);
    group_connect(group, 1);
    group_run_all(group);
    assert_int_equal(group->members[0].new_connections, 3);
    csc_server_set_max_connections(member, 10, CSC_EXCESS_WAIT);
    group_run_all(group);
    assert_int_equal(group->members[0].new_connections, 4);
    group_teardown(group);
}

static void without_members_clients_wait(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    fixture_connect_many(it, 2);
    group_run_acceptor(group);
    assert_int_equal(fixture_statistics(it).accept_queue, 2);
    group_add(group, NULL);
    group_run_all(group);
    assert_int_equal(group->members[0].new_connections, 2);
    group_teardown(group);
}

static void without_members_finishing_sheds_clients(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 0);
    fixture_connect_many(it, 2);
    csc_server_finish(it->server);
    assert_int_equal(group_statistics(group).shed, 2);
    assert_int_equal(csc_server_live(it->server), 0);
    group_teardown(group);
}

static void the_acceptor_may_be_freed_first(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    group_connect(group, 4);
    fixture_free_server(it);
    group_run_member(group, 0);
    assert_false(csc_server_is_listening(group->members[0].server));
    assert_int_equal(group_take(group, 0, true), 2);
    assert_true(csc_server_is_listening(group->members[1].server));
    csc_connection place = {.descriptor = -1};
    assert_true(csc_server_add_pending(group->members[1].server, &place));
    group_teardown(group);
}

static void free_acceptor(csc_server *server, void *context) {
    fixture *it = context;
    (void)server;
    csc_server_free(it->server);
    it->server = NULL;
}

static size_t free_acceptor_instead(csc_server *acceptor, const csc_address *peer, void *context) {
    (void)peer;
    free_acceptor(acceptor, context);
    return 0;
}

static void the_acceptor_may_be_freed_in_a_callback(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    test_member *local = group_add(group, it->base);
    csc_server_on_new_connection(local->server, free_acceptor, it);
    fixture_connect_many(it, 3);
    group_run_all(group);
    assert_null(it->server);
    assert_int_equal(group_statistics(group).accepted, 1);
    assert_int_equal(group_take(group, 1, true), 1);
    group_teardown(group);
}

static void the_acceptor_may_be_freed_while_choosing(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_group_set_distribution(group->group, CSC_CUSTOM);
    csc_group_on_choice(group->group, free_acceptor_instead, it);
    fixture_connect_many(it, 3);
    group_run_all(group);
    assert_null(it->server);
    assert_int_equal(group_statistics(group).shed, 1);
    group_teardown(group);
}

static void free_member(csc_server *server, void *context) {
    ((test_member *)context)->server = NULL;
    csc_server_free(server);
}

static void a_member_may_be_freed_in_its_callback(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    for (int index = 0; index < 2; index++) {
        test_member *member = index == 0 ? &group->members[0] : group_add(group, it->base);
        csc_server_on_new_connection(member->server, free_member, member);
    }
    fixture_connect_many(it, 4);
    group_run_all(group);
    assert_null(group->members[0].server);
    assert_null(group->members[1].server);
    group_teardown(group);
}

static void a_member_may_be_freed_while_it_finishes(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    test_member *member = &group->members[0];
    group_connect(group, 3);
    csc_server_on_new_connection(member->server, free_member, member);
    csc_server_finish(member->server);
    assert_null(member->server);
    assert_int_equal(group_statistics(group).discarded_on_close, 3);
    group_teardown(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(finishing_loses_nothing_although_no_loop_has_looked),
        fact(finishing_does_not_nest),
        fact(closing_discards_what_is_on_its_way),
        fact(a_member_that_is_freed_gets_no_more),
        fact(a_peers_member_may_be_freed),
        fact(the_others_go_on_when_a_member_that_was_full_is_freed),
        fact(without_members_for_a_peer_clients_wait),
        fact(limits_hold_again_after_finishing),
        fact(without_members_clients_wait),
        fact(without_members_finishing_sheds_clients),
        fact(the_acceptor_may_be_freed_first),
        fact(the_acceptor_may_be_freed_in_a_callback),
        fact(the_acceptor_may_be_freed_while_choosing),
        fact(a_member_may_be_freed_in_its_callback),
        fact(a_member_may_be_freed_while_it_finishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
