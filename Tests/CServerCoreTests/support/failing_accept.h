// SPDX-License-Identifier: Apache-2.0

// The errnos of accept by their class, and a server to which they happen.
#ifndef FAILING_ACCEPT_H
#define FAILING_ACCEPT_H

#include "fixture.h"

#include <errno.h>

// Concern one peer: accepting goes on at once.
static const int peer_errors[] = {
    EPROTO,       ECONNRESET, ETIMEDOUT,   ENETDOWN, ENETUNREACH, EHOSTDOWN,
    EHOSTUNREACH, ENONET,     ENOPROTOOPT, EPIPE,    EOPNOTSUPP, // while the socket still listens
};

// These two libevent retries itself, on the next turn and without a report.
static const int silent_peer_errors[] = {EINTR, ECONNABORTED};

// A lack of resources, and any errno that is not in the table.
static const int resource_errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EXDEV};

static const int permission_errors[] = {EPERM, EACCES, ENOSYS};

static const int listener_errors[] = {EBADF, ENOTSOCK, EINVAL, EFAULT};

#define each(name, list)                                                                           \
    const int *name = (list);                                                                      \
    name < (list) + sizeof(list) / sizeof(list)[0];                                                \
    name++

// Plans so many failures in a row; -1 for ever.
void fail_accept(int count, int errnum);

// The server listens again, with one client in the kernel's queue and nothing seen so far.
void start_failing(fixture *it);

// Ends the faults and takes what is pending; every descriptor of the test is closed.
void finish_failing(fixture *it);

// The callback's error and the server's are both the errno's error.
void assert_accept_error(const fixture *it, int errnum);

#endif
