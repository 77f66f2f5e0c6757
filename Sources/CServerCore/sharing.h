// SPDX-License-Identifier: Apache-2.0

// A server that waits for a place of its budget.
#ifndef CSC_SHARING_H
#define CSC_SHARING_H

#include "server_type.h"

// Tries again to accept where the server waits for a place.
void csc__look_for_place(csc_server *server);

// Accepts as many as the batch, the limits and the budget allow: for a server with a budget, which
// has no listener of libevent's.
void csc__accept_batch(csc_server *server);

#endif
