// SPDX-License-Identifier: Apache-2.0

// The counters of a server, of a member of a group, and of a group.

#include "clock.h"
#include "group_state.h"
#include "group_type.h"
#include "mailbox.h"
#include "server_type.h"
#include "state.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

uint64_t csc_server_live(const csc_server *server) {
    if (!server) {
        return 0;
    }
    int64_t ended = atomic_load(&((csc_server *)server)->ended_elsewhere);
    if (server->group) {
        ended += atomic_load(&server->group->ended);
    }
    return ended < server->live ? (uint64_t)(server->live - ended) : 0;
}

uint64_t csc_server_in_preface(const csc_server *server) {
    return server ? server->statistics.in_preface : 0;
}

void csc_server_statistics(const csc_server *server, csc_statistics *statistics, size_t size) {
    csc_statistics snapshot = {0};
    if (server) {
        snapshot = server->statistics;
        snapshot.pending = server->pending.count;
        snapshot.live = csc_server_live(server);
        if (server->member) {
            snapshot.in_mailbox = csc__mailbox_length(&server->member->mailbox);
        }
        if (server->overloaded) {
            snapshot.overload_milliseconds +=
                (uint64_t)(csc__monotonic_milliseconds() - server->overload_start);
        }
        // For a listening socket TCP_INFO has the length of the accept queue now, and its limit.
        struct tcp_info info;
        socklen_t length = sizeof info;
        if (csc__server_is_listening(server) &&
            getsockopt(server->socket.private_fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0) {
            snapshot.accept_queue = info.tcpi_unacked;
            snapshot.accept_queue_limit = info.tcpi_sacked;
        }
    }
    memcpy(statistics, &snapshot, size < sizeof snapshot ? size : sizeof snapshot);
}

bool csc_server_share_statistics(csc_server *server) {
    if (!server || server->freed) {
        return false;
    }
    if (!server->published) {
        server->published = calloc(1, sizeof *server->published);
    }
    if (!server->published) {
        csc__fail(server, CSC_CALL_WATCH, ENOMEM);
        return false;
    }
    csc__group_publish(server);
    return true;
}

void csc_server_shared_statistics(const csc_server *server, csc_statistics *statistics,
                                  size_t size) {
    csc_statistics snapshot = {0};
    if (server && server->published) {
        csc__group_read(server->published, &snapshot);
    }
    memcpy(statistics, &snapshot, size < sizeof snapshot ? size : sizeof snapshot);
}

static void add(csc_statistics *sum, const csc_statistics *other) {
    const uint64_t *from = (const uint64_t *)other;
    uint64_t *to = (uint64_t *)sum;
    for (size_t word = 0; word < sizeof *sum / sizeof *to; word++) {
        to[word] += from[word];
    }
}

static void read_member(const csc__member *member, csc_statistics *statistics) {
    csc__group_read(&member->published, statistics);
    statistics->in_mailbox = csc__mailbox_length(&member->mailbox);
}

void csc_group_statistics(const csc_group *group, csc_statistics *statistics, size_t size) {
    csc_statistics sum;
    csc__group_read(&group->published, &sum);
    for (size_t index = 0; index < csc_group_size(group); index++) {
        csc__member *member = group->members[index];
        csc_statistics one;
        read_member(member, &one);
        // The rest was accepted by the acceptor.
        one.accepted = atomic_load_explicit(&member->accepted_otherwise, memory_order_relaxed);
        add(&sum, &one);
    }
    sum.live += sum.in_mailbox;
    sum.taken_back = atomic_load_explicit(&((csc_group *)group)->taken_back, memory_order_relaxed);
    memcpy(statistics, &sum, size < sizeof sum ? size : sizeof sum);
}

void csc_group_member_statistics(const csc_group *group, size_t index, csc_statistics *statistics,
                                 size_t size) {
    csc_statistics one = {0};
    if (index < csc_group_size(group)) {
        read_member(group->members[index], &one);
    }
    memcpy(statistics, &one, size < sizeof one ? size : sizeof one);
}
