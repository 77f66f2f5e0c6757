// SPDX-License-Identifier: Apache-2.0

// Places that are counted by an atomic, and a queue of those that wait for one, under a lock that
// is taken only where one waits.
//
// Who finds no place enters the queue and then tries again; who gives a place back counts it and
// then looks whether one waits. Whichever comes second sees the other.

#include "budget.h"

#include "forks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct csc_budget {
    atomic_uint references; // the program, and the servers
    unsigned process;       // csc__forks() when it was made
    _Atomic int64_t limit;
    _Atomic int64_t taken;
    atomic_int excess;
    atomic_size_t waiting; // how many are in the queue
    pthread_mutex_t lock;  // for what follows
    csc__budget_waiter *first;
    csc__budget_waiter *last;
};

static int64_t limit_of(int limit) {
    return limit < 0 ? INT64_MAX : limit;
}

csc_budget *csc_budget_new(int limit) {
    csc_budget *budget = calloc(1, sizeof *budget);
    if (budget) {
        atomic_store(&budget->references, 1);
        budget->process = csc__forks();
        atomic_store(&budget->limit, limit_of(limit));
        pthread_mutex_init(&budget->lock, NULL); // cannot fail on Linux
    }
    return budget;
}

csc_budget *csc__budget_retain(csc_budget *budget) {
    atomic_fetch_add(&budget->references, 1);
    return budget;
}

void csc_budget_free(csc_budget *budget) {
    if (budget && atomic_fetch_sub(&budget->references, 1) == 1) {
        pthread_mutex_destroy(&budget->lock);
        free(budget);
    }
}

bool csc__budget_is_inherited(const csc_budget *budget) {
    return budget->process != csc__forks();
}

uint32_t csc_budget_taken(const csc_budget *budget) {
    return (uint32_t)atomic_load(&((csc_budget *)budget)->taken);
}

csc_excess csc__budget_excess(const csc_budget *budget) {
    return (csc_excess)atomic_load_explicit(&((csc_budget *)budget)->excess, memory_order_relaxed);
}

bool csc__budget_take(csc_budget *budget) {
    int64_t taken = atomic_load(&budget->taken);
    while (taken < atomic_load(&budget->limit)) {
        if (atomic_compare_exchange_weak(&budget->taken, &taken, taken + 1)) {
            return true;
        }
    }
    return false;
}

void csc__budget_force(csc_budget *budget, uint32_t count) {
    atomic_fetch_add(&budget->taken, count);
}

// False in a child of the process that made it, where the queue is that of other threads.
static bool lock(csc_budget *budget) {
    return !csc__budget_is_inherited(budget) && pthread_mutex_lock(&budget->lock) == 0;
}

static bool has_place(csc_budget *budget) {
    return atomic_load(&budget->taken) < atomic_load(&budget->limit);
}

// With the lock.
static csc__budget_waiter *pop(csc_budget *budget) {
    csc__budget_waiter *waiter = budget->first;
    if (waiter) {
        budget->first = waiter->next;
        waiter->is_queued = false;
        atomic_fetch_sub(&budget->waiting, 1);
    }
    return waiter;
}

static void wake(csc_budget *budget, uint32_t count) {
    if (!lock(budget)) {
        return;
    }
    for (uint32_t woken = 0; woken < count && has_place(budget); woken++) {
        csc__budget_waiter *waiter = pop(budget);
        if (!waiter) {
            break;
        }
        waiter->wake(waiter); // the lock keeps it from being freed meanwhile
    }
    pthread_mutex_unlock(&budget->lock);
}

void csc__budget_give(csc_budget *budget, uint32_t count) {
    atomic_fetch_sub(&budget->taken, count);
    if (atomic_load(&budget->waiting) > 0) {
        wake(budget, count);
    }
}

void csc__budget_offer(csc_budget *budget) {
    if (atomic_load(&budget->waiting) > 0) {
        wake(budget, 1);
    }
}

void csc_budget_set_limit(csc_budget *budget, int limit, csc_excess excess) {
    atomic_store(&budget->excess, (int)excess);
    atomic_store(&budget->limit, limit_of(limit));
    if (!lock(budget)) {
        return;
    }
    // All: where clients are rejected, there is something to do for those without a place, too.
    for (csc__budget_waiter *waiter = pop(budget); waiter; waiter = pop(budget)) {
        waiter->wake(waiter);
    }
    pthread_mutex_unlock(&budget->lock);
}

void csc__budget_queue(csc_budget *budget, csc__budget_waiter *waiter) {
    pthread_mutex_lock(&budget->lock);
    waiter->next = NULL;
    if (budget->first) {
        budget->last->next = waiter;
    } else {
        budget->first = waiter;
    }
    budget->last = waiter;
    waiter->is_queued = true;
    atomic_fetch_add(&budget->waiting, 1);
    pthread_mutex_unlock(&budget->lock);
}

// With the lock.
static void take_out(csc_budget *budget, csc__budget_waiter *waiter) {
    csc__budget_waiter *before = NULL;
    for (csc__budget_waiter *one = budget->first; one != waiter; one = one->next) {
        before = one;
    }
    *(before ? &before->next : &budget->first) = waiter->next;
    if (budget->last == waiter) {
        budget->last = before;
    }
    waiter->is_queued = false;
    atomic_fetch_sub(&budget->waiting, 1);
}

void csc__budget_leave(csc_budget *budget, csc__budget_waiter *waiter) {
    if (!lock(budget)) {
        return;
    }
    if (waiter->is_queued) {
        take_out(budget, waiter);
    }
    pthread_mutex_unlock(&budget->lock);
}
