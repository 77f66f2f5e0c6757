// SPDX-License-Identifier: Apache-2.0

// A listening socket that other code breaks while no client connects: noticed within a second, by
// one error, and a descriptor that is not the server's any more is left alone.

#include "failing_accept.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_it(fixture *it, int number) {
    (void)it;
    close(number);
}

// The number becomes a file's.
static void become_a_file(fixture *it, int number) {
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup3(file, number, O_CLOEXEC), number);
    close(file);
    fixture_own(it, number);
}

// The number becomes a listening socket's with a client, whom only its owner may accept.
static void become_another_listener(fixture *it, int number) {
    csc_address address;
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int other = raw_listener("127.0.0.1", 5);
    assert_int_equal(dup3(other, number, O_CLOEXEC), number);
    close(other);
    assert_int_equal(fcntl(number, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(getsockname(number, (struct sockaddr *)&name, &length), 0);
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
    fixture_own(it, number);
    fixture_own(it, connect_to(&address));
}

static void shut_it_down(fixture *it, int number) {
    (void)it;
    assert_int_equal(shutdown(number, SHUT_RDWR), 0);
}

// What `ss -K` does too, by way of netlink.
static void disconnect_it(fixture *it, int number) {
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    (void)it;
    assert_int_equal(connect(number, &nobody, sizeof nobody), 0);
}

static const struct {
    const char *name;
    void (*apply)(fixture *it, int number);
    int errnum;         // of accept, whose error it has
    bool was_taken;     // the number
    bool epoll_reports; // at once while accepting; otherwise the check is needed
} breakages[] = {
    {"close", close_it, EBADF, true, false},
    {"a file", become_a_file, EBADF, true, false},
    {"another listener", become_another_listener, EBADF, true, false},
    {"shutdown", shut_it_down, EINVAL, false, true},
    {"connect to nobody", disconnect_it, EINVAL, false, true},
};

#define each_breakage(i)                                                                           \
    size_t i = 0;                                                                                  \
    i < sizeof breakages / sizeof breakages[0];                                                    \
    i++

static void listen_anew(fixture *it) {
    csc_server_close(it->server);
    csc_server_set_error(it->server, CSC_ERROR_UNKNOWN, "");
    fixture_listen(it);
    fixture_watch(it);
    it->accept_errors = 0;
}

static void assert_broke(fixture *it, size_t i) {
    if (it->accept_errors != 1) {
        fail_msg("%s: told %d times", breakages[i].name, it->accept_errors);
    }
    assert_accept_error(it, breakages[i].errnum);
    assert_false(csc_server_is_listening(it->server));
    assert_int_equal(csc_server_descriptor(it->server), -1);
    assert_int_equal(csc_server_port(it->server), 0);
    assert_int_equal(fault_bad_closes(), 0);
}

static void close_owned(fixture *it) {
    while (it->owned_count > 0) {
        fixture_close(it, it->owned[0]); // fails the test for a number that is not open
    }
    assert_int_equal(fault_bad_closes(), 0);
}

static void whatever_breaks_it_is_noticed_within_a_second(void **state) {
    fixture *it = *state;
    for (each_breakage(i)) {
        fault_stop_clock();
        listen_anew(it);
        fixture_run_ready(it);
        breakages[i].apply(it, csc_server_descriptor(it->server));
        fault_advance_clock(999);
        fixture_run_ready(it);
        assert_int_equal(it->accept_errors, breakages[i].epoll_reports ? 1 : 0);
        fault_advance_clock(1);
        fixture_run_ready(it);
        assert_broke(it, i);

        // Reported once, and the loop has nothing left of it.
        fault_advance_clock(5000);
        fixture_run_ready(it);
        assert_broke(it, i);
        close_owned(it);
        fault_start_clock();
    }
    assert_int_equal(fixture_statistics(it).listener_errors, 5);
}

static void so_it_is_while_nothing_is_accepted(void **state) {
    fixture *it = *state;
    enum { PAUSED, AT_THE_LIMIT, BACKING_OFF, STATES };
    for (int condition = 0; condition < STATES; condition++) {
        for (each_breakage(i)) {
            fault_stop_clock();
            csc_server_set_max_pending(it->server, condition == AT_THE_LIMIT ? 0 : 30);
            listen_anew(it);
            if (condition == PAUSED) {
                csc_server_pause(it->server);
            } else if (condition == BACKING_OFF) {
                csc_server_set_overload_policy(it->server, CSC_OVERLOAD_STRICT);
                fixture_connect(it);
                fail_accept(1, EMFILE);
                fixture_run_until(it, &it->accept_errors, 1);
                it->accept_errors = 0;
            }
            fixture_run_ready(it);
            breakages[i].apply(it, csc_server_descriptor(it->server));
            fixture_run_ready(it);
            assert_int_equal(it->accept_errors, 0);
            fault_advance_clock(1000);
            fixture_run_ready(it);
            assert_broke(it, i);
            csc_server_resume(it->server);
            close_owned(it);
            fault_start_clock();
        }
    }
}

static void a_wait_notices_it_too(void **state) {
    fixture *it = *state;
    for (each_breakage(i)) {
        bool timed_out = true;
        listen_anew(it);
        fault_advance_clock(950); // the rest passes in the wait
        breakages[i].apply(it, csc_server_descriptor(it->server));
        int64_t start = monotonic_milliseconds();
        assert_false(csc_server_wait(it->server, 200000, &timed_out));
        // Not at the end of the wait; a busy machine may take its time.
        assert_in_range(monotonic_milliseconds() - start, 0, 100000);
        assert_false(timed_out);
        assert_broke(it, i);
        close_owned(it);
    }
}

static void so_do_short_waits_one_after_the_other(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    close(csc_server_descriptor(it->server));
    for (int i = 0; i < 9; i++) {
        bool timed_out = false;
        fault_advance_clock(100);
        assert_false(csc_server_wait(it->server, 0, &timed_out));
        assert_true(timed_out);
    }
    fault_advance_clock(100);
    assert_false(csc_server_wait(it->server, 0, NULL));
    assert_broke(it, 0);
}

// Until it is noticed the socket still listens, by our own number.
static void a_strangers_client_is_not_accepted(void **state) {
    fixture *it = *state;
    enum { BY_LOOP, BY_WAIT, BY_FINISHING, WAYS };
    for (int way = 0; way < WAYS; way++) {
        listen_anew(it);
        int number = csc_server_descriptor(it->server);
        csc_address address = csc_server_address(it->server);
        uint64_t before = fixture_statistics(it).accepted;
        become_another_listener(it, number);
        fixture_own(it, connect_to(&address));
        if (way == BY_LOOP) {
            fixture_run_ready(it);
        } else if (way == BY_WAIT) {
            assert_true(csc_server_wait(it->server, 10000, NULL));
        } else {
            csc_server_finish(it->server);
        }
        assert_int_equal(fixture_statistics(it).accepted - before, 1);
        assert_int_equal(fixture_take_all(it), 1);
        struct pollfd theirs = {.fd = number, .events = POLLIN};
        assert_int_equal(poll(&theirs, 1, 0), 1);
    }
}

static void a_duplicate_that_lives_on_does_not_keep_the_loop_busy(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    int number = csc_server_descriptor(it->server);
    csc_address address = csc_server_address(it->server);
    int duplicate = fixture_own(it, fcntl(number, F_DUPFD_CLOEXEC, 0));
    close(number);
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_broke(it, 0);
    fault_start_clock();
    fixture_own(it, connect_to(&address)); // epoll would report it on the closed number
    fault_reset_counts();
    fixture_run_for(it, 50);
    assert_in_range(fault_calls(FAULT_EPOLL_WAIT), 1, 5);
    int accepted = accept4(duplicate, NULL, NULL, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    close(accepted);
}

static void a_number_that_came_back_is_served_on_the_same_loop(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    int number = csc_server_descriptor(it->server);
    close(number);
    csc_server *other = csc_server_new(it->base);
    csc_address address = address_of(own_loopback(), 0);
    bool listening = csc_server_listen(other, &address);
    assert_int_equal(csc_server_descriptor(other), number);
    address = csc_server_address(other);
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_broke(it, 0);
    fixture_own(it, connect_to(&address));
    fixture_run_ready(it);
    csc_statistics now;
    csc_server_statistics(other, &now, sizeof now);
    csc_server_free(other);
    assert_true(listening);
    assert_int_equal(now.accepted, 1);
    assert_int_equal(fault_bad_closes(), 0);
}

static void what_cannot_be_asked_for_a_moment_is_not_broken(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    fault_fail(FAULT_FSTAT, 1, 2, ENOMEM);
    fault_fail(FAULT_GETSOCKOPT, 1, 2, ENOMEM); // the other criterion
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_int_equal(fault_failures(FAULT_FSTAT), 2);
    assert_int_equal(fault_failures(FAULT_GETSOCKOPT), 2);
    assert_true(csc_server_is_listening(it->server));
    assert_int_equal(it->accept_errors, 0);
}

static void what_cannot_be_asked_is_closed_all_the_same(void **state) {
    fixture *it = *state;
    for (int nth = 1; nth <= 2; nth++) { // of its two numbers
        listen_anew(it);
        fault_fail(FAULT_FSTAT, nth, -1, ENOMEM);
        csc_server_close(it->server);
        fault_clear();
    }
    // The fixture counts the descriptors.
}

static void a_timer_that_cannot_be_read_does_not_keep_the_loop_busy(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    fixture_run_ready(it);
    fault_reset_counts();
    fault_fail(FAULT_READ, 1, -1, EIO);
    fault_advance_clock(1000);
    for (int turn = 0; turn < 10; turn++) {
        event_base_loop(it->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    }
    assert_int_equal(fault_calls(FAULT_READ), 1);
    close(csc_server_descriptor(it->server));
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_int_equal(it->accept_errors, 1);
    assert_accept_error(it, EBADF);
}

// The other number of the same socket, which the program does not get.
static int own_duplicate(int number) {
    struct stat socket;
    assert_int_equal(fstat(number, &socket), 0);
    for (int other = 0; other < MOST_DESCRIPTORS; other++) {
        struct stat status;
        if (other != number && fstat(other, &status) == 0 && status.st_dev == socket.st_dev &&
            status.st_ino == socket.st_ino) {
            return other;
        }
    }
    fail_msg("descriptor %d has no duplicate", number);
    return -1;
}

static void so_does_a_stranger_break_it_by_the_servers_own_duplicate(void **state) {
    fixture *it = *state;
    for (each_breakage(i)) {
        fault_stop_clock();
        listen_anew(it);
        fixture_run_ready(it);
        breakages[i].apply(it, own_duplicate(csc_server_descriptor(it->server)));
        fault_advance_clock(1000);
        fixture_run_ready(it);
        assert_broke(it, i);
        close_owned(it);
        fault_start_clock();
    }
}

static void looking_costs_three_calls_a_second(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    fixture_run_ready(it);
    for (int second = 0; second < 5; second++) {
        fault_reset_counts();
        fault_advance_clock(1000);
        fixture_run_ready(it);
        assert_int_equal(fault_calls(FAULT_READ), 1); // of the timer
        assert_int_equal(fault_calls(FAULT_FSTAT), 2);
        assert_int_equal(fault_calls(FAULT_GETSOCKOPT), 0);
        assert_int_equal(fault_calls(FAULT_ACCEPT4), 0);
        assert_int_equal(fault_calls(FAULT_EPOLL_CTL), 0);
        assert_int_equal(fault_allocations(), 0);
    }
}

static void free_it(csc_server *server, csc_error error, void *context) {
    fixture *it = context;
    (void)error;
    it->accept_errors++;
    it->server = NULL;
    csc_server_free(server);
}

static void the_server_may_be_freed_in_the_error_callback(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    csc_server_on_accept_error(it->server, free_it, it);
    close(csc_server_descriptor(it->server));
    fault_advance_clock(1000);
    fixture_run_ready(it);
    assert_int_equal(it->accept_errors, 1);
    assert_null(it->server);
}

static void listen_again(csc_server *server, csc_error error, void *context) {
    fixture *it = context;
    csc_address address = address_of(own_loopback(), 0);
    (void)error;
    it->accept_errors++;
    assert_true(csc_server_listen(server, &address));
}

static void it_may_listen_again_in_the_error_callback(void **state) {
    fixture *it = *state;
    fault_stop_clock();
    listen_anew(it);
    csc_server_on_accept_error(it->server, listen_again, it);
    for (int i = 1; i <= 3; i++) {
        close(csc_server_descriptor(it->server));
        fault_advance_clock(1000);
        fixture_run_ready(it);
        assert_int_equal(it->accept_errors, i);
        fixture_connect(it);
        fixture_run_until(it, &it->new_connections, i);
    }
    assert_int_equal(fixture_take_all(it), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(whatever_breaks_it_is_noticed_within_a_second),
        fact(so_it_is_while_nothing_is_accepted),
        fact(a_wait_notices_it_too),
        fact_without_base(a_wait_notices_it_too),
        fact_without_base(so_do_short_waits_one_after_the_other),
        fact(a_strangers_client_is_not_accepted),
        fact(a_duplicate_that_lives_on_does_not_keep_the_loop_busy),
        fact(a_number_that_came_back_is_served_on_the_same_loop),
        fact(what_cannot_be_asked_for_a_moment_is_not_broken),
        fact(what_cannot_be_asked_is_closed_all_the_same),
        fact(a_timer_that_cannot_be_read_does_not_keep_the_loop_busy),
        fact(so_does_a_stranger_break_it_by_the_servers_own_duplicate),
        fact(looking_costs_three_calls_a_second),
        fact(the_server_may_be_freed_in_the_error_callback),
        fact(it_may_listen_again_in_the_error_callback),
    };
    return cmocka_run_group_tests_name("broken listener", tests, NULL, NULL);
}
