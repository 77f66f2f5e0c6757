// SPDX-License-Identifier: Apache-2.0

// See proxies.h.

#include "proxies.h"

#include <string.h>
#include <sys/socket.h>

static void require_within(csc_server *server, int msec) {
    const csc_network network = {.address = address_of("127.0.0.0", 0), .prefix_length = 8};
    const csc_proxy_requirement requirement = {
        .networks = &network, .network_count = 1, .timeout = msec};
    assert_true(csc_server_require_proxy_header(server, &requirement));
}

void proxies_require(csc_server *server) {
    require_within(server, 0); // the default
}

void proxies_start(fixture *it, scene *now) {
    proxies_require(it->server);
    fixture_watch(it);
    guests_start(it, now);
}

void proxies_start_patiently(fixture *it, scene *now) {
    proxies_start(it, now);
    require_within(it->server, 3600000);
}

void proxies_send(int proxy, const void *bytes, size_t count) {
    fault_suspend();
    assert_int_equal(send(proxy, bytes, count, MSG_NOSIGNAL), count);
    fault_resume();
}

int proxies_connect(fixture *it, const char *bytes) {
    int proxy = fixture_connect(it);
    if (*bytes != '\0') {
        proxies_send(proxy, bytes, strlen(bytes));
    }
    return proxy;
}

void proxies_assert_payload(int descriptor, const char *payload) {
    char bytes[64];
    fault_suspend();
    ssize_t count = recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
    fault_resume();
    assert_int_equal(count < 0 ? 0 : count, strlen(payload));
    assert_memory_equal(bytes, payload, strlen(payload));
}

void proxies_assert_delivered(fixture *it, const char *payload) {
    const csc_address client = address_of("192.0.2.1", 56324);
    const csc_address server = address_of("198.51.100.2", 443);
    csc_connection connection = fixture_take(it);
    assert_memory_equal(&connection.peer, &client, sizeof client);
    assert_non_null(connection.proxied);
    assert_true(csc_address_is_loopback(&connection.proxied->proxy));
    assert_int_equal(connection.proxied->header.version, 1);
    assert_memory_equal(&connection.proxied->header.destination, &server, sizeof server);
    assert_int_equal(connection.proxied->tlvs.count, 0);
    csc_proxied_free(connection.proxied);
    proxies_assert_payload(connection.descriptor, payload);
    fixture_close(it, connection.descriptor);
    csc_server_connection_ended(it->server);
}
