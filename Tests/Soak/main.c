// SPDX-License-Identifier: Apache-2.0

// The soak: clients of all kinds against one server, while things happen to it. In the end every
// connection that a client had must be one that the server had, its descriptors must be as many as
// at first, and its memory must not have grown.
//
// soak [-n CONNECTIONS] [-t SECONDS] [-e MILLISECONDS] [-a SECONDS] [-k] [-x] SERVER
//      [ARGUMENT...]
//      -t at most so long; -e between two events; -a how long the server may take for an answer,
//      20 at first; -k the server keeps no connection back: never close it with some pending;
//      -x half of the clients reset early, and the one event is that the server finishes, in the
//      middle, while clients wait in its queue

#include "soak.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_MS = 50, PROGRESS_MS = 1000, SETTLING_MS = 15000 };

// Beside a hundredth: what a heap takes to find its shape, which it has after some 50,000
// connections. Of a shorter run the last half is judged: each thread that gets a heap of its own adds
// some megabytes to the first.
enum { TOLERATED_BYTES = 1024 * 1024, TOLERATED_LATER = 256 * 1024, LATER = 1000000 };

static server_process server;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("\nFAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (server.pid > 0) {
        kill(server.pid, SIGKILL);
    }
    exit(1);
}

static void show_progress(int64_t start, uint64_t total, bool at_end) {
    static int64_t last;
    int64_t now = milliseconds();
    if (!isatty(STDERR_FILENO) || (!at_end && now - last < PROGRESS_MS)) {
        return;
    }
    last = now;
    uint64_t established = load_totals_now()->established;
    fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " connections, %" PRId64 " a second, %u events  %s",
            established, total, (int64_t)established * 1000 / (now - start > 0 ? now - start : 1),
            events_done_so_far()->total, at_end ? "\n" : "");
}

static int faults;

static void expect(bool condition, const char *format, ...) {
    if (condition) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    faults++;
}

// No client begins meanwhile: what the kernel completes while a socket closes is reset, and counts
// for the client alone.
static void finish_in_the_middle(void) {
    process_send(&server, "finish");
    while (load_active() > 0) {
        load_turn(0, true);
    }
    process_await(&server, "finish");
}

static void run_halved(uint64_t wanted, int64_t longest) {
    int64_t start = milliseconds();
    bool has_finished = false;
    load_halve();
    while (load_totals_now()->begun < wanted && !interrupted && milliseconds() - start <= longest) {
        load_turn(wanted, true);
        if (!has_finished && load_totals_now()->begun >= wanted / 2) {
            has_finished = true;
            printf("finishes with %zu clients\n", load_active());
            finish_in_the_middle();
        }
        show_progress(start, wanted, false);
    }
    while (load_active() > 0) {
        load_turn(0, true);
    }
    expect(has_finished, "the server did not finish");
    show_progress(start, wanted, true);
}

static void run(uint64_t wanted, int64_t longest) {
    int64_t start = milliseconds();
    int64_t next_sample = 0;
    while (load_totals_now()->begun < wanted && !interrupted) {
        int64_t now = milliseconds();
        if (now - start > longest) {
            break;
        }
        if (now >= next_sample) {
            memory_sample(server.pid, load_totals_now()->established);
            next_sample = now + SAMPLE_MS;
        }
        load_turn(wanted, load_begins() || events_turn());
        show_progress(start, wanted, false);
    }
    events_end();
    while (load_active() > 0) {
        load_turn(0, true);
    }
    show_progress(start, wanted, true);
}

static bool is_settled(const server_report *now, unsigned long long descriptors) {
    return now->accepted == load_totals_now()->established && now->pending == 0 &&
           now->descriptors == descriptors;
}

// The server may have a moment to see the last ends.
static server_report settle(unsigned long long descriptors) {
    int64_t deadline = milliseconds() + SETTLING_MS;
    server_report now = process_report(&server);
    while (!is_settled(&now, descriptors) && milliseconds() < deadline) {
        now = process_report(&server);
    }
    return now;
}

// How many are open before the load: Swift's run-time opens its own a moment after it has begun.
static unsigned long long first_descriptors(void) {
    int64_t since = milliseconds();
    unsigned long long count = process_report(&server).descriptors;
    while (milliseconds() - since < 1000) {
        unsigned long long now = process_report(&server).descriptors;
        if (now != count) {
            count = now;
            since = milliseconds();
        }
    }
    return count;
}

static void judge_memory(uint64_t established) {
    double growth;
    double mean;
    bool is_short = established < LATER;
    int tenths = is_short ? 5 : 9;
    memory_trend(established, tenths, &growth, &mean);
    memory_print_tenths(established);
    printf("which is %+.2f %% over the last %d tenths\n", 100 * growth / mean, tenths);
    double tolerated = is_short ? TOLERATED_BYTES : TOLERATED_LATER;
    expect(growth < mean / 100 + tolerated, "memory grew by %.0f bytes, %.3f a connection", growth,
           growth / (double)established);
}

static void judge(const server_report *end, unsigned long long descriptors) {
    const events_done *events = events_done_so_far();
    uint64_t established = load_totals_now()->established;
    expect(end->accepted == established, "%llu accepted of %" PRIu64, end->accepted, established);
    expect(end->delivered + end->discarded == established, "%llu delivered, %llu discarded",
           end->delivered, end->discarded);
    expect(end->pending == 0, "%llu are pending", end->pending);
    expect(end->discarded == events->discards, "%llu discarded instead of %" PRIu64, end->discarded,
           events->discards);
    expect(end->listener_errors == events->breaks, "the listening socket broke %llu times, not %u",
           end->listener_errors, events->breaks);
    expect((end->resource_errors > 0) == (events->exhaustion > 0), "%llu errors of resources",
           end->resource_errors);
    expect(end->failures == 0, "%llu errors that nobody asked for", end->failures);
    expect(end->descriptors == descriptors, "%llu descriptors are open, %llu at first",
           end->descriptors, descriptors);
}

static void tell_totals(int64_t duration, const server_report *end) {
    const load_totals *totals = load_totals_now();
    printf("%" PRIu64 " connections in %.1f s, %" PRId64 " a second:", totals->established,
           (double)duration / 1000,
           (int64_t)totals->established * 1000 / (duration > 0 ? duration : 1));
    for (int kind = 0; kind < KINDS; kind++) {
        printf(" %" PRIu64 " %s%s", totals->of_kind[kind], kind_names[kind],
               kind + 1 < KINDS ? "," : "\n");
    }
    printf("%u events; %llu delivered, %llu discarded, %llu errors of peers, %llu of resources, "
           "%llu broken listeners; %llu descriptors\n",
           events_done_so_far()->total, end->delivered, end->discarded, end->peer_errors,
           end->resource_errors, end->listener_errors, end->descriptors);
}

int main(int argc, char *argv[]) {
    uint64_t wanted = 200000;
    int64_t longest = 600;
    int64_t every = 2000;
    int64_t answer = 20;
    bool with_close = true;
    bool is_halved = false;
    int option;
    while ((option = getopt(argc, argv, "+n:t:e:a:kx")) != -1) {
        switch (option) {
        case 'n':
            wanted = strtoull(optarg, NULL, 10);
            break;
        case 't':
            longest = strtoll(optarg, NULL, 10);
            break;
        case 'e':
            every = strtoll(optarg, NULL, 10);
            break;
        case 'a':
            answer = strtoll(optarg, NULL, 10);
            break;
        case 'k':
            with_close = false;
            break;
        case 'x':
            is_halved = true;
            break;
        default:
            return 64;
        }
    }
    if (optind >= argc || wanted == 0 || longest <= 0 || every <= 0) {
        fprintf(stderr,
                "usage: %s [-n CONNECTIONS] [-t SECONDS] [-e MILLISECONDS] [-a SECONDS] [-k] "
                "[-x] SERVER...\n",
                argv[0]);
        return 64;
    }
    struct sigaction interrupt = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);
    signal(SIGPIPE, SIG_IGN);
    process_start(&server, argv + optind);
    unsigned long long descriptors = first_descriptors();
    load_start(server.port, (unsigned)getpid(), answer);
    events_start(&server, with_close, every);
    int64_t start = milliseconds();
    (is_halved ? run_halved : run)(wanted, longest * 1000);
    int64_t duration = milliseconds() - start;
    server_report end = settle(descriptors);
    tell_totals(duration, &end);
    judge(&end, descriptors);
    if (!is_halved) {
        judge_memory(load_totals_now()->established);
    }
    expect(process_end(&server), "the server did not end as it should");
    if (interrupted) {
        puts("interrupted");
    }
    return faults > 0 ? 1 : 0;
}
