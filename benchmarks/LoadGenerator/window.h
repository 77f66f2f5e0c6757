// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_WINDOW_H
#define LOAD_GENERATOR_WINDOW_H

#include "latency.h"
#include "options.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

// The time in which things are counted: after the warm-up, until the end. Server CPU time is read
// at both ends of it.
typedef struct window {
    clockid_t server_clock;
    bool has_server;
    bool open;
    uint64_t opens;    // when it should
    uint64_t duration; // how long it is to be open
    uint64_t
        patience;     // how much longer while nothing was counted, as on a busy machine; 0 at first
    uint64_t closes;  // when it should
    uint64_t opened;  // when it did
    uint64_t elapsed; // from then until it was closed
    uint64_t server_cpu; // read when it opened; what was used meanwhile, once closed
    uint64_t count;      // what happened in it
    latencies latencies;
} window;

uint64_t now(void);

// Begins the warm-up.
void window_begin(window *window, const options *options);

// To be called often: opens the window in time. Returns whether the time to close it has come.
bool window_is_over(window *window, uint64_t time);

// Counts something that took from since to time, if the window is open.
void window_count(window *window, uint64_t since, uint64_t time);

// Nothing is counted from here on.
void window_close(window *window);

// Adds the latency of something that was due in the window and done only after it.
void window_add_late(window *window, uint64_t since, uint64_t time);

// Prints the line of JSON; what names the things that were counted.
void window_print(window *window, const options *options, const char *what);

// The two halves of that line, for a mode that has something to add in between.
void window_print_counts(const window *window, const options *options, const char *what);
void window_print_latencies(window *window);

#endif
