// SPDX-License-Identifier: Apache-2.0

// What a process leaves to its successor besides the sockets: secrets, counters, and what became of
// its connections.

#include "handover_pair.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char no_listeners[] = "TSK1\2\0\2\0\0\0";

static csc_handover_values *new_values(void) {
    csc_handover_values *values = csc_handover_values_new();
    assert_non_null(values);
    return values;
}

static void assert_secret(const csc_handover_values *values, const char *name, const void *bytes,
                          size_t size) {
    size_t found_size;
    const void *found = csc_handover_secret(values, name, &found_size);
    assert_non_null(found);
    assert_int_equal(found_size, size);
    assert_memory_equal(found, bytes, size);
}

static void values_are_found_by_their_names(void **state) {
    (void)state;
    csc_handover_values *values = new_values();
    uint64_t value = 7;
    size_t size = 7;
    assert_null(csc_handover_secret(values, "ticket", &size));
    assert_int_equal(size, 0);
    assert_null(csc_handover_counter(values, 0, &value));
    assert_int_equal(csc_handover_set_secret(values, "ticket", "a\0b", 3), 0);
    assert_int_equal(csc_handover_set_secret(values, "other", "", 0), 0);
    assert_secret(values, "ticket", "a\0b", 3);
    assert_secret(values, "other", "", 0);
    assert_string_equal(csc_handover_secret_name(values, 0), "ticket");
    assert_string_equal(csc_handover_secret_name(values, 1), "other");
    assert_null(csc_handover_secret_name(values, 2));
    assert_int_equal(csc_handover_set_secret(values, "ticket", "x", 1), 0);
    assert_secret(values, "ticket", "x", 1);
    assert_int_equal(csc_handover_set_counter(values, "accepted", UINT64_MAX), 0);
    assert_int_equal(csc_handover_set_counter(values, "served", 1), 0);
    assert_int_equal(csc_handover_set_counter(values, "accepted", 5), 0);
    assert_string_equal(csc_handover_counter(values, 0, &value), "accepted");
    assert_int_equal(value, 5);
    assert_string_equal(csc_handover_counter(values, 1, &value), "served");
    assert_int_equal(value, 1);
    assert_null(csc_handover_counter(values, 2, &value));
    csc_handover_values_free(values);
    csc_handover_values_free(NULL);
}

// Fills it; the names of the counters are as long as they may be.
static void fill(csc_handover_values *values) {
    uint8_t bytes[CSC_HANDOVER_LONGEST_SECRET];
    char name[CSC_HANDOVER_LONGEST_NAME + 1];
    for (int i = 0; i < CSC_HANDOVER_MOST_SECRETS; i++) {
        memset(bytes, i, sizeof bytes);
        snprintf(name, sizeof name, "%064d", i);
        assert_int_equal(csc_handover_set_secret(values, name, bytes, sizeof bytes), 0);
    }
    for (int i = 0; i < CSC_HANDOVER_MOST_COUNTERS; i++) {
        snprintf(name, sizeof name, "%064d", i);
        assert_int_equal(csc_handover_set_counter(values, name, UINT64_MAX - (unsigned)i), 0);
    }
}

static void what_has_no_room_is_refused(void **state) {
    (void)state;
    csc_handover_values *values = new_values();
    static const uint8_t bytes[CSC_HANDOVER_LONGEST_SECRET + 1];
    char longest[CSC_HANDOVER_LONGEST_NAME + 2];
    memset(longest, 'x', sizeof longest);
    longest[CSC_HANDOVER_LONGEST_NAME + 1] = '\0';
    assert_int_equal(csc_handover_set_secret(values, "", "a", 1), EINVAL);
    assert_int_equal(csc_handover_set_secret(values, longest, "a", 1), EINVAL);
    assert_int_equal(csc_handover_set_secret(values, "a", bytes, sizeof bytes), EINVAL);
    assert_int_equal(csc_handover_set_counter(values, "", 1), EINVAL);
    assert_int_equal(csc_handover_set_counter(values, longest, 1), EINVAL);
    fill(values);
    assert_int_equal(csc_handover_set_secret(values, "a", "a", 1), ENOSPC);
    assert_int_equal(csc_handover_set_counter(values, "a", 1), ENOSPC);
    csc_handover_values_free(values);
}

typedef struct offer {
    int control;
    const csc_handover_values *values;
    int errnum;
} offer;

static void *offer_values(void *context) {
    offer *it = context;
    const csc_handover_listener none = {0};
    it->errnum = csc_handover_offer(it->control, &none, 0, it->values);
    return NULL;
}

static void all_values_arrive(void **state) {
    fixture *it = *state;
    handover_pair both = handover_connect(it);
    csc_handover_values *sent = new_values();
    csc_handover_values *received = new_values();
    csc_inherited *set = csc_inherited_new();
    pthread_t thread;
    fill(sent);
    offer one = {both.predecessor, sent, -1};
    assert_int_equal(pthread_create(&thread, NULL, offer_values, &one), 0);
    assert_int_equal(csc_handover_receive(both.successor, set, received), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(one.errnum, 0);
    for (int i = 0; i < CSC_HANDOVER_MOST_SECRETS; i++) {
        uint8_t bytes[CSC_HANDOVER_LONGEST_SECRET];
        char name[CSC_HANDOVER_LONGEST_NAME + 1];
        memset(bytes, i, sizeof bytes);
        snprintf(name, sizeof name, "%064d", i);
        assert_secret(received, name, bytes, sizeof bytes);
    }
    for (size_t i = 0; i < CSC_HANDOVER_MOST_COUNTERS; i++) {
        uint64_t of_sent = 0;
        uint64_t of_received = 1;
        assert_string_equal(csc_handover_counter(received, i, &of_received),
                            csc_handover_counter(sent, i, &of_sent));
        assert_int_equal(of_received, of_sent);
    }
    // One that has no use for them.
    assert_int_equal(pthread_create(&thread, NULL, offer_values, &one), 0);
    assert_int_equal(csc_handover_receive(both.successor, set, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    csc_handover_values_free(sent);
    csc_handover_values_free(received);
    csc_inherited_free(set);
}

typedef struct wrong {
    const char *bytes;
    size_t size;
} wrong;

#define WRONG(text) {text, sizeof text - 1}

static const wrong wrong_values[] = {
    WRONG("TSK1\5\0\1\0\0"),                                // a secret without a name
    WRONG("TSK1\5\0\0\0"),                                  // not even a length
    WRONG("TSK1\5\0\2\0\2a"),                               // a part of a name
    WRONG("TSK1\5\0\2\0\1\0"),                              // a NUL
    WRONG("TSK1\4\0\1\0\0"),                                // half a count
    WRONG("TSK1\4\0\2\0\61\0"),                             // one counter too many
    WRONG("TSK1\4\0\12\0\1\0\1a\0\0\0\0\0\0"),              // half a value
    WRONG("TSK1\4\0\13\0\1\0\0\1\0\0\0\0\0\0\0"),           // no name
    WRONG("TSK1\4\0\2\0\1\0"),                              // no counter
    WRONG("TSK1\4\0\3\0\0\0x"),                             // more than it says
    WRONG("TSK1\6\0\20\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"), // what comes at the end
    WRONG("TSK1\3\0\0\0"),
};

static void what_is_no_value_is_refused(void **state) {
    fixture *it = *state;
    csc_inherited *set = csc_inherited_new();
    csc_handover_values *values = new_values();
    size_t size;
    for (size_t i = 0; i < sizeof wrong_values / sizeof wrong_values[0]; i++) {
        handover_pair both = handover_connect(it);
        handover_send_raw(both.predecessor, wrong_values[i].bytes, wrong_values[i].size, NULL, 0);
        assert_int_equal(csc_handover_receive(both.successor, set, values), EPROTO);
    }
    uint8_t too_long[8 + 2 + CSC_HANDOVER_LONGEST_SECRET + 1] = "TSK1\5\0\243\17\1a";
    handover_pair both = handover_connect(it);
    handover_send_raw(both.predecessor, too_long, sizeof too_long, NULL, 0);
    assert_int_equal(csc_handover_receive(both.successor, set, values), EPROTO);
    too_long[6] = 0xa2;
    both = handover_connect(it);
    handover_send_raw(both.predecessor, too_long, sizeof too_long - 1, NULL, 0);
    handover_send_raw(both.predecessor, "TSK1\4\0\2\0\0\0", 10, NULL, 0);
    handover_send_raw(both.predecessor, no_listeners, sizeof no_listeners - 1, NULL, 0);
    assert_int_equal(csc_handover_receive(both.successor, set, values), 0);
    assert_non_null(csc_handover_secret(values, "a", &size));
    assert_int_equal(size, CSC_HANDOVER_LONGEST_SECRET);
    csc_handover_values_free(values);
    csc_inherited_free(set);
}

static void more_values_than_there_may_be_are_refused(void **state) {
    fixture *it = *state;
    csc_inherited *set = csc_inherited_new();
    csc_handover_values *values = new_values();
    // The same ones again and again.
    handover_pair both = handover_connect(it);
    for (int i = 0; i <= CSC_HANDOVER_MOST_SECRETS + 1; i++) {
        handover_send_raw(both.predecessor, "TSK1\5\0\3\0\1ab", 11, NULL, 0);
    }
    assert_int_equal(csc_handover_receive(both.successor, set, values), EPROTO);
    // One too many.
    both = handover_connect(it);
    for (char name = 'a'; name <= 'a' + CSC_HANDOVER_MOST_SECRETS; name++) {
        char message[] = "TSK1\5\0\3\0\1ab";
        message[9] = name;
        handover_send_raw(both.predecessor, message, 11, NULL, 0);
    }
    assert_int_equal(csc_handover_receive(both.successor, set, values), EPROTO);
    csc_handover_values_free(values);
    csc_inherited_free(set);
}

static void a_successor_without_memory_says_so(void **state) {
    fixture *it = *state;
    if (!fault_counts_allocations()) {
        skip();
    }
    csc_inherited *set = csc_inherited_new();
    csc_handover_values *values = new_values();
    handover_pair both = handover_connect(it);
    handover_send_raw(both.predecessor, "TSK1\5\0\3\0\1ab", 11, NULL, 0);
    fault_fail_allocation(1, 1);
    assert_int_equal(csc_handover_receive(both.successor, set, values), ENOMEM);
    fault_fail_allocation(1, 1);
    assert_int_equal(csc_handover_set_secret(values, "b", "b", 1), ENOMEM);
    fault_fail_allocation(1, 1);
    assert_null(csc_handover_values_new());
    fault_clear();
    size_t size;
    assert_null(csc_handover_secret(values, "a", &size));
    assert_null(csc_handover_secret(values, "b", &size));
    csc_handover_values_free(values);
    csc_inherited_free(set);
}

static void sending_values_may_fail(void **state) {
    fixture *it = *state;
    csc_handover_values *values = new_values();
    assert_int_equal(csc_handover_set_secret(values, "a", "a", 1), 0);
    assert_int_equal(csc_handover_set_counter(values, "a", 1), 0);
    for (int nth = 1; nth <= 3; nth++) {
        handover_pair both = handover_connect(it);
        offer one = {both.predecessor, values, -1};
        handover_say_hello(both.successor);
        fault_fail(FAULT_SENDMSG, nth, 1, ENOBUFS);
        offer_values(&one);
        fault_clear();
        assert_int_equal(one.errnum, ENOBUFS);
    }
    csc_handover_values_free(values);
}

static void what_became_of_the_connections_is_said_at_the_end(void **state) {
    fixture *it = *state;
    handover_pair both = handover_connect(it);
    uint64_t served = 1;
    uint64_t cut = 2;
    assert_int_equal(csc_handover_wait_drained(both.successor, 0, &served, &cut), ETIMEDOUT);
    assert_int_equal(csc_handover_drained(both.predecessor, UINT64_MAX, 3), 0);
    assert_int_equal(csc_handover_wait_drained(both.successor, -1, &served, &cut), 0);
    assert_true(served == UINT64_MAX && cut == 3);
    handover_send_raw(both.predecessor, no_listeners, sizeof no_listeners - 1, NULL, 0);
    assert_int_equal(csc_handover_wait_drained(both.successor, -1, &served, &cut), EPROTO);
    handover_send_raw(both.predecessor, "TSK1\6\0\17\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0", 23, NULL, 0);
    assert_int_equal(csc_handover_wait_drained(both.successor, -1, &served, &cut), EPROTO);
    fixture_close(it, both.predecessor);
    assert_int_equal(csc_handover_wait_drained(both.successor, -1, &served, &cut), ECONNRESET);
    assert_true(served == UINT64_MAX && cut == 3);
    both = handover_connect(it);
    fixture_close(it, both.successor);
    assert_int_equal(csc_handover_drained(both.predecessor, 1, 1), EPIPE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        fact(values_are_found_by_their_names),
        fact(what_has_no_room_is_refused),
        fact(all_values_arrive),
        fact(what_is_no_value_is_refused),
        fact(more_values_than_there_may_be_are_refused),
        fact(a_successor_without_memory_says_so),
        fact(sending_values_may_fail),
        fact(what_became_of_the_connections_is_said_at_the_end),
    };
    return cmocka_run_group_tests_name("handover_values", tests, NULL, NULL);
}
