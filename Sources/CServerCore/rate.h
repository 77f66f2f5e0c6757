// SPDX-License-Identifier: Apache-2.0

// Token buckets. One is a single number: the time at which it is full again, in monotonic
// nanoseconds. A token taken moves that by the time in which one comes.
//
//      now ........... full_at ............ now + depth
//      |<- missing ->|<-- tokens that are there -->|
#ifndef CSC_RATE_H
#define CSC_RATE_H

#include "CServerCore.h"

typedef struct csc__rate_rule {
    int64_t interval; // nanoseconds in which one token comes; 0 for no limit
    int64_t depth;    // those in which all come
} csc__rate_rule;

csc__rate_rule csc__rate_rule_of(uint32_t per_second, uint32_t burst);

// Takes a token of a bucket that one thread has. False where there is none.
static inline bool csc__rate_take_alone(int64_t *full_at, const csc__rate_rule *rule, int64_t now) {
    int64_t next = (*full_at > now ? *full_at : now) + rule->interval;
    bool is_there = next - now <= rule->depth;
    if (is_there) {
        *full_at = next;
    }
    return is_there;
}

// Another user; csc_rate_free() ends its use.
csc_rate *csc__rate_retain(csc_rate *rate);

// How many tokens are there; INT64_MAX without a limit.
int64_t csc__rate_available(csc_rate *rate, int64_t now);

// Nanoseconds until one is there.
int64_t csc__rate_wait(csc_rate *rate, int64_t now);

// Takes one, if there is one.
bool csc__rate_take(csc_rate *rate, int64_t now);

// Takes so many, whether they are there or not; gives one back that was not used.
void csc__rate_charge(csc_rate *rate, int64_t now, int64_t count);
void csc__rate_give(csc_rate *rate);

#endif
