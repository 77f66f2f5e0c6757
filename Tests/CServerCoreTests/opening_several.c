// SPDX-License-Identifier: Apache-2.0

// Several listening sockets of one address: opened together, or not at all, and never beside those
// of another.

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEVERAL = 3 };

static int option_of(int descriptor, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(descriptor, SOL_SOCKET, option, &value, &length), 0);
    return value;
}

static void own_all(fixture *it, const int *descriptors, int count) {
    for (int index = 0; index < count; index++) {
        fixture_own(it, descriptors[index]);
    }
}

// A socket as other code makes it; with SO_REUSEPORT it may be one of several.
static int strangers_listener(const csc_address *address) {
    struct sockaddr_storage name;
    socklen_t length = csc_address_to_sockaddr(address, &name);
    int on = 1;
    int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    assert_int_equal(bind(descriptor, (struct sockaddr *)&name, length), 0);
    assert_int_equal(listen(descriptor, 5), 0);
    return descriptor;
}

static void assert_opens(fixture *it, const csc_address *wanted) {
    int descriptors[SEVERAL];
    assert_true(csc_server_open_sockets(it->server, wanted, descriptors, SEVERAL));
    own_all(it, descriptors, SEVERAL);
    assert_false(csc_server_is_listening(it->server));
    struct sockaddr_storage first;
    for (int index = 0; index < SEVERAL; index++) {
        struct sockaddr_storage name;
        socklen_t length = sizeof name;
        assert_int_equal(getsockname(descriptors[index], (struct sockaddr *)&name, &length), 0);
        first = index == 0 ? name : first;
        assert_memory_equal(&name, &first, sizeof(struct sockaddr_in));
        assert_true(is_non_blocking(descriptors[index]) && is_close_on_exec(descriptors[index]));
        assert_int_equal(option_of(descriptors[index], SO_ACCEPTCONN), 1);
        assert_int_equal(option_of(descriptors[index], SO_REUSEPORT), 1);
    }
    // No other process can join without the option, or takes the port.
    csc_address taken;
    csc_address_from_sockaddr((struct sockaddr *)&first, sizeof first, &taken);
    taken.family = wanted->family;
    assert_false(csc_server_listen(it->server, &taken));
    fixture_assert_error(it, CSC_ERROR_ADDRESS_IN_USE, "The bound address is already in use");
}

static void several_share_an_address(void **state) {
    csc_address wanted = address_of(own_loopback(), 0);
    assert_opens(*state, &wanted);
}

static void several_share_all_addresses(void **state) {
    csc_address wanted = {.family = CSC_FAMILY_ANY};
    assert_opens(*state, &wanted);
}

static void several_share_an_address_of_ipv6(void **state) {
    skip_without_ipv6();
    csc_address wanted = address_of("::1", 0);
    assert_opens(*state, &wanted);
}

static void several_share_all_of_ipv4_without_ipv6(void **state) {
    fixture *it = *state;
    csc_address wanted = {.family = CSC_FAMILY_ANY};
    int descriptors[SEVERAL];
    fault_hide_ipv6(true);
    assert_true(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
    fault_hide_ipv6(false);
    own_all(it, descriptors, SEVERAL);
}

static void clients_come_to_each(void **state) {
    fixture *it = *state;
    int descriptors[SEVERAL];
    csc_server *servers[SEVERAL];
    csc_address wanted = address_of(own_loopback(), 0);
    assert_true(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
    for (int index = 0; index < SEVERAL; index++) {
        servers[index] = csc_server_new(NULL);
        assert_true(csc_server_adopt(servers[index], descriptors[index]));
        csc_server_set_max_pending(servers[index], 300);
    }
    wanted = csc_server_address(servers[0]);
    for (int client = 0; client < 300; client++) {
        fixture_own(it, connect_to(&wanted));
    }
    uint64_t sum = 0;
    for (int index = 0; index < SEVERAL; index++) {
        csc_statistics now;
        assert_true(csc_server_wait(servers[index], 0, NULL)); // by a hash: some for each
        csc_server_finish(servers[index]);
        csc_server_statistics(servers[index], &now, sizeof now);
        sum += now.accepted;
        csc_server_free(servers[index]);
    }
    assert_int_equal(sum, 300);
}

static void one_alone_shares_nothing(void **state) {
    fixture *it = *state;
    int descriptor;
    csc_address wanted = address_of(own_loopback(), 0);
    assert_true(csc_server_open_sockets(it->server, &wanted, &descriptor, 0));
    assert_true(csc_server_open_sockets(it->server, &wanted, &descriptor, 1));
    fixture_own(it, descriptor);
    assert_int_equal(option_of(descriptor, SO_REUSEPORT), 0);
    assert_true(csc_server_adopt(it->server, dup(descriptor)));
    assert_false(csc_server_open_sockets(it->server, &wanted, &descriptor, 1));
    fixture_assert_error(it, CSC_ERROR_OPERATION, "listen() called when already listening");
    assert_false(csc_server_open_sockets(NULL, &wanted, &descriptor, 1));
}

static void those_of_another_process_are_not_joined(void **state) {
    fixture *it = *state;
    int descriptors[SEVERAL];
    csc_address wanted = address_of(own_loopback(), 0);
    int stranger = fixture_own(it, strangers_listener(&wanted));
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    assert_int_equal(getsockname(stranger, (struct sockaddr *)&name, &length), 0);
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &wanted);
    assert_false(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
    fixture_assert_error(it, CSC_ERROR_ADDRESS_IN_USE, "The bound address is already in use");
    if (fault_counts_allocations()) {
        fault_fail_allocation(2, 1); // binding fails, also where /proc cannot be read
        assert_false(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
        fault_clear();
    }
}

typedef struct joining {
    fixture *it;
    int made;
    int first;
} joining;

static int join_before_the_last(csc_server *server, int descriptor, void *context) {
    joining *now = context;
    (void)server;
    now->made++;
    if (now->made == 1) {
        now->first = descriptor;
    } else if (now->made == SEVERAL) {
        struct sockaddr_storage name;
        socklen_t length = sizeof name;
        csc_address address;
        assert_int_equal(getsockname(now->first, (struct sockaddr *)&name, &length), 0);
        csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
        fixture_own(now->it, strangers_listener(&address));
    }
    return 0;
}

static void another_that_joins_meanwhile_is_noticed(void **state) {
    fixture *it = *state;
    int descriptors[SEVERAL];
    const char *literals[] = {own_loopback(), "::1"};
    for (int index = 0; index < 2; index++) {
        joining now = {.it = it};
        if (index == 1) {
            skip_without_ipv6();
        }
        csc_address wanted = address_of(literals[index], 0);
        csc_server_on_socket(it->server, join_before_the_last, &now);
        assert_false(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
        fixture_assert_error(it, CSC_ERROR_ADDRESS_IN_USE, "The bound address is already in use");
        assert_int_equal(now.made, SEVERAL);
    }
}

static int refuse_the_second(csc_server *server, int descriptor, void *context) {
    (void)server, (void)descriptor;
    return ++*(int *)context == 2 ? EPERM : 0;
}

static int close_the_first(csc_server *server, int descriptor, void *context) {
    joining *now = context;
    (void)server;
    now->made++;
    if (now->made == 1) {
        now->first = descriptor;
        return 0;
    }
    close(now->first);
    assert_int_equal(dup2(STDERR_FILENO, now->first), now->first); // a stranger's now
    fixture_own(now->it, now->first);
    return EPERM;
}

static void the_program_may_refuse_one(void **state) {
    fixture *it = *state;
    int descriptors[SEVERAL];
    int made = 0;
    csc_address wanted = address_of(own_loopback(), 0);
    csc_server_on_socket(it->server, refuse_the_second, &made);
    assert_false(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
    assert_int_equal(csc_server_error(it->server), CSC_ERROR_SOCKET_ACCESS);
    joining now = {.it = it};
    csc_server_on_socket(it->server, close_the_first, &now);
    assert_false(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
    assert_int_not_equal(fcntl(now.first, F_GETFD), -1);
}

static int agree_or_refuse(csc_server *server, int descriptor, void *context) {
    (void)server, (void)descriptor;
    return *(int *)context;
}

static void a_socket_without_an_inode_is_used_and_closed(void **state) {
    fixture *it = *state;
    csc_address wanted = address_of(own_loopback(), 0);
    int answer = EPERM;
    int descriptor;
    csc_server_on_socket(it->server, agree_or_refuse, &answer);
    int before = fault_open_descriptors();
    fault_fail(FAULT_FSTAT, 1, 1, EOVERFLOW);
    assert_false(csc_server_open_sockets(it->server, &wanted, &descriptor, 1));
    assert_int_equal(fault_open_descriptors(), before);
    answer = 0;
    fault_fail(FAULT_FSTAT, 1, 1, EOVERFLOW);
    assert_true(csc_server_open_sockets(it->server, &wanted, &descriptor, 1));
    fixture_own(it, descriptor);
}

static void whatever_fails_leaves_nothing_open(void **state) {
    fixture *it = *state;
    int descriptors[SEVERAL];
    csc_address wanted = address_of(own_loopback(), 0);
    const fault_call calls[] = {FAULT_SOCKET, FAULT_SETSOCKOPT,  FAULT_BIND,
                                FAULT_LISTEN, FAULT_GETSOCKNAME, FAULT_FSTAT};
    int before = fault_open_descriptors();
    for (size_t call = 0; call < sizeof calls / sizeof calls[0]; call++) {
        int nth = 0;
        bool opened = false;
        while (!opened) {
            fault_fail(calls[call], ++nth, 1, ENOBUFS);
            opened = csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL);
            fault_clear();
            if (!opened) {
                assert_int_equal(fault_open_descriptors(), before);
            }
        }
        assert_in_range(nth, SEVERAL + 1, 20);
        for (int index = 0; index < SEVERAL; index++) {
            close(descriptors[index]);
        }
    }
    if (fault_counts_allocations()) {
        fault_fail_allocation(1, 1);
        assert_false(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
        fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        // Without memory to read /proc with, another listener is not noticed.
        fault_fail_allocation(2, 1);
        assert_true(csc_server_open_sockets(it->server, &wanted, descriptors, SEVERAL));
        fault_clear();
        own_all(it, descriptors, SEVERAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(several_share_an_address),
        fact(several_share_all_addresses),
        fact(several_share_an_address_of_ipv6),
        fact(several_share_all_of_ipv4_without_ipv6),
        fact(clients_come_to_each),
        fact(one_alone_shares_nothing),
        fact(those_of_another_process_are_not_joined),
        fact(another_that_joins_meanwhile_is_noticed),
        fact(the_program_may_refuse_one),
        fact(a_socket_without_an_inode_is_used_and_closed),
        fact(whatever_fails_leaves_nothing_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
