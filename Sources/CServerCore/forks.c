// SPDX-License-Identifier: Apache-2.0

// Counts the forks that lead to this process.

#include "forks.h"

#include <pthread.h>

static unsigned forks;

static void after_fork_in_child(void) {
    forks++;
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child); // fails for lack of memory only
}

unsigned csc__forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return forks;
}
