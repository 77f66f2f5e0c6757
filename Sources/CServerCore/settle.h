// SPDX-License-Identifier: Apache-2.0

// What the state of a server asks for.
#ifndef CSC_SETTLE_H
#define CSC_SETTLE_H

#include "server_type.h"

// Whether the limits let another connection in; csc_server_pause() is none of them.
bool csc__limits_allow(const csc_server *server);

// Whether another connection may be accepted, or received from a mailbox.
bool csc__may_accept(const csc_server *server);

// Enables or disables the listener, and computes its budget. False with errno when the loop cannot
// watch the socket, or there is no memory for the queue: csc__settle() is for that.
bool csc__apply(csc_server *server);

// The same after this turn of the loop.
void csc__settle_soon(csc_server *server);

// Counts the pauses, and their time.
void csc__note_overload(csc_server *server);

// What accepting compares with, so that it asks for nothing where nothing was set.
void csc__set_limits(csc_server *server);

// Connections have ended: on this thread; and those that others have counted.
void csc__end_connections(csc_server *server, uint32_t count);
void csc__collect_ended(csc_server *server);

// A descriptor of the process was closed.
void csc__descriptor_freed(csc_server *server);

#endif
