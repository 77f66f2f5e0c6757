// SPDX-License-Identifier: Apache-2.0

// Messages to the service manager, as sd_notify(3) describes: a datagram each, on a socket that is
// made for it, because there are few.

#include "clock.h"
#include "readiness.h"
#include "service_variables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// A manager whose queue is full holds the program up for so long.
enum { LONGEST_WAIT_MSEC = 1000 };

static int send_message(int sender, const struct msghdr *message) {
    int64_t deadline = csc__monotonic_milliseconds() + LONGEST_WAIT_MSEC;
    int errnum = EINTR;
    while (errnum == EINTR && csc__may_send_until(sender, deadline)) {
        errnum = sendmsg(sender, message, MSG_NOSIGNAL) >= 0 ? 0 : errno;
    }
    return errnum == EINTR ? EAGAIN : errnum;
}

int csc_notify(const char *manager, const char *state, int descriptor) {
    struct sockaddr_un name;
    int errnum = 0;
    if (!manager || *manager == '\0') {
        return 0;
    }
    socklen_t length = csc__read_notify_socket(manager, &name, &errnum);
    if (length == 0) {
        return errnum;
    }
    int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sender < 0) {
        return errno;
    }
    struct iovec text = {.iov_base = (void *)(uintptr_t)state, .iov_len = strlen(state)};
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {
        .msg_name = &name, .msg_namelen = length, .msg_iov = &text, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    errnum = send_message(sender, &message);
    close(sender);
    return errnum;
}

int csc_notify_reloading(const char *manager) {
    struct timespec now;
    char state[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    return csc_notify(manager, state, -1);
}

int csc_notify_barrier(const char *manager, int msec) {
    int ends[2];
    if (!manager || *manager == '\0') {
        return 0;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    int errnum = csc_notify(manager, "BARRIER=1", ends[1]);
    close(ends[1]);
    if (errnum == 0) {
        // The manager closes the other end when it comes to the message.
        errnum = csc__wait_until_ready(ends[0], 0, msec);
    }
    close(ends[0]);
    return errnum;
}

uint64_t csc_watchdog_interval(void) {
    return csc__read_watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"), (uint64_t)getpid());
}
