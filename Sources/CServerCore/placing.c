// SPDX-License-Identifier: Apache-2.0

// Which member of a group gets a connection: the accepting thread's part.
//
// A connection that its loop has not fetched within the stall limit is taken back and placed on
// another member; the loop that left it gets none until it has looked into its mailbox again. So
// the mailbox itself is the gauge, and loops that are well do nothing for it. Where the program
// chooses the loop, or the peer's address does, connections stay where they belong.

#include "placing.h"

#include "accept.h"
#include "clock.h"
#include "group_state.h"
#include "group_type.h"
#include "mailbox.h"
#include "member.h"
#include "probes.h"
#include "server_type.h"
#include "settle.h"
#include "state.h"
#include "waker.h"

#include <event2/event.h>
#include <limits.h>
#include <unistd.h>

enum { FALLBACK_MS = 1000 }; // a look without having been woken

static csc__member *member_at(const csc_group *group, size_t index) {
    return group->members[index];
}

static size_t member_count(const csc_group *group) {
    return atomic_load_explicit(&group->count, memory_order_acquire);
}

// On the accepting thread itself: connections need no mailbox.
static bool is_local(const csc_group *group, const csc__member *member) {
    return member->base == group->acceptor->base;
}

static int64_t load_of(const csc__member *member) {
    return member->placed - atomic_load_explicit(&member->ended, memory_order_relaxed);
}

// How many connections may wait for one member.
static size_t room_of_each(const csc_group *group) {
    int limit = group->acceptor->max_pending;
    return limit < 0 ? 0 : (size_t)limit;
}

static inline bool takes_more(const csc__member *member, size_t room) {
    return atomic_load(&member->open) && !atomic_load(&member->mailbox.stalled) &&
           csc__mailbox_length(&member->mailbox) < room;
}

// Whether another member may get a connection than the one it was placed on.
static bool may_move(const csc_group *group) {
    return group->distribution == CSC_LEAST_CONNECTIONS || group->distribution == CSC_ROUND_ROBIN;
}

static bool has_left(const csc__member *member) {
    return atomic_load_explicit(&member->has_left, memory_order_relaxed);
}

// Whether the next connection can be placed, whichever member it is for.
static bool has_room(const csc_group *group) {
    size_t count = member_count(group);
    size_t room = room_of_each(group);
    size_t members = 0;
    size_t rooms = 0;
    for (size_t index = 0; index < count; index++) {
        members += !has_left(member_at(group, index));
        rooms += takes_more(member_at(group, index), room);
    }
    return rooms > 0 && (may_move(group) || rooms == members);
}

// Beginning after the one that got the last connection. `takes_any`: also one that takes no more
// now.
static inline csc__member *choose(csc_group *group, const csc__member *except, bool takes_any) {
    size_t count = member_count(group);
    size_t room = room_of_each(group);
    size_t index = group->last;
    csc__member *best = NULL;
    int64_t least = INT64_MAX;
    for (size_t left = count; left > 0; left--) {
        index = index + 1 < count ? index + 1 : 0;
        csc__member *member = member_at(group, index);
        if (member == except || (takes_any ? has_left(member) : !takes_more(member, room))) {
            continue;
        }
        int64_t load = load_of(member);
        if (load < least || (load == least && is_local(group, member))) {
            best = member;
            least = load;
            group->last = index;
        }
        if (group->distribution == CSC_ROUND_ROBIN) {
            break;
        }
    }
    return best;
}

static uint32_t hash_of(const csc_address *peer) {
    uint32_t hash = 2166136261U; // FNV-1a
    for (size_t index = 0; index < sizeof peer->bytes; index++) {
        hash = (hash ^ peer->bytes[index]) * 16777619U;
    }
    return hash;
}

// The peer's, or the next one that is there.
static csc__member *choose_by_peer(const csc_group *group, const csc_address *peer) {
    size_t count = member_count(group);
    size_t first = count > 0 ? hash_of(peer) % count : 0;
    for (size_t looked = 0; looked < count; looked++) {
        csc__member *member = member_at(group, (first + looked) % count);
        if (!has_left(member)) {
            return member;
        }
    }
    return NULL;
}

// NULL where the program leaves the choice to us.
static csc__member *ask_for_choice(csc_group *group, const csc_address *peer) {
    size_t index = group->choice(group->acceptor, peer, group->choice_context);
    csc__member *member = index < member_count(group) ? member_at(group, index) : NULL;
    return member && !has_left(member) ? member : NULL;
}

static csc__member *choose_for(csc_group *group, const csc_address *peer) {
    csc__member *member = NULL;
    // UNIX sockets' peers have no addresses that distinguish them.
    if (group->distribution == CSC_BY_PEER && peer->family != CSC_FAMILY_UNIX) {
        return choose_by_peer(group, peer);
    }
    if (group->distribution == CSC_CUSTOM && group->choice) {
        member = ask_for_choice(group, peer);
        if (!group->acceptor) {
            return NULL; // freed by the callback
        }
    }
    member = member ? member : choose(group, NULL, false);
    return member ? member : choose(group, NULL, true);
}

static bool start_timer(csc_group *group, int64_t delay) {
    const struct timeval time = {.tv_sec = delay / 1000, .tv_usec = delay % 1000 * 1000};
    return event_add(group->timer, &time) == 0;
}

static void take_back_after(csc_group *group, int64_t delay) {
    group->takes_back =
        start_timer(group, delay); // without memory, the next connection tries again
}

// Not once the acceptor has finished: a member that has, too, would get one more.
static bool moves_back(const csc_group *group) {
    return may_move(group) && group->stall_limit >= 0 && csc__server_is_listening(group->acceptor);
}

// Whether a member of the same loop takes a connection at once: not past those that wait in its
// mailbox, nor past its limits. One that was freed is not open.
static bool receives_now(const csc__member *member) {
    return atomic_load_explicit(&member->open, memory_order_relaxed) &&
           csc__may_accept(member->server) && csc__mailbox_length(&member->mailbox) == 0;
}

static void count_placed(csc_group *group, csc__member *member, int count) {
    member->placed += count;
    group->placed += count;
}

// Members are woken once for all that are accepted in one go.
static void begin_batch(csc_group *group) {
    group->flush_due = true;
    event_active(group->flush, EV_TIMEOUT, 0);
}

// The time in which they are to fetch it begins now, and so does the timer: one that came between
// would have found nothing to wait for.
static void end_batch(csc_group *group) {
    csc__group_flush(group);
    if (!group->takes_back && moves_back(group)) {
        take_back_after(group, group->stall_limit);
    }
}

// False when the member has been freed, and when memory is short.
static bool deliver(csc_group *group, csc__member *member, const csc_connection *connection) {
    count_placed(group, member, 1);
    CSC__PROBE3(place, group->acceptor, member->server, connection->descriptor);
    if (is_local(group, member) && receives_now(member)) {
        if (group->flush_due) {
            end_batch(group); // no other loop is to wait for this one's callbacks
        }
        if (csc__member_receive(member->server, connection)) {
            return true;
        }
    } else {
        if (!group->flush_due) {
            begin_batch(group);
        }
        if (csc__mailbox_send(&member->mailbox, connection)) {
            return true;
        }
    }
    count_placed(group, member, -1);
    return false;
}

static bool deliver_to_any(csc_group *group, const csc_connection *connection) {
    size_t count = member_count(group);
    for (size_t index = 0; index < count; index++) {
        if (deliver(group, member_at(group, index), connection)) {
            return true;
        }
    }
    return false;
}

// While there is no room, clients wait in the kernel's queue. True when that has changed.
static bool look_for_room(csc_group *group) {
    csc_server *acceptor = group->acceptor;
    if (!acceptor || !csc__server_is_listening(acceptor)) {
        return false; // freed or closed by a callback
    }
    bool has = has_room(group);
    if (!has) {
        csc__group_await_room(group);
        has = has_room(group); // since the last look
    }
    if (!has && !group->takes_back) {
        start_timer(group, FALLBACK_MS);
    }
    bool changes = acceptor->no_room == has;
    acceptor->no_room = !has;
    return changes;
}

// On the member that was chosen, or else on any; false, and the connection closed, where none takes
// it.
static inline bool place(csc_group *group, csc__member *member, const csc_connection *connection) {
    csc_server *acceptor = group->acceptor;
    if ((member && deliver(group, member, connection)) || deliver_to_any(group, connection)) {
        return true;
    }
    acceptor->statistics.delivered--;
    csc__refuse(acceptor, connection);
    return false;
}

void csc__group_place(csc_server *acceptor, const csc_connection *connection, void *context) {
    csc_group *group = context;
    csc__member *member = choose_for(group, &connection->peer);
    bool placed = false;
    // Counted first: a callback of a member on this loop may look at the counters.
    acceptor->handed_over_fd = -1;
    if (group->acceptor) {
        acceptor->statistics.delivered++;
        placed = place(group, member, connection);
    } else {
        csc__refuse(acceptor, connection); // freed by the callback that chooses
    }
    if (!group->flush_due) {
        csc__group_publish_flow(acceptor); // otherwise it is published before the loop is woken
    }
    if (group->acceptor && atomic_load_explicit(&group->ended, memory_order_relaxed) != 0) {
        csc__collect_ended(acceptor); // members may have added some, beyond the limit
    }
    // Where that one takes another, there is room.
    bool is_known =
        group->acceptor && member && may_move(group) && takes_more(member, room_of_each(group));
    if (!is_known && look_for_room(group)) {
        csc__settle(acceptor);
    }
    if (acceptor->wait_depth > 0) {
        csc__group_flush(group); // no event does in a wait
    }
    if (!placed) {
        acceptor->handed_over_fd = CSC__REFUSED;
    }
}

// Places elsewhere what the member has left in its mailbox since `latest` or before.
static void take_back(csc_group *group, csc__member *member, int64_t latest) {
    csc_connection connection;
    while (group->acceptor && csc__mailbox_oldest(&member->mailbox) <= latest) {
        csc__member *other = choose(group, member, false);
        if (!other || !csc__mailbox_take_back(&member->mailbox, latest, &connection)) {
            return;
        }
        count_placed(group, member, -1);
        CSC__PROBE3(take_back, group->acceptor, member->server, connection.descriptor);
        atomic_fetch_add_explicit(&group->taken_back, 1, memory_order_relaxed);
        place(group, other, &connection);
    }
}

// Milliseconds until the next connection will have waited too long; INT64_MAX when none waits.
static int64_t take_back_from_all(csc_group *group) {
    int64_t now = csc__monotonic_milliseconds();
    int64_t latest = now - group->stall_limit;
    int64_t wait = INT64_MAX;
    size_t count = member_count(group);
    for (size_t index = 0; index < count && group->acceptor; index++) {
        csc__member *member = member_at(group, index);
        take_back(group, member, latest);
        int64_t oldest = csc__mailbox_oldest(&member->mailbox);
        int64_t due = oldest > latest ? oldest - latest : group->stall_limit + 1;
        if (oldest < INT64_MAX && due < wait) {
            wait = due;
        }
    }
    return wait;
}

// Those that wait for a busy loop come before those in the kernel's queue.
void csc__group_look(csc_group *group) {
    csc_server *acceptor = group->acceptor;
    csc__server_enter_here(acceptor);
    int64_t wait = moves_back(group) ? take_back_from_all(group) : INT64_MAX;
    if (group->acceptor && wait < INT64_MAX) {
        take_back_after(group, wait);
    }
    look_for_room(group);
    csc__settle(acceptor);
    if (acceptor->wait_depth > 0) {
        csc__group_flush(group); // no event does in a wait
    }
    csc__server_leave(acceptor);
}

void csc__group_on_timer(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_group *group = context;
    group->takes_back = false;
    csc__group_look(group);
}

void csc__group_on_flush(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    end_batch(context);
}

void csc__group_on_wake(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_group *group = context;
    csc_server *acceptor = group->acceptor;
    csc__waker_clear(&group->waker);
    csc__collect_ended(acceptor);
    if (acceptor->overloaded) {
        csc__group_await_room(group);
    }
    csc__group_look(group);
}
