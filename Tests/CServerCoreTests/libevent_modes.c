// SPDX-License-Identifier: Apache-2.0

// The ways a program may set libevent up: its debug mode, which aborts when it is misused, and a
// base that changes epoll late.

#include "fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct mode {
    struct event_base *base;
    csc_server *server;
    csc_address address;
    int served;
} mode;

static void serve(csc_server *server, void *context) {
    csc_connection connection;
    mode *now = context;
    while (csc_server_next_pending(server, &connection)) {
        close(connection.descriptor);
        now->served++;
    }
}

static struct event_base *make_base(bool with_change_list) {
    struct event_config *config = event_config_new();
    if (with_change_list) {
        event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    }
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    assert_non_null(base);
    return base;
}

static mode begin(bool with_change_list) {
    struct event_base *base = make_base(with_change_list);
    return (mode){.base = base, .server = csc_server_new(base)};
}

static void end(mode *now) {
    csc_server_free(now->server);
    event_base_loop(now->base, EVLOOP_NONBLOCK); // the turn in which a late socket is closed
    event_base_free(now->base);
}

static void assert_serves(mode *now) {
    int before = now->served;
    now->address = csc_server_address(now->server);
    int client = connect_to(&now->address);
    assert_true(client >= 0);
    for (int i = 0; i < 100 && now->served == before; i++) {
        event_base_loop(now->base, EVLOOP_ONCE);
    }
    assert_int_equal(now->served, before + 1);
    close(client);
}

// Everything that makes or frees an event: listening, limits, errors, closing in a callback.
static void play(bool with_change_list) {
    mode now = begin(with_change_list);
    csc_server_on_new_connection(now.server, serve, &now);
    csc_address address = address_of("127.0.0.1", 0);
    for (int i = 0; i < 3; i++) {
        assert_true(csc_server_listen(now.server, &address));
        assert_serves(&now);
        csc_server_pause(now.server);
        int client = connect_to(&now.address);
        for (int turn = 0; turn < 3; turn++) {
            event_base_loop(now.base, EVLOOP_NONBLOCK);
        }
        csc_server_resume(now.server);
        for (int turn = 0; turn < 3; turn++) {
            event_base_loop(now.base, EVLOOP_NONBLOCK);
        }
        assert_int_equal(now.served, 4 * i + 2);
        close(client);
        fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
        assert_serves(&now);
        csc_server_close(now.server);
        // As systemd gives them: blocking.
        int listener = raw_listener("127.0.0.1", 5);
        assert_true(csc_server_adopt(now.server, listener));
        assert_serves(&now);
        csc_server_close(now.server);
    }
    end(&now);
}

static void turn(struct event_base *base, struct event_base *other) {
    for (int turns = 0; turns < 3; turns++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        event_base_loop(other, EVLOOP_NONBLOCK);
    }
}

static void assert_group_serves(mode *now, struct event_base *other, int clients) {
    int before = now->served;
    int descriptors[8];
    csc_address address = csc_server_address(now->server);
    for (int i = 0; i < clients; i++) {
        descriptors[i] = connect_to(&address);
    }
    turn(now->base, other);
    assert_int_equal(now->served, before + clients);
    for (int i = 0; i < clients; i++) {
        close(descriptors[i]);
    }
}

// The same of a group, one of whose members is on the acceptor's loop.
static void play_group(bool with_change_list) {
    mode now = begin(with_change_list);
    struct event_base *bases[] = {now.base, make_base(with_change_list)};
    csc_server *members[2];
    csc_group *group = csc_group_new(now.server, 2);
    csc_address address = address_of(own_loopback(), 0);
    for (int i = 0; i < 2; i++) {
        members[i] = csc_server_new(bases[i]);
        assert_true(csc_group_add(group, members[i]));
        csc_server_on_new_connection(members[i], serve, &now);
    }
    csc_server_set_max_pending(now.server, 1);
    for (int round = 0; round < 3; round++) {
        assert_true(csc_server_listen(now.server, &address));
        assert_group_serves(&now, bases[1], 4);
        csc_group_set_stall_limit(group, 5);
        csc_server_pause(members[round % 2]);
        assert_group_serves(&now, bases[1], 2);
        csc_server_resume(members[round % 2]);
        csc_server_close(now.server);
        turn(now.base, bases[1]);
    }
    csc_server_free(members[1]);
    turn(now.base, bases[1]);
    event_base_free(bases[1]);
    csc_server_free(members[0]);
    end(&now);
}

static void in_debug_mode_nothing_aborts(void **state) {
    (void)state;
    play(false);
    play_group(false);
}

static void with_a_change_list_all_is_served(void **state) {
    (void)state;
    play(true);
    play_group(true);
}

static void end_run(evutil_socket_t descriptor, short events, void *base) {
    (void)descriptor, (void)events;
    event_base_loopbreak(base);
}

static void assert_loop_sleeps(struct event_base *base) {
    const struct timeval time = {.tv_usec = 200000};
    event_base_once(base, -1, EV_TIMEOUT, end_run, base, &time);
    fault_reset_counts();
    event_base_dispatch(base);
    assert_in_range(fault_calls(FAULT_EPOLL_WAIT), 1, 20);
}

// Another process has the socket too, and its queue holds a client.
static void a_loop_does_not_spin_for_a_socket_that_others_go_on_using(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        mode now = begin(i % 2);
        int listener = raw_listener("127.0.0.1", 5);
        pid_t other = fork();
        if (other == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) {
                pause();
            }
        }
        int kept = fcntl(0, F_DUPFD_CLOEXEC, 100);
        if (i % 4 == 1) { // the number that is closed late may be 0
            close(0);
        }
        assert_true(csc_server_adopt(now.server, listener));
        now.address = csc_server_address(now.server);
        event_base_loop(now.base, EVLOOP_NONBLOCK);
        csc_server_close(now.server);
        assert_int_equal(fcntl(listener, F_GETFD), -1);
        if (i >= 2) { // the server need not live as long as its socket
            csc_server_free(now.server);
            now.server = NULL;
        }
        int client = connect_to(&now.address);
        assert_true(client >= 0);
        assert_loop_sleeps(now.base);
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
        close(client);
        end(&now);
        assert_true(i % 4 != 1 || fcntl(0, F_GETFD) == -1);
        assert_int_equal(dup2(kept, 0), 0);
        close(kept);
    }
}

static void a_socket_can_be_listened_on_again_in_the_same_turn(void **state) {
    (void)state;
    mode now = begin(true);
    csc_server_on_new_connection(now.server, serve, &now);
    csc_address address = address_of(own_loopback(), 0);
    for (int i = 0; i < 10; i++) {
        assert_true(csc_server_listen(now.server, &address));
        csc_server_close(now.server);
    }
    assert_true(csc_server_listen(now.server, &address));
    assert_serves(&now);
    end(&now);
}

static void the_late_socket_is_closed_without_memory_for_a_timer_too(void **state) {
    (void)state;
    if (!fault_counts_allocations()) {
        skip();
    }
    mode now = begin(true);
    enum { NUMBERS = 256 };
    bool was_open[NUMBERS];
    for (int number = 0; number < NUMBERS; number++) {
        was_open[number] = fcntl(number, F_GETFD) >= 0;
    }
    csc_address address = address_of("127.0.0.1", 0);
    assert_true(csc_server_listen(now.server, &address));
    fault_fail_allocation(1, -1);
    csc_server_close(now.server);
    fault_clear();
    event_base_loop(now.base, EVLOOP_NONBLOCK); // or late, where there was some
    for (int number = 0; number < NUMBERS; number++) {
        assert_int_equal(fcntl(number, F_GETFD) >= 0, was_open[number]);
    }
    end(&now);
}

static int set_up(void **state) {
    (void)state;
    fault_clear();
    return 0;
}

int main(void) {
    event_enable_debug_mode();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(in_debug_mode_nothing_aborts, set_up),
        cmocka_unit_test_setup(with_a_change_list_all_is_served, set_up),
        cmocka_unit_test_setup(a_loop_does_not_spin_for_a_socket_that_others_go_on_using, set_up),
        cmocka_unit_test_setup(the_late_socket_is_closed_without_memory_for_a_timer_too, set_up),
        cmocka_unit_test_setup(a_socket_can_be_listened_on_again_in_the_same_turn, set_up),
    };
    return cmocka_run_group_tests_name("libevent modes", tests, NULL, NULL);
}
