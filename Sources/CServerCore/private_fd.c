// SPDX-License-Identifier: Apache-2.0

// Distinguishing our own descriptors from those of a stranger that got their numbers.
//
// A program that closes a number that is not its own frees it for the next file, and a later close,
// read or write of that number works on the wrong file. Sockets have inodes of their
// own; timers and eventfds share one. So each open file is marked with a signal number by F_SETSIG,
// which has no effect without O_ASYNC and is 0 for every other file.

#include "private_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HIGHEST_SIGNAL = 64 };

int csc__move_above_standard(int descriptor) {
    if (descriptor < 0 || descriptor > STDERR_FILENO) {
        return descriptor;
    }
    int errnum = errno;
    int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved >= 0) {
        close(descriptor);
    }
    errno = errnum;
    return moved >= 0 ? moved : descriptor;
}

csc__private_fd csc__private_fd_of(int number) {
    static atomic_uint made;
    number = csc__above_standard(number);
    if (number < 0) {
        return CSC__NO_PRIVATE_FD;
    }
    int errnum = errno;
    int mark = 1 + (int)(atomic_fetch_add(&made, 1) % HIGHEST_SIGNAL);
    bool marked = fcntl(number, F_SETSIG, mark) == 0;
    errno = errnum;
    return (csc__private_fd){.number = number, .mark = marked ? mark : 0};
}

csc__private_fd csc__private_eventfd(unsigned count) {
    return csc__private_fd_of(eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK));
}

bool csc__private_fd_is_ours(const csc__private_fd *it) {
    if (it->number < 0) {
        return false;
    }
    int mark = fcntl(it->number, F_GETSIG);
    struct stat status;
    return mark >= 0 ? mark == it->mark : errno != EBADF || fstat(it->number, &status) == 0;
}

void csc__private_fd_close(csc__private_fd *it) {
    if (csc__private_fd_is_ours(it)) {
        close(it->number);
    }
    *it = CSC__NO_PRIVATE_FD;
}
