// SPDX-License-Identifier: Apache-2.0

// What happens to the server while the clients come: it has no descriptor left, signals interrupt
// it, its listening socket breaks, it pauses, its limit changes, it closes with connections
// pending. See soak.h.

#include "soak.h"

#include <signal.h>
#include <stdio.h>

enum { BLOCKED_MS = 300, SIGNALS = 2000, SIGNALS_IN_A_TURN = 20, TO_DISCARD = 40 };

typedef enum event { EXHAUSTION, SIGNAL_STORM, BREAK, PAUSE, LIMIT, CLOSE, EVENTS } event;

static const server_process *server;
static bool closes;
static int64_t interval;
static int64_t next_time;
static int64_t blocked_until; // 0 when it is not
static event current;         // while blocked
static event next;
static int signals_left;
static events_done done;

void events_start(const server_process *process, bool with_close, int64_t every_milliseconds) {
    server = process;
    closes = with_close;
    interval = every_milliseconds;
    next_time = milliseconds() + interval;
}

const events_done *events_done_so_far(void) {
    return &done;
}

static void block(event what) {
    current = what;
    process_tell(server, what == PAUSE ? "pause" : "lower");
    blocked_until = milliseconds() + BLOCKED_MS;
}

static void unblock(void) {
    process_tell(server, current == PAUSE ? "resume" : "restore");
    blocked_until = 0;
}

// Clients in the kernel's queue of a listening socket that ends are reset, and the server gets no
// notice of them: so first all have been served.
static void let_all_end(void) {
    while (load_active() > 0) {
        load_turn(0, true);
    }
    while (process_report(server).accepted != load_totals_now()->established) {
    }
}

static void change_limit(void) {
    static const int limits[] = {1, 1000, 7, 30};
    char command[32];
    snprintf(command, sizeof command, "limit %d", limits[done.total % 4]);
    process_tell(server, command);
}

static void close_with_pending(void) {
    let_all_end();
    process_tell(server, "limit 1000");
    process_tell(server, "hold");
    load_connect_silent(TO_DISCARD);
    while (process_report(server).pending < TO_DISCARD) {
    }
    process_tell(server, "close");
    load_await_ends();
    done.discards += TO_DISCARD;
}

static void begin(event what) {
    done.total++;
    switch (what) {
    case EXHAUSTION:
        done.exhaustion++;
        block(what);
        break;
    case PAUSE:
        block(what);
        break;
    case SIGNAL_STORM:
        signals_left = SIGNALS;
        break;
    case BREAK:
        let_all_end();
        process_tell(server, "break");
        done.breaks++;
        break;
    case LIMIT:
        change_limit();
        break;
    default:
        close_with_pending();
    }
}

bool events_turn(void) {
    for (int i = 0; i < SIGNALS_IN_A_TURN && signals_left > 0; i++, signals_left--) {
        kill(server->pid, SIGUSR1);
    }
    int64_t now = milliseconds();
    if (blocked_until != 0 && now >= blocked_until) {
        unblock();
    }
    if (blocked_until == 0 && now >= next_time) {
        begin(next);
        next = (next + 1) % EVENTS;
        next += next == CLOSE && !closes;
        next %= EVENTS;
        next_time = milliseconds() + interval;
    }
    return blocked_until == 0;
}

void events_end(void) {
    if (blocked_until != 0) {
        unblock();
    }
}
