// SPDX-License-Identifier: Apache-2.0

// Limits for one source: how many connections it has, how fast it connects, and what a source is.

#include "children.h"
#include "group_fixture.h"
#include "guests.h"
#include "sources_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void one_source_leaves_room_to_others(void **state) {
    fixture *it = *state;
    scene now;
    csc_sources *sources = sources_limit_connections(it->server, 2);
    guests_start(it, &now);
    sources_connect_from(it, "127.0.0.5");
    sources_connect_from(it, "127.0.0.5");
    int beyond = sources_connect_from(it, "127.0.0.5");
    sources_connect_from(it, "127.0.0.6");
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    guests_assert_rejected(it, &now, beyond, CSC_REJECTED_BY_SOURCE_LIMIT);
    guests_assert_closed(beyond);
    assert_int_equal(fixture_statistics(it).rejected_by_source_limit, 1);
    assert_int_equal(csc_sources_in_use(sources), 2);

    // Where one of its connections has ended, it may have another.
    sources_end_one(it);
    sources_connect_from(it, "127.0.0.5");
    int second = sources_connect_from(it, "127.0.0.5");
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 4);
    guests_assert_closed(second);
    sources_end_all(it);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

static void clients_beyond_it_are_reset_where_that_is_wanted(void **state) {
    fixture *it = *state;
    scene now;
    sources_limit(it->server, (csc_source_limits){.max_connections = 1, .resets = true});
    guests_start(it, &now);
    fixture_connect(it);
    int beyond = fixture_connect(it);
    fixture_run_ready(it);
    guests_assert_rejected(it, &now, beyond, CSC_REJECTED_BY_SOURCE_LIMIT);
    guests_assert_reset(beyond);
    sources_end_all(it);
}

static void a_source_is_what_begins_with_the_same_bits(void **state) {
    fixture *it = *state;
    sources_limit(it->server, (csc_source_limits){.max_connections = 1, .ipv4_prefix = 23});
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_false(sources_inject(it, "192.0.3.255"));
    assert_true(sources_inject(it, "192.0.4.0"));
    assert_false(sources_inject(it, "::ffff:192.0.2.9")); // is that of IPv4
    assert_true(sources_inject(it, "2001:db8:0:100::1"));
    assert_false(sources_inject(it, "2001:db8:0:1ff:ffff::2")); // the first 56 bits are the same
    assert_true(sources_inject(it, "2001:db8:0:200::1"));
    assert_true(sources_inject(it, "::1"));
    assert_false(sources_inject(it, "::2"));
    sources_end_all(it);
    assert_true(sources_inject(it, "192.0.3.255"));
    sources_end_all(it);
}

static void prefixes_may_be_whole_addresses(void **state) {
    fixture *it = *state;
    const csc_source_limits limits = {
        .max_connections = 1, .ipv4_prefix = 200, .ipv6_prefix = 200, .table_size = UINT32_MAX};
    sources_limit(it->server, limits);
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_true(sources_inject(it, "192.0.2.2"));
    assert_false(sources_inject(it, "192.0.2.1"));
    assert_true(sources_inject(it, "2001:db8::1"));
    assert_true(sources_inject(it, "2001:db8::2"));
    assert_false(sources_inject(it, "2001:db8::2"));
    sources_end_all(it);
}

static void a_source_that_connects_too_fast_waits_for_its_tokens(void **state) {
    fixture *it = *state;
    scene now;
    fault_stop_clock();
    sources_limit(it->server, (csc_source_limits){.accepts_per_second = 10, .burst = 2});
    guests_start(it, &now);
    sources_connect_from(it, "127.0.0.5");
    sources_connect_from(it, "127.0.0.5");
    int beyond = sources_connect_from(it, "127.0.0.5");
    sources_connect_from(it, "127.0.0.6");
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    guests_assert_rejected(it, &now, beyond, CSC_REJECTED_BY_SOURCE_RATE);
    assert_int_equal(fixture_statistics(it).rejected_by_source_rate, 1);
    sources_end_all(it); // which makes it no slower
    fault_advance_clock(99);
    int early = sources_connect_from(it, "127.0.0.5");
    fixture_run_ready(it);
    guests_assert_closed(early);
    fault_advance_clock(1);
    sources_connect_from(it, "127.0.0.5");
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 4);
    sources_end_all(it);
}

static void another_rate_asks_a_source_for_no_old_debt(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    csc_sources *sources =
        sources_limit(it->server, (csc_source_limits){.accepts_per_second = 1, .burst = 20});
    for (int i = 0; i < 20; i++) {
        assert_true(sources_inject(it, "192.0.2.1"));
    }
    assert_false(sources_inject(it, "192.0.2.1"));
    csc_sources_set_limits(sources, &(csc_source_limits){.accepts_per_second = 10, .burst = 1});
    assert_false(sources_inject(it, "192.0.2.1"));
    fault_advance_clock(100);
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_false(sources_inject(it, "192.0.2.1"));
    sources_end_all(it);
}

static void a_full_table_lets_clients_in_and_counts_that(void **state) {
    fixture *it = *state;
    enum { SIZE = 64, CLIENTS = 400 };
    char literal[32];
    csc_sources *sources =
        sources_limit(it->server, (csc_source_limits){.max_connections = 1, .table_size = 1});
    csc_server_set_max_pending(it->server, CLIENTS + 1);
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(literal, sizeof literal, "192.0.%d.%d", i / 100, i % 100);
        assert_true(sources_inject(it, literal));
    }
    // Random keys may leave places in some buckets, but not many.
    uint64_t uncounted = fixture_statistics(it).uncounted_sources;
    assert_in_range(csc_sources_in_use(sources), SIZE / 2, SIZE);
    assert_int_equal(csc_sources_in_use(sources) + uncounted, CLIENTS);
    sources_end_all(it);
    assert_int_equal(csc_sources_in_use(sources), 0);
    // Others get the places of those that are idle.
    assert_true(sources_inject(it, "198.51.100.1"));
    assert_false(sources_inject(it, "198.51.100.1"));
    assert_int_equal(fixture_statistics(it).uncounted_sources, uncounted);
    sources_end_all(it);
}

// The worst of factors, which multiply neighbours to neighbours.
static void neighbours_do_not_share_a_bucket(void **state) {
    fixture *it = *state;
    char literal[32];
    fault_answer_random(1, 1);
    sources_limit(it->server, (csc_source_limits){.max_connections = 1, .table_size = 4096});
    csc_server_set_max_pending(it->server, 1000);
    for (int i = 0; i < 256; i++) {
        snprintf(literal, sizeof literal, "192.0.2.%d", i);
        assert_true(sources_inject(it, literal));
        snprintf(literal, sizeof literal, "2001:db8:0:%x::1", i << 8);
        assert_true(sources_inject(it, literal));
    }
    assert_int_equal(fixture_statistics(it).uncounted_sources, 0);
    sources_end_all(it);
}

static void a_source_that_waits_for_tokens_keeps_its_place(void **state) {
    fixture *it = *state;
    char literal[32];
    fault_stop_clock();
    sources_limit(it->server,
                  (csc_source_limits){.accepts_per_second = 1, .burst = 1, .table_size = 64});
    for (int i = 0; i < 200; i++) {
        snprintf(literal, sizeof literal, "192.0.2.%d", i);
        assert_true(sources_inject(it, literal));
        sources_end_all(it);
    }
    assert_int_not_equal(fixture_statistics(it).uncounted_sources, 0);
    fault_advance_clock(1000);
    uint64_t before = fixture_statistics(it).uncounted_sources;
    assert_true(sources_inject(it, "198.51.100.1"));
    assert_false(sources_inject(it, "198.51.100.1"));
    assert_int_equal(fixture_statistics(it).uncounted_sources, before);
    sources_end_all(it);
}

// Which clients find no place in a small table depends on its key.
static void each_table_has_a_key_of_its_own(void **state) {
    fixture *it = *state;
    enum { CLIENTS = 96 };
    bool is_counted[2][CLIENTS];
    char literal[32];
    csc_server_set_max_pending(it->server, CLIENTS + 1);
    for (int table = 0; table < 2; table++) {
        assert_true(csc_server_set_sources(it->server, NULL));
        sources_limit(it->server, (csc_source_limits){.max_connections = 1, .table_size = 64});
        for (int i = 0; i < CLIENTS; i++) {
            uint64_t before = fixture_statistics(it).uncounted_sources;
            snprintf(literal, sizeof literal, "192.0.2.%d", i);
            assert_true(sources_inject(it, literal));
            is_counted[table][i] = fixture_statistics(it).uncounted_sources == before;
        }
        sources_end_all(it);
    }
    assert_memory_not_equal(is_counted[0], is_counted[1], sizeof is_counted[0]);
}

static void without_limits_nothing_is_counted(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit(it->server, (csc_source_limits){0});
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_int_equal(fixture_take(it).source, 0);
    csc_server_connection_ended(it->server);
    assert_int_equal(csc_sources_in_use(sources), 0);
    csc_sources_set_limits(sources, &(csc_source_limits){.max_connections = 1});
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_false(sources_inject(it, "192.0.2.1"));
    csc_sources_set_limits(sources, &(csc_source_limits){0});
    assert_true(sources_inject(it, "192.0.2.1"));
    sources_end_all(it);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

static void the_table_may_be_taken_away_once_no_connection_counts(void **state) {
    fixture *it = *state;
    sources_limit_connections(it->server, 1);
    csc_sources *other = csc_sources_new(&(csc_source_limits){.max_connections = 1});
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_false(csc_server_set_sources(it->server, other));
    fixture_assert_error(it, CSC_ERROR_OPERATION,
                         "The connections of the server count in another table of sources");
    assert_false(csc_server_set_sources(it->server, NULL));
    sources_end_all(it);
    assert_true(csc_server_set_sources(it->server, NULL));
    fixture_listen(it);
    fixture_connect(it);
    fixture_run_ready(it);
    csc_connection connection = fixture_take(it);
    assert_int_equal(connection.source, 0);
    connection.source = 9; // without a table it means nothing
    csc_server_connection_ended_from(it->server, connection.source);
    assert_true(csc_server_set_sources(it->server, other));
    assert_true(csc_server_set_sources(it->server, other));
    csc_sources_free(other);
    csc_sources_free(NULL);
}

static void a_place_that_is_none_is_ignored(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    assert_true(sources_inject(it, "192.0.2.1"));
    csc_connection connection = fixture_take(it);
    csc_server_connection_ended_from(it->server, UINT32_MAX);
    assert_int_equal(csc_sources_in_use(sources), 1);
    csc_server_connection_ended_from(it->server, connection.source);
    csc_server_connection_ended_from(it->server, connection.source); // once too often
    assert_int_equal(csc_sources_in_use(sources), 0);
    assert_true(sources_inject(it, "192.0.2.1"));
    assert_false(sources_inject(it, "192.0.2.1"));
    sources_end_all(it);
    csc_server_connection_ended_from(NULL, 1);
}

/* ---------------------------------------------------------------------------------------------- */
// Groups

static void a_group_counts_sources_of_all_its_loops(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 3);
    test_group *group = group_setup(it, 2);
    for (int i = 0; i < 5; i++) {
        group_connect_from(group, "127.0.0.5");
    }
    group_connect_from(group, "127.0.0.6");
    group_run_all(group);
    assert_int_equal(group_statistics(group).rejected_by_source_limit, 2);
    assert_int_equal(group_statistics(group).live, 4);
    csc_connection connection;
    for (int index = 0; index < 2; index++) {
        csc_server *member = group->members[index].server;
        while (csc_server_next_pending(member, &connection)) {
            assert_int_not_equal(connection.source, 0);
            close(connection.descriptor);
            csc_server_connection_ended_from(member, connection.source);
        }
    }
    group_run_all(group);
    assert_int_equal(csc_sources_in_use(sources), 0);
    group_teardown(group);
}

static void what_a_group_discards_counts_no_more(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 2);
    csc_sources *sources = sources_limit_connections(it->server, 100); // later than the group
    group_connect_from(group, "127.0.0.5");
    group_connect_from(group, "127.0.0.6");
    group_run_member(group, 0);
    assert_int_equal(member_statistics(group, 0).pending, 1);
    assert_int_equal(member_statistics(group, 1).in_mailbox, 1);
    assert_int_equal(csc_sources_in_use(sources), 2);
    csc_server_close(group->members[0].server);
    csc_server_close(group->members[1].server);
    assert_int_equal(csc_sources_in_use(sources), 0);
    group_run_all(group);
    assert_true(csc_server_set_sources(it->server, NULL));
    group_teardown(group);
}

static void members_have_the_limits_of_their_acceptor(void **state) {
    fixture *it = *state;
    test_group *group = group_setup(it, 1);
    csc_server *member = group->members[0].server;
    csc_sources *sources = csc_sources_new(&(csc_source_limits){0});
    assert_false(csc_server_set_sources(member, sources));
    assert_string_equal(csc_server_error_string(member),
                        "The limit of a group is that of the server that accepts");
    csc_server *other = csc_server_new(it->base);
    assert_true(csc_server_set_sources(other, sources));
    assert_false(csc_group_add(group->group, other));
    assert_string_equal(csc_server_error_string(other),
                        "The limit of a group is that of the server that accepts");
    csc_server_free(other);
    csc_sources_free(sources);
    group_teardown(group);
}

/* ---------------------------------------------------------------------------------------------- */
// Failures

static void without_memory_or_random_numbers_there_is_no_table(void **state) {
    (void)state;
    const csc_source_limits limits = {.max_connections = 1};
    fault_fail(FAULT_GETRANDOM, 1, 1, EINTR);
    csc_sources *sources = csc_sources_new(&limits); // tries again
    assert_non_null(sources);
    csc_sources_free(sources);
    fault_fail(FAULT_GETRANDOM, 1, 1, ENOSYS);
    assert_null(csc_sources_new(&limits));
    if (fault_counts_allocations()) {
        for (int nth = 1; nth <= 2; nth++) {
            fault_fail_allocation(nth, 1);
            assert_null(csc_sources_new(&limits));
        }
    }
    fault_clear();
}

static void a_child_cannot_change_its_parents_server(void **state) {
    fixture *it = *state;
    pid_t child = fork();
    if (child == 0) {
        csc_sources *sources = csc_sources_new(&(csc_source_limits){0});
        bool is_set = csc_server_set_sources(it->server, sources);
        csc_sources_free(sources);
        leave_child(is_set);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(csc_server_set_sources(NULL, NULL));
}

static void a_child_cannot_count_in_its_parents_table(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    pid_t child = fork();
    if (child == 0) {
        csc_server *own = csc_server_new(NULL);
        bool is_set = csc_server_set_sources(own, sources);
        bool says_why = strcmp(csc_server_error_string(own),
                               "The server belongs to the process that forked this one") == 0;
        csc_server_free(own);
        leave_child(is_set || !says_why);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(one_source_leaves_room_to_others),
        fact(clients_beyond_it_are_reset_where_that_is_wanted),
        fact(a_source_is_what_begins_with_the_same_bits),
        fact(prefixes_may_be_whole_addresses),
        fact(a_source_that_connects_too_fast_waits_for_its_tokens),
        fact(another_rate_asks_a_source_for_no_old_debt),
        fact(a_full_table_lets_clients_in_and_counts_that),
        fact(neighbours_do_not_share_a_bucket),
        fact(a_source_that_waits_for_tokens_keeps_its_place),
        fact(each_table_has_a_key_of_its_own),
        fact(without_limits_nothing_is_counted),
        fact(the_table_may_be_taken_away_once_no_connection_counts),
        fact(a_place_that_is_none_is_ignored),
        fact(a_group_counts_sources_of_all_its_loops),
        fact(what_a_group_discards_counts_no_more),
        fact(members_have_the_limits_of_their_acceptor),
        fact(without_memory_or_random_numbers_there_is_no_table),
        fact(a_child_cannot_change_its_parents_server),
        fact(a_child_cannot_count_in_its_parents_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
