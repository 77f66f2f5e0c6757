// SPDX-License-Identifier: Apache-2.0

// Listening sockets that one process hands over to the next, and processes that do it while clients
// connect.

#include "handover_pair.h"
#include "signal_storm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static ino_t inode_of(int descriptor) {
    struct stat status;
    assert_int_equal(fstat(descriptor, &status), 0);
    return status.st_ino;
}

static int unix_listener(fixture *it) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int listener = fixture_own(it, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name.sun_family), 0);
    assert_int_equal(listen(listener, 1), 0);
    return listener;
}

// Offers them to a successor that has said hello already. It says it once more when it receives.
static int hand_over(handover_pair both, const csc_handover_listener *listeners, size_t count,
                     csc_inherited *set) {
    handover_say_hello(both.successor);
    int errnum = csc_handover_offer(both.predecessor, listeners, count, NULL);
    return errnum != 0 ? errnum : csc_handover_receive(both.successor, set, NULL);
}

static void sockets_arrive_with_their_names_and_are_the_same(void **state) {
    fixture *it = *state;
    const csc_handover_listener listeners[] = {
        {"http", fixture_own(it, raw_listener("127.0.0.1", 5))},
        {"admin", unix_listener(it)},
        {"http", fixture_own(it, raw_listener("127.0.0.1", 5))},
    };
    csc_inherited *set = csc_inherited_new();
    assert_int_equal(hand_over(handover_connect(it), listeners, 3, set), 0);
    assert_int_equal(csc_inherited_count(set), 3);
    for (size_t i = 0; i < 3; i++) {
        int received = csc_inherited_descriptor(set, i);
        assert_string_equal(csc_inherited_name(set, i), listeners[i].name);
        assert_int_equal(inode_of(received), inode_of(listeners[i].descriptor));
        assert_int_not_equal(received, listeners[i].descriptor);
        assert_true(is_close_on_exec(received));
        assert_true(csc_inherited_is_listener(set, i));
    }
    csc_inherited_free(set);
}

static void as_many_as_fit_are_handed_over(void **state) {
    fixture *it = *state;
    csc_handover_listener listeners[CSC_HANDOVER_MOST_LISTENERS + 1];
    char name[CSC_HANDOVER_LONGEST_NAME + 2] = "";
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    for (int i = 0; i <= CSC_HANDOVER_MOST_LISTENERS; i++) {
        listeners[i] = (csc_handover_listener){"shard", listener};
    }
    csc_inherited *set = csc_inherited_new();
    assert_int_equal(hand_over(handover_connect(it), listeners, CSC_HANDOVER_MOST_LISTENERS, set),
                     0);
    assert_int_equal(csc_inherited_count(set), CSC_HANDOVER_MOST_LISTENERS);
    assert_int_equal(
        hand_over(handover_connect(it), listeners, CSC_HANDOVER_MOST_LISTENERS + 1, set), EINVAL);
    assert_int_equal(hand_over(handover_connect(it), listeners, 0, set), 0);

    memset(name, 'x', CSC_HANDOVER_LONGEST_NAME);
    listeners[0].name = name;
    assert_int_equal(hand_over(handover_connect(it), listeners, 1, set), 0);
    assert_string_equal(csc_inherited_name(set, CSC_HANDOVER_MOST_LISTENERS), name);
    for (int i = 1; i < CSC_HANDOVER_MOST_LISTENERS; i++) {
        listeners[i].name = name; // too many bytes in all
    }
    assert_int_equal(hand_over(handover_connect(it), listeners, CSC_HANDOVER_MOST_LISTENERS, set),
                     EINVAL);
    name[CSC_HANDOVER_LONGEST_NAME] = 'x';
    assert_int_equal(hand_over(handover_connect(it), listeners, 1, set), EINVAL);
    name[0] = '\0';
    assert_int_equal(hand_over(handover_connect(it), listeners, 1, set), EINVAL);
    csc_inherited_free(set);
}

static void what_is_no_socket_is_not_offered(void **state) {
    fixture *it = *state;
    csc_handover_listener listener = {"http", -1};
    assert_int_equal(hand_over(handover_connect(it), &listener, 1, NULL), EINVAL);
    listener.descriptor = fixture_own(it, open("/dev/null", O_RDONLY | O_CLOEXEC));
    assert_int_equal(hand_over(handover_connect(it), &listener, 1, NULL), EINVAL);
}

typedef struct wrong {
    const char *bytes;
    size_t size;
    size_t descriptors;
} wrong;

#define WRONG(text, descriptors) {text, sizeof text - 1, descriptors}

// What is no list of one IPv4 listener "a", with so many of them.
static const wrong wrong_lists[] = {
    WRONG("TSK1\2\0\6\0\1\0\4\0\1a", 0),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1a", 2),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1a", 64),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1a", 65),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1a", 253),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1ab", 1),
    WRONG("TSK1\2\0\7\0\1\0\4\0\1ab", 1),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1", 1),
    WRONG("TSK1\2\0\5\0\1\0\4\0\1", 1),
    WRONG("TSK1\2\0\6\0\1\0\6\0\1a", 1), // of another family
    WRONG("TSK1\2\0\6\0\1\0\1\0\1a", 1),
    WRONG("TSK1\2\0\6\0\1\0\7\0\1a", 1),
    WRONG("TSK1\2\0\6\0\1\0\4\1\1a", 1), // not the first of its name
    WRONG("TSK1\2\0\5\0\1\0\4\0\0", 1),
    WRONG("TSK1\2\0\6\0\1\0\4\0\1\0", 1),
    WRONG("TSK1\2\0\6\0\1\0\4\0\2a", 1),
    WRONG("TSK1\2\0\2\0\377\377", 1),
    WRONG("TSK1\2\0\2\0\101\0", 1),
    WRONG("TSK1\2\0\106\0\1\0\4\0\101"
          "01234567890123456789012345678901234567890123456789012345678901234",
          1),
    WRONG("TSK1\2\0\1\0\0", 0),
    WRONG("TSK1\3\0\0\0", 0),
    WRONG("TSK1\3\0\0\0", 1),
    WRONG("TSK1\4\0\0\0", 0),
    WRONG("TSK1\7\0\0\0", 0),
    WRONG("TSK2\2\0\6\0\1\0\4\0\1a", 1),
    WRONG("TSK1\2\0", 1),
    WRONG("T", 1),
};

static void a_list_that_is_not_as_it_should_be_is_refused_and_closed(void **state) {
    fixture *it = *state;
    int descriptors[256];
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    for (size_t i = 0; i < 256; i++) {
        descriptors[i] = listener;
    }
    csc_inherited *set = csc_inherited_new();
    for (size_t i = 0; i < sizeof wrong_lists / sizeof wrong_lists[0]; i++) {
        handover_pair both = handover_connect(it);
        handover_send_raw(both.predecessor, wrong_lists[i].bytes, wrong_lists[i].size, descriptors,
                          wrong_lists[i].descriptors);
        assert_int_equal(csc_handover_receive(both.successor, set, NULL), EPROTO);
    }
    // One more than there is room for.
    char list[10 + 4 * CSC_HANDOVER_MOST_LISTENERS] = "TSK1\2\0\2\1\100";
    for (int i = 0; i < CSC_HANDOVER_MOST_LISTENERS; i++) {
        memcpy(list + 10 + 4 * i, (char[]){4, (char)i, 1, 'a'}, 4);
    }
    handover_pair full = handover_connect(it);
    handover_send_raw(full.predecessor, list, sizeof list, descriptors,
                      CSC_HANDOVER_MOST_LISTENERS + 1);
    assert_int_equal(csc_handover_receive(full.successor, set, NULL), EPROTO);
    full = handover_connect(it);
    handover_send_raw(full.predecessor, list, sizeof list, descriptors,
                      CSC_HANDOVER_MOST_LISTENERS);
    assert_int_equal(csc_handover_receive(full.successor, set, NULL), 0);
    csc_inherited_close(set);
    // The same with what is right, for the table to be worth something.
    handover_pair both = handover_connect(it);
    handover_send_raw(both.predecessor, "TSK1\2\0\6\0\1\0\4\0\1a", 14, descriptors, 1);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), 0);
    assert_int_equal(csc_inherited_count(set), CSC_HANDOVER_MOST_LISTENERS + 1);
    csc_inherited_free(set);
}

static void what_does_not_listen_is_refused_and_closed(void **state) {
    fixture *it = *state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const int others[] = {fixture_own(it, open("/dev/null", O_RDONLY | O_CLOEXEC)),
                          fixture_own(it, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
                          fixture_own(it, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                          fixture_own(it, ends[0]), fixture_own(it, ends[1])};
    csc_inherited *set = csc_inherited_new();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        handover_pair both = handover_connect(it);
        handover_send_raw(both.predecessor, "TSK1\2\0\6\0\1\0\4\0\1a", 14, &others[i], 1);
        assert_int_equal(csc_handover_receive(both.successor, set, NULL), EPROTO);
        assert_int_equal(csc_inherited_count(set), 0);
    }
    csc_inherited_free(set);
}

static int offer_nothing(const handover_pair *both) {
    const csc_handover_listener none = {0};
    return csc_handover_offer(both->predecessor, &none, 0, NULL);
}

static void a_successor_of_another_version_is_refused(void **state) {
    fixture *it = *state;
    handover_pair both = handover_connect(it);
    handover_send_raw(both.successor, "TSK1\1\0\6\0\2\0\0\0\0\0", 14, NULL, 0);
    assert_int_equal(offer_nothing(&both), EPROTO);
    both = handover_connect(it);
    handover_send_raw(both.successor, "TSK1\3\0\0\0", 8, NULL, 0);
    assert_int_equal(offer_nothing(&both), EPROTO);
}

static void ready_is_waited_for(void **state) {
    fixture *it = *state;
    handover_pair both = handover_connect(it);
    assert_int_equal(csc_handover_ready(both.successor), 0);
    assert_int_equal(csc_handover_wait_ready(both.predecessor, -1), 0);
    assert_int_equal(csc_handover_wait_ready(both.predecessor, 0), ETIMEDOUT);
    fault_fail(FAULT_POLL, 1, -1, EINTR); // signals without end
    assert_int_equal(csc_handover_wait_ready(both.predecessor, 0), ETIMEDOUT);
    fault_clear();
    handover_say_hello(both.successor);
    assert_int_equal(csc_handover_wait_ready(both.predecessor, -1), EPROTO);
}

static void a_process_that_ends_is_noticed_at_once(void **state) {
    fixture *it = *state;
    csc_inherited *set = csc_inherited_new();
    handover_pair both = handover_connect(it);
    fixture_close(it, both.successor);
    assert_int_equal(offer_nothing(&both), ECONNRESET);
    assert_int_equal(csc_handover_wait_ready(both.predecessor, -1), ECONNRESET);

    both = handover_connect(it);
    handover_say_hello(both.successor);
    fixture_close(it, both.successor);
    assert_int_equal(offer_nothing(&both), EPIPE);

    both = handover_connect(it);
    fixture_close(it, both.predecessor);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), EPIPE);
    assert_int_equal(csc_handover_ready(both.successor), EPIPE);

    both = handover_connect(it);
    shutdown(both.predecessor, SHUT_WR);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), ECONNRESET);
    csc_inherited_free(set);
}

static void a_process_that_says_nothing_is_given_up_after_five_seconds(void **state) {
    fixture *it = *state;
    csc_inherited *set = csc_inherited_new();
    handover_pair both = handover_connect(it);
    fault_stop_clock();
    fault_skip_waits(true);
    int64_t before = monotonic_milliseconds();
    assert_int_equal(offer_nothing(&both), ETIMEDOUT);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), ETIMEDOUT);
    assert_int_equal(monotonic_milliseconds() - before, 10000);
    fault_skip_waits(false);
    fault_start_clock();
    csc_inherited_free(set);
}

typedef struct place {
    char folder[32];
    char path[64];
} place;

static place make_place(void) {
    place result = {.folder = "/tmp/hot-restart-XXXXXX"};
    assert_non_null(mkdtemp(result.folder));
    snprintf(result.path, sizeof result.path, "%s/control", result.folder);
    return result;
}

static void remove_place(const place *it) {
    unlink(it->path);
    assert_int_equal(rmdir(it->folder), 0); // nothing else is left in it
}

static int listen_at(fixture *it, const place *where) {
    int listener = -1;
    assert_int_equal(csc_handover_listen(where->path, &listener), 0);
    return fixture_own(it, listener);
}

static void the_control_socket_is_the_users_alone(void **state) {
    fixture *it = *state;
    place where = make_place();
    struct stat status;
    int control = -1;
    int accepted = -1;
    mode_t before = umask(0);
    int listener = listen_at(it, &where);
    umask(before);
    assert_int_equal(stat(where.path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | S_IRUSR | S_IWUSR);
    assert_true(is_close_on_exec(listener));
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    assert_true(is_close_on_exec(fixture_own(it, control)));
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), 0);
    assert_true(is_close_on_exec(fixture_own(it, accepted)));
    assert_int_equal(csc_handover_accept(listener, 0, &accepted), ETIMEDOUT);
    remove_place(&where);
}

// Two successors wait in its queue, and a third gives up.
static void fill_queue(fixture *it, const place *where) {
    int control = -1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(csc_handover_connect(where->path, &control), 0);
        fixture_own(it, control);
    }
    assert_int_equal(csc_handover_connect(where->path, &control), ETIMEDOUT);
}

static void signals_neither_end_nor_prolong_the_wait_for_a_busy_predecessor(void **state) {
    skip_under_valgrind("it delivers signals later, to a handler that is gone");
    fixture *it = *state;
    place where = make_place();
    int control = -1;
    listen_at(it, &where);
    fill_queue(it, &where);
    signal_storm storm = begin_storm();
    int errnum = csc_handover_connect(where.path, &control);
    end_storm(&storm);
    assert_int_equal(errnum, ETIMEDOUT);
    remove_place(&where);
}

static void a_path_is_taken_over_from_a_predecessor_dead_or_alive(void **state) {
    fixture *it = *state;
    place where = make_place();
    int control = -1;
    int accepted = -1;
    assert_int_equal(csc_handover_connect(where.path, &control), ENOENT);
    int first = listen_at(it, &where);
    int second = listen_at(it, &where);
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    fixture_own(it, control);
    assert_int_equal(csc_handover_accept(first, 0, &accepted), ETIMEDOUT);
    assert_int_equal(csc_handover_accept(second, -1, &accepted), 0);
    fixture_own(it, accepted);
    fixture_close(it, first);
    fixture_close(it, second);
    assert_int_equal(csc_handover_connect(where.path, &control), ECONNREFUSED);
    listen_at(it, &where);
    remove_place(&where);
}

static void an_accept_that_fails_says_why(void **state) {
    fixture *it = *state;
    place where = make_place();
    int control = -1;
    int accepted = -1;
    int listener = listen_at(it, &where);
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    fixture_own(it, control);
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE);
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), EMFILE);
    fault_clear();
    assert_int_equal(accepted, -1);
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), 0);
    fixture_own(it, accepted);
    remove_place(&where);
}

static void a_path_that_is_anything_else_is_left_alone(void **state) {
    fixture *it = *state;
    place where = make_place();
    int listener = -1;
    int file = open(where.path, O_CREAT | O_WRONLY | O_CLOEXEC, S_IRUSR);
    close(file);
    assert_int_equal(csc_handover_listen(where.path, &listener), EADDRINUSE);
    assert_int_equal(unlink(where.path), 0);
    assert_int_equal(symlink("/tmp/nothing", where.path), 0);
    assert_int_equal(csc_handover_listen(where.path, &listener), EADDRINUSE);
    assert_int_equal(listener, -1);
    remove_place(&where);
    assert_int_equal(csc_handover_listen(where.path, &listener), ENOENT); // the folder
    assert_int_equal(csc_handover_listen("", &listener), ENOENT);
    assert_int_equal(csc_handover_connect("", &listener), ENOENT);
    char longest[92];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[91] = '\0';
    assert_int_equal(csc_handover_listen(longest, &listener), ENAMETOOLONG);
    assert_int_equal(csc_handover_connect(longest, &listener), ENAMETOOLONG);
    longest[90] = '\0';
    assert_int_equal(csc_handover_connect(longest, &listener), ENOENT);
    (void)it;
}

static void processes_of_another_user_are_refused(void **state) {
    fixture *it = *state;
    if (geteuid() != 0) {
        print_message("skipped: only root can be another user\n");
        skip();
    }
    place where = make_place();
    int listener = listen_at(it, &where);
    assert_int_equal(chmod(where.folder, 0755), 0);
    assert_int_equal(chmod(where.path, 0666), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int control = -1;
        alarm(60);
        _exit(seteuid(65534) == 0 && csc_handover_connect(where.path, &control) == EPERM ? 0 : 1);
    }
    int status = -1;
    int accepted = -1;
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), EPERM);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(accepted, -1);
    remove_place(&where);
}

static void each_call_may_fail(void **state) {
    fixture *it = *state;
    place where = make_place();
    int control = -1;
    static const fault_call of_listen[] = {FAULT_SOCKET, FAULT_BIND, FAULT_LISTEN};
    for (size_t i = 0; i < sizeof of_listen / sizeof of_listen[0]; i++) {
        fault_fail(of_listen[i], 1, 1, ENOBUFS);
        assert_int_equal(csc_handover_listen(where.path, &control), ENOBUFS);
    }
    int listener = listen_at(it, &where);
    static const fault_call of_connect[] = {FAULT_SOCKET, FAULT_CONNECT, FAULT_GETSOCKOPT};
    for (size_t i = 0; i < sizeof of_connect / sizeof of_connect[0]; i++) {
        fault_fail(of_connect[i], 1, 1, ENOBUFS);
        assert_int_equal(csc_handover_connect(where.path, &control), ENOBUFS);
    }
    assert_int_equal(csc_handover_connect(where.path, &control), 0);
    fixture_own(it, control);
    // A signal is no failure.
    fault_fail(FAULT_POLL, 1, 2, EINTR);
    fault_fail(FAULT_ACCEPT4, 1, 2, EINTR);
    int accepted = -1;
    if (csc_handover_accept(listener, -1, &accepted) == 0) { // perhaps one that gave up before
        fixture_own(it, accepted);
    }
    fault_fail(FAULT_POLL, 1, 1, ENOMEM);
    assert_int_equal(csc_handover_accept(listener, -1, &accepted), ENOMEM);
    static const struct {
        fault_call call;
        int errnum;
        int expected;
    } of_packets[] = {
        {FAULT_GETSOCKOPT, ENOBUFS, ENOBUFS},
        {FAULT_RECVMSG, EMFILE, EMFILE},
        {FAULT_SENDMSG, ENOBUFS, ENOBUFS},
        {FAULT_RECVMSG, EINTR, 0},
        {FAULT_SENDMSG, EINTR, 0},
    };
    for (size_t i = 0; i < sizeof of_packets / sizeof of_packets[0]; i++) {
        handover_pair both = handover_connect(it);
        handover_say_hello(both.successor);
        fault_fail(of_packets[i].call, 1, 1, of_packets[i].errnum);
        assert_int_equal(offer_nothing(&both), of_packets[i].expected);
        fault_clear();
    }
    remove_place(&where);
}

static void no_memory_adds_nothing_and_closes_all(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        skip();
    }
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    const csc_handover_listener listeners[] = {{"a", listener}, {"b", listener}};
    for (int nth = 1; nth <= 5; nth++) {
        csc_inherited *set = csc_inherited_new();
        fault_fail_allocation(nth, 1);
        int errnum = hand_over(handover_connect(it), listeners, 2, set);
        fault_clear();
        assert_int_equal(errnum, nth <= 4 ? ENOMEM : 0);
        assert_true(csc_inherited_is_listener(set, 0) == (errnum == 0));
        csc_inherited_free(set);
    }
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno));       \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

typedef struct generation {
    const char *path;
    csc_server *server;
    int descriptor;
    int control; // of the successor, open to the end of the process
    atomic_bool is_over;
} generation;

static void *wait_for_successor(void *context) {
    generation *it = context;
    const csc_handover_listener listeners[] = {{"echo", it->descriptor}};
    int listener = -1;
    CHECK(csc_handover_listen(it->path, &listener) == 0);
    for (;;) {
        CHECK(csc_handover_accept(listener, -1, &it->control) == 0);
        if (csc_handover_offer(it->control, listeners, 1, NULL) == 0 &&
            csc_handover_wait_ready(it->control, 60000) == 0) {
            break;
        }
        close(it->control); // and serve on
    }
    close(listener);
    atomic_store(&it->is_over, true);
    csc_server_wake(it->server);
    return NULL;
}

static void answer_all(csc_server *server, char number) {
    csc_connection connection;
    while (csc_server_next_pending(server, &connection)) {
        send(connection.descriptor, &number, 1, MSG_NOSIGNAL);
        close(connection.descriptor);
    }
}

// A successor that is killed, ends or hangs at some step, before one that works.
static void fail_at(const char *path, int step) {
    int control = -1;
    if (csc_handover_connect(path, &control) != 0 || step == 0) {
        _exit(0);
    }
    csc_inherited *set = csc_inherited_new();
    csc_handover_receive(control, set, NULL);
    _exit(0);
}

// Asks again where one of the two was held up for longer than the other waits for it.
static int take_over(const char *path, csc_inherited *set, int *predecessor) {
    int errnum = ETIMEDOUT;
    while (errnum == ETIMEDOUT || errnum == ECONNRESET || errnum == EPIPE) {
        errnum = csc_handover_connect(path, predecessor);
        if (errnum == 0) {
            errnum = csc_handover_receive(*predecessor, set, NULL);
            if (errnum != 0) {
                close(*predecessor);
            }
        }
    }
    return errnum;
}

static void serve(const char *path, char number, const csc_address *address, bool is_first) {
    generation it = {.path = path, .server = csc_server_new(NULL), .control = -1};
    csc_inherited *set = csc_inherited_new();
    pthread_t thread;
    int predecessor = -1;
    alarm(120);
    if (!is_first) {
        CHECK(take_over(path, set, &predecessor) == 0);
    }
    CHECK(csc_server_listen_inherited(it.server, set, "echo", address));
    it.descriptor = csc_server_descriptor(it.server);
    if (!is_first) {
        CHECK(csc_handover_ready(predecessor) == 0);
    }
    CHECK(pthread_create(&thread, NULL, wait_for_successor, &it) == 0);
    while (!atomic_load(&it.is_over)) {
        bool timed_out;
        csc_server_wait(it.server, 100, &timed_out);
        answer_all(it.server, number);
    }
    pthread_join(thread, NULL); // which has woken the server
    csc_server_finish(it.server);
    answer_all(it.server, number);
    csc_server_free(it.server);
    _exit(0);
}

static pid_t start(const char *path, int number, const csc_address *address) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        serve(path, (char)number, address, number == 0);
    }
    assert_true(child > 0);
    return child;
}

// Connects, and returns the number of who answered; -1 for a client that was not served.
static int ask(const csc_address *address) {
    char number = 0;
    int client = connect_to(address);
    if (client < 0) {
        return -1;
    }
    struct pollfd entry = {.fd = client, .events = POLLIN};
    bool answered = poll(&entry, 1, 60000) == 1 && recv(client, &number, 1, 0) == 1;
    close(client);
    return answered ? number : -1;
}

static bool has_control_socket(const char *path) {
    int control = -1;
    bool connects = csc_handover_connect(path, &control) == 0;
    if (connects) {
        close(control);
    }
    return connects;
}

enum { GENERATIONS = 12 };

static void no_client_is_lost_over_generations_of_processes(void **state) {
    fixture *it = *state;
    place where = make_place();
    // A port of the process.s own address, which stays free.
    int bound = fixture_own(it, raw_listener(own_loopback(), 1));
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    csc_address address;
    assert_int_equal(getsockname(bound, (struct sockaddr *)&name, &length), 0);
    csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
    fixture_close(it, bound);
    pid_t current = start(where.path, 0, &address);
    while (ask(&address) < 0 || !has_control_socket(where.path)) {
        assert_int_equal(waitpid(current, NULL, WNOHANG), 0);
    }
    for (int number = 1; number < GENERATIONS; number++) {
        fflush(NULL);
        pid_t failing = fork();
        if (failing == 0) {
            fail_at(where.path, number % 2);
        }
        while (waitpid(failing, NULL, WNOHANG) == 0) {
            assert_int_equal(ask(&address), number - 1);
        }
        while (!has_control_socket(where.path)) { // it may be busy with the one that failed
            assert_int_equal(ask(&address), number - 1);
        }
        pid_t next = start(where.path, number, &address);
        int status = -1;
        while (waitpid(current, &status, WNOHANG) == 0) {
            assert_in_range(ask(&address), number - 1, number);
            assert_int_equal(waitpid(next, NULL, WNOHANG), 0);
        }
        assert_int_equal(status, 0);
        assert_int_equal(ask(&address), number);
        current = next;
    }
    while (!has_control_socket(where.path)) { // it may be making that, under another name at first
        assert_int_equal(ask(&address), GENERATIONS - 1);
    }
    kill(current, SIGKILL);
    waitpid(current, NULL, 0);
    remove_place(&where);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(sockets_arrive_with_their_names_and_are_the_same),
        fact(an_accept_that_fails_says_why),
        fact(as_many_as_fit_are_handed_over),
        fact(what_is_no_socket_is_not_offered),
        fact(a_list_that_is_not_as_it_should_be_is_refused_and_closed),
        fact(what_does_not_listen_is_refused_and_closed),
        fact(a_successor_of_another_version_is_refused),
        fact(ready_is_waited_for),
        fact(a_process_that_ends_is_noticed_at_once),
        fact(a_process_that_says_nothing_is_given_up_after_five_seconds),
        fact(the_control_socket_is_the_users_alone),
        fact(signals_neither_end_nor_prolong_the_wait_for_a_busy_predecessor),
        fact(a_path_is_taken_over_from_a_predecessor_dead_or_alive),
        fact(a_path_that_is_anything_else_is_left_alone),
        fact(processes_of_another_user_are_refused),
        fact(each_call_may_fail),
        fact(no_memory_adds_nothing_and_closes_all),
        fact(no_client_is_lost_over_generations_of_processes),
    };
    return cmocka_run_group_tests_name("hot_restart", tests, NULL, NULL);
}
