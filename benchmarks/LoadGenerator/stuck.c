// SPDX-License-Identifier: Apache-2.0

// stuck: an open loop of connections, for a server of which one event loop hangs now and then.
// Connection i is due at i/rate, whatever happens to those before it. It connects, sends one byte
// and waits for the first byte of the answer. The latency counts from when the connection was due
// until that byte, so it includes all waiting: in the kernel's queue, for a loop, and in here.
//
// The server answers with one byte or more, when it has the client's byte, as echo does, or at
// once, as a greeting does. It may close the connection after that or not: the client resets it
// when it has its byte.
//
// A connection that fails is counted and the load goes on, because failures are a result here. Only
// the first connection must not be refused: then nothing listens at all.

#include "connecting.h"
#include "failure.h"
#include "modes.h"
#include "window.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// How many connections begin at most before answers are looked for.
enum { BATCH = 64 };

typedef enum outcome { ANSWERED, REFUSED, ENDED, UNANSWERED, OUTCOMES } outcome;

typedef struct visit {
    int descriptor; // -1 when it is over
    bool sent;      // its byte
    uint64_t due;
} visit;

typedef struct run {
    const options *options;
    int epoll;
    visit *all;
    int begun;   // of all, in their order
    int oldest;  // none before it is still open
    int waiting; // how many are open
    uint64_t first_due;
    uint64_t most_late; // how long after it was due the latest connection began
    uint64_t outcomes[OUTCOMES];
    window window;
} run;

int stuck_connections(const options *options) {
    return (int)ceil((double)(options->warm_up + options->duration) / 1e9 * options->rate);
}

int stuck_at_once(const options *options) {
    double most = ceil((double)options->answer_limit / 1e9 * options->rate) + (double)BATCH;
    int all = stuck_connections(options);
    return most < all ? (int)most : all;
}

static uint64_t due(const run *run, int index) {
    return run->first_due + (uint64_t)((double)index * 1e9 / run->options->rate);
}

static void finish(run *run, visit *visit, outcome outcome) {
    int index = (int)(visit - run->all);
    if (outcome == REFUSED && index == 0) {
        errno = ECONNREFUSED;
        connecting_fail(run->options, 0);
    }
    close(visit->descriptor);
    visit->descriptor = -1;
    run->waiting--;
    if (visit->due < run->window.opens) {
        return; // part of the warm-up
    }
    run->outcomes[outcome]++;
    if (outcome == ANSWERED) {
        window_count(&run->window, visit->due, now());
    }
}

// Sends the byte. Returns whether the visit goes on, also when the connection is not there yet.
static bool send_byte(run *run, visit *visit) {
    visit->sent = send(visit->descriptor, "?", 1, MSG_NOSIGNAL) == 1;
    if (!visit->sent && errno != EAGAIN) {
        finish(run, visit, errno == ECONNREFUSED ? REFUSED : ENDED);
        return false;
    }
    return true;
}

static void watch(const run *run, visit *visit, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (visit->sent ? 0 : EPOLLOUT),
                                .data.ptr = visit};
    if (epoll_ctl(run->epoll, operation, visit->descriptor, &event) != 0) {
        fail_errno("cannot watch a connection");
    }
}

static void begin(run *run, visit *visit) {
    uint64_t late = now() - visit->due;
    run->most_late = late > run->most_late ? late : run->most_late;
    visit->descriptor = connecting_begin(run->options, (uint64_t)run->begun);
    // A reset leaves neither side in TIME_WAIT, so ports do not run out.
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(visit->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    run->begun++;
    run->waiting++;
    // On the loopback device the connection is most often there at once.
    if (send_byte(run, visit)) {
        watch(run, visit, EPOLL_CTL_ADD);
    }
}

// Begins what is due, up to a batch: answers must not wait in here behind a burst.
static void begin_due(run *run, int count) {
    for (int i = 0; i < BATCH && run->begun < count; i++) {
        visit *visit = &run->all[run->begun];
        visit->due = due(run, run->begun);
        if (visit->due > now()) {
            return;
        }
        begin(run, visit);
    }
}

static void go_on(run *run, visit *visit) {
    if (!visit->sent) {
        if (!send_byte(run, visit) || !visit->sent) {
            return;
        }
        watch(run, visit, EPOLL_CTL_MOD);
    }
    char byte;
    ssize_t count = recv(visit->descriptor, &byte, 1, 0);
    if (count > 0) {
        finish(run, visit, ANSWERED);
    } else if (count == 0 || errno != EAGAIN) {
        finish(run, visit, count < 0 && errno == ECONNREFUSED ? REFUSED : ENDED);
    }
}

// Gives up what has waited too long. All wait equally long, so the oldest come first.
static void expire(run *run, uint64_t time) {
    for (; run->oldest < run->begun; run->oldest++) {
        visit *visit = &run->all[run->oldest];
        if (visit->descriptor >= 0 && time < visit->due + run->options->answer_limit) {
            return;
        }
        if (visit->descriptor >= 0) {
            finish(run, visit, UNANSWERED);
        }
    }
}

// Waits for events until the next connection is due or the oldest has waited too long.
static void turn(run *run, int count) {
    uint64_t until = UINT64_MAX;
    if (run->oldest < run->begun) {
        until = run->all[run->oldest].due + run->options->answer_limit;
    }
    if (run->begun < count && due(run, run->begun) < until) {
        until = due(run, run->begun);
    }
    uint64_t time = now();
    uint64_t left = until > time ? until - time : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / 1000000000),
                             .tv_nsec = (long)(left % 1000000000)};
    struct epoll_event events[256];
    int ready = epoll_pwait2(run->epoll, events, 256, &limit, NULL);
    if (ready < 0 && errno != EINTR) {
        fail_errno("cannot wait for connections");
    }
    window_is_over(&run->window, now()); // opens it in time; it ends with the last connection
    for (int i = 0; i < ready; i++) {
        go_on(run, events[i].data.ptr);
    }
}

static void report(run *run) {
    const uint64_t *outcomes = run->outcomes;
    if (outcomes[ANSWERED] == 0) {
        fail("no connection was answered: %" PRIu64 " were refused, %" PRIu64
             " ended before, %" PRIu64 " waited too long",
             outcomes[REFUSED], outcomes[ENDED], outcomes[UNANSWERED]);
    }
    window_close(&run->window);
    window_print_counts(&run->window, run->options, "connections");
    printf(",\"failed\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"ended\":%" PRIu64
           ",\"unanswered\":%" PRIu64 ",\"begun_late_ns\":%" PRIu64,
           outcomes[REFUSED] + outcomes[ENDED] + outcomes[UNANSWERED], outcomes[REFUSED],
           outcomes[ENDED], outcomes[UNANSWERED], run->most_late);
    window_print_latencies(&run->window);
}

void stuck(const options *options) {
    int count = stuck_connections(options);
    run run = {.options = options,
               .epoll = epoll_create1(EPOLL_CLOEXEC),
               .all = calloc((size_t)count, sizeof *run.all)};
    if (run.epoll < 0 || !run.all) {
        fail_errno("cannot prepare %d connections", count);
    }
    // The kernel may otherwise end a wait 50 us late.
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    window_begin(&run.window, options);
    run.first_due = run.window.opens - options->warm_up;
    begin_due(&run, count);
    while (run.begun < count || run.waiting > 0) {
        turn(&run, count);
        expire(&run, now());
        begin_due(&run, count);
    }
    report(&run);
    free(run.all);
}
