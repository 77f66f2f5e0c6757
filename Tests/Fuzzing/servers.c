// SPDX-License-Identifier: Apache-2.0

// Fuzzes the server: the input is a sequence of calls on two servers, with clients that come and
// go, callbacks that make calls themselves, system calls that fail and strangers who break things.
// No sequence may crash, lose or double a connection, or leave a descriptor open.

#include "world.h"

#include <event2/event.h>
#include <poll.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WATCHED_DESCRIPTORS = 256 };

static void ignore_log(int severity, const char *message) {
    (void)severity;
    (void)message;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    event_set_log_callback(ignore_log); // libevent prints what failing calls do to it
    return 0;
}

// One call for all of them: poll says which are not open.
static void look_at_descriptors(struct pollfd entries[WATCHED_DESCRIPTORS]) {
    for (int i = 0; i < WATCHED_DESCRIPTORS; i++) {
        entries[i] = (struct pollfd){.fd = i};
    }
    poll(entries, WATCHED_DESCRIPTORS, 0);
}

static void check_descriptors(const struct pollfd *before) {
    struct pollfd after[WATCHED_DESCRIPTORS];
    look_at_descriptors(after);
    for (int i = 0; i < WATCHED_DESCRIPTORS; i++) {
        bool was_open = !(before[i].revents & POLLNVAL);
        bool is_open = !(after[i].revents & POLLNVAL);
        CHECK(was_open == is_open, "descriptor %d was %s", i, is_open ? "left open" : "closed");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static world world;
    struct pollfd before[WATCHED_DESCRIPTORS];
    look_at_descriptors(before);
    world_begin(&world, data, size);
    model_observe(&world);
    while (world_has_input(&world)) {
        operate(&world);
    }
    world_end(&world);
    check_descriptors(before);
    return 0;
}
