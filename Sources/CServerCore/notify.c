// SPDX-License-Identifier: Apache-2.0

// Reports of accept errors, which do not nest: a program may wait, listen or resume in one, and
// what fails then is reported when the report on the stack is over.

#include "notify.h"

#include "server_type.h"

void csc__report(csc_server *server) {
    if (server->reporting) {
        server->report_due = true;
        server->due_error = server->last_error;
        return;
    }
    csc__last_error error = server->last_error;
    do {
        server->report_due = false;
        server->reporting = true;
        server->last_error = error;
        if (server->accept_error) {
            server->accept_error(server, error.error, server->accept_error_context);
        }
        server->reporting = false;
        error = server->due_error;
    } while (server->report_due && !server->freed);
}
