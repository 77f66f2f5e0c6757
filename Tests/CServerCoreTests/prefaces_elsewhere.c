// SPDX-License-Identifier: Apache-2.0

// The preface beside what else a server may be: the acceptor of a group, one with a budget, and one in a
// child of fork().

#include "budget_fixture.h"
#include "children.h"
#include "group_fixture.h"
#include "proxies.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_groups_acceptor_reads_headers_for_its_members(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    proxies_require(it->server);
    proxies_require(group->members[0].server); // has no effect on a member
    csc_group_set_distribution(group->group, CSC_BY_PEER);
    int silent = proxies_connect(it, "");
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).in_preface, 1);
    for (int client = 1; client <= 20; client++) {
        char header[64];
        snprintf(header, sizeof header, "PROXY TCP4 192.0.2.%d 192.0.2.99 1 2\r\n", client);
        proxies_connect(it, header);
    }
    group_run_acceptor(group);
    // By the clients' addresses: all are one proxy's.
    assert_true(member_statistics(group, 0).in_mailbox > 0);
    assert_true(member_statistics(group, 1).in_mailbox > 0);
    group_run_all(group);
    int taken = 0;
    for (int member = 0; member < 2; member++) {
        csc_connection connection;
        while (csc_server_next_pending(group->members[member].server, &connection)) {
            assert_int_equal(connection.peer.bytes[0], 192);
            assert_true(csc_address_is_loopback(&connection.proxied->proxy));
            csc_proxied_free(connection.proxied);
            close(connection.descriptor);
            csc_server_connection_ended(group->members[member].server);
            taken++;
        }
    }
    assert_int_equal(taken, 20);
    fixture_close(it, silent);
    group_run_acceptor(group);
    assert_int_equal(group_statistics(group).in_preface, 0);
    assert_int_equal(group_statistics(group).preface_silent, 1);
    assert_int_equal(group_statistics(group).live, 0);
    group_teardown(group);
}

static void what_is_on_its_way_to_a_member_that_ends_is_freed(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    proxies_require(it->server);
    proxies_connect(it, V1_HEADER);
    group_run_acceptor(group);
    assert_int_equal(member_statistics(group, 0).in_mailbox, 1);
    csc_server_free(group->members[0].server);
    group->members[0].server = NULL;
    proxies_connect(it, V1_HEADER); // no member takes it
    group_run_acceptor(group);
    group_teardown(group);
}

static void free_it(csc_server *server, const csc_rejection *rejection, void *context) {
    fixture *it = context;
    (void)rejection;
    it->server = NULL;
    csc_server_free(server);
}

static test_group *set_up_one_whose_acceptor_is_freed(fixture *it) {
    fault_stop_clock();
    test_group *group = group_setup(it, 1);
    fixture_watch(it);
    proxies_require(it->server);
    csc_server_on_rejected(it->server, free_it, it);
    proxies_connect(it, "");
    fixture_run_ready(it);
    assert_int_equal(group_statistics(group).in_preface, 1);
    return group;
}

static void an_acceptor_may_be_freed_at_the_deadline_of_one_in_a_wait(void **state) {
    fixture *it = *state;
    test_group *group = set_up_one_whose_acceptor_is_freed(it);
    fault_skip_waits(true);
    assert_false(csc_server_wait(it->server, 6000, NULL));
    fault_skip_waits(false);
    assert_null(it->server);
    group_teardown(group);
}

// The look at the socket, once a second, is due in the same turn.
static void so_it_may_on_the_loop(void **state) {
    fixture *it = *state;
    test_group *group = set_up_one_whose_acceptor_is_freed(it);
    fault_advance_clock(6000);
    fixture_run_ready(it);
    assert_null(it->server);
    group_teardown(group);
}

static void each_has_a_place_of_a_budget(void **state) {
    test_budget *all = budget_setup(*state, 1);
    fixture *it = all->it;
    proxies_require(all->servers[0]);
    int silent = proxies_connect(it, "");
    budget_run(all, 0);
    budget_connect(all, 1, 1);
    budget_run_all(all);
    assert_pending(all, 0, 0, 0);
    fixture_close(it, silent);
    budget_run_all(all);
    assert_pending(all, 0, 1, 0);
    budget_end_one(all, 1);
    proxies_connect(it, V1_HEADER);
    budget_run_all(all);
    proxies_assert_delivered(it, "");
    proxies_connect(it, "nothing like it");
    budget_run_all(all);
    budget_teardown(all);
}

static bool close_in_child(fixture *it) {
    csc_server_close(it->server);
    return fixture_statistics(it).in_preface == 0;
}

static bool free_in_child(fixture *it) {
    csc_server_free(it->server);
    return true;
}

static bool run_in_child(fixture *it) {
    int before = it->new_connections;
    for (int turn = 0; turn < 3; turn++) {
        event_base_loop(it->base, EVLOOP_NONBLOCK);
    }
    return it->new_connections == before;
}

static bool reinitialize_in_child(fixture *it) {
    return event_reinit(it->base) == 0 && run_in_child(it) && close_in_child(it);
}

static bool release_in_child(fixture *it) {
    close(csc_server_release(it->server));
    return close_in_child(it);
}

static void a_child_takes_nothing_from_its_parent(void **state) {
    fixture *it = *state;
    scene now;
    bool (*const parts[])(fixture *) = {close_in_child, free_in_child, run_in_child,
                                        reinitialize_in_child, release_in_child};
    proxies_start_patiently(it, &now);
    for (size_t part = 0; part < 2 * sizeof parts / sizeof parts[0]; part++) {
        int proxy = proxies_connect(it, "PROXY ");
        fixture_run_ready(it);
        fflush(NULL);
        // event_reinit() would find closed numbers.
        if (part % 2 == 1 && parts[part / 2] != reinitialize_in_child) {
            fault_fail(FAULT_EVENTFD, 1, -1, EMFILE);
        }
        pid_t child = fork();
        if (child == 0) {
            alarm(100);
            leave_child(parts[part / 2](it) ? 0 : 1 + (int)part);
        }
        fault_clear();
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        proxies_send(proxy, &V1_HEADER[6], V1_HEADER_SIZE - 6);
        proxies_send(proxy, "x", 1);
        fixture_run_until(it, &it->new_connections, (int)part + 1);
        proxies_assert_delivered(it, "x");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_groups_acceptor_reads_headers_for_its_members),
        fact(what_is_on_its_way_to_a_member_that_ends_is_freed),
        fact(an_acceptor_may_be_freed_at_the_deadline_of_one_in_a_wait),
        fact(so_it_may_on_the_loop),
        fact(each_has_a_place_of_a_budget),
        fact(a_child_takes_nothing_from_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
