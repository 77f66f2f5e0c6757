// SPDX-License-Identifier: Apache-2.0

// The events of a listening server.
#ifndef CSC_LISTENER_H
#define CSC_LISTENER_H

#include "server_type.h"

typedef struct csc__listener_callbacks {
    void (*accepted)(struct evconnlistener *, int, struct sockaddr *, int, void *);
    void (*failed)(struct evconnlistener *, void *);
    void (*polled)(int, short, void *);
    void (*retry)(int, short, void *);
} csc__listener_callbacks;

// Makes the events and enables the listener; without a base there are none. False with errno, and
// nothing left, when that fails.
bool csc__listener_start(csc_server *server, const csc__listener_callbacks *callbacks);

// False with errno when the loop cannot watch the socket.
bool csc__listener_enable(csc_server *server);
void csc__listener_disable(csc_server *server);

// The loop no longer watches a disabled listener.
void csc__listener_leave_poll_set(csc_server *server);

// Calls `retry` after the back-off, and after this turn of the loop.
void csc__listener_schedule_retry(csc_server *server);
void csc__listener_retry_soon(csc_server *server);

// Frees the events. On a base with a change list the socket's private duplicate goes with them,
// after the next turn of the loop.
void csc__listener_stop(csc_server *server);

#endif
