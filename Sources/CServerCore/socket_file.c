// SPDX-License-Identifier: Apache-2.0

// Files of listening UNIX sockets, in a list of the process.
//
// A socket that was handed over is the same one in the process that has it now, and so is its file:
// without it no client would find that process. Until it is ready it may still fail, which shows in
// the end of its control socket.

#include "socket_file.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct identity {
    dev_t device;
    ino_t inode; // 0 for none
} identity;

struct csc__socket_file {
    csc__socket_file *next;
    identity file;
    identity socket;
    identity control; // to which the socket was offered last
    int control_descriptor;
    bool is_anothers;
    char path[]; // absolute, for a process that changes its working directory
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static csc__socket_file *first;

static identity identity_of(const struct stat *status) {
    return (identity){.device = status->st_dev, .inode = status->st_ino};
}

static bool is_same(identity one, identity other) {
    return one.inode != 0 && one.inode == other.inode && one.device == other.device;
}

static identity look_at(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) == 0 ? identity_of(&status) : (identity){.inode = 0};
}

static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void) {
    pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void) {
    for (csc__socket_file *it = first; it; it = it->next) {
        it->is_anothers = true; // the parent removes it
    }
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

csc__socket_file *csc__socket_file_new(const char *path) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char folder[PATH_MAX];
    // Where the folder cannot be known, it is that of the moment at which the file is removed.
    bool is_relative = path[0] != '/' && getcwd(folder, sizeof folder);
    size_t size = (is_relative ? strlen(folder) + 1 : 0) + strlen(path) + 1;
    csc__socket_file *it = calloc(1, sizeof *it + size);
    if (!it) {
        return NULL;
    }
    snprintf(it->path, size, "%s%s%s", is_relative ? folder : "", is_relative ? "/" : "", path);
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    it->next = first;
    first = it;
    pthread_mutex_unlock(&lock);
    return it;
}

static bool find(const char *path, identity *file) {
    struct stat status;
    if (lstat(path, &status) != 0) {
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        errno = ENOTSOCK;
        return false;
    }
    *file = identity_of(&status);
    return true;
}

bool csc__socket_file_find(csc__socket_file *it, int socket) {
    pthread_mutex_lock(&lock);
    it->socket = look_at(socket);
    pthread_mutex_unlock(&lock);
    return find(it->path, &it->file);
}

// With the lock. A successor that has ended has closed its end.
static bool is_anothers(const csc__socket_file *it) {
    struct pollfd control = {.fd = it->control_descriptor};
    if (it->is_anothers || !is_same(it->control, look_at(it->control_descriptor))) {
        return it->is_anothers;
    }
    poll(&control, 1, 0);
    return (control.revents & POLLHUP) == 0;
}

static bool take_off(csc__socket_file *it) {
    pthread_mutex_lock(&lock);
    csc__socket_file **link = &first;
    while (*link != it) {
        link = &(*link)->next;
    }
    *link = it->next;
    bool is_ours = !is_anothers(it);
    pthread_mutex_unlock(&lock);
    return is_ours;
}

bool csc__socket_file_remove(csc__socket_file *it) {
    identity now;
    if (!it) {
        return false;
    }
    bool removed =
        take_off(it) && find(it->path, &now) && is_same(now, it->file) && unlink(it->path) == 0;
    free(it);
    return removed;
}

void csc__socket_file_forget(csc__socket_file *it) {
    if (it) {
        take_off(it);
        free(it);
    }
}

void csc__socket_files_offer(int control, const int *sockets, size_t count) {
    identity end = look_at(control);
    for (size_t index = 0; index < count; index++) {
        identity socket = look_at(sockets[index]);
        pthread_mutex_lock(&lock);
        for (csc__socket_file *it = first; it; it = it->next) {
            if (is_same(it->socket, socket)) {
                it->control = end;
                it->control_descriptor = control;
            }
        }
        pthread_mutex_unlock(&lock);
    }
}

void csc__socket_files_leave(int control) {
    identity end = look_at(control);
    pthread_mutex_lock(&lock);
    for (csc__socket_file *it = first; it; it = it->next) {
        it->is_anothers = it->is_anothers || is_same(it->control, end);
    }
    pthread_mutex_unlock(&lock);
}
