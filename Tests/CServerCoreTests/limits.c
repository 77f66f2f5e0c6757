// Who is let in: the limit of live connections in its three ways, and the admission callback with
// everything that it may do.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// What the callbacks have seen, and are to do.
typedef struct scene {
    fixture *it;
    csc_admission admission;
    int asked;
    int rejected;
    csc_rejection rejection;                                  // the last one
    csc_address peer;                                         // that was asked for last
    void (*operation)(struct scene *now, csc_server *server); // once
} scene;

static void operate(scene *now, csc_server *server) {
    void (*operation)(scene *, csc_server *) = now->operation;
    now->operation = NULL;
    if (operation) {
        operation(now, server);
    }
}

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    scene *now = context;
    now->asked++;
    now->peer = *peer;
    operate(now, server);
    return now->admission;
}

static void on_rejected(csc_server *server, const csc_rejection *rejection, void *context) {
    scene *now = context;
    now->rejected++;
    now->rejection = *rejection;
    if (now->admission != CSC_ADMIT) {
        operate(now, server);
    }
}

static void start(fixture *it, scene *now) {
    *now = (scene){.it = it};
    fixture_listen(it);
    fixture_watch(it);
    csc_server_on_rejected(it->server, on_rejected, now);
}

static void ask(fixture *it, scene *now, csc_admission admission) {
    now->admission = admission;
    csc_server_on_admission(it->server, on_admission, now);
}

static csc_address local_address_of(int client) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address address;
    assert_int_equal(getsockname(client, (struct sockaddr *)&name, &length), 0);
    assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &address));
    return address;
}

static void assert_rejected(fixture *it, const scene *now, int client,
                            csc_rejection_reason reason) {
    csc_address peer = local_address_of(client);
    csc_address local = csc_server_address(it->server);
    assert_int_equal(now->rejection.reason, reason);
    assert_memory_equal(&now->rejection.peer, &peer, sizeof peer);
    assert_memory_equal(&now->rejection.local, &local, sizeof local);
}

static void assert_closed(int client) {
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), 0);
}

static void assert_reset(int client) {
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void end_one(fixture *it) {
    fixture_close(it, fixture_take(it).descriptor);
    csc_server_connection_ended(it->server);
}

// MARK: the limit

static void clients_beyond_the_limit_wait_in_the_kernels_queue(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    start(it, &now);
    fault_stop_clock();
    fixture_connect_many(it, 6);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    assert_int_equal(fixture_statistics(it).live, 3);
    assert_int_equal(fixture_statistics(it).kernel_queue, 3);

    // Taking one makes no room; its end does, without a timer.
    int taken = fixture_take(it).descriptor;
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    fixture_close(it, taken);
    csc_server_connection_ended(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 4);
    assert_int_equal(fixture_statistics(it).live, 3);

    fault_advance_clock(7);
    assert_int_equal(fixture_statistics(it).pauses, 2);
    assert_int_equal(fixture_statistics(it).paused_milliseconds, 7);
    assert_int_equal(fixture_statistics(it).error_episodes, 0);
    assert_int_equal(now.rejected, 0);
    assert_int_equal(it->accept_errors, 0);

    csc_server_set_max_connections(it->server, 4, CSC_EXCESS_WAIT);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 5);
    csc_server_set_max_connections(it->server, -7, CSC_EXCESS_WAIT);
    assert_int_equal(csc_server_max_connections(it->server), -1);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 6);
    assert_int_equal(fixture_take_all(it), 5);
}

static void clients_beyond_the_limit_are_closed_or_reset(void **state) {
    fixture *it = *state;
    scene now;
    for (int excess = CSC_EXCESS_CLOSE; excess <= CSC_EXCESS_RESET; excess++) {
        csc_server_set_max_connections(it->server, 2, (csc_excess)excess);
        assert_int_equal(csc_server_max_connections(it->server), 2);
        assert_int_equal(csc_server_excess(it->server), excess);
        start(it, &now);
        it->new_connections = 0;
        uint64_t before = fixture_statistics(it).rejected_by_limit;
        fixture_connect_many(it, 3);
        int last = fixture_connect(it);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 2);
        assert_int_equal(now.rejected, 2);
        assert_int_equal(fixture_statistics(it).rejected_by_limit - before, 2);
        assert_rejected(it, &now, last, CSC_REJECTED_BY_LIMIT);
        excess == CSC_EXCESS_CLOSE ? assert_closed(last) : assert_reset(last);

        // Where one ended there is room for one.
        end_one(it);
        fixture_connect_many(it, 2);
        fixture_run_ready(it);
        assert_int_equal(it->new_connections, 3);
        assert_int_equal(now.rejected, 3);
        assert_int_equal(fixture_statistics(it).pauses, 0);
        end_one(it);
        end_one(it);
        csc_server_close(it->server);
    }
}

static void a_limit_of_nothing_admits_nobody(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 0, CSC_EXCESS_WAIT);
    start(it, &now);
    int client = fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 0);
    csc_server_set_max_connections(it->server, 0, CSC_EXCESS_CLOSE);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1);
    assert_closed(client);
}

static void a_wait_keeps_the_limit_too(void **state) {
    fixture *it = *state;
    scene now;
    bool timed_out = false;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    start(it, &now);
    fixture_connect_many(it, 3);
    assert_true(csc_server_wait(it->server, 0, NULL));
    int taken = fixture_take(it).descriptor;
    assert_false(csc_server_wait(it->server, 20, &timed_out));
    assert_true(timed_out);
    fixture_close(it, taken);
    csc_server_connection_ended(it->server);
    assert_true(csc_server_wait(it->server, 0, NULL));
    assert_int_equal(it->new_connections, 2);

    // Who is turned away does not end the wait.
    fixture_take(it);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_CLOSE);
    assert_false(csc_server_wait(it->server, 20, &timed_out));
    assert_true(timed_out);
    assert_int_equal(now.rejected, 1);
}

static void finishing_takes_clients_beyond_the_limit_that_wait(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    start(it, &now);
    fixture_connect_many(it, 3);
    csc_server_finish(it->server);
    assert_int_equal(fixture_take_all(it), 3);
}

static void what_a_close_discards_is_live_no_more(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_max_connections(it->server, 3, CSC_EXCESS_WAIT);
    start(it, &now);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    fixture_take(it);
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).live, 1);
    for (int i = 0; i < 3; i++) {
        csc_server_connection_ended(it->server); // oftener than there are
        assert_int_equal(fixture_statistics(it).live, 0);
    }
}

static void an_added_connection_is_live_as_well(void **state) {
    fixture *it = *state;
    scene now;
    csc_connection place = {.descriptor = -1};
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    start(it, &now);
    assert_true(csc_server_add_pending(it->server, &place));
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 0);
    assert_true(csc_server_next_pending(it->server, &place));
    csc_server_connection_ended(it->server);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);

    // A place is ended by whoever holds what it stands for.
    assert_true(csc_server_add_pending(it->server, &place));
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).live, 1);
    csc_server_connection_ended(it->server);
    assert_int_equal(fixture_statistics(it).live, 0);
}

// MARK: admission

static void a_connection_is_admitted_refused_or_reset(void **state) {
    fixture *it = *state;
    scene now;
    start(it, &now);
    for (int admission = CSC_ADMIT; admission <= CSC_RESET; admission++) {
        ask(it, &now, (csc_admission)admission);
        int client = fixture_connect(it);
        csc_address peer = local_address_of(client);
        fixture_run_ready(it);
        assert_int_equal(now.asked, admission + 1);
        assert_memory_equal(&now.peer, &peer, sizeof peer);
        assert_int_equal(now.rejected, admission);
        if (admission != CSC_ADMIT) {
            assert_rejected(it, &now, client, CSC_REJECTED_BY_ADMISSION);
            admission == CSC_REFUSE ? assert_closed(client) : assert_reset(client);
        }
    }
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).live, 1);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 2);

    // Nobody asked, everybody admitted; nobody told, all the same counted.
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
    start(it, &now);
    ask(it, &now, CSC_REFUSE);
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
    start(it, &now);
    ask(it, &now, CSC_ADMIT);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    assert_int_equal(now.asked, 1);
    assert_int_equal(fixture_statistics(it).rejected_by_limit, 2);
}

static void a_flood_of_refused_clients_does_not_hold_the_loop(void **state) {
    fixture *it = *state;
    scene now;
    csc_server_set_accept_batch(it->server, 4);
    start(it, &now);
    ask(it, &now, CSC_REFUSE);
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
    start(it, &now);
    ask(it, &now, CSC_REFUSE);
    fixture_connect_many(it, 10);
    assert_false(csc_server_wait(it->server, 0, &timed_out));
    assert_true(timed_out);
    assert_int_equal(now.rejected, 4);
}

// MARK: calls from the callbacks

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
    start(it, now);
    ask(it, now, admission);
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
    play(it, &now, CSC_REFUSE, close_it);
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
        fact(clients_beyond_the_limit_wait_in_the_kernels_queue),
        fact(clients_beyond_the_limit_are_closed_or_reset),
        fact(a_limit_of_nothing_admits_nobody),
        fact(a_wait_keeps_the_limit_too),
        fact_without_base(a_wait_keeps_the_limit_too),
        fact(finishing_takes_clients_beyond_the_limit_that_wait),
        fact(what_a_close_discards_is_live_no_more),
        fact(an_added_connection_is_live_as_well),
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
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
