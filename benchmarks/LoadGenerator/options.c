// SPDX-License-Identifier: Apache-2.0

#include "options.h"

#include "failure.h"
#include "modes.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: load-generator MODE --port PORT [options]\n"
    "\n"
    "Connects to 127.0.0.1:PORT and prints one line of JSON.\n"
    "\n"
    "  drain   opens --connections and keeps them until standard input ends;\n"
    "          says the sum of (last octet of its own address * 65536 + port)\n"
    "  hold    the same; the name says what for\n"
    "  storm   connects, reads the greeting to its end, again; --in-flight at once,\n"
    "          for --connections or for --seconds\n"
    "  echo    opens --connections, of which --active exchange messages of --size\n"
    "          for --seconds: each waits for its answer, or --rate says when to send\n"
    "\n"
    "  --port PORT         where the server listens\n"
    "  --connections N     how many connections (1)\n"
    "  --sources N         come from 127.0.0.1 to 127.0.0.N in turn (1, at most 254)\n"
    "  --in-flight N       storm: connections at once (64)\n"
    "  --active N          echo: connections that talk (all)\n"
    "  --size BYTES        echo: of a message (64)\n"
    "  --rate N            echo: messages a second over all; latencies count from when\n"
    "                      a message was due, so a slow server cannot hide the wait\n"
    "  --seconds S         storm, echo: how long to count (1)\n"
    "  --warm-up S         storm, echo: how long to run before that (0)\n"
    "  --cpu-of PID        storm, echo: report the CPU time of that process meanwhile\n"
    "  --deadline S        give up after this long (60)\n"
    "  --help              print this\n";

enum { MAX_CONNECTIONS = 10 * 1000 * 1000, MAX_SIZE = 64 * 1024 * 1024 };

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    // Written so that not-a-number is refused too.
    if (errno != 0 || end == text || *end != '\0' || !(value >= least && value <= most)) {
        fail_usage("--%s must be a number from %.15g to %.15g, not '%s'", name, least, most, text);
    }
    return value;
}

static int integer(const char *name, const char *text, int least, int most) {
    double value = number(name, text, least, most);
    if (value != floor(value)) {
        fail_usage("--%s must be a whole number, not '%s'", name, text);
    }
    return (int)value;
}

static uint64_t duration(const char *name, const char *text) {
    return (uint64_t)(number(name, text, 0, 86400) * 1e9);
}

static void choose_mode(options *result, const char *name) {
    static const struct {
        const char *name;
        void (*run)(const options *);
    } modes[] = {{"drain", keep_open}, {"hold", keep_open}, {"storm", storm}, {"echo", echo}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(name, modes[i].name) == 0) {
            result->mode = modes[i].name;
            result->run = modes[i].run;
            return;
        }
    }
    fail_usage("there is no mode '%s'", name);
}

void options_parse(options *result, int argc, char *argv[]) {
    static const struct option names[] = {{"port", required_argument, NULL, 'p'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"sources", required_argument, NULL, 'f'},
                                          {"in-flight", required_argument, NULL, 'i'},
                                          {"active", required_argument, NULL, 'a'},
                                          {"size", required_argument, NULL, 'b'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"warm-up", required_argument, NULL, 'w'},
                                          {"cpu-of", required_argument, NULL, 'u'},
                                          {"deadline", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    *result = (options){.sources = 1,
                        .in_flight = 64,
                        .size = 64,
                        .duration = UINT64_C(1000000000),
                        .deadline = UINT64_C(60000000000)};

    int option;
    int index = 0;
    opterr = 0; // the texts below are clearer than getopt's
    while ((option = getopt_long(argc, argv, ":", names, &index)) != -1) {
        const char *name = names[index].name;
        switch (option) {
        case 'p':
            result->port = (uint16_t)integer(name, optarg, 1, 65535);
            break;
        case 'c':
            result->connections = integer(name, optarg, 1, MAX_CONNECTIONS);
            break;
        case 'f':
            result->sources = integer(name, optarg, 1, 254);
            break;
        case 'i':
            result->in_flight = integer(name, optarg, 1, MAX_CONNECTIONS);
            break;
        case 'a':
            result->active = integer(name, optarg, 1, MAX_CONNECTIONS);
            break;
        case 'b':
            result->size = integer(name, optarg, 1, MAX_SIZE);
            break;
        case 'r':
            result->rate = number(name, optarg, 1, 1e9);
            break;
        case 's':
            result->duration = duration(name, optarg);
            break;
        case 'w':
            result->warm_up = duration(name, optarg);
            break;
        case 'u':
            result->server = (pid_t)integer(name, optarg, 1, INT32_MAX);
            break;
        case 'd':
            result->deadline = duration(name, optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case ':':
            fail_usage("%s needs a value", argv[optind - 1]);
        default:
            fail_usage("there is no option '%s'", argv[optind - 1]);
        }
    }

    if (optind >= argc) {
        fail_usage("a mode is missing");
    }
    choose_mode(result, argv[optind]);
    if (optind + 1 < argc) {
        fail_usage("one mode is enough, '%s' is too much", argv[optind + 1]);
    }
    if (result->port == 0) {
        fail_usage("--port is missing");
    }
    // storm alone may have no number of connections: it then ends by the clock.
    if (result->run != storm && result->connections == 0) {
        result->connections = 1;
    }
    if (result->active == 0) {
        result->active = result->connections;
    }
    if (result->run == echo && result->active > result->connections) {
        fail_usage("--active %d is more than --connections %d", result->active,
                   result->connections);
    }
}
