// SPDX-License-Identifier: Apache-2.0

// What the threads of a group tell each other without waiting: counters, and whether there is room.
//
// The accepting thread stores `wants_room` and then looks at the members; a member stores what it
// has to offer and then looks at `wants_room`. Whichever comes second sees the other.

#include "group.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

void csc__group_release(csc_group *group) {
    if (atomic_fetch_sub(&group->references, 1) > 1) {
        return;
    }
    size_t count = atomic_load(&group->count);
    for (size_t index = 0; index < count; index++) {
        csc__mailbox_destroy(&group->members[index]->mailbox);
        free(group->members[index]);
    }
    pthread_mutex_destroy(&group->lock);
    free(group->members);
    free(group);
}

void csc__group_abandon(csc_server *acceptor, bool forget_events) {
    csc_group *group = acceptor->group;
    group->acceptor = NULL; // which does not listen any more
    if (!forget_events) {
        event_free(group->wake_event);
        event_free(group->timer);
        event_free(group->flush);
    }
    pthread_mutex_lock(&group->lock);
    csc__private_fd_close(&group->wake);
    pthread_mutex_unlock(&group->lock);
}

static void store(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

void csc__group_publish_flow(csc_server *server) {
    const csc_statistics *now = &server->statistics;
    csc_statistics *to = server->member ? &server->member->published : &server->group->published;
    store(&to->accepted, now->accepted);
    store(&to->added, now->added);
    store(&to->delivered, now->delivered);
    store(&to->pending, server->pending.count);
    store(&to->live, server->live);
}

enum { WORDS = sizeof(csc_statistics) / sizeof(uint64_t) };

void csc__group_publish(csc_server *server) {
    csc_statistics now = server->statistics;
    now.pending = server->pending.count;
    now.live = server->live;
    const uint64_t *from = (const uint64_t *)&now;
    uint64_t *to =
        (uint64_t *)(server->member ? &server->member->published : &server->group->published);
    for (int word = 0; word < WORDS; word++) {
        store(to + word, from[word]);
    }
}

void csc__group_read(const csc_statistics *published, csc_statistics *statistics) {
    const uint64_t *from = (const uint64_t *)published;
    uint64_t *to = (uint64_t *)statistics;
    for (int word = 0; word < WORDS; word++) {
        to[word] = __atomic_load_n(from + word, __ATOMIC_RELAXED);
    }
}

void csc__member_settle(csc_server *server, bool open) {
    csc__member *member = server->member;
    csc__group_publish_flow(server);
    if (open == atomic_load_explicit(&member->open, memory_order_relaxed)) {
        return;
    }
    atomic_store(&member->open, open);
    if (open) {
        csc__mailbox_end(&member->mailbox); // which may have filled meanwhile
        csc__group_offer_room(member->group);
    }
}

void csc__member_count_ended(csc__member *member, int64_t count) {
    atomic_fetch_add_explicit(&member->ended, count, memory_order_relaxed);
    atomic_fetch_add(&member->group->ended, count);
    if (count > 0) {
        csc__group_offer_room(member->group);
    }
}

static void wake(csc_group *group) {
    const uint64_t one = 1;
    // The lock keeps the accepting thread from closing the number meanwhile.
    pthread_mutex_lock(&group->lock);
    if (csc__private_fd_is_ours(&group->wake)) {
        ssize_t size = write(group->wake.number, &one, sizeof one);
        (void)size;
    }
    pthread_mutex_unlock(&group->lock);
}

void csc__group_flush(csc_group *group) {
    size_t count = atomic_load(&group->count);
    group->flush_due = false;
    for (size_t index = 0; index < count; index++) {
        csc__mailbox *mailbox = &group->members[index]->mailbox;
        if (csc__mailbox_length(mailbox) > 0) {
            csc__mailbox_wake(mailbox);
        }
    }
}

void csc__group_offer_room(csc_group *group) {
    if (atomic_load(&group->wants_room) && atomic_exchange(&group->wants_room, false)) {
        wake(group);
    }
}

void csc__group_await_room(csc_group *group) {
    atomic_store(&group->wants_room, true);
    if (atomic_load(&group->ended) > 0) {
        csc__group_offer_room(group);
    }
}

uint32_t csc__group_collect_ended(csc_server *acceptor) {
    int64_t ended = atomic_exchange(&acceptor->group->ended, 0);
    if (ended < 0) {
        acceptor->live += (uint32_t)-ended; // more were added than have ended
        return 0;
    }
    return (uint32_t)ended;
}
