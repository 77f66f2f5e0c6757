// SPDX-License-Identifier: Apache-2.0

// Limits met exactly: numbers, lengths and counts on both sides of where behaviour changes.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void scopes_are_numbers_up_to_the_largest_int(void **state) {
    (void)state;
    csc_address address;
    static const struct {
        const char *text;
        bool is_read;
        uint32_t scope;
    } rows[] = {
        {"fe80::1%1", true, 1},
        {"fe80::1%9999", true, 9999},
        {"fe80::1%2147483647", true, INT32_MAX},
        {"fe80::1%2147483648", false, 0},
        {"fe80::1%4294967295", false, 0},
        {"fe80::1%4294967296", false, 0},
        {"fe80::1%4294967297", false, 0},
        {"fe80::1%18446744073709551617", false, 0},
        {"fe80::1%0", false, 0},
        {"fe80::1%", false, 0},
        {"fe80::1%-1", false, 0},
        {"fe80::1%+1", false, 0},
        {"fe80::1% 1", false, 0},
        {"fe80::1%1 ", false, 0},
        {"fe80::1%1x", false, 0},
        {"fe80::1%no-such-interface", false, 0},
        {"127.0.0.1%1", false, 0},
        {"*%1", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(&address, 0, sizeof address);
        if (csc_address_parse(rows[i].text, 1, &address) != rows[i].is_read ||
            address.scope_id != rows[i].scope) {
            fail_msg("%s: scope %u", rows[i].text, address.scope_id);
        }
    }
}

// The longest literal there is has 45 characters, and one more is none.
static void a_literal_of_forty_five_characters_is_the_longest(void **state) {
    (void)state;
    csc_address address;
    static const char longest[] = "0000:0000:0000:0000:0000:ffff:192.168.100.200";
    assert_int_equal(strlen(longest), 45);
    assert_true(csc_address_parse(longest, 1, &address));
    char text[64];
    // Of 46 characters: as plain text, and with a scope behind it.
    snprintf(text, sizeof text, "%s0", longest);
    assert_int_equal(strlen(text), 46);
    assert_false(csc_address_parse(text, 1, &address));
    snprintf(text, sizeof text, "0%s", longest);
    assert_false(csc_address_parse(text, 1, &address));
    snprintf(text, sizeof text, "%s%%1", longest);
    assert_true(csc_address_parse(text, 1, &address));
    snprintf(text, sizeof text, "%s0%%1", longest);
    assert_false(csc_address_parse(text, 1, &address));
    memset(text, '1', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_false(csc_address_parse(text, 1, &address));
}

static void addresses_are_equal_by_what_they_mean(void **state) {
    (void)state;
    csc_address v4 = address_of("127.0.0.1", 80);
    csc_address mapped = address_of("::ffff:127.0.0.1", 80);
    assert_int_equal(mapped.family, CSC_FAMILY_IPV6);
    assert_true(csc_address_equal(&v4, &mapped) && csc_address_equal(&mapped, &v4));
    csc_address other = v4;
    assert_true(csc_address_equal(&v4, &other));
    memset(other.bytes + 4, 0xa5, 12); // unused for IPv4
    other.reserved = 1;
    other.scope_id = 7;
    assert_true(csc_address_equal(&v4, &other));
    other.bytes[3] = 2;
    assert_false(csc_address_equal(&v4, &other));
    csc_address port = address_of("127.0.0.1", 81);
    assert_false(csc_address_equal(&v4, &port));
    csc_address one = address_of("fe80::1%1", 80);
    csc_address two = address_of("fe80::1%2", 80);
    assert_false(csc_address_equal(&one, &two));
    csc_address any = {.family = CSC_FAMILY_ANY, .port = 80};
    csc_address wild = address_of("::", 80);
    assert_false(csc_address_equal(&any, &wild));
    assert_true(csc_address_equal(&any, &any));
    csc_address none = {.family = CSC_FAMILY_NONE};
    assert_true(csc_address_equal(&none, &none));
    assert_false(csc_address_equal(&none, &v4));
}

static void versions_agree(void **state) {
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", CSC_VERSION_MAJOR, CSC_VERSION_MINOR,
             CSC_VERSION_PATCH);
    assert_string_equal(csc_version(), text);
    assert_int_equal(csc_version_number(), CSC_VERSION_NUMBER);
    assert_int_equal(CSC_VERSION_NUMBER,
                     CSC_VERSION_MAJOR * 10000 + CSC_VERSION_MINOR * 100 + CSC_VERSION_PATCH);
#if CSC_VERSION_NUMBER < 100
#error "0.1.0 is the first version"
#endif
}

static void without_a_table_there_is_no_source(void **state) {
    fixture *it = *state;
    csc_connection added = {.descriptor = -1, .source = 5};
    csc_connection taken = {.source = 7};
    fixture_listen(it);
    for (int i = 0; i < 100; i++) { // more than a ring's first places
        assert_true(csc_server_add_pending(it->server, &added));
    }
    for (int i = 0; i < 100; i++) {
        assert_true(csc_server_next_pending(it->server, &taken));
        assert_int_equal(taken.source, 0);
        csc_server_connection_ended(it->server);
    }
    for (int i = 0; i < 40; i++) {
        fixture_connect(it);
        assert_true(csc_server_wait(it->server, 1000, NULL));
        assert_int_equal(fixture_take(it).source, 0);
    }
}

// The descriptors below the reserve are all used, and not one of the reserve.
static void the_last_number_before_the_reserve_is_used(void **state) {
    fixture *it = *state;
    enum { LEFT = 20, RESERVE = 8 };
    csc_server_set_max_pending(it->server, 1000);
    csc_server_set_descriptor_reserve(it->server, RESERVE);
    csc_server_set_expected_descriptors(it->server, 0);
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 40);
    fixture_leave_descriptors(it, LEFT);
    csc_server_set_descriptor_reserve(it->server, RESERVE); // the limit is another now
    fault_stop_clock();
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, LEFT - RESERVE);
    assert_int_equal(it->accept_errors, 1);
    assert_int_equal(csc_server_errno(it->server), EMFILE);
    assert_int_equal(csc_server_descriptor_headroom(it->server), 0);
    fixture_close(it, fixture_take(it).descriptor);
    assert_int_equal(csc_server_descriptor_headroom(it->server), 1);
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, LEFT - RESERVE + 1);
}

static void a_limit_below_the_expected_connections_is_no_error(void **state) {
    fixture *it = *state;
    for (int left = 6; left <= 40; left += 17) {
        fixture_leave_descriptors(it, left);
        csc_server_set_expected_descriptors(it->server, INT_MAX);
        fixture_listen(it);
        csc_server_close(it->server);
        fixture_restore_descriptors(it);
    }
}

static void the_second_epoll_ctl_fails_as_the_first(void **state) {
    fixture *it = *state;
    csc_address address = address_of(own_loopback(), 0);
    for (int nth = 1; nth <= 2; nth++) { // the socket's, and the timer's
        fault_fail(FAULT_EPOLL_CTL, nth, 1, ENOSPC);
        assert_false(csc_server_listen(it->server, &address));
        fixture_assert_error(it, CSC_ERROR_SOCKET_RESOURCE, "Out of resources");
        assert_int_equal(csc_server_errno(it->server), ENOSPC);
        assert_false(csc_server_is_listening(it->server));
        int listener = raw_listener("127.0.0.1", 5);
        fault_fail(FAULT_EPOLL_CTL, nth, 1, ENOSPC);
        assert_false(csc_server_adopt(it->server, listener));
        assert_false(is_non_blocking(listener) || is_close_on_exec(listener));
        close(listener);
    }
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
}

// Closing asks whose the number is; where that fails it asks in another way, and closes once.
static void closing_without_fstat_still_closes(void **state) {
    fixture *it = *state;
    for (int nth = 1; nth <= 2; nth++) {
        fixture_listen(it);
        int number = csc_server_descriptor(it->server);
        fault_fail(FAULT_FSTAT, nth, 1, EOVERFLOW);
        csc_server_close(it->server);
        fault_clear();
        assert_int_equal(fcntl(number, F_GETFD), -1);
    }
}

// A process may start without descriptors 0 to 2, and adopt a socket with one of those numbers.
// What the server opens itself gets none of them.
static void a_listener_numbered_zero_is_one_as_any(void **state) {
    fixture *it = *state;
    int kept = fcntl(0, F_DUPFD_CLOEXEC, 100);
    int listener = raw_listener(own_loopback(), 5);
    assert_int_equal(dup2(listener, 0), 0);
    close(listener);
    assert_true(csc_server_adopt(it->server, 0));
    assert_int_equal(csc_server_descriptor(it->server), 0);
    fixture_watch(it);
    fixture_connect(it);
    fixture_run_until(it, &it->new_connections, 1);
    csc_server_close(it->server);
    assert_int_equal(fcntl(0, F_GETFD), -1);

    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    fixture_listen(it);
    assert_false(csc_server_wait(it->server, 1, NULL));
    assert_int_equal(fcntl(0, F_GETFD), -1);
    csc_server_set_max_pending(it->server, 1);
    assert_int_equal(dup2(kept, 0), 0);
    fixture_connect_many(it, 2);
    close(0);
    assert_true(csc_server_wait(it->server, 0, NULL));
    assert_true(fixture_take(it).descriptor > 2);
    fixture_run_until(it, &it->new_connections, 3);
    assert_true(fixture_take(it).descriptor > 2);
    assert_int_equal(fcntl(0, F_GETFD), -1);
    csc_server_close(it->server);
    assert_int_equal(dup2(kept, 0), 0);
    close(kept);
}

static void zero_and_one_are_limits_as_any(void **state) {
    fixture *it = *state;
    fixture_listen(it);
    fixture_watch(it);
    fixture_connect_many(it, 3);
    csc_server_set_max_pending(it->server, 0);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 0);
    csc_server_set_max_pending(it->server, 1);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    csc_server_set_max_connections(it->server, 1, CSC_EXCESS_WAIT);
    csc_server_set_max_pending(it->server, 30);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    csc_server_set_max_connections(it->server, 2, CSC_EXCESS_WAIT);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 2);
    csc_server_set_max_connections(it->server, 2, CSC_EXCESS_CLOSE);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 2);
    assert_int_equal(fixture_statistics(it).rejected_by_limit, 1);
}

// Whatever the limits say: those that would reject clients, too.
static void finish_knows_no_limit(void **state) {
    fixture *it = *state;
    static const csc_excess excesses[] = {CSC_EXCESS_WAIT, CSC_EXCESS_CLOSE, CSC_EXCESS_RESET};
    for (size_t i = 0; i < sizeof excesses / sizeof excesses[0]; i++) {
        csc_server_set_max_connections(it->server, 1, excesses[i]);
        csc_server_set_max_pending(it->server, 1);
        fixture_listen(it);
        fixture_connect_many(it, 3);
        csc_server_finish(it->server);
        assert_int_equal(fixture_statistics(it).pending, 3);
        assert_int_equal(fixture_statistics(it).rejected_by_limit, 0);
        assert_true(csc_server_wait(it->server, 0, NULL)); // pending, though it does not listen
        for (int taken = 0; taken < 3; taken++) {
            fixture_take(it);
            csc_server_connection_ended(it->server);
        }
        assert_false(csc_server_wait(it->server, 0, NULL));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes_are_numbers_up_to_the_largest_int),
        cmocka_unit_test(a_literal_of_forty_five_characters_is_the_longest),
        cmocka_unit_test(addresses_are_equal_by_what_they_mean),
        cmocka_unit_test(versions_agree),
        fact_without_base(without_a_table_there_is_no_source),
        fact(the_last_number_before_the_reserve_is_used),
        fact(a_limit_below_the_expected_connections_is_no_error),
        fact(the_second_epoll_ctl_fails_as_the_first),
        fact(closing_without_fstat_still_closes),
        fact(a_listener_numbered_zero_is_one_as_any),
        fact(zero_and_one_are_limits_as_any),
        fact(finish_knows_no_limit),
        fact_without_base(finish_knows_no_limit),
    };
    return cmocka_run_group_tests_name("boundaries", tests, NULL, NULL);
}
