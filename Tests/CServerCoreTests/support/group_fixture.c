// SPDX-License-Identifier: Apache-2.0

#include "group_fixture.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_new_connection(csc_server *server, void *context) {
    (void)server;
    ((test_member *)context)->new_connections++;
}

test_member *group_add(test_group *group, struct event_base *base) {
    test_member *member = &group->members[group->count++];
    member->base = base ? base : event_base_new();
    member->server = csc_server_new(member->base);
    assert_true(csc_group_add(group->group, member->server));
    csc_server_on_new_connection(member->server, on_new_connection, member);
    return member;
}

test_group *group_setup(fixture *it, int count) {
    test_group *group = calloc(1, sizeof *group);
    assert_non_null(group);
    group->it = it;
    group->group = csc_group_new(it->server, MOST_MEMBERS);
    assert_non_null(group->group);
    csc_group_set_stall_limit(group->group, -1); // the machine may be busy
    for (int index = 0; index < count; index++) {
        group_add(group, NULL);
    }
    fixture_listen(it);
    return group;
}

csc_statistics group_statistics(const test_group *group) {
    csc_statistics now;
    csc_group_statistics(group->group, &now, sizeof now);
    return now;
}

csc_statistics member_statistics(const test_group *group, int index) {
    csc_statistics now;
    csc_group_member_statistics(group->group, (size_t)index, &now, sizeof now);
    return now;
}

void group_assert_balance(const test_group *group) {
    csc_statistics now = group_statistics(group);
    assert_int_equal(now.accepted + now.added,
                     now.delivered + now.pending + now.in_mailbox + now.discarded_on_close +
                         now.shed + now.rejected_by_admission + now.rejected_by_limit +
                         now.rejected_by_source_limit + now.rejected_by_source_rate +
                         now.in_preface + now.ended_in_preface);
}

void group_teardown(test_group *group) {
    group_assert_balance(group);
    for (int index = 0; index < group->count; index++) {
        csc_server_free(group->members[index].server);
    }
    if (group->it->server) {
        group_assert_balance(group); // otherwise the group is gone
    }
    for (int index = 0; index < group->count; index++) {
        if (group->members[index].base != group->it->base) {
            event_base_free(group->members[index].base);
        }
    }
    free(group);
}

void group_run_acceptor(test_group *group) {
    fixture_run_ready(group->it);
}

void group_run_member(test_group *group, int index) {
    event_base_loop(group->members[index].base, EVLOOP_NONBLOCK);
}

void group_run_all(test_group *group) {
    for (int round = 0; round < 3; round++) {
        group_run_acceptor(group);
        for (int index = 0; index < group->count; index++) {
            group_run_member(group, index);
        }
    }
}

void group_connect(test_group *group, int count) {
    for (int client = 0; client < count; client++) {
        fixture_connect(group->it);
        group_run_acceptor(group);
    }
}

int group_take(test_group *group, int index, bool ends) {
    csc_connection connection;
    csc_server *server = group->members[index].server;
    int count = 0;
    while (csc_server_next_pending(server, &connection)) {
        count++;
        if (ends) {
            close(connection.descriptor);
            csc_server_connection_ended(server);
        } else {
            fixture_own(group->it, connection.descriptor);
        }
    }
    return count;
}

void assert_loads(const test_group *group, int first, int second) {
    int expected[] = {first, second};
    for (int index = 0; index < 2; index++) {
        csc_statistics now = member_statistics(group, index);
        assert_int_equal(now.live + now.in_mailbox, expected[index]);
    }
}

void group_connect_from(test_group *group, const char *source) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    csc_address address = csc_server_address(group->it->server);
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(&address, &name);
    assert_int_equal(inet_pton(AF_INET, source, &own.sin_addr), 1);
    int client = fixture_own(group->it, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(client, (struct sockaddr *)&own, sizeof own), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&name, length), 0);
    group_run_acceptor(group);
}
