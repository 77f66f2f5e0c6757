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
#ifndef CSC_GROUP_H
#define CSC_GROUP_H

#include "mailbox.h"
#include "server.h"

typedef struct csc__member {
    csc_group *group;
    csc_server *server; // its own thread's; what it left stays when that is freed
    struct event_base *base;
    csc__mailbox mailbox;
    // The accepting thread's.
    int64_t placed; // connections placed here, less those taken back
    // For all threads.
    _Atomic int64_t ended;    // connections that have ended here, less those that were added here
    atomic_bool open;         // the server's limits let another connection in
    csc_statistics published; // words that are stored and loaded without order; see publish()
} csc__member;

struct csc_group {
    atomic_uint references; // the server that accepts, and the members
    size_t capacity;
    atomic_size_t count;   // of members, those that have left included
    csc__member **members; // owned, as are they; in the order in which they were added
    pthread_mutex_t lock;  // for adding members, and for `wake`

    // The accepting thread's.
    csc_server *acceptor; // NULL once it was freed
    csc_distribution distribution;
    csc_choice_fn choice;
    void *choice_context;
    int stall_limit; // milliseconds; less than 0 for none
    size_t last;     // index of the member that got the last connection; SIZE_MAX for none
    struct event *wake_event;
    struct event *timer; // to take back what a member leaves in its mailbox
    bool timer_runs;
    struct event *flush; // to wake the members after a batch
    bool flush_due;
    int64_t batch_start; // monotonic milliseconds; when the first of those was sent

    // For all threads.
    atomic_bool listens;    // the acceptor does
    _Atomic int64_t ended;  // connections of all members, until the accepting thread collects them
    atomic_bool wants_room; // the accepting thread waits for room
    csc__private_fd wake;   // an eventfd that its loop watches
    _Atomic uint64_t taken_back;
    csc_statistics published; // the acceptor's
};

// group_state.c

// The server that accepts is freed; its memory, and the members', still refer to the group.
// `forget_events`: as for csc__mailbox_close().
void csc__group_abandon(csc_server *acceptor, bool forget_events);
void csc__group_release(csc_group *group);

// Copies counters for other threads to read: those of a member, or of the server that accepts. All;
// or those that change with each connection.
void csc__group_publish(csc_server *server);
void csc__group_publish_flow(csc_server *server);
void csc__group_read(const csc_statistics *published, csc_statistics *statistics);

// A member's limits have changed what they say.
void csc__member_settle(csc_server *server, bool open);

// Connections of a member have ended; less than 0 for those that were added.
void csc__member_count_ended(csc__member *member, int64_t count);

// There may be room again: wakes the accepting thread if it waits for that.
void csc__group_offer_room(csc_group *group);

// From now on the accepting thread is woken when there may be room.
void csc__group_await_room(csc_group *group);

// Wakes the members that have mail.
void csc__group_flush(csc_group *group);

// How many connections have ended since the last call.
uint32_t csc__group_collect_ended(csc_server *acceptor);

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

#endif
