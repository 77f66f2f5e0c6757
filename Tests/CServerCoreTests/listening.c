// SPDX-License-Identifier: Apache-2.0

// Listening and no longer listening: what is reported, what fails and how, what is left behind.

#include "fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int option_of(int descriptor, int level, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(descriptor, level, option, &value, &length), 0);
    return value;
}

static int first_number_in(const char *path, const char *prefix) {
    char line[256];
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    int number = -1;
    while (number < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, prefix, strlen(prefix)) == 0) {
            number = atoi(line + strlen(prefix));
        }
    }
    fclose(file);
    return number;
}

static void assert_not_listening(const fixture *it) {
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(csc_server_descriptor(it->server), -1);
    assert_int_equal(csc_server_port(it->server), 0);
    assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_NONE);
}

// A failed listen leaves nothing behind (the fixture counts the descriptors), and the next one
// works.
static void assert_listen_fails(fixture *it, const csc_address *address, csc_error error,
                                const char *text) {
    assert_false(csc_server_listen(it->server, address));
    fixture_assert_error(it, error, text);
    assert_not_listening(it);
    fault_clear();
    fixture_listen(it);
    fixture_assert_error(it, error, text);
    csc_server_close(it->server);
}

static void assert_serves(fixture *it) {
    bool timed_out = true;
    fixture_connect(it);
    assert_true(csc_server_wait(it->server, 10000, &timed_out));
    assert_false(timed_out);
    fixture_take(it);
}

static bool connects(const csc_address *address) {
    int descriptor = connect_to(address);
    if (descriptor < 0) {
        assert_int_equal(errno, ECONNREFUSED);
        return false;
    }
    close(descriptor);
    return true;
}

static void a_new_server_has_its_documented_settings(void **state) {
    fixture *it = *state;
    assert_not_listening(it);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
    assert_false(csc_server_has_pending(it->server));
    assert_int_equal(csc_server_max_pending(it->server), 30);
    assert_int_equal(csc_server_backlog(it->server), INT_MAX);
    assert_int_equal(csc_server_accept_batch(it->server), 64);
    assert_int_equal(csc_server_expected_descriptors(it->server), 65536);
    assert_int_equal(csc_server_overload_policy(it->server), CSC_OVERLOAD_WAIT);
}

static void settings_read_back_as_they_were_set(void **state) {
    fixture *it = *state;
    static const int numbers[] = {0, -1, INT_MIN, INT_MAX, 1, 100};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        csc_server_set_max_pending(it->server, numbers[i]);
        csc_server_set_backlog(it->server, numbers[i]);
        csc_server_set_accept_batch(it->server, numbers[i]);
        csc_server_set_expected_descriptors(it->server, numbers[i]);
        assert_int_equal(csc_server_max_pending(it->server), numbers[i]);
        assert_int_equal(csc_server_backlog(it->server), numbers[i]);
        assert_int_equal(csc_server_accept_batch(it->server), numbers[i] < 1 ? 1 : numbers[i]);
        assert_int_equal(csc_server_expected_descriptors(it->server), numbers[i]);
    }
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
    assert_int_equal(csc_server_overload_policy(it->server), CSC_OVERLOAD_STRICT);
}

static void port_zero_lets_the_kernel_choose(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    assert_true(csc_server_is_listening(it->server));
    assert_true(csc_server_descriptor(it->server) >= 0);
    assert_true(csc_server_port(it->server) > 0);
    csc_address expected = address_of(own_loopback(), csc_server_port(it->server));
    csc_address address = csc_server_address(it->server);
    assert_memory_equal(&address, &expected, sizeof address);
    fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
}

static void a_server_listens_again_on_the_port_it_had(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    for (int i = 0; i < 3; i++) {
        assert_serves(it); // a connection of the port stays open, another is in TIME_WAIT
        fixture_connect(it);
        csc_server_close(it->server);
        assert_not_listening(it);
        assert_false(connects(&address));
        assert_true(csc_server_listen(it->server, &address));
        assert_int_equal(csc_server_port(it->server), address.port);
    }
}

static void close_is_harmless_at_any_time(void **state) {
    fixture *it = *state;
    csc_server_close(it->server);
    fixture_listen(it);
    csc_server_close(it->server);
    csc_server_close(it->server);
    assert_not_listening(it);
}

static void close_keeps_settings_and_the_last_error(void **state) {
    fixture *it = *state;
    csc_server_set_max_pending(it->server, 7);
    csc_server_set_backlog(it->server, 9);
    csc_server_set_error(it->server, CSC_ERROR_NETWORK, "set by a test");
    fixture_listen(it);
    csc_server_close(it->server);
    assert_int_equal(csc_server_max_pending(it->server), 7);
    assert_int_equal(csc_server_backlog(it->server), 9);
    fixture_assert_error(it, CSC_ERROR_NETWORK, "set by a test");
}

static void listening_twice_is_refused_and_changes_nothing(void **state) {
    fixture *it = *state;
    csc_address other = address_of("127.0.0.2", 0);
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    int descriptor = csc_server_descriptor(it->server);
    assert_false(csc_server_listen(it->server, &other));
    fixture_assert_error(it, CSC_ERROR_OPERATION, "listen() called when already listening");
    csc_address after = csc_server_address(it->server);
    assert_memory_equal(&address, &after, sizeof address);
    assert_int_equal(csc_server_descriptor(it->server), descriptor);
    assert_serves(it);
}

static void the_listening_socket_has_the_documented_options(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    int descriptor = csc_server_descriptor(it->server);
    assert_true(is_non_blocking(descriptor));
    assert_true(is_close_on_exec(descriptor));
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_OOBINLINE), 1);
}

static void the_backlog_is_the_length_of_the_kernels_queue(void **state) {
    fixture *it = *state;
    uint64_t most = (uint64_t)first_number_in("/proc/sys/net/core/somaxconn", "");
    const struct {
        int backlog;
        uint64_t limit;
    } rows[] = {{7, 7}, {0, 0}, {1, 1}, {-1, most}, {INT_MAX, most}};
    fixture_listen(it);
    assert_int_equal(fixture_statistics(it).accept_queue_limit, most);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        csc_server_close(it->server);
        csc_server_set_backlog(it->server, rows[i].backlog);
        fixture_listen(it);
        assert_int_equal(fixture_statistics(it).accept_queue_limit, rows[i].limit);
    }
}

static void listening_grows_the_descriptor_table_once(void **state) {
    fixture *it = *state;
    csc_server_set_expected_descriptors(it->server, 0);
    csc_server_set_descriptor_reserve(it->server, 0);
    fixture_listen(it);
    csc_server_close(it->server);
    // Our own duplicate of the socket, and the timer's mark, set and read.
    assert_int_equal(fault_calls(FAULT_FCNTL), 3);

    csc_server_set_expected_descriptors(it->server, 3000);
    fixture_listen(it);
    assert_true(first_number_in("/proc/self/status", "FDSize:") >= 3000);
    csc_server_close(it->server);

    // More than the limit allows is cut to the limit.
    csc_server_set_expected_descriptors(it->server, INT_MAX);
    fixture_leave_descriptors(it, 20);
    fixture_listen(it);
}

static void any_takes_both_families_on_one_socket(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    fixture_listen_on(it, "*");
    csc_address address = csc_server_address(it->server);
    assert_int_equal(address.family, CSC_FAMILY_ANY);
    assert_int_equal(option_of(csc_server_descriptor(it->server), IPPROTO_IPV6, IPV6_V6ONLY), 0);
    static const char *const peers[] = {"127.0.0.1", "::1"};
    for (int i = 0; i < 2; i++) {
        csc_address target = address_of(peers[i], address.port);
        fixture_own(it, connect_to(&target));
        assert_true(csc_server_wait(it->server, 10000, NULL));
        csc_connection connection = fixture_take(it);
        csc_address expected = address_of(peers[i], connection.peer.port);
        assert_memory_equal(&connection.peer, &expected, sizeof expected);
    }
}

static void an_ipv6_address_never_takes_ipv4_clients(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    static const char *const literals[] = {"::", "::1"};
    for (int i = 0; i < 2; i++) {
        fixture_listen_on(it, literals[i]);
        csc_address six = address_of("::1", csc_server_port(it->server));
        csc_address four = address_of(own_loopback(), csc_server_port(it->server));
        assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_IPV6);
        assert_true(connects(&six));
        assert_false(connects(&four));
        csc_server_close(it->server);
    }
}

static void an_ipv4_address_never_takes_ipv6_clients(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    fixture_listen_on(it, "0.0.0.0");
    csc_address six = address_of("::1", csc_server_port(it->server));
    csc_address four = address_of(own_loopback(), csc_server_port(it->server));
    assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_IPV4);
    assert_false(connects(&six));
    assert_true(connects(&four));
}

static void the_families_share_a_port_but_any_shares_it_with_none(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    csc_server *other = csc_server_new(NULL);
    bool coexist = false;
    // Another program may have the IPv4 port, so more than one is tried.
    for (int attempt = 0; attempt < 20 && !coexist; attempt++) {
        csc_server_close(it->server);
        fixture_listen_on(it, "::");
        csc_address four = address_of("0.0.0.0", csc_server_port(it->server));
        coexist = csc_server_listen(other, &four);
    }
    csc_server_close(other);
    csc_address any = address_of("*", csc_server_port(it->server));
    bool excluded = !csc_server_listen(other, &any);
    csc_error error = csc_server_error(other);
    csc_server_free(other);
    assert_true(coexist);
    assert_true(excluded);
    assert_int_equal(error, CSC_ERROR_ADDRESS_IN_USE);
}

static void a_mapped_address_listens_as_the_ipv4_address_it_is(void **state) {
    fixture *it = *state;
    char literal[CSC_ADDRESS_TEXT_SIZE];
    snprintf(literal, sizeof literal, "::ffff:%s", own_loopback());
    fixture_listen_on(it, literal);
    csc_address expected = address_of(own_loopback(), csc_server_port(it->server));
    csc_address address = csc_server_address(it->server);
    assert_memory_equal(&address, &expected, sizeof address);
    assert_serves(it);
}

static void any_falls_back_to_ipv4_where_there_is_no_ipv6(void **state) {
    fixture *it = *state;
    static const fault_call calls[] = {FAULT_SOCKET, FAULT_BIND};
    for (int i = 0; i < 2; i++) {
        fault_fail(calls[i], 1, 1, EAFNOSUPPORT);
        fixture_listen_on(it, "*");
        assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_IPV4);
        csc_address expected = address_of("0.0.0.0", csc_server_port(it->server));
        csc_address address = csc_server_address(it->server);
        assert_memory_equal(&address, &expected, sizeof address);
        fixture_assert_error(it, CSC_ERROR_UNKNOWN, "");
        csc_server_close(it->server);
    }
}

static void only_any_falls_back_to_ipv4(void **state) {
    fixture *it = *state;
    csc_address six = address_of("::", 0);
    csc_address any = address_of("*", 0);
    fault_fail(FAULT_SOCKET, 1, 1, EAFNOSUPPORT);
    assert_listen_fails(it, &six, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
                        "Protocol type not supported");
    // Without IPv4 either, the error is that of the second attempt.
    fault_fail(FAULT_SOCKET, 1, 2, EAFNOSUPPORT);
    assert_listen_fails(it, &any, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
                        "Protocol type not supported");
    // Another error is no reason to give up IPv6.
    fault_fail(FAULT_SOCKET, 1, 1, EMFILE);
    assert_listen_fails(it, &any, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
}

static void a_link_local_address_is_reported_with_its_interface(void **state) {
    fixture *it = *state;
    struct ifaddrs *all = NULL;
    char literal[CSC_ADDRESS_TEXT_SIZE] = "";
    assert_int_equal(getifaddrs(&all), 0);
    for (struct ifaddrs *each = all; each && !*literal; each = each->ifa_next) {
        if (each->ifa_addr && each->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 in6;
            memcpy(&in6, each->ifa_addr, sizeof in6);
            if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr)) {
                char text[INET6_ADDRSTRLEN];
                inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
                snprintf(literal, sizeof literal, "%s%%%s", text, each->ifa_name);
            }
        }
    }
    freeifaddrs(all);
    if (!*literal) {
        print_message("skipped: no interface has a link-local address\n");
        skip();
    }
    fixture_listen_on(it, literal);
    char text[CSC_ADDRESS_TEXT_SIZE];
    csc_address address = csc_server_address(it->server);
    csc_address_format(&address, text, sizeof text);
    assert_string_equal(text, literal);
    assert_serves(it);
}

static void no_address_never_listens_on_every_interface(void **state) {
    fixture *it = *state;
    csc_address none = {0};
    assert_listen_fails(it, &none, CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE,
                        "The address is not available");
}

static void a_port_in_use_is_refused(void **state) {
    fixture *it = *state;
    csc_server *other = csc_server_new(NULL);
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    bool listening = csc_server_listen(other, &address);
    csc_error error = csc_server_error(other);
    const char *text = csc_server_error_string(other);
    csc_server_free(other);
    assert_false(listening);
    assert_int_equal(error, CSC_ERROR_ADDRESS_IN_USE);
    assert_string_equal(text, "The bound address is already in use");
    assert_serves(it);
}

static void an_address_of_another_host_is_refused(void **state) {
    fixture *it = *state;
    csc_address address = address_of("203.0.113.1", 0);
    assert_listen_fails(it, &address, CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE,
                        "The address is not available");
}

static void a_link_local_address_without_scope_is_refused(void **state) {
    fixture *it = *state;
    csc_address address = address_of("fe80::1", 0);
    assert_listen_fails(it, &address, CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION,
                        "Unsupported socket operation");
}

static void a_privileged_port_is_refused_without_the_privilege(void **state) {
    fixture *it = *state;
    csc_address address = address_of("127.0.0.1", 1);
    if (first_number_in("/proc/sys/net/ipv4/ip_unprivileged_port_start", "") <= 1) {
        print_message("skipped: port 1 is not privileged here\n");
        skip();
    }
    bool is_root = geteuid() == 0;
    if (is_root) {
        assert_int_equal(seteuid(65534), 0);
    }
    bool listening = csc_server_listen(it->server, &address);
    if (is_root) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_false(listening);
    fixture_assert_error(it, CSC_ERROR_SOCKET_ACCESS, "The address is protected");
    assert_not_listening(it);
}

static void without_descriptors_listening_fails_and_recovers(void **state) {
    fixture *it = *state;
    csc_address address = address_of("127.0.0.1", 0);
    fixture_leave_descriptors(it, 0);
    assert_false(csc_server_listen(it->server, &address));
    fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
    assert_not_listening(it);
    fixture_restore_descriptors(it);
    fixture_listen(it);
    assert_serves(it);
}

static void every_error_of_the_kernel_is_reported(void **state) {
    fixture *it = *state;
    static const struct {
        fault_call call;
        int errnum;
        csc_error error;
        const char *text;
    } rows[] = {
        {FAULT_SOCKET, EPROTONOSUPPORT, 10, "Protocol type not supported"},
        {FAULT_SOCKET, EAFNOSUPPORT, 10, "Protocol type not supported"},
        {FAULT_SOCKET, EINVAL, 10, "Protocol type not supported"},
        {FAULT_SOCKET, EMFILE, 4, "Out of resources"},
        {FAULT_SOCKET, ENFILE, 4, "Out of resources"},
        {FAULT_SOCKET, ENOBUFS, 4, "Out of resources"},
        {FAULT_SOCKET, ENOMEM, 4, "Out of resources"},
        {FAULT_SOCKET, EACCES, 3, "Permission denied"},
        {FAULT_SOCKET, EIO, -1, "Unknown error"},
        {FAULT_SETSOCKOPT, ENOMEM, 4, "Out of resources"},
        {FAULT_BIND, EADDRINUSE, 8, "The bound address is already in use"},
        {FAULT_BIND, EACCES, 3, "The address is protected"},
        {FAULT_BIND, EINVAL, 10, "Unsupported socket operation"},
        {FAULT_BIND, EADDRNOTAVAIL, 9, "The address is not available"},
        {FAULT_BIND, EIO, -1, "Unknown error"},
        {FAULT_LISTEN, EADDRINUSE, 8, "Another socket is already listening on the same port"},
        {FAULT_LISTEN, EIO, -1, "Unknown error"},
        {FAULT_FSTAT, ENOMEM, 4, "Out of resources"},
        {FAULT_GETSOCKNAME, ENOBUFS, 4, "Out of resources"},
        {FAULT_FCNTL, EMFILE, 4, "Out of resources"},
        {FAULT_TIMERFD_CREATE, EMFILE, 4, "Out of resources"},
        {FAULT_TIMERFD_SETTIME, EIO, -1, "Unknown error"},
        {FAULT_EPOLL_CTL, ENOMEM, 4, "Out of resources"},
        {FAULT_EPOLL_CTL, ENOSPC, 4, "Out of resources"},
        {FAULT_EPOLL_CTL, EPERM, 3, "Permission denied"},
    };
    csc_address address = address_of("127.0.0.1", 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fault_fail(rows[i].call, 1, 1, rows[i].errnum);
        assert_false(csc_server_listen(it->server, &address));
        assert_int_equal(csc_server_errno(it->server), rows[i].errnum);
        fault_fail(rows[i].call, 1, 1, rows[i].errnum);
        assert_listen_fails(it, &address, rows[i].error, rows[i].text);
    }
}

static void whichever_call_fails_nothing_is_left_behind(void **state) {
    fixture *it = *state;
    skip_without_ipv6();
    static const char *const literals[] = {"127.0.0.1", "::1", "*"};
    for (int call = 0; call < FAULT_CALLS; call++) {
        for (int i = 0; i < 3; i++) {
            uint64_t failed = 1;
            for (int nth = 1; failed > 0; nth++) {
                csc_address address = address_of(literals[i], 0);
                fault_reset_counts();
                fault_fail((fault_call)call, nth, 1, ENOMEM);
                bool listening = csc_server_listen(it->server, &address);
                failed = fault_failures((fault_call)call);
                fault_clear();
                if (listening) {
                    assert_serves(it);
                    csc_server_close(it->server);
                }
                assert_not_listening(it);
            }
        }
    }
}

static void a_listening_descriptor_that_became_a_strangers_is_not_closed(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    int number = csc_server_descriptor(it->server);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup3(file, number, O_CLOEXEC), number); // closes the socket
    csc_server_close(it->server);
    struct stat ours;
    struct stat theirs;
    assert_int_equal(fstat(number, &ours), 0);
    assert_int_equal(fstat(file, &theirs), 0);
    assert_int_equal(ours.st_ino, theirs.st_ino);
    close(number);
    close(file);
    fixture_listen(it);
    assert_serves(it);
}

static void a_listening_descriptor_that_a_stranger_closed_is_not_closed_again(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    close(csc_server_descriptor(it->server));
    csc_server_close(it->server); // the fixture fails the test if this closes a closed number
    fixture_listen(it);
    assert_serves(it);
}

static void a_number_that_a_stranger_freed_can_be_listened_on(void **state) {
    fixture *it = *state;
    csc_server *other = csc_server_new(NULL);
    csc_address address = address_of("127.0.0.1", 0);
    fixture_listen(it);
    int number = csc_server_descriptor(it->server);
    close(number);
    bool listening = csc_server_listen(other, &address);
    int other_number = csc_server_descriptor(other);
    csc_server_close(it->server);
    bool still_open = fcntl(number, F_GETFD) >= 0;
    csc_server_free(other);
    assert_true(listening);
    assert_int_equal(other_number, number);
    assert_true(still_open);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_new_server_has_its_documented_settings),
        fact(settings_read_back_as_they_were_set),
        fact(port_zero_lets_the_kernel_choose),
        fact(a_server_listens_again_on_the_port_it_had),
        fact(close_is_harmless_at_any_time),
        fact(close_keeps_settings_and_the_last_error),
        fact(listening_twice_is_refused_and_changes_nothing),
        fact(the_listening_socket_has_the_documented_options),
        fact(the_backlog_is_the_length_of_the_kernels_queue),
        fact(listening_grows_the_descriptor_table_once),
        fact(any_takes_both_families_on_one_socket),
        fact(an_ipv6_address_never_takes_ipv4_clients),
        fact(an_ipv4_address_never_takes_ipv6_clients),
        fact(the_families_share_a_port_but_any_shares_it_with_none),
        fact(a_mapped_address_listens_as_the_ipv4_address_it_is),
        fact(any_falls_back_to_ipv4_where_there_is_no_ipv6),
        fact(only_any_falls_back_to_ipv4),
        fact(a_link_local_address_is_reported_with_its_interface),
        fact(no_address_never_listens_on_every_interface),
        fact(a_port_in_use_is_refused),
        fact(an_address_of_another_host_is_refused),
        fact(a_link_local_address_without_scope_is_refused),
        fact(a_privileged_port_is_refused_without_the_privilege),
        fact(without_descriptors_listening_fails_and_recovers),
        fact(every_error_of_the_kernel_is_reported),
        fact(whichever_call_fails_nothing_is_left_behind),
        fact(a_listening_descriptor_that_became_a_strangers_is_not_closed),
        fact(a_listening_descriptor_that_a_stranger_closed_is_not_closed_again),
        fact(a_number_that_a_stranger_freed_can_be_listened_on),
    };
    return cmocka_run_group_tests_name("listening", tests, NULL, NULL);
}
