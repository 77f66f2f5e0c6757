// SPDX-License-Identifier: Apache-2.0

// In which process something was made: threads and locks of the parent are none of a child's.
// Knows nothing of csc_server.
#ifndef CSC_FORKS_H
#define CSC_FORKS_H

// How many forks are between the process that asked first and this one.
unsigned csc__forks(void);

#endif
