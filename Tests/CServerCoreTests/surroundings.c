// SPDX-License-Identifier: Apache-2.0

// A server among others: processes and threads that share its listening socket, programs with
// thousands of descriptors, children, servers that run out of descriptors together, signals.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static csc_statistics statistics_of(const csc_server *server) {
    csc_statistics statistics;
    csc_server_statistics(server, &statistics, sizeof statistics);
    return statistics;
}

// The other one that accepts from the same queue, on a thread with a loop of its own.
typedef struct rival {
    int listener; // a duplicate of the server's
    int stop[2];  // readable when the queue has been served
    csc_statistics statistics;
} rival;

static void end_loop(evutil_socket_t descriptor, short events, void *base) {
    (void)descriptor;
    (void)events;
    event_base_loopbreak(base);
}

static void close_pending(csc_server *server, void *context) {
    csc_connection connection;
    (void)context;
    while (csc_server_next_pending(server, &connection)) {
        close(connection.descriptor);
    }
}

static void *run_rival(void *context) {
    rival *now = context;
    struct event_base *base = event_base_new();
    csc_server *server = csc_server_new(base);
    struct event *stop = event_new(base, now->stop[0], EV_READ, end_loop, base);
    csc_server_on_new_connection(server, close_pending, NULL);
    if (csc_server_adopt(server, now->listener) && event_add(stop, NULL) == 0) {
        event_base_dispatch(base);
    }
    now->statistics = statistics_of(server);
    csc_server_free(server);
    event_free(stop);
    event_base_free(base);
    return NULL;
}

static void two_who_share_a_queue_take_each_connection_once(void **state) {
    fixture *it = *state;
    enum { CLIENTS = 1000, AT_ONCE = 20 };
    rival other = {.listener = -1};
    pthread_t thread;
    fixture_listen(it);
    fixture_watch(it);
    other.listener = fcntl(csc_server_descriptor(it->server), F_DUPFD_CLOEXEC, 0);
    assert_true(other.listener >= 0);
    assert_int_equal(pipe2(other.stop, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_rival, &other), 0);
    for (int i = 0; i < CLIENTS; i += AT_ONCE) {
        fixture_connect_many(it, AT_ONCE);
        fixture_run_ready(it);
        fixture_take_all(it);
        while (it->owned_count > 0) {
            fixture_close(it, it->owned[0]);
        }
    }
    while (fixture_statistics(it).accept_queue > 0) {
        fixture_run_ready(it);
        fixture_take_all(it);
    }
    assert_int_equal(write(other.stop[1], "x", 1), 1);
    pthread_join(thread, NULL);
    close(other.stop[0]);
    close(other.stop[1]);
    csc_statistics ours = fixture_statistics(it);
    assert_int_equal(ours.accepted + other.statistics.accepted, CLIENTS);
    assert_int_equal(other.statistics.accepted, other.statistics.delivered);
    assert_int_equal(ours.peer_errors + other.statistics.peer_errors, 0);
    assert_int_equal(it->accept_errors, 0);
}

static void numbers_beyond_those_that_select_knows_serve_as_well(void **state) {
    fixture *it = *state;
    enum { HIGH = 2000 };
    int file = fixture_own(it, open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (int number = file; number < HIGH;) {
        number = fixture_own(it, fcntl(file, F_DUPFD_CLOEXEC, 0));
        assert_true(number >= 0);
    }
    fixture_listen(it);
    fixture_watch(it);
    assert_true(csc_server_descriptor(it->server) > HIGH);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
    assert_true(fixture_take(it).descriptor > HIGH);
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    assert_true(fixture_take(it).descriptor > HIGH);
}

static void a_program_that_is_executed_inherits_nothing(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 10);
    fixture_run_until(it, &it->new_connections, 10);
    int adopted = fixture_own(it, raw_listener("127.0.0.1", 5));
    csc_server *other = csc_server_new(it->base);
    assert_true(csc_server_adopt(other, dup(adopted)));
    int seen = 0;
    for (int number = 0; number < MOST_DESCRIPTORS; number++) {
        if (!it->open_before[number] && number != adopted && fcntl(number, F_GETFD) >= 0) {
            if (!is_close_on_exec(number)) {
                fail_msg("descriptor %d would be inherited", number);
            }
            seen++;
        }
    }
    csc_server_free(other);
    // The loop's, three of each server, both ends of ten connections.
    assert_true(seen >= 1 + 6 + 20);
}

static void a_child_that_ends_takes_nothing_from_its_parent(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    for (int i = 0; i < 10; i++) {
        char byte = 0;
        int client = fixture_connect(it);
        pid_t child = fork();
        if (child == 0) {
            _exit(0);
        }
        assert_true(child > 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        fixture_run_until(it, &it->new_connections, i + 1);
        int connection = fixture_take(it).descriptor;
        assert_int_equal(write(connection, "x", 1), 1);
        assert_int_equal(read(client, &byte, 1), 1);
    }
    assert_int_equal(it->accept_errors, 0);
}

static void servers_that_run_out_together_recover_together(void **state) {
    skip_under_valgrind("it loses the connection accepted over a limit");
    fixture *it = *state;
    enum { SERVERS = 3, CLIENTS = 10 };
    csc_server *servers[SERVERS];
    csc_address address = address_of(own_loopback(), 0);
    for (int i = 0; i < SERVERS; i++) {
        servers[i] = csc_server_new(it->base);
        assert_true(csc_server_listen(servers[i], &address));
        csc_address actual = csc_server_address(servers[i]);
        for (int client = 0; client < CLIENTS; client++) {
            fixture_own(it, connect_to(&actual));
        }
    }
    fixture_leave_descriptors(it, CLIENTS / 2);
    fault_stop_clock();
    for (int i = 0; i < 3; i++) {
        fixture_run_ready(it);
    }
    uint64_t accepted = 0;
    for (int i = 0; i < SERVERS; i++) {
        accepted += statistics_of(servers[i]).accepted;
        assert_int_equal(statistics_of(servers[i]).error_episodes, 1);
        assert_int_equal(statistics_of(servers[i]).resource_errors, 1);
    }
    assert_int_equal(accepted, CLIENTS / 2);

    // However often the loop turns, each tries once when its back-off ends.
    fault_reset_counts();
    for (int i = 0; i < 100; i++) {
        fixture_run_ready(it);
    }
    assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);

    fixture_restore_descriptors(it);
    fault_advance_clock(1000);
    fixture_run_ready(it);
    for (int i = 0; i < SERVERS; i++) {
        assert_int_equal(statistics_of(servers[i]).accepted, CLIENTS);
        close_pending(servers[i], NULL);
        csc_server_free(servers[i]);
    }
}

// Listens, and takes clients until only what is left to the rest of the program is free.
static void fill_a_server_that_sheds(fixture *it) {
    enum { ENOUGH = 20, RESERVE = 5 };
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    csc_server_set_descriptor_reserve(it->server, RESERVE);
    fixture_leave_descriptors(it, RESERVE + ENOUGH); // each client takes two
    fixture_listen(it);
    fixture_watch(it);
    fault_stop_clock();
    for (int i = 0; i < ENOUGH && fixture_statistics(it).shed == 0; i++) {
        fixture_connect(it);
        fault_advance_clock(1000);
        fixture_run_ready(it);
    }
    assert_int_equal(fixture_statistics(it).shed, 1);
    assert_int_equal(it->accept_errors, 1);
    fixture_take_all(it);
}

static void a_client_of_a_full_server_that_sheds_is_rejected(void **state) {
    fixture *it = *state;
    fill_a_server_that_sheds(it);
    for (uint64_t round = 1; round <= 4; round++) {
        char byte;
        int client = fixture_connect(it);
        fault_advance_clock(1000);
        if (round % 2 == 0) {
            csc_server_wait(it->server, 0, NULL);
        } else {
            fixture_run_ready(it);
        }
        assert_int_equal(fixture_statistics(it).shed, 1 + round);
        assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), 0);
        fixture_close(it, client);
    }
    assert_int_equal(it->accept_errors, 1);
}

static void close_when_rejecting(csc_server *server, const csc_rejection *rejection,
                                 void *context) {
    (void)rejection;
    (void)context;
    csc_server_close(server);
}

static void a_server_that_is_closed_by_a_rejection_in_a_wait_stays_closed(void **state) {
    fixture *it = *state;
    fill_a_server_that_sheds(it);
    csc_server_on_rejected(it->server, close_when_rejecting, NULL);
    fixture_connect(it);
    fault_advance_clock(1000);
    bool timed_out = true;
    assert_false(csc_server_wait(it->server, 0, &timed_out));
    assert_false(timed_out);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(fixture_statistics(it).listener_errors, 0);
    assert_int_equal(it->accept_errors, 1);
}

static volatile sig_atomic_t signals;

static void count_signal(int number) {
    (void)number;
    signals++;
}

static void signals_disturb_neither_the_loop_nor_a_wait(void **state) {
    fixture *it = *state;
    skip_under_valgrind("it delivers signals later, to a handler that is gone");
    struct sigaction action = {.sa_handler = count_signal}; // without SA_RESTART
    struct sigaction before;
    struct itimerval often = {.it_interval.tv_usec = 100, .it_value.tv_usec = 100};
    struct itimerval never = {.it_value.tv_usec = 0};
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    fixture_listen(it);
    fixture_watch(it);
    signals = 0;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    int served = 0;
    int64_t start = monotonic_milliseconds();
    // On a busy machine the signals come slowly.
    while (monotonic_milliseconds() - start < 300 || signals <= 100) {
        pthread_sigmask(SIG_BLOCK, &alarm, NULL);
        int client = fixture_connect(it);
        pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
        if (served % 2 == 0) {
            fixture_run_until(it, &it->new_connections, served + 1);
        } else {
            assert_true(csc_server_wait(it->server, 10000, NULL));
        }
        fixture_close(it, fixture_take(it).descriptor);
        fixture_close(it, client);
        served++;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(it->accept_errors, 0);
    assert_int_equal(fixture_statistics(it).delivered, served);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(two_who_share_a_queue_take_each_connection_once),
        fact(numbers_beyond_those_that_select_knows_serve_as_well),
        fact(a_program_that_is_executed_inherits_nothing),
        fact(a_child_that_ends_takes_nothing_from_its_parent),
        fact(servers_that_run_out_together_recover_together),
        fact(a_client_of_a_full_server_that_sheds_is_rejected),
        fact(a_server_that_is_closed_by_a_rejection_in_a_wait_stays_closed),
        fact(signals_disturb_neither_the_loop_nor_a_wait),
    };
    return cmocka_run_group_tests_name("surroundings", tests, NULL, NULL);
}
