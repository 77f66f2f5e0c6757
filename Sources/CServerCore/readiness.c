// SPDX-License-Identifier: Apache-2.0

#include "readiness.h"
#include "clock.h"

#include <errno.h>
#include <poll.h>

int csc__wait_until_ready(int descriptor, short events, int msec) {
    int64_t deadline = csc__monotonic_milliseconds() + msec;
    for (;;) {
        struct pollfd entry = {.fd = descriptor, .events = events};
        int64_t rest = deadline - csc__monotonic_milliseconds();
        int ready = poll(&entry, 1, msec < 0 ? -1 : rest > 0 ? (int)rest : 0);
        if (ready > 0) {
            return 0;
        }
        if (ready == 0 && rest <= 0) {
            return ETIMEDOUT;
        }
        if (ready < 0 && errno != EINTR) {
            return errno;
        }
    }
}
