// SPDX-License-Identifier: Apache-2.0

// PROXY headers that a server receives: whose are read, what the program gets of them, and that no byte
// of the client's is touched.

#include "proxies.h"
#include "proxy_text.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void the_client_is_the_peer_and_the_rest_is_beside_it(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    proxies_connect(it, V1_HEADER "GET /");
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    proxies_assert_delivered(it, "GET /");
}

static void a_header_in_one_piece_costs_two_calls_and_one_allocation(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    proxies_connect(it, V1_HEADER);
    proxies_assert_delivered((fixture_run_ready(it), it), "");
    proxies_connect(it, V1_HEADER "x");
    fault_reset_counts();
    fixture_run_ready(it);
    assert_int_equal(fault_calls(FAULT_RECV), 2);
    assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
    assert_true(!fault_counts_allocations() || fault_allocations() == 1);
    proxies_assert_delivered(it, "x");
}

// Of the wire as it is, with a byte behind it; `split` is where the second piece begins.
static csc_connection receive(fixture *it, const proxy_vector *vector, size_t split) {
    int proxy = fixture_connect(it);
    int delivered = it->new_connections;
    if (split > 0) {
        proxies_send(proxy, vector->bytes, split);
        for (int i = 0; i < 10000 && fixture_statistics(it).in_preface == 0; i++) {
            fixture_run_for(it, 1); // a busy machine's kernel takes its time
        }
        assert_int_equal(fixture_statistics(it).in_preface, 1);
        // Ready no more: nothing of it is left in the kernel's buffer.
        fault_reset_counts();
        fixture_run_ready(it);
        assert_int_equal(fault_calls(FAULT_RECV), 0);
    }
    proxies_send(proxy, vector->bytes + split, vector->count - split);
    proxies_send(proxy, "!", 1);
    fixture_run_until(it, &it->new_connections, delivered + 1);
    csc_connection connection = fixture_take(it);
    fixture_close(it, proxy);
    return connection;
}

static void assert_says(fixture *it, const proxy_vector *vector, csc_connection connection) {
    char text[PROXY_TEXT_SIZE];
    const uint8_t *bytes = (const uint8_t *)vector->bytes;
    const csc_proxied *proxied = connection.proxied;
    assert_non_null(proxied);
    proxy_text(&proxied->header, bytes, text);
    assert_string_equal(text, vector->text);
    csc_proxy_bytes tlvs = csc_proxy_header_tlvs(&proxied->header, bytes);
    assert_int_equal(proxied->tlvs.count, tlvs.count);
    if (tlvs.count > 0) {
        assert_memory_equal(proxied->tlvs.start, tlvs.start, tlvs.count);
    }
    bool is_named = proxied->header.source.family != CSC_FAMILY_NONE;
    const csc_address *peer = is_named ? &proxied->header.source : &proxied->proxy;
    assert_memory_equal(&connection.peer, peer, sizeof *peer);
    proxies_assert_payload(connection.descriptor, "!");
    csc_proxied_free(connection.proxied);
    fixture_close(it, connection.descriptor);
    csc_server_connection_ended(it->server);
}

static void every_good_header_is_received(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    const proxy_vector *vector;
    for (size_t index = 0; (vector = proxy_vector_at(index)); index++) {
        if (vector->error == CSC_PROXY_ERROR_NONE) {
            assert_says(it, vector, receive(it, vector, 0));
        }
    }
}

static void wherever_it_is_split_it_is_the_same(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    const proxy_vector *vector;
    for (size_t index = 0; (vector = proxy_vector_at(index)); index++) {
        // Of long ones a few places are enough.
        size_t stride = vector->count < 300 ? 1 : vector->count / 30;
        for (size_t split = 1; !vector->error && split < vector->count; split += stride) {
            assert_says(it, vector, receive(it, vector, split));
        }
    }
}

static void byte_by_byte_it_is_the_same(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    int proxy = fixture_connect(it);
    for (size_t at = 0; at < V1_HEADER_SIZE; at++) {
        assert_int_equal(it->new_connections, 0);
        proxies_send(proxy, &V1_HEADER[at], 1);
        fixture_run_ready(it);
    }
    assert_int_equal(it->new_connections, 1);
    proxies_assert_delivered(it, "");
}

static void every_bad_header_is_refused_with_its_error(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    int count = 0;
    const proxy_vector *vector;
    for (size_t index = 0; (vector = proxy_vector_at(index)); index++) {
        if (vector->error == CSC_PROXY_ERROR_NONE) {
            continue;
        }
        int proxy = fixture_connect(it);
        proxies_send(proxy, vector->bytes, vector->count);
        fixture_run_ready(it);
        assert_int_equal(now.rejected, ++count);
        assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_HEADER);
        assert_int_equal(now.rejection.proxy_error, vector->error);
        assert_int_equal(now.rejection.proxy_error_offset, vector->error_offset);
        fixture_close(it, proxy);
    }
    assert_int_equal(fixture_statistics(it).preface_invalid, count);
    assert_int_equal(it->new_connections, 0);
}

static void a_stranger_is_closed_before_a_byte_is_read(void **state) {
    fixture *it = *state;
    scene now;
    const char *const foreign[] = {"192.0.2.0/24", "127.0.0.2/32", "::1/128", "128.0.0.0/1"};
    fixture_watch(it);
    guests_start(it, &now);
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        char literal[32];
        const char *slash = strchr(foreign[i], '/');
        snprintf(literal, sizeof literal, "%.*s", (int)(slash - foreign[i]), foreign[i]);
        const csc_network network = {.address = address_of(literal, 0),
                                     .prefix_length = (uint8_t)strtol(slash + 1, NULL, 10)};
        const csc_proxy_requirement requirement = {.networks = &network, .network_count = 1};
        assert_true(csc_server_require_proxy_header(it->server, &requirement));
        int proxy = proxies_connect(it, V1_HEADER);
        fault_reset_counts();
        fixture_run_ready(it);
        assert_int_equal(fault_calls(FAULT_RECV), 0);
        assert_int_equal(now.rejected, i + 1);
        guests_assert_rejected(it, &now, proxy, CSC_REJECTED_AS_UNTRUSTED);
        assert_int_equal(fixture_statistics(it).preface_untrusted, i + 1);
    }
    assert_int_equal(it->new_connections, 0);
}

static void a_network_may_be_any_prefix_and_mapped(void **state) {
    fixture *it = *state;
    scene now;
    const struct {
        const char *literal;
        uint8_t prefix_length;
    } networks[] = {{"0.0.0.0", 0}, {"126.1.2.3", 7}, {"127.0.0.1", 32}, {"::ffff:127.0.0.1", 128}};
    fixture_watch(it);
    guests_start(it, &now);
    for (int i = 0; i < 4; i++) {
        const csc_network two[] = {
            {.address = address_of("2001:db8::", 0), .prefix_length = 33},
            {.address = address_of(networks[i].literal, 0),
             .prefix_length = networks[i].prefix_length},
        };
        const csc_proxy_requirement requirement = {.networks = two, .network_count = 2};
        assert_true(csc_server_require_proxy_header(it->server, &requirement));
        proxies_connect(it, V1_HEADER);
        fixture_run_ready(it);
        proxies_assert_delivered(it, "");
    }
}

static void without_a_network_nothing_is_required(void **state) {
    fixture *it = *state;
    const csc_network wrong[] = {
        {.address = address_of("*", 0)},
        {.address = {.family = CSC_FAMILY_NONE}},
        {.address = address_of("127.0.0.0", 0), .prefix_length = 33},
        {.address = address_of("::1", 0), .prefix_length = 129},
    };
    csc_proxy_requirement requirement = {0};
    assert_false(csc_server_require_proxy_header(it->server, &requirement));
    fixture_assert_error(
        it, CSC_ERROR_OPERATION,
        "PROXY headers are taken from networks alone: at least one, of IPv4, IPv6 or UNIX");
    requirement.network_count = 1;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        requirement.networks = &wrong[i];
        assert_false(csc_server_require_proxy_header(it->server, &requirement));
    }
    fixture_listen(it);
    fixture_watch(it);
    proxies_connect(it, "x");
    fixture_run_ready(it);
    assert_null(fixture_take(it).proxied);
    assert_false(csc_server_require_proxy_header(NULL, &requirement));
}

static void versions_and_length_are_as_set(void **state) {
    fixture *it = *state;
    scene now;
    const csc_network all = {.address = address_of("0.0.0.0", 0)};
    csc_proxy_requirement requirement = {
        .networks = &all, .network_count = 1, .versions = CSC_PROXY_V2_ONLY, .maximum_length = 16};
    fixture_watch(it);
    guests_start(it, &now);
    assert_true(csc_server_require_proxy_header(it->server, &requirement));
    proxies_connect(it, "PROXY"); // refused before its end
    fixture_run_ready(it);
    assert_int_equal(now.rejection.proxy_error, CSC_PROXY_ERROR_VERSION);
    int proxy = fixture_connect(it);
    proxies_send(proxy, "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c............", 28);
    fixture_run_ready(it);
    assert_int_equal(now.rejection.proxy_error, CSC_PROXY_ERROR_LENGTH);
    requirement.maximum_length = 0;
    requirement.versions = CSC_PROXY_V1_ONLY;
    assert_true(csc_server_require_proxy_header(it->server, &requirement));
    proxy = fixture_connect(it);
    proxies_send(proxy, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);
    fixture_run_ready(it);
    assert_int_equal(now.rejection.proxy_error, CSC_PROXY_ERROR_VERSION);
    assert_int_equal(now.rejected, 3);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    proxies_assert_delivered(it, "");
    assert_true(csc_server_require_proxy_header(it->server, NULL));
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    csc_connection connection = fixture_take(it);
    assert_null(connection.proxied);
    proxies_assert_payload(connection.descriptor, V1_HEADER);
}

static void a_maximum_that_is_lowered_holds_for_what_has_begun(void **state) {
    fixture *it = *state;
    scene now;
    const csc_network all = {.address = address_of("0.0.0.0", 0)};
    const csc_proxy_requirement short_ones = {
        .networks = &all, .network_count = 1, .maximum_length = 16};
    proxies_start_patiently(it, &now);
    char header[300] = "\r\n\r\n\0\r\nQUIT\n\x20\0\x01\x1c"; // 16 and 284 bytes
    int proxy = fixture_connect(it);
    proxies_send(proxy, header, 200);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).in_preface, 1);
    assert_true(csc_server_require_proxy_header(it->server, &short_ones));
    proxies_send(proxy, header + 200, 100);
    fixture_run_ready(it);
    assert_int_equal(now.rejected, 1);
    assert_int_equal(now.rejection.proxy_error, CSC_PROXY_ERROR_LENGTH);
}

static void what_one_had_the_next_in_its_place_has_not(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    csc_server_set_max_pending(it->server, 32); // as many as there are places
    for (int round = 0; round < 2; round++) {
        for (int at = 0; at < 32; at++) {
            proxies_connect(it, V1_HEADER);
        }
        fixture_run_ready(it);
        csc_connection connection;
        while (csc_server_next_pending(it->server, &connection)) {
            assert_int_equal(connection.proxied != NULL, round == 0);
            csc_proxied_free(connection.proxied);
            close(connection.descriptor);
        }
        csc_server_require_proxy_header(it->server, NULL);
    }
    assert_int_equal(fixture_statistics(it).delivered, 64);
}

static void the_longest_header_is_received_where_it_is_allowed(void **state) {
    fixture *it = *state;
    scene now;
    static uint8_t header[CSC_PROXY_HEADER_LONGEST];
    const csc_network all = {.address = address_of("0.0.0.0", 0)};
    const csc_proxy_requirement requirement = {
        .networks = &all, .network_count = 1, .maximum_length = SIZE_MAX};
    memcpy(header, "\r\n\r\n\0\r\nQUIT\n\x21\x00\xff\xff\xe1\xff\xfc", 19);
    assert_true(csc_server_require_proxy_header(it->server, &requirement));
    fixture_watch(it);
    guests_start(it, &now);
    int proxy = fixture_connect(it);
    for (size_t at = 0; at < sizeof header;) {
        size_t count = sizeof header - at < 9999 ? sizeof header - at : 9999;
        proxies_send(proxy, header + at, count);
        at += count;
        fixture_run_ready(it);
    }
    fixture_run_ready(it);
    csc_connection connection = fixture_take(it);
    assert_int_equal(connection.proxied->tlvs.count, sizeof header - 16);
    csc_proxied_free(connection.proxied);
}

static void the_proxy_is_asked_about_and_then_the_client(void **state) {
    fixture *it = *state;
    scene now;
    const csc_address client = address_of("192.0.2.1", 56324);
    proxies_start_patiently(it, &now);
    guests_ask(it, &now, CSC_ADMIT);
    int proxy = proxies_connect(it, "");
    fixture_run_ready(it);
    csc_address peer = guests_local_address(proxy);
    assert_int_equal(now.asked, 1);
    assert_memory_equal(&now.peer, &peer, sizeof peer);
    now.admission = CSC_CLOSE;
    proxies_send(proxy, V1_HEADER, V1_HEADER_SIZE);
    fixture_run_ready(it);
    assert_int_equal(now.asked, 2);
    assert_memory_equal(&now.peer, &client, sizeof client);
    assert_memory_equal(&now.rejection.peer, &client, sizeof client);
    assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_ADMISSION);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 1);
    assert_int_equal(fixture_statistics(it).live, 0);
    // A health check of the proxy's has no client.
    now.admission = CSC_ADMIT;
    proxies_connect(it, "PROXY UNKNOWN\r\n");
    fixture_run_ready(it);
    assert_int_equal(now.asked, 3);
    csc_connection connection = fixture_take(it);
    assert_true(csc_address_is_loopback(&connection.peer));
    csc_proxied_free(connection.proxied);
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    fixture *it = context;
    assert_non_null(connection->proxied);
    if (it->new_connections == 0) {
        assert_true(csc_server_add_pending(server, connection));
    } else {
        csc_proxied_free(connection->proxied);
        fixture_own(it, connection->descriptor);
    }
}

static void the_incoming_callback_owns_it_or_gives_it_back(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    csc_server_on_incoming_connection(it->server, on_incoming, it);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    proxies_assert_delivered(it, "");
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).delivered, 2);
    assert_int_equal(fixture_statistics(it).pending, 0);
}

static void what_the_kernel_takes_back_ends_a_connection(void **state) {
    fixture *it = *state;
    scene now;
    proxies_start_patiently(it, &now);
    proxies_connect(it, V1_HEADER);
    fault_fail(FAULT_RECV, 2, 1, ECONNRESET);
    fixture_run_ready(it);
    assert_int_equal(now.rejection.reason, CSC_REJECTED_BY_PEER);
    assert_int_equal(fixture_statistics(it).preface_cut_short, 1);
    assert_int_equal(fixture_statistics(it).live, 0);
}

// What its own header says counts, as that of any connection.
static void what_came_with_an_injected_connection_is_freed(void **state) {
    fixture *it = *state;
    scene now;
    int64_t allocations = 0;
    proxies_start_patiently(it, &now);
    for (int round = 0; round < 2; round++) {
        int both[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both),
                         0);
        fixture_own(it, both[1]);
        csc_connection connection = {.descriptor = both[0], .peer = address_of("127.0.0.1", 7)};
        connection.proxied = calloc(1, sizeof *connection.proxied);
        assert_non_null(connection.proxied);
        assert_true(csc_server_inject(it->server, &connection));
        proxies_send(both[1], V1_HEADER, V1_HEADER_SIZE);
        fixture_run_ready(it);
        proxies_assert_delivered(it, "");
        if (round == 0) {
            allocations = fault_live_allocations();
        }
    }
    assert_int_equal(fault_live_allocations(), allocations);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(the_client_is_the_peer_and_the_rest_is_beside_it),
        fact(a_header_in_one_piece_costs_two_calls_and_one_allocation),
        fact(every_good_header_is_received),
        fact(wherever_it_is_split_it_is_the_same),
        fact(byte_by_byte_it_is_the_same),
        fact(every_bad_header_is_refused_with_its_error),
        fact(a_stranger_is_closed_before_a_byte_is_read),
        fact(a_network_may_be_any_prefix_and_mapped),
        fact(without_a_network_nothing_is_required),
        fact(versions_and_length_are_as_set),
        fact(a_maximum_that_is_lowered_holds_for_what_has_begun),
        fact(what_one_had_the_next_in_its_place_has_not),
        fact(the_longest_header_is_received_where_it_is_allowed),
        fact(the_proxy_is_asked_about_and_then_the_client),
        fact(the_incoming_callback_owns_it_or_gives_it_back),
        fact(what_the_kernel_takes_back_ends_a_connection),
        fact(what_came_with_an_injected_connection_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
