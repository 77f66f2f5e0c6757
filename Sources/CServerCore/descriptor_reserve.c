// SPDX-License-Identifier: Apache-2.0

// Leaving descriptors to the rest of the program, without asking the kernel for each connection.
//
// The kernel always gives the lowest free number:
//
//      0                          watched            end           limit
//      | in use, some free | ... | free | ... in use |   the reserve   |
//
// So while the watched number is free, no connection gets one beyond it. When one gets the watched
// number or more, those below are used up: then it is time to look, and to watch another.

#include "descriptor_reserve.h"

#include "private_fd.h"
#include "server_type.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

// The first number that accepting leaves to others, as the limit is now.
static int end_of_ours(const csc_server *server) {
    struct rlimit limit;
    bool is_known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= INT_MAX;
    int count = is_known ? (int)limit.rlim_cur : INT_MAX;
    int reserve = server->descriptor_reserve < 0 ? 0 : server->descriptor_reserve;
    return count - (reserve < count / 4 ? reserve : count / 4);
}

// INT_MAX when there is none below the limit.
static int lowest_free(const csc_server *server) {
    int descriptor = fcntl(server->socket.private_fd, F_DUPFD_CLOEXEC, 0);
    if (descriptor < 0) {
        return INT_MAX;
    }
    close(descriptor);
    return descriptor;
}

static bool is_free(int descriptor) {
    return fcntl(descriptor, F_GETFD) < 0 && errno == EBADF;
}

bool csc__descriptors_are_short(csc_server *server) {
    if (server->descriptor_reserve <= 0) {
        server->reserve_watermark = INT_MAX;
        return false;
    }
    int end = end_of_ours(server);
    int lowest = lowest_free(server);
    if (lowest >= end) {
        server->reserve_watermark = 0;
        return true;
    }
    int watched = end - 1;
    while (watched > lowest && !is_free(watched)) {
        watched = lowest + (watched - lowest) / 2;
    }
    server->reserve_watermark = watched;
    return false;
}

// How many numbers below the end are in use; INT_MAX where the kernel does not say.
static int count_open(int end) {
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) {
        return INT_MAX;
    }
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        int number = atoi(entry->d_name);
        count += entry->d_name[0] != '.' && number < end && number != dirfd(directory);
    }
    closedir(directory);
    return count;
}

int csc_server_descriptor_headroom(const csc_server *server) {
    if (!server) {
        return 0;
    }
    int end = end_of_ours(server);
    int open = count_open(end);
    return open < end ? end - open : 0;
}

void csc__reserve_fd_take(csc_server *server) {
    // Not a duplicate: that would give back no entry of the system's table of open files.
    server->reserve_fd = csc__private_eventfd(0);
}

void csc__reserve_fd_give_up(csc_server *server) {
    csc__private_fd_close(&server->reserve_fd);
}

void csc__reserve_fd_keep(csc_server *server) {
    bool wanted = server->overload_policy == CSC_OVERLOAD_SHED && server->socket.private_fd >= 0;
    if (wanted && !csc__private_fd_is_ours(&server->reserve_fd)) {
        csc__reserve_fd_take(server);
    } else if (!wanted) {
        csc__reserve_fd_give_up(server);
    }
}
