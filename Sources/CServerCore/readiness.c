// SPDX-License-Identifier: Apache-2.0

#include "readiness.h"
#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

int csc__wait_until_ready(int descriptor, short events, int msec) {
    int64_t deadline = csc__monotonic_milliseconds() + msec;
    for (;;) {
        struct pollfd entry = {.fd = descriptor, .events = events};
        int64_t rest = deadline - csc__monotonic_milliseconds();
        int ready = poll(&entry, 1, msec < 0 ? -1 : rest > 0 ? (int)rest : 0);
        if (ready > 0) {
            return 0;
        }
        if (ready < 0 && errno != EINTR) {
            return errno;
        }
        if (msec >= 0 && rest <= 0) {
            return ETIMEDOUT;
        }
    }
}

bool csc__may_send_until(int descriptor, int64_t deadline) {
    int64_t rest = deadline - csc__monotonic_milliseconds();
    struct timeval limit = {.tv_sec = rest / 1000, .tv_usec = rest % 1000 * 1000};
    if (rest > 0) {
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    return rest > 0;
}
