// SPDX-License-Identifier: Apache-2.0

// The judge: plays a scenario and looks at everything that must hold whichever call failed in it.

#include "torture.h"

#include <dirent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int count_descriptors(void) {
    int count = 0;
    fault_suspend();
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    fault_resume();
    return count;
}

// All calls but those that wait: one of these each turn is what a loop is.
static uint64_t count_calls(void) {
    uint64_t count = 0;
    for (int call = 0; call < FAULT_CALLS; call++) {
        if (call != FAULT_EPOLL_WAIT && call != FAULT_POLL) {
            count += fault_calls((fault_call)call);
        }
    }
    return count;
}

static uint64_t accept_calls(void) {
    return fault_calls(FAULT_ACCEPT4) + fault_calls(FAULT_ACCEPT);
}

// While an error lasts, and the clock is stopped, nothing is tried again and again; and a few times
// in a second while it passes.
static void look_for_spinning(run *it) {
    enum { SETTLING_MS = 4000, STEP_MS = 20, TURNS = 100, SECONDS = TURNS * STEP_MS / 1000 };
    for (int passed = 0; passed < SETTLING_MS; passed += STEP_MS) {
        fault_advance_clock(STEP_MS);
        run_turn(it);
    }
    uint64_t accepts = accept_calls();
    uint64_t calls = count_calls();
    if (it->base) {
        for (int turn = 0; turn < TURNS; turn++) {
            run_turn(it);
        }
        if (accept_calls() - accepts > 4 || count_calls() - calls > 20) {
            run_object(it, "it spins: %lu accepts, %lu calls in %d turns without time",
                       accept_calls() - accepts, count_calls() - calls, (int)TURNS);
        }
    }
    accepts = accept_calls();
    calls = count_calls();
    for (int turn = 0; turn < TURNS; turn++) {
        fault_advance_clock(STEP_MS);
        run_turn(it);
    }
    if (accept_calls() - accepts > 25 * SECONDS || count_calls() - calls > 150 * SECONDS) {
        run_object(it, "it spins: %lu accepts, %lu calls in %d seconds", accept_calls() - accepts,
                   count_calls() - calls, (int)SECONDS);
    }
}

// Nothing fails any more: every waiting client is served, and so is a new client, unless the server
// said that it stopped; then it can listen again.
static void must_serve(run *it) {
    if (it->server && csc_server_overload_policy(it->server) == CSC_OVERLOAD_STRICT) {
        csc_server_resume(it->server);
    }
    if (it->group && !run_complete_group(it)) {
        run_object(it, "a member cannot be added");
    }
    run_serve(it, true);
    if (!run_is_listening(it)) {
        if (!it->told && !it->closed) {
            run_object(it, "it stopped, and told nobody");
        }
        it->may_lose = it->connected - run_statistics(it).accepted;
        if (!run_listen(it)) {
            run_object(it, "it cannot listen again: %s", csc_server_error_string(it->server));
            return;
        }
    }
    uint64_t before = it->taken;
    run_connect(it, 1);
    run_serve(it, true);
    if (it->taken == before) {
        run_object(it, "a client that came afterwards is not served");
    }
    uint64_t accepted = run_statistics(it).accepted;
    if (accepted + it->may_lose != it->connected) {
        run_object(it, "%lu clients, but %lu accepted", it->connected, accepted);
    }
}

static void account(run *it) {
    csc_statistics now = run_statistics(it);
    if (now.delivered != it->taken) {
        run_object(it, "%lu delivered, but %lu came out", now.delivered, it->taken);
    }
    if (fault_bad_closes() > 0) {
        run_object(it, "%lu bad closes; the first is %s", fault_bad_closes(),
                   fault_bad_close_text());
    }
}

static void close_clients(run *it) {
    fault_suspend();
    for (int i = 0; i < it->client_count; i++) {
        close(it->clients[i]);
    }
    fault_resume();
}

static void end_faults(void) {
    fault_clear();
    fault_hide_ipv6(false);
    libevent_memory_fail(0, 0);
}

void judge_run(run *it, const scenario *what, bool faults_last) {
    int descriptors = count_descriptors();
    int64_t memory = fault_live_allocations();
    int64_t of_libevent = libevent_memory_live();
    fault_watch_closes(true);
    what->play(it);
    if (it->server) {
        if (faults_last) {
            look_for_spinning(it);
            run_close(it); // with the fault
        }
        end_faults();
        must_serve(it);
        account(it);
        run_free(it);
    }
    end_faults();
    account(it);
    if (it->base) {
        event_base_free(it->base);
    }
    if (it->members_base) {
        event_base_free(it->members_base);
    }
    if (fault_bad_closes() > 0) {
        account(it);
    }
    fault_watch_closes(false);
    close_clients(it);
    int left = count_descriptors() - descriptors;
    if (left < 0 || (left > 0 && !it->misled)) {
        run_object(it, "%d descriptors %s", abs(left), left > 0 ? "left open" : "too few");
    }
    if (libevent_memory_live() != of_libevent) {
        run_object(it, "%ld allocations of libevent not freed",
                   (long)(libevent_memory_live() - of_libevent));
    }
    if (fault_live_allocations() != memory) {
        run_object(it, "%ld allocations not freed", (long)(fault_live_allocations() - memory));
    }
}
