// SPDX-License-Identifier: Apache-2.0

// The table in which the connections of a server count by their sources.
#ifndef CSC_SOURCE_LIMITS_H
#define CSC_SOURCE_LIMITS_H

#include "group_type.h"
#include "source_table.h"

// A member's is that of the acceptor. Any thread may ask that has a connection which counts there.
static inline csc_sources *csc__sources_of(const csc_server *server) {
    return server->member ? atomic_load(&server->member->group->sources) : server->sources;
}

// A connection of the server has ended, or is not let in.
static inline void csc__source_end(const csc_server *server, const csc_connection *connection) {
    if (connection->source > 0) {
        csc__sources_give(csc__sources_of(server), connection->source);
    }
}

#endif
