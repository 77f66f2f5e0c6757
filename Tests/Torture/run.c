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
#include <sys/un.h>
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
    if (it->group) {
        csc_group_statistics(it->group, &statistics, sizeof statistics);
    }
    return statistics;
}

// The one place that knows the equation of CServerCore.h, and that of its groups.
static void check_balance(run *it) {
    csc_statistics now = run_statistics(it);
    uint64_t turned_away = now.shed + now.rejected_by_admission + now.rejected_by_limit +
                           now.rejected_by_source_limit + now.rejected_by_source_rate +
                           now.ended_in_preface;
    if (now.accepted + now.added != now.delivered + now.pending + now.in_mailbox + now.in_preface +
                                        now.discarded_on_close + turned_away) {
        run_object(it,
                   "%lu accepted + %lu added are not %lu delivered + %lu pending + %lu on their "
                   "way + %lu closed",
                   now.accepted, now.added, now.delivered, now.pending, now.in_mailbox,
                   now.discarded_on_close);
    }
}

static void must_explain_of(run *it, const csc_server *server, const char *what) {
    it->told++;
    if (csc_server_error_string(server)[0] == '\0') {
        run_object(it, "%s failed without a text", what);
    }
}

void run_must_explain(run *it, const char *what) {
    must_explain_of(it, it->server, what);
}

static void on_new_connection(csc_server *server, void *context) {
    (void)server;
    ((run *)context)->new_connections++;
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    run *it = context;
    run_must_explain(it, "accepting");
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

static csc_server *add_member(run *it, struct event_base *base) {
    csc_server *member = base ? csc_server_new(base) : NULL;
    csc_server_on_new_connection(member, on_new_connection, it);
    if (member && csc_group_add(it->group, member)) {
        return member;
    }
    must_explain_of(it, member, "adding a member");
    csc_server_free(member);
    return NULL;
}

bool run_complete_group(run *it) {
    if (!it->members_base) {
        it->members_base = event_base_new();
    }
    struct event_base *bases[MEMBERS] = {it->base, it->members_base};
    bool is_complete = true;
    for (int index = 0; index < MEMBERS; index++) {
        if (!it->members[index]) {
            it->members[index] = add_member(it, bases[index]);
        }
        is_complete = is_complete && it->members[index];
    }
    return is_complete;
}

bool run_start_group(run *it) {
    enum { CAPACITY = 8 };
    if (!run_start(it)) {
        return false;
    }
    it->group = csc_group_new(it->server, CAPACITY);
    if (!it->group) {
        run_must_explain(it, "a group"); // and the server serves alone
    } else {
        run_complete_group(it);
    }
    return true;
}

static bool started(run *it, bool success, const char *what) {
    if (success) {
        it->stopped = false;
        it->closed = false;
    } else {
        run_must_explain(it, what);
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

bool run_listen_path(run *it, const char *path) {
    return started(it, csc_server_listen_path(it->server, path, -1, false), "listen at a path");
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

static socklen_t name_of(const csc_address *where, const char *path,
                         struct sockaddr_storage *name) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    if (where->family != CSC_FAMILY_UNIX) {
        return csc_address_to_sockaddr(where, name);
    }
    snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
    memcpy(name, &local, sizeof local);
    return sizeof local;
}

static void connect_one(run *it, const csc_address *where) {
    struct sockaddr_storage name;
    socklen_t length = name_of(where, csc_server_path(it->server), &name);
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

void run_took(run *it, csc_server *server, const csc_connection *connection) {
    it->taken++;
    csc_proxied_free(connection->proxied);
    if (connection->descriptor >= 0) {
        fault_take(connection->descriptor);
        fault_suspend();
        close(connection->descriptor);
        fault_resume();
        if (it->ends_connections) {
            csc_server_connection_ended(server);
        }
    }
}

static void take_all_of(run *it, csc_server *server) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        run_took(it, server, &connection);
    }
}

void run_take_all(run *it) {
    take_all_of(it, it->server);
    for (int index = 0; index < MEMBERS; index++) {
        take_all_of(it, it->members[index]);
    }
}

static void turn(run *it, struct event_base *base) {
    it->told += event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE) < 0;
}

void run_turn_of_server(run *it) {
    turn(it, it->base);
    check_balance(it);
}

void run_turn(run *it) {
    if (it->base) {
        turn(it, it->base);
        if (it->members_base) {
            turn(it, it->members_base);
        }
    } else if (run_is_listening(it) && !csc_server_has_pending(it->server)) {
        bool timed_out = false;
        if (!csc_server_wait(it->server, 1, &timed_out) && !timed_out) {
            run_must_explain(it, "wait");
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
        csc_statistics now = run_statistics(it);
        if (!run_is_listening(it) || (now.accepted >= it->connected && now.in_mailbox == 0)) {
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
    for (int index = 0; index < MEMBERS; index++) {
        csc_server_close(it->members[index]);
    }
    check_balance(it);
    if (run_is_listening(it)) {
        run_object(it, "it listens after close");
    }
}

void run_free_member(run *it, int index) {
    csc_server_free(it->members[index]);
    it->members[index] = NULL;
}

void run_free(run *it) {
    it->last = run_statistics(it);
    it->last.discarded_on_close += it->last.pending + it->last.in_mailbox;
    it->last.pending = 0;
    it->last.in_mailbox = 0;
    it->may_lose += it->connected - it->may_lose - it->last.accepted;
    it->group = NULL; // goes with the last of these
    run_free_member(it, 1);
    csc_server_free(it->server);
    it->server = NULL;
    run_free_member(it, 0);
}
