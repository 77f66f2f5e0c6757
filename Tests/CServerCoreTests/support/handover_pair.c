// SPDX-License-Identifier: Apache-2.0

#include "handover_pair.h"

#include <string.h>
#include <sys/socket.h>

handover_pair handover_connect(fixture *it) {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    return (handover_pair){fixture_own(it, ends[0]), fixture_own(it, ends[1])};
}

void handover_say_hello(int control) {
    static const char hello[] = "TSK1\1\0\6\0\1\0\0\0\0\0";
    handover_send_raw(control, hello, sizeof hello - 1, NULL, 0);
}

int handover_offer_nothing(const handover_pair *both) {
    const csc_handover_listener none = {0};
    return csc_handover_offer(both->predecessor, &none, 0, NULL);
}

void handover_send_raw(int control, const void *bytes, size_t size, const int *descriptors,
                       size_t count) {
    char buffer[CMSG_SPACE(256 * sizeof(int))] = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = buffer;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    }
    assert_int_equal(sendmsg(control, &message, MSG_NOSIGNAL), size);
}
