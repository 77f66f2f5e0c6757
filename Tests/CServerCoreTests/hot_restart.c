// SPDX-License-Identifier: Apache-2.0

// Listening sockets that one process hands over to the next, and what the two say to each other.

#include "children.h"
#include "folder.h"
#include "handover_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

static void what_does_not_listen_is_not_offered(void **state) {
    fixture *it = *state;
    const int others[] = {-1, fixture_own(it, open("/dev/null", O_RDONLY | O_CLOEXEC)),
                          fixture_own(it, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
                          fixture_own(it, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const csc_handover_listener listener = {"http", others[i]};
        assert_int_equal(hand_over(handover_connect(it), &listener, 1, NULL), EINVAL);
    }
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

static void a_successor_of_another_version_is_refused(void **state) {
    fixture *it = *state;
    handover_pair both = handover_connect(it);
    handover_send_raw(both.successor, "TSK1\1\0\6\0\2\0\0\0\0\0", 14, NULL, 0);
    assert_int_equal(handover_offer_nothing(&both), EPROTO);
    both = handover_connect(it);
    handover_send_raw(both.successor, "TSK1\3\0\0\0", 8, NULL, 0);
    assert_int_equal(handover_offer_nothing(&both), EPROTO);
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
    assert_int_equal(handover_offer_nothing(&both), ECONNRESET);
    assert_int_equal(csc_handover_wait_ready(both.predecessor, -1), ECONNRESET);

    both = handover_connect(it);
    handover_say_hello(both.successor);
    fixture_close(it, both.successor);
    assert_int_equal(handover_offer_nothing(&both), EPIPE);

    both = handover_connect(it);
    fixture_close(it, both.predecessor);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), EPIPE);
    assert_int_equal(csc_handover_ready(both.successor), EPIPE);

    both = handover_connect(it);
    shutdown(both.predecessor, SHUT_WR);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), ECONNRESET);
    csc_inherited_free(set);
}

// Listens at the path as a predecessor, and ends when it has accepted a connection.
static _Noreturn void be_a_predecessor(const char *path, int say_listening) {
    int listener;
    int control;
    bool accepts = csc_handover_listen(path, &listener) == 0 && write(say_listening, "", 1) == 1 &&
                   csc_handover_accept(listener, 10000, &control) == 0;
    leave_child(accepts ? 0 : 1);
}

static void ready_succeeds_where_the_predecessor_has_ended(void **state) {
    (void)state;
    int own = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (own < 0) {
        printf("skipped: no pidfd_open(2), as in valgrind before 3.21\n");
        skip();
    }
    close(own);
    for (int way = 0; way < 2;
         way++) { // waited for by its parent or not: it keeps its number until then
        folder at = folder_make();
        char path[PATH_MAX];
        int listening[2];
        int control;
        char byte;
        snprintf(path, sizeof path, "%s.control", at.path);
        assert_int_equal(pipe2(listening, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0) {
            be_a_predecessor(path, listening[1]);
        }
        assert_int_equal(read(listening[0], &byte, 1), 1);
        assert_int_equal(csc_handover_connect(path, &control), 0);
        siginfo_t end;
        assert_int_equal(waitid(P_PID, (id_t)child, &end, WEXITED | (way == 0 ? WNOWAIT : 0)), 0);
        assert_int_equal(end.si_status, 0);
        assert_int_equal(csc_handover_ready(control), 0);
        if (way == 0) {
            assert_int_equal(waitpid(child, NULL, 0), child);
        }
        close(control);
        close(listening[0]);
        close(listening[1]);
        assert_int_equal(unlink(path), 0);
        folder_remove(&at);
    }
}

static void a_process_that_says_nothing_is_given_up_after_five_seconds(void **state) {
    fixture *it = *state;
    csc_inherited *set = csc_inherited_new();
    handover_pair both = handover_connect(it);
    fault_stop_clock();
    fault_skip_waits(true);
    int64_t before = monotonic_milliseconds();
    assert_int_equal(handover_offer_nothing(&both), ETIMEDOUT);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), ETIMEDOUT);
    assert_int_equal(monotonic_milliseconds() - before, 10000);
    fault_skip_waits(false);
    fault_start_clock();
    csc_inherited_free(set);
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
        assert_int_equal(csc_inherited_count(set), errnum == 0 ? 2 : 0);
        assert_true(csc_inherited_is_listener(set, 0) == (errnum == 0));
        csc_inherited_free(set);
    }
}

static void a_successor_without_room_for_descriptors_says_so(void **state) {
    fixture *it = *state;
    int listener = fixture_own(it, raw_listener("127.0.0.1", 5));
    const csc_handover_listener listeners[] = {{"a", listener}, {"b", listener}, {"c", listener}};
    for (int room = 0; room <= 3; room++) {
        handover_pair both = handover_connect(it);
        handover_say_hello(both.successor);
        assert_int_equal(csc_handover_offer(both.predecessor, listeners, 3, NULL), 0);
        fixture_leave_descriptors(it, room); // under valgrind the test ends here
        csc_inherited *set = csc_inherited_new();
        int errnum = csc_handover_receive(both.successor, set, NULL);
        assert_int_equal(errnum, room < 3 ? EMFILE : 0);
        assert_int_equal(csc_inherited_count(set), room < 3 ? 0 : 3);
        csc_inherited_free(set);
        fixture_restore_descriptors(it);
    }
}

// A server at a path, whose socket a successor has received.
static handover_pair offer_path(fixture *it, const char *path, csc_inherited *set) {
    handover_pair both = handover_connect(it);
    assert_true(csc_server_listen_path(it->server, path, -1, false));
    const csc_handover_listener listener = {"web", csc_server_descriptor(it->server)};
    char second_hello[64];
    assert_int_equal(hand_over(both, &listener, 1, set), 0);
    assert_true(recv(both.predecessor, second_hello, sizeof second_hello, 0) > 0);
    return both;
}

static void the_file_of_a_socket_is_the_successors(void **state) {
    fixture *it = *state;
    static void (*const ends[])(csc_server *) = {csc_server_close, csc_server_finish};
    for (int way = 0; way < 4; way++) {
        folder at = folder_make();
        csc_address none = {.family = CSC_FAMILY_NONE};
        csc_inherited *set = csc_inherited_new();
        csc_server *successor = csc_server_new(NULL);
        handover_pair both = offer_path(it, at.path, set);
        assert_true(csc_server_listen_inherited(successor, set, "web", &none));
        if (way < 2) {
            assert_int_equal(csc_handover_ready(both.successor), 0);
            assert_int_equal(csc_handover_wait_ready(both.predecessor, -1), 0);
            fixture_close(it, both.predecessor);
        } // else it ends before it has heard of that
        ends[way % 2](it->server);
        fixture_own(it, connect_to_path(at.path));
        assert_true(csc_server_wait(successor, 10000, NULL));
        csc_server_free(successor);
        csc_inherited_free(set);
        assert_int_equal(unlink(at.path), 0);
        folder_remove(&at);
    }
}

static void without_a_successor_the_file_is_removed(void **state) {
    fixture *it = *state;
    for (int way = 0; way < 2; way++) {
        folder at = folder_make();
        csc_inherited *set = csc_inherited_new();
        handover_pair both = offer_path(it, at.path, set);
        csc_inherited_free(set);
        assert_int_equal(csc_handover_wait_ready(both.predecessor, 0), ETIMEDOUT);
        fixture_close(it, way == 0 ? both.predecessor : both.successor);
        csc_server_close(it->server);
        folder_remove(&at); // fails where the file is left
    }
}

static void only_files_that_were_offered_are_the_successors(void **state) {
    fixture *it = *state;
    folder at = folder_make();
    folder other_at = folder_make();
    csc_inherited *set = csc_inherited_new();
    csc_server *other = csc_server_new(NULL);
    assert_true(csc_server_listen_path(other, other_at.path, -1, false));
    handover_pair both = offer_path(it, at.path, set);
    assert_int_equal(csc_handover_ready(both.successor), 0);
    assert_int_equal(csc_handover_wait_ready(both.predecessor, -1), 0);
    csc_server_free(other);
    folder_remove(&other_at);
    csc_server_close(it->server);
    csc_inherited_free(set);
    // Nothing listens any more: the next server replaces it, and removes its own.
    assert_true(csc_server_listen_path(it->server, at.path, -1, false));
    csc_server_close(it->server);
    folder_remove(&at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(sockets_arrive_with_their_names_and_are_the_same),
        fact(as_many_as_fit_are_handed_over),
        fact(what_does_not_listen_is_not_offered),
        fact(a_list_that_is_not_as_it_should_be_is_refused_and_closed),
        fact(what_does_not_listen_is_refused_and_closed),
        fact(a_successor_of_another_version_is_refused),
        fact(ready_is_waited_for),
        fact(a_process_that_ends_is_noticed_at_once),
        fact(ready_succeeds_where_the_predecessor_has_ended),
        fact(a_process_that_says_nothing_is_given_up_after_five_seconds),
        fact(no_memory_adds_nothing_and_closes_all),
        fact(a_successor_without_room_for_descriptors_says_so),
        fact(the_file_of_a_socket_is_the_successors),
        fact(without_a_successor_the_file_is_removed),
        fact(only_files_that_were_offered_are_the_successors),
    };
    return cmocka_run_group_tests_name("hot_restart", tests, NULL, NULL);
}
