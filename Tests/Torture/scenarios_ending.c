// SPDX-License-Identifier: Apache-2.0

// How a server ends, and what its callbacks may do to it.

#include "torture.h"

#include <event2/event.h>
#include <stddef.h>

static void close_it(csc_server *server, void *context) {
    (void)server;
    run_close(context);
}

static void close_in_a_callback(run *it) {
    if (run_start(it)) {
        csc_server_on_new_connection(it->server, close_it, it);
        if (run_listen(it)) {
            run_connect(it, 3);
            run_serve(it, false);
        }
        csc_server_on_new_connection(it->server, NULL, NULL); // what follows is the judge's
    }
}

static void free_it(csc_server *server, void *context) {
    (void)server;
    run_free(context);
}

static void free_in_a_callback(run *it) {
    if (run_start(it)) {
        csc_server_on_new_connection(it->server, free_it, it);
        if (run_listen(it)) {
            run_connect(it, 3);
            run_serve(it, false);
        }
        csc_server_on_new_connection(it->server, NULL, NULL); // what follows is the judge's
    }
}

static void listen_anew(csc_server *server, void *context) {
    csc_server_on_new_connection(server, NULL, NULL);
    run_close(context);
    run_listen(context);
}

static void listen_again_in_a_callback(run *it) {
    if (run_start(it)) {
        csc_server_on_new_connection(it->server, listen_anew, it);
        if (run_listen(it)) {
            run_connect(it, 3);
            run_serve(it, false);
            run_connect(it, 2);
            run_serve(it, true);
        }
        csc_server_on_new_connection(it->server, NULL, NULL);
    }
}

static void finish_with_connections(run *it) {
    if (run_start(it) && run_listen(it)) {
        run_connect(it, 5);
        csc_server_finish(it->server);
        it->closed = true;
        it->may_lose = it->connected - run_statistics(it).accepted;
        if (it->may_lose > 0 && it->told == 0 && !it->misled) {
            run_object(it, "%lu clients lost, and nobody was told", it->may_lose);
        }
        run_take_all(it);
    }
}

const scenario ending_scenarios[] = {
    {"close in a callback", close_in_a_callback},
    {"free in a callback", free_in_a_callback},
    {"listen again in a callback", listen_again_in_a_callback},
    {"finish", finish_with_connections},
    {NULL, NULL},
};
