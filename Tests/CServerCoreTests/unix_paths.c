// SPDX-License-Identifier: Apache-2.0

// The file of a UNIX socket: how it is made, which one may be replaced, and when it is removed.

#include "children.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char in_use[] = "The bound address is already in use";
static const char foreign[] = "What is at the path is not a socket";
static const char too_long[] = "The path of a socket has 1 to 107 bytes";

static void listen_at(fixture *it, const char *path) {
    if (!csc_server_listen_path(it->server, path, -1, false)) {
        fail_msg("%s: %s", path, csc_server_error_string(it->server));
    }
}

static mode_t mode_of(const char *path) {
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    return status.st_mode & 07777;
}

static void a_path_is_served_and_removed(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    listen_at(it, at.path);
    assert_true(csc_server_is_listening(it->server));
    assert_string_equal(csc_server_path(it->server), at.path);
    assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_UNIX);
    assert_int_equal(csc_server_port(it->server), 0);
    assert_true(is_close_on_exec(csc_server_descriptor(it->server)));
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    assert_null(csc_server_path(it->server));
    assert_int_equal(inode_at(at.path), 0);
    listen_at(it, at.path);
    assert_serves_at(it, at.path);
    fixture_free_server(it);
    folder_remove(&at);
}

// Whatever the umask, and before clients can come.
static void the_file_has_the_permissions_asked_for(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    static const int asked[] = {0600, 0660, 0777, 0};
    static const mode_t masks[] = {0, 022, 0777};
    for (size_t mask = 0; mask < sizeof masks / sizeof masks[0]; mask++) {
        mode_t before = umask(masks[mask]);
        for (size_t index = 0; index < sizeof asked / sizeof asked[0]; index++) {
            assert_true(csc_server_listen_path(it->server, at.path, asked[index], false));
            assert_int_equal(mode_of(at.path), asked[index]);
            csc_server_close(it->server);
        }
        listen_at(it, at.path);
        assert_int_equal(mode_of(at.path), CSC_PATH_PERMISSIONS);
        csc_server_close(it->server);
        umask(before);
    }
    folder_remove(&at);
}

static void permissions_are_set_before_clients_can_come(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    fault_reset_counts();
    fault_fail(FAULT_CHMOD, 1, 1, EPERM);
    assert_refused_at(it, at.path, CSC_ERROR_SOCKET_ACCESS, "The permissions cannot be set");
    assert_int_equal(fault_calls(FAULT_LISTEN), 0);
    folder_remove(&at);
}

static void other_permissions_are_refused(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    static const int wrong[] = {-2, 01000, 04755};
    for (size_t index = 0; index < sizeof wrong / sizeof wrong[0]; index++) {
        assert_false(csc_server_listen_path(it->server, at.path, wrong[index], false));
        fixture_assert_error(it, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
                             "Permissions are numbers from 0 to 0777");
    }
    folder_remove(&at);
}

static void what_an_ended_server_left_is_replaced(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    leave_stale(at.path);
    ino_t stale = inode_at(at.path);
    assert_false(csc_server_listen_path(it->server, at.path, -1, true));
    fixture_assert_error(it, CSC_ERROR_ADDRESS_IN_USE, in_use);
    assert_int_equal(inode_at(at.path), stale);
    listen_at(it, at.path);
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    folder_remove(&at);
}

static void a_file_that_goes_meanwhile_is_in_nobodys_way(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    leave_stale(at.path);
    fault_fail(FAULT_CONNECT, 1, 1, ENOENT);
    // It does not go here, so that binding fails; it is not taken for another's either.
    assert_false(csc_server_listen_path(it->server, at.path, -1, false));
    fault_clear();
    fixture_assert_error(it, CSC_ERROR_ADDRESS_IN_USE, in_use);
    listen_at(it, at.path);
    assert_false(csc_server_listen_path(it->server, at.path, -1, false));
    assert_true(csc_server_is_listening(it->server));
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    folder_remove(&at);
}

static void a_second_server_fails_and_the_first_serves_on(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    csc_server *second = csc_server_new(NULL);
    listen_at(it, at.path);
    ino_t file = inode_at(at.path);
    for (int keep_stale = 0; keep_stale < 2; keep_stale++) {
        assert_false(csc_server_listen_path(second, at.path, -1, keep_stale));
        assert_int_equal(csc_server_error(second), CSC_ERROR_ADDRESS_IN_USE);
        assert_string_equal(csc_server_error_string(second), in_use);
    }
    csc_server_free(second);
    assert_int_equal(inode_at(at.path), file);
    assert_true(csc_server_wait(it->server, 10000, NULL)); // the question whether it serves
    fixture_take(it);
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    folder_remove(&at);
}

// A server whose queue is full does not refuse: it is busy.
static void a_busy_server_is_not_replaced(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    int listener = fixture_own(it, raw_path_listener(at.path));
    assert_true(listener >= 0);
    int client;
    while ((client = connect_to_path(at.path)) >= 0) {
        fixture_own(it, client);
    }
    assert_int_equal(errno, EAGAIN);
    assert_refused_at(it, at.path, CSC_ERROR_ADDRESS_IN_USE, in_use);
    unlink(at.path);
    folder_remove(&at);
}

static void what_is_no_socket_stays(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    char other[PATH_ROOM + 8];
    snprintf(other, sizeof other, "%s.other", at.path);

    fixture_close(it, fixture_own(it, open(at.path, O_CREAT | O_WRONLY, 0600)));
    assert_refused_at(it, at.path, CSC_ERROR_ADDRESS_IN_USE, foreign);
    unlink(at.path);

    leave_stale(other);
    assert_int_equal(symlink(other, at.path), 0);
    assert_refused_at(it, at.path, CSC_ERROR_ADDRESS_IN_USE, foreign);
    assert_true(inode_at(other) != 0);
    unlink(other);
    assert_refused_at(it, at.path, CSC_ERROR_ADDRESS_IN_USE, foreign); // a link to nothing
    unlink(at.path);

    assert_int_equal(mkfifo(at.path, 0600), 0);
    assert_refused_at(it, at.path, CSC_ERROR_ADDRESS_IN_USE, foreign);
    unlink(at.path);

    assert_int_equal(mkdir(at.path, 0700), 0);
    assert_refused_at(it, at.path, CSC_ERROR_ADDRESS_IN_USE, foreign);
    rmdir(at.path);
    folder_remove(&at);
}

static void another_users_socket_stays(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    leave_stale(at.path);
    bool given = geteuid() == 0 && lchown(at.path, 12345, 12345) == 0;
    if (given) {
        assert_refused_at(it, at.path, CSC_ERROR_SOCKET_ACCESS,
                          "The socket at the path is another user's");
    }
    unlink(at.path);
    folder_remove(&at);
    if (!given) {
        skip();
    }
}

static void the_longest_path_is_107_bytes(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    char path[CSC_PATH_MOST + 2];
    size_t used = (size_t)snprintf(path, sizeof path, "%s/", at.name);
    memset(path + used, 'x', sizeof path - used);
    path[CSC_PATH_MOST + 1] = '\0';
    assert_refused_at(it, path, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, too_long);
    path[CSC_PATH_MOST] = '\0';
    listen_at(it, path);
    assert_string_equal(csc_server_path(it->server), path);
    assert_serves_at(it, path);
    csc_server_close(it->server);
    assert_refused_at(it, "", CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, too_long);
    folder_remove(&at);
}

static void a_path_that_leads_nowhere_is_explained(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    char below[PATH_ROOM + 8];
    snprintf(below, sizeof below, "%s/below", at.path);
    assert_refused_at(it, below, CSC_ERROR_HOST_NOT_FOUND, "The folder of the path does not exist");
    fixture_close(it, fixture_own(it, open(at.path, O_CREAT | O_WRONLY, 0600)));
    assert_refused_at(it, below, CSC_ERROR_HOST_NOT_FOUND, "A part of the path is not a folder");
    unlink(at.path);
    assert_int_equal(symlink("socket", at.path), 0);
    assert_refused_at(it, below, CSC_ERROR_HOST_NOT_FOUND, "The path has too many symbolic links");
    unlink(at.path);
    folder_remove(&at);
}

static void a_relative_path_is_served_too(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    char before[PATH_ROOM];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(at.name), 0);
    leave_stale("socket");
    listen_at(it, "socket");
    assert_string_equal(csc_server_path(it->server), "socket");
    assert_serves_at(it, at.path);
    assert_int_equal(chdir(before), 0);
    csc_server_close(it->server);
    folder_remove(&at); // fails where the file is left
}

static void only_its_own_file_is_removed(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    listen_at(it, at.path);
    unlink(at.path);
    csc_server_close(it->server); // nothing is there

    listen_at(it, at.path);
    unlink(at.path);
    leave_stale(at.path);
    ino_t others = inode_at(at.path);
    csc_server_close(it->server);
    assert_int_equal(inode_at(at.path), others);

    listen_at(it, at.path);
    unlink(at.path);
    fixture_close(it, fixture_own(it, open(at.path, O_CREAT | O_WRONLY, 0600)));
    csc_server_close(it->server);
    assert_true(inode_at(at.path) != 0);
    unlink(at.path);
    folder_remove(&at);
}

static void a_child_leaves_the_file_to_its_parent(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    listen_at(it, at.path);
    ino_t file = inode_at(at.path);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        csc_server_free(it->server);
        leave_child(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(inode_at(at.path), file);
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    folder_remove(&at);
}

static void a_released_socket_keeps_its_file(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    listen_at(it, at.path);
    ino_t file = inode_at(at.path);
    int descriptor = csc_server_release(it->server);
    assert_int_equal(inode_at(at.path), file);
    assert_true(csc_server_adopt(it->server, descriptor));
    assert_string_equal(csc_server_path(it->server), at.path);
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    assert_int_equal(inode_at(at.path), file); // whose it is the server cannot know
    unlink(at.path);
    folder_remove(&at);
}

static void an_abstract_name_has_no_file(void **state) {
    fixture *it = *state;
    char name[64];
    snprintf(name, sizeof name, "@tcpserverkit/%d/abstract", (int)getpid());
    assert_false(csc_server_listen_path(it->server, name, 0660, false));
    fixture_assert_error(it, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
                         "An abstract name has no permissions");
    listen_at(it, name);
    assert_string_equal(csc_server_path(it->server), name);
    assert_int_equal(inode_at(name), 0);
    assert_serves_at(it, name);
    csc_server *second = csc_server_new(NULL);
    assert_false(csc_server_listen_path(second, name, -1, false));
    assert_int_equal(csc_server_error(second), CSC_ERROR_ADDRESS_IN_USE);
    csc_server_close(it->server);
    assert_true(csc_server_listen_path(second, name, -1, false));
    csc_server_free(second);
    assert_refused_at(it, "@", CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, too_long);
}

static int refuse_socket(csc_server *server, int descriptor, void *context) {
    (void)server, (void)descriptor, (void)context;
    return EDOM;
}

static int close_server(csc_server *server, int descriptor, void *context) {
    (void)descriptor, (void)context;
    csc_server_close(server);
    return 0;
}

static void the_socket_callback_may_refuse(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    csc_server_on_socket(it->server, refuse_socket, NULL);
    assert_refused_at(it, at.path, CSC_ERROR_UNKNOWN, "Unknown error");
    assert_int_equal(csc_server_errno(it->server), EDOM);
    csc_server_on_socket(it->server, close_server, NULL);
    assert_refused_at(it, at.path, CSC_ERROR_UNKNOWN, "Unknown error");
    assert_int_equal(csc_server_errno(it->server), ECANCELED);
    folder_remove(&at);
}

typedef struct injected {
    fault_call call;
    int nth;
    int errnum;
    csc_error error;
    const char *text;
} injected;

// lstat: of the folder, of what is there, of the new file. socket: the lock, the question, its own.
static void whatever_fails_is_explained_and_leaves_no_server(void **state) {
    fixture *it = *state;
    static const injected all[] = {
        {FAULT_LSTAT, 1, EACCES, CSC_ERROR_SOCKET_ACCESS, "Permission denied"},
        {FAULT_LSTAT, 2, EACCES, CSC_ERROR_SOCKET_ACCESS, "Permission denied"},
        {FAULT_LSTAT, 3, ENOMEM, CSC_ERROR_SOCKET_RESOURCE, "Out of resources"},
        {FAULT_SOCKET, 1, EMFILE, CSC_ERROR_SOCKET_RESOURCE, "Out of resources"},
        {FAULT_SOCKET, 2, EMFILE, CSC_ERROR_SOCKET_RESOURCE, "Out of resources"},
        {FAULT_SOCKET, 3, EMFILE, CSC_ERROR_SOCKET_RESOURCE, "Out of resources"},
        {FAULT_UNLINK, 1, EPERM, CSC_ERROR_SOCKET_ACCESS,
         "The file of an ended server cannot be removed"},
        {FAULT_UNLINK, 1, EROFS, CSC_ERROR_SOCKET_ACCESS, "The file system can only be read"},
        {FAULT_BIND, 1, EADDRINUSE, CSC_ERROR_ADDRESS_IN_USE, in_use}, // the lock
        {FAULT_BIND, 2, EROFS, CSC_ERROR_SOCKET_ACCESS, "The file system can only be read"},
        {FAULT_BIND, 2, ENOSPC, CSC_ERROR_SOCKET_RESOURCE,
         "No space is left for the socket's file"},
        {FAULT_CONNECT, 1, EACCES, CSC_ERROR_ADDRESS_IN_USE, in_use},
        {FAULT_LISTEN, 1, ENOMEM, CSC_ERROR_SOCKET_RESOURCE, "Out of resources"},
        {FAULT_TIMERFD_CREATE, 1, EMFILE, CSC_ERROR_SOCKET_RESOURCE, "Out of resources"},
    };
    for (size_t index = 0; index < sizeof all / sizeof all[0]; index++) {
        folder at = folder_make();
        leave_stale(at.path);
        fault_fail(all[index].call, all[index].nth, 1, all[index].errnum);
        assert_false(csc_server_listen_path(it->server, at.path, -1, false));
        fixture_assert_error(it, all[index].error, all[index].text);
        fault_clear();
        listen_at(it, at.path);
        assert_serves_at(it, at.path);
        csc_server_close(it->server);
        folder_remove(&at);
    }
}

static void without_memory_there_is_no_server_and_no_file(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        skip();
    }
    bool listens = false;
    for (int nth = 1; !listens; nth++) {
        folder at = folder_make();
        fault_fail_allocation(nth, 1);
        listens = csc_server_listen_path(it->server, at.path, -1, false);
        fault_clear();
        assert_true(listens == (nth > 1 && inode_at(at.path) != 0));
        if (!listens) {
            fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        }
        csc_server_close(it->server);
        folder_remove(&at);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_path_is_served_and_removed),
        fact(the_file_has_the_permissions_asked_for),
        fact(permissions_are_set_before_clients_can_come),
        fact(other_permissions_are_refused),
        fact(what_an_ended_server_left_is_replaced),
        fact(a_file_that_goes_meanwhile_is_in_nobodys_way),
        fact(a_second_server_fails_and_the_first_serves_on),
        fact(a_busy_server_is_not_replaced),
        fact(what_is_no_socket_stays),
        fact(another_users_socket_stays),
        fact(the_longest_path_is_107_bytes),
        fact(a_path_that_leads_nowhere_is_explained),
        fact(a_relative_path_is_served_too),
        fact(only_its_own_file_is_removed),
        fact(a_child_leaves_the_file_to_its_parent),
        fact(a_released_socket_keeps_its_file),
        fact(an_abstract_name_has_no_file),
        fact(the_socket_callback_may_refuse),
        fact(whatever_fails_is_explained_and_leaves_no_server),
        fact(without_memory_there_is_no_server_and_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
