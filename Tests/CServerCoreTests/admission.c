// SPDX-License-Identifier: Apache-2.0

// The admission callback, with everything that it may do.

#include "guests.h"

#include <event2/event.h>

static void a_connection_is_admitted_refused_or_reset(void **state) {
    fixture *it = *state;
    scene now;
    guests_start(it, &now);
    for (int admission = CSC_ADMIT; admission <= CSC_RESET; admission++) {
        guests_ask(it, &now, (csc_admission)admission);
        int client = fixture_connect(it);
        csc_address peer = guests_local_address(client);
        fixture_run_ready(it);
        assert_int_equal(now.asked, admission + 1);
        assert_memory_equal(&now.peer, &peer, sizeof peer);
        assert_int_equal(now.rejected, admission);
        if (admission != CSC_ADMIT) {
            guests_assert_rejected(it, &now, client, CSC_REJECTED_BY_ADMISSION);
            admission == CSC_CLOSE ? guests_assert_closed(client) : guests_assert_reset(client);
        }
    }
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).live, 1);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 2);

    // Without callbacks every client is admitted, and rejections are counted all the same.
    csc_server_on_rejected(it->server, NULL, NULL);
    fault_reset_counts();
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 3);
    assert_int_equal(now.rejected, 2);
    csc_server_on_admission(it->server, NULL, NULL);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 2);
}

static void without_a_local_address_a_rejection_has_none(void **state) {
    fixture *it = *state;
    scene now;
    guests_start(it, &now);
    guests_ask(it, &now, CSC_CLOSE);
    fixture_connect(it);
    fault_fail(FAULT_GETSOCKNAME, 1, 1, ENOBUFS);
    fixture_run_ready(it);
    assert_int_equal(now.rejection.local.family, CSC_FAMILY_NONE);
    assert_int_equal(now.rejection.peer.family, CSC_FAMILY_IPV4);
}

static void the_limit_comes_before_the_question(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_CLOSE);
    guests_start(it, &now);
    guests_ask(it, &now, CSC_ADMIT);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    assert_int_equal(now.asked, 1);
    assert_int_equal(fixture_statistics(it).rejected_by_limit, 2);
}

static void a_flood_of_refused_clients_does_not_hold_the_loop(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_accept_batch(it->server, 4);
    guests_start(it, &now);
    guests_ask(it, &now, CSC_CLOSE);
    fixture_connect_many(it, 10);
    event_base_loop(it->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(now.rejected, 4);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 10);
}

static void nor_does_it_hold_a_wait(void **state) {
    fixture *it = *state;
    scene now;
    bool timed_out = false;
    csc_server_set_accept_batch(it->server, 4);
    guests_start(it, &now);
    guests_ask(it, &now, CSC_CLOSE);
    fixture_connect_many(it, 10);
    assert_false(csc_server_wait(it->server, 0, &timed_out));
    assert_true(timed_out);
    assert_int_equal(now.rejected, 4);
}

static void close_it(scene *now, csc_server *server) {
    (void)now;
    csc_server_close(server);
}

static void listen_anew(scene *now, csc_server *server) {
    csc_server_close(server);
    fixture_listen(now->it);
}

static void free_it(scene *now, csc_server *server) {
    now->it->server = NULL;
    csc_server_free(server);
}

static void finish_it(scene *now, csc_server *server) {
    (void)now;
    csc_server_finish(server);
}

static void wait_for_more(scene *now, csc_server *server) {
    (void)now;
    csc_server_wait(server, 0, NULL);
}

static void fill_the_queue(scene *now, csc_server *server) {
    csc_connection place = {.descriptor = -1};
    (void)now;
    for (int i = 0; i < 32; i++) { // as many as there is room for
        assert_true(csc_server_add_pending(server, &place));
    }
    fault_fail_allocation(1, -1);
}

static void play(fixture *it, scene *now, csc_admission admission,
                 void (*operation)(scene *, csc_server *)) {
    it->server = it->server ? it->server : csc_server_new(it->base);
    guests_start(it, now);
    guests_ask(it, now, admission);
    now->operation = operation;
    it->new_connections = 0;
    fixture_connect_many(it, 4);
    if (it->base) {
        fixture_run_ready(it);
    } else {
        csc_server_wait(it->server, 0, NULL);
    }
    if (it->server) {
        fixture_assert_balance(it);
    }
}

static void a_server_closed_by_a_callback_discards_whom_it_admits(void **state) {
    fixture *it = *state;
    scene now;
    play(it, &now, CSC_ADMIT, close_it);
    assert_int_equal(it->new_connections, 0);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);
    assert_int_equal(fixture_statistics(it).live, 0);
    play(it, &now, CSC_CLOSE, close_it);
    assert_int_equal(now.rejected, 1);
    assert_false(csc_server_is_listening(it->server));

    play(it, &now, CSC_ADMIT, listen_anew);
    assert_int_equal(it->new_connections, 0);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 2);
    fixture_connect(it);
    if (it->base) {
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 1);
    }
    csc_server_close(it->server);
}

static void a_server_freed_by_a_callback_is_gone(void **state) {
    fixture *it = *state;
    scene now;
    for (int admission = CSC_ADMIT; admission <= CSC_RESET; admission++) {
        play(it, &now, (csc_admission)admission, free_it);
        assert_null(it->server);
        assert_int_equal(it->new_connections, 0);
        assert_int_equal(now.asked, 1);
    }
}

static void a_server_finished_by_a_callback_serves_whom_it_admits(void **state) {
    fixture *it = *state;
    scene now;
    play(it, &now, CSC_ADMIT, finish_it);
    assert_int_equal(it->new_connections, 4);
    assert_int_equal(fixture_take_all(it), 4);
    assert_false(csc_server_is_listening(it->server));
}

static void a_callback_may_wait_for_more(void **state) {
    fixture *it = *state;
    scene now;
    play(it, &now, CSC_ADMIT, wait_for_more);
    assert_int_equal(it->new_connections, 4);
    assert_int_equal(now.asked, 4);
}

static void without_memory_to_queue_it_an_admitted_connection_is_shed(void **state) {
    fixture *it = *state;
    scene now;
    if (!fault_counts_allocations()) {
        skip();
    }
    play(it, &now, CSC_ADMIT, fill_the_queue);
    fault_clear();
    assert_int_equal(fixture_statistics(it).shed, 1);
    assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_OVERLOAD);
    csc_server_close(it->server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_connection_is_admitted_refused_or_reset),
        fact(without_a_local_address_a_rejection_has_none),
        fact(the_limit_comes_before_the_question),
        fact(a_flood_of_refused_clients_does_not_hold_the_loop),
        fact_without_base(nor_does_it_hold_a_wait),
        fact(a_server_closed_by_a_callback_discards_whom_it_admits),
        fact_without_base(a_server_closed_by_a_callback_discards_whom_it_admits),
        fact(a_server_freed_by_a_callback_is_gone),
        fact_without_base(a_server_freed_by_a_callback_is_gone),
        fact(a_server_finished_by_a_callback_serves_whom_it_admits),
        fact(a_callback_may_wait_for_more),
        fact(without_memory_to_queue_it_an_admitted_connection_is_shed),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
