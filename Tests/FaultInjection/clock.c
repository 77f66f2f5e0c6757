// The monotonic clock of a thread: it can be moved forward, and stopped so that nothing else moves
// it.

#include "plans.h"
#include "real.h"

#include <time.h>

// clock_gettime() knows more clocks; these are the ones that timers go by.
static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW,
                                   CLOCK_BOOTTIME};

enum { CLOCKS = sizeof clocks / sizeof clocks[0] };

static _Thread_local int64_t offset; // milliseconds
static _Thread_local bool is_stopped;
static _Thread_local struct timespec stopped_at[CLOCKS];

static int read_clock(clockid_t clock, struct timespec *now) {
    REAL(int, clock_gettime, (clockid_t clock, struct timespec * now))
    return real.object ? real.function(clock, now) : -1;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int index = 0;
    while (index < CLOCKS && clocks[index] != clock) {
        index++;
    }
    if (index == CLOCKS) {
        return read_clock(clock, now);
    }
    if (is_stopped) {
        *now = stopped_at[index];
    } else if (read_clock(clock, now) != 0) {
        return -1;
    }
    int64_t nanoseconds = now->tv_nsec + offset % 1000 * 1000000;
    now->tv_sec += (time_t)(offset / 1000 + nanoseconds / 1000000000);
    now->tv_nsec = (long)(nanoseconds % 1000000000);
    return 0;
}

void fault_advance_clock(int64_t milliseconds) {
    offset += milliseconds > 0 ? milliseconds : 0;
}

void fault_stop_clock(void) {
    for (int index = 0; index < CLOCKS && !is_stopped; index++) {
        read_clock(clocks[index], &stopped_at[index]);
    }
    is_stopped = true;
}

void fault_start_clock(void) {
    is_stopped = false;
}
