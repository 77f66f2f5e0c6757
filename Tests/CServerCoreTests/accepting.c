// SPDX-License-Identifier: Apache-2.0

// Accepting through the loop: batches, limits, pauses, and what an accepted connection is like.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_connection_arrives_with_its_peers_address(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    int client = fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
    csc_connection connection = fixture_take(it);

    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address expected;
    assert_int_equal(getsockname(client, (struct sockaddr *)&name, &length), 0);
    assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &expected));
    assert_memory_equal(&connection.peer, &expected, sizeof expected);
    assert_false(csc_server_has_pending(it->server));
}

static void an_accepted_connection_is_non_blocking_and_close_on_exec(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
    int descriptor = fixture_take(it).descriptor;
    assert_true(is_non_blocking(descriptor));
    assert_true(is_close_on_exec(descriptor));
    int keep_alive = -1;
    int in_line = -1;
    socklen_t length = sizeof keep_alive;
    getsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &keep_alive, &length);
    getsockopt(descriptor, SOL_SOCKET, SO_OOBINLINE, &in_line, &length);
    assert_int_equal(keep_alive, 0);
    assert_int_equal(in_line, 1);
}

static void reset(fixture *it, int client) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    fixture_close(it, client);
}

static void a_peer_that_has_reset_is_delivered_with_its_address(void **state) {
    fixture *it = *state;
    char byte = 'x';
    fixture_listen(it);
    fixture_watch(it);
    int client = fixture_connect(it);
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    assert_int_equal(getsockname(client, (struct sockaddr *)&name, &length), 0);
    assert_int_equal(send(client, &byte, 1, MSG_NOSIGNAL), 1);
    reset(it, client);

    fixture_run_until(it, &it->new_connections, 1);
    csc_connection connection = fixture_take(it);
    assert_int_equal(getpeername(connection.descriptor, (struct sockaddr *)&name, &length), -1);
    csc_address expected = address_of("127.0.0.1", connection.peer.port);
    assert_memory_equal(&connection.peer, &expected, sizeof expected);
    assert_int_equal(connection.peer.port, ntohs(name.sin_port));
    assert_int_equal(fixture_statistics(it).peer_errors, 0);
}

static void a_peer_that_has_gone_leaves_its_data(void **state) {
    fixture *it = *state;
    char text[8] = "";
    fixture_listen(it);
    fixture_watch(it);
    int client = fixture_connect(it);
    assert_int_equal(send(client, "bye", 3, MSG_NOSIGNAL), 3);
    fixture_close(it, client);
    fixture_run_until(it, &it->new_connections, 1);
    int descriptor = fixture_take(it).descriptor;
    assert_int_equal(recv(descriptor, text, sizeof text, 0), 3);
    assert_string_equal(text, "bye");
    assert_int_equal(recv(descriptor, text, sizeof text, 0), 0);
}

// An event that is always ready counts the loop's turns; between two of them a batch at most.
typedef struct turn_probe {
    fixture *it;
    uint64_t accepted;
    uint64_t largest_batch;
} turn_probe;

static void on_turn(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor;
    (void)events;
    turn_probe *probe = context;
    uint64_t accepted = fixture_statistics(probe->it).accepted;
    uint64_t batch = accepted - probe->accepted;
    probe->largest_batch = batch > probe->largest_batch ? batch : probe->largest_batch;
    probe->accepted = accepted;
}

static uint64_t largest_batch(fixture *it, int clients) {
    turn_probe probe = {.it = it, .accepted = fixture_statistics(it).accepted};
    int ready = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    struct event *event = event_new(it->base, ready, EV_READ | EV_PERSIST, on_turn, &probe);
    event_add(event, NULL);
    fixture_connect_many(it, clients);
    fixture_run_until(it, &it->new_connections, clients);
    on_turn(-1, 0, &probe);
    event_free(event);
    close(ready);
    fixture_take_all(it);
    it->new_connections = 0;
    return probe.largest_batch;
}

static void one_turn_of_the_loop_accepts_a_batch_at_most(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 1000);
    fixture_listen(it);
    fixture_watch(it);
    assert_int_equal(largest_batch(it, 300), 64);
    csc_server_set_accept_batch(it->server, 5);
    assert_int_equal(largest_batch(it, 100), 5);
    csc_server_set_accept_batch(it->server, 1);
    assert_int_equal(largest_batch(it, 20), 1);
    csc_server_set_accept_batch(it->server, 200);
    assert_in_range(largest_batch(it, 300), 100, 200);
}

static void the_pending_limit_is_never_crossed(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 40);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 30);
    assert_int_equal(fixture_statistics(it).accepted, 30);
    assert_int_equal(fixture_statistics(it).accept_queue, 10);

    // Each one taken lets one more in, on the loop's next turn.
    for (unsigned taken = 1; taken <= 10; taken++) {
        fixture_take(it);
        assert_int_equal(fixture_statistics(it).accepted, 29 + taken);
        fixture_run_ready(it);
        assert_int_equal(fixture_statistics(it).pending, 30);
        assert_int_equal(fixture_statistics(it).accepted, 30 + taken);
    }
    assert_int_equal(fixture_take_all(it), 30);
}

static void at_the_limit_the_loop_sleeps(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 1);
    fixture_listen(it);
    fixture_connect_many(it, 3);
    fixture_run_ready(it);
    fault_reset_counts();
    fixture_run_for(it, 50);
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
    assert_in_range(fault_calls(FAULT_EPOLL_WAIT), 1, 4);
}

static void limit_zero_or_less_accepts_nothing(void **state) {
    fixture *it = *state;
    static const int limits[] = {0, -1, -2147483647 - 1};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        csc_server_set_max_pending(it->server, limits[i]);
        fixture_listen(it);
        fixture_connect_many(it, 3);
        fixture_run_for(it, 20);
        assert_int_equal(fixture_statistics(it).accept_queue, 3);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
        csc_server_close(it->server);
    }
}

static void raising_the_limit_resumes(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 0);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    csc_server_set_max_pending(it->server, 2);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 2);
    csc_server_set_max_pending(it->server, 100);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 5);
    fixture_take_all(it);
}

static void lowering_the_limit_below_what_is_pending_keeps_it(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    csc_server_set_max_pending(it->server, 2);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 5);
    for (int i = 0; i < 3; i++) {
        fixture_take(it);
        fixture_run_ready(it);
    }
    assert_int_equal(fixture_statistics(it).accepted, 5);
    fixture_take(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).accepted, 6);
}

// Every order of the calls that can stop and restart accepting ends with it running.
static void a_smaller_batch_does_not_lose_the_resumption(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 40);
    fixture_run_ready(it);
    csc_server_set_accept_batch(it->server, 10);
    csc_server_set_max_pending(it->server, 100);
    fixture_run_until(it, &it->new_connections, 40);

    csc_server_pause(it->server);
    csc_server_set_accept_batch(it->server, 1);
    csc_server_resume(it->server);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 41);
}

static void resuming_is_never_lost_whatever_the_order(void **state) {
    fixture *it = *state;
    srandom(1);
    fixture_listen(it);
    fixture_watch(it);
    for (int round = 0; round < 300; round++) {
        int before = it->new_connections;
        fixture_connect_many(it, 3);
        for (int step = 0; step < 8; step++) {
            switch (random() % 8) {
            case 0:
                csc_server_pause(it->server);
                break;
            case 1:
                csc_server_resume(it->server);
                break;
            case 2:
                csc_server_set_max_pending(it->server, (int)(random() % 4));
                break;
            case 3:
                csc_server_set_accept_batch(it->server, (int)(random() % 4));
                break;
            case 4:
                fixture_run_ready(it);
                break;
            case 5:
                csc_server_wait(it->server, 0, NULL);
                break;
            case 6:
                fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
                break;
            default:
                if (csc_server_has_pending(it->server)) {
                    fixture_close(it, fixture_take(it).descriptor);
                }
                break;
            }
        }
        fault_clear();
        csc_server_resume(it->server);
        csc_server_set_max_pending(it->server, 100);
        fixture_run_until(it, &it->new_connections, before + 3);
        fixture_assert_balance(it);
        fixture_take_all(it);
        while (it->owned_count > 0) {
            fixture_close(it, it->owned[0]);
        }
    }
}

static void a_pause_stops_accepting_and_resume_goes_on(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    csc_server_pause(it->server);
    csc_server_pause(it->server);
    fixture_connect_many(it, 3);
    fixture_run_for(it, 20);
    assert_int_equal(it->new_connections, 0);
    assert_true(csc_server_is_listening(it->server));
    assert_int_equal(fixture_statistics(it).accept_queue, 3);
    csc_server_resume(it->server);
    fixture_run_until(it, &it->new_connections, 3);
    fixture_take_all(it);
}

static void taking_a_connection_does_not_undo_a_pause(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 2);
    fixture_run_until(it, &it->new_connections, 2);
    csc_server_pause(it->server);
    fixture_connect(it);
    fixture_take_all(it);
    csc_server_set_max_pending(it->server, 50);
    fixture_run_for(it, 20);
    assert_int_equal(it->new_connections, 2);
}

static void pause_and_resume_are_harmless_when_not_listening(void **state) {
    fixture *it = *state;
    csc_server_resume(it->server);
    csc_server_pause(it->server);
    csc_server_resume(it->server);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
}

static void a_pause_before_listening_holds(void **state) {
    fixture *it = *state;
    csc_server_pause(it->server);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect(it);
    fixture_run_for(it, 20);
    assert_int_equal(it->new_connections, 0);
    csc_server_resume(it->server);
    fixture_run_until(it, &it->new_connections, 1);
}

static void pending_close_releases_every_descriptor(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    int client = fixture_connect(it);
    fixture_connect_many(it, 19);
    fixture_run_until(it, &it->new_connections, 20);
    int kept = fixture_take(it).descriptor;
    csc_server_close(it->server);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 19);
    assert_int_equal(fixture_statistics(it).delivered, 1);
    assert_false(csc_server_has_pending(it->server));
    // The one that was taken lives on.
    assert_int_equal(send(kept, "x", 1, MSG_NOSIGNAL), 1);
    char byte = 0;
    assert_int_equal(recv(client, &byte, 1, 0), 1);
    // The others see their end.
    struct pollfd last = {.fd = it->owned[19], .events = POLLIN};
    assert_int_equal(poll(&last, 1, 10000), 1);
}

static void closing_resets_who_waits_in_the_kernels_queue(void **state) {
    fixture *it = *state;
    char byte;
    csc_server_set_max_pending(it->server, 0);
    fixture_listen(it);
    int client = fixture_connect(it);
    csc_server_close(it->server);
    assert_int_equal(recv(client, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void two_servers_share_a_loop(void **state) {
    fixture *it = *state;
    fixture other = {.base = it->base, .server = csc_server_new(it->base)};
    fixture_listen(it);
    fixture_watch(it);
    fixture_listen(&other);
    fixture_watch(&other);
    csc_server_set_max_pending(other.server, 2);
    for (int i = 0; i < 5; i++) {
        fixture_connect(it);
        csc_address address = csc_server_address(other.server);
        fixture_own(it, connect_to(&address));
    }
    fixture_run_until(it, &it->new_connections, 5);
    fixture_run_until(it, &other.new_connections, 2);
    csc_server_close(it->server);
    csc_server_set_max_pending(other.server, 10);
    fixture_run_until(it, &other.new_connections, 5);
    fixture_free_server(&other);
}

static void *serve_on_a_thread(void *result) {
    fixture it = {.base = event_base_new()};
    int served = 0;
    for (int round = 0; round < 20; round++) {
        it.server = csc_server_new(it.base);
        csc_address address = {.bytes = {127, 0, 0, 1}, .family = CSC_FAMILY_IPV4};
        if (csc_server_listen(it.server, &address)) {
            address = csc_server_address(it.server);
            int clients[10];
            for (int i = 0; i < 10; i++) {
                clients[i] = connect_to(&address);
            }
            csc_connection connection;
            while (served < round * 10 + 10) {
                event_base_loop(it.base, EVLOOP_ONCE);
                while (csc_server_next_pending(it.server, &connection)) {
                    close(connection.descriptor);
                    served++;
                }
            }
            for (int i = 0; i < 10; i++) {
                close(clients[i]);
            }
        }
        csc_server_free(it.server);
    }
    event_base_free(it.base);
    *(int *)result = served;
    return NULL;
}

static void servers_on_different_threads_are_independent(void **state) {
    (void)state;
    pthread_t threads[4];
    int served[4] = {0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, serve_on_a_thread, &served[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(served[i], 200);
    }
}

static void connections_are_queued_without_any_callback(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 1);
    fixture_watch(it);
    csc_server_on_new_connection(it->server, NULL, NULL);
    fixture_connect(it);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 2);
    assert_int_equal(it->new_connections, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_connection_arrives_with_its_peers_address),
        fact(an_accepted_connection_is_non_blocking_and_close_on_exec),
        fact(a_peer_that_has_reset_is_delivered_with_its_address),
        fact(a_peer_that_has_gone_leaves_its_data),
        fact(one_turn_of_the_loop_accepts_a_batch_at_most),
        fact(the_pending_limit_is_never_crossed),
        fact(at_the_limit_the_loop_sleeps),
        fact(limit_zero_or_less_accepts_nothing),
        fact(raising_the_limit_resumes),
        fact(lowering_the_limit_below_what_is_pending_keeps_it),
        fact(a_smaller_batch_does_not_lose_the_resumption),
        fact(resuming_is_never_lost_whatever_the_order),
        fact(a_pause_stops_accepting_and_resume_goes_on),
        fact(taking_a_connection_does_not_undo_a_pause),
        fact(pause_and_resume_are_harmless_when_not_listening),
        fact(a_pause_before_listening_holds),
        fact(pending_close_releases_every_descriptor),
        fact(closing_resets_who_waits_in_the_kernels_queue),
        fact(two_servers_share_a_loop),
        fact(servers_on_different_threads_are_independent),
        fact(connections_are_queued_without_any_callback),
    };
    return cmocka_run_group_tests_name("accepting", tests, NULL, NULL);
}
