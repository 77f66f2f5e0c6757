// SPDX-License-Identifier: Apache-2.0

// Any call from any callback, as a table: every operation (operations.c) in every place a program
// can be called from, a test of its own each. The sanitizers judge the memory, the fixture the
// descriptors and the counters; whether the server listens afterwards, and serves the next client,
// is asserted here.

#include "operations.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 8, TURNS = 8 };

// What leads to the callback.
typedef enum way { BY_LOOP, BY_WAIT, BY_WAIT_WITHOUT_BASE, BY_FINISH, BY_RESUME, WAYS } way;

static const char *const way_names[] = {"the loop", "a wait", "a wait without a loop", "finish",
                                        "resume"};

typedef enum place {
    NEW_CONNECTION,
    INCOMING,
    RESOURCE_ERROR,
    STRICT_ERROR,
    SHUT_DOWN_ERROR,  // the listening socket was shut down
    CLOSED_ERROR,     // its descriptor was closed by others, which the check notices
    WAIT_IN_NEW,      // a new connection callback waits; the one of the wait operates
    WAIT_IN_INCOMING, // the same with the incoming callback
    ERROR_IN_WAIT,    // an accept error in a wait in a new connection callback
    OTHER_SERVER,     // the new connection callback of another server of the loop
    JOB,              // an event of the program's
    ADMISSION,
    REFUSING_ADMISSION, // the callback that operates refuses the client, or resets the connection
    RESETTING_ADMISSION,
    DEEP_ADMISSION, // an admission within a wait within an admission
    SOCKET_MADE,    // between socket(2) and bind(2) of another server of the loop
    REJECTED,
    PLACES
} place;

static const struct {
    const char *name;
    bool connects; // clients come; otherwise the listening socket is broken
    bool is_deep;  // operates in the second callback on the stack
    unsigned ways; // by which it can be reached
} places[] = {
    [NEW_CONNECTION] = {"new connection", true, false,
                        1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [INCOMING] = {"incoming connection", true, false,
                  1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [RESOURCE_ERROR] = {"accept error", true, false,
                        1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH |
                            1 << BY_RESUME},
    [STRICT_ERROR] = {"accept error, strict", true, false,
                      1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_RESUME},
    [SHUT_DOWN_ERROR] = {"accept error, shut down", false, false,
                         1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [CLOSED_ERROR] = {"accept error, closed", false, false,
                      1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE},
    [WAIT_IN_NEW] = {"new connection in a wait", true, true,
                     1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [WAIT_IN_INCOMING] = {"incoming connection in a wait", true, true,
                          1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [ERROR_IN_WAIT] = {"accept error in a wait", true, true,
                       1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [OTHER_SERVER] = {"another server", true, false, 1 << BY_LOOP},
    [JOB] = {"an event", true, false, 1 << BY_LOOP},
    [ADMISSION] = {"admission", true, false,
                   1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [REFUSING_ADMISSION] = {"refusing admission", true, false,
                            1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE |
                                1 << BY_FINISH},
    [RESETTING_ADMISSION] = {"resetting admission", true, false,
                             1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE |
                                 1 << BY_FINISH},
    [DEEP_ADMISSION] = {"admission in a wait", true, true,
                        1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
    [SOCKET_MADE] = {"socket of another server", true, false,
                     1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE},
    [REJECTED] = {"rejected", true, false,
                  1 << BY_LOOP | 1 << BY_WAIT | 1 << BY_WAIT_WITHOUT_BASE | 1 << BY_FINISH},
};

typedef struct cell {
    char name[128];
    place place;
    way way;
    const operation *operation;
    bool always; // operates in each callback, not in the first only
} cell;

typedef struct stage {
    scene scene;
    const cell *cell;
    csc_server *other;
    int calls;
    int depth;
    bool gone; // the operation has freed the server
    bool anew; // it listens on another socket since
} stage;

// Nothing is reported of a server that was freed.
static void operate(stage *now) {
    assert_false(now->gone && now->cell->place != OTHER_SERVER);
    if ((now->calls++ > 0 && !now->cell->always) || now->gone) {
        return;
    }
    csc_server *server = now->scene.it->server;
    bool listened = csc_server_is_listening(server);
    now->cell->operation->perform(&now->scene, server);
    if (now->cell->operation->frees) {
        now->gone = true;
        now->scene.it->server = NULL;
        return;
    }
    bool listens_anew = now->cell->operation->listens_anew && !now->scene.does_not_listen_anew;
    now->anew = now->anew || listens_anew || (!listened && csc_server_is_listening(server));
}

// True when this callback is the one to operate in.
static bool is_here(stage *now, csc_server *server) {
    if (!places[now->cell->place].is_deep || now->depth > 0) {
        return true;
    }
    now->depth++;
    operations_take_all(&now->scene, server);
    csc_server_wait(server, 0, NULL);
    now->depth--;
    return false;
}

static void on_new_connection(csc_server *server, void *context) {
    stage *now = context;
    place place = now->cell->place;
    assert_false(now->gone);
    if (place == NEW_CONNECTION || place == WAIT_IN_NEW) {
        if (is_here(now, server)) {
            operate(now);
        }
    } else if (place == ERROR_IN_WAIT && now->calls == 0 && now->depth == 0) {
        fault_fail(FAULT_ACCEPT4, 2, 1, EMFILE);
        is_here(now, server);
    }
}

static void on_incoming(csc_server *server, const csc_connection *connection, void *context) {
    stage *now = context;
    fixture_own(now->scene.it, connection->descriptor);
    now->scene.connection = connection;
    if (is_here(now, server)) {
        operate(now);
    }
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    (void)server;
    (void)error;
    operate(context);
}

static csc_admission on_admission(csc_server *server, const csc_address *peer, void *context) {
    stage *now = context;
    assert_false(now->gone);
    assert_int_equal(peer->family, CSC_FAMILY_IPV4);
    switch (now->cell->place) {
    case ADMISSION:
        operate(now);
        return CSC_ADMIT;
    case REFUSING_ADMISSION:
        operate(now);
        return CSC_CLOSE;
    case RESETTING_ADMISSION:
        operate(now);
        return CSC_RESET;
    case DEEP_ADMISSION:
        if (is_here(now, server)) {
            operate(now);
        }
        return CSC_ADMIT;
    default:
        break;
    }
    return now->calls == 0 || now->cell->always ? CSC_CLOSE : CSC_ADMIT;
}

static void on_rejected(csc_server *server, const csc_rejection *rejection, void *context) {
    stage *now = context;
    (void)server;
    assert_false(now->gone);
    assert_int_equal(rejection->local.family, CSC_FAMILY_IPV4);
    if (now->cell->place == REJECTED) {
        operate(now);
    }
}

static void on_other_connection(csc_server *server, void *context) {
    (void)server;
    operate(context);
}

static int on_socket(csc_server *server, int descriptor, void *context) {
    (void)server, (void)descriptor;
    operate(context);
    return 0;
}

static void on_event(evutil_socket_t descriptor, short events, void *context) {
    (void)descriptor;
    (void)events;
    operate(context);
}

static void connect_callbacks(stage *now) {
    csc_server *server = now->scene.it->server;
    place place = now->cell->place;
    csc_server_on_new_connection(server, on_new_connection, now);
    csc_server_on_accept_error(server, on_accept_error, now);
    if (place == INCOMING || place == WAIT_IN_INCOMING) {
        csc_server_on_incoming_connection(server, on_incoming, now);
    }
    if (place >= ADMISSION && place != SOCKET_MADE) {
        csc_server_on_admission(server, on_admission, now);
        csc_server_on_rejected(server, on_rejected, now);
    }
}

// What has to be so for the callback to come.
static void prepare(stage *now) {
    fixture *it = now->scene.it;
    struct timeval now_due = {0};
    csc_address address;
    switch (now->cell->place) {
    case STRICT_ERROR:
    case RESOURCE_ERROR:
        csc_server_set_overload_policy(
            it->server, now->cell->place == STRICT_ERROR ? CSC_OVERLOAD_STRICT : CSC_OVERLOAD_WAIT);
        if (now->cell->way == BY_RESUME) {
            csc_server_pause(it->server);
            fixture_run_ready(it); // clients wait, so that the loop gives the socket up
            fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOMEM);
        } else {
            fault_fail(FAULT_ACCEPT4, 3, 1, EMFILE);
        }
        break;
    case SHUT_DOWN_ERROR:
        assert_int_equal(shutdown(csc_server_descriptor(it->server), SHUT_RDWR), 0);
        break;
    case CLOSED_ERROR:
        assert_int_equal(close(csc_server_descriptor(it->server)), 0);
        fault_advance_clock(1000);
        break;
    case OTHER_SERVER:
        now->other = csc_server_new(it->base);
        address = address_of(own_loopback(), 0);
        assert_true(csc_server_listen(now->other, &address));
        csc_server_on_new_connection(now->other, on_other_connection, now);
        address = csc_server_address(now->other);
        fixture_own(it, connect_to(&address));
        break;
    case SOCKET_MADE:
        now->other = csc_server_new(it->base);
        address = address_of(own_loopback(), 0);
        csc_server_on_socket(now->other, on_socket, now);
        assert_true(csc_server_listen(now->other, &address));
        break;
    case JOB:
        assert_int_equal(event_base_once(it->base, -1, EV_TIMEOUT, on_event, now, &now_due), 0);
        break;
    default:
        break;
    }
}

static void go_the_way(stage *now) {
    fixture *it = now->scene.it;
    if (now->cell->way == BY_FINISH) {
        csc_server_finish(it->server);
    } else if (now->cell->way == BY_RESUME) {
        csc_server_resume(it->server);
    }
    for (int turn = 0; turn < TURNS && !now->gone; turn++) {
        if (now->cell->way == BY_LOOP || now->cell->way == BY_RESUME) {
            fixture_run_ready(it);
        } else {
            csc_server_wait(it->server, 0, NULL);
        }
        fault_advance_clock(1000);
    }
    assert_true(now->calls >= 1);
    fault_clear();
}

static bool should_listen(const stage *now) {
    const operation *operation = now->cell->operation;
    bool started = now->anew && !operation->stops;
    bool kept = places[now->cell->place].connects && now->cell->way != BY_FINISH;
    return started || (kept && !operation->stops);
}

// Accepts until so many have been, taking them, and not one more.
static void accept_up_to(stage *now, uint64_t count) {
    fixture *it = now->scene.it;
    uint64_t before;
    do {
        before = fixture_statistics(it).accepted;
        if (it->base) {
            fixture_run_ready(it);
        } else {
            csc_server_wait(it->server, 0, NULL);
        }
        operations_take_all(&now->scene, it->server);
    } while (fixture_statistics(it).accepted > before);
    assert_int_equal(before, count);
}

// Whatever was stopped goes on when it is asked to, and everybody is served once.
static void serve_on(stage *now) {
    fixture *it = now->scene.it;
    fixture_assert_balance(it);
    assert_int_equal(csc_server_is_listening(it->server), should_listen(now));
    csc_server_on_new_connection(it->server, NULL, NULL);
    csc_server_on_incoming_connection(it->server, NULL, NULL);
    csc_server_on_accept_error(it->server, NULL, NULL);
    csc_server_on_admission(it->server, NULL, NULL);
    csc_server_on_rejected(it->server, NULL, NULL);
    csc_server_set_max_connections(it->server, -1, CSC_EXCESS_WAIT);
    csc_server_set_descriptor_reserve(it->server, 0);
    csc_server_set_max_pending(it->server, 1000);
    csc_server_set_accept_batch(it->server, 64);
    csc_server_resume(it->server);
    operations_take_all(&now->scene, it->server);
    csc_server_wait(it->server, 0, NULL); // takes up a wake-up that no wait was there for
    operations_take_all(&now->scene, it->server);
    if (csc_server_is_listening(it->server)) {
        uint64_t waiting = fixture_statistics(it).accept_queue;
        uint64_t accepted = fixture_statistics(it).accepted;
        accept_up_to(now,
                     now->anew ? accepted + waiting : (uint64_t)(CLIENTS + now->scene.strangers));
        accepted = fixture_statistics(it).accepted;
        fixture_connect(it);
        accept_up_to(now, accepted + 1);
    }
    fixture_assert_balance(it);
    operations_take_all(&now->scene, it->server);
    fixture_free_server(it);
}

static void play(void **state) {
    stage *now = *state;
    fixture *it = now->scene.it;
    csc_server_set_max_pending(it->server, 5);
    connect_callbacks(now);
    fixture_listen(it);
    if (places[now->cell->place].connects) {
        fixture_connect_many(it, CLIENTS);
    }
    prepare(now);
    go_the_way(now);
    if (it->server) {
        serve_on(now);
    }
}

static int set_up(void **state) {
    const cell *cell = *state;
    stage *now = calloc(1, sizeof *now);
    assert_non_null(now);
    void *fixture = NULL;
    bool with_base = cell->way != BY_WAIT_WITHOUT_BASE;
    (with_base ? fixture_setup : fixture_setup_without_base)(&fixture);
    now->cell = cell;
    now->scene = (scene){.it = fixture};
    *state = now;
    return 0;
}

static int tear_down(void **state) {
    stage *now = *state;
    void *fixture = now->scene.it;
    csc_server_free(now->other);
    free(now);
    return fixture_teardown(&fixture);
}

int main(void) {
    const size_t most = (size_t)PLACES * (size_t)WAYS * 2;
    size_t operations_count = 0;
    while (operations[operations_count].name) {
        operations_count++;
    }
    cell *cells = calloc(most * operations_count, sizeof *cells);
    struct CMUnitTest *tests = calloc(most * operations_count, sizeof *tests);
    size_t count = 0;
    for (int place = 0; cells && tests && place < PLACES; place++) {
        for (int way = 0; way < WAYS; way++) {
            if (!(places[place].ways & 1U << way)) {
                continue;
            }
            for (size_t i = 0; i < operations_count * 2; i++) {
                cell *cell = &cells[count];
                *cell = (struct cell){.place = (enum place)place,
                                      .way = (enum way)way,
                                      .operation = &operations[i / 2],
                                      .always = i % 2};
                snprintf(cell->name, sizeof cell->name, "%s%s in %s, by %s", cell->operation->name,
                         cell->always ? ", each time," : "", places[place].name, way_names[way]);
                tests[count++] = (struct CMUnitTest){cell->name, play, set_up, tear_down, cell};
            }
        }
    }
    int failed = _cmocka_run_group_tests("reentrancy", tests, count, NULL, NULL);
    free(tests);
    free(cells);
    return failed;
}
