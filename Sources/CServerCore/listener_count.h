// SPDX-License-Identifier: Apache-2.0

// Who else listens on an address. Knows nothing of csc_server.
#ifndef CSC_LISTENER_COUNT_H
#define CSC_LISTENER_COUNT_H

#include "CServerCore.h"

// How many sockets of the thread's network namespace listen on an address and port; 0 where the
// kernel does not say.
size_t csc__count_listeners(const csc_address *address);

#endif
