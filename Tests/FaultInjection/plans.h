// SPDX-License-Identifier: Apache-2.0

// What the interposing functions ask of and report to the plans of their thread.
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

// The same for getrandom() and a number that it repeats.
bool fault__answers_random(uint64_t *number);

// Counts an allocation. True, with errno set, when it must fail.
bool fault__allocation_fails(void);

// Between these two, allocations are the shim's own: not counted, and they do not fail.
void fault__begin_own_work(void);
void fault__end_own_work(void);

bool fault__is_suspended(void);

// descriptors.c: what this thread opened. Both leave errno alone.
int fault__opened(int fd);

// The same for the descriptors that a message has brought.
struct msghdr;
void fault__received(struct msghdr *message);
void fault__closes(int fd, bool was_open);
void fault__reset_bad_closes(void);

// sites.c: a call was made that counts.
void fault__note_site(fault_call call);

// clock.c: the descriptor is about to be closed.
void fault__forget_timer(int fd);

// clock.c: whether waits are skipped, and how long until the next timer of the thread; -1 for none.
bool fault__skips_waits(void);
int64_t fault__until_next_timer(void);

// An allocation that the shim let through, and its end.
void fault__allocated(const void *memory);
void fault__freed(const void *memory);

#endif
