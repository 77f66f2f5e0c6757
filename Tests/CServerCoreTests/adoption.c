// SPDX-License-Identifier: Apache-2.0

// Taking over a descriptor: what is refused stays as it was and the caller's; what is taken is the
// server's.

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int backlog_of(const fixture *it) {
    return (int)fixture_statistics(it).accept_queue_limit;
}

// A connection through the server, to show that it works.
static void assert_serves(fixture *it) {
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    csc_connection connection = fixture_take(it);
    assert_true(is_non_blocking(connection.descriptor));
    assert_true(is_close_on_exec(connection.descriptor));
}

static void assert_refused(fixture *it, int descriptor, const char *text) {
    int file_flags = fcntl(descriptor, F_GETFL);
    int own_flags = fcntl(descriptor, F_GETFD);
    assert_false(csc_server_adopt(it->server, descriptor));
    fixture_assert_error(it, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION, text);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(csc_server_descriptor(it->server), -1);
    fault_clear();
    assert_int_equal(fcntl(descriptor, F_GETFL), file_flags);
    assert_int_equal(fcntl(descriptor, F_GETFD), own_flags);
    // The server is none the worse.
    fixture_listen(it);
    csc_server_close(it->server);
    assert_int_equal(fcntl(descriptor, F_GETFD), own_flags);
}

static void what_is_not_a_descriptor_is_refused(void **state) {
    fixture *it = *state;
    int closed = fcntl(0, F_DUPFD_CLOEXEC, 500);
    close(closed);
    assert_refused(it, -1, "Invalid socket descriptor");
    assert_refused(it, closed, "Invalid socket descriptor");
    assert_refused(it, 1 << 30, "Invalid socket descriptor");
}

static void what_is_not_a_socket_is_refused(void **state) {
    fixture *it = *state;
    static const char text[] = "The descriptor is not a socket";
    char path[] = "/tmp/adoption-XXXXXX";
    int ends[2];
    char byte = 'x';

    int file = fixture_own(it, mkstemp(path));
    unlink(path);
    assert_refused(it, file, text);
    assert_int_equal(write(file, &byte, 1), 1);

    assert_int_equal(pipe(ends), 0);
    fixture_own(it, ends[0]);
    fixture_own(it, ends[1]);
    assert_refused(it, ends[0], text);
    assert_refused(it, ends[1], text);
    assert_int_equal(write(ends[1], &byte, 1), 1);
    assert_int_equal(read(ends[0], &byte, 1), 1);

    assert_refused(it, fixture_own(it, epoll_create1(0)), text);

    // A descriptor that is for a path alone (O_PATH) allows no socket call.
    int path_only = fixture_own(it, open("/dev/null", O_PATH));
    assert_refused(it, path_only, "Invalid socket descriptor");
}

static void what_is_not_a_stream_socket_is_refused(void **state) {
    fixture *it = *state;
    static const char text[] = "The descriptor is not a stream socket";
    int udp = fixture_own(it, socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in name = {.sin_family = AF_INET};
    assert_refused(it, udp, text);
    assert_int_equal(bind(udp, (struct sockaddr *)&name, sizeof name), 0);
    assert_refused(it, udp, text);

    int netlink = fixture_own(it, socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    assert_true(netlink >= 0);
    assert_refused(it, netlink, text);
}

static void a_vsock_listener_is_refused(void **state) {
    fixture *it = *state;
    struct sockaddr_vm name = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY};
    int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (listener < 0) {
        print_message("skipped: the kernel has no vsock\n");
        skip();
    }
    fixture_own(it, listener);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) == 0) {
        listen(listener, 1);
    }
    assert_refused(it, listener, "The descriptor is not an IPv4, IPv6 or UNIX socket");
}

static void a_stream_socket_that_is_not_tcp_is_refused(void **state) {
    fixture *it = *state;
    static const int protocols[] = {IPPROTO_SCTP, 256 /* IPPROTO_SMC */};
    int listener = -1;
    for (size_t i = 0; listener < 0 && i < sizeof protocols / sizeof protocols[0]; i++) {
        listener = socket(AF_INET, SOCK_STREAM, protocols[i]);
    }
    if (listener < 0) {
        // The kernel has neither: say so of a socket that has all else right.
        listener = raw_listener("127.0.0.1", 1);
        fault_answer_option(3, IPPROTO_SCTP);
    }
    fixture_own(it, listener);
    assert_refused(it, listener, "The descriptor is not a TCP socket");
}

static void a_tcp_socket_that_does_not_listen_is_refused(void **state) {
    fixture *it = *state;
    static const char text[] = "The descriptor is not a listening socket";
    int unbound = fixture_own(it, socket(AF_INET, SOCK_STREAM, 0));
    assert_refused(it, unbound, text);

    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(unbound, (struct sockaddr *)&name, sizeof name), 0);
    assert_refused(it, unbound, text);

    fixture_listen(it);
    int client = fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, NULL));
    int accepted = fixture_take(it).descriptor;
    csc_server_close(it->server);
    assert_refused(it, client, text);
    assert_refused(it, accepted, text);
    char byte = 'x';
    assert_int_equal(send(client, &byte, 1, MSG_NOSIGNAL), 1);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    fcntl(accepted, F_SETFL, 0);
    assert_int_equal(recv(accepted, &byte, 1, 0), 1);
}

static void a_descriptor_of_another_server_is_refused(void **state) {
    fixture *it = *state;
    csc_server *other = csc_server_new(NULL);
    csc_address address = address_of("127.0.0.1", 0);
    bool listening = csc_server_listen(other, &address);
    int descriptor = csc_server_descriptor(other);
    assert_false(csc_server_adopt(it->server, descriptor));
    fixture_assert_error(it, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
                         "The descriptor already belongs to a server");
    csc_server_close(it->server);

    // The owner goes on with it, and a duplicate is another descriptor.
    bool still_listening = csc_server_is_listening(other);
    assert_true(csc_server_adopt(it->server, fcntl(descriptor, F_DUPFD_CLOEXEC, 0)));
    csc_server_free(other);
    assert_true(listening && still_listening);
    assert_serves(it);
}

static void adopting_while_listening_is_refused_and_changes_nothing(void **state) {
    fixture *it = *state;
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    fixture_listen(it);
    int descriptor = csc_server_descriptor(it->server);
    assert_false(csc_server_adopt(it->server, listener));
    fixture_assert_error(it, CSC_ERROR_OPERATION,
                         "setSocketDescriptor() called when already listening");
    assert_false(csc_server_adopt(it->server, descriptor));
    assert_int_equal(csc_server_descriptor(it->server), descriptor);
    assert_false(is_non_blocking(listener));
    assert_serves(it);
}

static void a_good_listener_is_taken_as_it_is(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    static const struct {
        const char *literal;
        csc_family family;
    } rows[] = {
        {"127.0.0.1", CSC_FAMILY_IPV4},
        {"0.0.0.0", CSC_FAMILY_IPV4},
        {"::1", CSC_FAMILY_IPV6},
        {"*", CSC_FAMILY_ANY}, // `::` with IPV6_V6ONLY off, the system's default
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int listener = raw_listener(rows[i].literal, 5);
        int on = 1;
        setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        assert_true(csc_server_adopt(it->server, listener));
        assert_int_equal(csc_server_descriptor(it->server), listener);
        csc_address address = csc_server_address(it->server);
        assert_int_equal(address.family, rows[i].family);
        assert_true(address.port > 0);
        assert_true(is_non_blocking(listener));
        assert_true(is_close_on_exec(listener));
        assert_int_equal(backlog_of(it), 5);
        int reuse = -1;
        socklen_t length = sizeof reuse;
        getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, &length);
        assert_int_equal(reuse, 0);
        getsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, &length);
        assert_int_equal(on, 1);
        assert_serves(it);

        csc_server_close(it->server);
        assert_int_equal(fcntl(listener, F_GETFD), -1);
        assert_int_equal(errno, EBADF);
    }
}

static void a_v6_only_wildcard_is_not_any(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    struct sockaddr_in6 name = {.sin6_family = AF_INET6};
    int on = 1;
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_true(csc_server_adopt(it->server, listener));
    assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_IPV6);
}

static void a_multipath_listener_is_taken(void **state) {
    fixture *it = *state;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    if (listener < 0) {
        print_message("skipped: the kernel has no MPTCP\n");
        skip();
    }
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_true(csc_server_adopt(it->server, listener));
    assert_serves(it);
}

static void connections_that_waited_before_adoption_are_accepted(void **state) {
    fixture *it = *state;
    int listener = raw_listener("127.0.0.1", 5);
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &length), 0);
    assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &address));
    fixture_own(it, connect_to(&address));
    fixture_own(it, connect_to(&address));
    fixture_watch(it);
    assert_true(csc_server_adopt(it->server, listener));
    fixture_run_until(it, &it->new_connections, 2);
    assert_int_equal(fixture_take_all(it), 2);
}

static void whichever_call_fails_the_descriptor_is_untouched(void **state) {
    fixture *it = *state;
    for (int call = 0; call < FAULT_CALLS; call++) {
        uint64_t failed = 1;
        for (int nth = 1; failed > 0; nth++) {
            int listener = raw_listener("127.0.0.1", 5);
            fault_reset_counts();
            fault_fail((fault_call)call, nth, 1, ENOMEM);
            bool adopted = csc_server_adopt(it->server, listener);
            failed = fault_failures((fault_call)call);
            fault_clear();
            if (adopted) {
                assert_serves(it);
                csc_server_close(it->server);
            } else {
                assert_int_equal(csc_server_descriptor(it->server), -1);
                assert_false(is_non_blocking(listener));
                assert_false(is_close_on_exec(listener));
                close(listener);
            }
        }
    }
}

static void a_descriptor_that_cannot_be_made_non_blocking_is_refused(void **state) {
    fixture *it = *state;
    // assert_refused() calls fcntl twice before it adopts; the server's first call only looks
    // whether the descriptor is open.
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    for (int nth = 2; nth <= 5; nth++) {
        fault_fail(FAULT_FCNTL, 2 + nth, 1, EPERM);
        assert_refused(it, listener, "Unable to initialize non-blocking socket");
    }
}

static void a_descriptor_the_loop_cannot_watch_is_refused(void **state) {
    fixture *it = *state;
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOSPC);
    assert_false(csc_server_adopt(it->server, listener));
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_false(is_non_blocking(listener));
    assert_false(is_close_on_exec(listener));
    fixture_listen(it);
    assert_serves(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(what_is_not_a_descriptor_is_refused),
        fact(what_is_not_a_socket_is_refused),
        fact(what_is_not_a_stream_socket_is_refused),
        fact(a_vsock_listener_is_refused),
        fact(a_stream_socket_that_is_not_tcp_is_refused),
        fact(a_tcp_socket_that_does_not_listen_is_refused),
        fact(a_descriptor_of_another_server_is_refused),
        fact(adopting_while_listening_is_refused_and_changes_nothing),
        fact(a_good_listener_is_taken_as_it_is),
        fact(a_v6_only_wildcard_is_not_any),
        fact(a_multipath_listener_is_taken),
        fact(connections_that_waited_before_adoption_are_accepted),
        fact(whichever_call_fails_the_descriptor_is_untouched),
        fact(a_descriptor_that_cannot_be_made_non_blocking_is_refused),
        fact(a_descriptor_the_loop_cannot_watch_is_refused),
    };
    return cmocka_run_group_tests_name("adoption", tests, NULL, NULL);
}
