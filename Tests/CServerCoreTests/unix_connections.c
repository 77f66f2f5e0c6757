// SPDX-License-Identifier: Apache-2.0

// Connections through a UNIX socket, the listening sockets that are adopted, and their ends.

#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void listen_at(fixture *it, const char *path) {
    assert_true(csc_server_listen_path(it->server, path, -1, false));
}

static void a_peer_without_a_name_and_one_with_a_name_are_accepted(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    fixture_watch(it);
    listen_at(it, at.path);
    fixture_own(it, connect_to_path(at.path));
    fixture_run_until(it, &it->new_connections, 1);
    csc_connection unnamed = fixture_take(it);
    assert_int_equal(unnamed.peer.family, CSC_FAMILY_UNIX);

    struct sockaddr_un name = {.sun_family = AF_UNIX}; // the kernel chooses one
    int client = fixture_own(it, socket(AF_UNIX, SOCK_STREAM, 0));
    assert_int_equal(bind(client, (struct sockaddr *)&name, sizeof name.sun_family), 0);
    memcpy(name.sun_path, at.path, strlen(at.path) + 1);
    assert_int_equal(connect(client, (struct sockaddr *)&name, sizeof name), 0);
    fixture_run_until(it, &it->new_connections, 2);
    csc_connection named = fixture_take(it);
    assert_true(csc_address_equal(&named.peer, &unnamed.peer));
    assert_int_equal(fixture_statistics(it).accept_queue_limit, 0); // the kernel does not say
    csc_server_close(it->server);
    folder_remove(&at);
}

static void credentials_are_the_peers(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    csc_credentials credentials = {.pid = -1};
    listen_at(it, at.path);
    int client = fixture_own(it, connect_to_path(at.path));
    assert_true(csc_server_wait(it->server, 10000, NULL));
    int accepted = fixture_take(it).descriptor;
    assert_true(csc_peer_credentials(accepted, &credentials));
    assert_int_equal(credentials.pid, getpid());
    assert_int_equal(credentials.uid, geteuid());
    assert_int_equal(credentials.gid, getegid());
    fixture_close(it, client);
    credentials.pid = -1;
    assert_true(csc_peer_credentials(accepted, &credentials)); // as noted when it connected
    assert_int_equal(credentials.pid, getpid());

    credentials.pid = -7;
    assert_false(csc_peer_credentials(-1, &credentials));
    assert_false(
        csc_peer_credentials(fixture_own(it, socket(AF_INET, SOCK_STREAM, 0)), &credentials));
    assert_false(
        csc_peer_credentials(fixture_own(it, socket(AF_UNIX, SOCK_STREAM, 0)), &credentials));
    assert_false(csc_peer_credentials(csc_server_descriptor(it->server), &credentials));
    assert_int_equal(credentials.pid, -7);
    csc_server_close(it->server);
    folder_remove(&at);
}

static void a_listening_socket_of_others_is_adopted(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    int listener = raw_path_listener(at.path);
    assert_true(csc_server_adopt(it->server, listener));
    assert_int_equal(csc_server_descriptor(it->server), listener);
    assert_string_equal(csc_server_path(it->server), at.path);
    assert_int_equal(csc_server_address(it->server).family, CSC_FAMILY_UNIX);
    assert_serves_at(it, at.path);
    csc_server_close(it->server);
    assert_true(inode_at(at.path) != 0);
    unlink(at.path);
    folder_remove(&at);
}

// 108 bytes leave no room for one.
static void a_path_without_a_nul_is_adopted(void **state) {
    fixture *it = *state;
    skip_under_valgrind("it looks for the NUL");
    folder at = folder_make();
    char longest[sizeof((struct sockaddr_un *)0)->sun_path + 1];
    size_t used = (size_t)snprintf(longest, sizeof longest, "%s/", at.name);
    memset(longest + used, 'x', sizeof longest - used);
    longest[sizeof longest - 1] = '\0';
    assert_true(csc_server_adopt(it->server, raw_path_listener(longest)));
    assert_string_equal(csc_server_path(it->server), longest);
    assert_serves_at(it, longest);
    csc_server_close(it->server);
    unlink(longest);
    folder_remove(&at);
}

static void an_abstract_name_is_written_with_signs_for_its_nuls(void **state) {
    fixture *it = *state;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length = snprintf(name.sun_path, sizeof name.sun_path, "@a/%d/b", (int)getpid());
    char expected[sizeof name.sun_path + 1];
    snprintf(expected, sizeof expected, "%s@", name.sun_path);
    name.sun_path[0] = '\0';
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_true(csc_server_adopt(it->server, listener));
    assert_string_equal(csc_server_path(it->server), expected);
}

static void keep_rejection(csc_server *server, const csc_rejection *rejection, void *context) {
    (void)server;
    *(csc_rejection *)context = *rejection;
}

static void a_rejected_client_is_reported(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    csc_rejection rejection = {.reserved = {1}};
    csc_server_on_rejected(it->server, keep_rejection, &rejection);
    csc_server_set_max_connections(it->server, 0, CSC_EXCESS_RESET);
    listen_at(it, at.path);
    int client = fixture_own(it, connect_to_path(at.path));
    fixture_run_ready(it);
    assert_int_equal(rejection.reason, CSC_REJECTED_BY_LIMIT);
    assert_int_equal(rejection.peer.family, CSC_FAMILY_UNIX);
    assert_int_equal(rejection.local.family, CSC_FAMILY_UNIX);
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), 0); // there is no reset
    csc_server_close(it->server);
    folder_remove(&at);
}

static void finishing_takes_the_queue_and_no_client_more(void **state) {
    enum { CLIENTS = 5 };
    fixture *it = *state;
    folder at = folder_make();
    listen_at(it, at.path);
    csc_server_set_max_pending(it->server, 1);
    for (int i = 0; i < CLIENTS; i++) {
        fixture_own(it, connect_to_path(at.path));
    }
    csc_server_finish(it->server);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(fixture_take_all(it), CLIENTS);
    assert_int_equal(connect_to_path(at.path), -1);
    assert_int_equal(errno, ENOENT);
    folder_remove(&at);
}

static void close_at_once(csc_server *server, const csc_connection *connection, void *context) {
    ++*(int *)context;
    close(connection->descriptor);
    csc_server_connection_ended(server);
}

// The queue of a UNIX socket holds one more than its length.
static void finishing_takes_a_full_queue(void **state) {
    enum { MOST = 10000 };
    fixture *it = *state;
    folder at = folder_make();
    char name[64];
    snprintf(name, sizeof name, "@tcpserverkit/%d/full", (int)getpid());
    const char *const places[] = {at.path, name};
    int *clients = calloc(MOST, sizeof *clients);
    assert_non_null(clients);
    for (int place = 0; place < 2; place++) {
        int taken = 0;
        int count = 0;
        csc_server_on_incoming_connection(it->server, close_at_once, &taken);
        listen_at(it, places[place]);
        while (count < MOST && (clients[count] = connect_to_path(places[place])) >= 0) {
            count++;
        }
        bool is_full = count < MOST && errno == EAGAIN;
        csc_server_finish(it->server);
        for (int index = 0; index < count; index++) {
            close(clients[index]);
        }
        assert_int_equal(taken, count);
        if (!is_full) {
            free(clients);
            folder_remove(&at);
            skip(); // for lack of descriptors, or the queue is longer here
        }
    }
    free(clients);
    folder_remove(&at);
}

static void connect_meanwhile(csc_server *server, void *context) {
    (void)server;
    int client = connect_to_path(context);
    assert_int_equal(client, -1);
}

// One that came now would be reset.
static void while_it_finishes_no_client_comes(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    listen_at(it, at.path);
    fixture_own(it, connect_to_path(at.path));
    csc_server_on_new_connection(it->server, connect_meanwhile, at.path);
    csc_server_finish(it->server);
    assert_int_equal(fixture_take_all(it), 1);
    folder_remove(&at);
}

static void assert_broken(fixture *it, const folder *at) {
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(it->accept_errors, 1);
    assert_int_equal(inode_at(at->path), 0);
    folder_remove(at);
}

static void a_socket_that_was_shut_down_is_noticed(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    fixture_watch(it);
    listen_at(it, at.path);
    shutdown(csc_server_descriptor(it->server), SHUT_RDWR);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_broken(it, &at);
}

static void a_socket_that_was_shut_down_in_a_pause_is_noticed(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    fixture_watch(it);
    listen_at(it, at.path);
    csc_server_pause(it->server);
    fixture_run_ready(it);
    shutdown(csc_server_descriptor(it->server), SHUT_RDWR);
    fault_advance_clock(1100);
    fixture_run_until(it, &it->accept_errors, 1);
    assert_broken(it, &at);
}

// They have no addresses by which to choose.
static void by_peer_places_them_by_load(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    csc_group *group = csc_group_new(it->server, 2);
    csc_server *members[2];
    for (int i = 0; i < 2; i++) {
        members[i] = csc_server_new(it->base);
        assert_true(csc_group_add(group, members[i]));
    }
    csc_group_set_distribution(group, CSC_BY_PEER);
    listen_at(it, at.path);
    assert_null(csc_server_path(members[0]));
    for (int i = 0; i < 4; i++) {
        fixture_own(it, connect_to_path(at.path));
    }
    fixture_run_ready(it);
    for (int i = 0; i < 2; i++) {
        csc_statistics now;
        csc_server_statistics(members[i], &now, sizeof now);
        assert_int_equal(now.pending, 2);
    }
    fixture_free_server(it);
    for (int i = 0; i < 2; i++) {
        csc_server_free(members[i]);
    }
    folder_remove(&at);
}

enum { RIVALS = 4, ROUNDS = 100 };

typedef struct rival {
    pthread_barrier_t *start;
    const char *path;
    csc_server *server;
    bool listens;
} rival;

static void *begin(void *context) {
    rival *it = context;
    pthread_barrier_wait(it->start);
    it->listens = csc_server_listen_path(it->server, it->path, -1, false);
    return NULL;
}

// None removes what another has just bound, and does not listen at yet.
static void of_servers_that_begin_at_once_one_is_reached(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, RIVALS);
    for (int round = 0; round < ROUNDS; round++) {
        rival rivals[RIVALS];
        pthread_t threads[RIVALS];
        int listening = 0;
        leave_stale(at.path);
        for (int i = 0; i < RIVALS; i++) {
            rivals[i] = (rival){&start, at.path, csc_server_new(NULL), false};
            assert_int_equal(pthread_create(&threads[i], NULL, begin, &rivals[i]), 0);
        }
        for (int i = 0; i < RIVALS; i++) {
            pthread_join(threads[i], NULL);
            listening += rivals[i].listens;
            if (!rivals[i].listens) {
                assert_int_equal(csc_server_error(rivals[i].server), CSC_ERROR_ADDRESS_IN_USE);
            }
        }
        assert_int_equal(listening, 1);
        int client = connect_to_path(at.path);
        assert_true(client >= 0);
        close(client);
        for (int i = 0; i < RIVALS; i++) {
            csc_server_free(rivals[i].server);
        }
        assert_int_equal(inode_at(at.path), 0);
    }
    pthread_barrier_destroy(&start);
    (void)it;
    folder_remove(&at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_peer_without_a_name_and_one_with_a_name_are_accepted),
        fact(credentials_are_the_peers),
        fact(a_listening_socket_of_others_is_adopted),
        fact(a_path_without_a_nul_is_adopted),
        fact(an_abstract_name_is_written_with_signs_for_its_nuls),
        fact(a_rejected_client_is_reported),
        fact(finishing_takes_the_queue_and_no_client_more),
        fact(finishing_takes_a_full_queue),
        fact(while_it_finishes_no_client_comes),
        fact(a_socket_that_was_shut_down_is_noticed),
        fact(a_socket_that_was_shut_down_in_a_pause_is_noticed),
        fact(by_peer_places_them_by_load),
        fact(of_servers_that_begin_at_once_one_is_reached),
        fact_without_base(finishing_takes_the_queue_and_no_client_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
