// SPDX-License-Identifier: Apache-2.0

// The accepting thread of a group chooses the member that gets a connection.
#ifndef CSC_PLACING_H
#define CSC_PLACING_H

#include "group_type.h"

// The incoming callback of the server that accepts; its context is the group. And its events.
void csc__group_place(csc_server *acceptor, const csc_connection *connection, void *context);
void csc__group_on_wake(int descriptor, short events, void *context);
void csc__group_on_timer(int descriptor, short events, void *context);
void csc__group_on_flush(int descriptor, short events, void *context);

// Places elsewhere what waits for busy loops, and looks whether there is room.
void csc__group_look(csc_group *group);

#endif
