// SPDX-License-Identifier: Apache-2.0

// Children that copy no descriptor of the tests beside them.
//
// Between its creation and exec a child holds a copy of each descriptor of its parent,
// close-on-exec or not. While it does, a connection that a test on another thread closes is not
// closed: its peer sees no end, its port is taken.
//
// A program that is linked with this starts its children from one thread that has a descriptor
// table of its own, made before main(). Only what the actions of posix_spawn() duplicate is lent to
// that table, for one call. posix_spawn() is replaced for the whole process, the exit tests of
// Swift Testing included; fork() is not.
#ifndef CHILD_ISOLATION_H
#define CHILD_ISOLATION_H

#include <stdbool.h>

// False where the kernel allows no second descriptor table. Children then hold copies for a moment.
bool child_isolation_is_active(void);

#endif
