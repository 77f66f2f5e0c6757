// SPDX-License-Identifier: Apache-2.0

// The descriptors that a server keeps beside its socket: closing one of their numbers breaks the
// server at worst, and the file that gets the number next is left alone.

#include "running_out.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const char timer[] = "anon_inode:[timerfd]";
static const char event[] = "anon_inode:[eventfd]";

enum { NUMBERS = 256 };

typedef struct numbers {
    bool open[NUMBERS]; // of a kind
} numbers;

static numbers numbers_of(const char *kind) {
    numbers result = {0};
    for (int number = 0; number < NUMBERS; number++) {
        char path[64];
        char target[128] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        ssize_t length = readlink(path, target, sizeof target - 1);
        result.open[number] = length > 0 && strcmp(target, kind) == 0;
    }
    return result;
}

// The one of the kind that has been opened since.
static int new_one(const char *kind, const numbers *before) {
    numbers now = numbers_of(kind);
    int found = -1;
    for (int number = 0; number < NUMBERS; number++) {
        if (now.open[number] && !before->open[number]) {
            assert_int_equal(found, -1);
            found = number;
        }
    }
    assert_true(found >= 0);
    return found;
}

typedef int (*opener)(void);

static int open_timer(void) {
    return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

static int open_event(void) {
    return eventfd(7, EFD_CLOEXEC | EFD_NONBLOCK);
}

static int open_pipe(void) {
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    close(ends[1]);
    return ends[0];
}

static const opener openers[] = {open_timer, open_event, open_pipe};

// A stranger closes the number, and a file of its own gets it.
static void steal(fixture *it, int number, opener open_strangers) {
    assert_int_equal(close(number), 0);
    int file = open_strangers();
    assert_true(file >= 0);
    if (file != number) {
        assert_int_equal(dup3(file, number, O_CLOEXEC), number);
        close(file);
    }
    fixture_own(it, number);
}

// It is open, has no mark of ours, and what it holds has not been read.
static void assert_untouched(int number, opener open_strangers) {
    uint64_t count = 0;
    char byte = 0;
    assert_true(fcntl(number, F_GETFD) >= 0);
    assert_int_equal(fcntl(number, F_GETSIG), 0);
    if (open_strangers == open_event) {
        assert_int_equal(read(number, &count, sizeof count), sizeof count);
        assert_int_equal(count, 7);
    } else if (open_strangers == open_pipe) {
        assert_int_equal(read(number, &byte, 1), 1);
        assert_int_equal(byte, 'x');
    } else {
        struct itimerspec value;
        assert_int_equal(timerfd_gettime(number, &value), 0);
        assert_int_equal(value.it_interval.tv_sec, 0);
    }
}

static void a_strangers_file_with_the_timers_number_is_left_alone(void **state) {
    fixture *it = *state;
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) {
        numbers before = numbers_of(timer);
        fixture_listen(it);
        fixture_watch(it);
        int number = new_one(timer, &before);
        steal(it, number, openers[i]);
        it->new_connections = 0;
        fixture_connect(it);
        fixture_run_until(it, &it->new_connections, 1);
        csc_server_connection_ended(it->server);
        csc_server_close(it->server);
        assert_untouched(number, openers[i]);
        fixture_close(it, number);
    }
}

static void so_is_one_with_the_reserves_number(void **state) {
    fixture *it = *state;
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) {
        numbers before = numbers_of(event);
        csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
        fixture_listen(it);
        fixture_watch(it);
        int number = new_one(event, &before);
        steal(it, number, openers[i]);
        // Shedding would give it up for each client.
        it->accept_errors = 0;
        fixture_connect_many(it, 3);
        uint64_t shed = fixture_statistics(it).shed;
        fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
        fixture_run_until(it, &it->accept_errors, 1);
        assert_int_equal(fixture_statistics(it).shed, shed);
        fixture_run_until(it, &it->new_connections, (int)(3 * (i + 1)));
        csc_server_set_overload_policy(it->server, CSC_OVERLOAD_WAIT);
        csc_server_close(it->server);
        assert_untouched(number, openers[i]);
        fixture_close(it, number);
    }
}

static void a_lost_reserve_is_taken_again(void **state) {
    fixture *it = *state;
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    numbers before = numbers_of(event);
    fixture_listen(it);
    fixture_watch(it);
    steal(it, new_one(event, &before), open_pipe);
    fixture_connect_many(it, 3);
    fault_stop_clock();
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).shed, 0);
    fault_advance_clock(5); // the back-off ends, and with it comes another
    fixture_run_ready(it);
    assert_int_equal(it->new_connections, 3);
    new_one(event, &before);
    fixture_connect_many(it, 2);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    fixture_run_ready(it);
    assert_int_equal(fixture_statistics(it).shed, 2);
}

static void so_is_one_with_the_number_that_wakes_a_wait(void **state) {
    fixture *it = *state;
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) {
        numbers before = numbers_of(event);
        csc_server *first = it->server;
        it->server = csc_server_new(NULL);
        fixture_listen(it);
        assert_false(csc_server_wait(it->server, 1, NULL));
        int number = new_one(event, &before);
        steal(it, number, openers[i]);
        csc_server_wake(it->server);
        bool timed_out = true;
        assert_false(csc_server_wait(it->server, 5000, &timed_out));
        assert_false(timed_out);
        // It is readable for good, which is no reason not to sleep.
        fault_reset_counts();
        assert_false(csc_server_wait(it->server, 100, &timed_out));
        assert_true(timed_out);
        assert_in_range(fault_calls(FAULT_POLL), 1, 5);
        fixture_free_server(it);
        it->server = first;
        assert_untouched(number, openers[i]);
        fixture_close(it, number);
    }
}

static void a_kernel_without_marks_is_no_reason_to_leave_them_open(void **state) {
    fixture *it = *state;
    csc_server_set_expected_descriptors(it->server, 0);
    csc_server_set_descriptor_reserve(it->server, 0);
    csc_server_set_overload_policy(it->server, CSC_OVERLOAD_SHED);
    fault_fail(FAULT_FCNTL, 2, -1, EINVAL); // the first is the duplicate of the socket
    fixture_listen(it);
    csc_server_close(it->server);
    fault_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(a_strangers_file_with_the_timers_number_is_left_alone),
        fact(so_is_one_with_the_reserves_number),
        fact(a_lost_reserve_is_taken_again),
        fact_without_base(so_is_one_with_the_number_that_wakes_a_wait),
        fact(a_kernel_without_marks_is_no_reason_to_leave_them_open),
    };
    return cmocka_run_group_tests_name("private descriptors", tests, NULL, NULL);
}
