// SPDX-License-Identifier: Apache-2.0

// See operations.h. An operation asserts what it must answer itself.

#include "operations.h"

#include <event2/event.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void operations_take_all(scene *now, csc_server *server) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        if (connection.descriptor >= 0) {
            fixture_own(now->it, connection.descriptor);
        }
    }
}

static bool try_to_listen(csc_server *server) {
    csc_address address = address_of(own_loopback(), 0);
    return csc_server_listen(server, &address);
}

static void nothing(scene *now, csc_server *server) {
    (void)now;
    (void)server;
}

static void close_it(scene *now, csc_server *server) {
    (void)now;
    csc_server_close(server);
    assert_false(csc_server_has_pending(server));
}

static void finish(scene *now, csc_server *server) {
    (void)now;
    csc_server_finish(server);
}

static void free_it(scene *now, csc_server *server) {
    (void)now;
    csc_server_free(server);
}

// The memory of a server freed in its callback lives until the callback returns; another's does
// not.
static void take_and_free(scene *now, csc_server *server) {
    operations_take_all(now, server);
    csc_server_free(server);
}

static void listen_in_place(scene *now, csc_server *server) {
    (void)now;
    bool listened = csc_server_is_listening(server);
    assert_int_equal(try_to_listen(server), !listened);
    assert_true(csc_server_is_listening(server));
    if (listened) {
        assert_int_equal(csc_server_error(server), CSC_ERROR_OPERATION);
    }
}

static void close_and_listen(scene *now, csc_server *server) {
    (void)now;
    csc_server_close(server);
    assert_true(try_to_listen(server));
}

// Another name each time: a socket that was released may still have the last one.
static void close_and_listen_at_path(scene *now, csc_server *server) {
    static atomic_uint names;
    char name[64];
    (void)now;
    snprintf(name, sizeof name, "@tcpserverkit/%d/%u", (int)getpid(), atomic_fetch_add(&names, 1));
    csc_server_close(server);
    assert_true(csc_server_listen_path(server, name, -1, false));
}

// Refused while the server asks whether to admit a client.
static void close_and_share(scene *now, csc_server *server) {
    (void)now;
    csc_budget *budget = csc_budget_new(-1);
    csc_server_close(server);
    csc_server_set_budget(server, budget);
    csc_budget_free(budget);
    assert_true(try_to_listen(server));
}

static void finish_and_listen(scene *now, csc_server *server) {
    csc_server_finish(server);
    // Within another finish() the rest is left to that one.
    now->does_not_listen_anew = csc_server_is_listening(server);
    if (!now->does_not_listen_anew) {
        assert_true(try_to_listen(server));
    }
}

static void adopt_in_place(scene *now, csc_server *server) {
    (void)now;
    bool listened = csc_server_is_listening(server);
    int descriptor = raw_listener(own_loopback(), 5);
    assert_int_equal(csc_server_adopt(server, descriptor), !listened);
    if (listened) {
        assert_int_equal(csc_server_error(server), CSC_ERROR_OPERATION);
        assert_int_equal(close(descriptor), 0);
    }
}

static void close_and_adopt(scene *now, csc_server *server) {
    (void)now;
    csc_server_close(server);
    assert_true(csc_server_adopt(server, raw_listener(own_loopback(), 5)));
}

static void wait_for_one(scene *now, csc_server *server) {
    (void)now;
    bool pending = csc_server_has_pending(server) && csc_server_is_listening(server);
    assert_true(csc_server_wait(server, 0, NULL) || !pending);
}

static void take_and_wait(scene *now, csc_server *server) {
    operations_take_all(now, server);
    bool listens = csc_server_is_listening(server);
    bool timed_out = false;
    assert_false(csc_server_wait(server, 0, &timed_out) && !listens);
}

static void take_one(scene *now, csc_server *server) {
    csc_connection connection;
    if (csc_server_next_pending(server, &connection) && connection.descriptor >= 0) {
        fixture_own(now->it, connection.descriptor);
    }
}

static void add_places(scene *now, csc_server *server) {
    (void)now;
    csc_connection place = {.descriptor = -1};
    for (int i = 0; i < 100; i++) {
        assert_true(csc_server_add_pending(server, &place));
    }
}

static void give_back(scene *now, csc_server *server) {
    if (!now->connection) {
        add_places(now, server);
        return;
    }
    int descriptor = now->connection->descriptor;
    for (int i = 0; i < now->it->owned_count; i++) {
        if (now->it->owned[i] == descriptor) {
            assert_true(csc_server_add_pending(server, now->connection));
            now->it->owned[i] = now->it->owned[--now->it->owned_count];
            return;
        }
    }
}

static void limit_to_zero(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_max_pending(server, 0);
}

static void limit_high(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_max_pending(server, 1000);
}

static void batch_of_one(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_accept_batch(server, 1);
}

static void backlog(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_backlog(server, 5);
    csc_server_set_expected_descriptors(server, 100);
}

static void pause_it(scene *now, csc_server *server) {
    (void)now;
    csc_server_pause(server);
}

static void resume(scene *now, csc_server *server) {
    (void)now;
    csc_server_resume(server);
}

static void pause_and_resume(scene *now, csc_server *server) {
    (void)now;
    csc_server_pause(server);
    csc_server_resume(server);
}

static void be_strict(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_overload_policy(server, CSC_OVERLOAD_STRICT);
}

static void shed_clients(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_overload_policy(server, CSC_OVERLOAD_SHED);
}

static void keep_much(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_descriptor_reserve(server, INT_MAX);
}

static void admit_nobody(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_max_connections(server, 0, CSC_EXCESS_WAIT);
}

static void reset_excess(scene *now, csc_server *server) {
    (void)now;
    csc_server_set_max_connections(server, 2, CSC_EXCESS_RESET);
}

static void tell_of_ends(scene *now, csc_server *server) {
    (void)now;
    csc_server_connection_ended(server);
    csc_server_descriptor_freed(server);
}

static csc_admission refuse_one(csc_server *server, const csc_address *peer, void *context) {
    (void)context;
    assert_int_equal(peer->family, CSC_FAMILY_IPV4);
    csc_server_on_admission(server, NULL, NULL);
    return CSC_CLOSE;
}

static void refuse_next(scene *now, csc_server *server) {
    csc_server_on_admission(server, refuse_one, now);
}

static void release_it(scene *now, csc_server *server) {
    int descriptor = csc_server_release(server);
    if (descriptor >= 0) {
        fixture_own(now->it, descriptor);
    }
    assert_false(csc_server_is_listening(server));
}

static void release_and_adopt(scene *now, csc_server *server) {
    int descriptor = csc_server_release(server);
    now->does_not_listen_anew = descriptor < 0;
    if (descriptor >= 0) {
        assert_true(csc_server_adopt(server, descriptor));
    }
}

static void wake_and_wait(scene *now, csc_server *server) {
    (void)now;
    csc_server_wake(server);
    bool pending = csc_server_has_pending(server);
    assert_int_equal(csc_server_wait(server, -1, NULL), pending);
    if (pending && csc_server_is_listening(server)) {
        operations_take_all(now, server);
        assert_false(csc_server_wait(server, -1, NULL));
    }
}

static void finish_and_resume(scene *now, csc_server *server) {
    (void)now;
    csc_server_finish(server);
    csc_server_resume(server);
}

static void take_a_stranger(scene *now, csc_server *server) {
    static _Thread_local int nesting;
    csc_connection connection = {.peer = address_of("192.0.2.1", 1)};
    if (nesting > 0) {
        return; // it comes by the same callbacks
    }
    connection.descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(connection.descriptor >= 0);
    nesting++;
    now->strangers++;
    assert_true(csc_server_inject(server, &connection));
    nesting--;
}

static void remove_callbacks(scene *now, csc_server *server) {
    (void)now;
    csc_server_on_new_connection(server, NULL, NULL);
    csc_server_on_incoming_connection(server, NULL, NULL);
    csc_server_on_accept_error(server, NULL, NULL);
    csc_server_on_admission(server, NULL, NULL);
    csc_server_on_rejected(server, NULL, NULL);
}

static void ignore_connection(csc_server *server, void *context) {
    (void)server;
    assert_non_null(context);
}

static void take_connection(csc_server *server, const csc_connection *connection, void *context) {
    (void)server;
    fixture_own(context, connection->descriptor);
}

static void ignore_error(csc_server *server, csc_error error, void *context) {
    assert_int_equal(csc_server_error(server), error);
    assert_non_null(context);
}

static void replace_callbacks(scene *now, csc_server *server) {
    csc_server_on_new_connection(server, ignore_connection, now->it);
    csc_server_on_incoming_connection(server, take_connection, now->it);
    csc_server_on_accept_error(server, ignore_error, now->it);
}

static void stop_loop(scene *now, csc_server *server) {
    (void)server;
    if (now->it->base) {
        event_base_loopbreak(now->it->base);
        event_base_loopexit(now->it->base, NULL);
    }
}

// Within the loop libevent refuses; within a wait it runs.
static void run_loop(scene *now, csc_server *server) {
    (void)server;
    if (now->it->base) {
        event_base_loop(now->it->base, EVLOOP_NONBLOCK);
    }
}

static void ask_everything(scene *now, csc_server *server) {
    (void)now;
    csc_statistics statistics;
    csc_server_statistics(server, &statistics, sizeof statistics);
    bool listens = csc_server_is_listening(server);
    assert_int_equal(csc_server_port(server) != 0 || csc_server_path(server), listens);
    assert_int_equal(csc_server_descriptor(server) >= 0, listens);
    assert_int_equal(csc_server_address(server).family != CSC_FAMILY_NONE, listens);
    assert_int_equal(csc_server_has_pending(server), statistics.pending > 0);
    assert_non_null(csc_server_error_string(server));
}

const operation operations[] = {
    {.name = "nothing", .perform = nothing},
    {.name = "close", .perform = close_it, .stops = true},
    {.name = "finish", .perform = finish, .stops = true},
    {.name = "free", .perform = free_it, .frees = true},
    {.name = "take and free", .perform = take_and_free, .frees = true},
    {.name = "listen", .perform = listen_in_place},
    {.name = "close and listen", .perform = close_and_listen, .listens_anew = true},
    {.name = "close and listen at a path",
     .perform = close_and_listen_at_path,
     .listens_anew = true},
    {.name = "close and share a budget", .perform = close_and_share, .listens_anew = true},
    {.name = "finish and listen", .perform = finish_and_listen, .listens_anew = true},
    {.name = "adopt", .perform = adopt_in_place},
    {.name = "close and adopt", .perform = close_and_adopt, .listens_anew = true},
    {.name = "wait", .perform = wait_for_one},
    {.name = "take and wait", .perform = take_and_wait},
    {.name = "take one", .perform = take_one},
    {.name = "take all", .perform = operations_take_all},
    {.name = "add", .perform = add_places},
    {.name = "give back", .perform = give_back},
    {.name = "limit of 0", .perform = limit_to_zero},
    {.name = "limit of 1000", .perform = limit_high},
    {.name = "batch of 1", .perform = batch_of_one},
    {.name = "backlog", .perform = backlog},
    {.name = "pause", .perform = pause_it},
    {.name = "resume", .perform = resume},
    {.name = "pause and resume", .perform = pause_and_resume},
    {.name = "strict", .perform = be_strict},
    {.name = "shed", .perform = shed_clients},
    {.name = "reserve", .perform = keep_much},
    {.name = "no room", .perform = admit_nobody},
    {.name = "little room", .perform = reset_excess},
    {.name = "tell of ends", .perform = tell_of_ends},
    {.name = "refuse", .perform = refuse_next},
    {.name = "release", .perform = release_it, .stops = true},
    {.name = "release and adopt", .perform = release_and_adopt, .listens_anew = true},
    {.name = "wake and wait", .perform = wake_and_wait},
    {.name = "finish and resume", .perform = finish_and_resume, .stops = true},
    {.name = "take a stranger", .perform = take_a_stranger},
    {.name = "no callbacks", .perform = remove_callbacks},
    {.name = "other callbacks", .perform = replace_callbacks},
    {.name = "stop the loop", .perform = stop_loop},
    {.name = "run the loop", .perform = run_loop},
    {.name = "ask", .perform = ask_everything},
    {.name = NULL},
};
