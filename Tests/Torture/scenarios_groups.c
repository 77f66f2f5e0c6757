// SPDX-License-Identifier: Apache-2.0

// A server that places its connections on two members: one on its own loop, one on another, which
// the same thread runs.

#include "torture.h"

#include <stddef.h>

enum { STALLED_MS = 20 };

// What the other loop does not fetch in time is placed on this one.
static void leave_the_other_loop(run *it) {
    run_connect(it, 4);
    run_turn_of_server(it);
    fault_advance_clock(STALLED_MS);
    run_turn_of_server(it);
}

static void serve_in_a_group(run *it) {
    if (!run_start_group(it) || !run_listen(it)) {
        return;
    }
    it->ends_connections = true;
    csc_server_set_max_connections(it->server, 6, CSC_EXCESS_WAIT);
    run_connect(it, 4);
    run_serve(it, true);
    leave_the_other_loop(it);
    run_serve(it, true);
    run_connect(it, 8);
    for (int turn = 0; turn < 3; turn++) {
        run_turn(it);
    }
    run_serve(it, true);
}

static void pause_members(run *it) {
    if (!run_start_group(it) || !run_listen(it)) {
        return;
    }
    csc_server_set_max_pending(it->server, 2);
    for (int index = 0; index < MEMBERS; index++) {
        csc_server_pause(it->members[index]);
    }
    run_connect(it, 6);
    for (int turn = 0; turn < 3; turn++) {
        run_turn(it);
    }
    for (int index = 0; index < MEMBERS; index++) {
        csc_server_resume(it->members[index]);
    }
    run_serve(it, true);
}

static void finish_a_group(run *it) {
    if (!run_start_group(it) || !run_listen(it)) {
        return;
    }
    run_connect(it, 6);
    run_turn_of_server(it);
    run_connect(it, 6);
    csc_server_finish(it->server);
    for (int index = 0; index < MEMBERS; index++) {
        csc_server_finish(it->members[index]);
    }
    it->closed = true;
    it->may_lose = it->connected - run_statistics(it).accepted;
    if (it->may_lose > 0 && it->told == 0 && !it->misled) {
        run_object(it, "%lu clients lost without a word", it->may_lose);
    }
    run_take_all(it);
}

static void free_members(run *it) {
    if (!run_start_group(it) || !run_listen(it)) {
        return;
    }
    run_connect(it, 6);
    run_turn_of_server(it);
    run_free_member(it, 1);
    run_connect(it, 2);
    run_serve(it, true);
    run_free_member(it, 0);
    run_connect(it, 1);
    run_turn(it);
}

static void free_the_group(run *it) {
    if (run_start_group(it) && run_listen(it)) {
        run_connect(it, 6);
        run_turn_of_server(it);
        run_free(it);
    }
}

const scenario grouping_scenarios[] = {
    {"a group", serve_in_a_group},      {"pause members", pause_members},
    {"finish a group", finish_a_group}, {"free members", free_members},
    {"free a group", free_the_group},   {NULL, NULL},
};
