// SPDX-License-Identifier: Apache-2.0

// UNIX sockets: their paths, what is there, and who the peer is.
//
// A socket's file outlives its process. It refuses connections then, but so does the file of a socket
// between bind(2) and listen(2). So a server holds a lock from the look at the old file to listen(2).
// The lock is a socket with an abstract name, made of the folder's inode and the file's name: the
// kernel gives the name to one process, and takes it back when that ends.

#include "unix_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t path_offset = offsetof(struct sockaddr_un, sun_path);

bool csc__unix_name_of(const char *path, csc__unix_name *name) {
    size_t length = strlen(path);
    bool is_abstract = csc__is_abstract(path);
    if (length > CSC_PATH_MOST || length <= is_abstract) {
        return false;
    }
    *name = (csc__unix_name){.address = {.sun_family = AF_UNIX}};
    memcpy(name->address.sun_path, path, length);
    if (is_abstract) {
        name->address.sun_path[0] = '\0';
    }
    // Every byte counts in an abstract name; a path has its NUL.
    name->length = (socklen_t)(path_offset + length + !is_abstract);
    return true;
}

void csc__path_of(const struct sockaddr *address, socklen_t length, char path[CSC_PATH_SIZE]) {
    struct sockaddr_un name = {0};
    path[0] = '\0';
    if (address->sa_family != AF_UNIX || length <= path_offset) {
        return; // without a name
    }
    // One of 108 bytes has no NUL, and a length that counts one.
    memcpy(&name, address, length < sizeof name ? length : sizeof name);
    size_t count = length - path_offset;
    count = count < sizeof name.sun_path ? count : sizeof name.sun_path;
    bool is_abstract = name.sun_path[0] == '\0';
    count = is_abstract ? count : strnlen(name.sun_path, count);
    for (size_t index = 0; index < count; index++) {
        path[index] = name.sun_path[index] ? name.sun_path[index] : '@';
    }
    path[count] = '\0';
}

static uint64_t hash_of(const char *text) {
    uint64_t hash = 14695981039346656037U; // FNV-1a
    for (; *text; text++) {
        hash = (hash ^ (uint8_t)*text) * 1099511628211U;
    }
    return hash;
}

// One name for all ways to write the path.
static bool name_lock(const char *path, char lock[CSC_PATH_SIZE]) {
    char folder[CSC_PATH_SIZE + 1];
    struct stat status;
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    memcpy(folder, path, length);
    memcpy(folder + length, ".", sizeof ".");
    if (lstat(folder, &status) != 0) {
        return false;
    }
    snprintf(lock, CSC_PATH_SIZE, "@cservercore/%llx/%llx/%llx", (unsigned long long)status.st_dev,
             (unsigned long long)status.st_ino, (unsigned long long)hash_of(path + length));
    return true;
}

int csc__path_lock(const char *path) {
    char lock[CSC_PATH_SIZE];
    csc__unix_name name;
    if (!name_lock(path, lock)) {
        return -1;
    }
    csc__unix_name_of(lock, &name);
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && bind(descriptor, (struct sockaddr *)&name.address, name.length) != 0) {
        int errnum = errno;
        close(descriptor);
        errno = errnum;
        return -1;
    }
    return descriptor;
}

static csc__path_state ask(const csc__unix_name *name) {
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return CSC__PATH_UNKNOWN;
    }
    errno = 0;
    connect(descriptor, (const struct sockaddr *)&name->address, name->length);
    int errnum = errno;
    close(descriptor);
    switch (errnum) {
    case ECONNREFUSED:
        return CSC__PATH_STALE;
    case ENOENT:
        return CSC__PATH_FREE; // its server has removed it meanwhile
    default:
        return CSC__PATH_USED; // also where it cannot be known
    }
}

csc__path_state csc__path_look(const char *path, const csc__unix_name *name) {
    struct stat status;
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? CSC__PATH_FREE : CSC__PATH_UNKNOWN;
    }
    if (!S_ISSOCK(status.st_mode)) {
        return CSC__PATH_FOREIGN;
    }
    return status.st_uid == geteuid() ? ask(name) : CSC__PATH_OTHERS;
}

bool csc_peer_credentials(int descriptor, csc_credentials *credentials) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    int listens = 1;
    socklen_t option = sizeof listens;
    // Of other sockets, and of one that never was connected, the kernel says user -1; of one that
    // listens it says whose that is.
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &option) != 0 || listens ||
        getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
        peer.uid == (uid_t)-1) {
        return false;
    }
    *credentials = (csc_credentials){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
    return true;
}
