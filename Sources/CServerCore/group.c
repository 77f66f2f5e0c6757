// SPDX-License-Identifier: Apache-2.0

// Making a group, and its settings.
//
// The group's memory is shared by the server that accepts and by the members, and goes with the
// last of them.

#include "accept.h"
#include "fork_guard.h"
#include "group_list.h"
#include "group_state.h"
#include "group_type.h"
#include "mailbox.h"
#include "member.h"
#include "placing.h"
#include "private_fd.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"
#include "waker.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

enum { DEFAULT_STALL_LIMIT_MS = 10 };

static csc_group *fail(csc_server *acceptor, int errnum) {
    csc__fail(acceptor, CSC_CALL_WATCH, errnum);
    return NULL;
}

static bool make_events(csc_group *group, csc_server *acceptor) {
    if (!csc__waker_open(&group->waker, acceptor->base, csc__group_on_wake, group)) {
        return false;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    group->timer = event_new(acceptor->base, -1, 0, csc__group_on_timer, group);
    group->flush = event_new(acceptor->base, -1, 0, csc__group_on_flush, group);
    return group->timer && group->flush;
}

static void free_events(csc_group *group) {
    csc__waker_free_event(&group->waker);
    csc__waker_close(&group->waker);
    if (group->timer) {
        event_free(group->timer);
    }
    if (group->flush) {
        event_free(group->flush);
    }
}

static bool is_free(const csc_server *server) {
    return server->base && !server->published && !server->places;
}

csc_group *csc_group_new(csc_server *acceptor, size_t capacity) {
    if (!acceptor || acceptor->freed) {
        return NULL;
    }
    if (acceptor->process != csc__process()) {
        csc__fail_after_fork(acceptor);
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
    group->waker.eventfd = CSC__NO_PRIVATE_FD;
    errno = ENOMEM;
    bool listens = csc__server_is_listening(acceptor);
    if (!group->members || !make_events(group, acceptor) || (listens && !csc__group_start(group))) {
        int errnum = errno;
        free_events(group);
        free(group->members);
        free(group);
        return fail(acceptor, errnum);
    }
    pthread_mutex_init(&group->lock, NULL); // cannot fail on Linux
    atomic_store(&group->references, 1);
    group->process = csc__process();
    group->acceptor = acceptor;
    group->last = SIZE_MAX; // the first one is next
    group->stall_limit = DEFAULT_STALL_LIMIT_MS;
    acceptor->group = group;
    csc__group_set_sources(group, acceptor->sources);
    if (acceptor->max_pending < acceptor->accept_batch) {
        acceptor->max_pending = acceptor->accept_batch; // a burst may be for one member
    }
    acceptor->published = &group->published;
    acceptor->incoming_connection = csc__group_place;
    acceptor->incoming_connection_context = group;
    csc__set_limits(acceptor);
    csc__group_publish(acceptor);
    csc__group_list_add(group);
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
    if (server->process != csc__process() || group->process != csc__process()) {
        csc__fail_after_fork(server);
        return false;
    }
    if (!is_free(server) || csc__server_is_listening(server)) {
        csc_server_set_error(
            server, CSC_ERROR_OPERATION,
            "A member needs an event_base, is in no other group and does not listen");
        return false;
    }
    if (server->sources || server->pacing) {
        csc_server_set_error(server, CSC_ERROR_OPERATION,
                             "The limit of a group is that of the server that accepts");
        return false;
    }
    csc__member *member = make_member(group, server);
    if (!member) {
        csc__fail(server, CSC_CALL_WATCH, errno);
        return false;
    }
    server->member = member; // before anything can be placed on it
    server->published = &member->published;
    if (!enter(group, member)) {
        server->member = NULL;
        server->published = NULL;
        csc__mailbox_close(&member->mailbox, false);
        csc__mailbox_destroy(&member->mailbox);
        free(member);
        csc_server_set_error(server, CSC_ERROR_OPERATION, "The group has no place for it");
        return false;
    }
    csc__member_count_others(member, server->statistics.accepted, server->live);
    csc__set_limits(server);
    csc__settle(server);
    csc__group_publish(server); // what it has counted so far
    return true;
}

void csc_group_set_distribution(csc_group *group, csc_distribution distribution) {
    group->distribution = distribution;
    csc__group_look_soon(group);
}

void csc_group_on_choice(csc_group *group, csc_choice_fn callback, void *context) {
    group->choice = callback;
    group->choice_context = context;
}

void csc_group_set_stall_limit(csc_group *group, int msec) {
    group->stall_limit = msec < 0 ? -1 : msec;
    csc__group_look_soon(group);
}

bool csc_group_is_listening(const csc_group *group) {
    return atomic_load(&((csc_group *)group)->listens) && group->process == csc__process();
}

size_t csc_group_size(const csc_group *group) {
    return atomic_load_explicit(&((csc_group *)group)->count, memory_order_acquire);
}
