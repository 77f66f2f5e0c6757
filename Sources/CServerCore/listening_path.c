// SPDX-License-Identifier: Apache-2.0

// Opening a listening socket at a path: bind(2), chmod(2), listen(2). Until the last one the socket
// refuses connections, so that it is never open to others than those with permission.

#include "listening_path.h"
#include "private_fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(csc__failure *failure, csc_call call, int errnum) {
    *failure = (csc__failure){.call = call, .errnum = errnum};
    return false;
}

static bool check(const csc__path_request *request, csc__unix_name *name, csc__failure *failure) {
    if (!csc__unix_name_of(request->path, name)) {
        return fail(failure, CSC_CALL_PATH, ENAMETOOLONG);
    }
    if (request->permissions < -1 || request->permissions > 0777) {
        return fail(failure, CSC_CALL_PATH, EINVAL);
    }
    if (csc__is_abstract(request->path) && request->permissions >= 0) {
        return fail(failure, CSC_CALL_PATH, EOPNOTSUPP);
    }
    return true;
}

// Removes what an ended server has left.
static bool make_way(const char *path, const csc__unix_name *name, csc__failure *failure) {
    switch (csc__path_look(path, name)) {
    case CSC__PATH_FREE:
        return true;
    case CSC__PATH_STALE:
        return unlink(path) == 0 || errno == ENOENT || fail(failure, CSC_CALL_UNLINK, errno);
    case CSC__PATH_USED:
        return fail(failure, CSC_CALL_BIND, EADDRINUSE);
    case CSC__PATH_OTHERS:
        return fail(failure, CSC_CALL_PATH, EPERM);
    case CSC__PATH_FOREIGN:
        return fail(failure, CSC_CALL_PATH, EEXIST);
    case CSC__PATH_UNKNOWN:
        break;
    }
    return fail(failure, CSC_CALL_PATH, errno);
}

// The file is known before anything can fail after bind(2), so that it can be removed.
static bool bind_file(csc__listening_socket *listening, const csc__path_request *request,
                      const csc__unix_name *name, csc__failure *failure) {
    int permissions = request->permissions < 0 ? CSC_PATH_PERMISSIONS : request->permissions;
    bool has_file = !csc__is_abstract(request->path);
    listening->file = has_file ? csc__socket_file_new(request->path) : NULL;
    if (has_file && !listening->file) {
        return fail(failure, CSC_CALL_PATH, errno);
    }
    if (bind(listening->descriptor, (const struct sockaddr *)&name->address, name->length) != 0) {
        return fail(failure, CSC_CALL_BIND, errno);
    }
    if (!has_file) {
        return true;
    }
    if (!csc__socket_file_find(listening->file, listening->descriptor)) {
        return fail(failure, CSC_CALL_PATH, errno);
    }
    return chmod(request->path, (mode_t)permissions) == 0 || fail(failure, CSC_CALL_CHMOD, errno);
}

static bool open_at(csc__listening_socket *listening, const csc__path_request *request,
                    const csc__unix_name *name, const csc__opening *opening,
                    csc__failure *failure) {
    bool has_file = !csc__is_abstract(request->path);
    if (has_file && !request->keep_stale && !make_way(request->path, name, failure)) {
        return false;
    }
    if (!csc__listening_socket_make(listening, AF_UNIX, opening, failure)) {
        return false;
    }
    int errnum = opening->made ? opening->made(listening->descriptor, opening->context) : 0;
    bool listens = errnum == 0 ? bind_file(listening, request, name, failure) &&
                                     csc__listening_socket_listen(listening, opening, failure)
                               : fail(failure, CSC_CALL_SOCKET, errnum);
    if (!listens) {
        csc__listening_socket_abandon(listening);
    }
    return listens;
}

bool csc__listening_path_open(csc__listening_socket *listening, const csc__path_request *request,
                              const csc__opening *opening, csc__failure *failure) {
    csc__unix_name name;
    if (!check(request, &name, failure)) {
        return false;
    }
    if (csc__is_abstract(request->path)) {
        return open_at(listening, request, &name, opening, failure);
    }
    int lock = csc__path_lock(request->path);
    if (lock < 0) {
        return fail(failure, errno == EADDRINUSE ? CSC_CALL_BIND : CSC_CALL_PATH, errno);
    }
    bool listens = open_at(listening, request, &name, opening, failure);
    close(lock);
    return listens;
}
