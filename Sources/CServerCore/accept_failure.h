// SPDX-License-Identifier: Apache-2.0

// What a failed attempt does.
#ifndef CSC_ACCEPT_FAILURE_H
#define CSC_ACCEPT_FAILURE_H

#include "outcome.h"
#include "server_type.h"

// Applies the verdict of an attempt that failed, libevent's or one of our own.
csc__outcome csc__accept_failed(csc_server *server, int errnum);

// Records and reports the error of a call, and backs off.
void csc__pause_for(csc_server *server, const csc__verdict *verdict, csc_call call, int errnum);

// 0 for an errno where no system call failed.
void csc__begin_back_off(csc_server *server, const csc__verdict *verdict, int errnum);

// Rejects the clients in the kernel's queue, a batch at most.
void csc__shed(csc_server *server);

// Ends listening, and keeps what is pending. The descriptor that the program knows stays open, or
// is closed too.
void csc__accept_stop(csc_server *server);
void csc__accept_close(csc_server *server);

#endif
