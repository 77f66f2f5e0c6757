// SPDX-License-Identifier: Apache-2.0

// Who else listens on an address. Knows nothing of csc_server.
#ifndef CSC_OTHER_LISTENERS_H
#define CSC_OTHER_LISTENERS_H

#include "CServerCore.h"

// Whether a socket of the thread's network namespace listens on this address and port that is not one's
// own; false where the kernel does not say.
bool csc__others_listen(const csc_address *address,
                        bool (*is_own)(unsigned long inode, const void *context),
                        const void *context);

#endif
