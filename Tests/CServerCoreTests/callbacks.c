// SPDX-License-Identifier: Apache-2.0

// Calls from callbacks: what their clients and other servers see of it. That each call is allowed
// in each callback is reentrancy.c's.

#include "fixture.h"

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

// What a test does in its first callback.
typedef struct scene {
    fixture *it;
    void (*operate)(struct scene *now, csc_server *server);
    bool operated;
    bool freed;
} scene;

static void take_all(scene *now, csc_server *server) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        fixture_own(now->it, connection.descriptor);
    }
}

static void nothing(scene *now, csc_server *server) {
    (void)now;
    (void)server;
}

static void close_it(scene *now, csc_server *server) {
    (void)now;
    csc_server_close(server);
}

static void free_it(scene *now, csc_server *server) {
    now->freed = true;
    csc_server_free(server);
}

static void take_and_free(scene *now, csc_server *server) {
    take_all(now, server);
    free_it(now, server);
}

static void listen_anew(scene *now, csc_server *server) {
    (void)now;
    csc_address address = address_of("127.0.0.1", 0);
    csc_server_close(server);
    assert_true(csc_server_listen(server, &address));
}

static void on_new_connection(csc_server *server, void *context) {
    scene *now = context;
    now->it->new_connections++;
    if (!now->operated) {
        now->operated = true;
        now->operate(now, server);
    }
}

static void a_connection_taken_before_the_server_is_freed_stays_open(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operate = take_and_free};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    int client = fixture_connect(it);
    fixture_run_ready(it);
    assert_true(now.freed);
    it->server = NULL;
    char byte = 'x';
    assert_int_equal(send(it->owned[1], &byte, 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(client, &byte, 1, 0), 1);
}

static void after_close_in_a_callback_nothing_more_is_accepted(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operate = close_it};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).accepted, 1);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);
}

static void a_server_that_listens_again_in_a_callback_goes_on_there(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operate = listen_anew};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    uint16_t old_port = csc_server_port(it->server);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    assert_int_not_equal(csc_server_port(it->server), old_port);
    fixture_connect_many(it, 2);
    fixture_run_until(it, &it->new_connections, 3);
}

static void a_server_freed_while_it_finishes_is_gone_afterwards(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operate = free_it};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    fixture_connect_many(it, 5);
    csc_server_finish(it->server);
    assert_true(now.freed);
    it->server = NULL;
    assert_int_equal(it->new_connections, 1);
}

static void a_server_that_listens_again_while_it_finishes_goes_on_there(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operate = listen_anew};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    fixture_connect_many(it, 5);
    csc_server_finish(it->server);
    assert_int_equal(it->new_connections, 1);
    assert_true(csc_server_is_listening(it->server));
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 2);
}

static void taking_in_the_callback_keeps_the_limit_out_of_the_way(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operate = nothing};
    csc_server_set_max_pending(it->server, 1);
    fixture_listen(it);
    fixture_connect_many(it, 50);
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    while (it->new_connections < 50) {
        fixture_run_ready(it);
        take_all(&now, it->server);
    }
    assert_int_equal(fixture_statistics(it).delivered, 50);
}

typedef struct pair {
    fixture *it;
    csc_server *other;
} pair;

static void free_the_other(csc_server *server, void *context) {
    (void)server;
    pair *both = context;
    both->it->new_connections++;
    csc_server_free(both->other);
    both->other = NULL;
}

static void one_server_frees_another_of_the_same_loop(void **state) {
    fixture *it = *state;
    csc_address address = address_of("127.0.0.1", 0);
    pair both = {.it = it, .other = csc_server_new(it->base)};
    fixture_listen(it);
    bool listening = csc_server_listen(both.other, &address);
    address = csc_server_address(both.other);
    csc_server_on_new_connection(it->server, free_the_other, &both);
    fixture_connect(it);
    fixture_own(it, connect_to(&address)); // both are ready in the same turn
    fixture_run_until(it, &it->new_connections, 1);
    fixture_run_ready(it);
    assert_true(listening);
    assert_null(both.other);
}

static void calls_on_a_server_freed_in_its_callback_do_nothing(csc_server *server, void *context) {
    fixture *it = context;
    csc_connection connection = {.descriptor = -1};
    csc_address address = address_of("127.0.0.1", 0);
    it->new_connections++;
    csc_server_free(server);
    // The memory lives until the callback returns.
    csc_server_free(server);
    csc_server_close(server);
    assert_false(csc_server_listen(server, &address));
    assert_false(csc_server_adopt(server, 0));
    assert_false(csc_server_add_pending(server, &connection));
    assert_false(csc_server_next_pending(server, &connection));
    assert_false(csc_server_wait(server, 0, NULL));
    csc_server_set_max_pending(server, 5);
    csc_server_pause(server);
    csc_server_resume(server);
    assert_false(csc_server_is_listening(server));
}

static void a_freed_server_refuses_until_its_callback_returns(void **state) {
    fixture *it = *state;
    for (int wait = 0; wait < 2; wait++) {
        csc_server_free(it->server);
        it->server = csc_server_new(it->base);
        csc_server_on_new_connection(it->server, calls_on_a_server_freed_in_its_callback_do_nothing,
                                     it);
        fixture_listen(it);
        fixture_connect_many(it, 3);
        if (wait) {
            csc_server_wait(it->server, 10000, NULL);
        } else {
            fixture_run_until(it, &it->new_connections, 1);
        }
        it->server = NULL;
    }
    assert_int_equal(it->new_connections, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_connection_taken_before_the_server_is_freed_stays_open),
        fact(after_close_in_a_callback_nothing_more_is_accepted),
        fact(a_server_that_listens_again_in_a_callback_goes_on_there),
        fact(a_server_freed_while_it_finishes_is_gone_afterwards),
        fact(a_server_that_listens_again_while_it_finishes_goes_on_there),
        fact(taking_in_the_callback_keeps_the_limit_out_of_the_way),
        fact(one_server_frees_another_of_the_same_loop),
        fact(a_freed_server_refuses_until_its_callback_returns),
    };
    return cmocka_run_group_tests_name("callbacks", tests, NULL, NULL);
}
