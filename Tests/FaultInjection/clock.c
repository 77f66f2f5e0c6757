// SPDX-License-Identifier: Apache-2.0

// The monotonic clock of a thread: it can be moved forward, and stopped so that nothing else moves
// it. The kernel's timers that the thread made go by the same clock.

#include "plans.h"
#include "real.h"

#include <sys/timerfd.h>
#include <time.h>

// clock_gettime() knows more clocks; these are the ones that timers go by.
static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW,
                                   CLOCK_BOOTTIME};

enum { CLOCKS = sizeof clocks / sizeof clocks[0] };

static _Thread_local int64_t offset; // milliseconds
static _Thread_local bool is_stopped;
static _Thread_local bool skips_waits;
static _Thread_local struct timespec stopped_at[CLOCKS];

// A timerfd with an interval. It is set again in the kernel whenever the clock is changed.
typedef struct timer {
    int fd;      // 0 for a free place: no timer is standard input
    int64_t due; // milliseconds of this thread's clock
    int64_t interval;
} timer;

enum { TIMERS = 64 };

static _Thread_local timer timers[TIMERS];

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

static int set_timer(int fd, int flags, const struct itimerspec *value, struct itimerspec *old) {
    REAL(int, timerfd_settime,
         (int fd, int flags, const struct itimerspec *value, struct itimerspec *old))
    return real.object ? real.function(fd, flags, value, old) : -1;
}

static int64_t now_in_milliseconds(void) {
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// A timer that is due expires at once; another waits, for ever while the clock is stopped.
static int adjust(timer *current) {
    int64_t left = current->due - now_in_milliseconds();
    struct itimerspec value = {
        .it_interval.tv_sec = (time_t)(current->interval / 1000),
        .it_interval.tv_nsec = (long)(current->interval % 1000 * 1000000),
        .it_value.tv_sec = left > 0 ? (time_t)(left / 1000) : 0,
        .it_value.tv_nsec = left > 0 ? (long)(left % 1000 * 1000000) : 1,
    };
    if (left <= 0) {
        current->due += (-left / current->interval + 1) * current->interval;
    }
    if (is_stopped) {
        value.it_interval = (struct timespec){0};
        value.it_value = left > 0 ? (struct timespec){0} : value.it_value;
    }
    return set_timer(current->fd, 0, &value, NULL);
}

static void adjust_all(void) {
    for (int index = 0; index < TIMERS; index++) {
        if (timers[index].fd > 0) {
            adjust(&timers[index]);
        }
    }
}

int timerfd_create(clockid_t clock, int flags) {
    REAL(int, timerfd_create, (clockid_t clock, int flags))
    return fault__fails(FAULT_TIMERFD_CREATE) || !real.object
               ? -1
               : fault__opened(real.function(clock, flags));
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old) {
    if (fault__fails(FAULT_TIMERFD_SETTIME)) {
        return -1;
    }
    int64_t interval =
        (int64_t)value->it_interval.tv_sec * 1000 + value->it_interval.tv_nsec / 1000000;
    int index = 0;
    while (index < TIMERS && timers[index].fd > 0) {
        index++;
    }
    bool begins_with_it = value->it_value.tv_sec == value->it_interval.tv_sec &&
                          value->it_value.tv_nsec == value->it_interval.tv_nsec;
    if (interval == 0 || !begins_with_it || flags != 0 || index == TIMERS) {
        return set_timer(fd, flags, value, old); // goes by the kernel's clock alone
    }
    timers[index] =
        (timer){.fd = fd, .due = now_in_milliseconds() + interval, .interval = interval};
    return adjust(&timers[index]);
}

void fault__forget_timer(int fd) {
    for (int index = 0; index < TIMERS; index++) {
        if (timers[index].fd == fd) {
            timers[index] = (timer){0};
        }
    }
}

void fault_skip_waits(bool skip) {
    skips_waits = skip;
}

bool fault__skips_waits(void) {
    return skips_waits && is_stopped;
}

int64_t fault__until_next_timer(void) {
    int64_t shortest = -1;
    int64_t now = now_in_milliseconds();
    for (int index = 0; index < TIMERS; index++) {
        if (timers[index].fd > 0) {
            int64_t left = timers[index].due > now ? timers[index].due - now : 0;
            shortest = shortest < 0 || left < shortest ? left : shortest;
        }
    }
    return shortest;
}

void fault_advance_clock(int64_t milliseconds) {
    offset += milliseconds > 0 ? milliseconds : 0;
    adjust_all();
}

void fault_stop_clock(void) {
    for (int index = 0; index < CLOCKS && !is_stopped; index++) {
        read_clock(clocks[index], &stopped_at[index]);
    }
    is_stopped = true;
    adjust_all();
}

void fault_start_clock(void) {
    is_stopped = false;
    adjust_all();
}

void fault_reset_clock(void) {
    offset = 0;
    fault_start_clock();
}
