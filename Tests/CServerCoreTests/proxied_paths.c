// SPDX-License-Identifier: Apache-2.0

// PROXY headers of proxies that connect to a path, and headers whose addresses are paths.

#include "folder.h"
#include "proxies.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UNIX_BLOCK = 216, UNIX_HEADER_SIZE = 16 + UNIX_BLOCK };

static const csc_network paths = {.address = {.family = CSC_FAMILY_UNIX}};

static void require(csc_server *server, const csc_network *networks, size_t count) {
    const csc_proxy_requirement requirement = {.networks = networks, .network_count = count};
    assert_true(csc_server_require_proxy_header(server, &requirement));
}

static folder start_at_path(fixture *it, const csc_network *networks, size_t count) {
    folder at = folder_make();
    require(it->server, networks, count);
    fixture_watch(it);
    assert_true(csc_server_listen_path(it->server, at.path, -1, false));
    return at;
}

static void end(fixture *it, const folder *at) {
    csc_server_close(it->server);
    folder_remove(at);
}

static void assert_named_by_a_path(fixture *it, const char *payload) {
    const csc_address client = address_of("192.0.2.1", 56324);
    csc_connection connection = fixture_take(it);
    assert_memory_equal(&connection.peer, &client, sizeof client);
    assert_non_null(connection.proxied);
    assert_int_equal(connection.proxied->proxy.family, CSC_FAMILY_UNIX);
    csc_proxied_free(connection.proxied);
    proxies_assert_payload(connection.descriptor, payload);
    fixture_close(it, connection.descriptor);
    csc_server_connection_ended(it->server);
}

static void a_proxy_at_a_path_names_its_client(void **state) {
    fixture *it = *state;
    folder at = start_at_path(it, &paths, 1);
    int proxy = fixture_own(it, connect_to_path(at.path));
    proxies_send(proxy, V1_HEADER "GET /", V1_HEADER_SIZE + 5);
    fault_reset_counts();
    fixture_run_until(it, &it->new_connections, 1);
    assert_int_equal(fault_calls(FAULT_RECV), 2);
    assert_named_by_a_path(it, "GET /");
    end(it, &at);
}

static void byte_by_byte_it_is_the_same_and_the_loop_rests(void **state) {
    fixture *it = *state;
    folder at = start_at_path(it, &paths, 1);
    int proxy = fixture_own(it, connect_to_path(at.path));
    for (size_t i = 0; i < V1_HEADER_SIZE; i++) {
        assert_int_equal(it->new_connections, 0);
        proxies_send(proxy, &V1_HEADER[i], 1);
        fixture_run_ready(it);
        fault_reset_counts();
        fixture_run_ready(it);
        assert_int_equal(fault_calls(FAULT_RECV), 0);
    }
    proxies_send(proxy, "x", 1);
    assert_int_equal(it->new_connections, 1);
    assert_named_by_a_path(it, "x");
    end(it, &at);
}

static void addresses_that_are_paths_leave_the_peer_as_it_is(void **state) {
    fixture *it = *state;
    char header[UNIX_HEADER_SIZE + 1] = "\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8/run/front.socket";
    header[UNIX_HEADER_SIZE] = '!';
    folder at = start_at_path(it, &paths, 1);
    int proxy = fixture_own(it, connect_to_path(at.path));
    proxies_send(proxy, header, sizeof header);
    fixture_run_until(it, &it->new_connections, 1);
    csc_connection connection = fixture_take(it);
    assert_int_equal(connection.peer.family, CSC_FAMILY_UNIX);
    assert_int_equal(connection.proxied->header.protocol, CSC_PROXY_PROTOCOL_UNIX_STREAM);
    assert_int_equal(connection.proxied->header.source.family, CSC_FAMILY_NONE);
    csc_proxied_free(connection.proxied);
    proxies_assert_payload(connection.descriptor, "!");
    end(it, &at);
}

static void a_health_check_at_a_path_has_the_proxy_as_its_peer(void **state) {
    fixture *it = *state;
    folder at = start_at_path(it, &paths, 1);
    int proxy = fixture_own(it, connect_to_path(at.path));
    proxies_send(proxy, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);
    fixture_run_until(it, &it->new_connections, 1);
    csc_connection connection = fixture_take(it);
    assert_int_equal(connection.peer.family, CSC_FAMILY_UNIX);
    assert_true(connection.proxied->header.is_local);
    csc_proxied_free(connection.proxied);
    int silent = connect_to_path(at.path);
    assert_true(silent >= 0);
    close(silent);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).preface_silent, 1);
    end(it, &at);
}

static void networks_of_addresses_have_no_path_in_them(void **state) {
    fixture *it = *state;
    const csc_network addresses[] = {{.address = address_of("0.0.0.0", 0)},
                                     {.address = address_of("::", 0)}};
    folder at = start_at_path(it, addresses, 2);
    int proxy = fixture_own(it, connect_to_path(at.path));
    proxies_send(proxy, V1_HEADER, V1_HEADER_SIZE);
    fault_reset_counts();
    fixture_run_ready(it);
    assert_int_equal(fault_calls(FAULT_RECV), 0);
    assert_int_equal(fixture_statistics(it).preface_untrusted, 1);
    end(it, &at);
}

static void paths_have_no_address_in_them(void **state) {
    fixture *it = *state;
    scene now;
    require(it->server, &paths, 1);
    fixture_watch(it);
    guests_start(it, &now);
    int proxy = proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    guests_assert_rejected(it, &now, proxy, CSC_REJECTED_AS_UNTRUSTED);
}

static void paths_have_no_prefix(void **state) {
    fixture *it = *state;
    csc_network network = paths;
    const csc_proxy_requirement requirement = {.networks = &network, .network_count = 1};
    network.prefix_length = 1;
    assert_false(csc_server_require_proxy_header(it->server, &requirement));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_proxy_at_a_path_names_its_client),
        fact(byte_by_byte_it_is_the_same_and_the_loop_rests),
        fact(addresses_that_are_paths_leave_the_peer_as_it_is),
        fact(a_health_check_at_a_path_has_the_proxy_as_its_peer),
        fact(networks_of_addresses_have_no_path_in_them),
        fact(paths_have_no_address_in_them),
        fact(paths_have_no_prefix),
        fact_without_base(paths_have_no_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
