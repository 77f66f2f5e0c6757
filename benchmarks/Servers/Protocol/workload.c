// SPDX-License-Identifier: Apache-2.0

#include "workload.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_LOOPS = 1024 };
#define MOST   UINT64_C(1000000000000) // of any number
#define UNSAID UINT64_MAX

static _Noreturn void end_with_usage(const char *program) {
    fprintf(stderr,
            "usage: %s LOAD [--loops N] [--burn-microseconds N | --burn-rounds N]\n"
            "    [--stall-period MS --stall-time MS [--stall-loop N]]\n",
            program);
    exit(64);
}

// MARK: - Burning

// Xorshift: each step needs the one before, and no compiler has a shorter way to the last. So all
// compilers and languages make about the same code of it, which waits for its own results.
static uint64_t scramble(uint64_t value, uint64_t rounds) {
    for (uint64_t i = 0; i < rounds; i++) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    return value;
}

void workload_burn(uint64_t rounds) {
    // Volatile, or the compiler leaves out what is not used; of the thread, or the loops would
    // fight for its cache line.
    static _Thread_local volatile uint64_t state = UINT64_C(88172645463325252);
    state = scramble(state, rounds);
}

static uint64_t thread_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// How many rounds take so long: by the fastest of some tries, as all others were disturbed.
static uint64_t calibrate(uint64_t microseconds) {
    enum { TRIES = 20, ROUNDS = 500000 };
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        uint64_t begun = thread_time();
        workload_burn(ROUNDS);
        uint64_t used = thread_time() - begun;
        least = used < least ? used : least;
    }
    uint64_t rounds = (uint64_t)((double)microseconds * 1000 * (double)ROUNDS / (double)least);
    fprintf(stderr, "%" PRIu64 " us are %" PRIu64 " rounds here: --burn-rounds %" PRIu64 "\n",
            microseconds, rounds, rounds);
    return rounds;
}

// MARK: - Stalls

void workload_stall(const workload *workload) {
    struct timespec time = {.tv_sec = (time_t)(workload->stall_time / 1000),
                            .tv_nsec = (long)(workload->stall_time % 1000 * 1000000)};
    nanosleep(&time, NULL);
}

// MARK: - Options

enum { LOOPS, BURN_MICROSECONDS, BURN_ROUNDS, STALL_PERIOD, STALL_TIME, STALL_LOOP, NUMBERS };

static bool read_number(const char *text, uint64_t *result) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *result = value;
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && value <= MOST;
}

static bool read_numbers(int argc, char **argv, uint64_t *numbers) {
    static const struct option names[] = {
        {"loops", required_argument, NULL, LOOPS},
        {"burn-microseconds", required_argument, NULL, BURN_MICROSECONDS},
        {"burn-rounds", required_argument, NULL, BURN_ROUNDS},
        {"stall-period", required_argument, NULL, STALL_PERIOD},
        {"stall-time", required_argument, NULL, STALL_TIME},
        {"stall-loop", required_argument, NULL, STALL_LOOP},
        {NULL, 0, NULL, 0},
    };
    int option;
    opterr = 0; // the usage text says it
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option >= NUMBERS || !read_number(optarg, &numbers[option])) {
            return false;
        }
    }
    return true;
}

static bool fit_together(const uint64_t *numbers) {
    uint64_t period = numbers[STALL_PERIOD], time = numbers[STALL_TIME];
    bool stalls_fit = period == 0 ? time == 0 : time > 0 && time < period;
    return numbers[LOOPS] > 0 && numbers[LOOPS] <= MAX_LOOPS &&
           numbers[STALL_LOOP] < numbers[LOOPS] && stalls_fit;
}

workload workload_parse(int *argc, char ***argv) {
    char *program = (*argv)[0];
    uint64_t numbers[NUMBERS] = {[LOOPS] = 1, [STALL_LOOP] = UNSAID};
    bool good = read_numbers(*argc, *argv, numbers);
    if (numbers[STALL_LOOP] == UNSAID) {
        // Not the first one, which accepts where one loop accepts for all.
        numbers[STALL_LOOP] = numbers[LOOPS] - 1;
    }
    if (!good || !fit_together(numbers)) {
        end_with_usage(program);
    }
    if (numbers[BURN_MICROSECONDS] > 0) {
        numbers[BURN_ROUNDS] = calibrate(numbers[BURN_MICROSECONDS]);
    }
    // getopt has moved what is no option to the end.
    *argc -= optind - 1;
    *argv += optind - 1;
    (*argv)[0] = program;
    return (workload){.loops = (int)numbers[LOOPS],
                      .burn_rounds = numbers[BURN_ROUNDS],
                      .stall_loop = (int)numbers[STALL_LOOP],
                      .stall_period = numbers[STALL_PERIOD],
                      .stall_time = numbers[STALL_TIME]};
}
