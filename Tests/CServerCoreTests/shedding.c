// SPDX-License-Identifier: Apache-2.0

// CSC_OVERLOAD_SHED: clients are rejected when descriptors run out.

#include "failing_accept.h"
#include "running_out.h"

#include <event2/event.h>
#include <unistd.h>

typedef struct shedding {
    fixture *it;
    int rejected;
    csc_address server;
    bool closes;
} shedding;

static void on_shed(csc_server *server, const csc_rejection *rejection, void *context) {
    shedding *now = context;
    now->rejected++;
    assert_int_equal(rejection->reason, CSC_REJECTED_BY_OVERLOAD);
    assert_int_equal(rejection->peer.family, CSC_FAMILY_IPV4);
    assert_memory_equal(&rejection->local, &now->server, sizeof now->server);
    if (now->closes) {
        csc_server_close(server);
    }
}

static void start_shedding(fixture *it, shedding *now, int reserve) {
    *now = (shedding){.it = it};
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    csc_server_on_rejected(it->server, on_shed, now);
    run_out(it, reserve);
    now->server = csc_server_address(it->server);
}

static void clients_are_shed_when_descriptors_run_out(void **state) {
    fixture *it = *state;
    for (int reserve = 0; reserve <= 5; reserve += 5) {
        shedding now;
        uint64_t before = fixture_statistics(it).shed;
        it->new_connections = 0;
        it->accept_errors = 0;
        start_shedding(it, &now, reserve);
        int last_client = it->owned[it->owned_count - 1];
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, FREE - reserve);
        assert_int_equal(now.rejected, CLIENTS - FREE + reserve);
        assert_int_equal(fixture_statistics(it).shed - before, now.rejected);
        assert_int_equal(it->accept_errors, 1);
        assert_accept_error(it, EMFILE);
        char byte;
        assert_int_equal(read(last_client, &byte, 1), 0);

        // Those that were not shed are served, and so is who comes when there is room.
        end_connections(it, 1);
        fixture_connect(it);
        fixture_run_ready(it);
        fault_advance_clock(5);
        fixture_run_ready(it);
        fixture_restore_descriptors(it);
        fixture_connect(it);
        fault_advance_clock(1000);
        fixture_run_until(it, &it->new_connections, FREE - reserve + 1);
        csc_server_close(it->server);
        finish_failing(it);
    }
}

static void a_batch_at_most_is_shed_each_five_milliseconds(void **state) {
    fixture *it = *state;
    shedding now;
    csc_server_set_accept_batch(it->server, 8);
    start_shedding(it, &now, 0);
    fixture_run_ready(it);
    for (int i = 0; i < (CLIENTS - FREE) / 8; i++) {
        assert_int_equal(now.rejected, (i + 1) * 8);
        fault_advance_clock(4);
        fixture_run_ready(it);
        assert_int_equal(now.rejected, (i + 1) * 8);
        fault_advance_clock(1);
        fixture_run_ready(it);
    }
    assert_int_equal(now.rejected, CLIENTS - FREE);
    assert_int_equal(it->new_connections, FREE);
}

static void a_wait_sheds_as_well(void **state) {
    fixture *it = *state;
    shedding now;
    start_shedding(it, &now, 0);
    assert_true(csc_server_wait(it->server, 0, NULL));
    assert_int_equal(it->new_connections, FREE);
    assert_int_equal(now.rejected, CLIENTS - FREE);
}

static void only_a_lack_of_descriptors_sheds(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    for (each(errnum, resource_errors)) {
        bool sheds = *errnum == EMFILE || *errnum == ENFILE;
        uint64_t before = fixture_statistics(it).shed;
        start_failing(it);
        fail_accept(1, *errnum);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_int_equal(fixture_statistics(it).shed - before, sheds);
        finish_failing(it);
    }
}

static void without_its_spare_descriptor_a_server_waits(void **state) {
    fixture *it = *state;
    shedding now;
    start_shedding(it, &now, 0);
    fault_fail(FAULT_EVENTFD, 1, -1, EMFILE);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1); // lost with this one
    for (int i = 0; i < 10; i++) {
        fault_advance_clock(1000);
        fixture_run_ready(it);
    }
    assert_int_equal(now.rejected, 1);
    assert_int_equal(it->new_connections, FREE + 1); // with the descriptor that was the spare
    assert_in_range(fault_calls(FAULT_ACCEPT4), FREE + 1, FREE + 20);

    // It takes another as soon as there is one.
    fault_clear();
    end_connections(it, 1);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, FREE + 1);
    assert_int_equal(now.rejected, CLIENTS - FREE - 1);
}

static void the_spare_descriptor_comes_and_goes_with_the_policy(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    csc_server_set_descriptor_reserve(it->server, 0);
    int headroom = csc_server_descriptor_headroom(it->server);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    assert_int_equal(csc_server_descriptor_headroom(it->server), headroom - 1);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    assert_int_equal(csc_server_descriptor_headroom(it->server), headroom - 1);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_WAIT);
    assert_int_equal(csc_server_descriptor_headroom(it->server), headroom);
}

static void finishing_sheds_no_client_that_there_are_descriptors_for(void **state) {
    fixture *it = *state;
    shedding now;
    start_shedding(it, &now, 0);
    fixture_leave_descriptors(it, CLIENTS + 1);
    csc_server_set_descriptor_reserve(it->server, 20);
    csc_server_finish(it->server);
    assert_int_equal(it->new_connections, CLIENTS);
    assert_int_equal(now.rejected, 0);
}

static void a_server_closed_while_it_sheds_is_closed(void **state) {
    fixture *it = *state;
    shedding now;
    start_shedding(it, &now, 0);
    now.closes = true;
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1);
    assert_int_equal(it->accept_errors, 0);
    assert_false(csc_server_is_listening(it->server));
}

// What a rejected callback does to the server that sheds.
typedef struct end {
    fixture *it;
    int rejected;
    int listener; // to adopt
    enum { FREES, CLOSES, ADOPTS, FINISHES, RELEASES } does;
} end;

static void end_it(csc_server *server, const csc_rejection *rejection, void *context) {
    end *now = context;
    (void)rejection;
    assert_int_equal(now->rejected++, 0); // the others are no longer this listener's
    switch (now->does) {
    case FREES:
        csc_server_free(server);
        now->it->server = NULL;
        break;
    case CLOSES:
        csc_server_close(server);
        break;
    case ADOPTS:
        csc_server_close(server);
        csc_server_set_overload_policy(server, CSC_OVERLOAD_WAIT);
        assert_true(csc_server_adopt(server, now->listener));
        break;
    case FINISHES:
        csc_server_set_overload_policy(server, CSC_OVERLOAD_WAIT);
        csc_server_finish(server);
        break;
    case RELEASES:
        fixture_own(now->it, csc_server_release(server));
        break;
    }
}

static void a_rejected_callback_may_end_the_server_in_every_way(void **state) {
    fixture *it = *state;
    csc_server *first = it->server;
    for (unsigned does = FREES; does <= RELEASES; does++) {
        for (int by_wait = 0; by_wait < 2; by_wait++) {
            end now = {.it = it, .listener = raw_listener("127.0.0.1", 5), .does = does};
            it->server = csc_server_new(by_wait ? NULL : it->base);
            it->accept_errors = 0;
            csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
            csc_server_on_rejected(it->server, end_it, &now);
            fixture_listen(it);
            fixture_watch(it);
            fixture_connect_many(it, 5);
            fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
            if (by_wait) {
                csc_server_wait(it->server, 0, NULL);
            } else {
                fixture_run_ready(it);
            }
            fault_clear();
            assert_int_equal(now.rejected, 1);
            assert_int_equal(it->accept_errors, 0); // the listener that it was about is gone
            if (it->server) {
                assert_int_equal(csc_server_is_listening(it->server), does == ADOPTS);
                assert_int_equal(fixture_statistics(it).shed, 1);
                fixture_take_all(it);
                fixture_free_server(it);
            }
            if (does != ADOPTS) {
                close(now.listener);
            }
        }
    }
    it->server = first;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(clients_are_shed_when_descriptors_run_out),
        fact(a_batch_at_most_is_shed_each_five_milliseconds),
        fact_without_base(a_wait_sheds_as_well),
        fact(only_a_lack_of_descriptors_sheds),
        fact(without_its_spare_descriptor_a_server_waits),
        fact(the_spare_descriptor_comes_and_goes_with_the_policy),
        fact(finishing_sheds_no_client_that_there_are_descriptors_for),
        fact(a_server_closed_while_it_sheds_is_closed),
        fact(a_rejected_callback_may_end_the_server_in_every_way),
    };
    return cmocka_run_group_tests_name("shedding", tests, NULL, NULL);
}
