// SPDX-License-Identifier: Apache-2.0

// Servers that share a budget, each on a loop and a listening socket of its own; the test runs all
// loops, one after the other. The first one is the fixture's.
#ifndef BUDGET_FIXTURE_H
#define BUDGET_FIXTURE_H

#include "fixture.h"

enum { SHARERS = 3 };

typedef struct test_budget {
    fixture *it;
    csc_budget *budget;
    struct event_base *bases[SHARERS]; // the first one is the fixture's
    csc_server *servers[SHARERS];      // NULL once a test has freed it
} test_budget;

// All listen, unless the test says otherwise.
test_budget *budget_setup(fixture *it, int limit);
test_budget *budget_setup_idle(fixture *it, int limit);

// Each of the servers that are there listens; all on duplicates of one socket if `on_one`.
void budget_listen(test_budget *all, bool on_one);

// Frees the servers, and the budget, of which nothing may be taken then.
void budget_teardown(test_budget *all);

// Connects so many clients to a server.
void budget_connect(test_budget *all, int server, int count);

// Runs the loop of one, or of all in turn, until there is nothing to do at this moment.
void budget_run(test_budget *all, int server);
void budget_run_all(test_budget *all);

// Takes a connection of a server, which must be there, and ends it.
void budget_end_one(test_budget *all, int server);

// How many are pending at each.
#define assert_pending(all, ...)                                                                   \
    assert_pending_at(all, (const unsigned[]){__VA_ARGS__}, __FILE__, __LINE__)
void assert_pending_at(const test_budget *all, const unsigned *expected, const char *file,
                       int line);

#endif
