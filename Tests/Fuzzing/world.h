// SPDX-License-Identifier: Apache-2.0

// What a sequence of calls plays on: an event base, two servers, clients, and the descriptors that
// were taken. Each server has a model: who waits in the kernel's queue, who is
// pending, what the counters must be. After each call the server is held against its model.
#ifndef FUZZING_WORLD_H
#define FUZZING_WORLD_H

#include "check.h"

#include <CServerCore.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

enum { SERVERS = 2, MOST_CLIENTS = 32, MOST_TAKEN = 64, MOST_IN_QUEUE = 64, DEEPEST_CALLBACK = 3 };

typedef struct world world;

// Names of peers, first in, first out; a peer of family CSC_FAMILY_NONE means an added
// connection.
typedef struct name_queue {
    csc_address names[MOST_IN_QUEUE];
    size_t count;
} name_queue;

// A client whom the admission callback decides on.
typedef struct applicant {
    csc_address name;
    bool answered;
    csc_admission answer;
    bool closed; // the server was, meanwhile
} applicant;

typedef struct subject {
    world *world;
    csc_server *server; // NULL after it was freed
    unsigned epoch;     // changes with each server in this place
    unsigned listening_epoch;
    bool listening;
    bool tampered; // other code broke the listening socket, or may have
    bool handles_incoming;
    bool has_base;
    unsigned in_incoming; // callbacks on the stack: one connection each is on its way
    unsigned finishing;   // calls on the stack that know no limit
    applicant applicants[DEEPEST_CALLBACK + 1];
    size_t applicant_count;
    int limit;
    int backlog; // of the socket that listens
    uint64_t accepted;
    uint64_t taken; // delivered less added: a connection given back is neither
    uint64_t discarded;
    uint64_t rejected; // for whichever reason
    name_queue kernel;
    name_queue pending;
} subject;

struct world {
    const uint8_t *next; // of the input
    const uint8_t *end;
    struct event_base *base;
    bool running;   // the loop, which does not nest
    unsigned depth; // of callbacks
    bool faulty;    // a call may be failing on purpose: less can be expected
    subject subjects[SERVERS];
    int clients[MOST_CLIENTS];
    size_t client_count;
    int taken[MOST_TAKEN];
    size_t taken_count;
};

// world.c: the beginning and the end.
void world_begin(world *it, const uint8_t *data, size_t size);
void world_end(world *it);
bool world_has_input(const world *it);
uint8_t world_byte(world *it); // 0 when there is none left
void subject_begin(subject *it, bool has_base);
void subject_free(subject *it);

// Closes so that the kernel keeps nothing of the connection.
void reset_and_close(int descriptor);

// Owns a descriptor that a server handed over, or closes it when there are enough.
void world_take(world *it, int descriptor);

// model.c: what must be true.
void model_connected(subject *it, const csc_address *client);
void model_added(subject *it);
csc_address model_incoming(subject *it, const csc_connection *connection);
void model_rejected(subject *it, const csc_address *peer);
void model_asked(subject *it, const csc_address *peer);
void model_answered(subject *it, csc_admission answer);
// One that comes another way than the kernel's queue: before all who wait there.
void model_passed_on(subject *it, const csc_address *peer);
void model_given_back(subject *it, const csc_address *name);
void model_popped(subject *it, const csc_connection *connection);
void model_listens(subject *it, int backlog);
void model_stopped(subject *it);
void model_closed(subject *it);
void model_observe(world *it); // after each call
void model_observe_others(const subject *it);
void model_assert_drained(subject *it);

// operations.c
void operate(world *it);
void take_next(subject *it);

// callbacks.c
void set_callbacks(subject *it, unsigned choice);

#endif
