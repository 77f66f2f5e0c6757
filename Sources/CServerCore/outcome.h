// SPDX-License-Identifier: Apache-2.0

// What one attempt to accept came to.
#ifndef CSC_OUTCOME_H
#define CSC_OUTCOME_H

typedef enum csc__outcome {
    CSC__NO_PLACE,    // the budget or the rate has none, which the server waits for now
    CSC__NOBODY,      // there is no client
    CSC__PEER_ERROR,  // this client has gone, others may be there
    CSC__TOOK,        // a connection was queued, or handed over
    CSC__TURNED_AWAY, // a client was rejected
    CSC__PAUSED,      // accepting failed, and pauses
    CSC__STOPPED      // the socket is broken: the server no longer listens
} csc__outcome;

#endif
