// Waiting for a connection without the event loop: poll on the listening socket, then the same
// accepting. The loop is never run from here, so that a wait inside a callback does not run other
// callbacks.

#include "server.h"

#include <errno.h>
#include <poll.h>

enum { DEEPEST_WAIT = 16 };

// Milliseconds for poll: until the earliest of the next look at the listening socket, the deadline
// and the end of a back-off.
static int poll_timeout(const csc_server *server, int64_t deadline, int64_t now) {
    int64_t until = server->check_time;
    if (deadline >= 0 && deadline < until) {
        until = deadline;
    }
    if (server->backing_off && server->retry_time < until) {
        until = server->retry_time;
    }
    return until < now ? 0 : (int)(until - now);
}

typedef enum wait_result { WAITING, ACCEPTED, TIMED_OUT, FAILED } wait_result;

static wait_result wait_once(csc_server *server, int64_t deadline) {
    int64_t now = csc__monotonic_milliseconds();
    if (server->backing_off && now >= server->retry_time) {
        uint64_t generation = server->generation;
        csc__overload_try_again(server);
        if (generation != server->generation) {
            return WAITING; // a callback has closed the server; whoever waits looks whether it did
        }
    }
    if (now >= server->check_time && csc__listener_check(server, now)) {
        return FAILED;
    }
    // While backing off the socket is readable all the time: sleep without it. The same at a limit.
    bool watch = !server->backing_off && server->max_pending > 0 && csc__has_room(server);
    struct pollfd entry = {.fd = watch ? server->socket.own : -1, .events = POLLIN};
    int ready = poll(&entry, 1, poll_timeout(server, deadline, now));
    if (ready > 0) {
        bool failed = false;
        uint64_t accepted = server->statistics.accepted;
        if (csc__accept_now(server, &failed) > 0) {
            return ACCEPTED;
        }
        if (failed) {
            return FAILED;
        }
        if (accepted == server->statistics.accepted) {
            if (csc__server_is_listening(server)) {
                csc__accept_found_nothing(server);
            }
            return WAITING;
        }
        // Whoever came was turned away: a flood of them must not keep it past its deadline.
    } else if (ready < 0 && errno != EINTR) {
        csc__server_fail(server, CSC_CALL_ACCEPT, errno);
        return FAILED;
    }
    if (deadline >= 0 && csc__monotonic_milliseconds() >= deadline) {
        return TIMED_OUT;
    }
    return WAITING;
}

static wait_result wait_until(csc_server *server, int64_t deadline) {
    uint64_t generation = server->generation;
    wait_result result = WAITING;
    while (result == WAITING && generation == server->generation) {
        result = wait_once(server, deadline);
    }
    return result;
}

bool csc_server_wait(csc_server *server, int msec, bool *timed_out) {
    if (!csc_server_is_listening(server)) {
        return false;
    }
    if (timed_out) {
        *timed_out = false;
    }
    if (server->pending.count > 0) {
        return true;
    }
    if (server->waits >= DEEPEST_WAIT) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "waitForNewConnection() called from within itself too often");
        return false;
    }
    int64_t deadline = -1;
    if (msec >= 0) {
        // Of the millisecond that it is now, a part has passed: without one more it would end
        // early.
        deadline = csc__monotonic_milliseconds() + msec + (msec > 0);
    }
    csc__server_enter(server);
    server->waits++;
    wait_result result = wait_until(server, deadline);
    server->waits--;
    if (result == TIMED_OUT) {
        csc_server_set_error(server, CSC_ERROR_SOCKET_TIMEOUT, "Network operation timed out");
        if (timed_out) {
            *timed_out = true;
        }
    }
    csc__server_leave(server);
    return result == ACCEPTED;
}
