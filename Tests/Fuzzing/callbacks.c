// SPDX-License-Identifier: Apache-2.0

// The callbacks of a fuzzed server: they make calls as well, those that come next in the input.
//
// A call may free the server and put another in its place; the epoch shows it.

#include "world.h"

static void operate_inside(world *it) {
    if (it->depth >= DEEPEST_CALLBACK || !world_has_input(it)) {
        return;
    }
    it->depth++;
    for (int count = world_byte(it) & 3; count > 0 && world_has_input(it); count--) {
        operate(it);
    }
    it->depth--;
}

static void on_new_connection(csc_server *server, void *context) {
    subject *it = context;
    CHECK(server == it->server, "a callback of a server that was freed");
    model_observe(it->world);
    operate_inside(it->world);
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    subject *it = context;
    CHECK(server == it->server, "a callback of a server that was freed");
    CHECK(csc_server_error(server) == error, "%d", error);
    CHECK(csc_server_error_string(server)[0] != '\0', "%d", error);
    model_observe(it->world);
    operate_inside(it->world);
}

static void dispose(subject *it, unsigned epoch, const csc_connection *connection,
                    const csc_address *name, unsigned choice) {
    bool has_room = it->server && it->epoch == epoch && it->pending.count < MOST_IN_QUEUE;
    if ((choice & 3) == 0 && has_room) {
        CHECK(csc_server_add_pending(it->server, connection), "no memory");
        model_given_back(it, name);
    } else if ((choice & 3) == 1) {
        reset_and_close(connection->descriptor);
    } else {
        world_take(it->world, connection->descriptor);
    }
}

static void on_incoming_connection(csc_server *server, const csc_connection *connection,
                                   void *context) {
    subject *it = context;
    unsigned epoch = it->epoch;
    CHECK(server == it->server, "a callback of a server that was freed");
    csc_connection kept = *connection;
    csc_address name = model_incoming(it, connection);
    model_observe_others(it); // the same turn of the loop may have served them before
    it->in_incoming++;
    unsigned choice = world_byte(it->world);
    if (choice & 4) {
        dispose(it, epoch, &kept, &name, choice);
        operate_inside(it->world);
    } else {
        operate_inside(it->world);
        dispose(it, epoch, &kept, &name, choice);
    }
    if (it->epoch == epoch) {
        it->in_incoming--;
    }
}

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    static const csc_admission decisions[] = {CSC_ADMIT, CSC_CLOSE, CSC_ADMIT, CSC_RESET};
    subject *it = context;
    CHECK(server == it->server, "a callback of a server that was freed");
    CHECK(peer->family != CSC_FAMILY_NONE, "nobody");
    unsigned epoch = it->epoch;
    csc_admission decision = decisions[world_byte(it->world) & 3];
    model_asked(it, peer);
    model_observe_others(it);
    operate_inside(it->world);
    if (it->server && it->epoch == epoch) {
        model_answered(it, decision);
    }
    return decision;
}

static void on_rejected(csc_server *server, const csc_rejection *rejection, void *context) {
    subject *it = context;
    CHECK(server == it->server, "a callback of a server that was freed");
    model_rejected(it, &rejection->peer);
    model_observe_others(it);
    operate_inside(it->world);
}

void set_callbacks(subject *it, unsigned choice) {
    it->handles_incoming = choice & 2;
    csc_server_on_rejected(it->server, on_rejected, it);
    csc_server_on_admission(it->server, choice & 8 ? on_admission : NULL, it);
    csc_server_on_new_connection(it->server, choice & 1 ? on_new_connection : NULL, it);
    csc_server_on_incoming_connection(it->server, choice & 2 ? on_incoming_connection : NULL, it);
    csc_server_on_accept_error(it->server, choice & 4 ? on_accept_error : NULL, it);
}
