// SPDX-License-Identifier: Apache-2.0

// Groups that cannot be made, members that cannot be added, and members that cannot take what was
// placed on them.

#include "group_fixture.h"

#include <errno.h>
#include <event2/event.h>

enum { MOST_ALLOCATIONS = 20 };

static void skip_without_allocations(void) {
    if (!fault_counts_allocations()) {
        print_message("skipped: malloc is not the shim's here\n");
        skip();
    }
}

static void assert_no_group(fixture *it) {
    assert_null(csc_group_new(it->server, 1));
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    fault_clear();
    fixture_connect(it); // it is a server like any other
    fixture_run_ready(it);
    assert_int_equal(fixture_take_all(it), 1);
}

static void a_group_that_cannot_be_made_leaves_the_server_as_it_was(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fault_fail(FAULT_EVENTFD, 1, 1, EMFILE);
    assert_no_group(it);
    fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOMEM);
    assert_no_group(it);
}

static void so_does_one_without_memory(void **state) {
    fixture *it = *state;
    int nth = 0;
    skip_without_allocations();
    fixture_listen(it);
    csc_group *group = NULL;
    while (!group && nth < MOST_ALLOCATIONS) {
        fault_fail_allocation(++nth, 1);
        group = csc_group_new(it->server, 1);
        fault_clear();
        if (!group) {
            fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        }
    }
    assert_in_range(nth, 4, MOST_ALLOCATIONS - 1);
}

static void a_listener_without_its_group_fails(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_address address = address_of(own_loopback(), 0);
    csc_server_close(it->server);
    fault_reset_counts();
    assert_true(csc_server_listen(it->server, &address));
    int calls = (int)fault_calls(FAULT_EPOLL_CTL);
    csc_server_close(it->server);
    // The last one is for what wakes the acceptor.
    fault_fail(FAULT_EPOLL_CTL, calls, 1, ENOSPC);
    assert_false(csc_server_listen(it->server, &address));
    fault_clear();
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_false(csc_server_is_listening(group->members[0].server));
    fixture_listen(it);
    group_connect(group, 1);
    assert_loads(group, 1, 0);
    group_teardown(group);
}

static void a_member_that_cannot_be_added_is_none(void **state) {
    test_group *group = group_setup(*state, 1);
    struct event_base *base = event_base_new();
    csc_server *server = csc_server_new(base);
    const fault_call calls[] = {FAULT_EVENTFD, FAULT_EPOLL_CTL};
    for (size_t call = 0; call < 2; call++) {
        fault_fail(calls[call], 1, 1, ENOMEM);
        assert_false(csc_group_add(group->group, server));
        assert_int_equal(csc_server_error(server), CSC_ERROR_SOCKET_RESOURCE);
    }
    for (int nth = 1; nth <= 3 && fault_counts_allocations(); nth++) {
        fault_fail_allocation(nth, 1);
        assert_false(csc_group_add(group->group, server));
        assert_int_equal(csc_server_error(server), CSC_ERROR_SOCKET_RESOURCE);
    }
    fault_clear();
    assert_int_equal(csc_group_size(group->group), 1);
    assert_false(csc_server_is_listening(server));
    assert_true(csc_group_add(group->group, server));
    csc_server_free(server);
    event_base_free(base);
    group_teardown(group);
}

// Neither the one that was freed nor the one without memory, for which it was chosen.
static void another_member_takes_what_the_first_has_no_memory_for(void **state) {
    fixture *it = *state;
    skip_without_allocations();
    test_group *group = group_setup(it, 1);
    group_add(group, it->base);
    group_add(group, NULL);
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    fixture_connect(it);
    group_run_all(group); // the acceptor has its own queue now, whatever that needs
    assert_int_equal(group_take(group, 1, true) + group_take(group, 2, true), 1);
    csc_server_free(group->members[1].server);
    group->members[1] = group->members[--group->count];
    test_member *fresh = group_add(group, it->base);
    fixture_connect(it);
    fault_fail_allocation(1, -1);
    group_run_acceptor(group);
    fault_clear();
    assert_int_equal(fresh->new_connections, 0);
    assert_int_equal(group_statistics(group).in_mailbox, 1);
    group_teardown(group);
}

static void a_peer_without_members_is_shed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    fixture_watch(it);
    fixture_connect_many(it, 2);
    csc_server_finish(it->server);
    assert_int_equal(group_statistics(group).shed, 2);
    assert_int_equal(it->new_connections, 0);
    group_teardown(group);
}

static size_t free_the_member(csc_server *acceptor, const csc_address *peer, void *context) {
    test_group *group = context;
    (void)acceptor, (void)peer;
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    return 0;
}

static void a_wait_does_not_end_for_a_peer_that_is_shed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_group_set_distribution(group->group, CSC_CUSTOM);
    csc_group_on_choice(group->group, free_the_member, group);
    fixture_watch(it);
    fixture_connect(it);
    assert_false(csc_server_wait(it->server, 0, NULL));
    assert_int_equal(group_statistics(group).shed, 1);
    assert_int_equal(it->new_connections, 0);
    group_teardown(group);
}

static void groups_may_end_in_any_order(void **state) {
    fixture *it = *state;
    csc_server *servers[3];
    for (int i = 0; i < 3; i++) {
        servers[i] = csc_server_new(it->base);
        assert_non_null(csc_group_new(servers[i], 1));
    }
    for (int i = 0; i < 3; i++) {
        csc_server_free(servers[(i + 1) % 3]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_group_that_cannot_be_made_leaves_the_server_as_it_was),
        fact(so_does_one_without_memory),
        fact(a_listener_without_its_group_fails),
        fact(a_member_that_cannot_be_added_is_none),
        fact(another_member_takes_what_the_first_has_no_memory_for),
        fact(a_peer_without_members_is_shed),
        fact(a_wait_does_not_end_for_a_peer_that_is_shed),
        fact(groups_may_end_in_any_order),
    };
    return cmocka_run_group_tests_name("group failures", tests, NULL, NULL);
}
