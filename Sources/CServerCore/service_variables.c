// SPDX-License-Identifier: Apache-2.0

// Reads what a service manager writes into the environment. What is not exactly as systemd's
// sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3) say is an error, and never a guess: a
// wrong number would make a stranger's descriptor a server's.

#include "service_variables.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

bool csc__read_number(const char *text, uint64_t most, uint64_t *value) {
    uint64_t number = 0;
    if (*text < '1' || *text > '9') {
        return false;
    }
    for (; *text != '\0'; text++) {
        unsigned digit = (unsigned char)*text - (unsigned)'0';
        if (digit > 9 || number > (most - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *value = number;
    return true;
}

const char *csc__next_name(const char *names, size_t *length) {
    *length = strcspn(names, ":");
    return names + *length + (names[*length] == ':');
}

static size_t count_names(const char *names) {
    size_t count = 1;
    for (; *names != '\0'; names++) {
        count += *names == ':';
    }
    return count;
}

csc_inherited_error csc__read_listen_variables(const csc__listen_variables *variables,
                                               uint64_t process, uint64_t pidfd_id, int *count) {
    uint64_t number = 0;
    *count = 0;
    if (!variables->process || !variables->count) {
        return CSC_INHERITED_ERROR_NONE;
    }
    if (!csc__read_number(variables->process, INT_MAX, &number)) {
        return CSC_INHERITED_ERROR_PROCESS;
    }
    if (number != process) {
        return CSC_INHERITED_ERROR_NONE;
    }
    if (variables->pidfd_id) {
        if (!csc__read_number(variables->pidfd_id, UINT64_MAX, &number)) {
            return CSC_INHERITED_ERROR_PIDFD_ID;
        }
        // Another process had the same number.
        if (pidfd_id != 0 && number != pidfd_id) {
            return CSC_INHERITED_ERROR_NONE;
        }
    }
    if (!csc__read_number(variables->count, INT_MAX - CSC__FIRST_INHERITED, &number)) {
        return CSC_INHERITED_ERROR_COUNT;
    }
    if (variables->names && count_names(variables->names) != number) {
        return CSC_INHERITED_ERROR_NAMES;
    }
    *count = (int)number;
    return CSC_INHERITED_ERROR_NONE;
}

socklen_t csc__read_notify_socket(const char *text, struct sockaddr_un *name, int *errnum) {
    size_t length = strlen(text);
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    if ((text[0] != '/' && text[0] != '@') || length < 2) {
        *errnum = EAFNOSUPPORT;
        return 0;
    }
    // A path needs room for its NUL; an abstract name begins with one and has none at its end.
    if (length + (text[0] == '/') > sizeof name->sun_path) {
        *errnum = ENAMETOOLONG;
        return 0;
    }
    memcpy(name->sun_path, text, length);
    if (text[0] == '@') {
        name->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (text[0] == '/'));
}

uint64_t csc__read_watchdog(const char *interval, const char *watched, uint64_t process) {
    uint64_t usec = 0;
    uint64_t number = 0;
    if (watched && !(csc__read_number(watched, INT_MAX, &number) && number == process)) {
        return 0;
    }
    return interval && csc__read_number(interval, UINT64_MAX - 1, &usec) ? usec : 0;
}
