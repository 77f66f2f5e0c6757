// SPDX-License-Identifier: Apache-2.0

// Nothing to run: that this compiles proves that the Swift module's own declarations of libevent's
// functions (Sources/CLibevent/shim.h) are libevent's.

#include <event2/event.h>

#include "../../../Sources/CLibevent/shim.h"

_Static_assert(CLIBEVENT_TIMEOUT == EV_TIMEOUT, "EV_TIMEOUT");
_Static_assert(CLIBEVENT_READ == EV_READ, "EV_READ");
_Static_assert(CLIBEVENT_WRITE == EV_WRITE, "EV_WRITE");
_Static_assert(CLIBEVENT_SIGNAL == EV_SIGNAL, "EV_SIGNAL");
_Static_assert(CLIBEVENT_PERSIST == EV_PERSIST, "EV_PERSIST");
_Static_assert(CLIBEVENT_EDGE_TRIGGERED == EV_ET, "EV_ET");
_Static_assert(CLIBEVENT_CLOSED == EV_CLOSED, "EV_CLOSED");
_Static_assert(CLIBEVENT_LOOP_ONCE == EVLOOP_ONCE, "EVLOOP_ONCE");
_Static_assert(CLIBEVENT_LOOP_NONBLOCK == EVLOOP_NONBLOCK, "EVLOOP_NONBLOCK");
_Static_assert(CLIBEVENT_LOOP_NO_EXIT_ON_EMPTY == EVLOOP_NO_EXIT_ON_EMPTY, "NO_EXIT_ON_EMPTY");
_Static_assert((int)CLIBEVENT_BASE_NOLOCK == (int)EVENT_BASE_FLAG_NOLOCK, "NOLOCK");
_Static_assert((int)CLIBEVENT_FEATURE_EDGE_TRIGGERED == (int)EV_FEATURE_ET, "EV_FEATURE_ET");
