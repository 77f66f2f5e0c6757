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
#ifndef CSC_GROUP_TYPE_H
#define CSC_GROUP_TYPE_H

#include "mailbox.h"
#include "server_type.h"

typedef struct csc__member {
    csc_group *group;
    csc_server *server; // its own thread's; what it left stays when that is freed
    struct event_base *base;
    csc__mailbox mailbox;
    // The member's own thread's.
    bool left_some; // the limits did not let it take all that was in the mailbox
    bool goes_last; // it receives after the other events of this turn
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

#endif
