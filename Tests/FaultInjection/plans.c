// SPDX-License-Identifier: Apache-2.0

// Plans and counters, one set for each thread. What the interposing functions call neither
// allocates nor makes a call that the shim defines: it runs inside malloc().

#include "plans.h"

#include <errno.h>
#include <stdlib.h>

typedef struct plan {
    uint64_t skip;  // calls to let through first
    uint64_t times; // then this many; 0 for no plan
    size_t most;    // bytes, for a short transfer; 0 for a failure
    int errnum;
} plan;

static _Thread_local plan plans[FAULT_CALLS];
static _Thread_local plan allocation_plan;
static _Thread_local plan answer_plan;
static _Thread_local int answer;
static _Thread_local plan random_plan;
static _Thread_local uint64_t random_number;
static _Thread_local uint64_t calls[FAULT_CALLS];
static _Thread_local uint64_t failures[FAULT_CALLS];
static _Thread_local uint64_t allocations;
static _Thread_local unsigned own_work;
static _Thread_local unsigned suspensions;
static _Thread_local int64_t live_allocations;

static const char *const names[FAULT_CALLS] = {
    [FAULT_ACCEPT] = "accept",
    [FAULT_ACCEPT4] = "accept4",
    [FAULT_BIND] = "bind",
    [FAULT_CHMOD] = "chmod",
    [FAULT_CLOSE] = "close",
    [FAULT_CONNECT] = "connect",
    [FAULT_EPOLL_CREATE] = "epoll_create",
    [FAULT_EPOLL_CREATE1] = "epoll_create1",
    [FAULT_EPOLL_CTL] = "epoll_ctl",
    [FAULT_EPOLL_WAIT] = "epoll_wait",
    [FAULT_EVENTFD] = "eventfd",
    [FAULT_FCNTL] = "fcntl",
    [FAULT_FSTAT] = "fstat",
    [FAULT_GETADDRINFO] = "getaddrinfo",
    [FAULT_GETPEERNAME] = "getpeername",
    [FAULT_GETRANDOM] = "getrandom",
    [FAULT_GETSOCKNAME] = "getsockname",
    [FAULT_GETSOCKOPT] = "getsockopt",
    [FAULT_LISTEN] = "listen",
    [FAULT_LSTAT] = "lstat",
    [FAULT_PIPE] = "pipe",
    [FAULT_PIPE2] = "pipe2",
    [FAULT_POLL] = "poll",
    [FAULT_READ] = "read",
    [FAULT_READV] = "readv",
    [FAULT_RECV] = "recv",
    [FAULT_RECVMSG] = "recvmsg",
    [FAULT_SEND] = "send",
    [FAULT_SENDMSG] = "sendmsg",
    [FAULT_SETSOCKOPT] = "setsockopt",
    [FAULT_SHUTDOWN] = "shutdown",
    [FAULT_SOCKET] = "socket",
    [FAULT_SOCKETPAIR] = "socketpair",
    [FAULT_SPLICE] = "splice",
    [FAULT_TIMERFD_CREATE] = "timerfd_create",
    [FAULT_TIMERFD_SETTIME] = "timerfd_settime",
    [FAULT_UNLINK] = "unlink",
    [FAULT_WRITE] = "write",
    [FAULT_WRITEV] = "writev",
};

const char *fault_call_name(fault_call call) {
    return names[call];
}

static plan new_plan(int nth, int count) {
    return (plan){
        .skip = nth > 1 ? (uint64_t)nth - 1 : 0,
        .times = count < 0 ? UINT64_MAX : (uint64_t)count,
    };
}

// True when the plan is for this call.
static bool is_due(plan *current) {
    if (current->times == 0) {
        return false;
    }
    if (current->skip > 0) {
        current->skip--;
        return false;
    }
    if (current->times != UINT64_MAX) {
        current->times--;
    }
    return true;
}

void fault_fail(fault_call call, int nth, int count, int errnum) {
    plans[call] = new_plan(nth, count);
    plans[call].errnum = errnum;
}

void fault_shorten(fault_call call, int nth, int count, size_t most) {
    plans[call] = new_plan(nth, count);
    plans[call].most = most > 0 ? most : 1;
}

void fault_fail_allocation(int nth, int count) {
    allocation_plan = new_plan(nth, count);
}

void fault_answer_option(int nth, int value) {
    answer_plan = new_plan(nth, 1);
    answer = value;
}

void fault_answer_random(int nth, uint64_t number) {
    random_plan = new_plan(nth, 1);
    random_number = number;
}

void fault_clear(void) {
    for (int call = 0; call < FAULT_CALLS; call++) {
        plans[call] = (plan){0};
    }
    allocation_plan = (plan){0};
    answer_plan = (plan){0};
    random_plan = (plan){0};
}

uint64_t fault_calls(fault_call call) {
    return calls[call];
}

uint64_t fault_failures(fault_call call) {
    return failures[call];
}

void fault_suspend(void) {
    suspensions++;
}

void fault_resume(void) {
    suspensions--;
}

bool fault__is_suspended(void) {
    return suspensions > 0;
}

uint64_t fault_allocations(void) {
    return allocations;
}

// Tried rather than known: valgrind puts its own malloc() in place of any other. Through a pointer,
// because compilers know that malloc() changes no counter of ours.
bool fault_counts_allocations(void) {
    void *(*volatile allocate)(size_t) = malloc;
    plan present = allocation_plan;
    uint64_t before = allocations;
    allocation_plan = (plan){0};
    void *memory = allocate(1);
    bool counted = allocations > before;
    free(memory);
    allocations = before;
    allocation_plan = present;
    return counted;
}

void fault_reset_counts(void) {
    for (int call = 0; call < FAULT_CALLS; call++) {
        calls[call] = 0;
        failures[call] = 0;
    }
    allocations = 0;
    fault__reset_bad_closes();
}

bool fault__fails(fault_call call) {
    size_t size = 0;
    return fault__fails_or_shortens(call, &size);
}

bool fault__fails_or_shortens(fault_call call, size_t *size) {
    if (suspensions > 0) {
        return false;
    }
    calls[call]++;
    fault__note_site(call);
    if (!is_due(&plans[call])) {
        return false;
    }
    size_t most = plans[call].most;
    if (most > 0) {
        *size = *size < most ? *size : most;
        return false;
    }
    failures[call]++;
    errno = plans[call].errnum;
    return true;
}

bool fault__answers_option(int *value) {
    if (!is_due(&answer_plan)) {
        return false;
    }
    *value = answer;
    return true;
}

bool fault__answers_random(uint64_t *number) {
    if (!is_due(&random_plan)) {
        return false;
    }
    *number = random_number;
    return true;
}

bool fault__allocation_fails(void) {
    if (own_work > 0 || suspensions > 0) {
        return false;
    }
    allocations++;
    if (!is_due(&allocation_plan)) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void fault__begin_own_work(void) {
    own_work++;
}

void fault__end_own_work(void) {
    own_work--;
}

void fault__allocated(const void *memory) {
    live_allocations += memory && own_work == 0;
}

void fault__freed(const void *memory) {
    live_allocations -= memory && own_work == 0;
}

int64_t fault_live_allocations(void) {
    return live_allocations;
}
