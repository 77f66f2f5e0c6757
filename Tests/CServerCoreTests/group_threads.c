// SPDX-License-Identifier: Apache-2.0

// A group at work: an acceptor and its members on threads of their own, clients that come and go,
// ends that are reported on other threads, loops that pause and fall asleep. The thread sanitizer
// judges what the servers share; what comes out must be what came in, each connection once, and
// never more of them at a time than the limit.
//
// For three seconds, or for as many as the environment variable GROUP_SECONDS says.

#include "fixture.h"
#include "must.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LIMIT = 24,      // of live connections, which is met all the time
    MOST_LIVE = 256, // when the acceptor finishes, which knows no limit
    MEMBERS = 5,
    LOCAL = 0, // the index of the member on the acceptor's loop
    CLIENT_THREADS = 3,
    READER_THREADS = 2,
    BATCH = 32, // connections that a client thread has at once
    MOST_CLIENTS = 1 << 22,
    USUAL_SECONDS = 3,
    LONGEST_WAIT_S = 100, // of a client, on a machine that is busy with other things
};

static const uint8_t greeting = 'x';

static csc_address address;            // of the acceptor
static atomic_uint clients;            // numbers given to clients
static atomic_bool seen[MOST_CLIENTS]; // by a member, with its number as address
static atomic_uint live;               // connections that members have taken and not ended
static atomic_uint most_live, taken;
static atomic_bool is_finishing; // which accepts whatever the limits say
static atomic_bool is_over;

static uint32_t any(uint64_t *random, uint32_t count) {
    *random = *random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*random >> 33) % count;
}

/* ---------------------------------------------------------------------------------------------- */
// A thread that ends connections of all members

typedef struct ending {
    csc_server *server;
    int descriptor;
} ending;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    ending endings[MOST_LIVE];
    int count;
    bool is_over;
    pthread_t thread;
} ender = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

// The program counts it first: what the server counts is never less.
static void end(ending it) {
    close(it.descriptor);
    atomic_fetch_sub(&live, 1);
    csc_server_connection_ended(it.server);
}

static void end_elsewhere(ending it) {
    pthread_mutex_lock(&ender.lock);
    must(ender.count < MOST_LIVE);
    ender.endings[ender.count++] = it;
    pthread_cond_signal(&ender.changed);
    pthread_mutex_unlock(&ender.lock);
}

static void *end_those_of_others(void *nothing) {
    pthread_mutex_lock(&ender.lock);
    while (ender.count > 0 || !ender.is_over) {
        if (ender.count == 0) {
            pthread_cond_wait(&ender.changed, &ender.lock);
            continue;
        }
        ending it = ender.endings[--ender.count];
        pthread_mutex_unlock(&ender.lock);
        end(it);
        pthread_mutex_lock(&ender.lock);
    }
    pthread_mutex_unlock(&ender.lock);
    return nothing;
}

static void finish_ending(void) {
    pthread_mutex_lock(&ender.lock);
    ender.is_over = true;
    pthread_cond_signal(&ender.changed);
    pthread_mutex_unlock(&ender.lock);
    assert_int_equal(pthread_join(ender.thread, NULL), 0);
}

/* ---------------------------------------------------------------------------------------------- */
// Members

typedef struct member {
    csc_server *server;
    struct event_base *base; // owned, unless it is the acceptor's
    struct event *tick;
    struct event *last;  // the command to finish
    int commands[2];     // a pipe for it
    int live[MOST_LIVE]; // descriptors
    uint32_t live_count;
    uint64_t random; // state
    pthread_t thread;
} member;

static member members[MEMBERS];

static uint32_t number_of(const csc_address *peer) {
    return (uint32_t)peer->bytes[1] << 16 | (uint32_t)peer->bytes[2] << 8 | peer->bytes[3];
}

static void note_most_live(uint32_t count) {
    uint32_t most = atomic_load(&most_live);
    while (count > most && !atomic_compare_exchange_weak(&most_live, &most, count)) {
    }
}

static bool take_one(member *self) {
    csc_connection connection;
    if (!csc_server_next_pending(self->server, &connection)) {
        return false;
    }
    uint32_t count = atomic_fetch_add(&live, 1) + 1;
    must(count <= LIMIT || atomic_load(&is_finishing));
    note_most_live(count <= LIMIT ? count : LIMIT);
    must(!atomic_exchange(&seen[number_of(&connection.peer)], true));
    atomic_fetch_add(&taken, 1);
    send(connection.descriptor, &greeting, 1, MSG_NOSIGNAL); // to one that may have gone
    self->live[self->live_count++] = connection.descriptor;
    return true;
}

static void end_one(member *self) {
    uint32_t index = any(&self->random, self->live_count);
    ending it = {.server = self->server, .descriptor = self->live[index]};
    self->live[index] = self->live[--self->live_count];
    if (any(&self->random, 2) == 0) {
        end(it);
    } else {
        end_elsewhere(it);
    }
}

// Leaves some pending until the next tick.
static void on_new_connection(csc_server *server, void *context) {
    member *self = context;
    (void)server;
    if (any(&self->random, 8) > 0 && take_one(self) && any(&self->random, 4) == 0) {
        end_one(self);
    }
}

static csc_admission reject_some(csc_server *server, const csc_address *peer, void *context) {
    (void)server, (void)peer;
    return any(&((member *)context)->random, 50) == 0 ? CSC_CLOSE : CSC_ADMIT;
}

static void be_busy(void) {
    const struct timespec time = {.tv_nsec = 20000000};
    nanosleep(&time, NULL);
}

static void on_tick(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    member *self = context;
    while (take_one(self)) {
    }
    for (uint32_t count = (any(&self->random, self->live_count + 1) + 1) / 2; count > 0; count--) {
        end_one(self);
    }
    switch (any(&self->random, 100)) {
    case 0:
        be_busy();
        break;
    case 1:
        csc_server_set_max_pending(self->server, 1 + (int)any(&self->random, 30));
        break;
    case 2:
        csc_server_set_max_connections(self->server, 1 + (int)any(&self->random, LIMIT),
                                       CSC_EXCESS_WAIT);
        break;
    default:
        if (any(&self->random, 10) == 0) {
            csc_server_pause(self->server);
        } else if (any(&self->random, 3) == 0) {
            csc_server_resume(self->server);
        }
    }
}

static void finish_member(member *self) {
    csc_server_finish(self->server);
    must(!csc_server_is_listening(self->server));
    while (take_one(self)) {
    }
    while (self->live_count > 0) {
        end_one(self);
    }
    event_base_loopbreak(self->base);
}

static void on_command(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    finish_member(context);
}

static void *run_loop(void *base) {
    must(event_base_dispatch(base) == 0);
    return NULL;
}

static void make_member(member *self, fixture *it, csc_group *group) {
    const struct timeval tick = {.tv_usec = 1000};
    self->random = (uint64_t)(self - members) + 1;
    self->base = self == &members[LOCAL] ? it->base : event_base_new();
    self->server = csc_server_new(self->base);
    csc_server_on_new_connection(self->server, on_new_connection, self);
    if (self == &members[MEMBERS - 1]) {
        csc_server_on_admission(self->server, reject_some, self);
    }
    assert_true(csc_group_add(group, self->server));
    assert_int_equal(pipe(self->commands), 0);
    self->tick = event_new(self->base, -1, EV_PERSIST, on_tick, self);
    self->last = event_new(self->base, self->commands[0], EV_READ, on_command, self);
    assert_int_equal(event_add(self->tick, &tick), 0);
    assert_int_equal(event_add(self->last, NULL), 0);
}

static void free_member(member *self) {
    event_free(self->tick);
    event_free(self->last);
    close(self->commands[0]);
    close(self->commands[1]);
    csc_server_free(self->server);
    if (self != &members[LOCAL]) {
        event_base_free(self->base);
    }
}

/* ---------------------------------------------------------------------------------------------- */
// The acceptor

typedef struct acceptor {
    csc_server *server;
    csc_group *group;
    struct event *tick;
    uint64_t random; // state
    int64_t deadline;
    pthread_t thread;
} acceptor;

static void change_something(acceptor *self) {
    switch (any(&self->random, 20)) {
    case 0:
        csc_group_set_distribution(self->group, (csc_distribution)any(&self->random, 4));
        break;
    case 1:
        csc_server_set_max_pending(self->server, 1 + (int)any(&self->random, 30));
        break;
    case 2:
        csc_group_set_stall_limit(self->group, (int)any(&self->random, 20) - 1);
        break;
    case 3:
        csc_server_pause(self->server);
        break;
    default:
        csc_server_resume(self->server);
    }
}

static void on_acceptors_tick(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    acceptor *self = context;
    if (monotonic_milliseconds() < self->deadline) {
        change_something(self);
        return;
    }
    atomic_store(&is_finishing, true);
    csc_server_finish(self->server);
    finish_member(&members[LOCAL]);
}

static void start_acceptor(acceptor *self, fixture *it, int64_t seconds) {
    const struct timeval tick = {.tv_usec = 3000};
    self->deadline = monotonic_milliseconds() + seconds * 1000;
    self->tick = event_new(it->base, -1, EV_PERSIST, on_acceptors_tick, self);
    csc_server_set_max_connections(self->server, LIMIT, CSC_EXCESS_WAIT);
    fixture_listen(it);
    address = csc_server_address(self->server);
    assert_int_equal(event_add(self->tick, &tick), 0);
    assert_int_equal(pthread_create(&self->thread, NULL, run_loop, it->base), 0);
}

/* ---------------------------------------------------------------------------------------------- */
// Clients

// From an address that is the client's number; -1 when the server has gone.
static int connect_as(uint32_t number) {
    const struct timeval longest = {.tv_sec = LONGEST_WAIT_S};
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = {htonl(127U << 24 | number)}};
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(&address, &name);
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(descriptor >= 0);
    must(setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest) == 0);
    must(bind(descriptor, (struct sockaddr *)&own, sizeof own) == 0);
    if (connect(descriptor, (struct sockaddr *)&name, length) != 0) {
        must(errno == ECONNREFUSED || errno == ECONNRESET);
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static void reset(int descriptor) {
    const struct linger at_once = {.l_onoff = 1};
    must(setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(descriptor);
}

// Only the member that has taken the connection reports it.
static void read_all(int descriptor, uint32_t number) {
    uint8_t byte = 0;
    ssize_t size = recv(descriptor, &byte, 1, 0);
    must(size >= 0 || errno == ECONNRESET);
    must((size > 0) == atomic_load(&seen[number]));
    must(size <= 0 || (byte == greeting && recv(descriptor, &byte, 1, 0) == 0));
    close(descriptor);
}

static void *be_clients(void *context) {
    uint64_t random = (uintptr_t)context;
    bool is_refused = false;
    while (!is_refused) {
        int descriptors[BATCH];
        uint32_t first = atomic_fetch_add(&clients, BATCH) + 1;
        must(first + BATCH <= MOST_CLIENTS);
        for (uint32_t i = 0; i < BATCH; i++) {
            descriptors[i] = is_refused ? -1 : connect_as(first + i);
            is_refused = descriptors[i] < 0;
            // Not the last: its end says that the server has seen those before.
            if (!is_refused && i < BATCH - 1 && any(&random, 4) == 0) {
                reset(descriptors[i]);
                descriptors[i] = -1;
            }
        }
        for (uint32_t i = 0; i < BATCH; i++) {
            if (descriptors[i] >= 0) {
                read_all(descriptors[i], first + i);
            }
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- */
// Readers of the statistics

static void *read_statistics(void *group) {
    csc_statistics before = {0};
    while (!atomic_load(&is_over)) {
        csc_statistics now;
        csc_group_statistics(group, &now, sizeof now);
        must(now.accepted >= before.accepted && now.taken_back >= before.taken_back);
        must(csc_group_size(group) == MEMBERS);
        before = now;
        for (size_t index = 0; index < MEMBERS; index++) {
            csc_group_member_statistics(group, index, &now, sizeof now);
        }
        csc_group_is_listening(group);
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- */

static void join(pthread_t *threads, int count) {
    for (int i = 0; i < count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void finish_members(void) {
    for (int i = LOCAL + 1; i < MEMBERS; i++) {
        assert_int_equal(write(members[i].commands[1], "", 1), 1);
    }
    for (int i = LOCAL + 1; i < MEMBERS; i++) {
        assert_int_equal(pthread_join(members[i].thread, NULL), 0);
    }
    finish_ending();
    // What the other thread has ended since is counted by the loop, which is ours now.
    for (int i = 0; i < MEMBERS; i++) {
        event_del(members[i].tick);
        event_base_loop(members[i].base, EVLOOP_NONBLOCK);
    }
}

static void assert_all_adds_up(const acceptor *self) {
    csc_statistics now;
    csc_group_statistics(self->group, &now, sizeof now);
    assert_int_equal(now.accepted, now.delivered + now.rejected_by_admission);
    assert_int_equal(now.delivered, atomic_load(&taken));
    assert_int_equal(now.added + now.pending + now.in_mailbox + now.discarded_on_close, 0);
    assert_int_equal(now.shed + now.rejected_by_limit, 0);
    assert_int_equal(now.live, 0);
    assert_int_equal(csc_server_live(self->server), 0);
    uint32_t count = 0;
    for (uint32_t number = 0; number < MOST_CLIENTS; number++) {
        count += atomic_load(&seen[number]);
    }
    assert_int_equal(count, now.delivered);
    print_message("%lu connections, %u at once, %lu taken back\n", (unsigned long)now.accepted,
                  atomic_load(&most_live), (unsigned long)now.taken_back);
}

static void each_connection_is_served_once_whatever_the_loops_do(void **state) {
    fixture *it = *state;
    const char *given = getenv("GROUP_SECONDS");
    pthread_t client_threads[CLIENT_THREADS];
    pthread_t readers[READER_THREADS];
    acceptor self = {.server = it->server, .group = csc_group_new(it->server, MEMBERS)};
    assert_non_null(self.group);
    for (int i = 0; i < MEMBERS; i++) {
        make_member(&members[i], it, self.group);
    }
    start_acceptor(&self, it, given ? strtol(given, NULL, 10) : USUAL_SECONDS);
    assert_int_equal(pthread_create(&ender.thread, NULL, end_those_of_others, NULL), 0);
    for (int i = LOCAL + 1; i < MEMBERS; i++) {
        assert_int_equal(pthread_create(&members[i].thread, NULL, run_loop, members[i].base), 0);
    }
    for (int i = 0; i < READER_THREADS; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_statistics, self.group), 0);
    }
    for (int i = 0; i < CLIENT_THREADS; i++) {
        void *random = (void *)(uintptr_t)(i + 100);
        assert_int_equal(pthread_create(&client_threads[i], NULL, be_clients, random), 0);
    }
    join(&self.thread, 1);
    event_free(self.tick);
    finish_members();
    join(client_threads, CLIENT_THREADS);
    atomic_store(&is_over, true);
    join(readers, READER_THREADS);
    fixture_run_ready(it); // counts what has ended since
    assert_all_adds_up(&self);
    for (int i = 0; i < MEMBERS; i++) {
        free_member(&members[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(each_connection_is_served_once_whatever_the_loops_do),
    };
    return cmocka_run_group_tests_name("group threads", tests, NULL, NULL);
}
