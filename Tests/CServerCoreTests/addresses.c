// SPDX-License-Identifier: Apache-2.0

// Literals, the kernel's form and the one form that peers are reported in.

#include "fixture.h"

#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static csc_address untouched(void) {
    csc_address address;
    memset(&address, 0xa5, sizeof address);
    return address;
}

static void literals_are_read_and_written_back(void **state) {
    (void)state;
    static const struct {
        const char *text;
        csc_family family;
        const char *written;
    } rows[] = {
        {"0.0.0.0", CSC_FAMILY_IPV4, "0.0.0.0"},
        {"127.0.0.1", CSC_FAMILY_IPV4, "127.0.0.1"},
        {"255.255.255.255", CSC_FAMILY_IPV4, "255.255.255.255"},
        {"::", CSC_FAMILY_IPV6, "::"},
        {"::1", CSC_FAMILY_IPV6, "::1"},
        {"2001:DB8:0:0::1", CSC_FAMILY_IPV6, "2001:db8::1"},
        {"::ffff:10.1.2.3", CSC_FAMILY_IPV6, "::ffff:10.1.2.3"},
        {"fe80::1%4294967", CSC_FAMILY_IPV6, "fe80::1%4294967"},
        {"fe80::1%lo", CSC_FAMILY_IPV6, "fe80::1%lo"},
        {"*", CSC_FAMILY_ANY, "*"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[CSC_ADDRESS_TEXT_SIZE];
        csc_address address = untouched();
        assert_true(csc_address_parse(rows[i].text, 4711, &address));
        assert_int_equal(address.family, rows[i].family);
        assert_int_equal(address.port, 4711);
        assert_int_equal(address.reserved, 0);
        assert_int_equal(csc_address_format(&address, text, sizeof text), strlen(rows[i].written));
        assert_string_equal(text, rows[i].written);
    }
}

static void what_is_not_a_literal_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "localhost",
        "127.1",
        "127.0.0.1 ",
        "127.0.0.256",
        "0x7f000001",
        "1.2.3.4.5",
        "127.0.0.1%lo",
        "*%lo",
        ":",
        ":::",
        "1::2::3",
        "[::1]",
        "::1/64",
        "fe80::1%",
        "fe80::1%0",
        "fe80::1%-1",
        "fe80::1%+1",
        "fe80::1%1x",
        "fe80::1%no-such-interface",
        "fe80::1%99999999999999999999",
        "fe80::1%4294967296",
        "fe80::1%lo%lo",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        csc_address address = untouched();
        csc_address before = untouched();
        if (csc_address_parse(texts[i], 1, &address)) {
            fail_msg("\"%s\" was read as an address", texts[i]);
        }
        assert_memory_equal(&address, &before, sizeof address);
    }
}

static void a_scope_is_an_interface_name_or_a_number(void **state) {
    (void)state;
    unsigned loopback = if_nametoindex("lo");
    char text[CSC_ADDRESS_TEXT_SIZE];
    assert_int_equal(address_of("fe80::1%lo", 0).scope_id, loopback);
    snprintf(text, sizeof text, "fe80::1%%%u", loopback);
    assert_int_equal(address_of(text, 0).scope_id, loopback);
    assert_int_equal(address_of("fe80::1", 0).scope_id, 0);
}

static void a_small_buffer_gets_no_half_an_address(void **state) {
    (void)state;
    csc_address address = address_of("127.0.0.1", 0);
    char text[16];
    memset(text, 'x', sizeof text);
    assert_int_equal(csc_address_format(&address, text, 9), 0);
    assert_string_equal(text, "");
    assert_int_equal(text[1], 'x');
    assert_int_equal(csc_address_format(&address, text, 10), 9);
    assert_string_equal(text, "127.0.0.1");
    text[0] = 'x';
    assert_int_equal(csc_address_format(&address, text, 0), 0);
    assert_int_equal(text[0], 'x');
}

static void the_longest_address_fits_the_promised_size(void **state) {
    (void)state;
    csc_address address = {.family = CSC_FAMILY_IPV6, .scope_id = UINT32_MAX};
    char text[CSC_ADDRESS_TEXT_SIZE];
    memset(address.bytes, 0xaa, sizeof address.bytes);
    assert_int_equal(csc_address_format(&address, text, sizeof text),
                     strlen("aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa%4294967295"));
}

static void no_address_has_no_text(void **state) {
    (void)state;
    csc_address none = {0};
    char text[CSC_ADDRESS_TEXT_SIZE] = "x";
    struct sockaddr_storage name;
    assert_int_equal(csc_address_format(&none, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(csc_address_to_sockaddr(&none, &name), 0);
    none.family = 99;
    assert_int_equal(csc_address_format(&none, text, sizeof text), 0);
    assert_int_equal(csc_address_to_sockaddr(&none, &name), 0);
}

static void loopback_is_a_whole_network_in_ipv4(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool loopback;
    } rows[] = {
        {"127.0.0.1", true},
        {"127.255.255.254", true},
        {"126.255.255.255", false},
        {"128.0.0.1", false},
        {"::1", true},
        {"::", false},
        {"::2", false},
        {"::ffff:127.3.2.1", true},
        {"::ffff:128.0.0.1", false},
        {"*", false},
        {"0.0.0.0", false},
        {"fe80::1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        csc_address address = address_of(rows[i].text, 0);
        assert_int_equal(csc_address_is_loopback(&address), rows[i].loopback);
    }
    assert_false(csc_address_is_loopback(&(csc_address){0}));
}

static void an_address_survives_the_kernels_form(void **state) {
    (void)state;
    static const char *const texts[] = {"10.20.30.40", "2001:db8::9", "fe80::1%lo"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        csc_address address = address_of(texts[i], 65535);
        csc_address back = untouched();
        struct sockaddr_storage name;
        unsigned length = csc_address_to_sockaddr(&address, &name);
        assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &back));
        assert_memory_equal(&back, &address, sizeof back);
    }
}

static void any_becomes_the_ipv6_wildcard(void **state) {
    (void)state;
    csc_address any = address_of("*", 80);
    struct sockaddr_storage name;
    assert_int_equal(csc_address_to_sockaddr(&any, &name), sizeof(struct sockaddr_in6));
    struct sockaddr_in6 in6;
    memcpy(&in6, &name, sizeof in6);
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_int_equal(ntohs(in6.sin6_port), 80);
    assert_memory_equal(&in6.sin6_addr, &in6addr_any, sizeof in6addr_any);
}

static void a_mapped_peer_becomes_its_ipv4_address(void **state) {
    (void)state;
    csc_address mapped = address_of("::ffff:192.0.2.7", 9);
    csc_address plain = address_of("192.0.2.7", 9);
    csc_address read = untouched();
    struct sockaddr_storage name;
    unsigned length = csc_address_to_sockaddr(&mapped, &name);
    assert_true(csc_address_from_sockaddr((struct sockaddr *)&name, length, &read));
    assert_memory_equal(&read, &plain, sizeof read);
}

static void what_the_kernel_gives_too_short_or_strange_is_no_address(void **state) {
    (void)state;
    static const csc_address none;
    struct sockaddr_storage name = {0};
    csc_address address = untouched();
    assert_false(csc_address_from_sockaddr(NULL, 0, &address));
    assert_memory_equal(&address, &none, sizeof address);

    name.ss_family = AF_INET;
    for (size_t length = 0; length < sizeof(struct sockaddr_in); length++) {
        assert_false(csc_address_from_sockaddr((struct sockaddr *)&name, length, &address));
    }
    name.ss_family = AF_INET6;
    for (size_t length = 0; length < sizeof(struct sockaddr_in6); length++) {
        assert_false(csc_address_from_sockaddr((struct sockaddr *)&name, length, &address));
    }
    assert_memory_equal(&address, &none, sizeof address);
}

static void that_of_a_unix_socket_has_a_family_alone(void **state) {
    (void)state;
    static const csc_address expected = {.family = CSC_FAMILY_UNIX};
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/a/path"};
    struct sockaddr_storage name;
    char text[CSC_ADDRESS_TEXT_SIZE] = "x";
    const size_t lengths[] = {sizeof local.sun_family, sizeof local};
    for (size_t i = 0; i < 2; i++) {
        csc_address address = untouched();
        assert_true(csc_address_from_sockaddr((struct sockaddr *)&local, lengths[i], &address));
        assert_memory_equal(&address, &expected, sizeof address);
    }
    csc_address address = untouched();
    assert_false(csc_address_from_sockaddr((struct sockaddr *)&local, 1, &address));
    assert_int_equal(address.family, CSC_FAMILY_NONE);
    assert_int_equal(csc_address_format(&expected, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(csc_address_to_sockaddr(&expected, &name), 0);
    assert_false(csc_address_is_loopback(&expected));
    assert_true(csc_address_equal(&expected, &expected));
    assert_false(csc_address_equal(&expected, &(csc_address){.family = CSC_FAMILY_ANY}));
    assert_false(csc_address_equal(&expected, &(csc_address){.family = CSC_FAMILY_NONE}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(that_of_a_unix_socket_has_a_family_alone),
        cmocka_unit_test(literals_are_read_and_written_back),
        cmocka_unit_test(what_is_not_a_literal_is_refused),
        cmocka_unit_test(a_scope_is_an_interface_name_or_a_number),
        cmocka_unit_test(a_small_buffer_gets_no_half_an_address),
        cmocka_unit_test(the_longest_address_fits_the_promised_size),
        cmocka_unit_test(no_address_has_no_text),
        cmocka_unit_test(loopback_is_a_whole_network_in_ipv4),
        cmocka_unit_test(an_address_survives_the_kernels_form),
        cmocka_unit_test(any_becomes_the_ipv6_wildcard),
        cmocka_unit_test(a_mapped_peer_becomes_its_ipv4_address),
        cmocka_unit_test(what_the_kernel_gives_too_short_or_strange_is_no_address),
    };
    return cmocka_run_group_tests_name("addresses", tests, NULL, NULL);
}
