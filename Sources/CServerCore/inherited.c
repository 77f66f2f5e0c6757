// SPDX-License-Identifier: Apache-2.0

// Descriptors that a service manager has opened for the process, as sd_listen_fds(3) describes.
//
// The set owns each descriptor until it is taken. It closes a number only while the number is the
// file that it was at first.

#include "inherited.h"
#include "service_variables.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { PID_FS = 0x50494446 }; // PID_FS_MAGIC of <linux/magic.h>

typedef struct inherited {
    int descriptor; // -1 once it is taken
    int flags;      // that it had at first
    dev_t device;
    ino_t inode;
    char *name;
} inherited;

struct csc_inherited {
    size_t count;
    inherited *all;
};

static const char *const variable_names[] = {"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS",
                                             "LISTEN_FDNAMES"};

const char *csc_inherited_error_text(csc_inherited_error error) {
    static const char *const texts[] = {
        [CSC_INHERITED_ERROR_NONE] = "",
        [CSC_INHERITED_ERROR_PROCESS] = "LISTEN_PID is not the number of a process",
        [CSC_INHERITED_ERROR_PIDFD_ID] = "LISTEN_PIDFDID is not the number of a pidfd",
        [CSC_INHERITED_ERROR_COUNT] = "LISTEN_FDS is not a number of descriptors",
        [CSC_INHERITED_ERROR_NAMES] =
            "LISTEN_FDNAMES does not have as many names as LISTEN_FDS says",
        [CSC_INHERITED_ERROR_DESCRIPTOR] = "A descriptor that LISTEN_FDS counts is not open",
        [CSC_INHERITED_ERROR_MEMORY] = "There is no memory for the inherited descriptors",
    };
    size_t count = sizeof texts / sizeof texts[0];
    return (size_t)error < count ? texts[error] : "Unknown error of inherited descriptors";
}

// 0 where the kernel has no numbers that are each one process's for ever (before Linux 6.9).
static uint64_t own_pidfd_id(void) {
    struct statfs system;
    struct stat status;
    uint64_t id = 0;
    int descriptor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (descriptor >= 0) {
        if (fstatfs(descriptor, &system) == 0 && system.f_type == PID_FS &&
            fstat(descriptor, &status) == 0) {
            id = status.st_ino;
        }
        close(descriptor);
    }
    return id;
}

csc_inherited *csc_inherited_new(void) {
    return calloc(1, sizeof(csc_inherited));
}

static csc_inherited_error add(csc_inherited *set, int descriptor, const char *name,
                               size_t length) {
    inherited *all = realloc(set->all, (set->count + 1) * sizeof *all);
    if (!all) {
        return CSC_INHERITED_ERROR_MEMORY;
    }
    set->all = all;
    inherited *one = &all[set->count];
    struct stat status;
    int flags = fcntl(descriptor, F_GETFD);
    if (flags < 0 || fstat(descriptor, &status) != 0) {
        return CSC_INHERITED_ERROR_DESCRIPTOR;
    }
    *one = (inherited){descriptor, flags, status.st_dev, status.st_ino, strndup(name, length)};
    if (!one->name) {
        return CSC_INHERITED_ERROR_MEMORY;
    }
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
        free(one->name);
        return CSC_INHERITED_ERROR_DESCRIPTOR;
    }
    set->count++;
    return CSC_INHERITED_ERROR_NONE;
}

bool csc_inherited_add(csc_inherited *set, int descriptor, const char *name) {
    return set && add(set, descriptor, name, strlen(name)) == CSC_INHERITED_ERROR_NONE;
}

static bool are_open(int count) {
    for (int i = 0; i < count; i++) {
        if (fcntl(CSC__FIRST_INHERITED + i, F_GETFD) < 0) {
            return false;
        }
    }
    return true;
}

static csc_inherited_error add_all(csc_inherited *set, int count, const char *names) {
    // Before memory is allocated: LISTEN_FDS may be any number.
    if (!are_open(count)) {
        return CSC_INHERITED_ERROR_DESCRIPTOR;
    }
    for (int i = 0; i < count; i++) {
        // systemd's own name for those that have none.
        const char *name = names ? names : "unknown";
        size_t length = strlen(name);
        names = names ? csc__next_name(names, &length) : NULL;
        csc_inherited_error error = add(set, CSC__FIRST_INHERITED + i, name, length);
        if (error != CSC_INHERITED_ERROR_NONE) {
            return error;
        }
    }
    return CSC_INHERITED_ERROR_NONE;
}

void csc__inherited_forget(csc_inherited *set, size_t count) {
    while (set->count > count) {
        inherited *last = &set->all[--set->count];
        fcntl(last->descriptor, F_SETFD, last->flags);
        free(last->name);
    }
}

csc_inherited *csc_inherited_from_environment(csc_inherited_error *error) {
    csc__listen_variables variables = {
        .process = getenv(variable_names[0]),
        .pidfd_id = getenv(variable_names[1]),
        .count = getenv(variable_names[2]),
        .names = getenv(variable_names[3]),
    };
    int count;
    uint64_t pidfd_id = variables.process && variables.pidfd_id ? own_pidfd_id() : 0;
    csc_inherited *set = csc_inherited_new();
    csc_inherited_error found =
        csc__read_listen_variables(&variables, (uint64_t)getpid(), pidfd_id, &count);
    if (found == CSC_INHERITED_ERROR_NONE) {
        found = set ? add_all(set, count, variables.names) : CSC_INHERITED_ERROR_MEMORY;
    }
    if (set && found != CSC_INHERITED_ERROR_NONE) {
        csc__inherited_forget(set, 0);
        csc_inherited_free(set);
        set = NULL;
    }
    // A child of this process is not to take them for its own, whatever they say.
    for (size_t i = 0; i < sizeof variable_names / sizeof variable_names[0]; i++) {
        unsetenv(variable_names[i]);
    }
    if (error) {
        *error = found;
    }
    return set;
}

void csc_inherited_free(csc_inherited *set) {
    if (!set) {
        return;
    }
    csc_inherited_close(set);
    for (size_t i = 0; i < set->count; i++) {
        free(set->all[i].name);
    }
    free(set->all);
    free(set);
}

void csc_inherited_close(csc_inherited *set) {
    for (size_t i = 0; i < csc_inherited_count(set); i++) {
        csc_inherited_close_one(set, i);
    }
}

void csc_inherited_close_one(csc_inherited *set, size_t index) {
    int descriptor = csc_inherited_take(set, index);
    struct stat status;
    if (descriptor >= 0 && fstat(descriptor, &status) == 0 &&
        status.st_dev == set->all[index].device && status.st_ino == set->all[index].inode) {
        close(descriptor);
    }
}

size_t csc_inherited_count(const csc_inherited *set) {
    return set ? set->count : 0;
}

const char *csc_inherited_name(const csc_inherited *set, size_t index) {
    return index < csc_inherited_count(set) ? set->all[index].name : "";
}

int csc_inherited_descriptor(const csc_inherited *set, size_t index) {
    return index < csc_inherited_count(set) ? set->all[index].descriptor : -1;
}

int csc_inherited_take(csc_inherited *set, size_t index) {
    int descriptor = csc_inherited_descriptor(set, index);
    if (descriptor >= 0) {
        set->all[index].descriptor = -1;
    }
    return descriptor;
}

static bool has_option(int descriptor, int option, int wanted) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, option, &value, &length) == 0 && value == wanted;
}

bool csc__is_listener(int descriptor) {
    return descriptor >= 0 && has_option(descriptor, SO_TYPE, SOCK_STREAM) &&
           has_option(descriptor, SO_ACCEPTCONN, 1) &&
           (has_option(descriptor, SO_DOMAIN, AF_INET) ||
            has_option(descriptor, SO_DOMAIN, AF_INET6) ||
            has_option(descriptor, SO_DOMAIN, AF_UNIX));
}

bool csc_inherited_is_listener(const csc_inherited *set, size_t index) {
    return csc__is_listener(csc_inherited_descriptor(set, index));
}
