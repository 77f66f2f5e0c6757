// SPDX-License-Identifier: Apache-2.0

// Accepting at a rate: taking tokens, and waiting for one.

#include "pacing.h"

#include "clock.h"
#include "rate.h"
#include "server_type.h"

#include <event2/event.h>
#include <stdlib.h>

enum { MICROSECOND = 1000, MILLISECOND = 1000000, SECOND = 1000000000 };

// For a millisecond at least, and a second at most: the rate may be another then.
static void await(csc_server *server, struct csc__pacing *it, int64_t now) {
    int64_t wait = csc__rate_wait(it->rate, now);
    wait = wait < MILLISECOND ? MILLISECOND : wait > SECOND ? SECOND : wait;
    server->statistics.rate_pauses += !it->awaits;
    it->awaits = true;
    it->end = now + wait;
    if (it->timer) {
        int64_t rounded = (wait + MICROSECOND - 1) / MICROSECOND;
        struct timeval delay = {.tv_sec = rounded / (SECOND / MICROSECOND),
                                .tv_usec = rounded % (SECOND / MICROSECOND)};
        event_add(it->timer, &delay); // without memory for it, the watchdog takes its place
    }
}

void csc__pace(csc_server *server) {
    struct csc__pacing *it = server->pacing;
    int64_t now = csc__monotonic_nanoseconds();
    if (it->granted > server->accept_budget) {
        csc__rate_charge(it->rate, now, it->granted - server->accept_budget);
    }
    it->granted = server->accept_budget;
    it->available = csc__rate_available(it->rate, now);
    if (it->available > 0 || !csc__server_is_listening(server)) {
        it->awaits = false;
    } else if (!it->awaits || now >= it->end) {
        await(server, it, now);
    }
}

bool csc__pace_take(csc_server *server) {
    struct csc__pacing *it = server->pacing;
    int64_t now = csc__monotonic_nanoseconds();
    bool is_taken = csc__rate_take(it->rate, now);
    if (!is_taken) {
        await(server, it, now);
    }
    return is_taken;
}

void csc__pace_give(csc_server *server) {
    csc__rate_give(server->pacing->rate);
}

int64_t csc__pace_deadline(const csc_server *server) {
    const struct csc__pacing *it = server->pacing;
    return it && it->awaits ? (it->end + MILLISECOND - 1) / MILLISECOND : INT64_MAX;
}

void csc__pace_stop(csc_server *server) {
    struct csc__pacing *it = server->pacing;
    if (it) {
        it->awaits = false;
        it->granted = 0;
        if (it->timer) {
            event_del(it->timer);
        }
    }
}

void csc__pacing_free(csc_server *server) {
    struct csc__pacing *it = server->pacing;
    if (it) {
        if (it->timer) {
            event_free(it->timer);
        }
        csc_rate_free(it->rate);
        free(it);
        server->pacing = NULL;
    }
}
