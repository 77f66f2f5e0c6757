// SPDX-License-Identifier: Apache-2.0

// A server that accepts at a rate. It takes a token for each client that it accepts; where there is
// none it has a limit of connections of 0, until a timer says that there is one.
//
// libevent accepts without asking before, so what it may accept is in the budget of csc__apply(),
// and charged when that is computed again. A step of our own takes its token before accept4().
#ifndef CSC_PACING_H
#define CSC_PACING_H

#include "rate.h"
#include "server_type.h"

struct csc__pacing {
    csc_rate *rate;      // retained
    struct event *timer; // NULL without a loop
    int64_t available;   // tokens, as of the last look
    int granted;         // the budget that libevent's listener was given, and is not charged for
    bool awaits;         // a token
    int64_t end;         // monotonic nanoseconds at which there is one
};

// Charges for what libevent has accepted, and looks how many tokens there are.
void csc__pace(csc_server *server);

// Takes a token for a step; false when the server awaits one: csc__set_limits() is due then.
bool csc__pace_take(csc_server *server);

// The step has found no client.
void csc__pace_give(csc_server *server);

// When accepting goes on, in monotonic milliseconds; INT64_MAX when it does not wait.
int64_t csc__pace_deadline(const csc_server *server);

// The server does not listen any more.
void csc__pace_stop(csc_server *server);
void csc__pacing_free(csc_server *server);

#endif
