// SPDX-License-Identifier: Apache-2.0

#include "window.h"

#include "failure.h"

#include <inttypes.h>
#include <string.h>

// A window that waits for the first thing to be done is longer by steps of this.
static const uint64_t step = UINT64_C(10000000);

static uint64_t read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        fail_errno("cannot read a clock");
    }
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t now(void) {
    return read_clock(CLOCK_MONOTONIC);
}

void window_begin(window *window, const options *options) {
    *window = (struct window){.has_server = options->server != 0};
    if (window->has_server) {
        // All threads of the process, those that have ended too.
        int error = clock_getcpuclockid(options->server, &window->server_clock);
        if (error != 0) {
            fail("cannot read the CPU time of process %d: %s", (int)options->server,
                 strerror(error));
        }
    }
    window->duration = options->duration;
    window->opens = now() + options->warm_up;
    window->closes = window->opens + options->duration;
}

static void open_window(window *window, uint64_t time) {
    window->open = true;
    window->opened = time;
    window->closes = time + window->duration;
    if (window->has_server) {
        window->server_cpu = read_clock(window->server_clock);
    }
}

bool window_is_over(window *window, uint64_t time) {
    if (!window->open && time >= window->opens) {
        open_window(window, time);
    }
    if (time < window->closes) {
        return false;
    }
    if (window->count > 0 || time - window->opened >= window->duration + window->patience) {
        return true;
    }
    window->closes = time + step;
    return false;
}

void window_count(window *window, uint64_t since, uint64_t time) {
    if (window->open) {
        window->count++;
        latency_add(&window->latencies, time - since);
    }
}

void window_close(window *window) {
    if (!window->open) {
        fail("the server was too slow to be measured: nothing was done when the warm-up ended");
    }
    window->open = false;
    window->elapsed = now() - window->opened;
    if (window->has_server) {
        window->server_cpu = read_clock(window->server_clock) - window->server_cpu;
    }
}

void window_add_late(window *window, uint64_t since, uint64_t time) {
    latency_add(&window->latencies, time - since);
}

void window_print_counts(const window *window, const options *options, const char *what) {
    if (window->count == 0) {
        fail("nothing came back in the time that was measured");
    }
    double seconds = (double)window->elapsed / 1e9;
    printf("{\"mode\":\"%s\",\"%s\":%" PRIu64 ",\"seconds\":%.6f,\"rate\":%.3f", options->mode,
           what, window->count, seconds, (double)window->count / seconds);
    if (window->has_server) {
        printf(",\"server_cpu_ns\":%" PRIu64, window->server_cpu);
    }
}

void window_print_latencies(window *window) {
    fputs(",\"latency_ns\":", stdout);
    latency_print(&window->latencies, stdout);
    fputs("}\n", stdout);
}

void window_print(window *window, const options *options, const char *what) {
    window_print_counts(window, options, what);
    window_print_latencies(window);
}
