// SPDX-License-Identifier: Apache-2.0

// handshakes: each connection shakes hands, exchanges one message and is reset; the next begins in
// its place. The message is there because a server has its part of the handshake done by then, and
// because sessions come with it.

#include "failure.h"
#include "measure.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

static void finish(client *all, const settings *settings, measure *measure) {
    uint64_t end = now();
    for (int index = 0; index < settings->connections; index++) {
        // One that waits for longer than any other is not to be missing.
        if (end - all[index].since > 1000000000) {
            measure_count(measure, all[index].since, false);
        }
        client_close(&all[index]);
        SSL_SESSION_free(all[index].session);
    }
    free(all);
}

void handshakes(const settings *settings) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    client *all = calloc((size_t)settings->connections, sizeof *all);
    if (epoll < 0 || !all) {
        fail_errno("cannot prepare");
    }
    measure measure = {0};
    measure_begin(&measure, settings);
    for (int index = 0; index < settings->connections; index++) {
        client_begin(&all[index], epoll, now());
    }
    while (!measure_is_over(&measure, settings)) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, 100);
        if (count < 0 && errno != EINTR) {
            fail_errno("cannot wait");
        }
        for (int index = 0; index < count; index++) {
            client *client = events[index].data.ptr;
            if (client_continue(client)) {
                measure_count(&measure, client->since, client->is_resumed);
                client_close(client);
                client_begin(client, epoll, now());
            }
        }
    }
    finish(all, settings, &measure);
    measure_print(&measure, settings);
}
