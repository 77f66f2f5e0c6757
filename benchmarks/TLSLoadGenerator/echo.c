// SPDX-License-Identifier: Apache-2.0

// echo: connections that are there exchange messages, each the next when the last is back. With
// --rate message i of all is due at i/rate, on connection i modulo all of them, and its latency
// counts from then. A rate of nearly nothing is for idle connections.

#include "failure.h"
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

typedef struct run {
    const settings *settings;
    int epoll;
    client *all;
    measure measure;
    uint64_t start; // when message 0 is due
    uint64_t tick;  // the first that is not due yet
} run;

static uint64_t due(const run *run, uint64_t tick) {
    return run->start + (uint64_t)((double)tick * 1e9 / run->settings->rate);
}

// The next message of this connection, as one of all.
static uint64_t next_tick(const run *run, const client *client) {
    return client->messages * (uint64_t)run->settings->connections + (uint64_t)(client - run->all);
}

static int wait_for(run *run, struct epoll_event *events, int most, uint64_t until) {
    uint64_t time = now();
    uint64_t left = until > time ? until - time : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / 1000000000),
                             .tv_nsec = (long)(left % 1000000000)};
    int count = epoll_pwait2(run->epoll, events, most, &limit, NULL);
    if (count < 0 && errno != EINTR) {
        fail_errno("cannot wait");
    }
    return count;
}

// Some at a time, as a thousand would wait for each other.
static void connect_all(run *run) {
    int begun = 0;
    for (int done = 0; done < run->settings->connections;) {
        while (begun < run->settings->connections && begun < done + 16) {
            client_begin(&run->all[begun++], run->epoll, now());
        }
        struct epoll_event events[64];
        int count = wait_for(run, events, 64, now() + UINT64_C(10000000000));
        if (count == 0) {
            fail("%d connections were not served in 10 s", begun - done);
        }
        for (int index = 0; index < count; index++) {
            done += client_continue(events[index].data.ptr);
        }
    }
    for (int index = 0; index < run->settings->connections; index++) {
        run->all[index].messages = 0;
    }
}

static void send_due(run *run) {
    uint64_t time = now();
    for (; due(run, run->tick) <= time; run->tick++) {
        client *client = &run->all[run->tick % (uint64_t)run->settings->connections];
        if (client->phase == CLIENT_IDLE && next_tick(run, client) == run->tick) {
            uint64_t late = now() - due(run, run->tick);
            run->measure.latest = late > run->measure.latest ? late : run->measure.latest;
            client_send(client, due(run, run->tick));
        }
    }
}

static void is_back(run *run, client *client) {
    measure_count(&run->measure, client->since, false);
    if (run->settings->rate == 0) {
        client_send(client, now());
    } else if (next_tick(run, client) < run->tick) {
        client_send(client, due(run, next_tick(run, client)));
    }
}

// What is not back yet is not to be missing.
static void count_waiting(run *run) {
    for (int index = 0; index < run->settings->connections; index++) {
        if (run->all[index].phase != CLIENT_IDLE) {
            measure_count(&run->measure, run->all[index].since, false);
        }
    }
}

void echo(const settings *settings) {
    run run = {.settings = settings, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    run.all = calloc((size_t)settings->connections, sizeof *run.all);
    if (run.epoll < 0 || !run.all) {
        fail_errno("cannot prepare");
    }
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    connect_all(&run);
    printf("connected\n");
    fflush(stdout);
    getchar(); // a line lets it begin
    measure_begin(&run.measure, settings);
    run.start = now();
    for (int index = 0; settings->rate == 0 && index < settings->connections; index++) {
        client_send(&run.all[index], now());
    }
    while (!measure_is_over(&run.measure, settings)) {
        uint64_t until = now() + 100000000;
        if (settings->rate > 0) {
            send_due(&run);
            uint64_t next = due(&run, run.tick);
            until = next < until ? next : until;
        }
        struct epoll_event events[256];
        int count = wait_for(&run, events, 256, until);
        for (int index = 0; index < count; index++) {
            client *client = events[index].data.ptr;
            if (client_continue(client)) {
                is_back(&run, client);
            }
        }
    }
    count_waiting(&run);
    measure_print(&run.measure, settings);
    free(run.all);
}
