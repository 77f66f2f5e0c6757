// SPDX-License-Identifier: Apache-2.0

// Connections in the preface: what becomes of those whose header is late, missing or never comes, and
// that other clients are served meanwhile.

#include "proxies.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

static void assert_ended(const fixture *it, uint64_t count) {
    assert_int_equal(fixture_statistics(it).ended_in_preface, count);
    assert_int_equal(fixture_statistics(it).in_preface, 0);
    assert_int_equal(fixture_statistics(it).live, 0);
    assert_int_equal(it->new_connections, 0);
}

static void a_silent_peer_is_cut_at_its_deadline(void **state) {
    fixture *it = *state;
    scene now;
    fault_stop_clock();
    proxies_start(it, &now);
    int proxy = proxies_connect(it, "");
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).in_preface, 1);
    assert_int_equal(fixture_statistics(it).live, 1);
    fault_advance_clock(2500);
    proxies_send(proxy, "PROXY ", 6); // which gives it no more time
    fixture_run_ready(it);
    int other = proxies_connect(it, "");
    fixture_run_ready(it);
    fault_advance_clock(2400);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 0);
    fault_advance_clock(110);
    fixture_run_ready(it);
    guests_assert_rejected(it, &now, proxy, CSC_REJECTED_BY_TIMEOUT);
    guests_assert_closed(proxy);
    assert_int_equal(fixture_statistics(it).in_preface, 1);
    fault_advance_clock(2500);
    fixture_run_ready(it);
    guests_assert_rejected(it, &now, other, CSC_REJECTED_BY_TIMEOUT);
    assert_int_equal(fixture_statistics(it).preface_timeouts, 2);
    assert_ended(it, 2);
}

static void a_shorter_time_holds_for_those_that_wait(void **state) {
    fixture *it = *state;
    scene now;
    const csc_network all = {.address = address_of("0.0.0.0", 0)};
    const csc_proxy_requirement hasty = {.networks = &all, .network_count = 1, .timeout = 100};
    fault_stop_clock();
    proxies_start(it, &now);
    proxies_connect(it, "");
    fixture_run_ready(it);
    assert_true(csc_server_require_proxy_header(it->server, &hasty));
    fault_advance_clock(101);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1);
    assert_ended(it, 1);
}

static void a_health_check_is_counted_and_not_reported(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    fixture_close(it, proxies_connect(it, ""));
    int reset = proxies_connect(it, "");
    fixture_run_ready(it);
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(reset, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    fixture_close(it, reset);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 0);
    assert_int_equal(it->accept_errors, 0);
    assert_int_equal(fixture_statistics(it).preface_silent, 2);
    assert_ended(it, 2);
}

static void a_peer_that_ends_in_the_middle_is_reported(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    int proxy = proxies_connect(it, "PROXY TCP4");
    fixture_run_ready(it);
    csc_address peer = guests_local_address(proxy);
    fixture_close(it, proxy);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1);
    assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_PEER);
    assert_memory_equal(&now.rejection.peer, &peer, sizeof peer);
    assert_int_equal(fixture_statistics(it).preface_cut_short, 1);
    assert_ended(it, 1);
}

static void a_socket_that_is_ready_in_vain_is_given_up(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    int proxy = proxies_connect(it, "");
    fixture_run_ready(it);
    proxies_send(proxy, "PROXY", 5);
    fault_fail(FAULT_RECV, 1, -1, EAGAIN);
    for (int turn = 0; turn < 100; turn++) {
        fixture_run_ready(it);
    }
    assert_true(fault_failures(FAULT_RECV) < 20);
    assert_int_equal(now.rejected, 1);
    assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_PEER);
    assert_ended(it, 1);
}

static void one_of_the_kind_that_there_is_more_of_makes_room_for_another(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_prefaces(it->server, 0);
    assert_int_equal(csc_server_max_prefaces(it->server), 1);
    csc_server_set_max_prefaces(it->server, 3);
    proxies_start_patiently(it, &now);
    int speaking = proxies_connect(it, "PROXY");
    int first = proxies_connect(it, "");
    int second = proxies_connect(it, "");
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).in_preface, 3);
    proxies_connect(it, V1_HEADER); // needs no place
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 0);
    proxies_assert_delivered(it, "");
    it->new_connections = 0;
    proxies_connect(it, "PROX");
    fixture_run_ready(it);
    guests_assert_rejected(it, &now, first, CSC_REJECTED_BY_PREFACES);
    // More have sent something now than are silent.
    proxies_connect(it, "PRO");
    fixture_run_ready(it);
    guests_assert_rejected(it, &now, speaking, CSC_REJECTED_BY_PREFACES);
    // The one that is silent stays, until it sends.
    proxies_send(second, "P", 1);
    fixture_run_ready(it);
    int third = proxies_connect(it, "P");
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 3);
    proxies_send(second, &V1_HEADER[1], V1_HEADER_SIZE - 1);
    fixture_run_ready(it);
    proxies_assert_delivered(it, "");
    assert_int_equal(fixture_statistics(it).preface_dropped, 3);
    assert_int_equal(fixture_statistics(it).in_preface, 2);
    fixture_close(it, third);
}

static void they_fill_neither_the_queue_nor_keep_others_out(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_pending(it->server, 1);
    proxies_start_patiently(it, &now);
    int proxies[10];
    for (int i = 0; i < 10; i++) {
        proxies[i] = proxies_connect(it, "");
    }
    proxies_connect(it, V1_HEADER "x");
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).in_preface, 10);
    assert_int_equal(fixture_statistics(it).pending, 1);
    // What they send is taken although the queue is full.
    for (int i = 0; i < 10; i++) {
        proxies_send(proxies[i], V1_HEADER, V1_HEADER_SIZE);
    }
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 11);
    proxies_assert_delivered(it, "x");
    for (int i = 0; i < 10; i++) {
        proxies_assert_delivered(it, "");
    }
}

static void each_counts_for_the_limit_of_connections(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    proxies_start_patiently(it, &now);
    int first = proxies_connect(it, "");
    fixture_run_ready(it);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).accepted, 1);
    fixture_close(it, first);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).accepted, 2);
    proxies_assert_delivered(it, "");
    assert_int_equal(fixture_statistics(it).live, 0);
}

static void count_end(csc_server *server, void *context) {
    (void)server;
    ++*(int *)context;
}

static void closing_ends_them_and_finishing_lets_them_go_on(void **state) {
    fixture *it = *state;
    scene now;
    int ends = 0;
    proxies_start_patiently(it, &now);
    csc_server_on_prefaces_over(it->server, count_end, &ends);
    int proxy = proxies_connect(it, "");
    fixture_run_ready(it);
    csc_server_finish(it->server);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(fixture_statistics(it).in_preface, 1);
    proxies_send(proxy, V1_HEADER "y", V1_HEADER_SIZE + 1);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(ends, 1);
    proxies_assert_delivered(it, "y");

    fixture_listen(it);
    proxy = proxies_connect(it, "PROXY");
    fixture_run_ready(it);
    csc_server_close(it->server);
    guests_assert_closed(proxy);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);
    assert_int_equal(fixture_statistics(it).live, 0);
    assert_int_equal(ends, 1);
    assert_int_equal(now.rejected, 0);
}

static void closing_frees_what_a_proxy_said_of_the_pending_ones(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start(it, &now);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);
}

static void free_server(scene *now, csc_server *server) {
    now->it->server = NULL;
    csc_server_free(server);
}

static void close_server(scene *now, csc_server *server) {
    (void)now;
    csc_server_close(server);
}

static void on_over(csc_server *server, void *context) {
    scene *now = context;
    now->operation(now, server);
}

static void on_new(csc_server *server, void *context) {
    on_over(server, context);
}

static void a_callback_may_close_or_free_the_server(void **state) {
    fixture *it = *state;
    void (*const operations[])(scene *, csc_server *) = {close_server, free_server};
    for (int i = 0; i < 6; i++) {
        scene now;
        if (!it->server) {
            it->server = csc_server_new(it->base);
        }
        fault_stop_clock();
        proxies_start(it, &now);
        int first = proxies_connect(it, "");
        int second = proxies_connect(it, "");
        fixture_run_ready(it);
        now.operation = operations[i % 2];
        if (i / 2 == 0) {              // the report of a rejection
            now.admission = CSC_CLOSE; // lets it operate
            fault_advance_clock(5001);
        } else if (i / 2 == 1) { // the end of the last one
            csc_server_on_prefaces_over(it->server, on_over, &now);
            fixture_close(it, first);
            fixture_close(it, second);
        } else {
            csc_server_on_new_connection(it->server, on_new, &now);
            proxies_send(first, V1_HEADER, V1_HEADER_SIZE);
        }
        fixture_run_ready(it);
        assert_true(i / 2 > 0 || !now.operation); // it has come
        assert_int_equal(it->accept_errors, 0);
        assert_true(!it->server || fixture_statistics(it).listener_errors == 0);
        fixture_free_server(it);
    }
}

static void a_wait_reads_headers_and_keeps_deadlines(void **state) {
    fixture *it = *state;
    scene now;
    bool timed_out = false;
    fault_stop_clock();
    proxies_start(it, &now);
    int proxy = proxies_connect(it, "PROXY TCP4 ");
    int silent = proxies_connect(it, "");
    int checking = proxies_connect(it, "");
    assert_false(csc_server_wait(it->server, 0, &timed_out));
    assert_true(timed_out);
    assert_int_equal(fixture_statistics(it).in_preface, 3);
    fixture_close(it, checking);
    proxies_send(proxy, &V1_HEADER[sizeof "PROXY TCP4 " - 1], V1_HEADER_SIZE - 11);
    assert_true(csc_server_wait(it->server, 10000, &timed_out));
    assert_int_equal(it->new_connections, 1);
    proxies_assert_delivered(it, "");
    fault_skip_waits(true);
    assert_false(csc_server_wait(it->server, 6000, &timed_out));
    fault_skip_waits(false);
    guests_assert_rejected(it, &now, silent, CSC_REJECTED_BY_TIMEOUT);
    assert_int_equal(fixture_statistics(it).live, 0);
}

static void a_wait_goes_on_for_them_when_the_server_has_finished(void **state) {
    fixture *it = *state;
    scene now;
    bool timed_out = true;
    fault_stop_clock();
    proxies_start(it, &now);
    int proxy = proxies_connect(it, "PROXY");
    proxies_connect(it, "");
    assert_false(csc_server_wait(it->server, 0, NULL));
    csc_server_finish(it->server);
    assert_int_equal(csc_server_in_preface(it->server), 2);
    proxies_send(proxy, &V1_HEADER[5], V1_HEADER_SIZE - 5);
    assert_true(csc_server_wait(it->server, -1, &timed_out));
    assert_false(timed_out);
    proxies_assert_delivered(it, "");
    fault_skip_waits(true);
    assert_false(csc_server_wait(it->server, -1, &timed_out));
    fault_skip_waits(false);
    assert_false(timed_out);
    assert_int_equal(csc_server_in_preface(it->server), 0);
    assert_int_equal(csc_server_in_preface(NULL), 0);
    assert_int_equal(csc_server_max_prefaces(NULL), 1024);
}

static void wait_within(scene *now, csc_server *server) {
    now->operation = NULL;
    csc_server_wait(server, 0, NULL);
}

static void on_new_wait(csc_server *server, void *context) {
    scene *now = context;
    now->it->new_connections++;
    if (now->operation) {
        now->operation(now, server);
    }
}

static void a_callback_of_a_wait_may_wait_and_close(void **state) {
    fixture *it = *state;
    void (*const operations[])(scene *, csc_server *) = {wait_within, close_server, free_server};
    for (int i = 0; i < 3; i++) {
        scene now;
        if (!it->server) {
            it->server = csc_server_new(it->base);
        }
        it->new_connections = 0;
        proxies_start_patiently(it, &now);
        csc_server_on_new_connection(it->server, on_new_wait, &now);
        int proxies[3];
        for (int at = 0; at < 3; at++) {
            proxies[at] = proxies_connect(it, "");
        }
        csc_server_wait(it->server, 0, NULL);
        for (int at = 0; at < 3; at++) {
            proxies_send(proxies[at], V1_HEADER, V1_HEADER_SIZE);
        }
        now.operation = operations[i];
        csc_server_wait(it->server, 0, NULL);
        assert_int_equal(it->new_connections, i == 0 ? 3 : 1);
        if (it->server) {
            csc_server_close(it->server);
            fixture_free_server(it);
        }
    }
}

static void take_and_wait(scene *now, csc_server *server) {
    now->operation = NULL;
    csc_proxied_free(fixture_take(now->it).proxied);
    csc_server_wait(server, 0, NULL);
}

// Two proxies send their headers; the callback for the first client operates. Returns how often the
// end was reported.
static int count_ends(fixture *it, void (*operation)(scene *, csc_server *)) {
    scene now;
    int ends = 0;
    proxies_start_patiently(it, &now);
    csc_server_on_new_connection(it->server, on_new_wait, &now);
    csc_server_on_prefaces_over(it->server, count_end, &ends);
    int proxies[] = {proxies_connect(it, ""), proxies_connect(it, "")};
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).in_preface, 2);
    now.operation = operation;
    proxies_send(proxies[0], V1_HEADER, V1_HEADER_SIZE);
    proxies_send(proxies[1], V1_HEADER, V1_HEADER_SIZE);
    fixture_run_ready(it);
    assert_null(now.operation);
    assert_int_equal(fixture_statistics(it).in_preface, 0);
    csc_server_close(it->server);
    return ends;
}

static void close_once(scene *now, csc_server *server) {
    now->operation = NULL;
    csc_server_close(server);
}

static void their_end_is_reported_once_and_not_by_closing(void **state) {
    fixture *it = *state;
    assert_int_equal(count_ends(it, take_and_wait), 1);
    assert_int_equal(count_ends(it, close_once), 0);
    assert_int_equal(count_ends(it, wait_within), 1);
}

static void their_end_comes_with_the_last_although_another_was_to_take_its_place(void **state) {
    fixture *it = *state;
    scene now;
    int ends = 0;
    if (!fault_counts_allocations()) {
        skip();
    }
    csc_server_set_max_prefaces(it->server, 1);
    proxies_start_patiently(it, &now);
    csc_server_on_prefaces_over(it->server, count_end, &ends);
    proxies_connect(it, "");
    fixture_run_ready(it);
    proxies_connect(it, "");
    fault_fail_allocation(1, 1);
    fixture_run_ready(it);
    fault_clear();
    assert_int_equal(now.rejected, 2);
    assert_int_equal(ends, 1);
}

static void without_memory_a_peer_is_rejected(void **state) {
    fixture *it = *state;
    scene now;
    if (!fault_counts_allocations()) {
        skip();
    }
    proxies_start_patiently(it, &now);
    static const char *const sent[] = {"", V1_HEADER, "PROXY "};
    for (int nth = 1; nth <= 3; nth++) {
        // Its preface, the record of what it has sent, or a part of that.
        proxies_connect(it, sent[nth - 1]);
        fault_fail_allocation(1, 1);
        fixture_run_ready(it);
        fault_clear();
        assert_int_equal(now.rejected, nth);
        assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_OVERLOAD);
    }
    proxies_connect(it, "");
    fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOSPC);
    fixture_run_ready(it);
    fault_clear();
    assert_int_equal(fixture_statistics(it).shed, 4);
    assert_int_equal(fixture_statistics(it).live, 0);
}

static bool require_without_memory(csc_server *server, int nth) {
    const csc_network all = {.address = address_of("0.0.0.0", 0)};
    const csc_proxy_requirement requirement = {.networks = &all, .network_count = 1};
    fault_fail_allocation(nth, 1);
    bool is_required = csc_server_require_proxy_header(server, &requirement);
    fault_clear();
    return is_required;
}

static void without_memory_headers_are_not_required(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        skip();
    }
    int nth = 1;
    while (nth < 20 && !require_without_memory(it->server, nth)) {
        assert_int_equal(csc_server_error(it->server), CSC_ERROR_SOCKET_RESOURCE);
        nth++;
    }
    assert_in_range(nth, 4, 19);
    assert_false(require_without_memory(it->server, 1)); // what was required before still is
    scene now;
    proxies_start_patiently(it, &now);
    proxies_connect(it, "");
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).in_preface, 1);
}

static void a_wait_without_memory_fails_and_the_next_goes_on(void **state) {
    fixture *it = *state;
    scene now;
    if (!fault_counts_allocations()) {
        skip();
    }
    proxies_start_patiently(it, &now);
    int proxy = proxies_connect(it, "");
    csc_server_wait(it->server, 0, NULL);
    assert_int_equal(fixture_statistics(it).in_preface, 1);
    for (int more = 0; more < 40; more++) {
        proxies_connect(it, "");
    }
    for (int round = 0; round < 3; round++) {
        fault_fail_allocation(1, -1);
        csc_server_wait(it->server, 0, NULL);
        fault_clear();
    }
    proxies_send(proxy, V1_HEADER, V1_HEADER_SIZE);
    while (it->new_connections == 0) {
        csc_server_wait(it->server, 10, NULL);
    }
    fixture_assert_balance(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_silent_peer_is_cut_at_its_deadline),
        fact(a_shorter_time_holds_for_those_that_wait),
        fact(a_health_check_is_counted_and_not_reported),
        fact(a_peer_that_ends_in_the_middle_is_reported),
        fact(a_socket_that_is_ready_in_vain_is_given_up),
        fact(one_of_the_kind_that_there_is_more_of_makes_room_for_another),
        fact(they_fill_neither_the_queue_nor_keep_others_out),
        fact(each_counts_for_the_limit_of_connections),
        fact(closing_ends_them_and_finishing_lets_them_go_on),
        fact(closing_frees_what_a_proxy_said_of_the_pending_ones),
        fact(a_callback_may_close_or_free_the_server),
        fact(a_wait_reads_headers_and_keeps_deadlines),
        fact_without_base(a_wait_reads_headers_and_keeps_deadlines),
        fact(a_wait_goes_on_for_them_when_the_server_has_finished),
        fact_without_base(a_wait_goes_on_for_them_when_the_server_has_finished),
        fact(a_callback_of_a_wait_may_wait_and_close),
        fact_without_base(a_callback_of_a_wait_may_wait_and_close),
        fact(their_end_is_reported_once_and_not_by_closing),
        fact(their_end_comes_with_the_last_although_another_was_to_take_its_place),
        fact(without_memory_a_peer_is_rejected),
        fact(without_memory_headers_are_not_required),
        fact_without_base(a_wait_without_memory_fails_and_the_next_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
