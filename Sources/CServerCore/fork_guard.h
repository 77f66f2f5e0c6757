// SPDX-License-Identifier: Apache-2.0

// What fork() does to listening servers.
#ifndef CSC_FORK_GUARD_H
#define CSC_FORK_GUARD_H

#include "server_type.h"

// Another number in each process that forked from this one.
unsigned csc__process(void);

// False when another server already listens on this very descriptor. As long as a server is in the
// list, its descriptors are its own or -1.
bool csc__fork_guard_add(csc_server *server);
void csc__fork_guard_remove(csc_server *server);

// Makes the loop of a server collect what has ended soon: by its places, or by its watchdog, which
// runs while it listens. The one call that any thread may make.
void csc__fork_guard_alert(const csc_server *server);

// The server's places change with the lock of that call, which writes to their waker.
void csc__fork_guard_set_places(csc_server *server, struct csc__places *places);

#endif
