// SPDX-License-Identifier: Apache-2.0

// Who else listens on an address. Knows nothing of csc_server.
#ifndef CSC_OTHER_LISTENERS_H
#define CSC_OTHER_LISTENERS_H

#include "listening_socket.h"

// Whether another socket of the thread's network namespace listens on the address and port of
// these; false where the kernel does not say.
bool csc__others_listen(const csc__listening_socket *sockets, size_t count);

#endif
