// SPDX-License-Identifier: Apache-2.0

// Clients that a server admits or rejects, and what its callbacks see of them.
#ifndef GUESTS_H
#define GUESTS_H

#include "fixture.h"

// What the callbacks have seen, and are to do.
typedef struct scene {
    fixture *it;
    csc_admission admission;
    int asked;
    int rejected;
    csc_rejection rejection;                                  // the last one
    csc_address peer;                                         // that was asked for last
    void (*operation)(struct scene *now, csc_server *server); // once
} scene;

// Listens, with the callback for rejected clients.
void guests_start(fixture *it, scene *now);

// From now on each client is asked about, and answered so.
void guests_ask(fixture *it, scene *now, csc_admission admission);

csc_address guests_local_address(int client);

// The last rejected client is this one.
void guests_assert_rejected(fixture *it, const scene *now, int client, csc_rejection_reason reason);
void guests_assert_closed(int client);
void guests_assert_reset(int client);

#endif
