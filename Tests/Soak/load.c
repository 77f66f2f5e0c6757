// SPDX-License-Identifier: Apache-2.0

// The clients: a thousand at once, in the mix of those who behave and those who do not. Each knows
// what it must get back. See soak.h.

#include "soak.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    MOST_ACTIVE = 1024,
    MOST_BEGUN_IN_A_TURN = 64,
    MESSAGE = 16,
    BIG_MESSAGE = 128 * 1024,
    SOURCES = 64, // addresses, so that ports do not run out
    SILENT_MS = 50,
    BIG_MS = 30,
    HELD_MS = 500,
    HELD_BRIEFLY_MS = 100,
    MOST_SILENT = 64,
};

const char *const kind_names[KINDS] = {"normal", "reset early",  "reset after data", "half-closed",
                                       "silent", "byte by byte", "big and unread",   "held"};
static const int weights[KINDS] = {60, 10, 5, 5, 5, 5, 3, 2};

typedef enum state { FREE, CONNECTING, IDLE, READING } state;

typedef struct client {
    int descriptor;
    kind kind;
    state state;
    size_t received;
    uint64_t number;
    int64_t due; // when it acts by itself; for those that wait, when waiting is over
} client;

static client clients[MOST_ACTIVE];
static size_t free_places[MOST_ACTIVE];
static size_t free_count;
static load_totals totals;
static struct sockaddr_in server_name;
static int epoll;
static bool is_halved;
static uint64_t random_state;
static int64_t next_look;      // at those that are due
static int64_t longest_answer; // in milliseconds

static unsigned random_below(unsigned limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % limit;
}

void load_start(uint16_t port, unsigned seed, int64_t answer_seconds) {
    longest_answer = answer_seconds * 1000;
    random_state = 0x9e3779b97f4a7c15ULL ^ seed;
    server_name = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) {
        fail("no epoll: %s", strerror(errno));
    }
    for (size_t i = 0; i < MOST_ACTIVE; i++) {
        free_places[free_count++] = MOST_ACTIVE - 1 - i;
    }
}

const load_totals *load_totals_now(void) {
    return &totals;
}

bool load_begins(void) {
    return totals.begun < 2 * MOST_ACTIVE;
}

size_t load_active(void) {
    return MOST_ACTIVE - free_count;
}

static _Noreturn void fail_client(const client *it, const char *what) {
    fail("client %llu (%s) %s", (unsigned long long)it->number, kind_names[it->kind], what);
}

static void end(client *it, bool with_reset) {
    if (with_reset) {
        struct linger reset = {.l_onoff = 1};
        setsockopt(it->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    close(it->descriptor);
    it->state = FREE;
    free_places[free_count++] = (size_t)(it - clients);
}

static void watch(client *it, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = it};
    if (epoll_ctl(epoll, operation, it->descriptor, &event) != 0) {
        fail_client(it, strerror(errno));
    }
}

static void fill_message(const client *it, char message[MESSAGE + 1]) {
    snprintf(message, MESSAGE + 1, "%015llx\n", (unsigned long long)it->number);
}

static void send_part(const client *it, size_t begin, size_t length) {
    char message[MESSAGE + 1];
    fill_message(it, message);
    if (send(it->descriptor, message + begin, length, MSG_NOSIGNAL) != (ssize_t)length) {
        fail_client(it, "cannot send");
    }
}

static void await_answer(client *it) {
    it->state = READING;
    it->due = milliseconds() + longest_answer;
    watch(it, EPOLL_CTL_ADD, EPOLLIN);
}

static void stay_idle(client *it, int64_t duration) {
    it->state = IDLE;
    it->due = milliseconds() + duration;
}

static void send_big(const client *it) {
    static char bytes[BIG_MESSAGE];
    if (send(it->descriptor, bytes, sizeof bytes, MSG_NOSIGNAL) <= 0) {
        fail_client(it, "cannot send");
    }
}

static void on_established(client *it) {
    totals.established++;
    switch (it->kind) {
    case RESET_EARLY:
        end(it, true);
        break;
    case RESET_AFTER_DATA:
        send_part(it, 0, MESSAGE);
        if (it->number & 1) {
            end(it, true);
        } else {
            await_answer(it);
        }
        break;
    case SILENT:
        stay_idle(it, SILENT_MS);
        break;
    case BIG_UNREAD:
        send_big(it);
        stay_idle(it, BIG_MS);
        break;
    case HELD:
        stay_idle(it, is_halved ? HELD_BRIEFLY_MS : HELD_MS);
        break;
    default:
        send_part(it, 0, it->kind == BYTE_BY_BYTE ? 1 : MESSAGE);
        if (it->kind == HALF_CLOSE) {
            shutdown(it->descriptor, SHUT_WR);
        }
        await_answer(it);
    }
}

static int make_socket(uint64_t number) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    struct sockaddr_in own = {.sin_family = AF_INET,
                              .sin_addr.s_addr =
                                  htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number % SOURCES))};
    // The port is chosen by connect, which knows the whole pair.
    if (descriptor < 0 ||
        setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
        bind(descriptor, (struct sockaddr *)&own, sizeof own) != 0) {
        fail("no socket: %s", strerror(errno));
    }
    return descriptor;
}

// The second call says whether the first has succeeded meanwhile, as it has on loopback.
static bool is_connected(int descriptor) {
    const struct sockaddr *name = (const struct sockaddr *)&server_name;
    for (int call = 0; call < 2; call++) {
        if (connect(descriptor, name, sizeof server_name) == 0 || errno == EISCONN) {
            return true;
        }
        if (errno != EINPROGRESS && errno != EALREADY) {
            fail("cannot connect: %s", strerror(errno));
        }
    }
    return false;
}

void load_halve(void) {
    is_halved = true;
}

static kind choose_kind(bool server_accepts) {
    static const kind patient[] = {NORMAL, HALF_CLOSE, BYTE_BY_BYTE};
    if (is_halved) {
        return totals.begun % 2 == 0 ? HELD : RESET_EARLY;
    }
    if (totals.begun < MOST_ACTIVE) {
        return HELD; // so that the server holds as much as it ever will from the beginning
    }
    if (!server_accepts) {
        return patient[random_below(3)];
    }
    int rest = (int)random_below(95); // the sum of the weights
    kind chosen = NORMAL;
    while (rest >= weights[chosen]) {
        rest -= weights[chosen++];
    }
    return chosen;
}

static void begin(bool server_accepts) {
    client *it = &clients[free_places[--free_count]];
    *it = (client){.kind = choose_kind(server_accepts), .number = totals.begun++};
    totals.of_kind[it->kind]++;
    it->descriptor = make_socket(it->number);
    if (is_connected(it->descriptor)) {
        on_established(it);
    } else {
        it->state = CONNECTING;
        it->due = milliseconds() + longest_answer;
        watch(it, EPOLL_CTL_ADD, EPOLLOUT);
    }
}

static void finish_connecting(client *it) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(it->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        fail_client(it, strerror(error));
    }
    epoll_ctl(epoll, EPOLL_CTL_DEL, it->descriptor, NULL);
    on_established(it);
}

static void on_end(client *it) {
    if (it->kind != HALF_CLOSE || it->received != MESSAGE) {
        fail_client(it, "was closed by the server");
    }
    end(it, false);
}

static void receive(client *it) {
    char expected[MESSAGE + 1];
    char bytes[MESSAGE + 1];
    ssize_t count = recv(it->descriptor, bytes, sizeof bytes, 0);
    if (count < 0 && errno == EAGAIN) {
        return;
    }
    if (count < 0) {
        fail_client(it, strerror(errno));
    }
    if (count == 0) {
        on_end(it);
        return;
    }
    fill_message(it, expected);
    size_t received = it->received + (size_t)count;
    if (received > MESSAGE || memcmp(bytes, expected + it->received, (size_t)count) != 0) {
        fail_client(it, "got what is not its own");
    }
    it->received = received;
    if (it->kind == BYTE_BY_BYTE && received < MESSAGE) {
        send_part(it, received, 1);
        it->due = milliseconds() + longest_answer; // each byte is answered by itself
    } else if (received == MESSAGE && it->kind != HALF_CLOSE) {
        end(it, it->kind == RESET_AFTER_DATA);
    }
}

static void act_when_due(client *it) {
    if (it->state != IDLE) {
        fail_client(it, "got no answer");
    }
    if (it->kind == HELD) {
        send_part(it, 0, MESSAGE);
        await_answer(it);
    } else {
        end(it, it->kind == SILENT && (it->number & 1));
    }
}

static void look_at_due(void) {
    int64_t now = milliseconds();
    if (now < next_look) {
        return;
    }
    next_look = now + 5;
    for (size_t i = 0; i < MOST_ACTIVE; i++) {
        if (clients[i].state != FREE && clients[i].due <= now) {
            act_when_due(&clients[i]);
        }
    }
}

void load_turn(uint64_t most, bool server_accepts) {
    struct epoll_event events[256];
    for (int i = 0; i < MOST_BEGUN_IN_A_TURN && free_count > 0 && totals.begun < most; i++) {
        begin(server_accepts);
    }
    bool has_room = free_count > 0 && totals.begun < most;
    int count = epoll_wait(epoll, events, 256, has_room ? 0 : 5);
    for (int i = 0; i < count; i++) {
        client *it = events[i].data.ptr;
        (it->state == CONNECTING ? finish_connecting : receive)(it);
    }
    look_at_due();
}

static int silent[MOST_SILENT];
static size_t silent_count;

void load_connect_silent(size_t count) {
    while (silent_count < count && silent_count < MOST_SILENT) {
        int descriptor = make_socket(totals.begun++);
        while (!is_connected(descriptor)) {
        }
        totals.established++;
        silent[silent_count++] = descriptor;
    }
}

void load_await_ends(void) {
    while (silent_count > 0) {
        int descriptor = silent[--silent_count];
        int64_t deadline = milliseconds() + longest_answer;
        char byte;
        ssize_t count;
        do {
            count = recv(descriptor, &byte, 1, 0);
            if (milliseconds() > deadline) {
                fail("a connection that was to be discarded is still open");
            }
        } while (count < 0 && errno == EAGAIN);
        if (count > 0) {
            fail("a connection that was to be discarded brought something");
        }
        close(descriptor);
    }
}
