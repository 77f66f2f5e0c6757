// SPDX-License-Identifier: Apache-2.0

// Who opened which descriptor: a close() of one that is not open, or is another caller's, is
// reported with the callers. Such a close may hit, unnoticed, what another part of the program has
// just been given the number for.

#include "plans.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST_DESCRIPTORS = 65536, MOST_CALLERS = 16, WORD = 64 };

static _Thread_local bool is_watching;
static _Thread_local uint64_t opened[MOST_DESCRIPTORS / WORD];
static _Thread_local uint64_t bad_closes;
static _Thread_local char text[2048];

static void mark(int fd, bool ours) {
    if (fd < 0 || fd >= MOST_DESCRIPTORS) {
        return;
    }
    uint64_t bit = UINT64_C(1) << (fd % WORD);
    opened[fd / WORD] = ours ? opened[fd / WORD] | bit : opened[fd / WORD] & ~bit;
}

static bool is_ours(int fd) {
    return fd < 0 || fd >= MOST_DESCRIPTORS || opened[fd / WORD] >> (fd % WORD) & 1;
}

static size_t add(size_t length, const char *format, ...) __attribute__((format(printf, 2, 3)));

static size_t add(size_t length, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(text + length, sizeof text - length, format, arguments);
    va_end(arguments);
    return count < 0 || length + (size_t)count >= sizeof text ? sizeof text - 1
                                                              : length + (size_t)count;
}

static void complain(int fd, const char *why) {
    int errnum = errno;
    fault__begin_own_work();
    void *callers[MOST_CALLERS];
    int count = backtrace(callers, MOST_CALLERS);
    size_t length = add(0, "close(%d): %s\n", fd, why);
    for (int i = 0; i < count; i++) {
        Dl_info where = {0};
        dladdr(callers[i], &where);
        const char *object = where.dli_fname ? strrchr(where.dli_fname, '/') : NULL;
        object = object ? object + 1 : where.dli_fname ? where.dli_fname : "?";
        uintptr_t start = (uintptr_t)(where.dli_sname ? where.dli_saddr : where.dli_fbase);
        length = add(length, "    %s: %s+0x%zx\n", object, where.dli_sname ? where.dli_sname : "",
                     (size_t)((uintptr_t)callers[i] - start));
    }
    fault__end_own_work();
    errno = errnum;
}

int fault__opened(int fd) {
    if (!fault__is_suspended()) {
        mark(fd, true);
    }
    return fd;
}

void fault__received(struct msghdr *message) {
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        bool has_descriptors = header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS;
        size_t size = has_descriptors ? header->cmsg_len - CMSG_LEN(0) : 0;
        for (size_t at = 0; at < size; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
            fault__opened(fd);
        }
    }
}

void fault__closes(int fd, bool was_open) {
    bool allowed = was_open && (!is_watching || fault__is_suspended() || is_ours(fd));
    mark(fd, false);
    if (allowed) {
        return;
    }
    if (bad_closes == 0) {
        complain(fd, was_open ? "opened by somebody else" : "not open");
    }
    bad_closes++;
}

void fault__reset_bad_closes(void) {
    bad_closes = 0;
    text[0] = '\0';
}

uint64_t fault_bad_closes(void) {
    return bad_closes;
}

const char *fault_bad_close_text(void) {
    return text;
}

void fault_watch_closes(bool watch) {
    is_watching = watch;
    memset(opened, 0, sizeof opened);
}

int fault_open_descriptors(void) {
    int count = 0;
    for (int word = 0; word < MOST_DESCRIPTORS / WORD; word++) {
        count += __builtin_popcountll(opened[word]);
    }
    return count;
}

void fault_give(int descriptor) {
    mark(descriptor, true);
}

void fault_take(int descriptor) {
    mark(descriptor, false);
}
