// What a lack of descriptors or memory does to a server: it never spins, and never stays silent.
//
//      accepting --error--> backing off --time over, or a descriptor freed--> retry --> accepting
//                   \--> strict: until csc_server_resume()     still short <--/
//
// The time is always running while a server backs off, so that nothing depends on being told: other
// servers and other parts of the program share the same limit.

#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LONGEST_RETRY_MS = 1000 };

void csc__overload_back_off(csc_server *server, int first_delay) {
    server->retry_delay = server->retry_delay == 0 ? first_delay : server->retry_delay * 2;
    if (server->retry_delay > LONGEST_RETRY_MS) {
        server->retry_delay = LONGEST_RETRY_MS;
    }
    server->retry_time = csc__monotonic_milliseconds() + server->retry_delay;
    server->backing_off = true;
    if (server->retry && !server->paused_by_error) {
        struct timeval delay = {.tv_sec = server->retry_delay / 1000,
                                .tv_usec = server->retry_delay % 1000 * 1000};
        // Without memory for a timer, the check of the listening socket ends the delay.
        event_add(server->retry, &delay);
    }
}

static void take_spare(csc_server *server) {
    // Not a duplicate: that would give back no entry of the system's table of open files.
    server->spare = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void give_up_spare(csc_server *server) {
    close(server->spare);
    server->spare = -1;
}

void csc__overload_keep_spare(csc_server *server) {
    bool wanted = server->overload_policy == CSC_OVERLOAD_SHED && server->socket.own >= 0;
    if (wanted && server->spare < 0) {
        take_spare(server);
    } else if (!wanted && server->spare >= 0) {
        give_up_spare(server);
    }
}

// Takes one client with the spare descriptor and closes the connection. The spare is back before
// any callback runs. False when there was no client, or no descriptor to take one with.
static bool shed_one(csc_server *server, csc_rejection *rejection) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    give_up_spare(server);
    csc_connection connection;
    connection.descriptor = accept4(server->socket.own, (struct sockaddr *)&peer, &length,
                                    SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection.descriptor >= 0) {
        csc_address_from_sockaddr((struct sockaddr *)&peer, length, &connection.peer);
        server->statistics.accepted++;
        *rejection = (csc_rejection){.reason = CSC_REJECTED_BY_OVERLOAD};
        csc__turn_away(server, &connection, false, rejection);
    }
    take_spare(server);
    return connection.descriptor >= 0;
}

static void shed(csc_server *server) {
    uint64_t generation = server->generation;
    csc_rejection rejection;
    int count = 0;
    // A callback may close the server, or take the descriptor that the spare was.
    while (count < server->accept_batch && generation == server->generation && server->spare >= 0 &&
           shed_one(server, &rejection)) {
        count++;
        csc__tell_rejected(server, &rejection);
    }
    // More are waiting to be turned away, and are not to wait as long as those who hope for room.
    if (count >= server->accept_batch && generation == server->generation && server->backing_off) {
        server->retry_delay = 0;
        csc__overload_back_off(server, FIRST_RETRY_MS);
    }
}

void csc__overload(csc_server *server, int errnum, int first_delay) {
    uint64_t generation = server->generation;
    csc__server_fail(server, CSC_CALL_ACCEPT, errnum);
    server->paused_by_error =
        server->paused_by_error || server->overload_policy == CSC_OVERLOAD_STRICT;
    csc__overload_back_off(server, first_delay);
    csc__accept_update(server);
    if (server->overload_policy == CSC_OVERLOAD_SHED && (errnum == EMFILE || errnum == ENFILE)) {
        shed(server);
    }
    if (generation == server->generation && !server->in_episode) {
        server->in_episode = true;
        server->statistics.error_episodes++;
        csc__report_error(server);
    }
}

void csc__overload_look(csc_server *server) {
    if (!csc__server_is_listening(server)) {
        return;
    }
    if (csc__descriptors_are_short(server)) {
        server->statistics.resource_errors++;
        csc__overload(server, EMFILE, FIRST_RETRY_MS);
    } else {
        server->in_episode = false;
    }
}

bool csc__overload_try_again(csc_server *server) {
    server->backing_off = false;
    csc__overload_keep_spare(server);
    // Asked first, because accepting would tell only by taking one of those that are to be left.
    if (csc__descriptors_are_short(server)) {
        server->statistics.resource_errors++;
        csc__overload_back_off(server, FIRST_RETRY_MS);
        if (server->overload_policy == CSC_OVERLOAD_SHED) {
            shed(server); // who has come since is to learn it, too
        }
        return false;
    }
    return true;
}

bool csc_server_descriptor_freed(csc_server *server) {
    if (!server) {
        return false;
    }
    if (server->backing_off) {
        server->retry_time = 0; // for a wait
        if (server->retry && !server->paused_by_error) {
            event_active(server->retry, EV_TIMEOUT, 0);
        }
    }
    return server->in_episode;
}

void csc__overload_forgive(csc_server *server) {
    server->backing_off = false;
    server->paused_by_error = false;
    server->in_episode = false;
    server->retry_delay = 0;
    if (server->retry) {
        event_del(server->retry);
    }
}

void csc__overload_note(csc_server *server, bool overloaded) {
    int64_t now = csc__monotonic_milliseconds();
    if (overloaded) {
        server->statistics.pauses++;
        server->pause_time = now;
    } else {
        server->statistics.paused_milliseconds += (uint64_t)(now - server->pause_time);
    }
    server->overloaded = overloaded;
}
