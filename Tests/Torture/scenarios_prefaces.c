// SPDX-License-Identifier: Apache-2.0

// Clients whose PROXY header the server reads first: in one piece, in two, wrong, late, and ended.

#include "torture.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char header[] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";

static bool require(run *it) {
    const csc_network loopback = {.address = {.bytes = {127}, .family = CSC_FAMILY_IPV4},
                                  .prefix_length = 8};
    const csc_proxy_requirement requirement = {
        .networks = &loopback, .network_count = 1, .timeout = 1000};
    bool required = csc_server_require_proxy_header(it->server, &requirement);
    if (!required) {
        run_must_explain(it, "requiring headers");
    }
    return required;
}

static void say(const run *it, int client, const char *text, size_t count) {
    fault_suspend();
    if (client < it->client_count) {
        send(it->clients[client], text, count, MSG_NOSIGNAL);
    }
    fault_resume();
}

static void turn_until_none_is_left(run *it) {
    enum { TURNS = 40, STEP_MS = 50 };
    run_serve(it, true);
    for (int turn = 0; turn < TURNS && csc_server_in_preface(it->server) > 0; turn++) {
        fault_advance_clock(STEP_MS);
        run_turn(it);
        run_take_all(it);
    }
}

static void play(run *it) {
    enum { CLIENTS = 5, SPLIT = 11 };
    csc_server_set_max_prefaces(it->server, 3);
    if (require(it) && run_listen(it)) {
        run_connect(it, CLIENTS);
        say(it, 0, header, sizeof header - 1);
        say(it, 1, header, SPLIT);
        say(it, 2, "GET / HTTP/1.1\r\n", 16);
        run_serve(it, false);
        say(it, 1, header + SPLIT, sizeof header - 1 - SPLIT);
        if (it->client_count == CLIENTS) {
            shutdown(it->clients[3], SHUT_WR);
        }
        turn_until_none_is_left(it);
    }
    csc_server_require_proxy_header(it->server, NULL); // what follows is the judge's
}

static void read_headers(run *it) {
    if (run_start(it)) {
        play(it);
    }
}

static void read_headers_in_a_wait(run *it) {
    it->without_base = true;
    read_headers(it);
}

static void read_headers_for_a_group(run *it) {
    if (run_start_group(it)) {
        play(it);
    }
}

static void close_amid_headers(run *it) {
    if (run_start(it) && require(it) && run_listen(it)) {
        run_connect(it, 3);
        say(it, 0, header, 5);
        run_serve(it, false);
        run_close(it);
    }
    csc_server_require_proxy_header(it->server, NULL);
}

const scenario preface_scenarios[] = {
    {"read headers", read_headers},
    {"read headers in a wait", read_headers_in_a_wait},
    {"read headers for a group", read_headers_for_a_group},
    {"close amid headers", close_amid_headers},
    {NULL, NULL},
};
