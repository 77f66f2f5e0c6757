// SPDX-License-Identifier: Apache-2.0

// Making a group, its settings, and its statistics.
//
// The group's memory is shared by the server that accepts and by the members, and goes with the
// last of them.

#include "group.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_STALL_LIMIT_MS = 10 };

static csc_group *fail(csc_server *acceptor, int errnum) {
    csc__fail(acceptor, CSC_CALL_WATCH, errnum);
    return NULL;
}

static bool make_events(csc_group *group, struct event_base *base) {
    group->wake = csc__private_eventfd(0);
    if (group->wake.number < 0) {
        return false;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    group->wake_event = event_new(base, group->wake.number, EV_READ | EV_PERSIST | EV_ET,
                                  csc__group_on_wake, group);
    group->timer = event_new(base, -1, 0, csc__group_on_timer, group);
    group->flush = event_new(base, -1, 0, csc__group_on_flush, group);
    return group->wake_event && group->timer && group->flush &&
           event_add(group->wake_event, NULL) == 0;
}

static void free_events(csc_group *group) {
    if (group->wake_event) {
        event_free(group->wake_event);
    }
    if (group->timer) {
        event_free(group->timer);
    }
    if (group->flush) {
        event_free(group->flush);
    }
}

static bool is_free(const csc_server *server) {
    return server->base && !server->group && !server->member;
}

csc_group *csc_group_new(csc_server *acceptor, size_t capacity) {
    if (!acceptor || acceptor->freed) {
        return NULL;
    }
    if (!is_free(acceptor)) {
        csc_server_set_error(acceptor, CSC_ERROR_OPERATION,
                             "A group needs a server with an event_base that is in no other group");
        return NULL;
    }
    csc_group *group = calloc(1, sizeof *group);
    if (!group) {
        return fail(acceptor, ENOMEM);
    }
    group->capacity = capacity;
    group->members = calloc(capacity > 0 ? capacity : 1, sizeof(csc__member *));
    group->wake = CSC__NO_PRIVATE_FD;
    errno = ENOMEM;
    if (!group->members || !make_events(group, acceptor->base)) {
        int errnum = errno;
        free_events(group);
        csc__private_fd_close(&group->wake);
        free(group->members);
        free(group);
        return fail(acceptor, errnum);
    }
    pthread_mutex_init(&group->lock, NULL); // cannot fail on Linux
    atomic_store(&group->references, 1);
    group->acceptor = acceptor;
    group->last = SIZE_MAX; // the first one is next
    group->stall_limit = DEFAULT_STALL_LIMIT_MS;
    atomic_store(&group->listens, csc__server_is_listening(acceptor));
    acceptor->group = group;
    acceptor->incoming_connection = csc__group_place;
    acceptor->incoming_connection_context = group;
    return group;
}

static csc__member *make_member(csc_group *group, csc_server *server) {
    csc__member *member = calloc(1, sizeof *member);
    if (!member) {
        return NULL;
    }
    member->group = group;
    member->server = server;
    member->base = server->base;
    if (!csc__mailbox_open(&member->mailbox, server->base, csc__member_on_arrival, server)) {
        int errnum = errno;
        free(member);
        errno = errnum;
        return NULL;
    }
    return member;
}

// False when there are as many as there can be.
static bool enter(csc_group *group, csc__member *member) {
    pthread_mutex_lock(&group->lock);
    size_t count = atomic_load_explicit(&group->count, memory_order_relaxed);
    bool has_place = count < group->capacity;
    if (has_place) {
        group->members[count] = member;
        atomic_fetch_add(&group->references, 1);
        atomic_store_explicit(&group->count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&group->lock);
    return has_place;
}

bool csc_group_add(csc_group *group, csc_server *server) {
    if (!server || server->freed) {
        return false;
    }
    if (!is_free(server) || csc__server_is_listening(server)) {
        csc_server_set_error(
            server, CSC_ERROR_OPERATION,
            "A member needs an event_base, is in no other group and does not listen");
        return false;
    }
    csc__member *member = make_member(group, server);
    if (!member) {
        csc__fail(server, CSC_CALL_WATCH, errno);
        return false;
    }
    server->member = member; // before anything can be placed on it
    if (!enter(group, member)) {
        server->member = NULL;
        csc__mailbox_close(&member->mailbox, false);
        csc__mailbox_destroy(&member->mailbox);
        free(member);
        csc_server_set_error(server, CSC_ERROR_OPERATION, "The group has no place for it");
        return false;
    }
    csc__settle(server);
    return true;
}

void csc_group_set_distribution(csc_group *group, csc_distribution distribution) {
    group->distribution = distribution;
}

void csc_group_on_choice(csc_group *group, csc_choice_fn callback, void *context) {
    group->choice = callback;
    group->choice_context = context;
}

void csc_group_set_stall_limit(csc_group *group, int msec) {
    group->stall_limit = msec < 0 ? -1 : msec;
}

bool csc_group_is_listening(const csc_group *group) {
    return atomic_load(&((csc_group *)group)->listens);
}

size_t csc_group_size(const csc_group *group) {
    return atomic_load_explicit(&((csc_group *)group)->count, memory_order_acquire);
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
    uint64_t accepted = sum.accepted;
    sum.delivered = 0; // to members, which is what they have accepted
    sum.live = 0;
    for (size_t index = 0; index < csc_group_size(group); index++) {
        csc_statistics one;
        read_member(group->members[index], &one);
        add(&sum, &one);
    }
    sum.accepted = accepted;
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
