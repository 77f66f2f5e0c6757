// SPDX-License-Identifier: Apache-2.0

#ifndef CSC_INHERITED_H
#define CSC_INHERITED_H

#include <stdbool.h>

// Whether it is a listening stream socket: IPv4, IPv6 or a unix-domain socket.
bool csc__is_listener(int descriptor);

#endif
