// SPDX-License-Identifier: Apache-2.0

// The main queue of libdispatch, which Swift's main actor runs on, as something that an event loop
// can watch.
//
// The first two functions are what CoreFoundation's run loop uses; no header declares them. All are
// weak, because nothing here links libdispatch (on Linux the Swift runtime does, also where it is
// static), and have names of their own, because a program may import libdispatch's declarations as
// well.
#ifndef CLIBEVENT_MAIN_QUEUE_H
#define CLIBEVENT_MAIN_QUEUE_H

extern int clibevent_dispatch_handle(void) __asm__("_dispatch_get_main_queue_handle_4CF")
    __attribute__((weak));
extern void clibevent_dispatch_drain(void *ignored) __asm__("_dispatch_main_queue_callback_4CF")
    __attribute__((weak));
extern const char *clibevent_dispatch_label(void *queue) __asm__("dispatch_queue_get_label")
    __attribute__((weak));
extern void clibevent_dispatch_async(void *queue, void *context,
                                     void (*work)(void *context)) __asm__("dispatch_async_f")
    __attribute__((weak));
extern char clibevent_dispatch_main_queue __asm__("_dispatch_main_q") __attribute__((weak));

// An event descriptor that is readable while the queue has something to run; -1 in a program
// without libdispatch.
static inline int clibevent_main_queue_descriptor(void) {
    int known = clibevent_dispatch_handle && clibevent_dispatch_drain && clibevent_dispatch_async;
    return known ? clibevent_dispatch_handle() : -1;
}

// Runs what the queue has, on the main thread. Does nothing where the caller is run by the queue
// already.
static inline void clibevent_main_queue_run(void) {
    clibevent_dispatch_drain(0);
}

// Adds something to run.
static inline void clibevent_main_queue_add(void *context, void (*work)(void *context)) {
    clibevent_dispatch_async(&clibevent_dispatch_main_queue, context, work);
}

// The label of the queue that runs the caller; the main thread has the main queue's without being
// run by it.
static inline const char *clibevent_current_queue_label(void) {
    return clibevent_dispatch_label ? clibevent_dispatch_label(0) : "";
}

#endif
