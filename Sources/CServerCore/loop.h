// SPDX-License-Identifier: Apache-2.0

// What a listening server does when its loop calls.
#ifndef CSC_LOOP_H
#define CSC_LOOP_H

#include "server_type.h"

// Begins to listen on server->socket. On failure the server does not, and the socket is for the
// caller to close or forget.
bool csc__accept_start(csc_server *server, csc__failure *failure);

// What a wait does in place of the loop: ends a back-off whose time is over, and looks after the
// socket if that is due. False when the server has stopped.
bool csc__tend(csc_server *server, int64_t now);

// A wait found no client although the socket was ready. Backs off when that does not end.
void csc__found_nobody(csc_server *server);

#endif
