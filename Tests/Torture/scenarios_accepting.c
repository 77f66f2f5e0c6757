// SPDX-License-Identifier: Apache-2.0

// How connections come in, wait and are taken.

#include "torture.h"

#include <event2/event.h>
#include <stddef.h>

static void accept_in_batches(run *it) {
    if (!run_start(it)) {
        return;
    }
    csc_server_set_accept_batch(it->server, 2);
    if (run_listen(it)) {
        run_connect(it, 5);
        run_serve(it, false);
        run_connect(it, 1);
        run_serve(it, true);
    }
}

// Takes one itself and gives the next back to the queue.
static void take_or_give_back(csc_server *server, const csc_connection *connection, void *context) {
    run *it = context;
    if (it->taken % 2 == 1 && csc_server_add_pending(server, connection)) {
        return;
    }
    run_took(it, server, connection);
}

static void take_incoming(run *it) {
    if (run_start(it)) {
        csc_server_on_incoming_connection(it->server, take_or_give_back, it);
        if (run_listen(it)) {
            run_connect(it, 4);
            run_serve(it, true);
        }
    }
}

static void reach_the_limit(run *it) {
    if (!run_start(it)) {
        return;
    }
    csc_server_set_max_pending(it->server, 2);
    if (run_listen(it)) {
        run_connect(it, 5);
        for (int turn = 0; turn < 5; turn++) {
            run_turn(it);
        }
        run_serve(it, true);
        csc_server_set_max_pending(it->server, 0);
        run_connect(it, 1);
        run_turn(it);
        csc_server_set_max_pending(it->server, 40);
        run_serve(it, true);
    }
}

static void pause_and_resume(run *it) {
    if (run_start(it) && run_listen(it)) {
        csc_server_pause(it->server);
        run_connect(it, 2);
        run_turn(it);
        csc_server_resume(it->server);
        run_serve(it, true);
    }
}

static void pause_on_an_error(run *it) {
    if (run_start(it)) {
        csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
        if (run_listen(it)) {
            run_connect(it, 2);
            run_serve(it, true);
        }
    }
}

static void add_places(run *it) {
    static const csc_connection place = {.descriptor = -1};
    if (!run_start(it)) {
        return;
    }
    for (int i = 0; i < 40; i++) {
        it->told += !csc_server_add_pending(it->server, &place);
    }
    run_take_all(it);
    if (run_listen(it)) {
        it->told += !csc_server_add_pending(it->server, &place);
        run_connect(it, 2);
        run_serve(it, true);
    }
}

// Some with a client that is there, one that times out.
static void wait_for_connections(run *it) {
    if (!run_start(it) || !run_listen(it)) {
        return;
    }
    bool timed_out;
    run_connect(it, 2);
    for (int i = 0; i < 2; i++) {
        if (!csc_server_wait(it->server, 3000, &timed_out)) {
            it->told++;
        }
        run_take_all(it);
    }
    if (csc_server_wait(it->server, 1500, &timed_out)) {
        run_take_all(it);
    }
    run_connect(it, 1);
    run_serve(it, true);
}

static void wait_without_a_loop(run *it) {
    it->without_base = true;
    wait_for_connections(it);
}

const scenario accepting_scenarios[] = {
    {"accept in batches", accept_in_batches},
    {"incoming callback", take_incoming},
    {"pending limit", reach_the_limit},
    {"pause and resume", pause_and_resume},
    {"pause on an error", pause_on_an_error},
    {"add to the queue", add_places},
    {"wait on a loop", wait_for_connections},
    {"wait without a loop", wait_without_a_loop},
    {NULL, NULL},
};
