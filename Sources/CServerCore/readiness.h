// SPDX-License-Identifier: Apache-2.0

#ifndef CSC_READINESS_H
#define CSC_READINESS_H

#include <stdbool.h>
#include <stdint.h>

// Blocks until a descriptor is ready for one of poll(2)'s events, or at its end.
//
// @param msec how long at most; less than 0 for as long as it takes
// @return 0, ETIMEDOUT, or the errno of poll(2)
int csc__wait_until_ready(int descriptor, short events, int msec);

// Before a call that a socket's SO_SNDTIMEO limits: it may take until the deadline, in monotonic
// milliseconds, however often a signal interrupts it. False when that is over.
bool csc__may_send_until(int descriptor, int64_t deadline);

#endif
