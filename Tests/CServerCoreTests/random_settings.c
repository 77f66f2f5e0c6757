// SPDX-License-Identifier: Apache-2.0

// Every setting is changed at random from every callback, while clients come from another thread,
// accepting fails now and then, and connections end on any thread. Each client gets one byte, or is
// rejected and counted; in the end everybody is served, and nothing turns in vain.
//
// For three seconds, or for as many as the environment variable SETTINGS_SECONDS says.

#include "folder.h"
#include "proxies.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 64, USUAL_SECONDS = 3 };

static const char header[] = "PROXY UNKNOWN\r\n";

typedef struct play {
    fixture *it;
    csc_server *server;
    uint64_t random; // state
    int handed_out;  // connections that were answered
    pthread_t clients;
    pthread_t ender;
} play;

static csc_address where;
static const char *where_path; // NULL for none
static csc_server *served;
static atomic_bool stops;
static atomic_bool all_over;
static atomic_int connected;
static atomic_int answered;
static atomic_int broken_off;
static atomic_int wrong;
static atomic_int to_end; // connections that the other thread reports

static uint32_t any(play *now, uint32_t count) {
    now->random = now->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(now->random >> 33) % count;
}

static void end_one(play *now) {
    if (any(now, 2) == 0) {
        csc_server_connection_ended(now->server);
    } else {
        atomic_fetch_add(&to_end, 1);
    }
}

// A client sends its header in any case: where the server has not read it, closing would reset.
static void read_header(int descriptor) {
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    char bytes[sizeof header];
    fault_suspend();
    poll(&entry, 1, 10000);
    recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
    fault_resume();
}

static void hand_out(play *now, const csc_connection *connection) {
    int descriptor = connection->descriptor;
    if (!connection->proxied) {
        read_header(descriptor);
    }
    csc_proxied_free(connection->proxied);
    send(descriptor, "x", 1, MSG_NOSIGNAL);
    close(descriptor);
    now->handed_out++;
    end_one(now);
}

static void take_some(play *now, uint32_t most) {
    csc_connection connection;
    while (most-- > 0 && csc_server_next_pending(now->server, &connection)) {
        hand_out(now, &connection);
    }
}

static void change(play *now);

static void on_new_connection(csc_server *server, void *context) {
    (void)server;
    change(context);
    take_some(context, any(context, 4));
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    change(context);
    if (any(context, 2) == 0) {
        assert_true(csc_server_add_pending(server, connection));
    } else {
        hand_out(context, connection);
    }
}

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    static const csc_admission answers[] = {CSC_ADMIT, CSC_ADMIT, CSC_ADMIT, CSC_CLOSE, CSC_RESET};
    (void)server, (void)peer;
    change(context);
    return answers[any(context, 5)];
}

static void on_rejected(csc_server *server, const csc_rejection *rejection, void *context) {
    (void)server, (void)rejection;
    change(context);
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    (void)server, (void)error;
    change(context);
}

static void set_callbacks(play *now) {
    csc_server_on_incoming_connection(now->server, any(now, 3) ? NULL : on_incoming, now);
    csc_server_on_admission(now->server, any(now, 3) ? NULL : on_admission, now);
    csc_server_on_rejected(now->server, any(now, 2) ? on_rejected : NULL, now);
    csc_server_on_accept_error(now->server, any(now, 2) ? on_accept_error : NULL, now);
}

static void change(play *now) {
    static const int pending[] = {0, 1, 2, 5, 30, 1000};
    static const int connections[] = {-1, -1, 0, 1, 3, 50};
    static const csc_excess excesses[] = {CSC_EXCESS_WAIT, CSC_EXCESS_CLOSE, CSC_EXCESS_RESET};
    static const csc_overload_policy policies[] = {CSC_OVERLOAD_WAIT, CSC_OVERLOAD_SHED,
                                                   CSC_OVERLOAD_STRICT};
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ECONNABORTED, EPERM, EINTR, EAGAIN};
    csc_server *server = now->server;
    switch (any(now, 15)) {
    case 0:
        csc_server_set_max_pending(server, pending[any(now, 6)]);
        break;
    case 1:
        csc_server_set_max_connections(server, connections[any(now, 6)], excesses[any(now, 3)]);
        break;
    case 2:
        csc_server_set_overload_policy(server, policies[any(now, 3)]);
        break;
    case 3:
        csc_server_set_accept_batch(server, (int)any(now, 70));
        break;
    case 4:
        csc_server_set_descriptor_reserve(server, (int)any(now, 40));
        break;
    case 5:
        csc_server_set_expected_descriptors(server, (int)any(now, 2000));
        csc_server_set_backlog(server, (int)any(now, 100));
        break;
    case 6:
        csc_server_pause(server);
        break;
    case 7:
    case 8:
        csc_server_resume(server);
        break;
    case 9:
        set_callbacks(now);
        break;
    case 10:
        fault_fail(FAULT_ACCEPT4, 1 + (int)any(now, 5), 1 + (int)any(now, 3), errors[any(now, 7)]);
        break;
    case 11:
        fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOSPC);
        break;
    case 12:
        csc_server_descriptor_freed(server);
        break;
    case 13:
        csc_server_set_max_prefaces(server, 1 + (int)any(now, 20));
        if (any(now, 2) == 0) {
            proxies_require(server);
        } else {
            csc_server_require_proxy_header(server, NULL);
        }
        break;
    default:
        csc_server_wait(server, 0, NULL);
    }
}

static void change_in_time(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    change(context);
    take_some(context, 8);
}

static void finish_client(int client) {
    char bytes[4];
    ssize_t count = read(client, bytes, sizeof bytes);
    if (count == 1 && read(client, bytes, 1) <= 0) {
        atomic_fetch_add(&answered, 1);
    } else if (count <= 0) {
        atomic_fetch_add(&broken_off, 1);
    } else {
        atomic_fetch_add(&wrong, 1);
    }
    close(client);
}

// Connects again for each that has ended, and waits for the rest in the end.
static void *be_clients(void *context) {
    struct pollfd entries[AT_ONCE];
    int open = 0;
    (void)context;
    for (int i = 0; i < AT_ONCE; i++) {
        entries[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    while (open > 0 || !atomic_load(&stops)) {
        for (int i = 0; i < AT_ONCE && !atomic_load(&stops); i++) {
            if (entries[i].fd >= 0) {
                continue;
            }
            entries[i].fd = where_path ? connect_to_path(where_path) : connect_to(&where);
            if (entries[i].fd >= 0) {
                open++;
                send(entries[i].fd, header, sizeof header - 1, MSG_NOSIGNAL);
                atomic_fetch_add(&connected, 1);
            } else if (errno == ECONNRESET) { // rejected before connect() returned
                atomic_fetch_add(&connected, 1);
                atomic_fetch_add(&broken_off, 1);
            }
        }
        if (poll(entries, AT_ONCE, 20) <= 0) {
            continue;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            if (entries[i].fd >= 0 && entries[i].revents != 0) {
                finish_client(entries[i].fd);
                entries[i].fd = -1;
                open--;
            }
        }
    }
    return NULL;
}

static void *end_elsewhere(void *context) {
    (void)context;
    while (!atomic_load(&all_over) || atomic_load(&to_end) > 0) {
        int count = atomic_exchange(&to_end, 0);
        for (int i = 0; i < count; i++) {
            csc_server_connection_ended(served);
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

static void turn(play *now, int msec) {
    if (now->it->base) {
        fixture_run_for(now->it, msec);
    } else {
        csc_server_wait(now->server, msec, NULL);
    }
}

// From now on everybody is let in.
static void calm_down(play *now) {
    fault_clear();
    csc_server_on_incoming_connection(now->server, NULL, NULL);
    csc_server_on_admission(now->server, NULL, NULL);
    csc_server_on_rejected(now->server, NULL, NULL);
    csc_server_on_accept_error(now->server, NULL, NULL);
    csc_server_on_new_connection(now->server, NULL, NULL);
    csc_server_set_overload_policy(now->server, CSC_OVERLOAD_WAIT);
    csc_server_set_max_pending(now->server, 1000);
    csc_server_set_max_connections(now->server, -1, CSC_EXCESS_WAIT);
    csc_server_set_descriptor_reserve(now->server, 0);
    csc_server_set_accept_batch(now->server, 64);
    csc_server_require_proxy_header(now->server, NULL);
    csc_server_resume(now->server);
    csc_server_resume(now->server);
}

static int64_t thread_cpu_milliseconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

static int settled(void) {
    return atomic_load(&answered) + atomic_load(&broken_off) + atomic_load(&wrong);
}

static void play_with(fixture *it) {
    const char *wanted = getenv("SETTINGS_SECONDS");
    play now = {.it = it, .server = it->server, .random = (uint64_t)time(NULL)};
    print_message("seed %llu\n", (unsigned long long)now.random);
    where = csc_server_address(it->server);
    where_path = csc_server_path(it->server);
    served = it->server;
    atomic_store(&stops, false);
    atomic_store(&all_over, false);
    atomic_store(&connected, 0);
    atomic_store(&answered, 0);
    atomic_store(&broken_off, 0);
    atomic_store(&wrong, 0);
    atomic_store(&to_end, 0);
    csc_server_on_new_connection(it->server, on_new_connection, &now);
    struct event *timer = NULL;
    if (it->base) {
        const struct timeval often = {.tv_usec = 1000};
        timer = event_new(it->base, -1, EV_PERSIST, change_in_time, &now);
        event_add(timer, &often);
    }
    assert_int_equal(pthread_create(&now.clients, NULL, be_clients, NULL), 0);
    assert_int_equal(pthread_create(&now.ender, NULL, end_elsewhere, NULL), 0);
    int64_t end = monotonic_milliseconds() + 1000 * (wanted ? atoi(wanted) : USUAL_SECONDS);
    while (monotonic_milliseconds() < end) {
        turn(&now, 10);
        change_in_time(-1, 0, &now);
    }
    if (timer) {
        event_free(timer);
    }
    atomic_store(&stops, true);
    end = monotonic_milliseconds() + 120000;
    do {
        calm_down(&now);
        turn(&now, 10);
        take_some(&now, 1000);
    } while (settled() < atomic_load(&connected) && monotonic_milliseconds() < end);
    int64_t cpu = thread_cpu_milliseconds();
    turn(&now, 500); // there is no client any more
    assert_true(thread_cpu_milliseconds() - cpu < 250);
    pthread_join(now.clients, NULL);
    atomic_store(&all_over, true);
    pthread_join(now.ender, NULL);
    csc_statistics statistics = fixture_statistics(it);
    uint64_t rejected = statistics.shed + statistics.rejected_by_admission +
                        statistics.rejected_by_limit + statistics.rejected_by_source_limit +
                        statistics.rejected_by_source_rate + statistics.ended_in_preface;
    assert_int_equal(atomic_load(&wrong), 0);
    assert_int_equal(settled(), atomic_load(&connected));
    assert_int_equal(atomic_load(&answered), now.handed_out);
    assert_int_equal(atomic_load(&broken_off), rejected);
    assert_int_equal(statistics.accepted, atomic_load(&connected));
    assert_int_equal(statistics.live, 0);
    print_message("%d clients, %d rejected\n", atomic_load(&connected), (int)rejected);
}

static void whatever_is_set_whenever_each_client_is_served_once(void **state) {
    fixture_listen(*state);
    play_with(*state);
}

static void at_a_path_too(void **state) {
    fixture *it = *state;
    char name[64];
    snprintf(name, sizeof name, "@tcpserverkit/%d/random_settings", (int)getpid());
    assert_true(csc_server_listen_path(it->server, name, -1, false));
    play_with(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(whatever_is_set_whenever_each_client_is_served_once),
        fact_without_base(whatever_is_set_whenever_each_client_is_served_once),
        fact(at_a_path_too),
    };
    return cmocka_run_group_tests_name("random settings", tests, NULL, NULL);
}
