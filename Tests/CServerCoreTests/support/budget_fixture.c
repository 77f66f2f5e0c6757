// SPDX-License-Identifier: Apache-2.0

#include "budget_fixture.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

test_budget *budget_setup_idle(fixture *it, int limit) {
    test_budget *all = calloc(1, sizeof *all);
    assert_non_null(all);
    all->it = it;
    all->budget = csc_budget_new(limit);
    assert_non_null(all->budget);
    for (int index = 0; index < SHARERS; index++) {
        all->bases[index] = index == 0 ? it->base : event_base_new();
        all->servers[index] = index == 0 ? it->server : csc_server_new(all->bases[index]);
        assert_true(csc_server_set_budget(all->servers[index], all->budget));
    }
    return all;
}

void budget_listen(test_budget *all, bool on_one) {
    csc_address address = address_of(own_loopback(), 0);
    for (int index = 0; index < SHARERS; index++) {
        if (index > 0 && on_one) {
            int descriptor = dup(csc_server_descriptor(all->servers[0]));
            assert_true(csc_server_adopt(all->servers[index], descriptor));
        } else {
            assert_true(csc_server_listen(all->servers[index], &address));
        }
    }
}

test_budget *budget_setup(fixture *it, int limit) {
    test_budget *all = budget_setup_idle(it, limit);
    budget_listen(all, false);
    return all;
}

void budget_teardown(test_budget *all) {
    for (int index = 0; index < SHARERS; index++) {
        csc_statistics now;
        csc_server_statistics(all->servers[index], &now, sizeof now);
        assert_int_equal(now.accepted + now.added,
                         now.delivered + now.pending + now.discarded_on_close + now.shed +
                             now.rejected_by_admission + now.rejected_by_limit +
                             now.rejected_by_source_limit + now.rejected_by_source_rate +
                             now.in_preface + now.ended_in_preface);
        csc_server_free(all->servers[index]);
        if (index > 0) {
            event_base_free(all->bases[index]);
        }
    }
    all->it->server = NULL;
    assert_int_equal(csc_budget_taken(all->budget), 0);
    csc_budget_free(all->budget);
    free(all);
}

void budget_connect(test_budget *all, int server, int count) {
    csc_address address = csc_server_address(all->servers[server]);
    for (int client = 0; client < count; client++) {
        fixture_own(all->it, connect_to(&address));
    }
}

void budget_run(test_budget *all, int server) {
    for (int turn = 0; turn < 8; turn++) {
        event_base_loop(all->bases[server], EVLOOP_NONBLOCK);
    }
}

void budget_run_all(test_budget *all) {
    for (int round = 0; round < SHARERS + 1; round++) {
        for (int index = 0; index < SHARERS; index++) {
            budget_run(all, index);
        }
    }
}

void budget_end_one(test_budget *all, int server) {
    csc_connection connection;
    assert_true(csc_server_next_pending(all->servers[server], &connection));
    close(connection.descriptor);
    csc_server_connection_ended(all->servers[server]);
}

void assert_pending_at(const test_budget *all, const unsigned *expected, const char *file,
                       int line) {
    for (int index = 0; index < SHARERS; index++) {
        csc_statistics now;
        csc_server_statistics(all->servers[index], &now, sizeof now);
        _assert_int_equal(now.pending, expected[index], file, line);
    }
}
