// SPDX-License-Identifier: Apache-2.0

// A number of places that servers on several threads take and give back, and those that wait for
// one. Knows nothing of csc_server.
#ifndef CSC_BUDGET_H
#define CSC_BUDGET_H

#include "CServerCore.h"

// In one queue at most, and in none when it is freed.
typedef struct csc__budget_waiter {
    struct csc__budget_waiter *next;
    bool is_queued;
    // Any thread, with the budget's lock.
    void (*wake)(struct csc__budget_waiter *it);
} csc__budget_waiter;

// Another user; csc_budget_free() ends its use.
csc_budget *csc__budget_retain(csc_budget *budget);

// Takes a place, if there is one.
bool csc__budget_take(csc_budget *budget);

// Takes places whether there are any or not.
void csc__budget_force(csc_budget *budget, uint32_t count);

// Gives places back, and wakes so many that wait.
void csc__budget_give(csc_budget *budget, uint32_t count);

// Waits behind those that wait already. A place may have become free just before: look once more.
void csc__budget_queue(csc_budget *budget, csc__budget_waiter *waiter);

// Waits no more, and is not woken any more. It may have been woken before, for a place that others
// wait for too: see csc__budget_offer().
void csc__budget_leave(csc_budget *budget, csc__budget_waiter *waiter);

// Wakes the one that has waited longest, if there is a place: who was woken has not used it, or
// there are more.
void csc__budget_offer(csc_budget *budget);

// What becomes of clients for whom there is no place.
csc_excess csc__budget_excess(const csc_budget *budget);

// Another process made it: its lock may be held by a thread that is not here.
bool csc__budget_is_inherited(const csc_budget *budget);

#endif
