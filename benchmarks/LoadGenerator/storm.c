// SPDX-License-Identifier: Apache-2.0

// storm: a fixed number of connections at once, each read to its end and checked, then replaced by
// a new one.

#include "connecting.h"
#include "failure.h"
#include "modes.h"
#include "window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char greeting[] = "hello, stranger\n";
enum { GREETING_LENGTH = sizeof greeting - 1 };

// When the time is up, connections that have begun may still end; this long.
enum { LAST_MILLISECONDS = 5000 };

typedef struct slot {
    int descriptor;
    size_t received;
    uint64_t since;
} slot;

typedef struct run {
    const options *options;
    int epoll;
    uint64_t begun;
    uint64_t done;
    int in_flight;
    window window;
} run;

static void begin(run *run, slot *slot) {
    *slot = (struct slot){.since = now()};
    slot->descriptor = connecting_begin(run->options, run->begun);
    // The server closes first; a reset then leaves neither side in TIME_WAIT, so ports do not run
    // out.
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(slot->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
    if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, slot->descriptor, &event) != 0) {
        fail_errno("cannot watch a connection");
    }
    run->begun++;
    run->in_flight++;
}

// Returns whether the connection is done: the whole greeting, then the end.
static bool receive(slot *slot) {
    char buffer[GREETING_LENGTH + 1];
    for (;;) {
        ssize_t count = read(slot->descriptor, buffer, sizeof buffer);
        if (count < 0) {
            if (errno == EAGAIN) {
                return false;
            }
            fail_errno("a connection failed after %zu bytes of the greeting", slot->received);
        }
        if (count == 0) {
            if (slot->received != GREETING_LENGTH) {
                fail("a connection ended after %zu of %d bytes of the greeting", slot->received,
                     GREETING_LENGTH);
            }
            return true;
        }
        size_t length = (size_t)count;
        if (slot->received + length > GREETING_LENGTH ||
            memcmp(buffer, greeting + slot->received, length) != 0) {
            fail("a connection brought something that is not the greeting");
        }
        slot->received += length;
    }
}

static bool may_begin(const run *run, bool time_is_up) {
    uint64_t wanted = (uint64_t)run->options->connections;
    return wanted != 0 ? run->begun < wanted : !time_is_up;
}

static void turn(run *run, bool time_is_up) {
    struct epoll_event events[256];
    int count = epoll_wait(run->epoll, events, 256, LAST_MILLISECONDS);
    if (count == 0) {
        fail("%d of %llu connections got no answer in %d s", run->in_flight,
             (unsigned long long)run->begun, LAST_MILLISECONDS / 1000);
    }
    for (int i = 0; i < count; i++) {
        slot *slot = events[i].data.ptr;
        if (!receive(slot)) {
            continue;
        }
        window_count(&run->window, slot->since, now());
        close(slot->descriptor);
        run->in_flight--;
        run->done++;
        if (may_begin(run, time_is_up)) {
            begin(run, slot);
        }
    }
}

void storm(const options *options) {
    run run = {.options = options, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    slot *slots = calloc((size_t)options->in_flight, sizeof *slots);
    if (run.epoll < 0 || !slots) {
        fail_errno("cannot prepare %d connections", options->in_flight);
    }
    window_begin(&run.window, options);
    run.window.patience = LAST_MILLISECONDS * UINT64_C(1000000);
    bool counted = options->connections != 0;
    window_is_over(&run.window, now()); // opens it where there is no warm-up
    for (int i = 0; i < options->in_flight && may_begin(&run, false); i++) {
        begin(&run, &slots[i]);
    }
    while (run.in_flight > 0) {
        bool over = window_is_over(&run.window, now());
        if (over && !counted) {
            break;
        }
        turn(&run, false);
    }
    window_close(&run.window);
    while (run.in_flight > 0) {
        turn(&run, true);
    }
    free(slots);
    window_print(&run.window, options, "connections");
}
