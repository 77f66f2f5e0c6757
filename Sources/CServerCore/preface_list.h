// SPDX-License-Identifier: Apache-2.0

// Connections in the preface begin, go on and end.
#ifndef CSC_PREFACE_LIST_H
#define CSC_PREFACE_LIST_H

#include "preface.h"

// Begins with a connection that is let in, and which is live from now on. True when it has got past
// the preface at once; it may be another then. Otherwise it is in the preface, or has ended.
bool csc__preface_begin(csc_server *server, csc_connection *connection);

// Goes on with one; the same answer.
bool csc__preface_step(csc__preface *it, csc_connection *connection);

// Ends those whose time is over.
void csc__prefaces_expire(csc_server *server);

// When the first of them is to end, in monotonic milliseconds; INT64_MAX where there is none.
int64_t csc__prefaces_deadline(const csc_server *server);

// Ends all, because the server closes. `is_inherited`: in a child of fork(), whose epoll is its parent's.
void csc__prefaces_end_all(csc_server *server, bool is_inherited);

// To be called after each that has left the preface: reports once that none is left.
void csc__prefaces_note_end(csc_server *server);

// In a child of fork(): what the parent's epoll knows by the numbers of these sockets refers to
// `nothing` in the child.
void csc__prefaces_replace(csc_server *server, int nothing);

void csc__prefaces_free(csc_server *server);

#endif
