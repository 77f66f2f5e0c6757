// SPDX-License-Identifier: Apache-2.0

// What a server has of a budget.
#ifndef CSC_PLACES_TYPE_H
#define CSC_PLACES_TYPE_H

#include "budget.h"
#include "waker.h"

#include <stdatomic.h>

struct csc__places {
    csc__budget_waiter waiter; // first: it is also the address of this
    csc_budget *budget;        // retained
    csc_server *server;
    csc__waker waker;     // of the server's loop; none without one
    atomic_bool is_woken; // for a wait, which takes the loop's place
};

#endif
