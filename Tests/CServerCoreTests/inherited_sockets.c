// SPDX-License-Identifier: Apache-2.0

// Descriptors that a service manager has opened: which are the process's, what they are called, and
// who closes them. The variables and the numbers from 3 on are those of children.

#include "children.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST = 3, MOST = 8, SPARE = 200 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

// Runs `body` in a child.
static void in_child(void (*body)(void)) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        body();
        leave_child(0);
    }
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int unix_listener(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX}; // the kernel chooses an abstract name
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&name, sizeof name.sun_family) == 0);
    CHECK(listen(listener, 1) == 0);
    return listener;
}

// Puts these at the numbers from 3 on, and frees those after them.
static void place(const int *descriptors, int count) {
    int safe[MOST];
    for (int i = 0; i < count; i++) {
        safe[i] = fcntl(descriptors[i], F_DUPFD, SPARE);
        CHECK(safe[i] >= 0);
    }
    for (int i = 0; i < MOST; i++) {
        close(FIRST + i);
        if (i < count) {
            CHECK(dup2(safe[i], FIRST + i) == FIRST + i);
            close(safe[i]);
        }
    }
}

static void set_or_unset(const char *name, const char *value) {
    CHECK((value ? setenv(name, value, 1) : unsetenv(name)) == 0);
}

static const char *own_process(void) {
    static char text[16];
    snprintf(text, sizeof text, "%d", getpid());
    return text;
}

static void set_variables(const char *process, const char *count, const char *names) {
    set_or_unset("LISTEN_PID", process);
    set_or_unset("LISTEN_PIDFDID", NULL);
    set_or_unset("LISTEN_FDS", count);
    set_or_unset("LISTEN_FDNAMES", names);
}

static void check_variables_are_gone(void) {
    CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_PIDFDID"));
    CHECK(!getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
}

// With two listeners at 3 and 4.
static csc_inherited *inherit_two(const char *names, csc_inherited_error *error) {
    int two[] = {raw_listener("127.0.0.1", 5), raw_listener("127.0.0.1", 5)};
    place(two, 2);
    set_variables(own_process(), "2", names);
    return csc_inherited_from_environment(error);
}

typedef struct row {
    const char *process; // "own" for that of the process
    const char *count;
    const char *names;
    csc_inherited_error error;
    size_t found;
    const char *first;
    const char *second;
} row;

static const row rows[] = {
    {NULL, NULL, NULL, CSC_INHERITED_ERROR_NONE, 0, "", ""},
    {"own", NULL, NULL, CSC_INHERITED_ERROR_NONE, 0, "", ""},
    {NULL, "2", "a:b", CSC_INHERITED_ERROR_NONE, 0, "", ""},
    {"1", "2", "a:b", CSC_INHERITED_ERROR_NONE, 0, "", ""},
    {"own", "2", NULL, CSC_INHERITED_ERROR_NONE, 2, "unknown", "unknown"},
    {"own", "2", "a:b", CSC_INHERITED_ERROR_NONE, 2, "a", "b"},
    {"own", "2", "a:a", CSC_INHERITED_ERROR_NONE, 2, "a", "a"},
    {"own", "2", ":", CSC_INHERITED_ERROR_NONE, 2, "", ""},
    {"own", "2", "a:", CSC_INHERITED_ERROR_NONE, 2, "a", ""},
    {"own", "2", ":b", CSC_INHERITED_ERROR_NONE, 2, "", "b"},
    {"own", "1", "", CSC_INHERITED_ERROR_NONE, 1, "", ""},
    {"own", "1", "a\\:b", CSC_INHERITED_ERROR_NAMES, 0, "", ""},
    {"own", "2", "", CSC_INHERITED_ERROR_NAMES, 0, "", ""},
    {"own", "2", "a", CSC_INHERITED_ERROR_NAMES, 0, "", ""},
    {"own", "2", "a:b:", CSC_INHERITED_ERROR_NAMES, 0, "", ""},
    {"", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"0", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"-1", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"1x", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {" 1", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"01", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"2147483648", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"4294967297", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"99999999999999999999999999", "2", NULL, CSC_INHERITED_ERROR_PROCESS, 0, "", ""},
    {"own", "", NULL, CSC_INHERITED_ERROR_COUNT, 0, "", ""},
    {"own", "0", NULL, CSC_INHERITED_ERROR_COUNT, 0, "", ""},
    {"own", "+2", NULL, CSC_INHERITED_ERROR_COUNT, 0, "", ""},
    {"own", "2 ", NULL, CSC_INHERITED_ERROR_COUNT, 0, "", ""},
    {"own", "0x2", NULL, CSC_INHERITED_ERROR_COUNT, 0, "", ""},
    {"own", "2147483645", NULL, CSC_INHERITED_ERROR_COUNT, 0, "", ""},
    {"own", "2147483644", NULL, CSC_INHERITED_ERROR_DESCRIPTOR, 0, "", ""},
    {"own", "3", NULL, CSC_INHERITED_ERROR_DESCRIPTOR, 0, "", ""},
};

static void check_row(const row *one, const int *listeners) {
    place(listeners, 2);
    const char *process = one->process;
    set_variables(process && strcmp(process, "own") == 0 ? own_process() : process, one->count,
                  one->names);
    csc_inherited_error error = CSC_INHERITED_ERROR_MEMORY;
    csc_inherited *set = csc_inherited_from_environment(&error);
    CHECK(error == one->error);
    CHECK((set != NULL) == (error == CSC_INHERITED_ERROR_NONE));
    CHECK(csc_inherited_count(set) == one->found);
    CHECK(strcmp(csc_inherited_name(set, 0), one->first) == 0);
    CHECK(strcmp(csc_inherited_name(set, 1), one->second) == 0);
    check_variables_are_gone();
    for (int i = 0; i < 2; i++) {
        bool is_ours = (size_t)i < one->found;
        CHECK(csc_inherited_descriptor(set, (size_t)i) == (is_ours ? FIRST + i : -1));
        CHECK(fcntl(FIRST + i, F_GETFD) == (is_ours ? FD_CLOEXEC : 0));
    }
    csc_inherited_free(set);
    for (int i = 0; i < 2; i++) {
        CHECK((fcntl(FIRST + i, F_GETFD) < 0) == ((size_t)i < one->found));
    }
}

static void read_all_rows(void) {
    int listeners[] = {fcntl(raw_listener("127.0.0.1", 5), F_DUPFD, SPARE),
                       fcntl(raw_listener("127.0.0.1", 5), F_DUPFD, SPARE)};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_row(&rows[i], listeners);
    }
}

static void the_variables_say_which_descriptors_are_inherited(void **state) {
    (void)state;
    in_child(read_all_rows);
}

static void read_twice(void) {
    csc_inherited *set = inherit_two("a:b", NULL);
    CHECK(csc_inherited_count(set) == 2);
    csc_inherited *again = csc_inherited_from_environment(NULL);
    CHECK(again && csc_inherited_count(again) == 0);
    csc_inherited_free(again);
    csc_inherited_free(set);
}

static void a_second_look_finds_nothing(void **state) {
    (void)state;
    in_child(read_twice);
}

static uint64_t own_pidfd_id(void) {
    struct statfs system;
    struct stat status;
    int descriptor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    bool has_ids = descriptor >= 0 && fstatfs(descriptor, &system) == 0 &&
                   system.f_type == 0x50494446 && fstat(descriptor, &status) == 0;
    close(descriptor);
    return has_ids ? status.st_ino : 0;
}

static size_t inherit_for_pidfd(const char *id, csc_inherited_error *error) {
    set_variables(own_process(), "2", NULL);
    set_or_unset("LISTEN_PIDFDID", id);
    csc_inherited *set = csc_inherited_from_environment(error);
    size_t count = csc_inherited_count(set);
    for (size_t i = 0; i < count; i++) {
        csc_inherited_take(set, i); // for the next look
    }
    csc_inherited_free(set);
    check_variables_are_gone();
    return count;
}

static void read_pidfd_ids(void) {
    csc_inherited_error error;
    char id[32];
    csc_inherited_free(inherit_two(NULL, NULL));
    int two[] = {raw_listener("127.0.0.1", 5), raw_listener("127.0.0.1", 5)};
    place(two, 2);
    uint64_t own = own_pidfd_id();
    snprintf(id, sizeof id, "%llu", (unsigned long long)(own ? own : 1));
    CHECK(inherit_for_pidfd(id, &error) == 2 && error == CSC_INHERITED_ERROR_NONE);
    if (own) {
        snprintf(id, sizeof id, "%llu", (unsigned long long)own + 1);
        CHECK(inherit_for_pidfd(id, &error) == 0 && error == CSC_INHERITED_ERROR_NONE);
    }
    CHECK(inherit_for_pidfd("", &error) == 0 && error == CSC_INHERITED_ERROR_PIDFD_ID);
    CHECK(inherit_for_pidfd("7x", &error) == 0 && error == CSC_INHERITED_ERROR_PIDFD_ID);
    CHECK(inherit_for_pidfd("18446744073709551616", &error) == 0 &&
          error == CSC_INHERITED_ERROR_PIDFD_ID);
}

static void a_process_that_had_the_same_number_is_another(void **state) {
    (void)state;
    in_child(read_pidfd_ids);
}

static void look_at_kinds(void) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int all[] = {socket(AF_INET, SOCK_DGRAM, 0), raw_listener("127.0.0.1", 5), pair[0],
                 open("/dev/null", O_RDONLY), unix_listener()};
    place(all, 5);
    set_variables(own_process(), "5", "udp:tcp:connection:file:unix");
    csc_inherited *set = csc_inherited_from_environment(NULL);
    CHECK(csc_inherited_count(set) == 5);
    static const bool listens[] = {false, true, false, false, true, false};
    for (size_t i = 0; i < 6; i++) {
        CHECK(csc_inherited_is_listener(set, i) == listens[i]);
    }
    CHECK(csc_inherited_take(set, 0) == FIRST);
    CHECK(csc_inherited_take(set, 0) == -1 && csc_inherited_descriptor(set, 0) == -1);
    CHECK(csc_inherited_take(set, 1) == FIRST + 1 && !csc_inherited_is_listener(set, 1));
    CHECK(csc_inherited_take(set, 5) == -1);
    csc_inherited_close(set);
    CHECK(fcntl(FIRST, F_GETFD) >= 0 && fcntl(FIRST + 1, F_GETFD) >= 0);
    for (int i = 2; i < 5; i++) {
        CHECK(fcntl(FIRST + i, F_GETFD) < 0);
        CHECK(csc_inherited_descriptor(set, (size_t)i) == -1);
    }
    csc_inherited_free(set);
}

static void descriptors_of_all_kinds_are_there_and_what_nothing_takes_is_closed(void **state) {
    (void)state;
    in_child(look_at_kinds);
}

static void reuse_a_number(void) {
    csc_inherited *set = inherit_two(NULL, NULL);
    int strangers = raw_listener("127.0.0.1", 5); // of the same device
    CHECK(dup2(strangers, FIRST) == FIRST);       // closes what was inherited
    csc_inherited_free(set);
    CHECK(fcntl(FIRST, F_GETFD) >= 0 && fcntl(FIRST + 1, F_GETFD) < 0);
}

static void a_strangers_file_is_not_closed(void **state) {
    (void)state;
    in_child(reuse_a_number);
}

static void serve_inherited(void) {
    csc_inherited *set = inherit_two("other:http", NULL);
    csc_server *server = csc_server_new(NULL);
    csc_address address = address_of("127.0.0.1", 0);
    CHECK(csc_server_listen_inherited(server, set, "http", &address));
    CHECK(csc_server_descriptor(server) == FIRST + 1);
    CHECK(csc_inherited_descriptor(set, 1) == -1);
    csc_address place = csc_server_address(server);
    int client = connect_to(&place);
    CHECK(client >= 0 && csc_server_wait(server, 20000, NULL));

    // What fails leaves it to the set.
    CHECK(!csc_server_listen_inherited(server, set, "other", &address));
    CHECK(csc_server_error(server) == CSC_ERROR_OPERATION);
    CHECK(csc_inherited_descriptor(set, 0) == FIRST);

    // Of a name that is not there, or whose socket is taken, it listens on the address.
    csc_server_close(server);
    CHECK(csc_server_listen_inherited(server, set, "http", &address));
    CHECK(csc_server_port(server) != 0);
    csc_inherited_free(set);
    CHECK(fcntl(FIRST, F_GETFD) < 0);
    csc_server_close(server);
    CHECK(csc_server_listen_inherited(server, NULL, "http", &address));
    csc_server_free(server);
}

static void a_server_listens_on_what_is_inherited_or_else_on_its_address(void **state) {
    (void)state;
    in_child(serve_inherited);
}

static void run_out_of_memory(void) {
    int failures = 0;
    for (int nth = 1;; nth++) {
        csc_inherited_error error;
        int two[] = {raw_listener("127.0.0.1", 5), raw_listener("127.0.0.1", 5)};
        place(two, 2);
        CHECK(fcntl(FIRST + 1, F_SETFD, FD_CLOEXEC) == 0); // as it was
        set_variables(own_process(), "2", "a:b");
        fault_fail_allocation(nth, 1);
        csc_inherited *set = csc_inherited_from_environment(&error);
        fault_clear();
        if (set) {
            csc_inherited_free(set);
            break;
        }
        CHECK(error == CSC_INHERITED_ERROR_MEMORY);
        CHECK(fcntl(FIRST, F_GETFD) == 0 && fcntl(FIRST + 1, F_GETFD) == FD_CLOEXEC);
        failures++;
    }
    CHECK(failures == 5); // the set; twice its array and a name
}

static void no_memory_leaves_the_descriptors_alone(void **state) {
    (void)state;
    if (!fault_counts_allocations()) {
        skip();
    }
    in_child(run_out_of_memory);
}

static void refuse_flags(void) {
    csc_inherited_error error;
    int two[] = {raw_listener("127.0.0.1", 5), raw_listener("127.0.0.1", 5)};
    static const struct {
        fault_call call;
        int nth;
    } failures[] = {{FAULT_FCNTL, 2}, {FAULT_FCNTL, 3}, {FAULT_FCNTL, 4},
                    {FAULT_FCNTL, 6}, {FAULT_FSTAT, 1}, {FAULT_FSTAT, 2}};
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        place(two, 2);
        set_variables(own_process(), "2", NULL);
        fault_fail(failures[i].call, failures[i].nth, 1, EBADF);
        CHECK(!csc_inherited_from_environment(&error));
        fault_clear();
        CHECK(error == CSC_INHERITED_ERROR_DESCRIPTOR);
        CHECK(fcntl(FIRST, F_GETFD) == 0 && fcntl(FIRST + 1, F_GETFD) == 0);
        for (int number = 0; number < 2; number++) {
            two[number] = FIRST + number;
        }
    }
}

static void a_failing_call_leaves_the_descriptors_open(void **state) {
    (void)state;
    in_child(refuse_flags);
}

static void a_set_takes_what_is_added(void **state) {
    fixture *it = *state;
    int listener = raw_listener("127.0.0.1", 5);
    int kept = fixture_own(it, raw_listener("127.0.0.1", 5));
    csc_inherited *set = csc_inherited_new();
    assert_true(csc_inherited_add(set, listener, "http"));
    assert_true(csc_inherited_add(set, kept, "admin"));
    assert_true(is_close_on_exec(listener));
    assert_false(csc_inherited_add(set, -1, "none"));
    assert_false(csc_inherited_add(NULL, kept, "none"));
    assert_int_equal(csc_inherited_count(set), 2);
    assert_string_equal(csc_inherited_name(set, 1), "admin");
    assert_int_equal(csc_inherited_take(set, 1), kept);
    csc_inherited_free(set); // closes the listener, as the fixture sees
}

static void one_of_a_set_is_closed_alone(void **state) {
    fixture *it = *state;
    int listener = raw_listener("127.0.0.1", 5);
    int kept = fixture_own(it, raw_listener("127.0.0.1", 5));
    csc_inherited *set = csc_inherited_new();
    assert_true(csc_inherited_add(set, listener, "http"));
    assert_true(csc_inherited_add(set, kept, "admin"));
    csc_inherited_close_one(set, 0);
    csc_inherited_close_one(set, 0);
    csc_inherited_close_one(set, 2);
    assert_int_equal(fcntl(listener, F_GETFD), -1);
    assert_int_equal(csc_inherited_take(set, 0), -1);
    assert_int_equal(csc_inherited_take(set, 1), kept);
    csc_inherited_close_one(set, 1);
    assert_true(is_close_on_exec(kept));
    csc_inherited_free(set);
}

static void each_error_has_a_text(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "LISTEN_PID is not the number of a process",
        "LISTEN_PIDFDID is not the number of a pidfd",
        "LISTEN_FDS is not a number of descriptors",
        "LISTEN_FDNAMES does not have as many names as LISTEN_FDS says",
        "A descriptor that LISTEN_FDS counts is not open",
        "There is no memory for the inherited descriptors",
        "Unknown error of inherited descriptors",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_string_equal(csc_inherited_error_text((csc_inherited_error)i), texts[i]);
    }
}

static void nothing_is_an_empty_set(void **state) {
    (void)state;
    csc_inherited_free(NULL);
    csc_inherited_close(NULL);
    csc_inherited_close_one(NULL, 0);
    assert_int_equal(csc_inherited_count(NULL), 0);
    assert_string_equal(csc_inherited_name(NULL, 0), "");
    assert_int_equal(csc_inherited_descriptor(NULL, 0), -1);
    assert_int_equal(csc_inherited_take(NULL, 0), -1);
    assert_false(csc_inherited_is_listener(NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(the_variables_say_which_descriptors_are_inherited),
        fact(a_second_look_finds_nothing),
        fact(a_process_that_had_the_same_number_is_another),
        fact(descriptors_of_all_kinds_are_there_and_what_nothing_takes_is_closed),
        fact(a_strangers_file_is_not_closed),
        fact(a_server_listens_on_what_is_inherited_or_else_on_its_address),
        fact(no_memory_leaves_the_descriptors_alone),
        fact(a_failing_call_leaves_the_descriptors_open),
        fact(a_set_takes_what_is_added),
        fact(one_of_a_set_is_closed_alone),
        fact(each_error_has_a_text),
        fact(nothing_is_an_empty_set),
    };
    return cmocka_run_group_tests_name("inherited_sockets", tests, NULL, NULL);
}
