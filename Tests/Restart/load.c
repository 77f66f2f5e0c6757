// SPDX-License-Identifier: Apache-2.0

// Clients for servers that are being restarted: so many new connections a second, each with one
// request, and some that are held and ask again and again. Counts what became of each.
//
//     restart_load ADDRESS PORT FIRST-SOURCE CONNECTS-A-SECOND HELD echo|http
//
// They come from many addresses, FIRST-SOURCE and those after it.
//
// A line on the standard input begins a phase with figures of its own. At the end of the input the
// clients end, and a JSON object a phase is printed, with an object for the held ones after them.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_CLIENTS = 16000,
    MOST_PHASES = 8,
    MOST_EVENTS = 512,
    MOST_AT_ONCE = 64, // begun before the answers of others are read
    LONGEST_ANSWER = 1024,
    MOST_LATE_MSEC = 100,      // that a client begins after it was due
    PATIENCE_MSEC = 10000,     // for a connection, and for an answer
    LONGEST_PAUSE_MSEC = 2000, // of a held client between two requests
    LONGEST_LIFE_MSEC = 2000,  // of a held client, until it ends in order and connects again
    SOURCES = 200              // addresses, because an address has 65,535 ports
};

// What may become of a connection; each is a counter.
typedef enum result {
    ANSWERED, // requests: one for a new connection, many for a held one
    REFUSED,
    RESET,
    TIMED_OUT,
    // Ended in order, but after a request and before its answer. For a held client the two may have
    // crossed: then it has to ask again on another connection, as with any server.
    UNANSWERED,
    BROKEN, // failed in another way
    ENDED_BY_SERVER,
    ENDED_BY_CLIENT,
    RESULTS
} result;

static const char *const result_names[RESULTS] = {
    "answered",   "refused", "reset",           "timed_out",
    "unanswered", "broken",  "ended_by_server", "ended_by_client",
};

typedef struct figures {
    uint64_t begun;
    uint64_t results[RESULTS];
    uint32_t *microseconds; // of each answered connection, from when it was due
    size_t room;
} figures;

typedef enum state { UNUSED, CONNECTING, AWAITING, PAUSING, ENDING } state;

typedef struct client {
    state state;
    int descriptor;
    bool is_held;
    figures *figures;
    int64_t due;      // when it was to connect, in nanoseconds
    int64_t deadline; // of what it waits for; of a pause its end
    int64_t end;      // of a held client's life
    size_t received;
    char answer[LONGEST_ANSWER];
} client;

static client *clients; // the held ones first
static size_t held_count;
static size_t *unused; // a stack of the others
static size_t unused_count;
static figures phases[MOST_PHASES];
static figures held_figures;
static figures *phase = phases;
static struct sockaddr_in server;
static uint32_t first_source;
static bool is_http;
static bool is_ending;
static int epoll;

static const char one_request[] = "GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
static const char held_request[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
static const char echoed[] = "Who is there?\r\n";

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int64_t milliseconds(int64_t count) {
    return count * 1000000;
}

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static void record_time(figures *to, int64_t nanoseconds) {
    size_t count = to->results[ANSWERED];
    if (count == to->room) {
        to->room = to->room > 0 ? 2 * to->room : 65536;
        to->microseconds = realloc(to->microseconds, to->room * sizeof *to->microseconds);
        if (!to->microseconds) {
            fail("realloc");
        }
    }
    to->microseconds[count] = (uint32_t)(nanoseconds / 1000);
}

static void let_go(client *it) {
    close(it->descriptor);
    it->state = UNUSED;
    if (!it->is_held) {
        unused[unused_count++] = (size_t)(it - clients);
    }
}

static void end(client *it, result what) {
    it->figures->results[what]++;
    let_go(it);
}

static result result_of(int errnum) {
    return errnum == ECONNREFUSED                    ? REFUSED
           : errnum == ECONNRESET || errnum == EPIPE ? RESET
                                                     : BROKEN;
}

static void ask(client *it) {
    const char *request = !is_http ? echoed : it->is_held ? held_request : one_request;
    it->received = 0;
    it->state = AWAITING;
    it->deadline = now() + milliseconds(PATIENCE_MSEC);
    // A request fits into any send buffer.
    if (send(it->descriptor, request, strlen(request), MSG_NOSIGNAL) < 0) {
        end(it, result_of(errno));
    }
}

// Ends it in order, and waits for the server's end.
static void say_end(client *it) {
    shutdown(it->descriptor, SHUT_WR);
    it->state = ENDING;
    it->deadline = now() + milliseconds(PATIENCE_MSEC);
}

static bool has_whole_answer(client *it) {
    it->answer[it->received] = '\0';
    if (!is_http) {
        return strcmp(it->answer, echoed) == 0;
    }
    const char *head_end = strstr(it->answer, "\r\n\r\n");
    const char *length = strcasestr(it->answer, "\r\ncontent-length:");
    return head_end && length && strncmp(it->answer, "HTTP/1.1 200", 12) == 0 &&
           head_end + 4 + strtoul(length + 17, NULL, 10) == it->answer + it->received;
}

static void take_answer(client *it) {
    if (!it->is_held) {
        record_time(it->figures, now() - it->due);
    }
    it->figures->results[ANSWERED]++;
    bool is_last = is_http && strcasestr(it->answer, "\r\nconnection: close");
    if (!it->is_held || is_last || is_ending || now() >= it->end) {
        if (it->is_held) {
            it->figures->results[is_last ? ENDED_BY_SERVER : ENDED_BY_CLIENT]++;
        }
        say_end(it);
    } else {
        it->state = PAUSING;
        it->deadline = now() + milliseconds(rand() % LONGEST_PAUSE_MSEC);
    }
}

static void read_all(client *it) {
    while (it->state >= AWAITING) {
        ssize_t count = recv(it->descriptor, it->answer + it->received,
                             sizeof it->answer - 1 - it->received, 0);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (count < 0) {
            end(it, result_of(errno));
        } else if (it->state == ENDING && count == 0) {
            let_go(it);
        } else if (count == 0) {
            end(it, it->state == PAUSING ? ENDED_BY_SERVER : UNANSWERED);
        } else if (it->state != AWAITING) {
            end(it, BROKEN); // more than it has asked for
        } else {
            it->received += (size_t)count;
            if (has_whole_answer(it)) {
                take_answer(it);
            }
        }
    }
}

static void go_on(client *it, uint32_t events) {
    if (it->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        int errnum = 0;
        socklen_t length = sizeof errnum;
        getsockopt(it->descriptor, SOL_SOCKET, SO_ERROR, &errnum, &length);
        if (errnum != 0) {
            end(it, result_of(errnum));
        } else {
            ask(it);
        }
    }
    read_all(it);
}

static void begin(client *it, figures *to, int64_t due) {
    static uint32_t source;
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(first_source + source++ % SOURCES);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = it};
    it->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    it->figures = to;
    it->due = due;
    it->state = CONNECTING;
    it->deadline = due + milliseconds(PATIENCE_MSEC);
    it->end = due + milliseconds(rand() % LONGEST_LIFE_MSEC);
    if (it->descriptor < 0) {
        fail("socket");
    }
    setsockopt(it->descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    if (bind(it->descriptor, (struct sockaddr *)&own, sizeof own) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, it->descriptor, &event) != 0) {
        fail("bind, epoll_ctl");
    }
    to->begun++;
    if (connect(it->descriptor, (struct sockaddr *)&server, sizeof server) != 0 &&
        errno != EINPROGRESS) {
        end(it, result_of(errno));
    }
}

// Returns whether any of these connections is left.
static bool look_at_clocks(size_t first, size_t past) {
    int64_t time = now();
    bool is_any = false;
    for (size_t i = first; i < past; i++) {
        client *it = &clients[i];
        is_any = is_any || it->state != UNUSED;
        if (it->state == UNUSED) {
            if (i < held_count && !is_ending) {
                begin(it, &held_figures, time);
            }
        } else if (it->state == PAUSING && (time >= it->end || is_ending)) {
            it->figures->results[ENDED_BY_CLIENT]++;
            say_end(it);
        } else if (it->state == PAUSING && time >= it->deadline) {
            // As clients that keep connections do: one that has ended meanwhile is not used again.
            read_all(it);
            if (it->state == PAUSING) {
                ask(it);
            }
        } else if (time >= it->deadline) {
            end(it, TIMED_OUT);
        }
    }
    return is_any;
}

static void wait_for_events(int msec) {
    struct epoll_event events[MOST_EVENTS];
    int count = epoll_wait(epoll, events, MOST_EVENTS, msec);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            go_on(events[i].data.ptr, events[i].events);
        }
    }
}

static void look_at_input(void) {
    char bytes[64];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count == 0) {
        is_ending = true;
    } else if (count > 0 && phase < phases + MOST_PHASES - 1) {
        phase++;
    }
}

static int by_size(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one;
    uint32_t b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static void print(figures *it) {
    size_t count = it->microseconds ? it->results[ANSWERED] : 0;
    printf("{\"begun\": %llu", (unsigned long long)it->begun);
    for (int i = 0; i < RESULTS; i++) {
        printf(", \"%s\": %llu", result_names[i], (unsigned long long)it->results[i]);
    }
    if (count > 0) {
        qsort(it->microseconds, count, sizeof *it->microseconds, by_size);
        printf(", \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u", it->microseconds[count / 2],
               it->microseconds[count * 99 / 100], it->microseconds[count - 1]);
    }
    printf("}\n");
}

static void run(double rate) {
    int64_t held_clocks = 0;
    int64_t other_clocks = 0;
    int64_t due = now();
    bool is_any_held = true;
    bool is_any_other = true;
    while (!is_ending || is_any_held || is_any_other) {
        int64_t time = now();
        // What the machine was too slow for is left out, not done at once.
        due = due < time - milliseconds(MOST_LATE_MSEC) ? time - milliseconds(MOST_LATE_MSEC) : due;
        for (int i = 0; i < MOST_AT_ONCE && !is_ending && unused_count > 0 && due <= time; i++) {
            begin(&clients[unused[--unused_count]], phase, due);
            due += (int64_t)(1e9 / rate);
        }
        wait_for_events(1);
        look_at_input();
        if (now() - held_clocks >= milliseconds(5)) {
            held_clocks = now();
            is_any_held = look_at_clocks(0, held_count);
        }
        if (now() - other_clocks >= milliseconds(200)) {
            other_clocks = now();
            is_any_other = look_at_clocks(held_count, MOST_CLIENTS);
        }
    }
}

int main(int count, char **arguments) {
    struct in_addr address;
    struct in_addr source;
    if (count != 7 || inet_pton(AF_INET, arguments[1], &address) != 1 ||
        inet_pton(AF_INET, arguments[3], &source) != 1) {
        fprintf(stderr,
                "restart_load ADDRESS PORT FIRST-SOURCE CONNECTS-A-SECOND HELD echo|http\n");
        return 2;
    }
    first_source = ntohl(source.s_addr);
    struct rlimit limit = {.rlim_cur = MOST_CLIENTS + 64, .rlim_max = MOST_CLIENTS + 64};
    setrlimit(RLIMIT_NOFILE, &limit);
    server = (struct sockaddr_in){.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(arguments[2])),
                                  .sin_addr = address};
    held_count = strtoul(arguments[5], NULL, 10);
    is_http = strcmp(arguments[6], "http") == 0;
    clients = calloc(MOST_CLIENTS, sizeof *clients);
    unused = calloc(MOST_CLIENTS, sizeof *unused);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !unused || epoll < 0 || held_count > MOST_CLIENTS / 2 ||
        fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) != 0) {
        fail("start");
    }
    for (size_t i = 0; i < MOST_CLIENTS; i++) {
        clients[i].is_held = i < held_count;
        if (i >= held_count) {
            unused[unused_count++] = i;
        }
    }
    run(strtod(arguments[4], NULL));
    for (figures *it = phases; it <= phase; it++) {
        print(it);
    }
    print(&held_figures);
    return 0;
}
