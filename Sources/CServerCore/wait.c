// SPDX-License-Identifier: Apache-2.0

// Waiting for a connection without the event loop: poll on the listening socket, then the same
// steps. The loop is never run from here, so that a wait inside a callback does not run other
// callbacks.

#include "accept.h"
#include "clock.h"
#include "fork_guard.h"
#include "loop.h"
#include "outcome.h"
#include "pacing.h"
#include "places.h"
#include "preface_events.h"
#include "preface_list.h"
#include "private_fd.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { DEEPEST_WAIT = 16 };

typedef enum wait_result { WAITING, ACCEPTED, TIMED_OUT, WOKEN, FAILED } wait_result;

// Milliseconds for poll: until the earliest of the next look at the listening socket, the deadline
// and the end of a back-off.
static int poll_timeout(const csc_server *server, int64_t deadline, int64_t now) {
    int64_t until = csc__server_is_listening(server) ? server->watchdog.next_look : INT64_MAX;
    if (deadline >= 0 && deadline < until) {
        until = deadline;
    }
    if (server->pause.backing_off && server->pause.end < until) {
        until = server->pause.end;
    }
    if (csc__pace_deadline(server) < until) {
        until = csc__pace_deadline(server);
    }
    if (csc__prefaces_deadline(server) < until) {
        until = csc__prefaces_deadline(server);
    }
    return until < now ? 0 : (int)(until - now);
}

// False when no connection will come.
static bool tend(csc_server *server, int64_t now) {
    if (csc__server_is_listening(server)) {
        return csc__tend(server, now);
    }
    csc__collect_ended(server);
    csc__prefaces_expire(server);
    return server->statistics.in_preface > 0;
}

// Without an eventfd a wake-up is noticed when poll returns, after a second at most.
static void be_wakeable(csc_server *server) {
    if (server->wake.number < 0) {
        server->wake = csc__private_eventfd(0);
        atomic_store(&server->can_be_poked, server->wake.number >= 0);
    }
}

static void forget_wake_ups(csc_server *server) {
    uint64_t count;
    if (csc__private_fd_is_ours(&server->wake)) {
        ssize_t size = read(server->wake.number, &count, sizeof count);
        (void)size;
    } else {
        atomic_store(&server->can_be_poked, false); // other code has closed it
    }
}

// Steps until the kernel's queue is empty, a limit is met or an error occurs.
static wait_result accept_batch(csc_server *server) {
    uint64_t generation = server->generation;
    int attempts = 0;
    int taken = 0;
    csc__outcome outcome = CSC__NOBODY;
    // A callback may close the server, listen on another socket or free it; each ends the batch.
    while (attempts < server->accept_batch && generation == server->generation &&
           !server->pause.backing_off && csc__limits_allow(server)) {
        outcome = csc__step(server);
        if (outcome <= CSC__NOBODY || outcome >= CSC__PAUSED) {
            break;
        }
        attempts += outcome != CSC__PEER_ERROR;
        taken += outcome == CSC__TOOK;
    }
    if (taken > 0) {
        return ACCEPTED;
    }
    if (outcome >= CSC__PAUSED) {
        return FAILED;
    }
    if (attempts == 0 && outcome == CSC__NOBODY && generation == server->generation) {
        csc__found_nobody(server);
    }
    return WAITING;
}

static wait_result wait_once(csc_server *server, int64_t deadline) {
    int64_t now = csc__monotonic_milliseconds();
    if (!tend(server, now)) {
        return FAILED;
    }
    if (atomic_exchange(&server->wake_requested, false)) {
        return WOKEN;
    }
    // While backing off the socket is readable all the time: sleep without it. The same at a limit.
    bool watches = !server->pause.backing_off && csc__limits_allow(server);
    struct pollfd entries[] = {
        {.fd = watches ? server->socket.private_fd : -1, .events = POLLIN},
        {.fd = atomic_load(&server->can_be_poked) ? server->wake.number : -1, .events = POLLIN},
    };
    uint64_t generation = server->generation;
    int ready = csc__poll_with_prefaces(server, entries, poll_timeout(server, deadline, now));
    if (ready < 0 && errno != EINTR) {
        csc__fail(server, CSC_CALL_ACCEPT, errno);
        return FAILED;
    }
    if (ready > 0 && entries[1].revents != 0) {
        forget_wake_ups(server);
    }
    int taken = ready > 0 ? csc__prefaces_go_on(server) : 0;
    if (taken > 0 || generation != server->generation) {
        return taken > 0 ? ACCEPTED : WAITING;
    }
    if (ready > 0 && entries[0].revents != 0) {
        wait_result result = accept_batch(server);
        if (result != WAITING) {
            return result;
        }
        // A flood of rejected clients must not keep it past its deadline.
    }
    bool is_over = deadline >= 0 && csc__monotonic_milliseconds() >= deadline;
    return is_over ? TIMED_OUT : WAITING;
}

static wait_result wait_until(csc_server *server, int64_t deadline) {
    uint64_t generation = server->generation;
    wait_result result = WAITING;
    while (result == WAITING && generation == server->generation) {
        result = wait_once(server, deadline);
    }
    return result;
}

static bool wait_on_socket(csc_server *server, int msec, bool *timed_out) {
    int64_t deadline = -1;
    if (msec >= 0) {
        // Of the millisecond that it is now, a part has passed: without one more it would end
        // early.
        deadline = csc__monotonic_milliseconds() + msec + (msec > 0);
    }
    if (msec != 0) {
        be_wakeable(server);
    }
    csc__server_enter_here(server);
    server->wait_depth++;
    wait_result result = wait_until(server, deadline);
    server->wait_depth--;
    csc__place_stop_waiting(server); // the caller may not wait again
    csc__settle(server);
    if (result == TIMED_OUT) {
        csc_server_set_error(server, CSC_ERROR_SOCKET_TIMEOUT, "Network operation timed out");
        if (timed_out) {
            *timed_out = true;
        }
    } else if (result == WOKEN) {
        csc_server_set_error(server, CSC_ERROR_UNFINISHED_SOCKET_OPERATION,
                             "The wait was ended by csc_server_wake()");
    }
    csc__server_leave(server);
    return result == ACCEPTED;
}

bool csc_server_wait(csc_server *server, int msec, bool *timed_out) {
    if (!server) {
        return false;
    }
    if (server->process != csc__process()) {
        csc__fail_after_fork(server);
        return false;
    }
    bool listens = csc__server_is_listening(server) || server->statistics.in_preface > 0;
    if (timed_out && listens) {
        *timed_out = false;
    }
    if (server->pending.count > 0) {
        return true;
    }
    if (!listens) {
        csc__collect_ended(server); // its budget's places are for others
        return false;
    }
    if (server->wait_depth >= DEEPEST_WAIT) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "waitForNewConnection() called from within itself too often");
        return false;
    }
    return wait_on_socket(server, msec, timed_out);
}
