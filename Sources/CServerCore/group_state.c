// SPDX-License-Identifier: Apache-2.0

// What the threads of a group share without waiting: counters, and whether there is room.
//
// The accepting thread stores `wants_room` and then looks at the members; a member stores what it
// has to offer and then looks at `wants_room`. Whichever comes second sees the other.

#include "group_state.h"

#include "clock.h"
#include "group_list.h"
#include "group_type.h"
#include "mailbox.h"
#include "server_type.h"
#include "source_table.h"
#include "waker.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdlib.h>

void csc__group_release(csc_group *group) {
    if (atomic_fetch_sub(&group->references, 1) > 1) {
        return;
    }
    csc__group_list_remove(group);
    size_t count = atomic_load(&group->count);
    for (size_t index = 0; index < count; index++) {
        csc__mailbox_destroy(&group->members[index]->mailbox);
        free(group->members[index]);
    }
    pthread_mutex_destroy(&group->lock);
    csc_sources_free(atomic_load(&group->sources));
    free(group->members);
    free(group);
}

void csc__group_set_sources(csc_group *group, csc_sources *sources) {
    csc_sources *retained = sources ? csc__sources_retain(sources) : NULL;
    csc_sources_free(atomic_exchange(&group->sources, retained));
}

void csc__group_flush(csc_group *group) {
    size_t count = atomic_load(&group->count);
    int64_t now = csc__monotonic_milliseconds();
    group->flush_due = false;
    if (group->acceptor) {
        csc__group_publish_flow(group->acceptor);
    }
    for (size_t index = 0; index < count; index++) {
        csc__mailbox *mailbox = &group->members[index]->mailbox;
        if (csc__mailbox_length(mailbox) > 0) {
            csc__mailbox_post(mailbox, now);
        }
    }
}

void csc__group_abandon(csc_server *acceptor, bool forget_event) {
    csc_group *group = acceptor->group;
    group->acceptor = NULL;
    if (!forget_event) {
        csc__group_flush(group); // what was injected since it stopped
        csc__waker_free_event(&group->waker);
    }
    event_free(group->timer);
    event_free(group->flush);
    pthread_mutex_lock(&group->lock);
    csc__waker_close(&group->waker);
    pthread_mutex_unlock(&group->lock);
}

void csc__group_look_soon(csc_group *group) {
    if (atomic_load(&group->listens)) {
        event_active(group->timer, EV_TIMEOUT, 0);
    }
}

bool csc__group_start(csc_group *group) {
    atomic_store(&group->listens, csc__waker_start(&group->waker));
    csc__group_look_soon(group); // before the first client, who waits where there are no members
    return atomic_load(&group->listens);
}

void csc__group_stop(csc_group *group, bool forget_event) {
    atomic_store(&group->listens, false);
    group->acceptor->no_room = false;
    if (!forget_event) {
        csc__group_flush(group); // nothing does on its loop from now on
        csc__waker_stop(&group->waker);
    }
    event_del(group->timer);
    event_del(group->flush);
    group->takes_back = false;
}

static void store(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

void csc__group_publish_flow(csc_server *server) {
    const csc_group *group = server->group;
    csc_statistics *to = server->published;
    uint64_t delivered = server->statistics.delivered;
    uint64_t live = server->live;
    if (group) {
        // What was placed is counted by the members.
        int64_t placed_live = group->placed - group->collected;
        delivered -= (uint64_t)group->placed;
        live -= placed_live < server->live ? (uint64_t)placed_live : server->live;
    }
    store(&to->accepted, server->statistics.accepted);
    store(&to->added, server->statistics.added);
    store(&to->delivered, delivered);
    store(&to->pending, server->pending.count);
    store(&to->live, live);
}

enum { WORDS = sizeof(csc_statistics) / sizeof(uint64_t) };

void csc__group_publish(csc_server *server) {
    if (!server->published) {
        return;
    }
    const uint64_t *from = (const uint64_t *)&server->statistics;
    uint64_t *to = (uint64_t *)server->published;
    // Those that the next call stores are not stored twice: a reader would see them change.
    const size_t flow = offsetof(csc_statistics, discarded_on_close) / sizeof *to;
    const size_t live = offsetof(csc_statistics, live) / sizeof *to;
    for (size_t word = flow; word < WORDS; word++) {
        if (word != live) {
            store(to + word, from[word]);
        }
    }
    csc__group_publish_flow(server);
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
    bool was_open = atomic_load_explicit(&member->open, memory_order_relaxed);
    if (open != was_open) {
        atomic_store(&member->open, open);
    }
    // The limits may have been met only while a callback ran, when nothing was stored.
    if (open && (!was_open || member->left_some)) {
        member->left_some = false;
        csc__mailbox_end(&member->mailbox); // which may have filled meanwhile
        csc__group_offer_room(member->group);
    }
}

static void wake(csc_group *group) {
    // The lock keeps the accepting thread from closing the number meanwhile.
    pthread_mutex_lock(&group->lock);
    csc__waker_wake(&group->waker);
    pthread_mutex_unlock(&group->lock);
}

void csc__group_offer_room(csc_group *group) {
    if (atomic_load(&group->wants_room) && atomic_exchange(&group->wants_room, false)) {
        wake(group);
    }
}

void csc__member_count_ended(csc__member *member, int64_t count) {
    atomic_fetch_add_explicit(&member->ended, count, memory_order_relaxed);
    atomic_fetch_add(&member->group->ended, count);
    if (count > 0) {
        csc__group_offer_room(member->group);
    } else if (count < 0) {
        wake(member->group); // the limit of connections may be met
    }
}

void csc__member_count_others(csc__member *member, uint64_t accepted, uint32_t live) {
    atomic_fetch_add_explicit(&member->accepted_otherwise, accepted, memory_order_relaxed);
    csc__member_count_ended(member, -(int64_t)live);
}

void csc__group_await_room(csc_group *group) {
    atomic_store(&group->wants_room, true);
    if (atomic_load(&group->ended) > 0) {
        csc__group_offer_room(group);
    }
}

int64_t csc__group_collect_ended(csc_group *group) {
    if (atomic_load_explicit(&group->ended, memory_order_relaxed) == 0) {
        return 0;
    }
    int64_t ended = atomic_exchange(&group->ended, 0);
    group->collected += ended;
    return ended;
}
