// SPDX-License-Identifier: Apache-2.0

// The life of a server: made, listening or adopting, closed, freed; its queue.
//
// The server owns its listening descriptor, its pending connections and its events; the event_base
// is borrowed. csc_server_free() in a callback closes at once and leaves the memory to the
// outermost frame.

#include "group.h"
#include "notify.h"
#include "places.h"
#include "preface.h"
#include "probes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

csc_server *csc_server_new(struct event_base *base) {
    csc_server *server = calloc(1, sizeof *server);
    if (!server) {
        return NULL;
    }
    server->base = base;
    server->process = csc__process();
    server->socket = csc__no_listening_socket;
    server->watchdog.timer = CSC__NO_PRIVATE_FD;
    server->placeholder = CSC__NO_PRIVATE_FD;
    server->reserve_fd = CSC__NO_PRIVATE_FD;
    server->wake = CSC__NO_PRIVATE_FD;
    server->thread = pthread_self();
    server->handed_over_fd = -1;
    server->max_pending = DEFAULT_MAX_PENDING;
    server->backlog = INT_MAX;
    server->max_connections = -1;
    server->pause_threshold = UINT32_MAX;
    server->admission_threshold = UINT32_MAX;
    server->reserve_watermark = INT_MAX;
    server->descriptor_reserve = DEFAULT_DESCRIPTOR_RESERVE;
    server->accept_batch = DEFAULT_ACCEPT_BATCH;
    server->max_prefaces = DEFAULT_MAX_PREFACES;
    server->expected_descriptors = DEFAULT_EXPECTED_CONNECTIONS;
    server->last_error = (csc__last_error){.error = CSC_ERROR_UNKNOWN, .text = ""};
    return server;
}

void csc_server_free(csc_server *server) {
    if (!server || server->freed) {
        return;
    }
    csc__server_enter(server);
    server->freed = true;
    csc_server_close(server);
    // In a forked child the epoll is the parent's own, and so are the events in it.
    bool is_inherited = server->process != csc__process();
    if (server->member) {
        csc__member_leave(server, is_inherited);
    } else if (server->group) {
        csc__group_abandon(server, is_inherited);
    }
    csc__server_leave(server);
}

static bool refuse(csc_server *server, const csc__failure *failure) {
    server->socket = csc__no_listening_socket;
    csc__fail(server, failure->call, failure->errnum);
    if (failure->system_errnum != 0) {
        server->last_error.errnum = failure->system_errnum;
    }
    return false;
}

static bool may_start(csc_server *server, const char *text_when_listening) {
    if (!server || server->freed) {
        return false;
    }
    if (server->process != csc__process()) {
        csc__fail_after_fork(server);
        return false;
    }
    if (server->member) {
        csc_server_set_error(
            server, CSC_ERROR_OPERATION,
            "A member of a group gets its connections from the server that accepts");
        return false;
    }
    if (csc__server_is_listening(server) || server->opening) {
        csc_server_set_error(server, CSC_ERROR_OPERATION, text_when_listening);
        return false;
    }
    return true;
}

static int on_socket_made(int descriptor, void *context) {
    csc_server *server = context;
    uint64_t close_count = server->close_count;
    int errnum = csc__notify(server, CSC__SOCKET_MADE, &descriptor);
    // Who closes the server in this callback does not want it to listen.
    return close_count != server->close_count ? ECANCELED : errnum;
}

static bool open_sockets(csc_server *server, const csc_address *address,
                         csc__listening_socket *sockets, size_t count, csc__failure *failure) {
    const csc__opening opening = {
        .backlog = server->backlog,
        .made = server->socket_made ? on_socket_made : NULL,
        .context = server,
    };
    server->opening = true;
    bool opened = csc__listening_sockets_open(sockets, count, address, &opening, failure);
    server->opening = false;
    return opened;
}

static bool start(csc_server *server, const csc_address *address) {
    csc__failure failure;
    csc__listening_socket socket;
    if (!open_sockets(server, address, &socket, 1, &failure)) {
        return refuse(server, &failure);
    }
    server->socket = socket;
    if (!csc__accept_start(server, &failure)) {
        csc__listening_socket_close(&server->socket);
        return refuse(server, &failure);
    }
    csc__settle(server);
    return csc__server_is_listening(server);
}

bool csc_server_listen(csc_server *server, const csc_address *address) {
    if (!may_start(server, "listen() called when already listening")) {
        return false;
    }
    csc__server_enter(server); // the socket callback may free it
    bool listens = start(server, address);
    csc__server_leave(server);
    return listens;
}

static bool open_for_others(csc_server *server, const csc_address *address, int *descriptors,
                            size_t count) {
    csc__failure failure = {.call = CSC_CALL_SOCKET, .errnum = ENOMEM};
    csc__listening_socket *sockets = calloc(count > 0 ? count : 1, sizeof *sockets);
    bool opened = sockets && open_sockets(server, address, sockets, count, &failure);
    for (size_t index = 0; opened && index < count; index++) {
        descriptors[index] = sockets[index].descriptor;
    }
    free(sockets);
    return opened || refuse(server, &failure);
}

bool csc_server_open_sockets(csc_server *server, const csc_address *address, int *descriptors,
                             size_t count) {
    if (!may_start(server, "listen() called when already listening")) {
        return false;
    }
    csc__server_enter(server); // the socket callback may free it
    bool opened = open_for_others(server, address, descriptors, count);
    csc__server_leave(server);
    return opened;
}

bool csc_server_adopt(csc_server *server, int descriptor) {
    csc__failure failure;
    csc__descriptor_flags flags;
    if (!may_start(server, "setSocketDescriptor() called when already listening")) {
        return false;
    }
    // Non-blocking before the first event: libevent's debug mode aborts otherwise.
    if (!csc__listening_socket_inspect(&server->socket, descriptor, &failure) ||
        !csc__listening_socket_take(&server->socket, &flags, &failure)) {
        return refuse(server, &failure);
    }
    if (!csc__accept_start(server, &failure)) {
        csc__listening_socket_give_back(&server->socket, &flags);
        return refuse(server, &failure);
    }
    csc__settle(server);
    return true;
}

void csc_server_close(csc_server *server) {
    if (!server) {
        return;
    }
    server->close_count++;
    server->report_due = false;
    if (server->socket.descriptor >= 0) {
        csc__accept_close(server);
    }
    csc_connection connection;
    while (csc__pending_pop(&server->pending, &connection)) {
        server->statistics.discarded_on_close++;
        if (connection.descriptor >= 0) {
            close(connection.descriptor);
            csc_proxied_free(connection.proxied);
            csc__end_connections(server, 1);
        }
    }
    csc__prefaces_end_all(server, server->process != csc__process());
    if (server->member) {
        csc__member_discard_all(server);
    }
    csc__group_publish(server);
}

int csc_server_release(csc_server *server) {
    if (!server || server->socket.descriptor < 0) {
        return -1;
    }
    CSC__PROBE2(close, server, server->socket.descriptor);
    csc__accept_stop(server);
    server->inherited_by_fork = false;
    int descriptor = csc__listening_socket_forget(&server->socket);
    server->socket = csc__no_listening_socket;
    return descriptor;
}

// How many connections the kernel holds; where it does not say, how many it may hold.
static uint64_t length_of_queue(const csc_server *server) {
    csc_statistics now;
    csc_server_statistics(server, &now, sizeof now);
    return now.accept_queue_limit > 0 ? now.accept_queue : SOMAXCONN;
}

// Counted once and not until the queue is empty: clients may come faster than they are accepted.
static void accept_rest(csc_server *server) {
    uint64_t generation = server->generation;
    uint64_t queued = length_of_queue(server);
    csc__outcome outcome = CSC__TOOK;
    server->reserve_watermark = INT_MAX; // the reserve is a limit, too
    while (queued > 0 && generation == server->generation && outcome <= CSC__TURNED_AWAY &&
           outcome != CSC__NOBODY) {
        outcome = csc__step(server);
        queued -= outcome == CSC__TOOK || outcome == CSC__TURNED_AWAY;
    }
}

// Depth is not for clients to choose: a call within a callback of one leaves the rest to that one.
void csc_server_finish(csc_server *server) {
    if (!csc_server_is_listening(server)) {
        return;
    }
    if (server->member) {
        csc__member_receive_all(server);
        return;
    }
    server->finish_generation = server->generation;
    if (server->finishing) {
        return;
    }
    CSC__PROBE1(finish, server);
    csc__server_enter(server);
    server->finishing = true;
    while (csc__server_is_listening(server) && csc__is_finishing(server)) {
        uint64_t generation = server->generation;
        accept_rest(server);
        // A callback may have closed the server already, and even listened on another socket.
        if (generation == server->generation) {
            csc__accept_close(server);
        }
    }
    server->finishing = false;
    csc__server_leave(server);
}

bool csc_server_is_listening(const csc_server *server) {
    if (server && server->member) {
        return server->process == csc__process() &&
               (atomic_load(&server->member->group->listens) ||
                csc__mailbox_length(&server->member->mailbox) > 0);
    }
    return server && csc__server_is_listening(server);
}

csc_address csc_server_address(const csc_server *server) {
    return server && csc__server_is_listening(server) ? server->socket.address
                                                      : (csc_address){.family = CSC_FAMILY_NONE};
}

uint16_t csc_server_port(const csc_server *server) {
    return csc_server_address(server).port;
}

int csc_server_descriptor(const csc_server *server) {
    return server && csc__server_is_listening(server) ? server->socket.descriptor : -1;
}

bool csc_server_has_pending(const csc_server *server) {
    return server && server->pending.count > 0;
}

bool csc_server_next_pending(csc_server *server, csc_connection *connection) {
    if (!server || !csc__pending_pop(&server->pending, connection)) {
        return false;
    }
    server->statistics.delivered++;
    CSC__PROBE2(deliver, server, connection->descriptor);
    if (!server->listener_enabled) {
        // A member settles at the end of each frame of its own.
        if (!server->member || server->depth == 0) {
            csc__settle_for_room(server);
        }
    } else if (server->published) {
        csc__group_publish(server);
    }
    return true;
}

bool csc_server_add_pending(csc_server *server, const csc_connection *connection) {
    if (!server || server->freed) {
        return false;
    }
    if (!csc__pending_reserve(&server->pending)) {
        csc__fail(server, CSC_CALL_ACCEPT, ENOMEM);
        return false;
    }
    csc_connection *place = csc__pending_push_place(&server->pending);
    place->descriptor = connection->descriptor;
    place->peer = connection->peer;
    place->proxied = connection->proxied;
    if (connection->descriptor >= 0 && connection->descriptor == server->handed_over_fd) {
        server->handed_over_fd = -1; // the incoming callback gives back what it was just handed
    } else {
        server->statistics.added++;
        server->live++;
        if (server->member) {
            csc__member_count_ended(server->member, -1);
        }
        csc__place_force(server);
    }
    csc__settle(server);
    return true;
}

bool csc_server_inject(csc_server *server, const csc_connection *connection) {
    if (!server || server->freed) {
        return false;
    }
    if (!csc__pending_reserve(&server->pending)) {
        csc__fail(server, CSC_CALL_ACCEPT, ENOMEM);
        return false;
    }
    csc__server_enter(server);
    if (server->member) {
        csc__member_count_others(server->member, 1, 1);
    }
    CSC__PROBE3(accept, server, connection->descriptor, NULL);
    csc__place_force(server);
    csc__step_with(server, connection);
    csc__settle(server);
    csc__server_leave(server);
    return true;
}

void csc_server_pause(csc_server *server) {
    if (server) {
        CSC__PROBE3(pause, server, 0, -1);
        server->paused = true;
        csc__settle(server);
    }
}

void csc_server_resume(csc_server *server) {
    if (server) {
        CSC__PROBE1(resume, server);
        server->paused = false;
        csc__pause_resume(&server->pause, server->reporting);
        if (server->pause.backing_off) {
            csc__listener_schedule_retry(server); // strict mode had none
        }
        csc__settle(server);
    }
}

static bool is_ours(const csc_server *server) {
    return pthread_equal(atomic_load_explicit(&server->thread, memory_order_relaxed),
                         pthread_self());
}

void csc_server_wake(csc_server *server) {
    if (server && server->process == csc__process()) {
        atomic_store(&server->wake_requested, true);
        csc__poke(server);
    }
}

void csc_server_connection_ended(csc_server *server) {
    if (!server) {
        return;
    }
    if (is_ours(server)) {
        csc__end_connections(server, 1);
    } else if (atomic_fetch_add(&server->ended_elsewhere, 1) == 0) {
        csc__fork_guard_alert(server);
        csc__poke(server);
        if (server->member) {
            csc__mailbox_wake(&server->member->mailbox);
        }
    }
}

bool csc_server_descriptor_freed(csc_server *server) {
    if (!server) {
        return false;
    }
    csc__descriptor_freed(server);
    return server->pause.reported;
}
