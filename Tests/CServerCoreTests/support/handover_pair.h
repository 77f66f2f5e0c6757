// SPDX-License-Identifier: Apache-2.0

// The control sockets of both processes of a hand-over, in one process.
#ifndef HANDOVER_PAIR_H
#define HANDOVER_PAIR_H

#include "fixture.h"

typedef struct handover_pair {
    int predecessor;
    int successor;
} handover_pair;

// Both are closed by the fixture.
handover_pair handover_connect(fixture *it);

// What a successor says first.
void handover_say_hello(int control);

// What its predecessor's offer of no socket returns.
int handover_offer_nothing(const handover_pair *both);

// A packet, with descriptors where there are any.
void handover_send_raw(int control, const void *bytes, size_t size, const int *descriptors,
                       size_t count);

#endif
