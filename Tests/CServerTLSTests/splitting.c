// SPDX-License-Identifier: Apache-2.0

// A handshake and records that arrive in two parts, cut at every position: the first part gives no
// error and no byte too many, and after the second one all goes on.

#include "pair.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Between the two sides: what one sends is passed on up to a position of its stream, and the rest
// when neither side can go on.
typedef struct relay {
    int ends[2]; // beside the server, beside the client
    size_t passed[2];
    size_t position;
    int cut; // whose stream is cut: 0 the server's, 1 the client's
} relay;

static relay between(pair *it) {
    relay made = {.passed = {0, 0}};
    pair_connect(it);
    csc_tls_free(it->server);
    csc_tls_free(it->client);
    close(it->descriptors[0]);
    close(it->descriptors[1]);
    for (int side = 0; side < 2; side++) {
        int both[2];
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
        it->descriptors[side] = both[0];
        made.ends[side] = both[1];
    }
    it->server = csc_tls_new_server(it->server_context, it->descriptors[0], it);
    it->client = csc_tls_new_client(it->client_context, it->descriptors[1], it->server_name, it);
    must(it->server && it->client);
    return made;
}

static void end_relay(relay *one) {
    close(one->ends[0]);
    close(one->ends[1]);
}

// Passes on what one side has sent, as far as that is allowed. False where nothing was.
static bool pass(relay *one, int side, bool is_all) {
    char bytes[65536];
    size_t most = sizeof bytes;
    if (side == one->cut && !is_all) {
        most = one->position > one->passed[side] ? one->position - one->passed[side] : 0;
        most = most < sizeof bytes ? most : sizeof bytes;
    }
    ssize_t count = most > 0 ? recv(one->ends[side], bytes, most, MSG_DONTWAIT) : 0;
    if (count <= 0) {
        return false;
    }
    must(send(one->ends[1 - side], bytes, (size_t)count, 0) == count);
    one->passed[side] += (size_t)count;
    return true;
}

static bool pass_both(relay *one, bool is_all) {
    bool is_passed = pass(one, 0, is_all);
    return pass(one, 1, is_all) || is_passed;
}

static pair_results handshake_through(pair *it, relay *one) {
    pair_results results = {CSC_TLS_WANT_READ, CSC_TLS_WANT_READ};
    bool goes_on = true;
    for (int steps = 0; steps < 50 && goes_on; steps++) {
        results.client = csc_tls_handshake(it->client);
        results.server = csc_tls_handshake(it->server);
        assert_true(results.client <= CSC_TLS_WANT_READ && results.server <= CSC_TLS_WANT_READ);
        goes_on = pass_both(one, false) || pass_both(one, true);
    }
    return results;
}

static void check_handshake(pair *it, int cut) {
    size_t stride = under_valgrind() ? 97 : 1;
    size_t length = 1;
    for (size_t position = 1; position <= length; position += stride) {
        relay one = between(it);
        one.cut = cut;
        one.position = position;
        pair_results results = handshake_through(it, &one);
        assert_int_equal(results.server, CSC_TLS_DONE);
        assert_int_equal(results.client, CSC_TLS_DONE);
        length = one.passed[cut];
        end_relay(&one);
    }
    assert_true(length > 300);
}

static void a_handshake_may_be_cut_at_every_position(void **state) {
    (void)state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        pair *it = pair_new();
        it->server_settings.maximum_version = version;
        check_handshake(it, 0);
        check_handshake(it, 1);
        pair_free(it);
    }
}

static const char *const texts[] = {"a", "a second record",
                                    "and a third one, which is the longest"};

static void send_records(csc_tls *tls) {
    for (int index = 0; index < 3; index++) {
        assert_writes(tls, texts[index]);
    }
}

static void read_records(csc_tls *tls, int descriptor, const char *bytes, size_t size,
                         size_t position) {
    int next = 0;
    char buffer[100];
    size_t count;
    for (int part = 0; part < 2; part++) {
        size_t first = part == 0 ? 0 : position;
        size_t length = part == 0 ? position : size - position;
        must(send(descriptor, bytes + first, length, 0) == (ssize_t)length);
        csc_tls_result result;
        while ((result = csc_tls_read(tls, buffer, sizeof buffer, &count)) == CSC_TLS_DONE) {
            assert_true(next < 3);
            assert_int_equal(count, strlen(texts[next]));
            assert_memory_equal(buffer, texts[next], count);
            next++;
        }
        assert_int_equal(result, CSC_TLS_WANT_READ);
        assert_false(csc_tls_has_buffered_input(tls));
    }
    assert_int_equal(next, 3);
}

static void three_records_may_be_cut_at_every_position(void **state) {
    (void)state;
    for (csc_tls_version version = CSC_TLS_VERSION_1_2; version <= CSC_TLS_VERSION_1_3; version++) {
        pair *it = pair_new();
        it->server_settings.maximum_version = version;
        pair_handshake(it);
        pair_exchange(it->server, it->client, 10);
        size_t size = 2;
        for (size_t position = 1; position < size; position++) {
            char bytes[1000];
            send_records(it->client);
            ssize_t length = recv(it->descriptors[0], bytes, sizeof bytes, 0);
            must(length > 0);
            size = (size_t)length;
            read_records(it->server, it->descriptors[1], bytes, size, position);
        }
        assert_true(size > 100);
        pair_free(it);
    }
}

static void bytes_may_come_one_by_one(void **state) {
    (void)state;
    pair *it = pair_new();
    fault_shorten(FAULT_RECV, 1, -1, 1);
    fault_shorten(FAULT_SEND, 1, -1, 1);
    pair_connect(it);
    pair_results results = {CSC_TLS_WANT_READ, CSC_TLS_WANT_READ};
    for (int steps = 0; steps < 20000 && (results.server || results.client); steps++) {
        results.client = csc_tls_handshake(it->client);
        results.server = csc_tls_handshake(it->server);
    }
    assert_int_equal(results.server, CSC_TLS_DONE);
    assert_int_equal(results.client, CSC_TLS_DONE);
    pair_exchange(it->client, it->server, 1000);
    pair_exchange(it->server, it->client, 1000);
    fault_clear();
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake_may_be_cut_at_every_position),
        cmocka_unit_test(three_records_may_be_cut_at_every_position),
        cmocka_unit_test(bytes_may_come_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
