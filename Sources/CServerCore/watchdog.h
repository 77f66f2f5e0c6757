// SPDX-License-Identifier: Apache-2.0

// A timer of the kernel's that fires every second: other code may have broken the listening socket.
#ifndef CSC_WATCHDOG_H
#define CSC_WATCHDOG_H

#include "listening_socket.h"
#include "private_fd.h"

struct event;
struct event_base;

typedef struct csc__watchdog {
    csc__private_fd timer; // none when not listening, or without a base
    struct event *event;
    int64_t next_look; // monotonic milliseconds at which a wait looks
} csc__watchdog;

// Without a base there is only the time of the next look. False with errno when that fails.
bool csc__watchdog_start(csc__watchdog *it, struct event_base *base, int64_t now,
                         void (*fired)(int, short, void *), void *context);
void csc__watchdog_stop(csc__watchdog *it);

// To be called when it has fired.
void csc__watchdog_reset(csc__watchdog *it);

// Makes it fire soon.
void csc__watchdog_alert(const csc__watchdog *it);

// The errno that accept would have for what is wrong; 0 when nothing is. A socket in a poll set
// says itself that it was shut down.
int csc__watchdog_look(csc__watchdog *it, const csc__listening_socket *socket, bool is_polled,
                       int64_t now);

#endif
