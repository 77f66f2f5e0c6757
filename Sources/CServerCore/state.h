// SPDX-License-Identifier: Apache-2.0

// The end of a server's memory, and its last error.
#ifndef CSC_STATE_H
#define CSC_STATE_H

#include "server_type.h"

void csc__server_destroy(csc_server *server);
void csc__fail(csc_server *server, csc_call call, int errnum);
void csc__fail_after_fork(csc_server *server);

// Ends a poll. For any thread, and for signal handlers.
void csc__poke(csc_server *server);

// The server is this thread's from now on: ends of connections that it reports count at once.
static inline void csc__server_note_thread(csc_server *server) {
    atomic_store_explicit(&server->thread, pthread_self(), memory_order_relaxed);
}

// Our frames between these two may outlive csc_server_free(): a callback may call it.
static inline void csc__server_enter(csc_server *server) {
    server->depth++;
}
static inline void csc__server_enter_here(csc_server *server) {
    csc__server_enter(server);
    csc__server_note_thread(server);
}
static inline void csc__server_leave(csc_server *server) {
    if (--server->depth == 0 && server->freed) {
        csc__server_destroy(server);
    }
}

#endif
