// SPDX-License-Identifier: Apache-2.0

// Hands listening sockets over to another process, over a unix-domain socket of sequenced packets,
// which keep the borders of messages and the order of their descriptors.
//
// The two are processes of one user, but not of one version: whatever arrives is checked, and the
// descriptors of a message that is not as it should be are closed.

#include "clock.h"
#include "handover_values.h"
#include "inherited.h"
#include "readiness.h"
#include "socket_file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

// A process under load may be slow; one that hangs keeps nothing from serving meanwhile.
enum { MESSAGE_MSEC = 5000, CONNECT_MSEC = 1000, EXIT_MSEC = 1000, LONGEST_PATH = 90 };

typedef union control {
    struct cmsghdr aligned;
    char bytes[CMSG_SPACE(CSC_HANDOVER_MOST_LISTENERS * sizeof(int))];
} control_buffer;

typedef struct packet {
    csc__handover_message message;
    uint8_t bytes[CSC__HANDOVER_LONGEST]; // of one that was received
    int descriptors[CSC_HANDOVER_MOST_LISTENERS];
    size_t descriptor_count;
} packet;

static int check_peer(int control) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(control, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
        return errno;
    }
    return peer.uid == geteuid() ? 0 : EPERM;
}

static int send_bytes(int control, const packet *it, uint8_t bytes[CSC__HANDOVER_LONGEST]) {
    control_buffer ancillary;
    memset(&ancillary, 0, sizeof ancillary);
    struct iovec part = {.iov_base = bytes, .iov_len = csc__handover_write(&it->message, bytes)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (part.iov_len == 0) {
        return EINVAL;
    }
    size_t size = it->descriptor_count * sizeof(int);
    if (size > 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), it->descriptors, size);
    }
    for (;;) {
        if (sendmsg(control, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
            return 0;
        }
        int errnum =
            errno == EAGAIN ? csc__wait_until_ready(control, POLLOUT, MESSAGE_MSEC) : errno;
        if (errnum != 0 && errnum != EINTR) {
            return errnum;
        }
    }
}

static int send_packet(int control, const packet *it) {
    uint8_t bytes[CSC__HANDOVER_LONGEST];
    int errnum = send_bytes(control, it, bytes);
    explicit_bzero(bytes, sizeof bytes); // there may be a secret in them
    return errnum;
}

static void close_all(const packet *it) {
    for (size_t i = 0; i < it->descriptor_count; i++) {
        close(it->descriptors[i]);
    }
}

static void collect_descriptors(struct msghdr *message, packet *it) {
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            size_t size = header->cmsg_len - CMSG_LEN(0);
            memcpy(it->descriptors + it->descriptor_count, CMSG_DATA(header), size);
            it->descriptor_count += size / sizeof(int);
        }
    }
}

// The descriptors are the caller's where it returns 0.
static int receive_any(int control, int msec, packet *it) {
    control_buffer ancillary;
    struct iovec part = {.iov_base = it->bytes, .iov_len = sizeof it->bytes};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &ancillary,
                             .msg_controllen = sizeof ancillary.bytes};
    it->descriptor_count = 0;
    int errnum = csc__wait_until_ready(control, POLLIN, msec);
    if (errnum != 0) {
        return errnum;
    }
    ssize_t length;
    do {
        length = recvmsg(control, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (length < 0 && errno == EINTR);
    if (length < 0) {
        return errno;
    }
    collect_descriptors(&message, it);
    bool is_sound = (message.msg_flags & MSG_TRUNC) == 0 &&
                    csc__handover_read(it->bytes, (size_t)length, &it->message);
    bool lacks_some = (message.msg_flags & MSG_CTRUNC) != 0;
    if (is_sound && !lacks_some && it->descriptor_count == it->message.count) {
        return 0;
    }
    close_all(it);
    if (is_sound && lacks_some && it->descriptor_count < it->message.count) {
        return EMFILE; // the kernel drops those for which the process has no number
    }
    return length == 0 ? ECONNRESET : EPROTO;
}

static int receive_packet(int control, int msec, csc__handover_type type, packet *it) {
    int errnum = receive_any(control, msec, it);
    if (errnum == 0 && it->message.type != type) {
        close_all(it);
        errnum = EPROTO;
    }
    return errnum;
}

// Of a listening socket's own family.
static uint8_t family_of(int descriptor) {
    int domain = 0;
    socklen_t length = sizeof domain;
    getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    return domain == AF_INET    ? CSC_FAMILY_IPV4
           : domain == AF_INET6 ? CSC_FAMILY_IPV6
           : domain == AF_UNIX  ? CSC__HANDOVER_UNIX
                                : 0;
}

// Not bind() alone: a path that a predecessor has left, or still has, is taken over in one step.
static int bind_in_place(int listener, const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat status;
    snprintf(name.sun_path, sizeof name.sun_path, "%s.%d", path, (int)getpid());
    if (lstat(path, &status) == 0 && !(S_ISSOCK(status.st_mode) && status.st_uid == geteuid())) {
        return EADDRINUSE;
    }
    unlink(name.sun_path); // what a process with the same number has left
    if (fchmod(listener, S_IRUSR | S_IWUSR) != 0 ||
        bind(listener, (struct sockaddr *)&name, sizeof name) != 0) {
        return errno;
    }
    if (listen(listener, 1) != 0 || rename(name.sun_path, path) != 0) {
        int errnum = errno;
        unlink(name.sun_path);
        return errnum;
    }
    return 0;
}

static int open_socket(int *opened) {
    *opened = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return *opened < 0 ? errno : 0;
}

int csc_handover_listen(const char *path, int *listener) {
    size_t length = strlen(path);
    if (length == 0 || length > LONGEST_PATH) {
        return length == 0 ? ENOENT : ENAMETOOLONG;
    }
    int opened;
    int errnum = open_socket(&opened);
    if (errnum == 0) {
        errnum = bind_in_place(opened, path);
        if (errnum != 0) {
            close(opened);
        } else {
            *listener = opened;
        }
    }
    return errnum;
}

int csc_handover_accept(int listener, int msec, int *control) {
    int errnum = csc__wait_until_ready(listener, POLLIN, msec);
    if (errnum != 0) {
        return errnum;
    }
    int accepted;
    do {
        accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    } while (accepted < 0 && errno == EINTR);
    if (accepted < 0) {
        return errno;
    }
    errnum = check_peer(accepted);
    if (errnum != 0) {
        close(accepted);
    } else {
        *control = accepted;
    }
    return errnum;
}

static int send_values(int control, const csc_handover_values *values) {
    packet it = {.descriptor_count = 0};
    int errnum = 0;
    for (size_t i = 0; errnum == 0 && csc__handover_values_secret(values, i, &it.message); i++) {
        errnum = send_packet(control, &it);
    }
    if (errnum == 0 && csc__handover_values_counters(values, &it.message)) {
        errnum = send_packet(control, &it);
    }
    return errnum;
}

static bool write_offer(packet *offer, const csc_handover_listener *listeners, size_t count) {
    if (count > CSC_HANDOVER_MOST_LISTENERS) {
        return false;
    }
    offer->message.type = CSC__HANDOVER_LISTENERS;
    for (size_t i = 0; i < count; i++) {
        csc__handover_entry *entry = &offer->message.entries[i];
        size_t length = strlen(listeners[i].name);
        if (length > CSC_HANDOVER_LONGEST_NAME || !csc__is_listener(listeners[i].descriptor)) {
            return false;
        }
        memcpy(entry->name, listeners[i].name, length + 1);
        entry->family = family_of(listeners[i].descriptor);
        entry->index = csc__handover_index(&offer->message, i);
        offer->descriptors[i] = listeners[i].descriptor;
    }
    offer->message.count = (uint16_t)count;
    offer->descriptor_count = count;
    return true;
}

int csc_handover_offer(int control, const csc_handover_listener *listeners, size_t count,
                       const csc_handover_values *values) {
    packet hello;
    packet offer = {.descriptor_count = 0};
    if (!write_offer(&offer, listeners, count)) {
        return EINVAL;
    }
    int errnum = check_peer(control);
    if (errnum == 0) {
        errnum = receive_packet(control, MESSAGE_MSEC, CSC__HANDOVER_HELLO, &hello);
    }
    if (errnum == 0 && hello.message.version != CSC__HANDOVER_VERSION) {
        errnum = EPROTO;
    }
    if (errnum == 0) {
        errnum = send_values(control, values);
    }
    if (errnum == 0) {
        csc__socket_files_offer(control, offer.descriptors, count); // before it has them
        errnum = send_packet(control, &offer);
    }
    return errnum;
}

int csc_handover_wait_ready(int control, int msec) {
    packet ready;
    int errnum = receive_packet(control, msec, CSC__HANDOVER_READY, &ready);
    if (errnum == 0) {
        csc__socket_files_leave(control);
    }
    return errnum;
}

int csc_handover_drained(int control, uint64_t served, uint64_t cut) {
    packet drained = {.message = {.type = CSC__HANDOVER_DRAINED, .served = served, .cut = cut}};
    return send_packet(control, &drained);
}

int csc_handover_wait_drained(int control, int msec, uint64_t *served, uint64_t *cut) {
    packet drained;
    int errnum = receive_packet(control, msec, CSC__HANDOVER_DRAINED, &drained);
    if (errnum == 0) {
        *served = drained.message.served;
        *cut = drained.message.cut;
    }
    return errnum;
}

// A predecessor that is just handing over to others lets this one wait.
static int connect_in_time(int opened, const struct sockaddr_un *name) {
    int64_t deadline = csc__monotonic_milliseconds() + CONNECT_MSEC;
    int errnum = EINTR;
    while (errnum == EINTR && csc__may_send_until(opened, deadline)) {
        errnum = connect(opened, (const struct sockaddr *)name, sizeof *name) == 0 ? 0 : errno;
    }
    return errnum == EINTR || errnum == EAGAIN ? ETIMEDOUT : errnum;
}

int csc_handover_connect(const char *path, int *control) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int opened;
    if (length > LONGEST_PATH) {
        return ENAMETOOLONG;
    }
    memcpy(name.sun_path, path, length);
    int errnum = open_socket(&opened);
    if (errnum != 0) {
        return errnum;
    }
    errnum = length == 0 ? ENOENT : connect_in_time(opened, &name); // never an abstract name
    if (errnum == 0) {
        errnum = check_peer(opened);
    }
    if (errnum != 0) {
        close(opened);
    } else {
        *control = opened;
    }
    return errnum;
}

static int check_listeners(const packet *it) {
    for (size_t i = 0; i < it->descriptor_count; i++) {
        if (!csc__is_listener(it->descriptors[i]) ||
            family_of(it->descriptors[i]) != it->message.entries[i].family) {
            return EPROTO;
        }
    }
    return 0;
}

// All or none.
static int add_all(const packet *it, csc_inherited *set) {
    size_t before = csc_inherited_count(set);
    for (size_t i = 0; i < it->descriptor_count; i++) {
        if (!csc_inherited_add(set, it->descriptors[i], it->message.entries[i].name)) {
            csc__inherited_forget(set, before);
            return ENOMEM;
        }
    }
    return 0;
}

// What comes before the listening sockets, and then these.
static int receive_offer(int control, packet *offer, csc_handover_values *values) {
    for (int i = 0; i <= CSC_HANDOVER_MOST_SECRETS + 1; i++) {
        int errnum = receive_any(control, MESSAGE_MSEC, offer);
        if (errnum != 0 || offer->message.type == CSC__HANDOVER_LISTENERS) {
            return errnum;
        }
        if (offer->message.type != CSC__HANDOVER_SECRET &&
            offer->message.type != CSC__HANDOVER_STATISTICS) {
            return EPROTO;
        }
        errnum = values ? csc__handover_values_keep(values, &offer->message) : 0;
        if (errnum != 0) {
            return errnum;
        }
    }
    return EPROTO;
}

int csc_handover_receive(int control, csc_inherited *set, csc_handover_values *values) {
    packet offer;
    packet hello = {.message = {.type = CSC__HANDOVER_HELLO,
                                .version = CSC__HANDOVER_VERSION,
                                .process = (uint32_t)getpid()}};
    int errnum = check_peer(control);
    if (errnum == 0) {
        errnum = send_packet(control, &hello);
    }
    if (errnum == 0) {
        errnum = receive_offer(control, &offer, values);
    }
    explicit_bzero(offer.bytes, sizeof offer.bytes);
    if (errnum != 0) {
        return errnum;
    }
    errnum = check_listeners(&offer);
    if (errnum == 0) {
        errnum = add_all(&offer, set);
    }
    if (errnum != 0) {
        close_all(&offer);
    }
    return errnum;
}

// A process that ends closes its sockets first.
static bool peer_ends(int control) {
    struct ucred peer = {.pid = 0};
    socklen_t length = sizeof peer;
    getsockopt(control, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    if (peer.pid == 0 || peer.pid == getpid()) {
        return false; // one whose number is not known here may be there still
    }
    int process = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    if (process < 0) {
        return errno == ESRCH;
    }
    int errnum = csc__wait_until_ready(process, POLLIN, EXIT_MSEC);
    close(process);
    return errnum == 0;
}

int csc_handover_ready(int control) {
    packet ready = {.message.type = CSC__HANDOVER_READY};
    int errnum = send_packet(control, &ready);
    bool is_gone = errnum == EPIPE || errnum == ECONNRESET;
    return is_gone && peer_ends(control) ? 0 : errnum;
}
