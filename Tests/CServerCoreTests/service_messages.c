// SPDX-License-Identifier: Apache-2.0

// Messages to a service manager, which is a datagram socket of the test.

#include "signal_storm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct manager {
    int socket;
    char address[128]; // as in NOTIFY_SOCKET
    char folder[32];   // empty for an abstract name
} manager;

static manager manager_at(const char *address, const struct sockaddr_un *name, socklen_t length) {
    manager result = {.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    snprintf(result.address, sizeof result.address, "%s", address);
    assert_int_equal(bind(result.socket, (const struct sockaddr *)name, length), 0);
    return result;
}

static manager manager_with_path(void) {
    char folder[] = "/tmp/manager-XXXXXX";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(folder));
    snprintf(name.sun_path, sizeof name.sun_path, "%s/notify", folder);
    manager result = manager_at(name.sun_path, &name, sizeof name);
    memcpy(result.folder, folder, sizeof folder);
    return result;
}

static manager manager_with_abstract_name(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char address[64];
    int length = snprintf(address, sizeof address, "@manager/%d", getpid());
    memcpy(name.sun_path + 1, address + 1, (size_t)length - 1);
    return manager_at(address, &name,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length));
}

static void end_manager(const manager *it) {
    close(it->socket);
    if (it->folder[0] != '\0') {
        unlink(it->address);
        rmdir(it->folder);
    }
}

// The next message, and its descriptor; -1 for none.
static int receive(const manager *it, char *text, size_t size) {
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = text, .iov_len = size - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    ssize_t length = recvmsg(it->socket, &message, MSG_CMSG_CLOEXEC);
    assert_true(length >= 0);
    text[length] = '\0';
    int descriptor = -1;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header) {
        memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    }
    return descriptor;
}

static void assert_receives(const manager *it, const char *expected) {
    char text[256];
    assert_int_equal(receive(it, text, sizeof text), -1);
    assert_string_equal(text, expected);
}

static void assert_all_arrives(manager it) {
    assert_int_equal(csc_notify(it.address, "READY=1\nSTATUS=Serving", -1), 0);
    assert_int_equal(csc_notify(it.address, "MAINPID=4242", -1), 0);
    assert_int_equal(csc_notify(it.address, "STOPPING=1", -1), 0);
    assert_receives(&it, "READY=1\nSTATUS=Serving");
    assert_receives(&it, "MAINPID=4242");
    assert_receives(&it, "STOPPING=1");
    end_manager(&it);
}

static void messages_arrive_as_they_are_in_order(void **state) {
    (void)state;
    assert_all_arrives(manager_with_path());
    assert_all_arrives(manager_with_abstract_name());
}

static void a_descriptor_goes_with_a_message(void **state) {
    fixture *it = *state;
    manager manager = manager_with_path();
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    assert_int_equal(csc_notify(manager.address, "FDSTORE=1\nFDNAME=http", listener), 0);
    char text[256];
    int stored = fixture_own(it, receive(&manager, text, sizeof text));
    assert_string_equal(text, "FDSTORE=1\nFDNAME=http");
    struct stat own;
    struct stat others;
    assert_int_equal(fstat(listener, &own), 0);
    assert_int_equal(fstat(stored, &others), 0);
    assert_int_equal(own.st_ino, others.st_ino);
    end_manager(&manager);
}

static void a_reload_has_the_time_at_which_it_began(void **state) {
    (void)state;
    manager manager = manager_with_path();
    char text[256];
    unsigned long long usec;
    int64_t before = monotonic_milliseconds();
    assert_int_equal(csc_notify_reloading(manager.address), 0);
    int64_t after = monotonic_milliseconds();
    assert_int_equal(receive(&manager, text, sizeof text), -1);
    assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &usec), 1);
    assert_in_range(usec / 1000, (unsigned long long)before, (unsigned long long)after);
    end_manager(&manager);
}

static void *read_and_close(void *context) {
    char text[256];
    int end = receive(context, text, sizeof text);
    assert_string_equal(text, "BARRIER=1");
    close(end);
    return NULL;
}

static void a_barrier_lasts_until_the_manager_closes_its_end(void **state) {
    (void)state;
    manager manager = manager_with_path();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_and_close, &manager), 0);
    assert_int_equal(csc_notify_barrier(manager.address, -1), 0);
    pthread_join(thread, NULL);
    assert_int_equal(csc_notify_barrier(manager.address, 0), ETIMEDOUT);
    assert_int_equal(csc_notify_barrier(manager.address, 1), ETIMEDOUT);
    end_manager(&manager);
}

static void without_a_manager_there_is_nothing_to_do(void **state) {
    (void)state;
    fault_reset_counts();
    assert_int_equal(csc_notify(NULL, "READY=1", -1), 0);
    assert_int_equal(csc_notify("", "READY=1", -1), 0);
    assert_int_equal(csc_notify_reloading(NULL), 0);
    assert_int_equal(csc_notify_barrier(NULL, -1), 0);
    assert_int_equal(csc_notify_barrier("", -1), 0);
    assert_int_equal(fault_calls(FAULT_SOCKET), 0);
    assert_int_equal(fault_calls(FAULT_PIPE2), 0);
}

static void an_address_is_a_path_or_an_abstract_name(void **state) {
    (void)state;
    struct sockaddr_un name;
    char longest[sizeof name.sun_path + 2];
    memset(longest, 'x', sizeof longest);
    static const char *const others[] = {"/", "@", "x", "relative/path", "vsock:2:1234", " /path"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(csc_notify(others[i], "READY=1", -1), EAFNOSUPPORT);
    }
    longest[0] = '/';
    longest[sizeof name.sun_path] = '\0';
    assert_int_equal(csc_notify(longest, "READY=1", -1), ENAMETOOLONG);
    longest[sizeof name.sun_path - 1] = '\0';
    assert_int_equal(csc_notify(longest, "READY=1", -1), ENOENT);
    longest[0] = '@';
    longest[sizeof name.sun_path - 1] = 'x';
    longest[sizeof name.sun_path] = '\0';
    assert_int_equal(csc_notify(longest, "READY=1", -1), ECONNREFUSED);
    longest[sizeof name.sun_path] = 'x';
    longest[sizeof name.sun_path + 1] = '\0';
    assert_int_equal(csc_notify(longest, "READY=1", -1), ENAMETOOLONG);
}

static void a_manager_that_is_gone_is_an_error(void **state) {
    (void)state;
    manager manager = manager_with_path();
    end_manager(&manager);
    assert_int_equal(csc_notify(manager.address, "READY=1", -1), ENOENT);
    assert_int_equal(csc_notify_barrier(manager.address, -1), ENOENT);
}

static void a_manager_that_does_not_read_is_an_error_in_time(void **state) {
    (void)state;
    manager manager = manager_with_path();
    int errnum;
    do { // until its queue is full
        errnum = csc_notify(manager.address, "WATCHDOG=1", -1);
    } while (errnum == 0);
    assert_int_equal(errnum, EAGAIN);
    end_manager(&manager);
}

static void signals_do_not_prolong_the_wait_for_a_manager(void **state) {
    skip_under_valgrind("it delivers signals later, to a handler that is gone");
    (void)state;
    manager manager = manager_with_path();
    while (csc_notify(manager.address, "WATCHDOG=1", -1) == 0) {
    }
    signal_storm storm = begin_storm();
    int errnum = csc_notify(manager.address, "WATCHDOG=1", -1);
    end_storm(&storm);
    assert_int_equal(errnum, EAGAIN);
    end_manager(&manager);
}

static void each_call_may_fail(void **state) {
    (void)state;
    manager manager = manager_with_path();
    fault_fail(FAULT_SOCKET, 1, 1, EMFILE);
    assert_int_equal(csc_notify(manager.address, "READY=1", -1), EMFILE);
    fault_fail(FAULT_PIPE2, 1, 1, ENFILE);
    assert_int_equal(csc_notify_barrier(manager.address, -1), ENFILE);
    fault_fail(FAULT_SENDMSG, 1, 1, ENOBUFS);
    assert_int_equal(csc_notify(manager.address, "READY=1", -1), ENOBUFS);
    fault_fail(FAULT_POLL, 1, 1, ENOMEM);
    assert_int_equal(csc_notify_barrier(manager.address, -1), ENOMEM);
    // A signal is no failure.
    fault_fail(FAULT_SENDMSG, 1, 3, EINTR);
    assert_int_equal(csc_notify(manager.address, "READY=1", -1), 0);
    fault_fail(FAULT_POLL, 1, 3, EINTR);
    assert_int_equal(csc_notify_barrier(manager.address, 1), ETIMEDOUT);
    fault_clear();
    end_manager(&manager);
}

static uint64_t watchdog(const char *interval, const char *process) {
    assert_int_equal(interval ? setenv("WATCHDOG_USEC", interval, 1) : unsetenv("WATCHDOG_USEC"),
                     0);
    assert_int_equal(process ? setenv("WATCHDOG_PID", process, 1) : unsetenv("WATCHDOG_PID"), 0);
    uint64_t result = csc_watchdog_interval();
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return result;
}

static void the_watchdog_is_of_one_process(void **state) {
    (void)state;
    char own[16];
    snprintf(own, sizeof own, "%d", getpid());
    assert_int_equal(watchdog(NULL, NULL), 0);
    assert_int_equal(watchdog(NULL, own), 0);
    assert_int_equal(watchdog("30000000", NULL), 30000000);
    assert_int_equal(watchdog("30000000", own), 30000000);
    assert_int_equal(watchdog("30000000", "1"), 0);
    assert_int_equal(watchdog("30000000", ""), 0);
    assert_int_equal(watchdog("0", own), 0);
    assert_int_equal(watchdog("-1", own), 0);
    assert_int_equal(watchdog("3s", own), 0);
    assert_int_equal(watchdog("18446744073709551615", own), 0); // systemd's infinity
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(messages_arrive_as_they_are_in_order),
        fact(a_descriptor_goes_with_a_message),
        fact(a_reload_has_the_time_at_which_it_began),
        fact(a_barrier_lasts_until_the_manager_closes_its_end),
        fact(without_a_manager_there_is_nothing_to_do),
        fact(an_address_is_a_path_or_an_abstract_name),
        fact(a_manager_that_is_gone_is_an_error),
        fact(a_manager_that_does_not_read_is_an_error_in_time),
        fact(signals_do_not_prolong_the_wait_for_a_manager),
        fact(each_call_may_fail),
        fact(the_watchdog_is_of_one_process),
    };
    return cmocka_run_group_tests_name("service_messages", tests, NULL, NULL);
}
