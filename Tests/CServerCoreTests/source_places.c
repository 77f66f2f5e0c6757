// SPDX-License-Identifier: Apache-2.0

// Each connection of a source gives its place back once, however it ends.

#include "proxies.h"
#include "sources_fixture.h"

#include <errno.h>
#include <sys/socket.h>

static csc_admission answer;

static csc_admission decide(csc_server *server, const csc_address *peer, void *context) {
    (void)peer;
    if (context) {
        csc_server_close(server);
    }
    return answer;
}

static void rejected_by_the_program_it_counts_no_more(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    answer = CSC_CLOSE;
    csc_server_on_admission(it->server, decide, NULL);
    assert_false(sources_inject(it, "192.0.2.1"));
    assert_int_equal(csc_sources_in_use(sources), 0);
    answer = CSC_ADMIT;
    csc_server_on_admission(it->server, decide, it); // which closes the server
    assert_false(sources_inject(it, "192.0.2.1"));
    assert_int_equal(csc_sources_in_use(sources), 0);
    assert_int_equal(fixture_statistics(it).discarded_on_close, 1);
}

static void rejected_by_the_limit_of_all_it_does_not_count(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 5);
    csc_server_set_max_connections(it->server, 0, CSC_EXCESS_CLOSE);
    assert_false(sources_inject(it, "192.0.2.1"));
    assert_int_equal(csc_sources_in_use(sources), 0);
    assert_int_equal(fixture_statistics(it).rejected_by_limit, 1);
}

static void discarded_on_close_it_counts_no_more(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    assert_true(sources_inject(it, "192.0.2.1"));
    csc_server_close(it->server);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

static void give_back(csc_server *server, const csc_connection *connection, void *context) {
    (void)context;
    assert_int_not_equal(connection->source, 0);
    assert_true(csc_server_add_pending(server, connection));
}

static void given_back_by_the_program_it_goes_on_counting(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    csc_server_on_incoming_connection(it->server, give_back, NULL);
    assert_true(sources_inject(it, "192.0.2.1"));
    csc_connection connection = fixture_take(it);
    assert_int_not_equal(connection.source, 0);
    assert_int_equal(csc_sources_in_use(sources), 1);
    csc_server_connection_ended_from(it->server, connection.source);
    assert_int_equal(csc_sources_in_use(sources), 0);
    // Added once it has ended, it counts nowhere.
    assert_true(csc_server_add_pending(it->server, &connection));
    csc_connection again;
    assert_true(csc_server_next_pending(it->server, &again));
    assert_int_equal(again.source, 0);
    csc_server_connection_ended_from(it->server, again.source);
}

static void finishing_lets_all_in_and_counts_them(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit(
        it->server, (csc_source_limits){.max_connections = 1, .accepts_per_second = 1, .burst = 1});
    fixture_listen(it);
    fixture_connect_many(it, 5);
    csc_server_finish(it->server);
    assert_int_equal(fixture_statistics(it).pending, 5);
    assert_int_equal(csc_sources_in_use(sources), 1);
    sources_end_all(it);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

static void peers_of_unix_sockets_have_no_source(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    int pair[2];
    for (int i = 0; i < 3; i++) {
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        fixture_own(it, pair[1]);
        csc_connection connection = {.descriptor = pair[0], .peer.family = CSC_FAMILY_UNIX};
        assert_true(csc_server_inject(it->server, &connection));
    }
    assert_int_equal(fixture_statistics(it).pending, 3);
    assert_int_equal(csc_sources_in_use(sources), 0);
    assert_int_equal(fixture_statistics(it).uncounted_sources, 0);
    sources_end_all(it);
}

static void a_server_at_an_abstract_name_counts_no_source(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    struct sockaddr_storage name = {.ss_family = AF_UNIX};
    socklen_t length = sizeof name.ss_family; // which lets the kernel choose a name
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(listening, (struct sockaddr *)&name, length), errno);
    assert_return_code(listen(listening, 5), errno);
    length = sizeof name;
    assert_return_code(getsockname(listening, (struct sockaddr *)&name, &length), errno);
    assert_true(csc_server_adopt(it->server, listening));
    for (int i = 0; i < 3; i++) {
        int client = fixture_own(it, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        assert_return_code(connect(client, (struct sockaddr *)&name, length), errno);
    }
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 3);
    assert_int_equal(csc_sources_in_use(sources), 0);
    sources_end_all(it);
}

static void through_a_proxy_the_declared_client_counts(void **state) {
    fixture *it = *state;
    scene now;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    proxies_start(it, &now);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 1);
    int beyond = proxies_connect(it, V1_HEADER);
    proxies_connect(it, "PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n");
    proxies_connect(it, "PROXY UNKNOWN\r\n"); // says nothing of a client
    proxies_connect(it, "PROXY UNKNOWN\r\n");
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 4);
    assert_int_equal(now.rejected, 1);
    guests_assert_closed(beyond);
    assert_int_equal(fixture_statistics(it).rejected_by_source_limit, 1);
    assert_int_equal(csc_sources_in_use(sources), 2);
    answer = CSC_CLOSE;
    csc_server_on_admission(it->server, decide, NULL);
    csc_server_require_proxy_header(it->server, NULL);
    sources_end_all(it);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

static csc_admission admit_proxies(csc_server *server, const csc_address *peer, void *context) {
    (void)server, (void)context;
    return csc_address_is_loopback(peer) ? CSC_ADMIT : CSC_CLOSE;
}

static void a_declared_client_that_is_rejected_counts_no_more(void **state) {
    fixture *it = *state;
    scene now;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    proxies_start(it, &now);
    csc_server_on_admission(it->server, admit_proxies, NULL);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).rejected_by_admission, 1);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

static csc_admission require_header(csc_server *server, const csc_address *peer, void *context) {
    (void)peer, (void)context;
    proxies_require(server);
    return CSC_ADMIT;
}

static void where_a_header_is_required_meanwhile_only_the_declared_client_counts(void **state) {
    fixture *it = *state;
    csc_sources *sources = sources_limit_connections(it->server, 1);
    csc_server_on_admission(it->server, require_header, NULL);
    fixture_listen(it);
    proxies_connect(it, V1_HEADER);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).pending, 1);
    assert_int_equal(csc_sources_in_use(sources), 1);
    sources_end_all(it);
    assert_int_equal(csc_sources_in_use(sources), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(rejected_by_the_program_it_counts_no_more),
        fact(rejected_by_the_limit_of_all_it_does_not_count),
        fact(discarded_on_close_it_counts_no_more),
        fact(given_back_by_the_program_it_goes_on_counting),
        fact(finishing_lets_all_in_and_counts_them),
        fact(peers_of_unix_sockets_have_no_source),
        fact(a_server_at_an_abstract_name_counts_no_source),
        fact(through_a_proxy_the_declared_client_counts),
        fact(a_declared_client_that_is_rejected_counts_no_more),
        fact(where_a_header_is_required_meanwhile_only_the_declared_client_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
