// SPDX-License-Identifier: Apache-2.0

// The part of libevent_core that the Swift module drives itself: the loop and plain events.
//
// Declared here and not by including <event2/event.h>, whose system headers clash with the Glibc
// module that Swift imports beside it. Tests/CServerCoreTests compiles this file together with the
// real headers.
#ifndef CLIBEVENT_SHIM_H
#define CLIBEVENT_SHIM_H

#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

struct event;
struct event_base;
struct event_config;
struct timeval;

typedef void (*event_callback_fn)(int descriptor, short events, void *context);
typedef int (*event_base_foreach_event_cb)(const struct event_base *base, const struct event *event,
                                           void *context);

enum {
    CLIBEVENT_TIMEOUT = 0x01,
    CLIBEVENT_READ = 0x02,
    CLIBEVENT_WRITE = 0x04,
    CLIBEVENT_SIGNAL = 0x08,
    CLIBEVENT_PERSIST = 0x10,
    CLIBEVENT_EDGE_TRIGGERED = 0x20,
    CLIBEVENT_CLOSED = 0x80,

    CLIBEVENT_LOOP_ONCE = 0x01,
    CLIBEVENT_LOOP_NONBLOCK = 0x02,
    CLIBEVENT_LOOP_NO_EXIT_ON_EMPTY = 0x04,

    CLIBEVENT_BASE_NOLOCK = 0x01,

    CLIBEVENT_FEATURE_EDGE_TRIGGERED = 0x01,
};

struct event_config *event_config_new(void);
int event_config_set_flag(struct event_config *config, int flag);
void event_config_free(struct event_config *config);

struct event_base *event_base_new(void);
struct event_base *event_base_new_with_config(const struct event_config *config);
void event_base_free(struct event_base *base);
int event_base_loop(struct event_base *base, int flags);
int event_base_get_features(const struct event_base *base);
int event_base_update_cache_time(struct event_base *base);
int event_base_foreach_event(struct event_base *base, event_base_foreach_event_cb callback,
                             void *context);

struct event *event_new(struct event_base *base, int descriptor, short events,
                        event_callback_fn callback, void *context);
void event_free(struct event *event);
int event_add(struct event *event, const struct timeval *timeout);
int event_del(struct event *event);
int event_remove_timer(struct event *event);
event_callback_fn event_get_callback(const struct event *event);
void *event_get_callback_arg(const struct event *event);

// The calling thread: one instruction, where pthread_self() is a call.
static inline uintptr_t clibevent_thread(void) {
    return (uintptr_t)__builtin_thread_pointer();
}

// What Swift's runtime has for references that do not keep an object: its memory stays as long as
// there are any, and a strong one can be had unless the object is ending.
extern void *clibevent_try_retain(void *object) __asm__("swift_tryRetain");
extern void *clibevent_keep_memory(void *object) __asm__("swift_unownedRetain");
extern void clibevent_free_memory(void *object) __asm__("swift_unownedRelease");

extern long clibevent_system_call(long number, ...) __asm__("syscall");

// What an errno means, in English and for every thread; NULL for none. Of <string.h>, for GNU.
extern const char *clibevent_errno_text(int errnum) __asm__("strerrordesc_np");

// The kernel's number of the calling thread; the process's first thread has the process's.
static inline long clibevent_thread_number(void) {
    return clibevent_system_call(SYS_gettid);
}

// The task that runs the caller, NULL outside of tasks, and whether one was cancelled: what the
// compiler calls for async code. Swift's own form of both counts references and takes ten times as
// many instructions. Swift's calling convention is C's for one pointer.
extern void *clibevent_current_task(void) __asm__("swift_task_getCurrent");
extern _Bool clibevent_task_is_cancelled(void *task) __asm__("swift_task_isCancelled");

extern uint64_t clibevent_task_id(void *task) __asm__("swift_task_getJobTaskId")
    __attribute__((weak));

// A number that no other task has, by Swift's runtime; with one that lacks it, the address.
static inline uint64_t clibevent_task_number(void *task) {
    return clibevent_task_id ? clibevent_task_id(task) : (uint64_t)(uintptr_t)task;
}

// The C library's, which its headers keep to programs of GNU's: the processors that the calling
// thread may run on, a bit for each.
extern int clibevent_get_affinity(int thread, unsigned long size,
                                  void *mask) __asm__("sched_getaffinity");
extern int clibevent_set_affinity(int thread, unsigned long size,
                                  const void *mask) __asm__("sched_setaffinity");

// Moving bytes through a pipe: also of <fcntl.h>, for programs of GNU's.
enum {
    CLIBEVENT_SET_PIPE_SIZE = 1031,
    CLIBEVENT_GET_PIPE_SIZE = 1032,
    CLIBEVENT_SPLICE_MOVE = 1,
    CLIBEVENT_SPLICE_NONBLOCK = 2,
};
extern int clibevent_open_pipe(int ends[2], int flags) __asm__("pipe2");
extern long clibevent_splice(int from, int64_t *from_offset, int to, int64_t *to_offset,
                             unsigned long count, unsigned flags) __asm__("splice");

#endif
