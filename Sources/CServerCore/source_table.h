// SPDX-License-Identifier: Apache-2.0

// The sources that clients come from, and what each of them has taken. Knows nothing of csc_server.
#ifndef CSC_SOURCE_TABLE_H
#define CSC_SOURCE_TABLE_H

#include "CServerCore.h"

typedef enum csc__source_answer {
    CSC__SOURCE_COUNTED,
    CSC__SOURCE_IGNORED,   // nothing is limited, or it has no source
    CSC__SOURCE_UNCOUNTED, // the table has no place for it
    CSC__SOURCE_FULL,      // its source has as many connections as it may have
    CSC__SOURCE_FAST       // as many as it may have in this time
} csc__source_answer;

// Another user; csc_sources_free() ends its use.
csc_sources *csc__sources_retain(csc_sources *sources);

// Counts a client in its source. `*place`, which is csc_connection::source, is set where it is
// counted. `is_forced`: beyond the limits, too.
csc__source_answer csc__sources_take(csc_sources *sources, const csc_address *peer, bool is_forced,
                                     uint32_t *place);

// The same where that is simple: a client of IPv4, of a source that has an entry and is within its
// limit, without a rate, while no other thread looks there. Sets the connection's place; false, and
// 0, where it is for csc__sources_take() to say.
bool csc__sources_count(csc_sources *sources, csc_connection *connection);

// It has ended. Any thread.
void csc__sources_give(csc_sources *sources, uint32_t place);

// Whether this is a child of the process that made it: a thread that is not here may have a lock.
bool csc__sources_are_inherited(const csc_sources *sources);

// Whether clients beyond the limits are reset.
bool csc__sources_reset(const csc_sources *sources);

#endif
