// SPDX-License-Identifier: Apache-2.0

// A member of a group receives connections.
#ifndef CSC_MEMBER_H
#define CSC_MEMBER_H

#include "group_type.h"

// Lets a connection in; false when memory is short.
bool csc__member_receive(csc_server *server, const csc_connection *connection);

// Lets in what is in the mailbox, whatever the limits say; or closes it.
void csc__member_receive_all(csc_server *server);
void csc__member_discard_all(csc_server *server);

// The server is freed.
void csc__member_leave(csc_server *server, bool forget_event);

// Of the event of a mailbox; its context is the server.
void csc__member_on_arrival(int descriptor, short events, void *context);

#endif
