// SPDX-License-Identifier: Apache-2.0

// How a child of fork() ends.
#ifndef CHILDREN_H
#define CHILDREN_H

#include <unistd.h>

// Of clang's run-time, where lines that run are counted.
extern int __llvm_profile_write_file(void) __attribute__((weak));

// As _exit(), which does nothing of what the parent is to do; what ran in the child is counted.
static inline _Noreturn void leave_child(int status) {
    if (__llvm_profile_write_file) {
        __llvm_profile_write_file();
    }
    _exit(status);
}

#endif
