// SPDX-License-Identifier: Apache-2.0

// drain and hold: open connections, say which, and keep them. What is measured happens in the
// server meanwhile.

#include "connecting.h"
#include "failure.h"
#include "modes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t fingerprint(int descriptor) {
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    if (getsockname(descriptor, (struct sockaddr *)&own, &length) != 0) {
        fail_errno("cannot read a connection's own address");
    }
    return (uint64_t)(ntohl(own.sin_addr.s_addr) & 0xff) * 65536 + ntohs(own.sin_port);
}

static void wait_for_end_of_input(void) {
    char ignored[256];
    ssize_t count;
    do {
        count = read(STDIN_FILENO, ignored, sizeof ignored);
    } while (count > 0 || (count < 0 && errno == EINTR));
}

void keep_open(const options *options) {
    const int *descriptors = connecting_all(options);
    uint64_t sum = 0;
    for (int i = 0; i < options->connections; i++) {
        sum += fingerprint(descriptors[i]);
    }
    printf("{\"mode\":\"%s\",\"connections\":%d,\"sum\":%" PRIu64 "}\n", options->mode,
           options->connections, sum);
    fflush(stdout);
    wait_for_end_of_input();
    // The kernel closes the connections with the program.
}
