// SPDX-License-Identifier: Apache-2.0

// Servers on threads of their own that share a table of sources and a rate, with few sources and a
// small table, so that they meet in its buckets. No source ever has more than it may have, and in the
// end none has anything.

#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { THREADS = 4, SOURCES = 24, LIMIT = 3, CLIENTS = 20000, HELD = 16 };

static csc_sources *sources;
static csc_rate *rate;
static atomic_uint live[SOURCES];
static atomic_uint too_many, let_in, rejected;

static void end(csc_server *server, const csc_connection *connection) {
    atomic_fetch_sub(&live[connection->peer.bytes[3]], 1); // before the server counts it
    csc_server_connection_ended_from(server, connection->source);
}

static void *serve(void *seed) {
    csc_server *server = csc_server_new(NULL);
    csc_connection held[HELD] = {0};
    unsigned random = (unsigned)(uintptr_t)seed;
    if (!csc_server_set_sources(server, sources) || !csc_server_set_accept_rate(server, rate)) {
        abort();
    }
    for (int client = 0; client < CLIENTS; client++) {
        random = random * 1103515245 + 12345;
        csc_connection *place = &held[random / 65536 % HELD];
        if (place->source > 0) {
            end(server, place);
        }
        csc_connection connection = {.descriptor = -1, .peer = {.family = CSC_FAMILY_IPV4}};
        connection.peer.bytes[3] = (uint8_t)(random / 4096 % SOURCES);
        *place = (csc_connection){0};
        csc_server_inject(server, &connection);
        if (csc_server_next_pending(server, place)) {
            atomic_fetch_add(&let_in, 1);
            if (place->source == 0) {
                csc_server_connection_ended(server); // its bucket was full
            } else if (atomic_fetch_add(&live[connection.peer.bytes[3]], 1) >= LIMIT) {
                atomic_fetch_add(&too_many, 1);
            }
        } else {
            atomic_fetch_add(&rejected, 1);
        }
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i].source > 0) {
            end(server, &held[i]);
        }
    }
    csc_server_free(server);
    return NULL;
}

static void threads_share_a_table(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    sources = csc_sources_new(&(csc_source_limits){.max_connections = LIMIT, .table_size = 64});
    rate = csc_rate_new(1, 1);
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, serve, (void *)(i + 1)), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(too_many, 0);
    assert_int_equal(let_in + rejected, THREADS * CLIENTS);
    assert_int_not_equal(rejected, 0);
    assert_int_equal(csc_sources_in_use(sources), 0);
    csc_sources_free(sources);
    csc_rate_free(rate);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
