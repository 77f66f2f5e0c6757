// SPDX-License-Identifier: Apache-2.0

// What every test starts from: an event base, a server on it that is not yet listening, and
// clients. The fixture also judges: after each test the server's counters must balance, and the
// process must have the descriptors it had before.
#ifndef FIXTURE_H
#define FIXTURE_H

// cmocka wants these before its own header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <CServerCore.h>
#include <FaultInjection.h>

#include <stdbool.h>
#include <sys/resource.h>

struct event;
struct event_base;

enum { MOST_DESCRIPTORS = 16384 };

typedef struct fixture {
    struct event_base *base;
    struct event *limit; // timer that ends a run of the loop
    csc_server *server;  // NULL once a test has freed it

    // What the callbacks of fixture_watch() have seen.
    int new_connections;
    int accept_errors;
    csc_error accept_error; // the last one

    int owned[MOST_DESCRIPTORS]; // closed at the end of the test
    int owned_count;

    struct rlimit descriptor_limit; // of the test, unless it lowers it
    bool open_before[MOST_DESCRIPTORS];
} fixture;

// With an event base, or without: then csc_server_wait() does everything.
int fixture_setup(void **state);
int fixture_setup_without_base(void **state);
int fixture_teardown(void **state);

#define fact(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define fact_without_base(name)                                                                    \
    cmocka_unit_test_setup_teardown(name, fixture_setup_without_base, fixture_teardown)

// Counts new connections and accept errors in the fixture.
void fixture_watch(fixture *it);

// Listens on a free port, by default of own_loopback().
void fixture_listen(fixture *it);
void fixture_listen_on(fixture *it, const char *literal);

// Connects a client to the server. The kernel completes the connection before the server accepts
// it, so this returns at once. The fixture owns the descriptor.
int fixture_connect(fixture *it);
void fixture_connect_many(fixture *it, int count);

// Takes a pending connection, which must be there. The fixture owns its descriptor.
csc_connection fixture_take(fixture *it);

// Takes all that is pending and returns how many that was.
int fixture_take_all(fixture *it);

// Hands a descriptor to the fixture, which closes it at the end.
int fixture_own(fixture *it, int descriptor);
void fixture_close(fixture *it, int descriptor);

// Runs the loop until there is nothing to do at this moment.
void fixture_run_ready(fixture *it);

// Runs the loop for so long, or until a counter has reached a value; that must happen within a
// minute.
void fixture_run_for(fixture *it, int msec);
void fixture_run_until(fixture *it, const int *counter, int value);

csc_statistics fixture_statistics(const fixture *it);

// accepted + added == delivered + pending + discarded_on_close + shed + rejected + those in the preface
void fixture_assert_balance(const fixture *it);

void fixture_assert_error(const fixture *it, csc_error error, const char *text);

// Closes and frees the server in the middle of a test.
void fixture_free_server(fixture *it);

// Lowers the descriptor limit so that so many more can be opened, until the end of the test.
// Skips it under valgrind, which keeps the limit itself and loses the connection accepted over it.
void fixture_leave_descriptors(fixture *it, int count);
void fixture_restore_descriptors(fixture *it);

// An address of 127.0.0.0/8 that only this process uses, so that its ports are its own: a port just
// closed stays free, and no other process listens there. Clients come from 127.0.0.1 all the same.
const char *own_loopback(void);

// Skips the test under valgrind, which is between it and the kernel.
void skip_under_valgrind(const char *reason);

// Skips the test where the loopback interface has no IPv6 address, as in many containers.
void skip_without_ipv6(void);

csc_address address_of(const char *literal, unsigned port);
int64_t monotonic_milliseconds(void);
bool is_non_blocking(int descriptor);
bool is_close_on_exec(int descriptor);

// Connects to an address and port; -1 with errno when that fails.
int connect_to(const csc_address *address);

// A blocking listening socket made without the library, the port chosen by the kernel.
int raw_listener(const char *literal, int backlog);

#endif
