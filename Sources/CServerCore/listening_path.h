// SPDX-License-Identifier: Apache-2.0

// Opening a listening socket at a path. Knows nothing of csc_server.
#ifndef CSC_LISTENING_PATH_H
#define CSC_LISTENING_PATH_H

#include "listening_socket.h"

typedef struct csc__path_request {
    const char *path; // borrowed
    int permissions;  // -1 for none that were asked for
    bool keep_stale;
} csc__path_request;

// Opens the socket and listens; see csc_server_listen_path(). On failure nothing is left open.
bool csc__listening_path_open(csc__listening_socket *listening, const csc__path_request *request,
                              const csc__opening *opening, csc__failure *failure);

#endif
