// SPDX-License-Identifier: Apache-2.0

// What drives the connections in the preface.
#ifndef CSC_PREFACE_EVENTS_H
#define CSC_PREFACE_EVENTS_H

#include "preface.h"

struct pollfd;

// For a server that has none yet; NULL when memory is short.
struct csc__prefaces *csc__prefaces_new(csc_server *server);

// As poll(2), of two entries of a wait and of all that are in the preface.
int csc__poll_with_prefaces(csc_server *server, struct pollfd *entries, int timeout);

// Goes on with those that were ready then. How many were taken.
int csc__prefaces_go_on(csc_server *server);

#endif
