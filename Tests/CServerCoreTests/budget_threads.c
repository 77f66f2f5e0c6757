// SPDX-License-Identifier: Apache-2.0

// Servers on threads of their own that share a budget, from one queue or from sockets of their own:
// clients that come and go, many by a reset, ends that are reported on other threads, and a limit
// that changes. What comes out must be what came in, and never more at a time than the limit.
//
// For two seconds each, or for as many as the environment variable BUDGET_SECONDS says.

#include "fixture.h"
#include "must.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LIMIT = 12, // met all the time
    LOWER = 5,
    THREADS = 3,
    CLIENT_THREADS = 3,
    BATCH = 16, // connections that a client thread has at once
    USUAL_SECONDS = 2,
    LONGEST_WAIT_S = 100, // of a client, on a machine that is busy with other things
};

static csc_address address;
static atomic_uint live, most_live, taken, connected;
static atomic_bool is_over;

typedef struct loop {
    struct event_base *base;
    csc_server *server;
    pthread_t thread;
} loop;

static loop loops[THREADS];

typedef struct served {
    loop *home;
    int descriptor;
    struct event *ends;
} served;

static int reports[2]; // a pipe to the thread that reports every other end

static void *report_ends(void *nothing) {
    csc_server *server;
    while (read(reports[0], &server, sizeof server) == sizeof server) {
        csc_server_connection_ended(server);
    }
    return nothing;
}

// The program counts it first: what the server counts is never less.
static void on_end(evutil_socket_t descriptor, short events, void *context) {
    (void)events;
    served *it = context;
    loop *home = it->home;
    close(descriptor);
    unsigned left = atomic_fetch_sub(&live, 1);
    event_free(it->ends);
    free(it);
    if (left % 2 == 0) {
        csc_server_connection_ended(home->server);
    } else {
        must(write(reports[1], &home->server, sizeof home->server) == sizeof home->server);
    }
}

static void on_new_connection(csc_server *server, void *context) {
    loop *home = context;
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        unsigned now = atomic_fetch_add(&live, 1) + 1;
        unsigned most = atomic_load(&most_live);
        while (now > most && !atomic_compare_exchange_weak(&most_live, &most, now)) {
        }
        atomic_fetch_add(&taken, 1);
        send(connection.descriptor, "x", 1, MSG_NOSIGNAL); // fails where the client has gone
        served *it = malloc(sizeof *it);
        must(it);
        it->home = home;
        it->descriptor = connection.descriptor;
        it->ends = event_new(home->base, connection.descriptor, EV_READ, on_end, it);
        must(event_add(it->ends, NULL) == 0);
    }
}

static void *run_loop(void *context) {
    loop *it = context;
    event_base_loop(it->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static void close_with_reset(int descriptor) {
    const struct linger reset = {.l_onoff = 1};
    must(setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    close(descriptor);
}

// Each ends when it is greeted, whichever comes first: those that are served keep places from those
// that wait.
static void await_greetings(struct pollfd *entries, int count) {
    for (int left = count; left > 0;) {
        must(poll(entries, (nfds_t)count, LONGEST_WAIT_S * 1000) > 0);
        for (int client = 0; client < count; client++) {
            char greeting;
            if (entries[client].fd >= 0 && entries[client].revents != 0) {
                must(recv(entries[client].fd, &greeting, 1, 0) == 1);
                close(entries[client].fd);
                entries[client].fd = -1;
                left--;
            }
        }
    }
}

static void *be_clients(void *nothing) {
    while (!atomic_load(&is_over)) {
        struct pollfd patient[BATCH / 2];
        for (int client = 0; client < BATCH; client++) {
            int descriptor = connect_to(&address);
            must(descriptor >= 0);
            atomic_fetch_add(&connected, 1);
            if (client % 2 == 0) {
                close_with_reset(descriptor);
            } else {
                patient[client / 2] = (struct pollfd){.fd = descriptor, .events = POLLIN};
            }
        }
        await_greetings(patient, BATCH / 2);
    }
    return nothing;
}

static int seconds(void) {
    const char *wanted = getenv("BUDGET_SECONDS");
    return wanted ? atoi(wanted) : USUAL_SECONDS;
}

static void start_loops(csc_budget *budget, const int *descriptors) {
    for (int index = 0; index < THREADS; index++) {
        loop *it = &loops[index];
        it->base = event_base_new();
        it->server = csc_server_new(it->base);
        csc_server_on_new_connection(it->server, on_new_connection, it);
        assert_true(csc_server_share_statistics(it->server));
        assert_true(csc_server_set_budget(it->server, budget));
        assert_true(csc_server_adopt(it->server, descriptors[index]));
    }
    for (int index = 0; index < THREADS; index++) {
        assert_int_equal(pthread_create(&loops[index].thread, NULL, run_loop, &loops[index]), 0);
    }
}

static void let_clients_come(csc_budget *budget) {
    pthread_t threads[CLIENT_THREADS];
    int64_t end = monotonic_milliseconds() + (int64_t)seconds() * 1000;
    atomic_store(&is_over, false);
    for (int index = 0; index < CLIENT_THREADS; index++) {
        assert_int_equal(pthread_create(&threads[index], NULL, be_clients, NULL), 0);
    }
    for (int turn = 0; monotonic_milliseconds() < end; turn++) {
        csc_statistics now;
        csc_server_shared_statistics(loops[turn % THREADS].server, &now, sizeof now);
        csc_budget_set_limit(budget, turn % 2 == 0 ? LOWER : LIMIT, CSC_EXCESS_WAIT);
        sched_yield();
    }
    csc_budget_set_limit(budget, LIMIT, CSC_EXCESS_WAIT);
    atomic_store(&is_over, true);
    for (int index = 0; index < CLIENT_THREADS; index++) {
        assert_int_equal(pthread_join(threads[index], NULL), 0);
    }
    // The last ends are under way.
    while (atomic_load(&taken) < atomic_load(&connected) || csc_budget_taken(budget) > 0) {
        assert_true(monotonic_milliseconds() < end + LONGEST_WAIT_S * 1000);
        sched_yield();
    }
}

static void end_loops(void) {
    uint64_t accepted = 0;
    for (int index = 0; index < THREADS; index++) {
        event_base_loopbreak(loops[index].base);
        assert_int_equal(pthread_join(loops[index].thread, NULL), 0);
    }
    for (int index = 0; index < THREADS; index++) {
        csc_statistics now;
        csc_server_statistics(loops[index].server, &now, sizeof now);
        assert_int_equal(now.accepted, now.delivered);
        assert_int_equal(now.live, 0);
        accepted += now.accepted;
        csc_server_free(loops[index].server);
        event_base_free(loops[index].base);
    }
    assert_int_equal(accepted, atomic_load(&connected));
}

static void serve_all(const int *descriptors) {
    csc_budget *budget = csc_budget_new(LIMIT);
    atomic_store(&connected, 0);
    atomic_store(&taken, 0);
    atomic_store(&most_live, 0);
    pthread_t reporter;
    assert_int_equal(pipe(reports), 0);
    assert_int_equal(pthread_create(&reporter, NULL, report_ends, NULL), 0);
    start_loops(budget, descriptors);
    address = csc_server_address(loops[0].server);
    let_clients_come(budget);
    close(reports[1]);
    assert_int_equal(pthread_join(reporter, NULL), 0);
    close(reports[0]);
    end_loops();
    assert_in_range(atomic_load(&most_live), 1, LIMIT);
    print_message("%u connections, %u at most\n", atomic_load(&taken), atomic_load(&most_live));
    csc_budget_free(budget);
}

static void many_accept_from_one_queue(void **state) {
    fixture *it = *state;
    int descriptors[THREADS];
    csc_address wanted = address_of(own_loopback(), 0);
    assert_true(csc_server_open_sockets(it->server, &wanted, descriptors, 1));
    for (int index = 1; index < THREADS; index++) {
        descriptors[index] = dup(descriptors[0]);
    }
    serve_all(descriptors);
}

static void many_accept_from_sockets_of_their_own(void **state) {
    fixture *it = *state;
    int descriptors[THREADS];
    csc_address wanted = address_of(own_loopback(), 0);
    assert_true(csc_server_open_sockets(it->server, &wanted, descriptors, THREADS));
    serve_all(descriptors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(many_accept_from_one_queue),
        fact(many_accept_from_sockets_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
