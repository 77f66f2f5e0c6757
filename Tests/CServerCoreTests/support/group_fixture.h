// SPDX-License-Identifier: Apache-2.0

// A group whose loops are all run by the test itself, one after the other: the fixture's server
// accepts, and members are on bases of their own, or on the fixture's.
#ifndef GROUP_FIXTURE_H
#define GROUP_FIXTURE_H

#include "fixture.h"

enum { MOST_MEMBERS = 4 };

typedef struct test_member {
    struct event_base *base; // owned, unless it is the fixture's
    csc_server *server;      // NULL once a test has freed it
    int new_connections;
} test_member;

typedef struct test_group {
    fixture *it;
    csc_group *group;
    test_member members[MOST_MEMBERS];
    int count;
} test_group;

// So many members on bases of their own; none is on the fixture's base. Nothing is taken back from
// those, unless the test sets a stall limit.
test_group *group_setup(fixture *it, int count);

// Frees the members, and checks that every connection is accounted for.
void group_teardown(test_group *group);

// Adds a member to those that are there.
test_member *group_add(test_group *group, struct event_base *base);

// Runs the loops until there is nothing to do at this moment: the acceptor's, or a member's, or all.
void group_run_acceptor(test_group *group);
void group_run_member(test_group *group, int index);
void group_run_all(test_group *group);

// Connects so many clients, one by one, each of which is placed before the next.
void group_connect(test_group *group, int count);

// A client from that address of the loopback network.
void group_connect_from(test_group *group, const char *source);

// Takes what is pending at a member, and ends it if `ends`. Returns how many that was.
int group_take(test_group *group, int index, bool ends);

// Every connection is accounted for, while no loop runs.
void group_assert_balance(const test_group *group);

csc_statistics group_statistics(const test_group *group);
csc_statistics member_statistics(const test_group *group, int index);

// How many connections each member has, on their way or live.
void assert_loads(const test_group *group, int first, int second);

#endif
