// SPDX-License-Identifier: Apache-2.0

// Torture: a scenario of a server's life runs once to count its calls, then once more for each of
// them and each way it can fail. Whatever fails, the judge must find the same: every connection
// accounted for, no descriptor or memory lost, no descriptor of others closed, no spinning, the
// error reported or without consequence, and a server that serves again or says that it stopped.
#ifndef TORTURE_H
#define TORTURE_H

#include <CServerCore.h>
#include <FaultInjection.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

enum { MOST_CLIENTS = 256, MEMBERS = 2 };

// One run of a scenario.
typedef struct run {
    struct event_base *base; // NULL for none, or where there was no memory for one
    csc_server *server;      // NULL where there was no memory for one, or when it has been freed
    bool without_base;

    // A group's, whose acceptor the server is: the first member is on its base.
    csc_group *group;                // NULL for none
    csc_server *members[MEMBERS];    // NULL where there was no memory for it, or when it was freed
    struct event_base *members_base; // of the second one

    int clients[MOST_CLIENTS];
    int client_count;
    uint64_t connected; // clients that the kernel completed while the server listened
    uint64_t taken;     // connections that the server gave out
    uint64_t may_lose;  // clients whose connections the scenario itself gives up unaccepted
    int new_connections;
    bool ends_connections; // reports each that has ended to the server
    int asked;             // how often the server asked whether to admit a client
    uint64_t limit;        // of descriptors, while a scenario has lowered it; else 0
    int told;              // failures that the server reported, by a result or the callback
    bool stopped;          // by an error
    bool closed;           // by the scenario

    bool misled; // a call says that something is not there which is, and may well leave it

    csc_statistics last; // of a server that has been freed

    char trouble[3072]; // what the judge objects to; empty for nothing
} run;

typedef struct scenario {
    const char *name;
    void (*play)(run *it);
} scenario;

extern const scenario listening_scenarios[];
extern const scenario accepting_scenarios[];
extern const scenario ending_scenarios[];
extern const scenario limiting_scenarios[];
extern const scenario grouping_scenarios[];
extern const scenario budget_scenarios[];
extern const scenario preface_scenarios[];

// What a scenario is made of. Each tolerates that anything fails and records what it must.

// Makes the loop and the server; false where there is no memory for them.
bool run_start(run *it);

// The same, and a group with its members, as far as there is memory. The second one adds those that
// are missing; false where one is missing still.
bool run_start_group(run *it);
bool run_complete_group(run *it);

bool run_listen(run *it);                              // on loopback
bool run_listen_on(run *it, const csc_address *where); // records and checks a failure
bool run_listen_path(run *it, const char *path);
bool run_adopt(run *it, int descriptor);
int run_raw_listener(void); // a listening socket made by other code

// So many clients connect, if the server listens.
void run_connect(run *it, int count);

// Turns the loops, or waits where there is none, and checks the balance each time. The second one
// turns the server's loop alone.
void run_turn(run *it);
void run_turn_of_server(run *it);

// Turns until all clients are accepted, four seconds of the clock at most; may take them.
void run_serve(run *it, bool take);
void run_take_all(run *it);

// The program's side of a connection that came out of a server.
void run_took(run *it, csc_server *server, const csc_connection *connection);

// Leaves so many descriptors to the process, in truth and not by a plan; and all of them again.
void run_limit_descriptors(run *it, int count);
void run_lift_limit(run *it);

void run_close(run *it);
void run_free(run *it); // the members of its group, too
void run_free_member(run *it, int index);
// A call of the server has failed, and must say why.
void run_must_explain(run *it, const char *what);
void run_object(run *it, const char *format, ...) __attribute__((format(printf, 2, 3)));
csc_statistics run_statistics(const run *it);
bool run_is_listening(const run *it);

// The judge. Plays the scenario under the plans that are set, and all that follows; what it
// objects to is in it->trouble. With lasting faults it also looks for spinning.
void judge_run(run *it, const scenario *what, bool faults_last);

// libevent_memory.c: libevent's own allocations. To be installed before anything of libevent's.
void libevent_memory_install(void);
void libevent_memory_fail(int nth, int count); // as fault_fail_allocation(); nth 0 for none
void libevent_memory_reset_count(void);
uint64_t libevent_memory_allocations(void);
int64_t libevent_memory_live(void);

// errnos.c: what a call is documented to fail with, ended by 0.
const int *errnos_of(fault_call call);

#endif
