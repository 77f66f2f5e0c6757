// SPDX-License-Identifier: Apache-2.0

// See guests.h.

#include "guests.h"

#include <errno.h>
#include <sys/socket.h>

static void operate(scene *now, csc_server *server) {
    void (*operation)(scene *, csc_server *) = now->operation;
    now->operation = NULL;
    if (operation) {
        operation(now, server);
    }
}

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    scene *now = context;
    now->asked++;
    now->peer = *peer;
    operate(now, server);
    return now->admission;
}

static void on_rejected(csc_server *server, const csc_rejection *rejection, void *context) {
    scene *now = context;
    now->rejected++;
    now->rejection = *rejection;
    if (now->admission != CSC_ADMIT) {
        operate(now, server);
    }
}

void guests_start(fixture *it, scene *now) {
    *now = (scene){.it = it};
    fixture_listen(it);
    fixture_watch(it);
    csc_server_on_rejected(it->server, on_rejected, now);
}

void guests_ask(fixture *it, scene *now, csc_admission admission) {
    now->admission = admission;
    csc_server_on_admission(it->server, on_admission, now);
}

csc_address guests_local_address(int client) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address address;
    assert_int_equal(getsockname(client, (struct sockaddr *)&name, &length), 0);
    assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &address));
    return address;
}

void guests_assert_rejected(fixture *it, const scene *now, int client,
                            csc_rejection_reason reason) {
    csc_address peer = guests_local_address(client);
    csc_address local = csc_server_address(it->server);
    assert_int_equal(now->rejection.reason, reason);
    assert_memory_equal(&now->rejection.peer, &peer, sizeof peer);
    assert_memory_equal(&now->rejection.local, &local, sizeof local);
}

void guests_assert_closed(int client) {
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), 0);
}

void guests_assert_reset(int client) {
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}
