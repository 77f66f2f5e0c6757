// SPDX-License-Identifier: Apache-2.0

// See folder.h.

#include "folder.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

folder folder_make(void) {
    folder it = {.name = "/tmp/unix-socket-XXXXXX"};
    assert_non_null(mkdtemp(it.name));
    snprintf(it.path, sizeof it.path, "%s/socket", it.name);
    return it;
}

void folder_remove(const folder *it) {
    assert_int_equal(rmdir(it->name), 0);
}

ino_t inode_at(const char *path) {
    struct stat status;
    fault_suspend();
    int result = lstat(path, &status);
    fault_resume();
    return result == 0 ? status.st_ino : 0;
}

static socklen_t name_of(const char *path, struct sockaddr_un *name) {
    size_t length = strlen(path);
    assert_true(length <= sizeof name->sun_path);
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(name->sun_path, path, length);
    if (path[0] == '@') {
        name->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static int bound_to(const char *path) {
    struct sockaddr_un name;
    socklen_t length = name_of(path, &name);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    if (bind(descriptor, (struct sockaddr *)&name, length) != 0) {
        int errnum = errno;
        close(descriptor);
        errno = errnum;
        return -1;
    }
    return descriptor;
}

void leave_stale(const char *path) {
    int descriptor = bound_to(path);
    assert_true(descriptor >= 0);
    close(descriptor);
}

int raw_path_listener(const char *path) {
    int descriptor = bound_to(path);
    assert_int_equal(listen(descriptor, 10), 0);
    return descriptor;
}

int connect_to_path(const char *path) {
    struct sockaddr_un name;
    socklen_t length = name_of(path, &name);
    fault_suspend();
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(descriptor, (struct sockaddr *)&name, length) != 0) {
        int errnum = errno;
        close(descriptor);
        errno = errnum;
        descriptor = -1;
    }
    fault_resume();
    return descriptor;
}

void assert_refused_at(fixture *it, const char *path, csc_error error, const char *text) {
    ino_t before = inode_at(path);
    assert_false(csc_server_listen_path(it->server, path, -1, false));
    fixture_assert_error(it, error, text);
    assert_int_equal(inode_at(path), before);
    assert_false(csc_server_is_listening(it->server));
    assert_null(csc_server_path(it->server));
    assert_int_equal(csc_server_descriptor(it->server), -1);
}

void assert_serves_at(fixture *it, const char *path) {
    assert_true(fixture_own(it, connect_to_path(path)) >= 0);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    csc_connection connection = fixture_take(it);
    assert_true(is_non_blocking(connection.descriptor));
    assert_true(is_close_on_exec(connection.descriptor));
    assert_int_equal(connection.peer.family, CSC_FAMILY_UNIX);
    assert_int_equal(connection.peer.port, 0);
}
