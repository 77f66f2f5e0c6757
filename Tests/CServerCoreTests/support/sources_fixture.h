// SPDX-License-Identifier: Apache-2.0

// A server that limits what one source of clients may do.
#ifndef SOURCES_FIXTURE_H
#define SOURCES_FIXTURE_H

#include "fixture.h"

// The limits are the server's from now on.
csc_sources *sources_limit(csc_server *server, csc_source_limits limits);
csc_sources *sources_limit_connections(csc_server *server, uint32_t count);

// A client with that address.
int sources_connect_from(fixture *it, const char *literal);

// A client of that address that came another way. True when it is let in.
bool sources_inject(fixture *it, const char *literal);

// Ends the oldest pending connection, or all.
void sources_end_one(fixture *it);
void sources_end_all(fixture *it);

#endif
