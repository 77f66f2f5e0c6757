// SPDX-License-Identifier: Apache-2.0

// From the whole state of a server to its listener: whether it is enabled, and its budget, the
// number of connections that may come before that has to be computed again. Nothing is remembered
// in pieces, and nothing here calls the program.

#include "settle.h"

#include "budget.h"
#include "clock.h"
#include "group_state.h"
#include "listener.h"
#include "pacing.h"
#include "pending_queue.h"
#include "places_type.h"
#include "preface.h"
#include "server_type.h"

#include <errno.h>
#include <event2/event.h>

void csc__set_limits(csc_server *server) {
    uint32_t limit = server->max_connections < 0 ? UINT32_MAX : (uint32_t)server->max_connections;
    bool waits = server->excess == CSC_EXCESS_WAIT;
    bool awaits_token = server->pacing && server->pacing->awaits;
    server->pause_threshold = server->awaits_place || awaits_token ? 0 : waits ? limit : UINT32_MAX;
    bool asks = server->admission || csc__preface_is_due(server);
    server->only_counts_sources = server->sources && waits && !asks && !server->incoming_connection;
    server->only_reads_preface = csc__preface_is_due(server) && waits && !server->admission &&
                                 !server->sources && !server->group;
    server->admission_threshold = asks || server->sources ? 0 : waits ? UINT32_MAX : limit;
}

static bool below_connection_limit(const csc_server *server) {
    return server->live + server->admissions_in_progress < server->pause_threshold;
}

bool csc__limits_allow(const csc_server *server) {
    return server->max_pending > 0 && !server->no_room && below_connection_limit(server) &&
           server->pending.count + server->admissions_in_progress < (size_t)server->max_pending;
}

bool csc__may_accept(const csc_server *server) {
    return !server->paused && !server->pause.strict && !server->pause.backing_off &&
           (csc__limits_allow(server) || csc__is_finishing(server));
}

static int least(int64_t one, int64_t other) {
    return (int)(one < other ? one : other);
}

// How many connections may come, as far as can be said now; at least 1 when any may. `tokens`: of a
// rate.
static inline int compute_budget(const csc_server *server, int64_t tokens) {
    int64_t batch = (int64_t)server->accept_batch - server->accepted_this_turn;
    if (batch <= 0 || !csc__may_accept(server)) {
        return 0;
    }
    if (csc__is_finishing(server)) {
        return 1;
    }
    int64_t in_progress = server->admissions_in_progress;
    int64_t until_full = server->max_pending - (int64_t)server->pending.count - in_progress;
    int64_t until_pause = (int64_t)server->pause_threshold - server->live - in_progress;
    return least(least(least(batch, until_full), until_pause), tokens);
}

// Counts the pauses, and their time.
void csc__note_overload(csc_server *server) {
    bool overloaded =
        csc__server_is_listening(server) && server->socket.private_fd >= 0 &&
        (server->pause.backing_off || server->pause.strict || !below_connection_limit(server));
    if (overloaded == server->overloaded) {
        return;
    }
    int64_t now = csc__monotonic_milliseconds();
    if (overloaded) {
        server->statistics.overload_pauses++;
        server->overload_start = now;
        if (server->group) {
            csc__group_await_room(server->group);
        }
    } else {
        server->statistics.overload_milliseconds += (uint64_t)(now - server->overload_start);
    }
    server->overloaded = overloaded;
    csc__group_publish(server);
}

void csc__settle_soon(csc_server *server) {
    if (!server->poll_event) {
        csc__apply(server);
    } else if (!server->listener_enabled && !server->inherited_by_fork) {
        event_active(server->poll_event, EV_TIMEOUT, 0);
    }
}

static inline __attribute__((always_inline)) bool apply(csc_server *server, int64_t tokens) {
    if (server->member) {
        csc__member_settle(server, !server->freed && csc__may_accept(server));
        return true;
    }
    csc__note_overload(server);
    if (server->published) {
        csc__group_publish_flow(server);
    }
    if (!server->poll_event || server->inherited_by_fork) {
        return true;
    }
    int budget = compute_budget(server, tokens);
    server->accept_budget = budget;
    if (budget > 0) {
        if (!csc__pending_reserve(&server->pending)) {
            errno = ENOMEM;
            return false;
        }
        size_t reserved = server->pending.capacity - server->pending.count;
        server->accept_budget = reserved < (size_t)budget ? (int)reserved : budget;
        return server->listener_enabled || csc__listener_enable(server);
    }
    csc__listener_disable(server);
    // Not only when the batch has just been used up: it may have been made smaller since.
    if (server->accepted_this_turn >= server->accept_batch) {
        csc__settle_soon(server);
    }
    return true;
}

static __attribute__((noinline)) bool apply_at_rate(csc_server *server) {
    csc__pace(server);
    csc__set_limits(server);
    bool is_watched = apply(server, server->pacing->available);
    server->pacing->granted = server->accept_budget;
    return is_watched;
}

// False with errno when the loop cannot watch the socket, or there is no memory for the queue.
bool csc__apply(csc_server *server) {
    return server->pacing ? apply_at_rate(server) : apply(server, INT64_MAX);
}

void csc__end_connections(csc_server *server, uint32_t count) {
    uint32_t ended = count < server->live ? count : server->live;
    server->live -= ended;
    if (server->member) {
        csc__member_count_ended(server->member, ended);
    } else if (server->published) {
        csc__group_publish_flow(server);
    }
    if (server->places) {
        csc__budget_give(server->places->budget, ended);
    }
    if (server->overloaded) {
        csc__note_overload(server);
    }
    if (server->pause.backing_off) {
        csc__descriptor_freed(server);
    } else if (!server->listener_enabled) {
        csc__settle_soon(server);
    }
}

void csc__collect_ended(csc_server *server) {
    int64_t ended = 0;
    // In one order with the mailbox's `wake_pending`, which a member has stored before this.
    if (atomic_load(&server->ended_elsewhere) > 0) {
        ended = atomic_exchange(&server->ended_elsewhere, 0);
    }
    if (server->group) {
        ended += csc__group_collect_ended(server->group);
    }
    if (ended > 0) {
        csc__end_connections(server, (uint32_t)ended);
    } else if (ended < 0) {
        server->live += (uint32_t)-ended;
        csc__apply(server); // which disables the listener at most
    }
}

void csc__descriptor_freed(csc_server *server) {
    if (server->pause.backing_off) {
        server->pause.end = 0; // for a wait
        csc__listener_retry_soon(server);
    }
}
