// SPDX-License-Identifier: Apache-2.0

// A server whose process may not make every system call: where accepting is forbidden it says so
// and tries again, slowly; where everything is but what CServerCore.h names, it serves.
//
// A filter stays for good, so each is a child's, with a server of its own.

#include "fixture.h"
#include "named_calls.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 100, MOST_CALLS = 64 };

// Does otherwise to the calls in the list and listed to all others.
static bool filter(const int *calls, size_t count, uint32_t listed, uint32_t otherwise) {
    struct sock_filter program[1 + 2 * MOST_CALLS + 1] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    unsigned short length = 1;
    for (size_t i = 0; i < count; i++) {
        program[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
    }
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
    struct sock_fprog whole = {.len = length, .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) == 0;
}

static bool forbid_accepting(int errnum) {
    const int calls[] = {SYS_accept4, SYS_accept};
    return filter(calls, 2, SECCOMP_RET_ERRNO | (uint32_t)errnum, SECCOMP_RET_ALLOW);
}

// Those that CServerCore.h names for a server that listens, and those of malloc().
static bool allow_only_what_is_named(void) {
    int calls[MOST_CALLS];
    size_t count = 0;
    for (size_t i = 0; i < named_calls_count; i++) {
        if (named_calls[i].serves) {
            calls[count++] = named_calls[i].number;
        }
    }
    return filter(calls, count, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
}

static void end_run(evutil_socket_t descriptor, short events, void *base) {
    (void)descriptor, (void)events;
    event_base_loopbreak(base);
}

static void run_for(struct event_base *base, int msec) {
    struct timeval time = {.tv_sec = msec / 1000, .tv_usec = msec % 1000 * 1000};
    event_base_once(base, -1, EV_TIMEOUT, end_run, base, &time);
    event_base_dispatch(base);
}

static int told;
static csc_error error_told;

static void count_error(csc_server *server, csc_error error, void *context) {
    (void)server, (void)context;
    told++;
    error_told = error;
}

static void close_pending(csc_server *server, void *context) {
    csc_connection connection;
    (void)context;
    while (csc_server_next_pending(server, &connection)) {
        close(connection.descriptor);
    }
}

// A server in a child, with clients that wait for it.
typedef struct scene {
    struct event_base *base;
    csc_server *server;
    csc_address address;
} scene;

static bool begin(scene *scene, int clients) {
    csc_address address = address_of(own_loopback(), 0);
    scene->base = event_base_new();
    scene->server = csc_server_new(scene->base);
    csc_server_on_accept_error(scene->server, count_error, NULL);
    if (!csc_server_listen(scene->server, &address)) {
        return false;
    }
    scene->address = csc_server_address(scene->server);
    for (int i = 0; i < clients; i++) {
        if (connect_to(&scene->address) < 0) {
            return false;
        }
    }
    return true;
}

static csc_statistics statistics_of(const scene *scene) {
    csc_statistics statistics;
    csc_server_statistics(scene->server, &statistics, sizeof statistics);
    return statistics;
}

static void run_ready(const scene *scene) {
    for (int i = 0; i < 5; i++) {
        event_base_loop(scene->base, EVLOOP_NONBLOCK);
    }
}

// Until so many have been accepted, or for ten seconds.
static bool run_until_accepted(const scene *scene, uint64_t count) {
    for (int i = 0; i < 1000 && statistics_of(scene).accepted < count; i++) {
        run_for(scene->base, 10);
    }
    return statistics_of(scene).accepted == count;
}

// The child's status is 0, or the number of what was not as it should be.
typedef int (*childs_part)(int errnum);

static void in_child(childs_part part, int errnum) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        _exit(part(errnum));
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        fail_msg("killed by signal %d: a system call that is not named", WTERMSIG(status));
    }
    assert_int_equal(WEXITSTATUS(status), 0); // else which step it was
}

static int be_refused(int errnum) {
    scene scene;
    if (!begin(&scene, 1) || !forbid_accepting(errnum)) {
        return 1;
    }
    fault_stop_clock();
    static const int pauses[] = {0, 100, 200, 400};
    for (uint64_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        if (i > 0) {
            fault_advance_clock(pauses[i] - 1);
            run_ready(&scene);
            if (statistics_of(&scene).permission_errors != i) {
                return 2; // too early
            }
            fault_advance_clock(1);
        }
        run_ready(&scene);
        if (statistics_of(&scene).permission_errors != i + 1) {
            return 3; // not in time
        }
    }
    csc_statistics now = statistics_of(&scene);
    if (told != 1 || now.error_episodes != 1 ||
        error_told != csc_error_from_errno(CSC_CALL_ACCEPT, errnum, NULL)) {
        return 4;
    }
    if (!csc_server_is_listening(scene.server) || now.accept_queue != 1 || now.accepted != 0) {
        return 5;
    }
    bool timed_out = false; // in the back-off
    return csc_server_wait(scene.server, 0, &timed_out) || !timed_out ? 6 : 0;
}

static void who_may_not_accept_says_so_and_tries_again(void **state) {
    (void)state;
    const int errnums[] = {EPERM, EACCES, ENOSYS};
    for (size_t i = 0; i < sizeof errnums / sizeof errnums[0]; i++) {
        in_child(be_refused, errnums[i]);
    }
}

// By the loop with its limits and its check of the socket, by a wait, and in the end.
static int serve_with_what_is_named(int errnum) {
    scene scene;
    (void)errnum;
    if (!begin(&scene, CLIENTS) || !allow_only_what_is_named()) {
        return 1;
    }
    if (!run_until_accepted(&scene, 30)) {
        return 2;
    }
    close_pending(scene.server, NULL);
    csc_server_pause(scene.server);
    run_for(scene.base, 1100);
    if (!csc_server_wait(scene.server, 1000, NULL)) {
        return 3;
    }
    csc_server_on_new_connection(scene.server, close_pending, NULL);
    csc_server_resume(scene.server);
    close_pending(scene.server, NULL);
    run_for(scene.base, 1100);
    if (!run_until_accepted(&scene, CLIENTS) || statistics_of(&scene).delivered != CLIENTS ||
        told != 0) {
        return 4;
    }
    csc_server_free(scene.server);
    event_base_free(scene.base);
    return 0;
}

// With no more descriptors than a few.
static int shed_with_what_is_named(int errnum) {
    scene scene;
    (void)errnum;
    if (!begin(&scene, CLIENTS)) {
        return 1;
    }
    csc_server_set_overload_policy(scene.server, CSC_OVERLOAD_SHED);
    csc_server_set_max_pending(scene.server, CLIENTS);
    int last = dup(0);
    struct rlimit limit = {.rlim_cur = (rlim_t)last + 20, .rlim_max = (rlim_t)last + 20};
    close(last);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || !allow_only_what_is_named()) {
        return 2;
    }
    if (!run_until_accepted(&scene, CLIENTS)) {
        return 3;
    }
    csc_statistics now = statistics_of(&scene);
    return now.shed > 0 && now.pending + now.shed == CLIENTS && told > 0 ? 0 : 4;
}

static csc_admission refuse_some(csc_server *server, const csc_address *peer, void *context) {
    static int asked;
    (void)server, (void)peer, (void)context;
    return asked++ % 2 == 0 ? CSC_CLOSE : CSC_RESET;
}

static void ignore_rejection(csc_server *server, const csc_rejection *rejection, void *context) {
    (void)server, (void)context;
    if (rejection->local.family != CSC_FAMILY_IPV4) {
        _exit(9);
    }
}

// Rejecting in every way, waking, headroom, and the rest of what a program may ask for.
static int reject_with_what_is_named(int errnum) {
    scene scene;
    (void)errnum;
    if (!begin(&scene, 12)) {
        return 1;
    }
    csc_server_on_rejected(scene.server, ignore_rejection, NULL);
    csc_server_on_admission(scene.server, refuse_some, NULL);
    if (!allow_only_what_is_named()) {
        return 2;
    }
    csc_server_set_accept_batch(scene.server, 4);
    event_base_loop(scene.base, EVLOOP_ONCE);
    csc_server_on_admission(scene.server, NULL, NULL);
    csc_server_set_max_connections(scene.server, 0, CSC_EXCESS_RESET);
    event_base_loop(scene.base, EVLOOP_ONCE);
    csc_server_set_max_connections(scene.server, 0, CSC_EXCESS_CLOSE);
    run_ready(&scene);
    if (statistics_of(&scene).accepted != 12 || csc_server_descriptor_headroom(scene.server) <= 0) {
        return 3;
    }
    csc_server_wake(scene.server);
    csc_server_wait(scene.server, 10, NULL);
    csc_server_wait(scene.server, 10, NULL);
    csc_server_wake(scene.server);
    csc_server_finish(scene.server);
    csc_server_free(scene.server);
    event_base_free(scene.base);
    return 0;
}

static void the_header_names_each(void **state) {
    (void)state;
    static char header[200000];
    FILE *file = fopen(CSERVERCORE_HEADER, "re");
    assert_non_null(file);
    size_t length = fread(header, 1, sizeof header - 1, file);
    fclose(file);
    assert_true(length < sizeof header - 1);
    char *list = strstr(header, "- System calls: ");
    assert_non_null(list);
    char *end = strstr(list, "\n * - ");
    assert_non_null(end);
    *end = '\0';
    for (size_t i = 0; i < named_calls_count; i++) {
        if (named_calls[i].name && !strstr(list, named_calls[i].name)) {
            fail_msg("the header does not name %s", named_calls[i].name);
        }
    }
}

static void what_is_named_is_all_that_serving_needs(void **state) {
    (void)state;
    if (!fault_counts_allocations() || named_calls_are_enforced()) {
        skip(); // a sanitizer makes calls of its own, and so does what finds out who calls
    }
    in_child(serve_with_what_is_named, 0);
    in_child(shed_with_what_is_named, 0);
    in_child(reject_with_what_is_named, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_not_accept_says_so_and_tries_again),
        cmocka_unit_test(the_header_names_each),
        cmocka_unit_test(what_is_named_is_all_that_serving_needs),
    };
    return cmocka_run_group_tests_name("seccomp", tests, NULL, NULL);
}
