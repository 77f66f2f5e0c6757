// SPDX-License-Identifier: Apache-2.0

// Servers on several threads at once: eight loops with servers of their own, on which every public
// call is made at random, in callbacks as well, while clients come from all threads. The thread
// sanitizer judges what the servers share, the counters that no connection is lost.
//
// For five seconds, or for as many as the environment variable THREADS_SECONDS says.

#include "operations.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 8, SERVERS = 3, MOST_OWNED = 100, DEEPEST = 3, USUAL_SECONDS = 5 };

typedef struct worker {
    scene scene;
    csc_server *servers[SERVERS];
    size_t operation_count;
    uint64_t random; // state
    int64_t deadline;
    int depth; // operations on the stack
    uint64_t operated;
    pthread_t thread;
} worker;

static _Atomic uint16_t ports[THREADS * SERVERS]; // at which a server listens, or did

static uint32_t any(worker *self, uint32_t count) {
    self->random = self->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(self->random >> 33) % count;
}

static const operation *any_operation(worker *self) {
    return &operations[any(self, (uint32_t)self->operation_count)];
}

static void assert_balance(const csc_server *server) {
    csc_statistics now;
    csc_server_statistics(server, &now, sizeof now);
    assert_int_equal(now.accepted + now.added,
                     now.delivered + now.pending + now.discarded_on_close + now.shed +
                         now.rejected_by_admission + now.rejected_by_limit +
                         now.rejected_by_source_limit + now.rejected_by_source_rate +
                         now.in_preface + now.ended_in_preface);
}

static void operate(worker *self, csc_server *server, const operation *operation) {
    self->depth++;
    self->operated++;
    operation->perform(&self->scene, server);
    self->depth--;
}

// Frees the server only where no operation of ours goes on with it.
static void operate_in_callback(worker *self, csc_server *server) {
    const operation *operation = any_operation(self);
    if (self->depth < DEEPEST && any(self, 2) == 0 && !operation->frees) {
        operate(self, server, operation);
    }
}

static void on_new_connection(csc_server *server, void *context) {
    operate_in_callback(context, server);
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    worker *self = context;
    const csc_connection *outer = self->scene.connection;
    fixture_own(self->scene.it, connection->descriptor);
    self->scene.connection = connection;
    operate_in_callback(self, server);
    self->scene.connection = outer;
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    (void)error;
    operate_in_callback(context, server);
}

static csc_server *make_server(worker *self) {
    csc_address address = address_of(own_loopback(), 0);
    csc_server *server = csc_server_new(any(self, 4) > 0 ? self->scene.it->base : NULL);
    csc_server_on_new_connection(server, on_new_connection, self);
    csc_server_on_accept_error(server, on_accept_error, self);
    if (any(self, 2) == 0) {
        csc_server_on_incoming_connection(server, on_incoming, self);
    }
    assert_true(csc_server_listen(server, &address));
    return server;
}

// To a server of any thread, which need not be there any more. Does not wait for a full queue.
static void connect_somewhere(worker *self) {
    csc_address address =
        address_of(own_loopback(), atomic_load(&ports[any(self, THREADS * SERVERS)]));
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(&address, &name);
    int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(descriptor >= 0);
    if (connect(descriptor, (struct sockaddr *)&name, length) == 0 || errno == EINPROGRESS) {
        fixture_own(self->scene.it, descriptor);
    } else {
        close(descriptor);
    }
}

static void close_owned(worker *self, int left) {
    fixture *it = self->scene.it;
    while (it->owned_count > left) {
        fixture_close(it, it->owned[any(self, (uint32_t)it->owned_count)]);
    }
}

static void step(worker *self, size_t place) {
    static const int errnums[] = {EMFILE, ECONNABORTED, EPROTO, EINVAL, ENOSYS};
    size_t i = any(self, SERVERS);
    csc_server **server = &self->servers[i];
    const operation *operation = any_operation(self);
    if (any(self, 20) == 0) {
        fault_fail(FAULT_ACCEPT4, 1, 1, errnums[any(self, 5)]);
    }
    for (uint32_t clients = any(self, 4); clients > 0; clients--) {
        connect_somewhere(self);
    }
    operate(self, *server, operation);
    if (operation->frees) {
        *server = make_server(self);
    }
    fixture_run_ready(self->scene.it);
    assert_balance(*server);
    atomic_store(&ports[place * SERVERS + i], csc_server_port(*server));
    if (self->scene.it->owned_count > MOST_OWNED) {
        close_owned(self, MOST_OWNED / 2);
    }
}

static size_t place_of(const worker *self, const worker *workers) {
    return (size_t)(self - workers);
}

static worker workers[THREADS];

static void *work(void *context) {
    worker *self = context;
    self->scene.it->base = event_base_new();
    assert_non_null(self->scene.it->base);
    for (int i = 0; i < SERVERS; i++) {
        self->servers[i] = make_server(self);
    }
    while (monotonic_milliseconds() < self->deadline) {
        step(self, place_of(self, workers));
    }
    fault_clear();
    for (int i = 0; i < SERVERS; i++) {
        csc_server_close(self->servers[i]);
        assert_balance(self->servers[i]);
        csc_server_free(self->servers[i]);
    }
    close_owned(self, 0);
    event_base_free(self->scene.it->base);
    return NULL;
}

static void every_call_may_be_made_at_any_time_on_several_threads(void **state) {
    (void)state;
    const char *given = getenv("THREADS_SECONDS");
    int64_t seconds = given ? strtol(given, NULL, 10) : USUAL_SECONDS;
    for (size_t i = 0; i < THREADS; i++) {
        worker *self = &workers[i];
        *self = (worker){.random = i + 1, .deadline = monotonic_milliseconds() + seconds * 1000};
        self->scene.it = calloc(1, sizeof *self->scene.it);
        assert_non_null(self->scene.it);
        while (operations[self->operation_count].name) {
            self->operation_count++;
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    uint64_t operated = 0;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        operated += workers[i].operated;
        free(workers[i].scene.it);
    }
    print_message("%llu operations\n", (unsigned long long)operated);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(every_call_may_be_made_at_any_time_on_several_threads),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
