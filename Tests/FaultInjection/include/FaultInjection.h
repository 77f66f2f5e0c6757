// SPDX-License-Identifier: Apache-2.0

/**
 * @file FaultInjection.h
 * Makes calls of the C library fail on demand, in the program that this is linked into.
 *
 * The shim defines socket(), accept4(), read() and the other calls below itself. A program's own
 * symbols come first when shared libraries are linked to it, so libevent's calls come through here
 * as well. Each one calls the real function unless a plan says otherwise.
 *
 * Thread: plans, counters and the clock belong to the thread that makes the call and are all zero
 * at first, so tests on several threads do not disturb each other. Calls that the C library makes
 * inside itself (getaddrinfo() opening a socket, for example) are not seen.
 *
 * A plan ends when it is used up, replaced by another for the same call, or cleared.
 */
#ifndef FAULT_INJECTION_H
#define FAULT_INJECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The calls that can be made to fail, and are counted. */
typedef enum fault_call {
    FAULT_ACCEPT,
    FAULT_ACCEPT4,
    FAULT_BIND,
    FAULT_CHMOD,
    FAULT_CLOSE, /**< a failing close() closes all the same, as the kernel's does */
    FAULT_CONNECT,
    FAULT_EPOLL_CREATE,
    FAULT_EPOLL_CREATE1,
    FAULT_EPOLL_CTL, /**< a failing EPOLL_CTL_DEL removes all the same, as its errnos say */
    FAULT_EPOLL_WAIT,
    FAULT_EVENTFD,
    FAULT_FCNTL,
    FAULT_FSTAT,
    FAULT_GETADDRINFO, /**< its "errno" is an EAI_ code, which it returns */
    FAULT_GETPEERNAME,
    FAULT_GETRANDOM,
    FAULT_GETSOCKNAME,
    FAULT_GETSOCKOPT,
    FAULT_LISTEN,
    FAULT_LSTAT,
    FAULT_PIPE,
    FAULT_PIPE2,
    FAULT_POLL,
    FAULT_READ,
    FAULT_READV,
    FAULT_RECV,
    FAULT_RECVMSG,
    FAULT_SEND,
    FAULT_SENDMSG,
    FAULT_SETSOCKOPT,
    FAULT_SHUTDOWN,
    FAULT_SOCKET,
    FAULT_SOCKETPAIR,
    FAULT_SPLICE,
    FAULT_TIMERFD_CREATE,
    FAULT_TIMERFD_SETTIME,
    FAULT_UNLINK,
    FAULT_WRITE,
    FAULT_WRITEV
} fault_call;

enum { FAULT_CALLS = FAULT_WRITEV + 1 };

/**
 * Plans failures of one call.
 *
 * @param nth the first call to fail, counted from now; 1 is the next one
 * @param count how many fail in a row; -1 for ever
 * @param errnum the errno they fail with
 */
void fault_fail(fault_call call, int nth, int count, int errnum);

/**
 * Plans short transfers: read(), recv(), send() or write() moves at most so many bytes.
 *
 * @param nth, count as for fault_fail()
 * @param most at least 1
 */
void fault_shorten(fault_call call, int nth, int count, size_t most);

/**
 * Plans another answer of getsockopt(): the nth call from now succeeds, and its option, an int, has
 * this value.
 */
void fault_answer_option(int nth, int value);

/** Plans what is random: the nth getrandom() from now fills its buffer with this number, repeated. */
void fault_answer_random(int nth, uint64_t number);

/** Ends every plan of this thread, those for allocations included. The clock and counters stay. */
void fault_clear(void);

/** How often this thread made the call since fault_reset_counts(), failed or not. */
uint64_t fault_calls(fault_call call);

/** How many of those a plan made fail. */
uint64_t fault_failures(fault_call call);

/** The call's name, such as "accept4". */
const char *fault_call_name(fault_call call);

/**
 * Between these two, which may be nested, this thread's calls are the test's own: they are not
 * counted, do not fail, and what they open is the test's.
 */
void fault_suspend(void);
void fault_resume(void);

/**
 * How many close() calls of this thread were for a number that was not open, or, since
 * fault_watch_closes(), for one that it had not opened: always a bug.
 */
uint64_t fault_bad_closes(void);

/**
 * What the first of those was and who called, one line a caller; empty when there was none. Valid
 * until fault_reset_counts().
 */
const char *fault_bad_close_text(void);

/**
 * From now on a close() of this thread is bad unless the thread has opened the number since, with
 * one of the calls above, or was given it. Forgets what was opened before. False ends it.
 */
void fault_watch_closes(bool watch);

/** How many of the descriptors that a watched thread has opened, or was given, are still open. */
int fault_open_descriptors(void);

/** A watched thread may close this descriptor from now on, or no more. */
void fault_give(int descriptor);
void fault_take(int descriptor);

/** Sets the counters of this thread to zero. */
void fault_reset_counts(void);

/**
 * How many malloc(), calloc() and realloc() calls this thread made since fault_reset_counts(); 0
 * where fault_counts_allocations() is false.
 */
uint64_t fault_allocations(void);

/** How many of all allocations so far are not freed; of this thread, wherever others free them. */
int64_t fault_live_allocations(void);

/** False where a sanitizer or valgrind owns malloc(), or the C library is not glibc. */
bool fault_counts_allocations(void);

/** Plans failures of allocations; nth and count as for fault_fail(). */
void fault_fail_allocation(int nth, int count);

/**
 * Moves this thread's monotonic clock forward, so that timers fire without waiting for them, those
 * with an interval that it gave to timerfd_settime() among them. The clock never goes back. Other
 * threads, and how long a call blocks, are not affected.
 */
void fault_advance_clock(int64_t milliseconds);

/**
 * Stops this thread's monotonic clock: until fault_start_clock() only fault_advance_clock() moves
 * it, and a test of a timer does not depend on how busy the machine is.
 */
void fault_stop_clock(void);
void fault_start_clock(void);

/**
 * Makes this thread's clock the kernel's again, and thereby goes back: for the end of a test, when
 * the thread will run others, whose times are compared with those of other threads.
 */
void fault_reset_clock(void);

/**
 * While the clock is stopped: a poll() or epoll_wait() of this thread that finds nothing ready
 * moves the clock on instead of sleeping, to its own timeout or to the next timer, and a failing
 * one moves it by a millisecond. For tests in which no other thread makes descriptors ready.
 */
void fault_skip_waits(bool skip);

/** Whether socket() has no IPv6 for this thread, as on a machine without it. */
void fault_hide_ipv6(bool hide);

/**
 * Remembers where each call of this thread comes from, from now on; false ends it. For one thread
 * at a time.
 *
 * @param depth how many callers distinguish one place from another; 0 for all below the
 *   executable, which suits a library under test that is a shared one
 */
void fault_record_sites(bool record, int depth);

/** A number for the place that the nth recorded call came from, 1 being the first; 0 for none. */
uint64_t fault_site(fault_call call, uint64_t nth);

#ifdef __cplusplus
}
#endif

#endif
