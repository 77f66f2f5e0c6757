// SPDX-License-Identifier: Apache-2.0

// What the servers of a group share: one that accepts, and those that it places connections on, each
// on a loop and a thread of its own.
//
//      placing.c                 the accepting thread: which member gets a connection
//          |   mailbox           one for each member
//          v
//      member.c                  a member's thread: receives them, as if it had accepted them
//          |   `ended`, `open`   counters for the accepting thread
//          v
//      group_state.c             both: whether there is room, and waking who waits for it
//      group_list.c              the process: what fork() does to groups
#ifndef CSC_GROUP_H
#define CSC_GROUP_H

#include "mailbox.h"
#include "server.h"

typedef struct csc__member {
    csc_group *group;
    csc_server *server; // its own thread's; what it left stays when that is freed
    struct event_base *base;
    csc__mailbox mailbox;
    // The member's own thread's.
    bool left_some; // the limits did not let it take all that was in the mailbox
    // The accepting thread's.
    int64_t placed; // connections placed here, less those taken back
    // For all threads.
    _Atomic int64_t ended; // connections that have ended here, less those that were added here
    _Atomic uint64_t accepted_otherwise; // connections that were not placed here
    atomic_bool open;                    // the server's limits let another connection in
    atomic_bool has_left;                // the server was freed
    csc_statistics published; // words that are stored and loaded without order; see publish()
} csc__member;

struct csc_group {
    atomic_uint references; // the server that accepts, and the members
    size_t capacity;
    atomic_size_t count;   // of members, those that have left included
    csc__member **members; // owned, as are they; in the order in which they were added
    pthread_mutex_t lock;  // for adding members, and for `waker`
    csc_group *next;       // in the process's list of groups
    unsigned process;      // csc__process() when it was made

    // The accepting thread's.
    csc_server *acceptor; // NULL once it was freed
    csc_distribution distribution;
    csc_choice_fn choice;
    void *choice_context;
    int stall_limit;     // milliseconds; less than 0 for none
    int64_t placed;      // connections placed on members, less those taken back
    int64_t collected;   // of `ended`
    size_t last;         // index of the member that got the last connection; SIZE_MAX for none
    struct event *timer; // to take back what a member leaves in its mailbox, or to look for room
    bool takes_back;     // the timer is for what waits longest
    struct event *flush; // to wake the members after a batch
    bool flush_due;

    // For all threads.
    atomic_bool listens;    // the acceptor does
    _Atomic int64_t ended;  // the same of all members, until the accepting thread collects them
    atomic_bool wants_room; // the accepting thread waits for room
    csc__waker waker;       // of its loop
    _Atomic uint64_t taken_back;
    _Atomic(csc_sources *) sources; // the acceptor's, retained; changes only without connections
    csc_statistics published;       // the acceptor's
};

// group_list.c: the process's list of groups. A group is in it as long as it has its locks.
void csc__group_list_add(csc_group *group);
void csc__group_list_remove(const csc_group *group);

// group_state.c

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

// member.c: receiving.

// Lets a connection in; false when memory is short.
bool csc__member_receive(csc_server *server, const csc_connection *connection);

// Lets in what is in the mailbox, whatever the limits say; or closes it.
void csc__member_receive_all(csc_server *server);
void csc__member_discard_all(csc_server *server);

// The server is freed.
void csc__member_leave(csc_server *server, bool forget_event);

// Of the event of a mailbox; its context is the server.
void csc__member_on_arrival(int descriptor, short events, void *context);

// placing.c: the incoming callback of the server that accepts; its context is the group. And its
// events.
void csc__group_place(csc_server *acceptor, const csc_connection *connection, void *context);
void csc__group_on_wake(int descriptor, short events, void *context);
void csc__group_on_timer(int descriptor, short events, void *context);
void csc__group_on_flush(int descriptor, short events, void *context);

// Places elsewhere what waits for busy loops, and looks whether there is room.
void csc__group_look(csc_group *group);

#endif
