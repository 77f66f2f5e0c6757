// SPDX-License-Identifier: Apache-2.0

// What a server consists of, for the files that do something with one. Calls go one way, from the top
// down:
//
//      server.c  settings.c  wait.c        the API of one server
//      statistics.c  group.c               and of several; see group_type.h
//      preface_settings.c
//      loop.c  placing.c  member.c  sharing.c  preface_events.c  limiting.c
//                                          the loop's side, with wait.c the drivers
//      accept.c                            the one actor
//      accept_failure.c                    what a failed attempt does
//      places.c  preface_list.c            a place of a budget; what comes before delivery
//      settle.c  listener.c  notify.c      what the state asks for; events; callbacks
//      pacing.c                            accepting at a rate
//      state.c  group_state.c  group_list.c  descriptor_reserve.c  fork_guard.c
//      pause  admission  pending_queue  mailbox  waker  listening_socket  watchdog  private_fd
//      budget  rate  source_table:         no csc_server
#ifndef CSC_SERVER_TYPE_H
#define CSC_SERVER_TYPE_H

#include "CServerCore.h"
#include "listening_socket.h"
#include "pause.h"
#include "pending_queue.h"
#include "private_fd.h"
#include "watchdog.h"

#include <pthread.h>
#include <stdatomic.h>

struct csc__member;
struct csc__pacing;
struct csc__places;
struct csc__prefaces;
struct event;
struct evconnlistener;

enum {
    DEFAULT_MAX_PENDING = 30,
    DEFAULT_ACCEPT_BATCH = 64,
    DEFAULT_EXPECTED_CONNECTIONS = 65536,
    DEFAULT_DESCRIPTOR_RESERVE = 32,
    DEFAULT_MAX_PREFACES = 1024,
};

enum { CSC__REFUSED = -2 };

typedef struct csc__last_error {
    csc_error error;
    const char *text; // static, or borrowed from the program
    int errnum;       // 0 when no system call failed
} csc__last_error;

struct csc_server {
    // What each connection touches, side by side.
    struct evconnlistener *listener; // NULL when not listening, without a base, or with a budget
    csc_new_connection_fn new_connection;
    void *new_connection_context;
    csc_incoming_connection_fn incoming_connection;
    void *incoming_connection_context;
    csc__pending_queue pending;
    int accept_budget;            // connections until csc__settle() has to compute it again
    csc__pause pause;             // for errors
    uint32_t live;                // in the preface, pending, or delivered and not ended
    uint32_t admission_threshold; // with so many live connections, clients are admitted one by one
    int reserve_watermark;        // from this number on, count the descriptors that are left
    int handed_over_fd;           // descriptor that the incoming callback holds now; -1 for none,
                                  // CSC__REFUSED where it has closed it
    int accepted_this_turn;       // of the loop
    unsigned depth;               // our own frames on the stack that still use the server
    csc_statistics statistics;    // without what is read when asked for

    // Accepting.
    bool listener_enabled;
    bool poll_event_added;
    bool disabled_this_turn;            // of the loop
    bool paused;                        // by the program
    bool finishing;                     // a csc_server_finish() is on the stack
    uint64_t finish_generation;         // the generation that it, or one within it, ends
    struct event_base *base;            // borrowed; NULL: csc_server_wait() only
    struct event *poll_event;           // keeps the socket in the loop's poll set, see accept.c
    struct event *retry;                // timer of a back-off
    struct csc__late_close *late_close; // on a base with a change list; see listener.c
    unsigned wait_depth;                // csc_server_wait() calls on the stack

    // Limits.
    int max_pending;
    int accept_batch;
    int max_connections; // less than 0 for none
    csc_excess excess;
    uint32_t pause_threshold;        // with so many live connections, accepting pauses
    uint32_t admissions_in_progress; // clients that the admission callback decides on

    // Overload.
    csc_overload_policy overload_policy;
    int descriptor_reserve;
    csc__private_fd reserve_fd; // to give up when there are no others; see descriptor_reserve.c
    bool overloaded;            // an error, a shortage or the limit of connections stops accepting
    int64_t overload_start;     // monotonic milliseconds

    // Listening.
    csc__listening_socket socket;
    csc__watchdog watchdog;
    int backlog;
    int expected_descriptors;
    uint64_t generation;         // changes whenever the server starts or stops listening
    uint64_t close_count;        // changes with each csc_server_close()
    bool opening;                // the socket callback runs
    csc_server *next_listening;  // the process's list of listening servers, see fork_guard.c
    unsigned process;            // csc__process() when it was made
    bool inherited_by_fork;      // listened when the process forked, and this is the child
    csc__private_fd placeholder; // has the socket's private number then
    bool freed;                  // csc_server_free() was called; memory goes when depth is 0

    // Several loops; see group_type.h.
    csc_group *group;           // that places this server's connections on its members; or NULL
    struct csc__member *member; // of the group that this server gets its connections from; or NULL
    bool no_room;               // no member takes another connection
    csc_statistics *published;  // for other threads; or NULL
    struct csc__places *places; // of a budget that it shares, see places.h; or NULL
    bool awaits_place;          // one of these: in the queue, and has not looked since
    struct csc__pacing *pacing; // at a rate, see pacing.h; or NULL
    csc_sources *sources;       // retained; where its connections count by source, or NULL
    bool only_counts_sources;   // which is all that is asked of a client before it is queued
    bool only_reads_preface;    // the same, of a PROXY header

    // Connections that have something to send before they are delivered; see preface.h.
    struct csc__prefaces *prefaces; // NULL until that is required
    int max_prefaces;
    csc_prefaces_over_fn prefaces_over;
    void *prefaces_over_context;

    // What other threads may touch.
    _Atomic pthread_t thread;    // the server's, as far as is known
    atomic_uint ended_elsewhere; // csc_server_connection_ended() on another thread
    atomic_bool can_be_alerted;  // the watchdog runs
    atomic_bool wake_requested;
    atomic_bool can_be_poked; // there is an eventfd that ends a poll
    csc__private_fd wake;     // that eventfd, made by the first wait

    // Callbacks of rare events.
    csc_accept_error_fn accept_error;
    void *accept_error_context;
    bool reporting;  // the accept error callback runs
    bool report_due; // it is to run once more, for the error below
    csc__last_error due_error;
    csc_admission_fn admission;
    void *admission_context;
    csc_rejected_fn rejected;
    void *rejected_context;
    csc_socket_fn socket_made;
    void *socket_made_context;

    // The last error.
    csc__last_error last_error;
};

static inline bool csc__server_is_listening(const csc_server *server) {
    return server->socket.descriptor >= 0 && !server->inherited_by_fork;
}

static inline bool csc__is_finishing(const csc_server *server) {
    return server->finishing && server->finish_generation == server->generation;
}

#endif
