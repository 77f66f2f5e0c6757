// SPDX-License-Identifier: Apache-2.0

// Leaving descriptors to the rest of the program.
#ifndef CSC_DESCRIPTOR_RESERVE_H
#define CSC_DESCRIPTOR_RESERVE_H

#include "server_type.h"

// True when no number is free below the reserve. Sets the number from which on to count again.
bool csc__descriptors_are_short(csc_server *server);

// Holds a descriptor to give up, or none, as policy and state want it.
void csc__reserve_fd_keep(csc_server *server);
void csc__reserve_fd_give_up(csc_server *server);
void csc__reserve_fd_take(csc_server *server);

#endif
