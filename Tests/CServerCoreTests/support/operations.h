// SPDX-License-Identifier: Apache-2.0

// What a program can do with a server, as a table: the columns of the re-entrancy matrix, and what
// the threads of threads.c do at random.
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include "fixture.h"

// What an operation works on beside the server.
typedef struct scene {
    fixture *it;                      // owns the descriptors that are taken
    const csc_connection *connection; // that the incoming callback was given; NULL elsewhere
    int strangers;                    // connections that came another way than accept4(2)
    bool does_not_listen_anew;        // although the operation might have made it
} scene;

typedef struct operation {
    const char *name;
    void (*perform)(scene *now, csc_server *server);
    bool stops;        // the server does not listen afterwards
    bool listens_anew; // on another socket, whatever it did before
    bool frees;
} operation;

// The last one has no name.
extern const operation operations[];

// Takes all that is pending; the fixture owns the descriptors.
void operations_take_all(scene *now, csc_server *server);

#endif
