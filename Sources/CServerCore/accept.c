// SPDX-License-Identifier: Apache-2.0

// Accepting: the one way in for a connection, and the one actor of a server.
//
//      kernel queue --accept4--> step --> take() --> pending queue, or the incoming callback
//                                  |         \--> new_connection callback
//                                  \--> accept_failure.c --> a pause, or the end
//
// A step is one attempt: libevent's, which arrives in csc__on_accept(), or our own,
// csc__step(). What it changes takes effect in csc__settle(), once after each step: it computes
// from the whole state whether the listener is to be enabled, and the budget, the number of
// connections that may come before that has to be computed again. libevent calls accept4 until the
// kernel's queue is empty or the listener is disabled, so every limit is kept by disabling it in
// the callback of the connection that fills it.
//
// What to do is decided elsewhere: after an error by pause.c and accept_failure.c, for a client by
// admission.c.

#include "accept.h"

#include "accept_failure.h"
#include "admission.h"
#include "clock.h"
#include "descriptor_reserve.h"
#include "group_state.h"
#include "notify.h"
#include "outcome.h"
#include "pacing.h"
#include "pause.h"
#include "pending_queue.h"
#include "places.h"
#include "preface.h"
#include "preface_list.h"
#include "private_fd.h"
#include "probes.h"
#include "server_type.h"
#include "settle.h"
#include "source_limits.h"
#include "source_table.h"
#include "state.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void csc__settle(csc_server *server) {
    if (!csc__apply(server)) {
        int errnum = errno;
        // Whatever the loop says, the socket is not to blame.
        csc__verdict verdict =
            csc__pause_judge(&server->pause, ENOMEM, server->overload_policy, true);
        server->statistics.resource_errors++;
        csc__server_enter(server);
        csc__pause_for(server, &verdict, CSC_CALL_WATCH, errnum);
        csc__server_leave(server);
    }
}

void csc__settle_for_room(csc_server *server) {
    if (server->poll_event_added) {
        csc__settle(server);
    } else {
        csc__settle_soon(server);
        if (server->published) {
            csc__group_publish_flow(server);
        }
    }
}

/* ---------------------------------------------------------------------------------------------- */
// A client is there

static void reject(csc_server *server, const csc_connection *connection,
                   csc_rejection_reason reason, bool reset) {
    csc_rejection rejection = {.peer = connection->peer, .reason = reason};
    if (server->rejected && !server->freed) {
        rejection.local = csc__local_address(connection->descriptor);
    }
    CSC__PROBE3(reject, server, connection->descriptor, reason);
    csc__close_rejected(connection->descriptor, reset);
    csc_proxied_free(connection->proxied);
    csc__source_end(server, connection);
    switch (reason) {
    case CSC_REJECTED_BY_ADMISSION:
        server->statistics.rejected_by_admission++;
        break;
    case CSC_REJECTED_BY_LIMIT:
        server->statistics.rejected_by_limit++;
        break;
    case CSC_REJECTED_BY_SOURCE_LIMIT:
        server->statistics.rejected_by_source_limit++;
        break;
    case CSC_REJECTED_BY_SOURCE_RATE:
        server->statistics.rejected_by_source_rate++;
        break;
    default:
        server->statistics.shed++;
        break;
    }
    csc__group_publish(server);
    csc__notify(server, CSC__REJECTION, &rejection);
}

void csc__refuse(csc_server *server, const csc_connection *connection) {
    server->live--;
    reject(server, connection, CSC_REJECTED_BY_OVERLOAD, false);
}

static csc__admission_verdict ask(csc_server *server, const csc_address *peer) {
    uint64_t close_count = server->close_count;
    server->admissions_in_progress++;
    if (server->listener_enabled) {
        csc__settle(server); // the callback may run the loop
    }
    csc_admission answer = (csc_admission)csc__notify(server, CSC__ADMISSION, peer);
    server->admissions_in_progress--;
    bool closed = close_count != server->close_count;
    bool has_memory = answer == CSC_ADMIT && !closed && csc__pending_reserve(&server->pending);
    return csc__admission_by_answer(answer, closed, has_memory);
}

static void turn_away(csc_server *server, const csc_connection *connection,
                      const csc__admission_verdict *verdict) {
    if (verdict->entry == CSC__REJECT) {
        reject(server, connection, verdict->reason, verdict->reset);
    } else {
        server->statistics.discarded_on_close++;
        close(connection->descriptor);
        csc_proxied_free(connection->proxied);
        csc__source_end(server, connection);
        csc__group_publish(server); // what close published was before this
    }
}

// Where it comes from, which may have too much already.
static inline csc__admission_verdict count_source(csc_server *server, csc_connection *connection) {
    csc__source_answer answer = csc__sources_take(server->sources, &connection->peer,
                                                  csc__is_finishing(server), &connection->source);
    csc__admission_verdict verdict = {.entry = CSC__LET_IN};
    if (answer >= CSC__SOURCE_UNCOUNTED) {
        server->statistics.uncounted_sources += answer == CSC__SOURCE_UNCOUNTED;
        csc__group_publish(server);
        verdict = csc__admission_by_source(answer, csc__sources_reset(server->sources));
    }
    return verdict;
}

// False when the connection was closed: its client was rejected, or the server closed meanwhile.
static bool admit(csc_server *server, csc_connection *connection) {
    if (server->group) {
        csc__collect_ended(server); // places on other loops that have become free
    }
    const csc__admission_limits limits = {server->max_connections, server->excess,
                                          csc__is_finishing(server)};
    csc__admission_verdict verdict = csc__admission_by_limit(&limits, server->live);
    if (verdict.entry == CSC__LET_IN && server->sources && !csc__preface_is_due(server)) {
        verdict = count_source(server, connection);
    }
    if (verdict.entry == CSC__LET_IN && server->admission) {
        verdict = ask(server, &connection->peer);
    }
    if (verdict.entry != CSC__LET_IN) {
        csc__place_give(server); // before a callback may give the server another budget
        turn_away(server, connection, &verdict);
    }
    if (verdict.entry != CSC__LET_IN && server->member) {
        csc__member_count_ended(server->member, 1);
        csc__group_publish(server);
    }
    return verdict.entry == CSC__LET_IN;
}

// Returns what is handed over then: its descriptor, unless the callback has given it back or a group
// has placed or refused it.
static inline __attribute__((always_inline)) int hand_over(csc_server *server,
                                                           const csc_connection *connection) {
    int outer = server->handed_over_fd;
    server->handed_over_fd = connection->descriptor;
    csc__notify(server, CSC__INCOMING_CONNECTION, connection);
    int handed_over = server->handed_over_fd;
    server->handed_over_fd = outer;
    return handed_over;
}

// Queues a live connection or hands it over. False when a group has no member for it.
static inline __attribute__((always_inline)) bool enter(csc_server *server,
                                                        const csc_connection *connection) {
    if (server->incoming_connection) {
        int handed_over = hand_over(server, connection);
        if (handed_over != connection->descriptor) {
            return handed_over != CSC__REFUSED;
        }
        server->statistics.delivered++;
        CSC__PROBE2(deliver, server, connection->descriptor);
    } else {
        csc_connection *place = csc__pending_push_place(&server->pending);
        *place = *connection;
    }
    return true;
}

// The client that a proxy has named is asked about as well, and it is the one that counts.
static bool take_past_preface(csc_server *server, csc_connection *connection) {
    bool is_named =
        connection->proxied && connection->proxied->header.source.family != CSC_FAMILY_NONE;
    if (!(is_named && (server->sources || server->admission)) &&
        csc__pending_reserve(&server->pending)) {
        return enter(server, connection);
    }
    csc__admission_verdict verdict = {.entry = CSC__LET_IN};
    if (server->sources && is_named) {
        verdict = count_source(server, connection);
    }
    if (verdict.entry == CSC__LET_IN) {
        verdict = server->admission && is_named
                      ? ask(server, &connection->peer)
                      : csc__admission_by_answer(CSC_ADMIT, false,
                                                 csc__pending_reserve(&server->pending));
    }
    if (verdict.entry == CSC__LET_IN) {
        return enter(server, connection);
    }
    csc__end_connections(server, 1);
    turn_away(server, connection, &verdict);
    return false;
}

static __attribute__((noinline)) bool take_by_preface(csc_server *server,
                                                      const csc_connection *accepted) {
    csc_connection connection = *accepted;
    // The callback may have required the header just now; the client that it names is to count.
    csc__source_end(server, &connection);
    connection.source = 0;
    csc_proxied_free(connection.proxied); // of one that was injected
    connection.proxied = NULL;
    return csc__preface_begin(server, &connection) && take_past_preface(server, &connection);
}

// Lets the connection in; false when it was closed instead, or is in the preface. As a call it would
// cost each connection that comes from another thread 30 instructions more.
static inline __attribute__((always_inline)) bool take(csc_server *server,
                                                       csc_connection *connection) {
    server->statistics.accepted++;
    if (server->live >= server->admission_threshold) {
        if (!admit(server, connection)) {
            return false;
        }
        if (csc__preface_is_due(server)) {
            return take_by_preface(server, connection);
        }
    }
    server->live++;
    return enter(server, connection);
}

// On its own, so that the connections that are queued need no room for this on the stack.
static __attribute__((noinline)) bool take_asking(csc_server *server, int descriptor,
                                                  const struct sockaddr *peer, socklen_t length) {
    csc_connection connection = {.descriptor = descriptor};
    csc_address_from_sockaddr(peer, length, &connection.peer);
    return take(server, &connection);
}

// The peer is that in its place of the queue, which it does not have yet.
static __attribute__((noinline)) bool take_from(csc_server *server, int descriptor,
                                                const csc_connection *place) {
    csc_connection connection = {.descriptor = descriptor, .peer = place->peer};
    return take(server, &connection);
}

// Where nothing but its source limits a client, it goes straight to its place in the queue, too.
static __attribute__((noinline)) bool take_counting(csc_server *server, int descriptor,
                                                    const struct sockaddr *peer, socklen_t length) {
    csc_connection *place = csc__pending_next_place(&server->pending);
    csc_address_from_sockaddr(peer, length, &place->peer);
    if (!csc__sources_count(server->sources, place)) {
        return take_from(server, descriptor, place);
    }
    server->statistics.accepted++;
    server->live++;
    server->pending.count++;
    place->descriptor = descriptor;
    return true;
}

// Where a PROXY header is all that keeps a client from its place.
static __attribute__((noinline)) bool take_reading(csc_server *server, int descriptor,
                                                   const struct sockaddr *peer, socklen_t length) {
    csc_connection connection = {.descriptor = descriptor};
    csc_address_from_sockaddr(peer, length, &connection.peer);
    server->statistics.accepted++;
    return csc__preface_begin(server, &connection) && take_past_preface(server, &connection);
}

static __attribute__((noinline)) bool take_slowly(csc_server *server, int descriptor,
                                                  const struct sockaddr *peer, socklen_t length) {
    if (server->only_counts_sources) {
        return take_counting(server, descriptor, peer, length);
    }
    return server->only_reads_preface ? take_reading(server, descriptor, peer, length)
                                      : take_asking(server, descriptor, peer, length);
}

// The same for a connection that was just accepted. Without a limit or a callback to ask, the address
// goes straight to its place in the queue.
static inline bool take_accepted(csc_server *server, int descriptor, const struct sockaddr *peer,
                                 socklen_t length) {
    if (server->live >= server->admission_threshold || server->incoming_connection) {
        return take_slowly(server, descriptor, peer, length);
    }
    server->statistics.accepted++;
    server->live++;
    csc_connection *place = csc__pending_push_place(&server->pending);
    place->descriptor = descriptor;
    csc_address_from_sockaddr(peer, length, &place->peer);
    return true;
}

// After the callbacks of a connection whose number is not below the watermark: the program may have
// closed it already. Pauses if others would get too few descriptors. If not, an episode ends here;
// it goes on where each connection fills the process again.
static void check_reserve(csc_server *server) {
    if (!csc__server_is_listening(server) || csc__is_finishing(server)) {
        return;
    }
    if (csc__descriptors_are_short(server)) {
        csc__verdict verdict = csc__pause_judge_shortage(&server->pause, server->overload_policy);
        server->statistics.resource_errors++;
        csc__pause_for(server, &verdict, CSC_CALL_ACCEPT, EMFILE);
    } else {
        server->pause.reported = false;
    }
}

static inline void accepting_succeeded(csc_server *server, int descriptor) {
    server->pause.delay = 0;
    server->pause.fruitless = 0;
    server->pause.resumed = false;
    if (descriptor < server->reserve_watermark) {
        server->pause.reported = false;
    }
}

/* ---------------------------------------------------------------------------------------------- */
// Steps

static inline csc__outcome announce(csc_server *server, bool taken, bool is_listeners) {
    if (!taken) {
        return CSC__TURNED_AWAY;
    }
    if (!is_listeners && server->listener_enabled) {
        csc__settle(server); // the callback may run the loop
    }
    csc__notify(server, CSC__NEW_CONNECTION, NULL);
    return CSC__TOOK;
}

csc__outcome csc__step_with(csc_server *server, csc_connection *connection) {
    return announce(server, take(server, connection), false);
}

csc__outcome csc__step_past_preface(csc_server *server, csc_connection *connection) {
    return announce(server, take_past_preface(server, connection), false);
}

// There is no place for it, and clients do not wait for one.
static bool reject_beyond_budget(csc_server *server, int descriptor, const struct sockaddr *peer,
                                 socklen_t length) {
    csc_connection connection = {.descriptor = descriptor};
    csc_address_from_sockaddr(peer, length, &connection.peer);
    server->statistics.accepted++;
    reject(server, &connection, CSC_REJECTED_BY_LIMIT, csc__place_resets(server));
    return false;
}

static void give_token(csc_server *server, bool is_paced) {
    if (is_paced) {
        csc__pace_give(server);
    }
}

csc__outcome csc__step(csc_server *server) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    bool is_paced = server->pacing && !csc__is_finishing(server);
    if (is_paced && !csc__pace_take(server)) {
        csc__set_limits(server);
        return CSC__NO_PLACE;
    }
    csc__place place = csc__place_take(server);
    if (place == CSC__PLACE_AWAITED) {
        give_token(server, is_paced);
        return CSC__NO_PLACE;
    }
    errno = ENOMEM;
    int descriptor = !csc__pending_reserve(&server->pending)
                         ? -1
                         : accept4(server->socket.private_fd, (struct sockaddr *)&peer, &length,
                                   SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) {
        int errnum = errno;
        if (place == CSC__PLACE_TAKEN) {
            csc__place_give(server);
        }
        give_token(server, is_paced);
        return csc__accept_failed(server, errnum);
    }
    descriptor = csc__above_standard(descriptor);
    accepting_succeeded(server, descriptor);
    CSC__PROBE3(accept, server, descriptor, &peer);
    const struct sockaddr *name = (const struct sockaddr *)&peer;
    bool taken = place == CSC__PLACE_REFUSED
                     ? reject_beyond_budget(server, descriptor, name, length)
                     : take_accepted(server, descriptor, name, length);
    csc__outcome outcome = announce(server, taken, false);
    if (descriptor >= server->reserve_watermark) {
        check_reserve(server);
    }
    return outcome;
}

// The listener comes before the poll event. Cold, so that the other connections of the turn need no
// registers for this.
static __attribute__((noinline, cold)) void begin_turn(csc_server *server) {
    csc__server_note_thread(server);
}

void csc__on_accept(struct evconnlistener *listener, int descriptor, struct sockaddr *peer,
                    int length, void *context) {
    (void)listener;
    csc_server *server = context;
    csc__server_enter(server);
    if (server->accepted_this_turn++ == 0) {
        begin_turn(server);
    }
    server->accept_budget--;
    descriptor = csc__above_standard(descriptor);
    accepting_succeeded(server, descriptor);
    CSC__PROBE3(accept, server, descriptor, peer);
    announce(server, take_accepted(server, descriptor, peer, (socklen_t)length), true);
    if (descriptor >= server->reserve_watermark) {
        check_reserve(server);
    }
    if (server->accept_budget <= 0) {
        csc__settle(server);
    }
    csc__server_leave(server);
}
