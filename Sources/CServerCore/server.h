// What the files of the server share: the server itself.
#ifndef CSC_SERVER_H
#define CSC_SERVER_H

#include "CServerCore.h"
#include "listening_socket.h"
#include "pending_queue.h"

struct event;
struct evconnlistener;

enum {
    DEFAULT_MAX_PENDING = 30,
    DEFAULT_ACCEPT_BATCH = 64,
    DEFAULT_EXPECTED_CONNECTIONS = 65536,
    DEFAULT_DESCRIPTOR_RESERVE = 32,
    FIRST_RETRY_MS = 5, // of a back-off
    LONGEST_PEER_ERROR_STREAK = 64,
};

struct csc_server {
    // What each connection touches, side by side.
    struct evconnlistener *listener; // NULL when not listening, or without a base
    csc_new_connection_fn new_connection;
    void *new_connection_context;
    csc_incoming_connection_fn incoming_connection;
    void *incoming_connection_context;
    csc__pending_queue pending;
    int room;              // connections that may come until csc__accept_update() has to look again
    int in_batch;          // accepted in this turn of the loop
    int peer_error_streak; // attempts in a row that only a peer's error came of, or nothing
    int retry_delay;       // milliseconds of the present back-off; 0 when there is none
    // Limits as the accept path looks at them: numbers that are never reached where there is none.
    uint32_t live;          // pending, or delivered and not told to have ended
    uint32_t ask_at;        // so many live connections: csc__admit() is asked
    int watched_descriptor; // a number from this on: look how many are left; see descriptors.c
    int in_flight;          // descriptor that the incoming callback holds now; -1 for none
    unsigned depth;         // our own frames on the stack that still use the server

    bool armed;        // the listener is enabled
    bool watched;      // the watch is added
    bool spares_watch; // the listener was disabled in this turn of the loop
    bool paused;
    bool paused_by_error; // strict mode: until resume, or until listening starts anew
    bool backing_off;
    bool in_episode; // an accept error was reported; nothing accepted, no resume since
    bool overloaded; // an error, a lack of resources or the limit of connections stops accepting
    bool left_in_parent; // listened when the process forked, and this is the child
    bool freed;          // csc_server_free() was called; memory goes when depth is 0

    csc_statistics statistics; // without what is read when asked for

    struct event_base *base; // borrowed; NULL: csc_server_wait() only
    struct event *watch;     // keeps the socket in the loop's poll set, see accept.c
    struct event *retry;     // timer of a back-off
    struct event *check;     // looks after the listening socket when check_timer is due
    csc__listening_socket socket;
    csc_server *next_listening; // the process's list of listening servers, see listening_servers.c

    int max_pending;
    int backlog;
    int accept_batch;
    int expected_connections;
    int max_connections; // less than 0 for none
    csc_excess excess;
    uint32_t wait_at; // so many live connections: accepting waits
    uint32_t asked;   // connections that csc__admit() has in hand
    int descriptor_reserve;
    csc_overload_policy overload_policy;
    int spare; // owned; descriptor to give up when there are no others; -1 for none

    int64_t retry_time;  // monotonic milliseconds at which the back-off ends
    int check_timer;     // timerfd; -1 when not listening, or without a base
    int64_t check_time;  // monotonic milliseconds at which a wait looks after the socket
    unsigned waits;      // csc_server_wait() calls on the stack
    uint64_t generation; // changes whenever the server starts or stops listening
    uint64_t closings;   // changes with each csc_server_close()
    int64_t pause_time;  // monotonic milliseconds at which the present overload began
    unsigned process;    // csc__process() when it was made

    csc_accept_error_fn accept_error;
    void *accept_error_context;
    csc_admission_fn admission;
    void *admission_context;
    csc_rejected_fn rejected;
    void *rejected_context;

    csc_error error;
    const char *error_text;
};

void csc__server_end(csc_server *server);

// Our frames between these two may outlive csc_server_free(): a callback may call it.
static inline void csc__server_enter(csc_server *server) {
    server->depth++;
}
static inline void csc__server_leave(csc_server *server) {
    if (--server->depth == 0 && server->freed) {
        csc__server_end(server);
    }
}

static inline bool csc__server_is_listening(const csc_server *server) {
    return server->socket.descriptor >= 0 && !server->left_in_parent;
}

static inline bool csc__has_room(const csc_server *server) {
    return server->live + server->asked < server->wait_at;
}

// A connection is no longer live. More may be told than there were: the program does that.
static inline void csc__live_ended(csc_server *server) {
    if (server->live > 0) {
        server->live--;
    }
}

// Tells the program of the last error.
void csc__report_error(csc_server *server);

void csc__server_fail(csc_server *server, csc_call call, int errnum);

// Ends listening but keeps what is pending.
void csc__server_stop_listening(csc_server *server);

// Sets the error of what a forked child tries.
void csc__server_refuse_in_child(csc_server *server);

// listening_servers.c: what fork() must know.

// Another number in each process that forked from this one.
unsigned csc__process(void);

// False when another server already listens on this very descriptor. As long as a server is in the
// list, its descriptors are its own or -1.
bool csc__listening_servers_add(csc_server *server);
void csc__listening_servers_remove(csc_server *server);

// accept.c: the one way in for a connection.

// Watches the listening socket; without a base does nothing. False with errno when that fails.
bool csc__accept_start(csc_server *server);
void csc__accept_stop(csc_server *server);

// Enables or disables the listener, whichever its state and limits ask for, and finds its room.
void csc__accept_update(csc_server *server);

// Does so after this turn of the loop: many taken connections then cost one system call, not one
// each.
void csc__accept_update_soon(csc_server *server);

// A pending connection was taken: does one of the two, at once where that costs no system call.
void csc__accept_has_room(csc_server *server);

// Accepts without the loop until the kernel's queue is empty, a limit is met or an error occurs.
// Returns how many; *failed tells whether an error ended it that pauses accepting or stops the
// server.
int csc__accept_now(csc_server *server, bool *failed);

// Accepts what the kernel holds at this moment, without limits, or until an error occurs.
void csc__accept_rest(csc_server *server);

// The socket was ready, and yet there was nothing to accept. Backs off when that does not end.
void csc__accept_found_nothing(csc_server *server);

// Ends a back-off whose time has come, if its timer did not.
void csc__accept_retry_if_due(csc_server *server, int64_t now);

// accept_errors.c: what accept can fail with.

// Handles an errno of accept by its class. True when accepting paused or the server stopped.
bool csc__accept_failed(csc_server *server, int errnum);

// Asks the kernel. False as well when it cannot be asked.
bool csc__accept_still_listens(const csc_server *server);

// overload.c: what errors and a lack of resources do.

// Accepting failed, or would leave others too little: pauses, sheds, tells once an episode.
void csc__overload(csc_server *server, int errnum, int first_delay);

// Nothing is tried again before a delay has passed, which doubles each time in a row.
void csc__overload_back_off(csc_server *server, int first_delay);

// A connection has got the watched number, or one beyond it: pauses if others would get too little.
// If not, an episode ends here; it goes on where each connection fills the process again.
void csc__overload_look(csc_server *server);

// Ends a back-off, or begins the next where others would still get too little: then false.
bool csc__overload_try_again(csc_server *server);

// Ends a back-off, a pause of strict mode, and the episode.
void csc__overload_forgive(csc_server *server);

// Counts a pause that begins or ends.
void csc__overload_note(csc_server *server, bool overloaded);

// Holds a descriptor to give up, or none, as policy and state want it.
void csc__overload_keep_spare(csc_server *server);

// admission.c: turning connections away.

// Asks the limit, and the callback. False when the connection was turned away, or its server was
// closed meanwhile; the descriptor is closed then.
bool csc__admit(csc_server *server, int descriptor, const struct sockaddr *peer, size_t length);

// Closes a connection and counts it; fills what the callback is to be told.
void csc__turn_away(csc_server *server, const csc_connection *connection, bool reset,
                    csc_rejection *rejection);
void csc__tell_rejected(csc_server *server, const csc_rejection *rejection);

// descriptors.c: leaving descriptors to the rest of the program.

// True when no number is free below the reserve. Sets the number from which on to look again.
bool csc__descriptors_are_short(csc_server *server);

// listener_check.c: noticing that somebody else broke the listening socket.

// Looks every second, on the loop; without a base does nothing. False with errno when that fails.
bool csc__listener_check_start(csc_server *server);
void csc__listener_check_stop(csc_server *server);

// Looks now. True when the socket is broken: the server has stopped then, with an error.
bool csc__listener_check(csc_server *server, int64_t now);

int64_t csc__monotonic_milliseconds(void);

#endif
