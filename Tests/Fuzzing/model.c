// SPDX-License-Identifier: Apache-2.0

// What must be true of a server, whatever is called in which order; see world.h.
//
// Clients connect one after the other, and the kernel's queue is in order, so the model knows who
// is next. What the server accepted since the last look is in its counter.

#include "world.h"

#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <time.h>

static void push(name_queue *queue, const csc_address *name) {
    CHECK(queue->count < MOST_IN_QUEUE, "the model is full");
    queue->names[queue->count++] = *name;
}

static csc_address pop(name_queue *queue) {
    CHECK(queue->count > 0, "the model has nobody here");
    csc_address first = queue->names[0];
    queue->count--;
    memmove(queue->names, queue->names + 1, queue->count * sizeof first);
    return first;
}

static csc_statistics statistics(const subject *it) {
    csc_statistics now;
    csc_server_statistics(it->server, &now, sizeof now);
    return now;
}

void model_connected(subject *it, const csc_address *client) {
    push(&it->kernel, client);
}

// What became of the client that was answered last, where no callback has said so.
static void resolve_answered(subject *it) {
    while (it->applicant_count > 0 && it->applicants[it->applicant_count - 1].answered) {
        const applicant *last = &it->applicants[--it->applicant_count];
        CHECK(last->answer == CSC_ADMIT, "one that was refused was not rejected");
        if (last->closed) {
            it->discarded++;
        } else {
            push(&it->pending, &last->name);
        }
    }
}

static void check_limit(const subject *it) {
    size_t count = it->pending.count + it->applicant_count;
    CHECK(it->finishing > 0 || (it->limit > 0 && count <= (size_t)it->limit),
          "%zu are pending, at most %d", count, it->limit);
}

// Moves who was accepted since the last look from the kernel's queue to the pending ones.
static void take_in(subject *it) {
    resolve_answered(it);
    uint64_t accepted = statistics(it).accepted;
    CHECK(accepted == it->accepted || !it->handles_incoming, "accepted past the callback");
    while (it->accepted < accepted) {
        csc_address name = pop(&it->kernel);
        push(&it->pending, &name);
        it->accepted++;
        check_limit(it);
    }
}

void model_asked(subject *it, const csc_address *peer) {
    uint64_t accepted = statistics(it).accepted;
    resolve_answered(it);
    CHECK(accepted > it->accepted, "nobody was accepted");
    while (it->accepted + 1 < accepted) { // who came before, and was not asked about
        csc_address name = pop(&it->kernel);
        push(&it->pending, &name);
        it->accepted++;
    }
    csc_address name = pop(&it->kernel);
    it->accepted++;
    CHECK(memcmp(peer, &name, sizeof name) == 0, "port %u, expected %u", peer->port, name.port);
    CHECK(it->applicant_count <= DEEPEST_CALLBACK, "nested too deep");
    it->applicants[it->applicant_count++] = (applicant){.name = name};
    check_limit(it);
}

void model_answered(subject *it, csc_admission answer) {
    resolve_answered(it);
    CHECK(it->applicant_count > 0, "nobody was asked about");
    it->applicants[it->applicant_count - 1].answered = true;
    it->applicants[it->applicant_count - 1].answer = answer;
}

void model_added(subject *it) {
    static const csc_address nobody = {.family = CSC_FAMILY_NONE};
    push(&it->pending, &nobody);
    it->taken--;
}

static void check_connection(const subject *it, const csc_connection *connection,
                             const csc_address *name) {
    if (!it->world->faulty) { // fcntl may be what fails
        int status = fcntl(connection->descriptor, F_GETFL);
        int flags = fcntl(connection->descriptor, F_GETFD);
        CHECK(status >= 0 && flags >= 0, "descriptor %d is closed", connection->descriptor);
        CHECK(status & O_NONBLOCK && flags & FD_CLOEXEC, "%d", connection->descriptor);
    }
    CHECK(memcmp(&connection->peer, name, sizeof *name) == 0, "port %u, expected %u",
          connection->peer.port, name->port);
}

csc_address model_incoming(subject *it, const csc_connection *connection) {
    uint64_t accepted = statistics(it).accepted;
    csc_address name;
    if (it->applicant_count > 0 && it->applicants[it->applicant_count - 1].answered) {
        const applicant *last = &it->applicants[--it->applicant_count];
        CHECK(last->answer == CSC_ADMIT && !last->closed, "one that was not let in");
        name = last->name;
        CHECK(accepted == it->accepted, "%d more", (int)(accepted - it->accepted));
    } else {
        CHECK(accepted == it->accepted + 1, "%d at once", (int)(accepted - it->accepted));
        name = pop(&it->kernel);
        it->accepted++;
    }
    it->taken++;
    check_connection(it, connection, &name);
    return name;
}

void model_rejected(subject *it, const csc_address *peer) {
    if (it->applicant_count > 0 && it->applicants[it->applicant_count - 1].answered &&
        it->applicants[it->applicant_count - 1].answer != CSC_ADMIT) {
        const applicant *last = &it->applicants[--it->applicant_count];
        CHECK(memcmp(peer, &last->name, sizeof last->name) == 0, "port %u, expected %u", peer->port,
              last->name.port);
        it->rejected++;
        return;
    }
    resolve_answered(it);
    uint64_t accepted = statistics(it).accepted;
    CHECK(accepted > it->accepted, "nobody was accepted");
    while (it->accepted + 1 < accepted) { // who came before, and was queued
        csc_address name = pop(&it->kernel);
        push(&it->pending, &name);
        it->accepted++;
    }
    csc_address name = pop(&it->kernel);
    CHECK(memcmp(peer, &name, sizeof name) == 0, "port %u, expected %u", peer->port, name.port);
    it->accepted++;
    it->rejected++;
}

void model_passed_on(subject *it, const csc_address *peer) {
    push(&it->kernel, peer);
    memmove(it->kernel.names + 1, it->kernel.names, (it->kernel.count - 1) * sizeof *peer);
    it->kernel.names[0] = *peer;
}

void model_given_back(subject *it, const csc_address *name) {
    push(&it->pending, name);
    it->taken--;
}

void model_popped(subject *it, const csc_connection *connection) {
    csc_address name = pop(&it->pending);
    it->taken++;
    if (name.family == CSC_FAMILY_NONE) {
        CHECK(connection->descriptor == -1, "%d", connection->descriptor);
    } else {
        check_connection(it, connection, &name);
    }
}

void model_listens(subject *it, int backlog) {
    CHECK(csc_server_is_listening(it->server), "it does not");
    it->listening = true;
    it->listening_epoch++;
    it->tampered = false;
    it->backlog = backlog;
    it->kernel.count = 0;
}

void model_stopped(subject *it) {
    take_in(it);
    it->listening = false;
    it->kernel.count = 0;
}

void model_closed(subject *it) {
    resolve_answered(it);
    for (size_t i = 0; i < it->applicant_count; i++) {
        it->applicants[i].closed = true;
    }
    it->discarded += it->pending.count;
    it->pending.count = 0;
    it->listening = false;
    it->kernel.count = 0;
}

static void observe(subject *it) {
    take_in(it);
    bool listening = csc_server_is_listening(it->server);
    CHECK(listening == it->listening || (!listening && (it->world->faulty || it->tampered)),
          "listening: %d, \"%s\"", listening, csc_server_error_string(it->server));
    if (!listening && it->listening) {
        model_stopped(it);
    }
    CHECK(listening == (csc_server_descriptor(it->server) >= 0), "%d", listening);
    CHECK(listening == (csc_server_port(it->server) != 0), "%d", listening);
    csc_statistics now = statistics(it);
    CHECK(now.pending == it->pending.count, "%d, the model has %zu", (int)now.pending,
          it->pending.count);
    CHECK(csc_server_has_pending(it->server) == (it->pending.count > 0), "%zu", it->pending.count);
    CHECK(now.discarded_on_close == it->discarded, "%d", (int)now.discarded_on_close);
    uint64_t rejected = now.shed + now.rejected_by_admission + now.rejected_by_limit +
                        now.in_preface + now.ended_in_preface;
    CHECK(rejected == it->rejected, "%d, the model has %d", (int)rejected, (int)it->rejected);
    uint64_t on_their_way = it->in_incoming;
    CHECK(it->in_incoming + it->applicant_count > 0 ||
              now.accepted + now.added == now.delivered + now.pending + now.discarded_on_close +
                                              now.shed + now.rejected_by_admission +
                                              now.rejected_by_limit,
          "%d accepted, %d added, %d delivered", (int)now.accepted, (int)now.added,
          (int)now.delivered);
    // One on its way counts as delivered when its callback returns.
    CHECK(it->taken - (now.delivered - now.added) <= on_their_way, "%d, the model has %d",
          (int)(now.delivered - now.added), (int)it->taken);
}

void model_observe_others(const subject *it) {
    for (size_t i = 0; i < SERVERS; i++) {
        subject *other = &it->world->subjects[i];
        if (other != it && other->server) {
            observe(other);
        }
    }
}

void model_observe(world *it) {
    for (size_t i = 0; i < SERVERS; i++) {
        if (it->subjects[i].server) {
            observe(&it->subjects[i]);
        }
    }
}

static int64_t monotonic_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

void model_assert_drained(subject *it) {
    csc_server_set_max_pending(it->server, MOST_IN_QUEUE);
    it->limit = MOST_IN_QUEUE;
    csc_server_set_max_connections(it->server, -1, CSC_EXCESS_WAIT);
    csc_server_resume(it->server);
    int64_t deadline = monotonic_seconds() + 10;
    while (it->listening && !it->tampered && it->kernel.count > 0) {
        if (it->has_base) {
            event_base_loop(it->world->base, EVLOOP_NONBLOCK);
        } else {
            csc_server_wait(it->server, 0, NULL);
        }
        model_observe(it->world);
        while (it->pending.count > 0) {
            take_next(it); // a wait is over at once while one is pending
        }
        CHECK(monotonic_seconds() < deadline, "%zu clients wait for ever", it->kernel.count);
        sched_yield();
    }
}
