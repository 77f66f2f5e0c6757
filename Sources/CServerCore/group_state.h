// SPDX-License-Identifier: Apache-2.0

// Whether a group has room, what it counts, and when it ends.
#ifndef CSC_GROUP_STATE_H
#define CSC_GROUP_STATE_H

#include "group_type.h"

// The server that accepts is freed; its memory, and the members', still refer to the group.
// `forget_event`: as for csc__mailbox_close().
void csc__group_abandon(csc_server *acceptor, bool forget_event);
void csc__group_release(csc_group *group);

// Where the connections of the group count by source; NULL for nowhere.
void csc__group_set_sources(csc_group *group, csc_sources *sources);

// The server that accepts listens from now on; false with errno when its loop cannot be woken. And
// no more: then the group leaves nothing on its loop, and what is on its way stays on it.
bool csc__group_start(csc_group *group);
void csc__group_stop(csc_group *group, bool forget_event);

// Copies counters for other threads to read. Nothing for a server whose counters no other thread
// reads.
void csc__group_publish(csc_server *server);

// The same for those alone that change with each connection. Other threads read them.
void csc__group_publish_flow(csc_server *server);
void csc__group_read(const csc_statistics *published, csc_statistics *statistics);

// A member's limits have changed what they say.
void csc__member_settle(csc_server *server, bool open);

// Connections of a member have ended; less than 0 for those that were added.
void csc__member_count_ended(csc__member *member, int64_t count);

// Connections that a member has not got from the group: of so many accepted, so many are live.
void csc__member_count_others(csc__member *member, uint64_t accepted, uint32_t live);

// There may be room again: wakes the accepting thread if it waits for that.
void csc__group_offer_room(csc_group *group);

// From now on the accepting thread is woken when there may be room.
void csc__group_await_room(csc_group *group);

// Wakes the members that were sent something.
void csc__group_flush(csc_group *group);

// The accepting thread looks at the members after this turn of its loop: a setting has changed.
void csc__group_look_soon(csc_group *group);

// How many connections have ended since the last call, less those that were added to members.
int64_t csc__group_collect_ended(csc_group *group);

#endif
