// SPDX-License-Identifier: Apache-2.0

#include "sources_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

csc_sources *sources_limit(csc_server *server, csc_source_limits limits) {
    csc_sources *sources = csc_sources_new(&limits);
    assert_non_null(sources);
    assert_true(csc_server_set_sources(server, sources));
    csc_sources_free(sources); // the server's from now on
    return sources;
}

csc_sources *sources_limit_connections(csc_server *server, uint32_t count) {
    return sources_limit(server, (csc_source_limits){.max_connections = count});
}

int sources_connect_from(fixture *it, const char *literal) {
    csc_address from = address_of(literal, 0);
    csc_address to = csc_server_address(it->server);
    struct sockaddr_storage name;
    int client = fixture_own(it, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    socklen_t length = csc_address_to_sockaddr(&from, &name);
    assert_return_code(bind(client, (struct sockaddr *)&name, length), errno);
    length = csc_address_to_sockaddr(&to, &name);
    assert_return_code(connect(client, (struct sockaddr *)&name, length), errno);
    return client;
}

bool sources_inject(fixture *it, const char *literal) {
    int pair[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                       errno);
    fixture_own(it, pair[1]);
    uint64_t before = fixture_statistics(it).pending;
    csc_connection connection = {.descriptor = pair[0], .peer = address_of(literal, 4711)};
    connection.source = 3; // which is not the program's to choose
    assert_true(csc_server_inject(it->server, &connection));
    return fixture_statistics(it).pending > before;
}

void sources_end_one(fixture *it) {
    csc_connection connection = fixture_take(it);
    fixture_close(it, connection.descriptor);
    csc_proxied_free(connection.proxied);
    csc_server_connection_ended_from(it->server, connection.source);
}

void sources_end_all(fixture *it) {
    while (csc_server_has_pending(it->server)) {
        sources_end_one(it);
    }
}
