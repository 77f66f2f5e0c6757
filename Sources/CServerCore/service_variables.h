// SPDX-License-Identifier: Apache-2.0

// What a service manager writes into the environment of a process, read without a system call.
#ifndef CSC_SERVICE_VARIABLES_H
#define CSC_SERVICE_VARIABLES_H

#include "CServerCore.h"

#include <sys/socket.h>
#include <sys/un.h>

// The values of four variables; NULL for one that is not set.
typedef struct csc__listen_variables {
    const char *process;  // LISTEN_PID
    const char *pidfd_id; // LISTEN_PIDFDID
    const char *count;    // LISTEN_FDS
    const char *names;    // LISTEN_FDNAMES
} csc__listen_variables;

enum { CSC__FIRST_INHERITED = 3 };

// A number in decimal digits, from 1 to `most`, without a sign, a space or a leading zero.
bool csc__read_number(const char *text, uint64_t most, uint64_t *value);

// How many descriptors are for this process; 0 where the variables are not set, or for another.
//
// @param process its number
// @param pidfd_id the inode of its pidfd; 0 where the kernel gives processes none
csc_inherited_error csc__read_listen_variables(const csc__listen_variables *variables,
                                               uint64_t process, uint64_t pidfd_id, int *count);

// The name of a descriptor: `names` from `*name` to the colon or the end, `*length` bytes; returns
// where the next one begins.
const char *csc__next_name(const char *names, size_t *length);

// The address in NOTIFY_SOCKET: a path, or after an @ an abstract name.
//
// @return the length of the address; 0 where it is neither, with `*errnum` set
socklen_t csc__read_notify_socket(const char *text, struct sockaddr_un *name, int *errnum);

// The interval of WATCHDOG_USEC; 0 where it is not set, or WATCHDOG_PID is of another process.
uint64_t csc__read_watchdog(const char *interval, const char *watched, uint64_t process);

#endif
