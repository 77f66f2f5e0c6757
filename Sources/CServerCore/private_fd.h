// SPDX-License-Identifier: Apache-2.0

// Descriptors of our own that no program asked for: a timer, a spare, an eventfd. Knows nothing of
// csc_server.
#ifndef CSC_PRIVATE_FD_H
#define CSC_PRIVATE_FD_H

#include <stdbool.h>

typedef struct csc__private_fd {
    int number; // -1 for none
    int mark;   // what its open file is marked with; 0 where the kernel did not take the mark
} csc__private_fd;

#define CSC__NO_PRIVATE_FD ((csc__private_fd){.number = -1})

// Moves a descriptor off the numbers of standard input and output, where the process was started
// without them: what the program prints must not get to a client. Where there is no other number it
// stays where it is.
int csc__move_above_standard(int descriptor);
static inline int csc__above_standard(int descriptor) {
    return descriptor > 2 ? descriptor : csc__move_above_standard(descriptor);
}

// Takes ownership of a descriptor, which may be -1, and marks it.
csc__private_fd csc__private_fd_of(int number);

// An eventfd with this count; none with errno when there is no descriptor for it.
csc__private_fd csc__private_eventfd(unsigned count);

// False when other code has closed the number, or opened a file of its own with it.
bool csc__private_fd_is_ours(const csc__private_fd *it);

// Closes the number if it is still ours. There is none afterwards.
void csc__private_fd_close(csc__private_fd *it);

#endif
