// SPDX-License-Identifier: Apache-2.0

// Preloaded into a server, gives it a second thread that does nothing. Many programs have one; in a
// process with one, each growth of the table of descriptors waits for the kernel's RCU, inside
// accept4.

#include <pthread.h>
#include <unistd.h>

static void *sleep_for_ever(void *unused) {
    (void)unused;
    for (;;) {
        pause();
    }
    return NULL;
}

__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_for_ever, NULL);
}
