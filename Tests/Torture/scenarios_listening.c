// SPDX-License-Identifier: Apache-2.0

// How a server begins to listen, and what happens to its listening socket.

#include "torture.h"

#include <event2/event.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const csc_address anywhere = {.family = CSC_FAMILY_ANY};

static void serve_two(run *it) {
    run_connect(it, 2);
    run_serve(it, true);
}

static void listen_on_loopback(run *it) {
    if (run_start(it) && run_listen(it)) {
        serve_two(it);
    }
}

static void listen_on_all_interfaces(run *it) {
    if (run_start(it) && run_listen_on(it, &anywhere)) {
        serve_two(it);
        csc_statistics statistics;
        csc_server_statistics(it->server, &statistics, sizeof statistics);
    }
}

static void listen_without_ipv6(run *it) {
    fault_hide_ipv6(true);
    if (run_start(it) && run_listen_on(it, &anywhere)) {
        serve_two(it);
    }
}

// Twice the same port, so that the first must be gone.
static void listen_again(run *it) {
    if (!run_start(it) || !run_listen(it)) {
        return;
    }
    csc_address where = csc_server_address(it->server);
    serve_two(it);
    run_close(it);
    if (run_listen_on(it, &where)) {
        serve_two(it);
    }
}

static void leave_an_old_socket(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    unlink(path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bind(descriptor, (struct sockaddr *)&name, sizeof name);
    close(descriptor);
}

static void listen_at_a_path(run *it) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/torture-%d.socket", (int)getpid());
    fault_suspend();
    leave_an_old_socket(path);
    fault_resume();
    bool listened = run_start(it) && run_listen_path(it, path);
    if (listened) {
        serve_two(it);
        run_close(it);
    }
    fault_suspend();
    bool was_removed = access(path, F_OK) != 0;
    unlink(path);
    fault_resume();
    if (listened && !was_removed &&
        fault_failures(FAULT_LSTAT) + fault_failures(FAULT_UNLINK) == 0) {
        run_object(it, "its path is there after close");
    }
}

static void adopt_a_socket(run *it) {
    int descriptor = run_raw_listener();
    bool adopted = run_start(it) && run_adopt(it, descriptor);
    if (adopted) {
        serve_two(it);
        return;
    }
    fault_suspend();
    if (close(descriptor) != 0) {
        run_object(it, "a descriptor that was refused is gone");
    }
    fault_resume();
}

// The predecessor's side of a hand-over and the successor's, after the hello of that.
static csc_inherited *hand_over(int listener, const int ends[2]) {
    static const char hello[] = "TSK1\1\0\6\0\1\0\0\0\0\0";
    const csc_handover_listener listeners[] = {{"echo", listener}};
    csc_inherited *set = csc_inherited_new();
    csc_handover_values *sent = csc_handover_values_new();
    csc_handover_values *received = csc_handover_values_new();
    fault_suspend();
    send(ends[1], hello, sizeof hello - 1, MSG_NOSIGNAL);
    fault_resume();
    if (set && sent && received) {
        csc_handover_set_secret(sent, "ticket keys", "secret", 6);
        csc_handover_set_counter(sent, "served", 1);
        if (csc_handover_offer(ends[0], listeners, 1, sent) == 0 &&
            csc_handover_receive(ends[1], set, received) == 0) {
            csc_handover_ready(ends[1]);
            csc_handover_wait_ready(ends[0], 0);
        }
    }
    csc_handover_values_free(sent);
    csc_handover_values_free(received);
    return set;
}

static void take_over_a_socket(run *it) {
    int ends[2];
    int listener = run_raw_listener();
    fault_suspend();
    bool has_pair = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0;
    fault_resume();
    if (!has_pair) {
        run_object(it, "there is no pair of sockets");
        return;
    }
    csc_inherited *set = hand_over(listener, ends);
    fault_suspend();
    close(ends[0]);
    close(ends[1]);
    close(listener);
    fault_resume();
    int received = set && csc_inherited_count(set) == 1 ? csc_inherited_take(set, 0) : -1;
    csc_inherited_free(set);
    if (received >= 0 && run_start(it) && run_adopt(it, received)) {
        serve_two(it);
    } else if (received >= 0) {
        fault_suspend();
        close(received);
        fault_resume();
    }
}

static void close_with_connections(run *it) {
    if (run_start(it) && run_listen(it)) {
        run_connect(it, 3);
        run_serve(it, false);
        run_connect(it, 2);
        run_close(it);
    }
}

static void free_with_connections(run *it) {
    if (run_start(it) && run_listen(it)) {
        run_connect(it, 3);
        run_serve(it, false);
        run_connect(it, 2);
        run_free(it);
    }
}

// Three seconds of looks at the socket, one while accepting pauses.
static void look_after_the_socket(run *it) {
    if (!run_start(it) || !run_listen(it)) {
        return;
    }
    for (int second = 0; second < 3; second++) {
        if (second == 1) {
            csc_server_pause(it->server);
        }
        fault_advance_clock(1000);
        run_turn(it);
        csc_server_resume(it->server);
    }
    serve_two(it);
}

static void somebody_closes_the_socket(run *it) {
    if (!run_start(it) || !run_listen(it)) {
        return;
    }
    serve_two(it);
    int descriptor = csc_server_descriptor(it->server);
    if (descriptor < 0) {
        return;
    }
    fault_suspend();
    close(descriptor);
    fault_resume();
    for (int turn = 0; turn < 60 && run_is_listening(it); turn++) {
        fault_advance_clock(25);
        run_turn(it);
    }
}

const scenario listening_scenarios[] = {
    {"listen", listen_on_loopback},
    {"listen on all interfaces", listen_on_all_interfaces},
    {"listen without IPv6", listen_without_ipv6},
    {"listen again", listen_again},
    {"listen at a path", listen_at_a_path},
    {"adopt", adopt_a_socket},
    {"take over", take_over_a_socket},
    {"close with connections", close_with_connections},
    {"free with connections", free_with_connections},
    {"look after the socket", look_after_the_socket},
    {"somebody closes the socket", somebody_closes_the_socket},
    {NULL, NULL},
};
