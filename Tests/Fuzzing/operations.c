// SPDX-License-Identifier: Apache-2.0

// The calls: each is a few bytes of the input, its number, the server and what the call needs.

#include "world.h"

#include <FaultInjection.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void run_ready(world *it) {
    if (!it->running) {
        it->running = true;
        event_base_loop(it->base, EVLOOP_NONBLOCK);
        it->running = false;
    }
}

// libFuzzer's clock interrupts a connect, which goes on without us.
static bool is_connected(int descriptor) {
    struct pollfd entry = {.fd = descriptor, .events = POLLOUT};
    int error = EINTR;
    socklen_t length = sizeof error;
    while (errno == EINTR && poll(&entry, 1, 5000) < 0) {
    }
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

static int connect_to(const csc_address *address, csc_address *own_name) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(address, &name);
    int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return -1;
    }
    socklen_t own_length = sizeof name;
    bool connected = connect(descriptor, (struct sockaddr *)&name, length) == 0 ||
                     (errno == EINTR && is_connected(descriptor));
    if (!connected || getsockname(descriptor, (struct sockaddr *)&name, &own_length) != 0) {
        close(descriptor);
        return -1;
    }
    csc_address_from_sockaddr((struct sockaddr *)&name, own_length, own_name);
    return descriptor;
}

// Not when the kernel's queue is full, where a client waits for a second.
static void connect_client(subject *it) {
    world *world = it->world;
    if (!it->listening || it->tampered || world->faulty || world->client_count == MOST_CLIENTS ||
        it->kernel.count + it->pending.count + MOST_CLIENTS >= MOST_IN_QUEUE ||
        it->kernel.count > (size_t)it->backlog) {
        return;
    }
    csc_address address = csc_server_address(it->server);
    if (address.family != CSC_FAMILY_IPV4) {
        csc_address_parse(address.family == CSC_FAMILY_ANY ? "127.0.0.1" : "::1", address.port,
                          &address);
    }
    csc_address own_name;
    int client = connect_to(&address, &own_name);
    CHECK(client >= 0, "errno %d", errno);
    world->clients[world->client_count++] = client;
    model_connected(it, &own_name);
}

static void touch_client(world *it, unsigned choice) {
    if (it->client_count == 0) {
        return;
    }
    size_t i = (choice >> 2) % it->client_count;
    switch (choice & 3) {
    case 0:
        send(it->clients[i], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 1:
        shutdown(it->clients[i], SHUT_WR);
        break;
    default:
        reset_and_close(it->clients[i]);
        it->clients[i] = it->clients[--it->client_count];
    }
}

static void listen_on(subject *it, unsigned choice) {
    static const char *const literals[] = {"127.0.0.1", "*", "::1", "::", "0.0.0.0", "192.0.2.1"};
    static const int backlogs[] = {INT_MAX, 0, 1, 5};
    csc_address address = {.family = CSC_FAMILY_NONE};
    size_t count = sizeof literals / sizeof literals[0];
    if (choice % 8 < count) {
        csc_address_parse(literals[choice % 8], 0, &address);
    }
    int backlog = backlogs[choice >> 3 & 3];
    if (choice & 0x20) { // where the other one is
        address.port = csc_server_port(it->world->subjects[it == &it->world->subjects[0]].server);
    }
    bool was_listening = it->listening;
    csc_server_set_backlog(it->server, backlog);
    bool listens = csc_server_listen(it->server, &address);
    CHECK(!listens || !was_listening || it->tampered || it->world->faulty, "twice");
    CHECK(listens || was_listening || it->world->faulty || choice % 8 != 0 || address.port != 0,
          "%s", csc_server_error_string(it->server));
    if (listens) {
        model_listens(it, backlog);
    } else {
        CHECK(csc_server_error(it->server) != CSC_ERROR_UNKNOWN || it->world->faulty, "no error");
    }
}

static int make_listener(void) {
    csc_address address;
    struct sockaddr_storage name;
    csc_address_parse("127.0.0.1", 0, &address);
    socklen_t length = csc_address_to_sockaddr(&address, &name);
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    if (descriptor >= 0 &&
        (bind(descriptor, (struct sockaddr *)&name, length) != 0 || listen(descriptor, 8) != 0)) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static void adopt(subject *it, unsigned choice) {
    world *world = it->world;
    const subject *other = &world->subjects[it == &world->subjects[0]];
    bool was_listening = it->listening;
    int descriptor = -1;
    bool is_own = false; // of this function, to be closed when it is refused
    switch (choice & 7) {
    case 0:
        descriptor = 0;
        break;
    case 1:
        descriptor = socket(AF_INET, SOCK_DGRAM, 0);
        is_own = true;
        break;
    case 2:
        descriptor = socket(AF_INET6, SOCK_STREAM, 0);
        is_own = true;
        break;
    case 3:
        descriptor = world->client_count > 0 ? world->clients[0] : -1;
        break;
    case 4:
        descriptor = other->server && !other->tampered ? csc_server_descriptor(other->server) : -1;
        break;
    case 5:
        break;
    default:
        descriptor = make_listener();
        is_own = true;
    }
    bool is_listener = (choice & 7) > 5;
    bool adopted = csc_server_adopt(it->server, descriptor);
    CHECK(!adopted || (is_listener && (!was_listening || it->tampered || world->faulty)), "%u",
          choice & 7);
    CHECK(adopted || !is_listener || was_listening || world->faulty || descriptor < 0, "%s",
          csc_server_error_string(it->server));
    if (adopted) {
        model_listens(it, 8);
    } else if (is_own && descriptor >= 0) {
        CHECK(close(descriptor) == 0 || world->faulty, "it was closed");
    }
}

static void finish(subject *it) {
    csc_server *server = it->server;
    unsigned epoch = it->epoch;
    it->finishing++;
    csc_server_finish(server);
    if (it->epoch != epoch) {
        return; // freed in a callback
    }
    bool listening = it->server && csc_server_is_listening(server);
    if (it->server && !listening) {
        model_stopped(it);
    } else if (it->server) {
        model_observe(it->world);
    }
    it->finishing--;
}

static void wait_for_one(subject *it, int msec) {
    unsigned epoch = it->epoch;
    bool was_listening = csc_server_is_listening(it->server);
    bool timed_out = false;
    uint64_t accepted = it->accepted;
    bool pending = it->pending.count > 0;
    bool got_one = csc_server_wait(it->server, msec, &timed_out);
    CHECK(!got_one || was_listening || pending, "one that does not listen");
    CHECK(got_one || !pending, "one is pending");
    CHECK(!got_one || !timed_out, "both");
    if (got_one && it->server && it->epoch == epoch && !pending) {
        csc_statistics now;
        csc_server_statistics(it->server, &now, sizeof now);
        CHECK(now.accepted > accepted, "for nobody");
    }
}

void take_next(subject *it) {
    csc_connection connection;
    bool expected = it->pending.count > 0;
    bool got_one = csc_server_next_pending(it->server, &connection);
    CHECK(got_one == expected, "%d", got_one);
    if (got_one) {
        model_popped(it, &connection);
        if (connection.descriptor >= 0) {
            world_take(it->world, connection.descriptor);
        }
    }
}

// Keeps a place, or adds a connection of the other server.
static void add(subject *it) {
    static const csc_connection place = {.descriptor = -1};
    if (it->pending.count + it->kernel.count + MOST_CLIENTS < MOST_IN_QUEUE) {
        CHECK(csc_server_add_pending(it->server, &place), "no memory");
        model_added(it);
    }
}

// What strangers do to the listening socket. Its number, once closed, may come back for a client.
static void tamper(subject *it, unsigned choice) {
    int descriptor = csc_server_descriptor(it->server);
    if (descriptor < 0 || it->tampered) {
        return;
    }
    it->tampered = true;
    if (choice & 1) {
        shutdown(descriptor, SHUT_RDWR);
        it->kernel.count = 0;
    } else {
        close(descriptor);
    }
}

static void set_number(subject *it, unsigned choice) {
    static const int numbers[] = {0, 1, 2, 3, 7, 30, -1, INT_MIN};
    int number = numbers[choice >> 3 & 7];
    switch (choice & 3) {
    case 0:
    case 1:
        it->limit = number;
        csc_server_set_max_pending(it->server, number);
        CHECK(csc_server_max_pending(it->server) == number, "%d", number);
        break;
    case 2:
        csc_server_set_accept_batch(it->server, number);
        CHECK(csc_server_accept_batch(it->server) == (number < 1 ? 1 : number), "%d", number);
        break;
    default:
        csc_server_set_expected_descriptors(it->server, number);
        csc_server_set_descriptor_reserve(it->server, number);
    }
}

static void set_policy(subject *it, unsigned choice) {
    static const csc_overload_policy policies[] = {CSC_OVERLOAD_WAIT, CSC_OVERLOAD_SHED,
                                                   CSC_OVERLOAD_STRICT, CSC_OVERLOAD_SHED};
    static const csc_excess excesses[] = {CSC_EXCESS_WAIT, CSC_EXCESS_CLOSE, CSC_EXCESS_RESET,
                                          CSC_EXCESS_WAIT};
    switch (choice & 3) {
    case 0:
        csc_server_set_overload_policy(it->server, policies[choice >> 2 & 3]);
        break;
    case 1:
        csc_server_set_max_connections(it->server, (int)(choice >> 4) - 1,
                                       excesses[choice >> 2 & 3]);
        break;
    default:
        csc_server_connection_ended(it->server);
    }
}

// A connection that a proxy would have passed on.
static void pass_on(subject *it) {
    static uint16_t port;
    csc_address peer;
    csc_address_parse("192.0.2.1", ++port, &peer);
    csc_connection connection = {.peer = peer};
    if (it->world->faulty || it->kernel.count + it->pending.count + MOST_CLIENTS >= MOST_IN_QUEUE) {
        return;
    }
    connection.descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(connection.descriptor >= 0, "errno %d", errno);
    unsigned finishing = it->finishing;
    unsigned epoch = it->epoch;
    model_passed_on(it, &peer);
    it->finishing++; // the limit makes it wait as little
    CHECK(csc_server_inject(it->server, &connection), "no memory");
    if (it->server && it->epoch == epoch) {
        model_observe(it->world);
        it->finishing = finishing;
    }
}

// The next call of this kind fails, within the operation that follows.
static void plan_fault(unsigned choice, unsigned detail) {
    // Not those that would leave a descriptor open because the kernel lies about it.
    static const fault_call calls[] = {
        FAULT_ACCEPT4,        FAULT_ACCEPT4,         FAULT_ACCEPT4,     FAULT_SOCKET,
        FAULT_BIND,           FAULT_LISTEN,          FAULT_FCNTL,       FAULT_CLOSE,
        FAULT_TIMERFD_CREATE, FAULT_TIMERFD_SETTIME, FAULT_GETSOCKOPT,  FAULT_POLL,
        FAULT_READ,           FAULT_SETSOCKOPT,      FAULT_GETSOCKNAME, FAULT_EPOLL_WAIT};
    static const int errors[] = {EMFILE,  ENOMEM, ECONNABORTED, EINTR,  EPERM, EINVAL,
                                 ENOBUFS, EAGAIN, EPROTO,       ENFILE, EBADF, EOPNOTSUPP,
                                 ENOSYS,  EIO,    EADDRINUSE,   EACCES};
    fault_fail(calls[choice & 15], 1 + (choice >> 4 & 3), 1 + (detail >> 4 & 3),
               errors[detail & 15]);
}

static void replace(subject *it, unsigned choice) {
    subject_free(it);
    subject_begin(it, !it->world->running || (choice & 1) == 0);
    set_callbacks(it, choice >> 1);
}

// The descriptors run out while the loop runs.
static void run_exhausted(world *it) {
    struct rlimit before;
    if (it->faulty || it->depth > 0 || getrlimit(RLIMIT_NOFILE, &before) != 0) {
        return;
    }
    struct rlimit lowered = before;
    int lowest_free = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(lowest_free);
    lowered.rlim_cur = (rlim_t)(lowest_free + world_byte(it) % 4);
    it->faulty = true;
    setrlimit(RLIMIT_NOFILE, &lowered);
    run_ready(it);
    setrlimit(RLIMIT_NOFILE, &before);
}

enum { OPERATIONS = 20 }; // the last ones run the loop

static void call(subject *it, unsigned operation, unsigned choice) {
    switch (operation) {
    case 0:
    case 1:
        connect_client(it);
        break;
    case 2:
        touch_client(it->world, choice);
        break;
    case 3:
        listen_on(it, choice);
        break;
    case 4:
        csc_server_close(it->server);
        model_closed(it);
        break;
    case 5:
        finish(it);
        break;
    case 6:
        wait_for_one(it, choice == 255 ? 1 : 0);
        break;
    case 7:
        take_next(it);
        break;
    case 8:
        add(it);
        break;
    case 9:
        set_number(it, choice);
        break;
    case 10:
        (choice & 1 ? csc_server_pause : csc_server_resume)(it->server);
        break;
    case 11:
        adopt(it, choice);
        break;
    case 12:
        tamper(it, choice);
        break;
    case 13:
        replace(it, choice);
        break;
    case 14:
        set_callbacks(it, choice);
        break;
    case 15:
        set_policy(it, choice);
        break;
    case 16:
        pass_on(it);
        break;
    case 17:
        run_exhausted(it->world);
        break;
    default:
        fault_advance_clock(choice * 10);
        run_ready(it->world);
    }
}

// One call: the operation and the server in one byte, its choice in another. The bits above say
// whether the loop runs before, or something fails.
void operate(world *it) {
    uint8_t first = world_byte(it);
    uint8_t choice = world_byte(it);
    subject *subject = &it->subjects[first >> 5 & 1];
    bool outermost = it->depth == 0;
    switch (first >> 6) {
    case 1:
        run_ready(it);
        model_observe(it);
        break;
    case 3:
        if (outermost) {
            unsigned fault = world_byte(it);
            it->faulty = true;
            plan_fault(fault, world_byte(it));
        }
        break;
    default:
        break;
    }
    if (!subject->server) {
        subject_begin(subject, true);
    }
    call(subject, (first & 31) % OPERATIONS, choice);
    model_observe(it);
    if (outermost) {
        fault_clear();
        it->faulty = false;
    }
}
