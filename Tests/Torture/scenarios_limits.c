// SPDX-License-Identifier: Apache-2.0

// Clients that a server rejects, or lets wait, and a process that really runs out of descriptors.

#include "torture.h"

#include <event2/event.h>
#include <stddef.h>

static void wait_for_descriptors(run *it) {
    if (!run_start(it)) {
        return;
    }
    csc_server_set_descriptor_reserve(it->server, 3);
    if (run_listen(it)) {
        run_connect(it, 4);
        run_limit_descriptors(it, 5);
        run_serve(it, false);
        run_lift_limit(it);
        csc_server_descriptor_freed(it->server);
        run_serve(it, true);
    }
}

static void shed_clients(run *it) {
    if (!run_start(it)) {
        return;
    }
    csc_server_set_descriptor_reserve(it->server, 0);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    if (run_listen(it)) {
        run_connect(it, 4);
        run_limit_descriptors(it, 1);
        run_serve(it, false);
        run_lift_limit(it);
        run_connect(it, 1);
        run_serve(it, true);
    }
}

static void stop_for_descriptors(run *it) {
    if (!run_start(it)) {
        return;
    }
    csc_server_set_descriptor_reserve(it->server, 0);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    if (run_listen(it)) {
        run_connect(it, 3);
        run_limit_descriptors(it, 1);
        run_serve(it, false);
        run_lift_limit(it);
        csc_server_resume(it->server);
        run_serve(it, true);
    }
}

static void keep_to_a_limit(run *it, csc_excess excess) {
    if (!run_start(it)) {
        return;
    }
    it->ends_connections = true;
    csc_server_set_max_connections(it->server, 2, excess);
    if (run_listen(it)) {
        run_connect(it, 4);
        run_serve(it, false);
        run_take_all(it);
        run_serve(it, true);
    }
}

static void let_the_rest_wait(run *it) {
    keep_to_a_limit(it, CSC_EXCESS_WAIT);
}

static void close_the_rest(run *it) {
    keep_to_a_limit(it, CSC_EXCESS_CLOSE);
}

static void reset_the_rest(run *it) {
    keep_to_a_limit(it, CSC_EXCESS_RESET);
}

// What cannot be made limits nothing.
static void limit_sources_and_rate(run *it) {
    if (!run_start(it)) {
        return;
    }
    it->ends_connections = true;
    csc_sources *sources =
        csc_sources_new(&(csc_source_limits){.max_connections = 3, .table_size = 64});
    if (sources && !csc_server_set_sources(it->server, sources)) {
        run_must_explain(it, "csc_server_set_sources()");
    }
    csc_rate *rate = csc_rate_new(10, 2);
    if (rate && !csc_server_set_accept_rate(it->server, rate)) {
        run_must_explain(it, "csc_server_set_accept_rate()");
    }
    csc_rate_free(rate);
    if (run_listen(it)) {
        run_connect(it, 5);
        run_serve(it, true);
    }
    csc_server_set_accept_rate(it->server, NULL); // what follows is the judge's
    if (sources) {
        csc_sources_set_limits(sources, &(csc_source_limits){0});
    }
    csc_sources_free(sources);
}

static csc_admission admit_in_turn(csc_server *server, const csc_address *peer, void *context) {
    static const csc_admission answers[] = {CSC_CLOSE, CSC_ADMIT, CSC_RESET};
    (void)server;
    (void)peer;
    return answers[((run *)context)->asked++ % 3];
}

static void admit_some(run *it) {
    if (run_start(it)) {
        csc_server_on_admission(it->server, admit_in_turn, it);
        if (run_listen(it)) {
            run_connect(it, 6);
            run_serve(it, true);
        }
        csc_server_on_admission(it->server, NULL, NULL); // what follows is the judge's
    }
}

const scenario limiting_scenarios[] = {
    {"wait for descriptors", wait_for_descriptors},
    {"shed clients", shed_clients},
    {"stop for descriptors", stop_for_descriptors},
    {"let the rest wait", let_the_rest_wait},
    {"close the rest", close_the_rest},
    {"reset the rest", reset_the_rest},
    {"limit sources and rate", limit_sources_and_rate},
    {"admit some", admit_some},
    {NULL, NULL},
};
