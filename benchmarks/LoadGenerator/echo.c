// SPDX-License-Identifier: Apache-2.0

// echo: messages go out and come back. All connections say something once, so that the server has
// taken every one of them before anything is measured; then only the active ones talk.
//
// Closed loop: a connection sends its next message when the last is back. Open loop (--rate):
// message i of all is due at i/rate, on connection i modulo the active ones; one that is not free
// then sends it late, and the latency counts from when it was due.

#include "connecting.h"
#include "conversation.h"
#include "failure.h"
#include "modes.h"
#include "window.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

// Silence for so long means that a message is lost.
static const uint64_t silence = UINT64_C(5000000000);

typedef struct run {
    const options *options;
    int epoll;
    conversation *all;
    int active;
    int waiting; // conversations whose message is not back
    window window;

    uint64_t first_due; // open loop: when message 0 is due
    uint64_t tick;      // open loop: the first message whose time has not come
    uint64_t ticks_end; // open loop: the first message that is due after the window
} run;

static void say(run *run, conversation *conversation, uint64_t since) {
    run->waiting++;
    conversation_send(conversation, since);
}

// MARK: - Open loop

static uint64_t due(const run *run, uint64_t tick) {
    return run->first_due + (uint64_t)((double)tick * 1e9 / run->options->rate);
}

// The next message of this conversation, as a tick of all.
static uint64_t next_tick(const run *run, const conversation *conversation) {
    uint64_t index = (uint64_t)(conversation - run->all);
    return conversation->messages * (uint64_t)run->active + index;
}

static void begin_schedule(run *run) {
    // The kernel may otherwise end a wait 50 us late.
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    run->first_due = now();
    uint64_t length = run->window.closes - run->first_due;
    run->ticks_end = (uint64_t)((double)length / 1e9 * run->options->rate);
}

// Sends what is due on connections that are free; the others send theirs when they become free.
static void send_due(run *run) {
    uint64_t time = now();
    for (; run->tick < run->ticks_end && due(run, run->tick) <= time; run->tick++) {
        conversation *conversation = &run->all[run->tick % (uint64_t)run->active];
        if (!conversation->waiting && next_tick(run, conversation) == run->tick) {
            say(run, conversation, due(run, run->tick));
        }
    }
}

// MARK: - Both

static void message_is_back(run *run, conversation *conversation, bool may_send) {
    uint64_t time = now();
    run->waiting--;
    if (run->options->rate == 0) {
        window_count(&run->window, conversation->since, time);
        if (may_send) {
            say(run, conversation, time);
        }
        return;
    }
    if (may_send) {
        window_count(&run->window, conversation->since, time);
    } else {
        window_add_late(&run->window, conversation->since, time);
    }
    uint64_t tick = next_tick(run, conversation);
    if (tick < run->tick) {
        say(run, conversation, due(run, tick));
    }
}

// Waits for events until the time comes, whatever comes first. Returns false when the time came.
static bool wait_for(run *run, uint64_t until, struct epoll_event *events, int *count) {
    uint64_t time = now();
    uint64_t left = until > time ? until - time : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / 1000000000),
                             .tv_nsec = (long)(left % 1000000000)};
    *count = epoll_pwait2(run->epoll, events, 256, &limit, NULL);
    if (*count < 0 && errno != EINTR) {
        fail_errno("cannot wait for messages");
    }
    return *count > 0;
}

// One turn without new messages of its own accord. Silence fails.
static void await_answers(run *run) {
    struct epoll_event events[256];
    int count;
    if (!wait_for(run, now() + silence, events, &count)) {
        fail("%d messages did not come back in %llu s", run->waiting,
             (unsigned long long)(silence / 1000000000));
    }
    for (int i = 0; i < count; i++) {
        conversation *conversation = events[i].data.ptr;
        if (conversation_continue(conversation, events[i].events)) {
            message_is_back(run, conversation, false);
        }
    }
}

static void introduce(run *run) {
    const int *descriptors = connecting_all(run->options);
    for (int i = 0; i < run->options->connections; i++) {
        conversation_begin(&run->all[i], run->epoll, descriptors[i]);
        run->waiting++;
        conversation_send(&run->all[i], now());
    }
    struct epoll_event events[256];
    int count;
    while (run->waiting > 0) {
        if (!wait_for(run, now() + silence, events, &count)) {
            fail("%d of %d connections did not answer their first message in %llu s", run->waiting,
                 run->options->connections, (unsigned long long)(silence / 1000000000));
        }
        for (int i = 0; i < count; i++) {
            if (conversation_continue(events[i].data.ptr, events[i].events)) {
                run->waiting--;
            }
        }
    }
    for (int i = 0; i < run->options->connections; i++) {
        run->all[i].messages = 0;
    }
}

static void talk(run *run) {
    struct epoll_event events[256];
    uint64_t last_answer = now();
    for (uint64_t time = last_answer; !window_is_over(&run->window, time); time = now()) {
        uint64_t until = run->window.open ? run->window.closes : run->window.opens;
        if (run->options->rate != 0) {
            send_due(run);
            uint64_t next = due(run, run->tick);
            until = next < until ? next : until;
        }
        int count;
        if (!wait_for(run, until, events, &count)) {
            if (run->waiting > 0 && now() - last_answer > silence) {
                fail("%d messages did not come back in %llu s", run->waiting,
                     (unsigned long long)(silence / 1000000000));
            }
            continue;
        }
        last_answer = now();
        for (int i = 0; i < count; i++) {
            conversation *conversation = events[i].data.ptr;
            if (conversation_continue(conversation, events[i].events)) {
                message_is_back(run, conversation, true);
            }
        }
    }
}

void echo(const options *options) {
    run run = {.options = options,
               .active = options->active,
               .epoll = epoll_create1(EPOLL_CLOEXEC),
               .all = calloc((size_t)options->connections, sizeof *run.all)};
    if (run.epoll < 0 || !run.all) {
        fail_errno("cannot prepare %d connections", options->connections);
    }
    conversation_prepare((size_t)options->size);
    introduce(&run);

    window_begin(&run.window, options);
    run.window.patience = silence;
    if (options->rate != 0) {
        begin_schedule(&run);
    } else {
        for (int i = 0; i < run.active; i++) {
            say(&run, &run.all[i], now());
        }
    }
    talk(&run);
    window_close(&run.window);
    send_due(&run); // nothing in a closed loop, whose schedule is empty
    while (run.waiting > 0) {
        await_answers(&run);
    }
    window_print(&run.window, options, "messages");
    free(run.all);
}
