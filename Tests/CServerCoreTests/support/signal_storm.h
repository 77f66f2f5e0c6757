// SPDX-License-Identifier: Apache-2.0

// A signal each millisecond, to a handler without SA_RESTART: calls that wait are interrupted all the
// time. Ends by itself after 20 seconds, so that a call that begins its wait again each time returns.
#ifndef CSC_TESTS_SIGNAL_STORM_H
#define CSC_TESTS_SIGNAL_STORM_H

#include "fixture.h"

#include <signal.h>
#include <sys/time.h>

enum { MOST_SIGNALS = 20000 };

typedef struct signal_storm {
    struct sigaction before;
} signal_storm;

static volatile sig_atomic_t storm_signals;

static inline void storm_calms(void) {
    const struct itimerval calm = {0};
    setitimer(ITIMER_REAL, &calm, NULL);
}

static inline void storm_signal(int number) {
    (void)number;
    storm_signals = storm_signals + 1;
    if (storm_signals >= MOST_SIGNALS) {
        storm_calms();
    }
}

static inline signal_storm begin_storm(void) {
    signal_storm result;
    struct sigaction action = {.sa_handler = storm_signal};
    const struct itimerval storm = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};
    storm_signals = 0;
    assert_int_equal(sigaction(SIGALRM, &action, &result.before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &storm, NULL), 0);
    return result;
}

static inline void end_storm(const signal_storm *it) {
    storm_calms();
    assert_int_equal(sigaction(SIGALRM, &it->before, NULL), 0);
    assert_true(storm_signals > 0 && storm_signals < MOST_SIGNALS);
}

#endif
