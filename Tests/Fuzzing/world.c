// SPDX-License-Identifier: Apache-2.0

// The beginning and the end of a sequence; see world.h.

#include "world.h"

#include <FaultInjection.h>

#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool world_has_input(const world *it) {
    return it->next < it->end;
}

uint8_t world_byte(world *it) {
    return it->next < it->end ? *it->next++ : 0;
}

void reset_and_close(int descriptor) {
    struct linger linger = {.l_onoff = 1};
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(descriptor);
}

void world_take(world *it, int descriptor) {
    for (size_t i = 0; i < it->taken_count; i++) {
        CHECK(it->taken[i] != descriptor, "descriptor %d was handed over twice", descriptor);
    }
    if (it->taken_count < MOST_TAKEN) {
        it->taken[it->taken_count++] = descriptor;
    } else {
        reset_and_close(descriptor);
    }
}

void subject_begin(subject *it, bool has_base) {
    world *world = it->world;
    unsigned epoch = it->epoch + 1;
    memset(it, 0, sizeof *it);
    it->world = world;
    it->epoch = epoch;
    it->has_base = has_base;
    it->limit = 30;
    it->server = csc_server_new(has_base ? world->base : NULL);
    CHECK(it->server, "no memory");
}

void subject_free(subject *it) {
    csc_server *server = it->server;
    it->server = NULL;
    it->listening = false;
    csc_server_free(server);
}

void world_begin(world *it, const uint8_t *data, size_t size) {
    memset(it, 0, sizeof *it);
    it->next = data;
    it->end = data + size;
    fault_clear();
    fault_reset_counts();
    it->base = event_base_new();
    CHECK(it->base, "no memory");
    uint8_t options = world_byte(it);
    for (size_t i = 0; i < SERVERS; i++) {
        it->subjects[i].world = it;
        subject_begin(&it->subjects[i], (options & (1 << i)) == 0);
        set_callbacks(&it->subjects[i], (options >> (2 + 3 * i)) & 7);
    }
}

// Every server that listens must take all that wait in the kernel's queue, whatever was done to it.
static void drain(world *it) {
    for (size_t i = 0; i < SERVERS; i++) {
        subject *subject = &it->subjects[i];
        if (subject->server) {
            model_assert_drained(subject);
        }
    }
}

void world_end(world *it) {
    fault_clear();
    it->faulty = false;
    it->next = it->end; // callbacks do nothing from now on
    drain(it);
    for (size_t i = 0; i < SERVERS; i++) {
        if (it->subjects[i].server) {
            subject_free(&it->subjects[i]);
        }
    }
    for (size_t i = 0; i < it->client_count; i++) {
        reset_and_close(it->clients[i]);
    }
    for (size_t i = 0; i < it->taken_count; i++) {
        reset_and_close(it->taken[i]);
    }
    event_base_free(it->base);
    CHECK(fault_bad_closes() == 0, "%d", (int)fault_bad_closes());
}
