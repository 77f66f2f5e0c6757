// SPDX-License-Identifier: Apache-2.0

// The clients of the benchmarks: one thread, one epoll. benchmarks/README.md says what each mode
// measures.

#include "failure.h"
#include "modes.h"
#include "options.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

static void give_up(int number) {
    (void)number;
    static const char text[] = "load-generator: not done when its --deadline came\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    _exit(written < 0 ? 3 : 2);
}

// Bounds the whole program, whatever it is waiting for.
static void set_deadline(uint64_t nanoseconds) {
    struct sigaction action = {.sa_handler = give_up};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {
        .it_value = {.tv_sec = (time_t)(nanoseconds / 1000000000),
                     .tv_usec = (suseconds_t)(nanoseconds % 1000000000 / 1000)}};
    if (setitimer(ITIMER_REAL, &timer, NULL) != 0) {
        fail_errno("cannot set the deadline");
    }
}

// Descriptors beside the connections: standard streams, epoll, and some that a parent left open.
enum { OTHER_DESCRIPTORS = 16 };

static void allow_descriptors(int connections) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail_errno("cannot read the limit of open files");
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail_errno("cannot raise the limit of open files to %llu",
                   (unsigned long long)limit.rlim_max);
    }
    rlim_t needed = (rlim_t)connections + OTHER_DESCRIPTORS;
    if (needed > limit.rlim_max) {
        fail("%d connections need %llu open files and the limit is %llu (ulimit -Hn)", connections,
             (unsigned long long)needed, (unsigned long long)limit.rlim_max);
    }
}

static int most_at_once(const options *options) {
    if (options->run == storm) {
        return options->in_flight;
    }
    if (options->run == relay) {
        return 2 * options->connections;
    }
    return options->run == stuck ? stuck_at_once(options) : options->connections;
}

int main(int argc, char *argv[]) {
    options options;
    options_parse(&options, argc, argv);
    set_deadline(options.deadline);
    allow_descriptors(most_at_once(&options));
    options.run(&options);
    return 0;
}
