// SPDX-License-Identifier: Apache-2.0

// A token bucket that servers on several threads share: without a lock, as it is one number.

#include "rate.h"

#include "clock.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { NANOSECONDS = 1000000000, MILLISECONDS = 1000 };

struct csc_rate {
    atomic_uint references; // the program, and the servers
    _Atomic int64_t interval;
    _Atomic int64_t depth;
    _Atomic int64_t full_at;
};

// Servers wait for a millisecond at least, and a bucket is to hold what comes meanwhile.
csc__rate_rule csc__rate_rule_of(uint32_t per_second, uint32_t burst) {
    if (per_second == 0) {
        return (csc__rate_rule){0};
    }
    uint32_t rate = per_second < NANOSECONDS ? per_second : NANOSECONDS;
    uint32_t least = (rate + MILLISECONDS - 1) / MILLISECONDS;
    uint32_t most = burst > 0 ? burst : rate;
    int64_t interval = NANOSECONDS / rate;
    return (csc__rate_rule){.interval = interval,
                            .depth = interval * (most > least ? most : least)};
}

csc_rate *csc_rate_new(uint32_t accepts_per_second, uint32_t burst) {
    csc_rate *rate = calloc(1, sizeof *rate);
    if (rate) {
        atomic_store(&rate->references, 1);
        csc_rate_set(rate, accepts_per_second, burst);
    }
    return rate;
}

csc_rate *csc__rate_retain(csc_rate *rate) {
    atomic_fetch_add(&rate->references, 1);
    return rate;
}

void csc_rate_free(csc_rate *rate) {
    if (rate && atomic_fetch_sub(&rate->references, 1) == 1) {
        free(rate);
    }
}

void csc_rate_set(csc_rate *rate, uint32_t accepts_per_second, uint32_t burst) {
    csc__rate_rule rule = csc__rate_rule_of(accepts_per_second, burst);
    atomic_store(&rate->depth, rule.depth);
    atomic_store(&rate->interval, rule.interval);
    // No more is missing than a bucket holds now.
    int64_t latest = csc__monotonic_nanoseconds() + rule.depth;
    int64_t before = atomic_load(&rate->full_at);
    int64_t after;
    do {
        after = before < latest ? before : latest;
    } while (!atomic_compare_exchange_weak(&rate->full_at, &before, after));
}

// Nanoseconds in which the tokens come that are missing.
static int64_t missing(csc_rate *rate, int64_t now) {
    int64_t full_at = atomic_load(&rate->full_at);
    return full_at > now ? full_at - now : 0;
}

int64_t csc__rate_available(csc_rate *rate, int64_t now) {
    int64_t interval = atomic_load(&rate->interval);
    int64_t there = atomic_load(&rate->depth) - missing(rate, now);
    return interval == 0 ? INT64_MAX : there > 0 ? there / interval : 0;
}

int64_t csc__rate_wait(csc_rate *rate, int64_t now) {
    int64_t wait = missing(rate, now) + atomic_load(&rate->interval) - atomic_load(&rate->depth);
    return wait > 0 ? wait : 0;
}

bool csc__rate_take(csc_rate *rate, int64_t now) {
    csc__rate_rule rule = {atomic_load(&rate->interval), atomic_load(&rate->depth)};
    int64_t before = atomic_load(&rate->full_at);
    int64_t after;
    do {
        after = before;
        if (rule.interval > 0 && !csc__rate_take_alone(&after, &rule, now)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&rate->full_at, &before, after));
    return true;
}

void csc__rate_charge(csc_rate *rate, int64_t now, int64_t count) {
    int64_t time = count * atomic_load(&rate->interval);
    int64_t before = atomic_load(&rate->full_at);
    int64_t after;
    do {
        after = (before > now ? before : now) + time;
    } while (!atomic_compare_exchange_weak(&rate->full_at, &before, after));
}

void csc__rate_give(csc_rate *rate) {
    atomic_fetch_sub(&rate->full_at, atomic_load(&rate->interval));
}
