// What the interposing functions ask and tell the plans of their thread.
#ifndef FAULT_PLANS_H
#define FAULT_PLANS_H

#include "FaultInjection.h"

// Counts a call. True, with errno set, when it must fail.
bool fault__fails(fault_call call);

// Counts a call that moves size bytes. True, with errno set, when it must fail; otherwise *size may
// be less.
bool fault__fails_or_shortens(fault_call call, size_t *size);

// True when the call of getsockopt() just counted has another answer.
bool fault__answers_option(int *value);

// Counts an allocation. True, with errno set, when it must fail.
bool fault__allocation_fails(void);

// Between these two, allocations are the shim's own: not counted, and they do not fail.
void fault__begin_own_work(void);
void fault__end_own_work(void);

void fault__count_bad_close(void);

// The descriptor is about to be closed.
void fault__forget_timer(int fd);

#endif
