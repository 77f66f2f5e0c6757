// SPDX-License-Identifier: Apache-2.0

// See fixture.h. Everything a test opens goes through here, so that a failing test cleans up too:
// cmocka runs the teardown in any case.

#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void ignore_log(int severity, const char *message) {
    (void)severity;
    (void)message;
}

// What libevent takes for hopeless ends the program, and nothing of ours may bring it there.
static void tell_of_the_end(int error) {
    print_error("libevent ended the program with error %d\n", error);
    abort();
}

static void read_open_descriptors(bool open[MOST_DESCRIPTORS]) {
    memset(open, 0, MOST_DESCRIPTORS * sizeof open[0]);
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        long number = strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && number != dirfd(directory) && number < MOST_DESCRIPTORS) {
            open[number] = true;
        }
    }
    closedir(directory);
}

static void end_run(evutil_socket_t descriptor, short events, void *base) {
    (void)descriptor;
    (void)events;
    event_base_loopbreak(base);
}

// The usual soft limit of 1,024 is too low for a thousand connections and their clients.
static void raise_descriptor_limit(fixture *it) {
    struct rlimit *limit = &it->descriptor_limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, limit), 0);
    if (limit->rlim_cur < MOST_DESCRIPTORS) {
        limit->rlim_cur = limit->rlim_max < MOST_DESCRIPTORS ? limit->rlim_max : MOST_DESCRIPTORS;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, limit), 0);
    }
}

static int set_up(void **state, bool with_base) {
    fixture *it = calloc(1, sizeof *it);
    assert_non_null(it);
    *state = it;
    event_set_log_callback(ignore_log); // libevent prints what injected faults do to it
    event_set_fatal_callback(tell_of_the_end);
    raise_descriptor_limit(it);
    fault_clear();
    fault_reset_counts();
    read_open_descriptors(it->open_before);
    if (with_base) {
        it->base = event_base_new();
        assert_non_null(it->base);
        it->limit = event_new(it->base, -1, 0, end_run, it->base);
        assert_non_null(it->limit);
    }
    it->server = csc_server_new(it->base);
    assert_non_null(it->server);
    return 0;
}

int fixture_setup(void **state) {
    return set_up(state, true);
}

int fixture_setup_without_base(void **state) {
    return set_up(state, false);
}

static int count_leaks(const fixture *it) {
    bool open_now[MOST_DESCRIPTORS];
    int leaks = 0;
    read_open_descriptors(open_now);
    for (int i = 0; i < MOST_DESCRIPTORS; i++) {
        if (open_now[i] != it->open_before[i]) {
            print_error("descriptor %d was %s\n", i, open_now[i] ? "left open" : "closed");
            leaks++;
        }
    }
    return leaks;
}

int fixture_teardown(void **state) {
    fixture *it = *state;
    fault_clear();
    fault_start_clock();
    fixture_restore_descriptors(it);
    fixture_free_server(it);
    for (int i = 0; i < it->owned_count; i++) {
        close(it->owned[i]);
    }
    if (it->base) {
        event_free(it->limit);
        event_base_free(it->base);
    }
    int leaks = count_leaks(it);
    free(it);
    assert_int_equal(leaks, 0);
    assert_int_equal(fault_bad_closes(), 0);
    return 0;
}

void fixture_free_server(fixture *it) {
    if (!it->server) {
        return;
    }
    csc_server *server = it->server;
    fixture_assert_balance(it);
    csc_server_close(server);
    fixture_assert_balance(it);
    assert_int_equal(fixture_statistics(it).pending, 0);
    it->server = NULL;
    csc_server_free(server);
}

static void count_new_connection(csc_server *server, void *context) {
    (void)server;
    ((fixture *)context)->new_connections++;
}

static void count_accept_error(csc_server *server, csc_error error, void *context) {
    fixture *it = context;
    assert_int_equal(csc_server_error(server), error);
    it->accept_errors++;
    it->accept_error = error;
}

void fixture_watch(fixture *it) {
    csc_server_on_new_connection(it->server, count_new_connection, it);
    csc_server_on_accept_error(it->server, count_accept_error, it);
}

const char *own_loopback(void) {
    static _Thread_local char literal[sizeof "127.255.255.255"];
    unsigned process = (unsigned)getpid();
    snprintf(literal, sizeof literal, "127.%u.%u.%u", 1 + (process >> 16) % 250,
             (process >> 8) % 256, process % 256);
    return literal;
}

void skip_under_valgrind(const char *reason) {
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded && strstr(preloaded, "/vgpreload_")) {
        print_message("skipped: %s\n", reason);
        skip();
    }
}

void skip_without_ipv6(void) {
    csc_server *server = csc_server_new(NULL);
    csc_address address = address_of("::1", 0);
    bool available = csc_server_listen(server, &address);
    csc_server_free(server);
    if (!available) {
        print_message("skipped: there is no IPv6 here\n");
        skip();
    }
}

csc_address address_of(const char *literal, unsigned port) {
    csc_address address = {0};
    assert_true(csc_address_parse(literal, (uint16_t)port, &address));
    return address;
}

void fixture_listen(fixture *it) {
    fixture_listen_on(it, own_loopback());
}

void fixture_listen_on(fixture *it, const char *literal) {
    csc_address address = address_of(literal, 0);
    if (!csc_server_listen(it->server, &address)) {
        fail_msg("cannot listen on %s: %s", literal, csc_server_error_string(it->server));
    }
}

int connect_to(const csc_address *address) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(address, &name);
    int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    if (connect(descriptor, (struct sockaddr *)&name, length) != 0) {
        int errnum = errno;
        close(descriptor);
        errno = errnum;
        return -1;
    }
    return descriptor;
}

int fixture_connect(fixture *it) {
    csc_address address = csc_server_address(it->server);
    const char *path = csc_server_path(it->server);
    if (address.family == CSC_FAMILY_ANY) {
        address = address_of("127.0.0.1", address.port);
    }
    int descriptor = path ? connect_to_path(path) : connect_to(&address);
    assert_true(descriptor >= 0);
    return fixture_own(it, descriptor);
}

void fixture_connect_many(fixture *it, int count) {
    for (int i = 0; i < count; i++) {
        fixture_connect(it);
    }
}

csc_connection fixture_take(fixture *it) {
    csc_connection connection = {.descriptor = -1};
    assert_true(csc_server_next_pending(it->server, &connection));
    assert_true(connection.descriptor >= 0);
    fixture_own(it, connection.descriptor);
    return connection;
}

int fixture_take_all(fixture *it) {
    int count = 0;
    while (csc_server_has_pending(it->server)) {
        fixture_take(it);
        count++;
    }
    return count;
}

int fixture_own(fixture *it, int descriptor) {
    assert_true(it->owned_count < MOST_DESCRIPTORS);
    it->owned[it->owned_count++] = descriptor;
    return descriptor;
}

void fixture_close(fixture *it, int descriptor) {
    for (int i = 0; i < it->owned_count; i++) {
        if (it->owned[i] == descriptor) {
            it->owned[i] = it->owned[--it->owned_count];
            close(descriptor);
            return;
        }
    }
    fail_msg("descriptor %d is not the fixture's", descriptor);
}

void fixture_run_ready(fixture *it) {
    event_base_loop(it->base, EVLOOP_NONBLOCK);
}

static void start_limit(fixture *it, int msec) {
    struct timeval duration = {.tv_sec = msec / 1000, .tv_usec = msec % 1000 * 1000};
    assert_int_equal(event_add(it->limit, &duration), 0);
}

void fixture_run_for(fixture *it, int msec) {
    start_limit(it, msec);
    event_base_dispatch(it->base);
}

void fixture_run_until(fixture *it, const int *counter, int value) {
    start_limit(it, 60000);
    while (*counter < value && event_pending(it->limit, EV_TIMEOUT, NULL)) {
        event_base_loop(it->base, EVLOOP_ONCE);
    }
    event_del(it->limit);
    if (*counter < value) {
        fail_msg("stays at %d of %d", *counter, value);
    }
}

csc_statistics fixture_statistics(const fixture *it) {
    csc_statistics statistics;
    csc_server_statistics(it->server, &statistics, sizeof statistics);
    return statistics;
}

void fixture_assert_balance(const fixture *it) {
    csc_statistics now = fixture_statistics(it);
    assert_int_equal(now.accepted + now.added,
                     now.delivered + now.pending + now.discarded_on_close + now.shed +
                         now.rejected_by_admission + now.rejected_by_limit +
                         now.rejected_by_source_limit + now.rejected_by_source_rate +
                         now.in_preface + now.ended_in_preface);
}

void fixture_assert_error(const fixture *it, csc_error error, const char *text) {
    assert_int_equal(csc_server_error(it->server), error);
    assert_string_equal(csc_server_error_string(it->server), text);
}

void fixture_leave_descriptors(fixture *it, int count) {
    skip_under_valgrind("it loses the connection accepted over a limit");
    struct rlimit limit = it->descriptor_limit;
    int lowest_free = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(lowest_free >= 0);
    close(lowest_free);
    limit.rlim_cur = (rlim_t)(lowest_free + count);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void fixture_restore_descriptors(fixture *it) {
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &it->descriptor_limit), 0);
}

int64_t monotonic_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool is_non_blocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    assert_true(flags >= 0);
    return flags & O_NONBLOCK;
}

bool is_close_on_exec(int descriptor) {
    int flags = fcntl(descriptor, F_GETFD);
    assert_true(flags >= 0);
    return flags & FD_CLOEXEC;
}

int raw_listener(const char *literal, int backlog) {
    csc_address address = address_of(literal, 0);
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(&address, &name);
    int descriptor = socket(name.ss_family, SOCK_STREAM, 0);
    assert_true(descriptor >= 0);
    assert_int_equal(bind(descriptor, (struct sockaddr *)&name, length), 0);
    assert_int_equal(listen(descriptor, backlog), 0);
    return descriptor;
}
