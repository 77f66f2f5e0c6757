// SPDX-License-Identifier: Apache-2.0

// The server under attack: what its three files share.
#ifndef HOSTILE_SUBJECT_H
#define HOSTILE_SUBJECT_H

#include <CServerCore.h>

#include <stdbool.h>

struct event_base;

// What it does with the connections it takes.
typedef enum service {
    CLOSE, // at once
    HOLD,  // until a command to let go
    ECHO,  // sends back what comes, until the client ends
    LEAVE, // in the server's queue
    NAME // sends its peer's address and port, the proxy's address and the client's TLS, and closes
} service;

typedef struct subject {
    struct event_base *base;
    csc_server *server;
    service service;
    int accept_errors;
    int signals;
    int local; // connections of a proxy's own
} subject;

// connections.c

void connections_serve(csc_server *server, void *subject);

// Closes so many of those that are held, the oldest first.
void connections_drop(int count);
int connections_held(void);

// The errno of the last connection that failed in ECHO; 0 for none.
int connections_error(void);

// commands.c

// Reads a command from standard input and answers with one line of JSON. False at its end.
bool commands_read(subject *subject);

#endif
