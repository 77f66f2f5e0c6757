// SPDX-License-Identifier: Apache-2.0

// The encrypted clients of benchmarks/tls: one thread, one epoll.

#include "failure.h"
#include "measure.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PORT = 1, CPU_OF, CONNECTIONS, SIZE, RATE, RESUME, GREETED, REALTIME, SECONDS, WARM_UP };

static const struct option known[] = {
    {"port", required_argument, NULL, PORT},
    {"cpu-of", required_argument, NULL, CPU_OF},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"size", required_argument, NULL, SIZE},
    {"rate", required_argument, NULL, RATE},
    {"resume", no_argument, NULL, RESUME},
    {"greeted", no_argument, NULL, GREETED},
    {"realtime", no_argument, NULL, REALTIME},
    {"seconds", required_argument, NULL, SECONDS},
    {"warm-up", required_argument, NULL, WARM_UP},
    {0},
};

static double number(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (*end != 0 || end == text || value < 0 || value > 1e9) {
        fail_usage("'%s' is no number that can be used", text);
    }
    return value;
}

static settings parse(int argc, char *argv[]) {
    settings found = {.connections = 16, .size = 64, .duration = 1000000000};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case PORT:
            found.port = (uint16_t)number(optarg);
            break;
        case CPU_OF:
            found.server = (pid_t)number(optarg);
            break;
        case CONNECTIONS:
            found.connections = (int)number(optarg);
            break;
        case SIZE:
            found.size = (size_t)number(optarg);
            break;
        case RATE:
            found.rate = number(optarg);
            break;
        case RESUME:
            found.resumes = true;
            break;
        case GREETED:
            found.is_greeted = true;
            break;
        case REALTIME:
            found.has_realtime = true;
            break;
        case SECONDS:
            found.duration = (uint64_t)(number(optarg) * 1e9);
            break;
        case WARM_UP:
            found.warm_up = (uint64_t)(number(optarg) * 1e9);
            break;
        default:
            fail_usage("an option is wrong");
        }
    }
    found.mode = optind < argc ? argv[optind] : "";
    if (found.port == 0 || found.connections < 1 || found.size < 1) {
        fail_usage("--port is missing, or a number is 0");
    }
    return found;
}

int main(int argc, char *argv[]) {
    settings settings = parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    // A deadline, whatever it waits for.
    alarm((unsigned)((settings.duration + settings.warm_up) / 1000000000) + 60);
    if (settings.has_realtime) {
        sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    }
    client_prepare(settings.port, settings.size, settings.is_greeted, settings.resumes);
    if (strcmp(settings.mode, "handshakes") == 0) {
        handshakes(&settings);
    } else if (strcmp(settings.mode, "echo") == 0) {
        echo(&settings);
    } else {
        fail_usage("the mode is 'handshakes' or 'echo'");
    }
    return 0;
}
