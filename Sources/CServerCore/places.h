// SPDX-License-Identifier: Apache-2.0

// A server's places of a budget. Each live connection has one, and so has a client from before
// accept4() until it is live or closed. Nothing here costs a server without a budget more than a
// look at a pointer.
#ifndef CSC_PLACES_H
#define CSC_PLACES_H

#include "places_type.h"
#include "server_type.h"

typedef enum csc__place {
    CSC__PLACE_TAKEN,   // or there is no budget
    CSC__PLACE_AWAITED, // the server is woken when there may be one
    CSC__PLACE_REFUSED, // clients do not wait for one
} csc__place;

// For a client that is to be accepted. csc_server_finish() takes one in any case.
csc__place csc__place_take(csc_server *server);

// For a connection that came another way: beyond the limit, too.
void csc__place_force(csc_server *server);

// Of a client that is not there, or not let in.
void csc__place_give(csc_server *server);

// Whether a client for whom there is no place is reset.
bool csc__place_resets(const csc_server *server);

// The server waits for a place no more; if it was woken for one, another is.
void csc__place_stop_waiting(csc_server *server);

// The same for a server that is going to try again, and wakes others itself if it does not.
void csc__place_look(csc_server *server);

// For a wait: the server was woken, or has waited for a second.
bool csc__place_is_due(csc_server *server, int64_t now);

// Gives all back, of a server that waits for none. NULL for nothing to do.
void csc__places_free(struct csc__places *it);

#endif
