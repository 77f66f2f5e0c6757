// Accepting: the one way in for a connection.
//
//      kernel queue --accept4--> take_connection() --> pending queue, or the incoming callback
//                                       \--> new_connection callback
//
// evconnlistener calls accept4 until the kernel's queue is empty or we disable it, so every limit
// is kept by disabling *before* it is crossed, in the callback of the connection that fills it.
// What the listener should be is never remembered in pieces: csc__accept_update() computes it from
// the whole state, together with the room: how many connections may come before it has to be asked
// again.
//
// Disabling and enabling would cost an epoll_ctl each, at every end of a batch. A second event on
// the same socket, the watch, keeps it in the poll set meanwhile, so that both are free; only when
// clients wake the loop by it although nothing may be accepted, it goes too.
//
// Errors of accept have classes (accept_errors.c). A lack of resources leaves the kernel's queue as
// it is, pauses with back-off and resumes by itself (overload.c); a broken listening socket stops
// the server, once.

#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

int64_t csc__monotonic_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Queues the connection or hands it to the incoming callback; false when it was turned away. The
// address goes straight to its place in the queue, where it stays unless the program takes the
// descriptor itself.
static bool take_connection(csc_server *server, int descriptor, const struct sockaddr *peer,
                            socklen_t length) {
    server->statistics.accepted++;
    server->in_batch++;
    server->room--;
    server->peer_error_streak = 0;
    server->retry_delay = 0;
    if (descriptor < server->watched_descriptor) {
        server->in_episode = false;
    }
    if (server->live >= server->ask_at && !csc__admit(server, descriptor, peer, length)) {
        return false;
    }
    server->live++;
    if (server->incoming_connection) {
        csc_connection connection = {.descriptor = descriptor};
        csc_address_from_sockaddr(peer, length, &connection.peer);
        int outer = server->in_flight;
        server->in_flight = descriptor;
        server->incoming_connection(server, &connection, server->incoming_connection_context);
        if (server->in_flight == descriptor) {
            server->statistics.delivered++;
        }
        server->in_flight = outer;
    } else {
        csc_connection *place = csc__pending_push_place(&server->pending);
        place->descriptor = descriptor;
        csc_address_from_sockaddr(peer, length, &place->peer);
    }
    return true;
}

static void tell_of_connection(csc_server *server) {
    if (server->new_connection && !server->freed) {
        server->new_connection(server, server->new_connection_context);
    }
}

bool csc_server_take(csc_server *server, const csc_connection *connection) {
    if (!server || server->freed) {
        return false;
    }
    if (!csc__pending_reserve(&server->pending)) {
        csc_server_set_error(server, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        return false;
    }
    struct sockaddr_storage peer = {0};
    socklen_t length = csc_address_to_sockaddr(&connection->peer, &peer);
    csc__server_enter(server);
    if (take_connection(server, connection->descriptor, (struct sockaddr *)&peer, length)) {
        tell_of_connection(server);
    }
    csc__accept_update(server);
    csc__server_leave(server);
    return true;
}

// Once the program has it, since it may have closed it already.
static void look_at_number(csc_server *server, int descriptor) {
    if (descriptor >= server->watched_descriptor) {
        csc__overload_look(server);
    }
}

static bool below_limit(const csc_server *server) {
    return server->max_pending > 0 &&
           server->pending.count + server->asked < (size_t)server->max_pending;
}

static bool may_accept(const csc_server *server) {
    return !server->paused && !server->paused_by_error && !server->backing_off &&
           below_limit(server) && csc__has_room(server);
}

// How many connections may be taken now, as far as can be told; at least 1 when any may be.
static int find_room(const csc_server *server) {
    if (!may_accept(server)) {
        return 0;
    }
    int room = server->accept_batch - server->in_batch;
    int until_limit = server->max_pending - (int)(server->pending.count + server->asked);
    uint32_t until_wait = server->wait_at - server->live - server->asked;
    room = until_limit < room ? until_limit : room;
    return until_wait < (uint32_t)room ? (int)until_wait : room;
}

static bool arm(csc_server *server) {
    if (!server->watched) {
        server->watched = event_add(server->watch, NULL) == 0;
    }
    server->armed = server->watched && evconnlistener_enable(server->listener) == 0;
    return server->armed;
}

void csc__accept_update(csc_server *server) {
    bool overloaded = server->backing_off || server->paused_by_error || !csc__has_room(server);
    if (overloaded != server->overloaded && csc__server_is_listening(server)) {
        csc__overload_note(server, overloaded);
    }
    if (!server->listener) {
        return;
    }
    int room = find_room(server);
    if (room > 0) {
        if (!csc__pending_reserve(&server->pending) || (!server->armed && !arm(server))) {
            csc__accept_failed(server, ENOMEM); // backs off, and comes here again to disable
            return;
        }
        size_t reserved = server->pending.capacity - server->pending.count;
        server->room = reserved < (size_t)room ? (int)reserved : room;
        return;
    }
    server->room = 0;
    if (server->armed) {
        evconnlistener_disable(server->listener);
        server->armed = false;
        server->spares_watch = true;
    }
    // Not only when the batch has just been used up: it may have been made smaller since.
    if (server->in_batch >= server->accept_batch) {
        csc__accept_update_soon(server);
    }
}

void csc__accept_update_soon(csc_server *server) {
    if (server->watch && !server->armed) {
        event_active(server->watch, EV_TIMEOUT, 0);
    }
}

void csc__accept_has_room(csc_server *server) {
    if (server->watched) {
        csc__accept_update(server);
    } else {
        csc__accept_update_soon(server);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t descriptor,
                      struct sockaddr *peer, int length, void *context) {
    (void)listener;
    csc_server *server = context;
    csc__server_enter(server);
    if (take_connection(server, descriptor, peer, (socklen_t)length)) {
        tell_of_connection(server);
    }
    look_at_number(server, descriptor);
    if (server->room <= 0) {
        csc__accept_update(server);
    }
    csc__server_leave(server);
}

static void on_accept_error(struct evconnlistener *listener, void *context) {
    int errnum = errno; // libevent leaves it here and nowhere else
    (void)listener;
    csc_server *server = context;
    csc__server_enter(server);
    csc__accept_failed(server, errnum);
    csc__server_leave(server);
}

// One accept4 of our own. The connection's errno when there is none, 0 when it was taken, which is
// counted, or turned away.
static int accept_one(csc_server *server, int *taken) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    int descriptor = accept4(server->socket.own, (struct sockaddr *)&peer, &length,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) {
        return errno;
    }
    if (take_connection(server, descriptor, (struct sockaddr *)&peer, length)) {
        ++*taken;
        if (server->armed) {
            csc__accept_update(server); // the callback may run the loop: it must know of this one
        }
        tell_of_connection(server);
    }
    look_at_number(server, descriptor);
    return 0;
}

static bool is_ready(const csc_server *server) {
    struct pollfd entry = {.fd = server->socket.own, .events = POLLIN};
    return poll(&entry, 1, 0) > 0;
}

// An attempt of our own, which sees every errno.
static void accept_visibly(csc_server *server) {
    if (!is_ready(server) || !csc__pending_reserve(&server->pending)) {
        server->peer_error_streak = 0;
        return;
    }
    int taken = 0;
    int errnum = accept_one(server, &taken);
    if (errnum == EAGAIN && is_ready(server)) {
        // No error to tell: others may be faster than we are.
        csc__overload_back_off(server, FIRST_RETRY_MS);
        csc__accept_update(server);
    } else if (errnum != 0) {
        csc__accept_failed(server, errnum);
    }
}

// libevent keeps EAGAIN, EINTR and ECONNABORTED to itself: without an end of them the loop would
// find the socket ready again and again, and accept nothing.
void csc__accept_found_nothing(csc_server *server) {
    server->peer_error_streak++;
    if (server->peer_error_streak >= LONGEST_PEER_ERROR_STREAK) {
        accept_visibly(server);
    }
}

// A new turn of the loop, or activated by csc__accept_update_soon().
static void on_watch(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor;
    csc_server *server = context;
    csc__server_enter(server);
    if (server->in_batch == 0 && server->armed && (events & EV_READ)) {
        csc__accept_found_nothing(server);
    }
    server->in_batch = 0;
    csc__accept_update(server);
    if (!server->armed && server->watched && (events & EV_READ)) {
        // In the turn that disabled the listener it tells nothing new: the program may yet make
        // room.
        if (!server->spares_watch) {
            event_del(server->watch);
            server->watched = false;
        }
        server->spares_watch = false;
    }
    csc__server_leave(server);
}

// The time of a back-off is over, or a descriptor became free.
static void retry(csc_server *server) {
    if (!server->backing_off) {
        return; // ended otherwise since
    }
    if (csc__overload_try_again(server) && may_accept(server)) {
        accept_visibly(server);
    }
    csc__accept_update(server);
}

static void on_retry(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor;
    (void)events;
    csc_server *server = context;
    csc__server_enter(server);
    retry(server);
    csc__server_leave(server);
}

void csc__accept_retry_if_due(csc_server *server, int64_t now) {
    if (server->backing_off && !server->paused_by_error && now >= server->retry_time) {
        retry(server);
    }
}

bool csc__accept_start(csc_server *server) {
    server->in_batch = 0;
    server->peer_error_streak = 0;
    csc__overload_forgive(server);
    if (!server->base) {
        return true;
    }
    errno = ENOMEM; // libevent's allocations do not set it
    server->watch =
        event_new(server->base, server->socket.own, EV_READ | EV_PERSIST, on_watch, server);
    server->retry = event_new(server->base, -1, 0, on_retry, server);
    // Backlog 0 leaves the queue alone. The descriptor stays ours to close.
    server->listener =
        evconnlistener_new(server->base, on_accept, server,
                           LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, server->socket.own);
    bool started = server->watch && server->retry && server->listener;
    if (started) {
        evconnlistener_set_error_cb(server->listener, on_accept_error);
        // Once whatever the limits say: a loop that cannot watch the socket must fail now.
        started = arm(server);
    }
    if (!started) {
        int errnum = errno;
        csc__accept_stop(server);
        errno = errnum;
    }
    return started;
}

void csc__accept_stop(csc_server *server) {
    if (server->listener) {
        // In its own callback libevent puts freeing off until the callback returns. By then the
        // number may be another socket's, which would not be watched.
        evconnlistener_disable(server->listener);
        evconnlistener_free(server->listener);
    }
    if (server->watch) {
        event_free(server->watch);
    }
    if (server->retry) {
        event_free(server->retry);
    }
    server->listener = NULL;
    server->watch = NULL;
    server->retry = NULL;
    server->armed = false;
    server->watched = false;
}

int csc__accept_now(csc_server *server, bool *failed) {
    int attempts = 0;
    int taken = 0;
    uint64_t generation = server->generation;
    *failed = false;
    // A callback may close the server, listen anew or free it; each ends the batch.
    while (attempts < server->accept_batch && generation == server->generation &&
           !server->backing_off && below_limit(server) && csc__has_room(server)) {
        if (!csc__pending_reserve(&server->pending)) {
            *failed = csc__accept_failed(server, ENOMEM);
            break;
        }
        int errnum = accept_one(server, &taken);
        if (errnum == 0) {
            attempts++;
            continue;
        }
        *failed = csc__accept_failed(server, errnum);
        if (*failed || errnum == EAGAIN) {
            break;
        }
    }
    server->in_batch = 0;
    csc__accept_update(server);
    return taken;
}

// How many connections the kernel holds; where it does not tell, how many it may hold.
static uint64_t length_of_queue(const csc_server *server) {
    csc_statistics now;
    csc_server_statistics(server, &now, sizeof now);
    return now.kernel_queue_limit > 0 ? now.kernel_queue : SOMAXCONN;
}

// Counted once and not until the queue is empty: clients may come faster than they are accepted.
void csc__accept_rest(csc_server *server) {
    uint64_t generation = server->generation;
    uint64_t accepted = 0;
    uint64_t queued = length_of_queue(server);
    int taken = 0;
    int errnum = 0;
    server->watched_descriptor = INT_MAX; // the reserve is a limit, too
    while (accepted < queued && errnum != EAGAIN && generation == server->generation &&
           csc__pending_reserve(&server->pending)) {
        errnum = accept_one(server, &taken);
        if (errnum == 0) {
            accepted++;
        } else if (csc__accept_failed(server, errnum)) {
            break;
        }
    }
}
