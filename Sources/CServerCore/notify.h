// SPDX-License-Identifier: Apache-2.0

// Every callback of the program goes through here.
#ifndef CSC_NOTIFY_H
#define CSC_NOTIFY_H

#include "server_type.h"

typedef enum csc__notice {
    CSC__NEW_CONNECTION,
    CSC__INCOMING_CONNECTION, // subject: csc_connection
    CSC__ADMISSION,           // subject: csc_address; the answer is a csc_admission
    CSC__REJECTION,           // subject: csc_rejection
    CSC__ACCEPT_ERROR,
    CSC__SOCKET_MADE // subject: int; the answer is an errno
} csc__notice;

// Reports the last error, or leaves that to the report that is on the stack.
void csc__report(csc_server *server);

// Calls the program back, unless the server was freed. 0 where there is no answer.
static inline int csc__notify(csc_server *server, csc__notice notice, const void *subject) {
    if (server->freed) {
        return 0;
    }
    switch (notice) {
    case CSC__NEW_CONNECTION:
        if (server->new_connection) {
            server->new_connection(server, server->new_connection_context);
        }
        break;
    case CSC__INCOMING_CONNECTION:
        server->incoming_connection(server, subject, server->incoming_connection_context);
        break;
    case CSC__ADMISSION:
        return (int)server->admission(server, subject, server->admission_context);
    case CSC__REJECTION:
        if (server->rejected) {
            server->rejected(server, subject, server->rejected_context);
        }
        break;
    case CSC__ACCEPT_ERROR:
        csc__report(server);
        break;
    case CSC__SOCKET_MADE:
        return server->socket_made(server, *(const int *)subject, server->socket_made_context);
    }
    return 0;
}

#endif
