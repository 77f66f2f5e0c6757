// SPDX-License-Identifier: Apache-2.0

// Reads the PROXY header of a connection, from its socket. Knows nothing of csc_server's.
#ifndef CSC_PROXY_RECEIVER_H
#define CSC_PROXY_RECEIVER_H

#include "preface.h"

// A copy of the requirement, for csc__proxy_receiver_protocol, which frees it. NULL when memory is short.
void *csc__proxy_receiver_new(const csc_proxy_requirement *requirement);

// Whether all networks are some.
bool csc__proxy_networks_are_valid(const csc_proxy_requirement *requirement);

extern const csc__preface_protocol csc__proxy_receiver_protocol;

#endif
