// SPDX-License-Identifier: Apache-2.0

// The life of a server: made, closed, freed; its queue. How it begins to listen: listening.c.
//
// The server owns its listening descriptor, its pending connections and its events; the event_base
// is borrowed. csc_server_free() in a callback closes at once and leaves the memory to the
// outermost frame.

#include "accept.h"
#include "accept_failure.h"
#include "fork_guard.h"
#include "group_state.h"
#include "group_type.h"
#include "listener.h"
#include "listening_socket.h"
#include "mailbox.h"
#include "member.h"
#include "outcome.h"
#include "pause.h"
#include "pending_queue.h"
#include "places.h"
#include "preface_list.h"
#include "private_fd.h"
#include "probes.h"
#include "server_type.h"
#include "settle.h"
#include "source_limits.h"
#include "source_table.h"
#include "state.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
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
            csc__source_end(server, &connection);
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

// How many connections a queue holds at most: one more than its length, which the system limits.
static uint64_t longest_queue(void) {
    uint64_t limit = 0;
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
    bool is_known = file && fscanf(file, "%" SCNu64, &limit) == 1;
    if (file) {
        fclose(file);
    }
    return (is_known && limit > SOMAXCONN ? limit : SOMAXCONN) + 1;
}

// How many connections the kernel holds; where it does not say, how many it may hold.
static uint64_t length_of_queue(const csc_server *server) {
    csc_statistics now;
    csc_server_statistics(server, &now, sizeof now);
    return now.accept_queue_limit > 0 ? now.accept_queue : longest_queue();
}

// Counted once and not until the queue is empty: clients may come faster than they are accepted,
// but for those of a file that is gone.
static void accept_rest(csc_server *server, bool file_is_gone) {
    uint64_t generation = server->generation;
    uint64_t queued = file_is_gone ? UINT64_MAX : length_of_queue(server);
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
    csc__server_enter_here(server);
    server->finishing = true;
    while (csc__server_is_listening(server) && csc__is_finishing(server)) {
        uint64_t generation = server->generation;
        // Whom accepting would miss, it would reset.
        bool file_is_gone = csc__listening_socket_remove_file(&server->socket);
        accept_rest(server, file_is_gone);
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
    *place = *connection;
    if (!csc__sources_of(server)) {
        place->source = 0; // later pushes do not write it
    }
    if (connection->descriptor >= 0 && connection->descriptor == server->handed_over_fd) {
        server->handed_over_fd = -1; // the incoming callback gives back what it was just handed
    } else {
        place->source = 0; // what it counted as has ended
        csc__server_note_thread(server);
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
    csc__server_enter_here(server);
    if (server->member) {
        csc__member_count_others(server->member, 1, 1);
    }
    CSC__PROBE3(accept, server, connection->descriptor, NULL);
    csc__place_force(server);
    csc_connection injected = *connection;
    injected.source = 0;
    csc__step_with(server, &injected);
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

void csc_server_connection_ended_from(csc_server *server, uint32_t source) {
    if (!server) {
        return;
    }
    // First: a server whose connections have all ended may get another table.
    if (source > 0 && csc__sources_of(server)) {
        csc__sources_give(csc__sources_of(server), source);
    }
    csc_server_connection_ended(server);
}

bool csc_server_descriptor_freed(csc_server *server) {
    if (!server) {
        return false;
    }
    csc__descriptor_freed(server);
    return server->pause.reported;
}
