// SPDX-License-Identifier: Apache-2.0

// The one actor: attempts to accept, and what is done with a connection.
#ifndef CSC_ACCEPT_H
#define CSC_ACCEPT_H

#include "outcome.h"
#include "server_type.h"

// One attempt: one accept4, with no look at the limits. Its callbacks may close the server, or free
// it: the generation is another then.
csc__outcome csc__step(csc_server *server);

// The same for a connection that came another way. There is room for it in the queue.
csc__outcome csc__step_with(csc_server *server, csc_connection *connection);

// The same for one that has got past its preface, and is live.
csc__outcome csc__step_past_preface(csc_server *server, csc_connection *connection);

// The same for one that libevent accepted.
void csc__on_accept(struct evconnlistener *listener, int descriptor, struct sockaddr *peer,
                    int length, void *context);

// csc__apply(), with a pause where that fails. To be called once after each step, and when the
// program has changed something.
void csc__settle(csc_server *server);

// A place has become free: settles at once where that costs no system call, otherwise after this
// turn of the loop. Many places then cost one system call, not one each.
void csc__settle_for_room(csc_server *server);

// Closes a connection that was handed over and cannot be kept, for lack of memory.
void csc__refuse(csc_server *server, const csc_connection *connection);

#endif
