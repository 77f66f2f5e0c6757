// SPDX-License-Identifier: Apache-2.0

// The process's list of listening servers, and what fork() does to them.
//
// A forked child has copies of every descriptor, but its epoll is the parent's own: what the child
// deletes there, closing its copy of a server, the parent never hears of again, and what it accepts
// the parent never gets. So a server stays with the process that made it. In the child its two
// watched numbers refer to nothing from the first moment: libevent may do what it likes to them.
//
// One thread uses a server; this list alone is shared, under its mutex, and is touched when
// listening starts and stops and when the process forks, never on the accept path.

#include "fork_guard.h"

#include "listening_socket.h"
#include "places_type.h"
#include "preface_list.h"
#include "private_fd.h"
#include "server_type.h"
#include "state.h"
#include "waker.h"
#include "watchdog.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static csc_server *first;
static unsigned forks; // between the first process and this one

static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void) {
    pthread_mutex_unlock(&lock);
}

// The number stays in use: a duplicate of the listening socket that got it would be what the
// parent's epoll knows by this number.
static void replace(csc__private_fd *it, const csc__private_fd *nothing) {
    if (it->number < 0) {
        return;
    }
    if (nothing->number < 0 || dup3(nothing->number, it->number, O_CLOEXEC) < 0) {
        close(it->number);
        it->number = -1;
    }
    it->mark = nothing->mark; // a duplicate has its open file's
}

static void after_fork_in_child(void) {
    forks++;
    // Ready at once, so that a loop that the child goes on running says what is wrong.
    csc__private_fd nothing = first ? csc__private_eventfd(1) : CSC__NO_PRIVATE_FD;
    for (csc_server *server = first; server; server = server->next_listening) {
        server->inherited_by_fork = true;
        server->placeholder.number = server->socket.private_fd;
        server->socket.private_fd = -1;
        replace(&server->placeholder, &nothing);
        replace(&server->watchdog.timer, &nothing);
        // Another thread's may have been about to change, and no thread runs its loop here.
        if (pthread_equal(atomic_load(&server->thread), pthread_self())) {
            csc__prefaces_replace(server, nothing.number);
        }
        csc__fail_after_fork(server);
    }
    csc__private_fd_close(&nothing);
    first = NULL;
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
    // It fails for lack of memory only; forks then go unnoticed.
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

unsigned csc__process(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return forks;
}

// The number alone proves nothing: a stranger may have closed one server's descriptor, and the
// number may have come back for another's socket.
static bool is_same_descriptor(const csc__listening_socket *one,
                               const csc__listening_socket *other) {
    return one->descriptor == other->descriptor && one->device == other->device &&
           one->inode == other->inode;
}

bool csc__fork_guard_add(csc_server *server) {
    bool unique = true;
    pthread_mutex_lock(&lock);
    for (csc_server *other = first; other; other = other->next_listening) {
        unique = unique && !is_same_descriptor(&other->socket, &server->socket);
    }
    if (unique) {
        server->next_listening = first;
        first = server;
    }
    pthread_mutex_unlock(&lock);
    return unique;
}

void csc__fork_guard_remove(csc_server *server) {
    pthread_mutex_lock(&lock);
    csc_server **link = &first;
    while (*link && *link != server) {
        link = &(*link)->next_listening;
    }
    if (*link) {
        *link = server->next_listening;
    }
    pthread_mutex_unlock(&lock);
}

// The lock keeps the server's own thread from closing the waker or the timer meanwhile.
void csc__fork_guard_alert(const csc_server *server) {
    pthread_mutex_lock(&lock);
    bool is_woken = server->places && csc__waker_wake(&server->places->waker);
    for (const csc_server *other = is_woken ? NULL : first; other; other = other->next_listening) {
        if (other == server && atomic_load(&server->can_be_alerted)) {
            csc__watchdog_alert(&server->watchdog);
        }
    }
    pthread_mutex_unlock(&lock);
}

void csc__fork_guard_set_places(csc_server *server, struct csc__places *places) {
    pthread_mutex_lock(&lock);
    server->places = places;
    pthread_mutex_unlock(&lock);
}
