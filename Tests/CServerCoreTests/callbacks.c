// Any call from any callback: each operation in each callback, through the loop and through a wait.
// The sanitizers judge the memory, the fixture the descriptors and the counters; what the server is
// afterwards is asserted here.

#include "fixture.h"

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum operation {
    NOTHING,
    CLOSE,
    FINISH,
    FREE,
    LISTEN,
    LISTEN_ANEW, // after close
    ADOPT,
    ADOPT_ANEW,
    WAIT,
    LIMIT_ZERO,
    LIMIT_HIGH,
    BATCH_ONE,
    PAUSE,
    RESUME,
    PAUSE_AND_RESUME,
    TAKE,
    TAKE_AND_FREE,
    ADD,
    REMOVE_CALLBACKS,
    STRICT,
    OPERATIONS
} operation;

typedef enum callback { NEW_CONNECTION, INCOMING, ACCEPT_ERROR, CALLBACKS } callback;

typedef struct scene {
    fixture *it;
    operation operation;
    callback callback;
    int operated; // the operation happens once
    int adoptable;
    bool freed;
} scene;

static void take_all(scene *now, csc_server *server) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        if (connection.descriptor >= 0) {
            fixture_own(now->it, connection.descriptor);
        }
    }
}

static bool listen_anew(csc_server *server) {
    csc_address address = address_of("127.0.0.1", 0);
    return csc_server_listen(server, &address);
}

static void operate(scene *now, csc_server *server) {
    if (now->operated++ > 0) {
        return;
    }
    csc_connection place = {.descriptor = -1};
    switch (now->operation) {
    case NOTHING:
    case OPERATIONS:
        break;
    case CLOSE:
        csc_server_close(server);
        break;
    case FINISH:
        csc_server_finish(server);
        break;
    case FREE:
        now->freed = true;
        csc_server_free(server);
        break;
    case LISTEN:
        assert_false(listen_anew(server));
        break;
    case LISTEN_ANEW:
        csc_server_close(server);
        assert_true(listen_anew(server));
        break;
    case ADOPT:
        assert_false(csc_server_adopt(server, now->adoptable));
        break;
    case ADOPT_ANEW:
        csc_server_close(server);
        assert_true(csc_server_adopt(server, now->adoptable));
        now->adoptable = -1;
        break;
    case WAIT:
        take_all(now, server);
        csc_server_wait(server, 0, NULL);
        break;
    case LIMIT_ZERO:
        csc_server_set_max_pending(server, 0);
        break;
    case LIMIT_HIGH:
        csc_server_set_max_pending(server, 1000);
        break;
    case BATCH_ONE:
        csc_server_set_accept_batch(server, 1);
        break;
    case PAUSE:
        csc_server_pause(server);
        break;
    case RESUME:
        csc_server_resume(server);
        break;
    case PAUSE_AND_RESUME:
        csc_server_pause(server);
        csc_server_resume(server);
        break;
    case TAKE:
        take_all(now, server);
        break;
    case TAKE_AND_FREE:
        take_all(now, server);
        now->freed = true;
        csc_server_free(server);
        break;
    case ADD:
        for (int i = 0; i < 100; i++) {
            assert_true(csc_server_add_pending(server, &place));
        }
        break;
    case REMOVE_CALLBACKS:
        csc_server_on_new_connection(server, NULL, NULL);
        csc_server_on_incoming_connection(server, NULL, NULL);
        csc_server_on_accept_error(server, NULL, NULL);
        break;
    case STRICT:
        csc_server_set_pauses_on_error(server, true);
        break;
    }
}

static void on_new_connection(csc_server *server, void *context) {
    scene *now = context;
    now->it->new_connections++;
    if (now->callback == NEW_CONNECTION) {
        operate(now, server);
    }
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    scene *now = context;
    fixture_own(now->it, connection->descriptor);
    operate(now, server);
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    scene *now = context;
    assert_int_equal(error, CSC_ERROR_SOCKET_RESOURCE);
    now->it->accept_errors++;
    if (now->callback == ACCEPT_ERROR) {
        operate(now, server);
    }
}

static void play(fixture *it, callback callback, operation operation, bool wait) {
    enum { CLIENTS = 8 };
    scene now = {.it = it, .callback = callback, .operation = operation};
    it->new_connections = 0;
    it->accept_errors = 0;
    it->server = csc_server_new(it->base);
    csc_server_set_max_pending(it->server, 5);
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    csc_server_on_accept_error(it->server, on_accept_error, &now);
    if (callback == INCOMING) {
        csc_server_on_incoming_connection(it->server, on_incoming, &now);
    }
    fixture_listen(it);
    fixture_connect_many(it, CLIENTS);
    now.adoptable = raw_listener("127.0.0.1", 5);
    if (callback == ACCEPT_ERROR) {
        fault_fail(FAULT_ACCEPT4, 3, 1, EMFILE);
    }

    for (int turn = 0; turn < 6 && !now.freed; turn++) {
        if (wait) {
            csc_server_wait(it->server, 0, NULL);
        } else {
            fixture_run_ready(it);
        }
        fault_advance_clock(1000);
    }
    assert_true(now.operated >= 1);
    fault_clear();

    if (now.freed) {
        it->server = NULL;
    } else {
        bool listening = csc_server_is_listening(it->server);
        assert_int_equal(listening, operation != CLOSE && operation != FINISH);
        fixture_assert_balance(it);
        // Whatever was stopped goes on when it is asked to, and everybody is served once.
        take_all(&now, it->server);
        csc_server_on_new_connection(it->server, NULL, NULL);
        csc_server_on_incoming_connection(it->server, NULL, NULL);
        csc_server_set_max_pending(it->server, 1000);
        csc_server_resume(it->server);
        if (listening) {
            bool anew = operation == LISTEN_ANEW || operation == ADOPT_ANEW;
            uint64_t before = fixture_statistics(it).accepted;
            fixture_connect(it);
            fixture_run_ready(it);
            if (anew) {
                assert_int_equal(fixture_statistics(it).accepted, before + 1);
            } else {
                assert_int_equal(fixture_statistics(it).accepted, CLIENTS + 1);
            }
        }
        take_all(&now, it->server);
        fixture_free_server(it);
    }
    if (now.adoptable >= 0) {
        assert_int_equal(close(now.adoptable), 0);
    }
    while (it->owned_count > 0) {
        fixture_close(it, it->owned[0]);
    }
}

static void play_all(fixture *it, callback callback) {
    fixture_free_server(it);
    for (int operation = NOTHING; operation < OPERATIONS; operation++) {
        for (int wait = 0; wait < 2; wait++) {
            play(it, callback, (enum operation)operation, wait);
        }
    }
}

static void any_call_is_allowed_in_the_new_connection_callback(void **state) {
    play_all(*state, NEW_CONNECTION);
}

static void any_call_is_allowed_in_the_incoming_callback(void **state) {
    play_all(*state, INCOMING);
}

static void any_call_is_allowed_in_the_accept_error_callback(void **state) {
    play_all(*state, ACCEPT_ERROR);
}

static void a_connection_taken_before_the_server_is_freed_stays_open(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operation = TAKE_AND_FREE};
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
    scene now = {.it = it, .operation = CLOSE};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    fixture_connect_many(it, 5);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).accepted, 1);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);
}

static void a_server_that_listens_anew_in_a_callback_goes_on_there(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operation = LISTEN_ANEW};
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
    scene now = {.it = it, .operation = FREE};
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    fixture_listen(it);
    fixture_connect_many(it, 5);
    csc_server_finish(it->server);
    assert_true(now.freed);
    it->server = NULL;
    assert_int_equal(it->new_connections, 1);
}

static void a_server_that_listens_anew_while_it_finishes_goes_on_there(void **state) {
    fixture *it = *state;
    scene now = {.it = it, .operation = LISTEN_ANEW};
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
    scene now = {.it = it, .operation = NOTHING};
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
        fact(any_call_is_allowed_in_the_new_connection_callback),
        fact(any_call_is_allowed_in_the_incoming_callback),
        fact(any_call_is_allowed_in_the_accept_error_callback),
        fact(a_connection_taken_before_the_server_is_freed_stays_open),
        fact(after_close_in_a_callback_nothing_more_is_accepted),
        fact(a_server_that_listens_anew_in_a_callback_goes_on_there),
        fact(a_server_freed_while_it_finishes_is_gone_afterwards),
        fact(a_server_that_listens_anew_while_it_finishes_goes_on_there),
        fact(taking_in_the_callback_keeps_the_limit_out_of_the_way),
        fact(one_server_frees_another_of_the_same_loop),
        fact(a_freed_server_refuses_until_its_callback_returns),
    };
    return cmocka_run_group_tests_name("callbacks", tests, NULL, NULL);
}
