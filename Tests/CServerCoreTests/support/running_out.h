// SPDX-License-Identifier: Apache-2.0

// A server whose process runs out of descriptors.
#ifndef RUNNING_OUT_H
#define RUNNING_OUT_H

#include "fixture.h"

enum { CLIENTS = 50, FREE = 12 };

// Clients in the kernel's queue, and fewer free descriptors.
static inline void run_out(fixture *it, int reserve) {
    csc_server_set_max_pending(it->server, 1000);
    csc_server_set_descriptor_reserve(it->server, 0);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, CLIENTS);
    fixture_leave_descriptors(it, FREE);
    csc_server_set_descriptor_reserve(it->server, reserve);
    fault_stop_clock();
    fault_reset_counts();
}

// Closes so many of the connections that are pending, and reports their end.
static inline void end_connections(fixture *it, int count) {
    for (int i = 0; i < count; i++) {
        fixture_close(it, fixture_take(it).descriptor);
        csc_server_connection_ended(it->server);
    }
}

#endif
