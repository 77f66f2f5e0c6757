// SPDX-License-Identifier: Apache-2.0

// Running out of descriptors: what each policy does, what is left to the rest of the program, and
// how accepting goes on.

#include "failing_accept.h"
#include "running_out.h"

#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

static void serve_the_rest(fixture *it) {
    fixture_restore_descriptors(it);
    fault_advance_clock(1000);
    fixture_run_until(it, &it->new_connections, CLIENTS);
}

static void an_ended_connection_lets_the_next_one_in_at_once(void **state) {
    fixture *it = *state;
    run_out(it, 0);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE);
    for (int i = 1; i <= 3; i++) {
        end_connections(it, 1);
        fixture_run_ready(it); // with the clock stopped
        assert_int_equal(it->new_connections, FREE + i);
        assert_int_equal(fixture_statistics(it).live, FREE);
    }
}

static void a_freed_descriptor_ends_the_back_off_of_every_errno(void **state) {
    fixture *it = *state;
    for (each(errnum, resource_errors)) {
        start_failing(it);
        fault_stop_clock();
        assert_false(csc_server_descriptor_freed(it->server));
        fail_accept(2, *errnum);
        fixture_run_ready(it);
        assert_int_equal(it->accept_errors, 1);
        assert_true(csc_server_descriptor_freed(it->server));
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 0);
        assert_int_equal(fault_failures(FAULT_ACCEPT4), 2);
        assert_true(csc_server_descriptor_freed(it->server));
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
        assert_false(csc_server_descriptor_freed(it->server));
        finish_failing(it);
    }
}

// No report: the time is always running.
static void a_descriptor_that_others_free_is_found_within_a_second(void **state) {
    fixture *it = *state;
    run_out(it, 0);
    fixture_run_ready(it);
    for (int i = 0; i < 10; i++) {
        fault_advance_clock(1000);
        fixture_run_ready(it);
    }
    fixture_close(it, fixture_take(it).descriptor);
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE + 1);
    assert_int_equal(it->accept_errors, 2); // out of them once more
    fixture_restore_descriptors(it);
    fault_advance_clock(1000);
    fixture_run_until(it, &it->new_connections, CLIENTS);
}

static void a_wait_goes_on_when_a_descriptor_was_freed(void **state) {
    fixture *it = *state;
    run_out(it, 0);
    assert_true(csc_server_wait(it->server, 0, NULL));
    end_connections(it, FREE);
    assert_true(csc_server_wait(it->server, 0, NULL));
    fixture_take_all(it);
    assert_false(csc_server_wait(it->server, 0, NULL)); // backs off
    csc_server_descriptor_freed(it->server);
    assert_false(csc_server_wait(it->server, 0, NULL)); // in vain
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
}

static void accepting_leaves_the_reserve_alone(void **state) {
    fixture *it = *state;
    enum { RESERVE = 5 };
    run_out(it, RESERVE);
    assert_int_equal(csc_server_descriptor_headroom(it->server), FREE - RESERVE);
    fault_stop_clock(); // attempts are counted
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE - RESERVE);
    assert_int_equal(it->accept_errors, 1);
    assert_accept_error(it, EMFILE);
    assert_int_equal(fault_failures(FAULT_ACCEPT4), 0);
    assert_int_equal(csc_server_descriptor_headroom(it->server), 0);

    for (int i = 0; i < 10; i++) {
        fault_advance_clock(1000);
        fixture_run_ready(it);
    }
    assert_int_equal(it->new_connections, FREE - RESERVE);

    // One for one, however often; the others are the program's.
    for (int i = 1; i <= 20; i++) {
        end_connections(it, 1);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, FREE - RESERVE + i);
    }
    for (int i = 0; i < RESERVE; i++) {
        fixture_own(it, fcntl(0, F_DUPFD_CLOEXEC, 0));
    }
    assert_int_equal(it->accept_errors, 1);
    assert_int_equal(fixture_statistics(it).resource_errors, 31); // the first, ten, one for one
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
    serve_the_rest(it);
    assert_int_equal(it->accept_errors, 1);
}

static int until_close;

static void close_after_some(csc_server *server, void *context) {
    ((fixture *)context)->new_connections++;
    if (--until_close == 0) {
        csc_server_close(server);
    }
}

// One of them has the number at which the server looks how many are left.
static void a_server_closed_by_any_connection_looks_no_further(void **state) {
    fixture *it = *state;
    for (int nth = 1; nth <= FREE - 4; nth++) {
        run_out(it, 4);
        csc_server_on_new_connection(it->server, close_after_some, it);
        it->new_connections = 0;
        until_close = nth;
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, nth);
        assert_int_equal(it->accept_errors, 0);
        assert_int_equal(fixture_statistics(it).resource_errors, 0);
        fixture_restore_descriptors(it);
        fault_start_clock();
    }
}

static void a_smaller_reserve_goes_on_at_once(void **state) {
    fixture *it = *state;
    run_out(it, 5);
    fixture_run_ready(it);
    csc_server_set_descriptor_reserve(it->server, 3);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE - 3);
    assert_int_equal(it->accept_errors, 2); // short of them once more
    csc_server_set_descriptor_reserve(it->server, -1);
    assert_int_equal(csc_server_descriptor_reserve(it->server), -1);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE);
}

static void the_reserve_is_a_quarter_of_the_limit_at_most(void **state) {
    fixture *it = *state;
    struct rlimit limit = it->descriptor_limit;
    run_out(it, 0);
    limit.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int all = csc_server_descriptor_headroom(it->server);
    csc_server_set_descriptor_reserve(it->server, INT_MAX);
    assert_int_equal(csc_server_descriptor_headroom(it->server), all - 25);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, all - 25);
    assert_int_equal(it->accept_errors, 1);
}

static void a_raised_limit_is_noticed_without_a_pause(void **state) {
    fixture *it = *state;
    run_out(it, 5);
    fixture_restore_descriptors(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, CLIENTS);
    assert_int_equal(it->accept_errors, 0);
}

static void a_process_that_is_full_when_it_listens_still_takes_one(void **state) {
    fixture *it = *state;
    run_out(it, 1);
    for (int i = 0; i < FREE - 1; i++) {
        fixture_own(it, fcntl(0, F_DUPFD_CLOEXEC, 0));
    }
    csc_server_set_descriptor_reserve(it->server, 2);
    assert_int_equal(csc_server_descriptor_headroom(it->server), 0);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(it->accept_errors, 1);
    assert_int_equal(csc_server_descriptor_headroom(it->server), 0); // none to count them with
}

static void a_strict_server_leaves_the_reserve_until_it_resumes(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    run_out(it, 5);
    fixture_run_ready(it);
    assert_int_equal(it->accept_errors, 1);
    end_connections(it, 2);
    fault_advance_clock(5000);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE - 5);
    csc_server_resume(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE - 5 + 2);
    assert_int_equal(it->accept_errors, 2);
}

static void finishing_takes_the_reserve_too(void **state) {
    fixture *it = *state;
    run_out(it, 5);
    csc_server_finish(it->server);
    assert_int_equal(it->new_connections, FREE);
}

static void servers_that_share_one_limit_are_all_served(void **state) {
    skip_under_valgrind("it loses the connection accepted over a limit");
    fixture *it = *state;
    enum { SERVERS = 3, EACH = 20 };
    csc_server *first = it->server;
    csc_server *servers[SERVERS] = {first, csc_server_new(it->base), csc_server_new(it->base)};
    for (int i = 0; i < SERVERS; i++) {
        it->server = servers[i];
        csc_server_set_max_pending(it->server, 1000);
        csc_server_set_descriptor_reserve(it->server, i); // one with none, and two that differ
        fixture_listen(it);
        fixture_watch(it);
        fixture_connect_many(it, EACH);
    }
    fixture_leave_descriptors(it, FREE);
    fault_stop_clock();
    for (int turn = 0; turn < 200 && it->new_connections < SERVERS * EACH; turn++) {
        fixture_run_ready(it);
        // Only the one whose connection ended is notified; the others find out by themselves.
        it->server = servers[turn % SERVERS];
        if (csc_server_has_pending(it->server)) {
            end_connections(it, 1);
        }
        fault_advance_clock(1000);
    }
    assert_int_equal(it->new_connections, SERVERS * EACH);
    for (int i = 1; i < SERVERS; i++) {
        it->server = servers[i];
        fixture_free_server(it);
    }
    it->server = first;
}

static void pauses_are_counted_and_timed(void **state) {
    fixture *it = *state;
    start_failing(it);
    fault_stop_clock();
    fail_accept(1, EMFILE);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
    fault_advance_clock(3);
    assert_int_equal(fixture_statistics(it).overload_milliseconds, 3);
    fault_advance_clock(2);
    fixture_run_ready(it);
    fault_advance_clock(100);
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).overload_pauses, 1);
    assert_int_equal(fixture_statistics(it).overload_milliseconds, 5);

    // Closing ends one, too.
    fixture_connect(it);
    fail_accept(-1, EMFILE);
    fixture_run_ready(it);
    fault_advance_clock(4);
    csc_server_close(it->server);
    fault_advance_clock(100);
    assert_int_equal(fixture_statistics(it).overload_pauses, 2);
    assert_int_equal(fixture_statistics(it).overload_milliseconds, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(an_ended_connection_lets_the_next_one_in_at_once),
        fact(a_freed_descriptor_ends_the_back_off_of_every_errno),
        fact(a_descriptor_that_others_free_is_found_within_a_second),
        fact_without_base(a_wait_goes_on_when_a_descriptor_was_freed),
        fact(accepting_leaves_the_reserve_alone),
        fact(a_server_closed_by_any_connection_looks_no_further),
        fact(a_smaller_reserve_goes_on_at_once),
        fact(the_reserve_is_a_quarter_of_the_limit_at_most),
        fact(a_raised_limit_is_noticed_without_a_pause),
        fact(a_process_that_is_full_when_it_listens_still_takes_one),
        fact(a_strict_server_leaves_the_reserve_until_it_resumes),
        fact(finishing_takes_the_reserve_too),
        fact(servers_that_share_one_limit_are_all_served),
        fact(pauses_are_counted_and_timed),
    };
    return cmocka_run_group_tests_name("overload", tests, NULL, NULL);
}
