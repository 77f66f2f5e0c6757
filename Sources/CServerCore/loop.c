// SPDX-License-Identifier: Apache-2.0

// The loop's side of accepting: the events of a listening server, and what each of them does.
//
// On a turn of the loop with clients the poll event comes once, and the listener once for each of
// them. libevent keeps EAGAIN, EINTR and ECONNABORTED to itself: without a count of the turns that
// brought no client, the loop would find the socket ready again and again, and accept nothing.

#include "loop.h"

#include "accept.h"
#include "accept_failure.h"
#include "budget.h"
#include "clock.h"
#include "descriptor_reserve.h"
#include "fork_guard.h"
#include "group_state.h"
#include "listener.h"
#include "listening_socket.h"
#include "notify.h"
#include "outcome.h"
#include "pacing.h"
#include "pause.h"
#include "places.h"
#include "placing.h"
#include "preface_list.h"
#include "probes.h"
#include "server_type.h"
#include "settle.h"
#include "sharing.h"
#include "state.h"
#include "watchdog.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>

// The loop of a forked child runs its parent's server: the program hears of it once.
static bool was_abandoned(csc_server *server) {
    if (!server->inherited_by_fork) {
        return false;
    }
    csc__fail_after_fork(server);
    csc__accept_close(server);
    csc__notify(server, CSC__ACCEPT_ERROR, NULL);
    return true;
}

static bool is_ready(const csc_server *server) {
    struct pollfd entry = {.fd = server->socket.private_fd, .events = POLLIN};
    return poll(&entry, 1, 0) > 0;
}

// Others are faster than we are: there is no error to report.
static void back_off_in_silence(csc_server *server) {
    csc__verdict verdict = csc__pause_judge_nobody(&server->pause);
    csc__begin_back_off(server, &verdict, 0);
}

void csc__found_nobody(csc_server *server) {
    csc__pause_note_fruitless(&server->pause);
    if (csc__pause_is_fruitless(&server->pause) && is_ready(server)) {
        back_off_in_silence(server);
    }
}

// A step of our own, which sees every errno.
static void probe(csc_server *server) {
    uint64_t generation = server->generation;
    if (!is_ready(server)) {
        server->pause.fruitless = 0;
        return;
    }
    server->accepted_this_turn++;
    if (csc__step(server) == CSC__NOBODY && generation == server->generation && is_ready(server)) {
        back_off_in_silence(server);
    }
}

// Begins the next back-off where others would still get too few descriptors: then false.
static bool end_back_off(csc_server *server) {
    server->pause.backing_off = false;
    csc__reserve_fd_keep(server);
    // Counted first: accepting would find out only by taking one of those that are to be left.
    if (!csc__descriptors_are_short(server)) {
        CSC__PROBE1(resume, server);
        return true;
    }
    csc__verdict verdict = csc__pause_judge_shortage(&server->pause, server->overload_policy);
    verdict.strict = false; // it was reported when it began
    server->statistics.resource_errors++;
    csc__begin_back_off(server, &verdict, EMFILE);
    if (verdict.sheds) {
        csc__shed(server); // clients that came since are to hear of it, too
    }
    return false;
}

static bool may_probe(const csc_server *server) {
    return !server->paused && !server->pause.strict && csc__limits_allow(server);
}

static void retry(csc_server *server) {
    if (!server->pause.backing_off) {
        return; // ended otherwise since
    }
    if (end_back_off(server) && may_probe(server)) {
        probe(server);
    }
    csc__settle(server);
}

// True when it is broken: the server has stopped then.
static bool look_after_socket(csc_server *server, int64_t now) {
    int errnum =
        csc__watchdog_look(&server->watchdog, &server->socket, server->listener_enabled, now);
    return errnum != 0 && csc__accept_failed(server, errnum) == CSC__STOPPED;
}

bool csc__tend(csc_server *server, int64_t now) {
    uint64_t generation = server->generation;
    csc__collect_ended(server);
    csc__prefaces_expire(server);
    if (server->group && generation == server->generation) {
        csc__group_look(server->group); // no event does in a wait
    }
    if (generation != server->generation) {
        return false; // a callback has closed the server, or freed it
    }
    if (csc__pause_is_over(&server->pause, now) && end_back_off(server)) {
        csc__settle(server);
    }
    if (now >= csc__pace_deadline(server)) {
        csc__settle(server);
    }
    if (csc__place_is_due(server, now)) {
        csc__place_look(server);
        if (!is_ready(server) || !csc__limits_allow(server)) {
            csc__budget_offer(server->places->budget); // the wait does not try
        }
    }
    return generation == server->generation &&
           (now < server->watchdog.next_look || !look_after_socket(server, now));
}

static void on_accept_error(struct evconnlistener *listener, void *context) {
    int errnum = errno; // libevent leaves it here and nowhere else
    (void)listener;
    csc_server *server = context;
    csc__server_enter_here(server);
    if (!was_abandoned(server)) {
        server->accepted_this_turn++; // not a turn in which nothing happened
        csc__accept_failed(server, errnum);
    }
    csc__server_leave(server);
}

// A new turn of the loop, or activated by csc__settle_soon().
static void on_poll(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor;
    csc_server *server = context;
    csc__server_enter_here(server);
    if (was_abandoned(server)) {
        csc__server_leave(server);
        return;
    }
    uint64_t generation = server->generation;
    if (server->accepted_this_turn == 0 && server->listener_enabled && (events & EV_READ)) {
        csc__pause_note_fruitless(&server->pause);
        if (csc__pause_is_fruitless(&server->pause)) {
            probe(server);
        }
    }
    server->accepted_this_turn = 0;
    if (server->group) {
        csc__collect_ended(server); // what the limit of connections is compared with
    }
    csc__settle(server);
    // Ready, and yet nothing may be accepted: only leaving the poll set keeps the loop asleep. Not
    // in the turn that disabled the listener: the program may yet make room.
    if (generation == server->generation && !server->listener_enabled && server->poll_event_added &&
        (events & EV_READ)) {
        if (!server->disabled_this_turn) {
            csc__listener_leave_poll_set(server);
        }
        server->disabled_this_turn = false;
    }
    if (server->places && generation == server->generation && server->listener_enabled &&
        (events & EV_READ)) {
        csc__accept_batch(server);
    }
    csc__server_leave(server);
}

static void on_retry(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_server *server = context;
    csc__server_enter_here(server);
    if (!was_abandoned(server)) {
        retry(server);
    }
    csc__server_leave(server);
}

static void look_after(csc_server *server) {
    int64_t now = csc__monotonic_milliseconds();
    if (!look_after_socket(server, now) && csc__pause_is_over(&server->pause, now) &&
        !server->pause.strict) {
        retry(server); // there was no memory for its timer
    }
    csc__look_for_place(server); // the loop that was woken for one may be stuck
    if (now >= csc__pace_deadline(server)) {
        csc__settle(server); // there was no memory for its timer
    }
}

static void on_watchdog(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_server *server = context;
    csc__server_enter_here(server);
    if (!was_abandoned(server)) {
        uint64_t generation = server->generation;
        csc__watchdog_reset(&server->watchdog);
        csc__collect_ended(server);
        csc__prefaces_expire(server);
        if (generation == server->generation) { // no callback has closed the server, or freed it
            look_after(server);
        }
    }
    csc__server_leave(server);
}

static bool start_events(csc_server *server) {
    static const csc__listener_callbacks callbacks = {csc__on_accept, on_accept_error, on_poll,
                                                      on_retry};
    return csc__listener_start(server, &callbacks) &&
           csc__watchdog_start(&server->watchdog, server->base, csc__monotonic_milliseconds(),
                               on_watchdog, server) &&
           (!server->group || csc__group_start(server->group));
}

bool csc__accept_start(csc_server *server, csc__failure *failure) {
    if (!csc__fork_guard_add(server)) {
        *failure = (csc__failure){.call = CSC_CALL_ADOPT, .errnum = EALREADY};
        return false;
    }
    if (!csc__listening_socket_duplicate(&server->socket, failure)) {
        csc__fork_guard_remove(server);
        return false;
    }
    csc__grow_descriptor_table(&server->socket, server->expected_descriptors);
    server->accepted_this_turn = 0;
    server->pause = (csc__pause){0};
    if (!start_events(server)) {
        *failure = (csc__failure){.call = CSC_CALL_WATCH, .errnum = errno};
        csc__accept_stop(server);
        return false;
    }
    server->generation++;
    csc__reserve_fd_keep(server);
    csc__descriptors_are_short(server);
    atomic_store(&server->can_be_alerted, true);
    csc__collect_ended(server);
    CSC__PROBE3(listen, server, server->socket.descriptor, server->socket.address.port);
    return true;
}
