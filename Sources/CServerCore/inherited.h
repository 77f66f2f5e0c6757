// SPDX-License-Identifier: Apache-2.0

#ifndef CSC_INHERITED_H
#define CSC_INHERITED_H

#include "CServerCore.h"

#include <stdbool.h>

// Forgets what was added last, until there are so many: the descriptors are the caller's, with the
// flags that they had.
void csc__inherited_forget(csc_inherited *set, size_t count);

// Whether it is a listening stream socket: IPv4, IPv6 or a unix-domain socket.
bool csc__is_listener(int descriptor);

#endif
