// SPDX-License-Identifier: Apache-2.0

// Connections in the preface: accepted, and not delivered before their peer has sent something, as a
// PROXY header or what a handshake needs.
//
//      accept.c         let in by the real peer's address, live from now on
//          |
//      preface_list.c   begin -> step, step ... -> passed, or ended and counted
//          |            as a list in the order of their deadlines, with one timer for all
//      accept.c         let in by the declared address, delivered
//
// What a protocol does is in its table, csc__preface_protocol: one exists, proxy_receiver.c.
#ifndef CSC_PREFACE_H
#define CSC_PREFACE_H

#include "server_type.h"

typedef enum csc__preface_result {
    CSC__PREFACE_NOTHING, // the peer has sent nothing since the last step
    CSC__PREFACE_MORE,    // it has, and has to send more
    CSC__PREFACE_PASSED,
    // What follows ends a connection.
    CSC__PREFACE_UNTRUSTED,
    CSC__PREFACE_INVALID,
    CSC__PREFACE_CUT_SHORT,
    CSC__PREFACE_TIMED_OUT,
    CSC__PREFACE_DROPPED,
    CSC__PREFACE_SILENT,
    CSC__PREFACE_NO_MEMORY
} csc__preface_result;

// What is wrong with a PROXY header.
typedef struct csc__preface_fault {
    uint32_t error;
    uint32_t offset;
} csc__preface_fault;

typedef struct csc__preface_protocol {
    // Before a byte is read: CSC__PREFACE_MORE where the peer may go on.
    csc__preface_result (*start)(void *settings, const csc_connection *connection);
    // Reads what is there. `*state` is the protocol's until csc__preface_protocol::end(): NULL at
    // first, and as long as the peer has sent nothing.
    csc__preface_result (*step)(void *settings, csc_connection *connection, void **state,
                                csc__preface_fault *fault);
    void (*end)(void *state); // which may be NULL
    void (*free)(void *settings);
} csc__preface_protocol;

struct csc__preface;

typedef struct csc__preface_links {
    struct csc__preface *previous;
    struct csc__preface *next;
} csc__preface_links;

// A list of them, in the order in which they were added.
typedef struct csc__preface_list {
    struct csc__preface *first;
    struct csc__preface *last;
    size_t count;
} csc__preface_list;

// The lists that each is in: that of all, and that of the silent or of those that have spoken.
enum { CSC__IN_ALL, CSC__OF_KIND };

// One connection in the preface; its event follows it in memory, where there is a loop.
typedef struct csc__preface {
    csc__preface_links links[2];
    csc_server *server;
    void *state;
    int64_t started; // monotonic milliseconds
    csc_address peer;
    int descriptor;
    uint8_t in_vain; // steps in a row that it was ready for, and that found nothing
    bool is_ready;   // for a wait: it is to make a step
    bool has_spoken; // its peer has sent something
} csc__preface;

struct pollfd;

struct csc__prefaces {
    const csc__preface_protocol *protocol;
    void *settings;        // owned; the protocol's
    bool is_required;      // of the connections that come from now on
    int timeout;           // milliseconds
    csc__preface_list all; // in the order of their deadlines
    csc__preface_list silent;
    csc__preface_list spoken;
    struct event *timer; // for the first of all; NULL without a loop
    bool timer_runs;
    bool end_due; // one has begun, and the end of all has not been reported since
    void (*readable)(int, short, void *); // of the events; the context is the csc__preface
    struct pollfd *entries;               // of a wait
    size_t entry_capacity;
};

// Whether connections are to get past one. Not those that a member receives: its acceptor's have.
static inline bool csc__preface_is_due(const csc_server *server) {
    return server->prefaces && server->prefaces->is_required && !server->member;
}

#endif
