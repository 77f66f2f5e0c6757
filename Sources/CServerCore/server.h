// SPDX-License-Identifier: Apache-2.0

// What the files of the server share: the server itself. Calls go one way, from the top down:
//
//      server.c  settings.c  wait.c        the API of one server
//      statistics.c  group.c               and of several; see group.h
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
#ifndef CSC_SERVER_H
#define CSC_SERVER_H

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
    int handed_over_fd;           // descriptor that the incoming callback holds now; -1 for none
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

    // Several loops; see group.h.
    csc_group *group;           // that places this server's connections on its members; or NULL
    struct csc__member *member; // of the group that this server gets its connections from; or NULL
    bool no_room;               // no member takes another connection
    csc_statistics *published;  // for other threads; or NULL
    struct csc__places *places; // of a budget that it shares, see places.h; or NULL
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

// state.c: the end of a server's memory, and its last error.
void csc__server_destroy(csc_server *server);
void csc__fail(csc_server *server, csc_call call, int errnum);
void csc__fail_after_fork(csc_server *server);

// Ends a poll. For any thread, and for signal handlers.
void csc__poke(csc_server *server);

// fork_guard.c: what fork() does to listening servers.

// Another number in each process that forked from this one.
unsigned csc__process(void);

// False when another server already listens on this very descriptor. As long as a server is in the
// list, its descriptors are its own or -1.
bool csc__fork_guard_add(csc_server *server);
void csc__fork_guard_remove(csc_server *server);

// Makes the watchdog of a server look soon. The one call that any thread may make.
void csc__fork_guard_alert(const csc_server *server);

// descriptor_reserve.c: leaving descriptors to the rest of the program.

// True when no number is free below the reserve. Sets the number from which on to count again.
bool csc__descriptors_are_short(csc_server *server);

// Holds a descriptor to give up, or none, as policy and state want it.
void csc__reserve_fd_keep(csc_server *server);
void csc__reserve_fd_give_up(csc_server *server);
void csc__reserve_fd_take(csc_server *server);

// listener.c: the events of a listening server.

typedef struct csc__listener_callbacks {
    void (*accepted)(struct evconnlistener *, int, struct sockaddr *, int, void *);
    void (*failed)(struct evconnlistener *, void *);
    void (*polled)(int, short, void *);
    void (*retry)(int, short, void *);
} csc__listener_callbacks;

// Makes the events and enables the listener; without a base there are none. False with errno, and
// nothing left, when that fails.
bool csc__listener_start(csc_server *server, const csc__listener_callbacks *callbacks);

// False with errno when the loop cannot watch the socket.
bool csc__listener_enable(csc_server *server);
void csc__listener_disable(csc_server *server);

// The loop no longer watches a disabled listener.
void csc__listener_leave_poll_set(csc_server *server);

// Calls `retry` after the back-off, and after this turn of the loop.
void csc__listener_schedule_retry(csc_server *server);
void csc__listener_retry_soon(csc_server *server);

// Frees the events. On a base with a change list the socket's private duplicate goes with them,
// after the next turn of the loop.
void csc__listener_stop(csc_server *server);

// settle.c: what the state asks for.

// Whether the limits let another connection in; csc_server_pause() is none of them.
bool csc__limits_allow(const csc_server *server);

// Whether another connection may be accepted, or received from a mailbox.
bool csc__may_accept(const csc_server *server);

// Enables or disables the listener, and computes its budget. False with errno when the loop cannot
// watch the socket, or there is no memory for the queue: csc__settle() is for that.
bool csc__apply(csc_server *server);

// The same after this turn of the loop.
void csc__settle_soon(csc_server *server);

// Counts the pauses, and their time.
void csc__note_overload(csc_server *server);

// What accepting compares with, so that it asks for nothing where nothing was set.
void csc__set_limits(csc_server *server);

// Connections have ended: on this thread; and those that others have counted.
void csc__end_connections(csc_server *server, uint32_t count);
void csc__collect_ended(csc_server *server);

// A descriptor of the process was closed.
void csc__descriptor_freed(csc_server *server);

// accept.c: the one actor.

// What one attempt to accept came to.
typedef enum csc__outcome {
    CSC__NO_PLACE,    // the budget or the rate has none, which the server waits for now
    CSC__NOBODY,      // there is no client
    CSC__PEER_ERROR,  // this client has gone, others may be there
    CSC__TOOK,        // a connection was queued, or handed over
    CSC__TURNED_AWAY, // a client was rejected
    CSC__PAUSED,      // accepting failed, and pauses
    CSC__STOPPED      // the socket is broken: the server no longer listens
} csc__outcome;

// One attempt: one accept4, with no look at the limits. Its callbacks may close the server, or free
// it: the generation is another then.
csc__outcome csc__step(csc_server *server);

// The same for a connection that came another way. There is room for it in the queue.
csc__outcome csc__step_with(csc_server *server, csc_connection *connection);

// The same for one that has got past its preface, and is live.
csc__outcome csc__step_past_preface(csc_server *server, csc_connection *connection);

// The same for one that libevent accepted.
void csc__on_accept(struct evconnlistener *listener, int descriptor, struct sockaddr *peer,
                    int length, void *context);

// csc__apply(), with a pause where that fails. To be called once after each step, and when the
// program has changed something.
void csc__settle(csc_server *server);

// A place has become free: settles at once where that costs no system call, otherwise after this
// turn of the loop. Many places then cost one system call, not one each.
void csc__settle_for_room(csc_server *server);

// Closes a connection that was handed over and cannot be kept, for lack of memory.
void csc__refuse(csc_server *server, const csc_connection *connection);

// accept_failure.c: what a failed attempt does.

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

// loop.c: the events of a listening server.

// Begins to listen on server->socket. On failure the server does not, and the socket is for the
// caller to close or forget.
bool csc__accept_start(csc_server *server, csc__failure *failure);

// What a wait does in place of the loop: ends a back-off whose time is over, and looks after the
// socket if that is due. False when the server has stopped.
bool csc__tend(csc_server *server, int64_t now);

// Accepts as many as the batch, the limits and the budget allow: for a server with a budget, which
// has no listener of libevent's.
void csc__accept_batch(csc_server *server);

// A wait found no client although the socket was ready. Backs off when that does not end.
void csc__found_nobody(csc_server *server);

// Our frames between these two may outlive csc_server_free(): a callback may call it.
static inline void csc__server_enter(csc_server *server) {
    server->depth++;
}
static inline void csc__server_leave(csc_server *server) {
    if (--server->depth == 0 && server->freed) {
        csc__server_destroy(server);
    }
}

static inline bool csc__server_is_listening(const csc_server *server) {
    return server->socket.descriptor >= 0 && !server->inherited_by_fork;
}

static inline bool csc__is_finishing(const csc_server *server) {
    return server->finishing && server->finish_generation == server->generation;
}

#endif
