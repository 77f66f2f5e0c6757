// SPDX-License-Identifier: Apache-2.0

// The callback between socket(2) and bind(2), and what it may do.

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct opening {
    fixture *it;
    int calls;
    int answer;
    bool is_unbound; // as it should be
    void (*operation)(struct opening *now, csc_server *server, int descriptor);
} opening;

static int on_socket(csc_server *server, int descriptor, void *context) {
    opening *now = context;
    struct sockaddr_storage name = {0};
    csc_address address;
    socklen_t length = sizeof name;
    now->calls++;
    assert_int_equal(getsockname(descriptor, (struct sockaddr *)&name, &length), 0);
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
    now->is_unbound = address.port == 0;
    assert_true(is_non_blocking(descriptor) && is_close_on_exec(descriptor));
    if (now->operation) {
        now->operation(now, server, descriptor);
    }
    return now->answer;
}

static opening begin(fixture *it, void (*operation)(opening *, csc_server *, int)) {
    return (opening){.it = it, .operation = operation};
}

static void share_the_port(opening *now, csc_server *server, int descriptor) {
    const int yes = 1;
    (void)now, (void)server;
    assert_int_equal(setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes), 0);
}

static void options_that_bind_looks_at_can_be_set(void **state) {
    fixture *it = *state;
    opening now = begin(it, share_the_port);
    csc_server *other = csc_server_new(NULL);
    csc_server_on_socket(it->server, on_socket, &now);
    csc_server_on_socket(other, on_socket, &now);
    fixture_listen(it);
    csc_address address = csc_server_address(it->server);
    assert_true(csc_server_listen(other, &address));
    assert_int_equal(now.calls, 2);
    assert_true(now.is_unbound);
    csc_server_free(other);
    // NULL is none.
    csc_server_close(it->server);
    csc_server_on_socket(it->server, NULL, NULL);
    fixture_listen(it);
    assert_int_equal(now.calls, 2);
}

static void its_errno_is_the_error_of_listening(void **state) {
    fixture *it = *state;
    opening now = begin(it, NULL);
    csc_address address = address_of(own_loopback(), 0);
    csc_server_on_socket(it->server, on_socket, &now);
    now.answer = EPERM;
    assert_false(csc_server_listen(it->server, &address));
    fixture_assert_error(it, CSC_ERROR_SOCKET_ACCESS, "Permission denied");
    assert_int_equal(csc_server_errno(it->server), EPERM);
    assert_int_equal(fault_calls(FAULT_BIND), 0);
    now.answer = 0;
    assert_true(csc_server_listen(it->server, &address));
}

static void each_socket_is_shown(void **state) {
    fixture *it = *state;
    opening now = begin(it, NULL);
    csc_address any = {.family = CSC_FAMILY_ANY};
    csc_server_on_socket(it->server, on_socket, &now);
    fault_fail(FAULT_BIND, 1, 1, EAFNOSUPPORT); // no IPv6: a second socket, of IPv4
    assert_true(csc_server_listen(it->server, &any));
    assert_int_equal(now.calls, 2);
}

static void close_the_server(opening *now, csc_server *server, int descriptor) {
    (void)now, (void)descriptor;
    csc_server_close(server);
}

static void free_the_server(opening *now, csc_server *server, int descriptor) {
    (void)descriptor;
    csc_server_free(server);
    now->it->server = NULL;
}

static void listen_within(opening *now, csc_server *server, int descriptor) {
    csc_address address = address_of(own_loopback(), 0);
    (void)descriptor;
    assert_false(csc_server_listen(server, &address));
    fixture_assert_error(now->it, CSC_ERROR_OPERATION, "listen() called when already listening");
    int listener = raw_listener("127.0.0.1", 5);
    assert_false(csc_server_adopt(server, listener));
    close(listener);
    csc_server_finish(server);
    csc_server_pause(server);
    csc_server_resume(server);
    assert_false(csc_server_wait(server, 0, NULL));
    assert_int_equal(csc_server_release(server), -1);
}

static void a_server_that_is_closed_in_it_does_not_listen(void **state) {
    fixture *it = *state;
    opening now = begin(it, close_the_server);
    csc_address address = address_of(own_loopback(), 0);
    csc_server_on_socket(it->server, on_socket, &now);
    assert_false(csc_server_listen(it->server, &address));
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(csc_server_errno(it->server), ECANCELED);
    now.operation = free_the_server;
    assert_false(csc_server_listen(it->server, &address));
    assert_null(it->server);
}

static void other_calls_in_it_find_a_server_that_does_not_listen(void **state) {
    fixture *it = *state;
    opening now = begin(it, listen_within);
    csc_server_on_socket(it->server, on_socket, &now);
    fixture_listen(it);
    assert_true(csc_server_is_listening(it->server));
}

static void take_the_number_away(opening *now, csc_server *server, int descriptor) {
    (void)server;
    int strangers = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup3(strangers, descriptor, O_CLOEXEC), descriptor);
    close(strangers);
    fixture_own(now->it, descriptor);
}

static void a_number_that_it_gave_to_another_file_is_not_closed(void **state) {
    fixture *it = *state;
    opening now = begin(it, take_the_number_away);
    csc_address address = address_of(own_loopback(), 0);
    csc_server_on_socket(it->server, on_socket, &now);
    assert_false(csc_server_listen(it->server, &address));
    assert_int_equal(csc_server_errno(it->server), ENOTSOCK);
    assert_true(fcntl(it->owned[it->owned_count - 1], F_GETFD) >= 0);
}

static void close_the_number(opening *now, csc_server *server, int descriptor) {
    (void)now, (void)server;
    close(descriptor);
}

static void a_number_that_it_closed_is_not_closed_again(void **state) {
    fixture *it = *state;
    opening now = begin(it, close_the_number);
    csc_address address = address_of(own_loopback(), 0);
    csc_server_on_socket(it->server, on_socket, &now);
    assert_false(csc_server_listen(it->server, &address));
    assert_int_equal(csc_server_errno(it->server), EBADF);
    assert_int_equal(fault_bad_closes(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(options_that_bind_looks_at_can_be_set),
        fact(its_errno_is_the_error_of_listening),
        fact_without_base(its_errno_is_the_error_of_listening),
        fact(each_socket_is_shown),
        fact(a_server_that_is_closed_in_it_does_not_listen),
        fact(other_calls_in_it_find_a_server_that_does_not_listen),
        fact(a_number_that_it_gave_to_another_file_is_not_closed),
        fact(a_number_that_it_closed_is_not_closed_again),
    };
    return cmocka_run_group_tests_name("opening", tests, NULL, NULL);
}
