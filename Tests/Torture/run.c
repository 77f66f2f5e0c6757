// SPDX-License-Identifier: Apache-2.0

// What scenarios are made of: the program around the server, whose own calls never fail.

#include "torture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void run_object(run *it, const char *format, ...) {
    if (it->trouble[0]) {
        return; // the first thing that went wrong is the one to look at
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(it->trouble, sizeof it->trouble, format, arguments);
    va_end(arguments);
}

bool run_is_listening(const run *it) {
    return csc_server_is_listening(it->server);
}

csc_statistics run_statistics(const run *it) {
    csc_statistics statistics = it->last;
    if (it->server) {
        fault_suspend(); // the number of the kernel's queue is a call of its own
        csc_server_statistics(it->server, &statistics, sizeof statistics);
        fault_resume();
    }
    return statistics;
}

// The one place that knows the equation of CServerCore.h.
static void check_balance(run *it) {
    csc_statistics now = run_statistics(it);
    uint64_t turned_away = now.shed + now.rejected_by_admission + now.rejected_by_limit;
    if (now.accepted + now.added !=
        now.delivered + now.pending + now.discarded_on_close + turned_away) {
        run_object(it, "%lu accepted + %lu added are not %lu delivered + %lu pending + %lu closed",
                   now.accepted, now.added, now.delivered, now.pending, now.discarded_on_close);
    }
}

static void must_explain(run *it, const char *what) {
    it->told++;
    if (csc_server_error_string(it->server)[0] == '\0') {
        run_object(it, "%s failed without a text", what);
    }
}

static void on_new_connection(csc_server *server, void *context) {
    (void)server;
    ((run *)context)->new_connections++;
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    run *it = context;
    must_explain(it, "accepting");
    it->stopped = it->stopped || !csc_server_is_listening(server);
    if (csc_server_error(server) != error) {
        run_object(it, "the callback was told %d, the server says %d", error,
                   csc_server_error(server));
    }
}

bool run_start(run *it) {
    if (!it->without_base) {
        it->base = event_base_new();
    }
    if (it->base || it->without_base) {
        it->server = csc_server_new(it->base);
    }
    it->told += !it->server;
    csc_server_on_new_connection(it->server, on_new_connection, it);
    csc_server_on_accept_error(it->server, on_accept_error, it);
    return it->server;
}

static bool started(run *it, bool success, const char *what) {
    if (success) {
        it->stopped = false;
        it->closed = false;
    } else {
        must_explain(it, what);
        if (csc_server_descriptor(it->server) != -1 || csc_server_port(it->server) != 0) {
            run_object(it, "%s failed, and yet there is a descriptor or a port", what);
        }
    }
    return success;
}

bool run_listen_on(run *it, const csc_address *where) {
    return started(it, csc_server_listen(it->server, where), "listen");
}

// An address of 127.0.0.0/8 that only this process uses.
static csc_address own_loopback(void) {
    unsigned process = (unsigned)getpid();
    return (csc_address){
        .bytes = {127, (uint8_t)(1 + (process >> 16) % 250), (uint8_t)(process >> 8 & 255),
                  (uint8_t)(process & 255)},
        .family = CSC_FAMILY_IPV4,
    };
}

bool run_listen(run *it) {
    csc_address where = own_loopback();
    return run_listen_on(it, &where);
}

bool run_adopt(run *it, int descriptor) {
    fault_give(descriptor);
    if (started(it, csc_server_adopt(it->server, descriptor), "adopt")) {
        return true;
    }
    fault_take(descriptor);
    return false;
}

int run_raw_listener(void) {
    struct sockaddr_storage name;
    csc_address where = own_loopback();
    socklen_t length = csc_address_to_sockaddr(&where, &name);
    fault_suspend();
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(descriptor, (struct sockaddr *)&name, length) != 0 || listen(descriptor, 100) != 0) {
        close(descriptor);
        descriptor = -1;
    }
    fault_resume();
    return descriptor;
}

static void connect_one(run *it, const csc_address *where) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(where, &name);
    int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // Reset at its end: a hundred thousand of them would leave the kernel waiting for each.
    struct linger at_once = {.l_onoff = 1};
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (it->client_count == MOST_CLIENTS ||
        connect(descriptor, (struct sockaddr *)&name, length) != 0) {
        run_object(it, "a client cannot connect: %s", strerror(errno));
        close(descriptor);
        return;
    }
    it->clients[it->client_count++] = descriptor;
    it->connected++;
}

void run_connect(run *it, int count) {
    csc_address where = csc_server_address(it->server);
    if (where.family == CSC_FAMILY_ANY) {
        where =
            (csc_address){.bytes = {127, 0, 0, 1}, .family = CSC_FAMILY_IPV4, .port = where.port};
    } else if (where.family == CSC_FAMILY_NONE) {
        return;
    }
    fault_suspend();
    for (int i = 0; i < count; i++) {
        connect_one(it, &where);
    }
    fault_resume();
}

void run_took(run *it, const csc_connection *connection) {
    it->taken++;
    if (connection->descriptor >= 0) {
        fault_take(connection->descriptor);
        fault_suspend();
        close(connection->descriptor);
        fault_resume();
        if (it->ends_connections) {
            csc_server_connection_ended(it->server);
        }
    }
}

void run_take_all(run *it) {
    csc_connection connection;
    while (csc_server_next_pending(it->server, &connection)) {
        run_took(it, &connection);
    }
}

void run_turn(run *it) {
    if (it->base) {
        it->told += event_base_loop(it->base, EVLOOP_NONBLOCK | EVLOOP_ONCE) < 0;
    } else if (run_is_listening(it) && !csc_server_has_pending(it->server)) {
        bool timed_out = false;
        if (!csc_server_wait(it->server, 1, &timed_out) && !timed_out) {
            must_explain(it, "wait");
        }
    }
    check_balance(it);
}

void run_serve(run *it, bool take) {
    enum { TURNS = 80, STEP_MS = 50 };
    for (int turn = 0; turn < TURNS; turn++) {
        run_turn(it);
        if (take) {
            run_take_all(it);
        }
        if (!run_is_listening(it) || run_statistics(it).accepted >= it->connected) {
            break;
        }
        fault_advance_clock(STEP_MS);
    }
    run_turn(it);
}

void run_limit_descriptors(run *it, int count) {
    struct rlimit limit;
    fault_suspend();
    int lowest_free = fcntl(0, F_DUPFD_CLOEXEC, 0);
    if (it->limit == 0 && lowest_free >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        it->limit = limit.rlim_cur;
        limit.rlim_cur = (rlim_t)(lowest_free + count);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    close(lowest_free);
    fault_resume();
}

void run_lift_limit(run *it) {
    struct rlimit limit;
    if (it->limit > 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = it->limit;
        setrlimit(RLIMIT_NOFILE, &limit);
        it->limit = 0;
    }
}

void run_close(run *it) {
    it->may_lose = it->connected - run_statistics(it).accepted;
    it->closed = true;
    csc_server_close(it->server);
    check_balance(it);
    if (run_is_listening(it)) {
        run_object(it, "it listens after close");
    }
}

void run_free(run *it) {
    it->last = run_statistics(it);
    it->last.discarded_on_close += it->last.pending;
    it->last.pending = 0;
    it->may_lose += it->connected - it->may_lose - it->last.accepted;
    csc_server_free(it->server);
    it->server = NULL;
}
