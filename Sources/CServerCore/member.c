// SPDX-License-Identifier: Apache-2.0

// A member of a group: a server that has no socket, and a mailbox in its place. What limits
// accepting, limits receiving: what a member must not take stays in its mailbox, from where the
// accepting thread places it elsewhere.

#include "member.h"

#include "accept.h"
#include "fork_guard.h"
#include "group_state.h"
#include "group_type.h"
#include "mailbox.h"
#include "pending_queue.h"
#include "server_type.h"
#include "settle.h"
#include "source_limits.h"
#include "state.h"

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

static bool receive(csc_server *server, csc_connection *connection) {
    bool has_memory = csc__pending_reserve(&server->pending);
    if (has_memory) {
        csc__step_with(server, connection);
    }
    return has_memory;
}

bool csc__member_receive(csc_server *server, const csc_connection *connection) {
    csc_connection received_one = *connection;
    csc__server_enter_here(server);
    bool received = receive(server, &received_one);
    csc__settle(server);
    csc__server_leave(server);
    return received;
}

// Whether a number is that of the connection's socket. In a child of fork() it may be none, or of
// another file by now: the kernel copies descriptors first, and memory with the letters then.
static bool is_its_socket(const csc_connection *connection) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address peer;
    return getpeername(connection->descriptor, (struct sockaddr *)&name, &length) == 0 &&
           csc_address_from_sockaddr((struct sockaddr *)&name, length, &peer) &&
           csc_address_equal(&peer, &connection->peer);
}

// The connection counts as accepted here, although it is not delivered.
static void discard(csc_server *server, const csc_connection *connection, uint64_t *counter) {
    if (server->process == csc__process() || is_its_socket(connection)) {
        close(connection->descriptor);
    }
    if (server->process == csc__process()) {
        csc_proxied_free(
            connection->proxied); // in a child the copy may be of one that was received
    }
    csc__source_end(server, connection);
    server->statistics.accepted++;
    (*counter)++;
    csc__group_publish(server);
    csc__member_count_ended(server->member, 1);
}

static void receive_or_discard(csc_server *server, csc_connection *connection) {
    if (!receive(server, connection)) {
        discard(server, connection, &server->statistics.shed);
    }
}

void csc__member_receive_all(csc_server *server) {
    csc_connection connection;
    if (server->finishing) {
        return; // depth is not for clients to choose: the call on the stack takes the rest
    }
    csc__server_enter_here(server);
    server->finishing = true;
    while (!server->freed && csc__mailbox_receive(&server->member->mailbox, &connection)) {
        receive_or_discard(server, &connection);
    }
    server->finishing = false;
    csc__settle(server); // the limits hold again
    if (!server->freed) {
        csc__group_offer_room(server->member->group);
    }
    csc__server_leave(server);
}

void csc__member_discard_all(csc_server *server) {
    csc_connection connection;
    bool (*next)(csc__mailbox *, csc_connection *) =
        server->process == csc__process() ? csc__mailbox_receive : csc__mailbox_next_copy;
    while (next(&server->member->mailbox, &connection)) {
        discard(server, &connection, &server->statistics.discarded_on_close);
    }
}

void csc__member_leave(csc_server *server, bool forget_event) {
    csc__member *member = server->member;
    atomic_store(&member->open, false);
    atomic_store(&member->has_left, true);
    csc__mailbox_close(&member->mailbox, forget_event);
    csc__member_discard_all(server);
    csc__group_offer_room(member->group); // its peers' connections go to others
}

// One by one, each with a look at the limits, and no more than a listening server accepts in a turn.
static void receive_some(csc_server *server) {
    csc_connection connection;
    int left = server->accept_batch;
    while (!server->freed && csc__may_accept(server) && left > 0 &&
           csc__mailbox_receive(&server->member->mailbox, &connection)) {
        receive_or_discard(server, &connection);
        left--;
    }
    csc__settle(server);
    if (server->freed) {
        return;
    }
    server->member->left_some = !csc__may_accept(server);
    if (!server->member->left_some) {
        csc__mailbox_end(&server->member->mailbox);
    }
}

// Of the events in one turn this is the last: while the handler of another one blocks the loop, what
// is in the mailbox can be taken back.
static bool lets_others_go_first(csc__member *member) {
    member->goes_last =
        !member->goes_last && event_base_get_num_events(member->base, EVENT_BASE_COUNT_ACTIVE) > 0;
    if (member->goes_last) {
        event_active(member->mailbox.waker.event, EV_READ, 0);
    }
    return member->goes_last;
}

void csc__member_on_arrival(int descriptor, short events, void *context) {
    (void)descriptor, (void)events;
    csc_server *server = context;
    csc__member *member = server->member;
    if (server->process != csc__process()) {
        return; // what is in the mailbox is the parent's
    }
    if (lets_others_go_first(member)) {
        return;
    }
    csc__server_enter_here(server);
    csc__mailbox_begin(&member->mailbox);
    csc__collect_ended(server);
    receive_some(server);
    if (!server->freed) {
        csc__group_offer_room(member->group);
    }
    csc__server_leave(server);
}
