// SPDX-License-Identifier: Apache-2.0

// Handing the listening socket over: to another server, while clients connect. Each client is
// served exactly once.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HANDOVERS = 1000 };

static void what_is_released_still_listens(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    int number = csc_server_descriptor(it->server);
    fixture_connect_many(it, 3);
    csc_server_set_max_pending(it->server, 1);
    if (it->base) {
        fixture_run_ready(it);
    } else {
        assert_true(csc_server_wait(it->server, 1000, NULL));
    }
    int released = csc_server_release(it->server);
    assert_int_equal(released, number);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(csc_server_descriptor(it->server), -1);
    assert_int_equal(csc_server_release(it->server), -1);
    assert_true(is_non_blocking(released) && is_close_on_exec(released));
    fixture_own(it, connect_to(&address));
    // What was pending still is, and the rest has waited in the kernel.
    assert_int_equal(fixture_take_all(it), 1);
    csc_server *other = csc_server_new(NULL);
    assert_true(csc_server_adopt(other, released));
    csc_connection connection;
    for (int i = 0; i < 3; i++) {
        assert_true(csc_server_wait(other, 1000, NULL));
        assert_true(csc_server_next_pending(other, &connection));
        close(connection.descriptor);
    }
    assert_false(csc_server_wait(other, 0, NULL));
    csc_server_free(other);
    fixture_listen(it); // as any server may that does not listen
    assert_int_equal(csc_server_release(NULL), -1);
}

static void a_number_that_is_not_ours_any_more_is_not_released(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    int number = csc_server_descriptor(it->server);
    int strangers = fixture_own(it, open("/dev/null", O_RDONLY | O_CLOEXEC));
    assert_int_equal(dup3(strangers, number, O_CLOEXEC), number);
    assert_int_equal(csc_server_release(it->server), -1);
    assert_true(fcntl(number, F_GETFD) >= 0);
    assert_int_equal(close(number), 0);
    fixture_listen(it);
    assert_int_equal(close(csc_server_descriptor(it->server)), 0);
    assert_int_equal(csc_server_release(it->server), -1);
}

static void release_it(csc_server *server, void *context) {
    fixture *it = context;
    it->new_connections++;
    fixture_own(it, csc_server_release(server));
}

static void a_callback_may_release(void **state) {
    fixture *it = *state;
    csc_server_on_new_connection(it->server, release_it, it);
    fixture_listen(it);
    fixture_connect_many(it, 3);
    if (it->base) {
        fixture_run_ready(it);
    } else {
        assert_true(csc_server_wait(it->server, 1000, NULL));
    }
    assert_int_equal(it->new_connections, 1);
    assert_int_equal(fixture_statistics(it).accepted, 1);
    assert_int_equal(fixture_take_all(it), 1);
}

static csc_address where;
static atomic_bool stops;
static atomic_int connected;
static atomic_int answered;
static atomic_bool clients_are_done;

// Connects and waits for one byte and the end, again and again.
static void *be_clients(void *context) {
    (void)context;
    while (!atomic_load(&stops)) {
        int client = connect_to(&where);
        if (client < 0) {
            continue;
        }
        atomic_fetch_add(&connected, 1);
        struct pollfd entry = {.fd = client, .events = POLLIN};
        char bytes[2];
        if (poll(&entry, 1, 30000) == 1 && read(client, bytes, 2) == 1) {
            atomic_fetch_add(&answered, 1);
        }
        close(client);
    }
    atomic_store(&clients_are_done, true);
    return NULL;
}

static void answer(csc_server *server, void *context) {
    csc_connection connection;
    int *served = context;
    while (csc_server_next_pending(server, &connection)) {
        send(connection.descriptor, "x", 1, MSG_NOSIGNAL);
        close(connection.descriptor);
        ++*served;
    }
}

static void run_briefly(fixture *it, csc_server *server) {
    if (it->base) {
        fixture_run_ready(it);
    } else {
        csc_server_wait(server, 0, NULL);
    }
}

static void a_listener_handed_over_a_thousand_times_serves_each_client_once(void **state) {
    fixture *it = *state;
    pthread_t clients;
    int served = 0;
    csc_server *servers[2] = {it->server, csc_server_new(it->base)};
    for (int i = 0; i < 2; i++) {
        csc_server_on_new_connection(servers[i], answer, &served);
    }
    fixture_listen(it);
    where = csc_server_address(it->server);
    atomic_store(&stops, false);
    atomic_store(&clients_are_done, false);
    atomic_store(&connected, 0);
    atomic_store(&answered, 0);
    assert_int_equal(pthread_create(&clients, NULL, be_clients, NULL), 0);
    fault_reset_counts();
    // An even number of times, and on a busy machine until the clients had their turns.
    for (int i = 0; i < HANDOVERS || i % 2 != 0 || served <= 10; i++) {
        csc_server *from = servers[i % 2];
        csc_server *to = servers[(i + 1) % 2];
        run_briefly(it, from);
        int descriptor = csc_server_release(from);
        assert_true(descriptor >= 0);
        assert_true(csc_server_adopt(to, descriptor));
        run_briefly(it, to);
    }
    atomic_store(&stops, true);
    // The last client waits for its answer.
    for (int i = 0; i < 20000 && !atomic_load(&clients_are_done); i++) {
        csc_server_wait(servers[0], 1, NULL);
    }
    pthread_join(clients, NULL);
    assert_int_equal(atomic_load(&answered), atomic_load(&connected));
    assert_int_equal(served, atomic_load(&connected));
    csc_server_free(servers[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(what_is_released_still_listens),
        fact_without_base(what_is_released_still_listens),
        fact(a_number_that_is_not_ours_any_more_is_not_released),
        fact(a_callback_may_release),
        fact_without_base(a_callback_may_release),
        fact(a_listener_handed_over_a_thousand_times_serves_each_client_once),
        fact_without_base(a_listener_handed_over_a_thousand_times_serves_each_client_once),
    };
    return cmocka_run_group_tests_name("handing over", tests, NULL, NULL);
}
