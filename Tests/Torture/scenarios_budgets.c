// SPDX-License-Identifier: Apache-2.0

// A server that shares a limit with others, which have none of the places here; and the sockets of
// several.

#include "torture.h"

#include <stddef.h>
#include <unistd.h>

enum { LIMIT = 3, SEVERAL = 3 };

// The server keeps the budget; without memory for it, it serves alone.
static bool start_with_budget(run *it, int limit) {
    if (!run_start(it)) {
        return false;
    }
    csc_budget *budget = csc_budget_new(limit);
    it->told += !budget;
    if (budget && !csc_server_set_budget(it->server, budget)) {
        run_must_explain(it, "a budget");
    }
    csc_budget_free(budget);
    it->ends_connections = true;
    return true;
}

static void serve_within_a_budget(run *it) {
    if (!start_with_budget(it, LIMIT) || !run_listen(it)) {
        return;
    }
    run_connect(it, LIMIT - 1);
    run_turn(it);
    run_connect(it, LIMIT);
    run_turn(it);
    run_turn(it);
    run_take_all(it); // wakes it
    run_serve(it, true);
}

static void finish_within_a_budget(run *it) {
    if (!start_with_budget(it, 1) || !run_listen(it)) {
        return;
    }
    run_connect(it, LIMIT);
    run_turn(it);
    csc_server_finish(it->server);
    it->closed = true;
    it->may_lose = it->connected - run_statistics(it).accepted;
    if (it->may_lose > 0 && it->told == 0 && !it->misled) {
        run_object(it, "%lu clients lost without a word", it->may_lose);
    }
    run_take_all(it);
}

static void free_with_places(run *it) {
    if (start_with_budget(it, 1) && run_listen(it)) {
        run_connect(it, LIMIT);
        run_turn(it);
        run_free(it);
    }
}

static void open_several(run *it) {
    int descriptors[SEVERAL];
    csc_address where = {.bytes = {127, 0, 0, 1}, .family = CSC_FAMILY_IPV4};
    if (!run_start(it)) {
        return;
    }
    if (!csc_server_open_sockets(it->server, &where, descriptors, SEVERAL)) {
        run_must_explain(it, "opening several");
        return;
    }
    for (int index = 0; index < SEVERAL; index++) {
        fault_take(descriptors[index]);
    }
    bool adopted = run_adopt(it, descriptors[0]);
    fault_suspend();
    for (int index = adopted ? 1 : 0; index < SEVERAL; index++) {
        close(descriptors[index]); // where no client is yet
    }
    fault_resume();
    run_connect(it, 2);
    run_serve(it, true);
}

const scenario budget_scenarios[] = {
    {"a budget", serve_within_a_budget},
    {"finish within a budget", finish_within_a_budget},
    {"free with places", free_with_places},
    {"open several", open_several},
    {NULL, NULL},
};
