// SPDX-License-Identifier: Apache-2.0

// Fuzzes what a service manager writes into the environment. The first byte chooses what is read
// and which variables are set; the rest are their values, each up to a NUL.
//
// A number that is accepted must be written back as the same text, and names must be as many as
// the number says, with nothing left over.

#include "check.h"

#include "service_variables.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VARIABLES = 4, PROCESS = 42, PIDFD_ID = 7 };

static void check_is(const char *text, uint64_t number) {
    char written[24];
    snprintf(written, sizeof written, "%" PRIu64, number);
    CHECK(strcmp(text, written) == 0, "%s %s", text, written);
}

static void check_names(const char *names, int count) {
    const char *name = names;
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t length;
        const char *next = csc__next_name(name, &length);
        CHECK(memchr(name, ':', length) == NULL, "%s", name);
        total += length;
        name = next;
    }
    CHECK(*name == '\0', "%s", name);
    CHECK(total + (size_t)count - 1 == strlen(names), "%s has %d", names, count);
}

static void read_listen(char *const *values, uint64_t pidfd_id) {
    csc__listen_variables variables = {values[0], values[1], values[2], values[3]};
    int count = -1;
    csc_inherited_error error = csc__read_listen_variables(&variables, PROCESS, pidfd_id, &count);
    CHECK(count >= 0 && count <= INT_MAX - CSC__FIRST_INHERITED, "%d", count);
    CHECK(count == 0 || error == CSC_INHERITED_ERROR_NONE, "%d", error);
    CHECK(csc_inherited_error_text(error)[0] != '\0' || error == CSC_INHERITED_ERROR_NONE, "%d",
          error);
    if (count > 0) {
        check_is(values[0], PROCESS);
        check_is(values[2], (uint64_t)count);
        if (values[1] && pidfd_id != 0) {
            check_is(values[1], pidfd_id);
        }
        if (values[3]) {
            check_names(values[3], count);
        }
    }
}

static void read_notify_socket(const char *text) {
    struct sockaddr_un name;
    int errnum = 0;
    socklen_t length = csc__read_notify_socket(text, &name, &errnum);
    CHECK(length <= sizeof name, "%u", length);
    if (length == 0) {
        CHECK(errnum == EAFNOSUPPORT || errnum == ENAMETOOLONG, "%d", errnum);
        return;
    }
    size_t written = length - offsetof(struct sockaddr_un, sun_path);
    CHECK(name.sun_family == AF_UNIX && errnum == 0, "%s", text);
    if (text[0] == '/') {
        CHECK(strnlen(name.sun_path, written) == written - 1, "%s", text);
        CHECK(strcmp(name.sun_path, text) == 0, "%s", text);
    } else {
        CHECK(text[0] == '@' && name.sun_path[0] == '\0', "%s", text);
        CHECK(written == strlen(text) && memcmp(name.sun_path + 1, text + 1, written - 1) == 0,
              "%s", text);
    }
}

static void read_watchdog(const char *interval, const char *watched) {
    uint64_t usec = csc__read_watchdog(interval, watched, PROCESS);
    if (usec > 0) {
        CHECK(usec < UINT64_MAX, "%" PRIu64, usec);
        check_is(interval, usec);
        if (watched) {
            check_is(watched, PROCESS);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    char *values[VARIABLES] = {NULL};
    const uint8_t *rest = data + 1;
    size_t left = size - 1;
    for (int i = 0; i < VARIABLES; i++) {
        // A copy of the exact size, so that the address sanitizer sees each byte too many.
        const uint8_t *end = left > 0 ? memchr(rest, 0, left) : NULL;
        size_t length = end ? (size_t)(end - rest) : left;
        if (data[0] >> i & 1) {
            values[i] = malloc(length + 1);
            if (length > 0) {
                memcpy(values[i], rest, length);
            }
            values[i][length] = '\0';
        }
        rest += length + (end != NULL);
        left -= length + (end != NULL);
    }
    switch (data[0] >> 4 & 3) {
    case 0:
        if (values[0]) {
            read_notify_socket(values[0]);
        }
        break;
    case 1:
        read_watchdog(values[0], values[1]);
        break;
    case 2:
        read_listen(values, 0);
        break;
    default:
        read_listen(values, PIDFD_ID);
        break;
    }
    for (int i = 0; i < VARIABLES; i++) {
        free(values[i]);
    }
    return 0;
}
