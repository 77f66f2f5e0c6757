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
    "  stuck   begins --rate connections a second for --seconds, whether or not those\n"
    "          before are answered; each sends a byte and waits for the first one back\n"
    "  relay   listens for a relay's connections and says its port, reads the relay's own\n"
    "          from standard input, and sends through --connections as much as goes\n"
    "\n"
    "  --port PORT         where the server listens\n"
    "  --connections N     how many connections (1)\n"
    "  --sources N         come from 127.0.0.1 to 127.0.0.N in turn (1, at most 254)\n"
    "  --in-flight N       storm: connections at once (64)\n"
    "  --active N          echo: connections that talk (all)\n"
    "  --size BYTES        echo: of a message (64)\n"
    "  --rate N            echo: messages a second over all; latencies count from when\n"
    "                      a message was due, so a slow server cannot hide the wait;\n"
    "                      stuck: connections a second (2000), with the same latencies\n"
    "  --one-way           relay: nothing comes back\n"
    "  --stalled N         relay: of the last N connections the far end does not read (0)\n"
    "  --answer-limit S    stuck: a connection that waits longer has failed (5)\n"
    "  --seconds S         storm, echo, stuck: how long to count (1; stuck 10)\n"
    "  --warm-up S         storm, echo, stuck: how long to run before that (0)\n"
    "  --cpu-of PID        storm, echo, stuck: report the CPU time of that process\n"
    "                      meanwhile\n"
    "  --deadline S        give up after this long (60)\n"
    "  --help              print this\n";

enum { MAX_CONNECTIONS = 10 * 1000 * 1000, MAX_SIZE = 64 * 1024 * 1024 };

// The duration when the command line has none.
static const uint64_t unsaid = UINT64_MAX;

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
    } modes[] = {{"drain", keep_open}, {"hold", keep_open}, {"storm", storm},
                 {"echo", echo},       {"stuck", stuck},    {"relay", relay}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(name, modes[i].name) == 0) {
            result->mode = modes[i].name;
            result->run = modes[i].run;
            return;
        }
    }
    fail_usage("there is no mode '%s'", name);
}

// Gives what was not said its default, and refuses what does not fit together.
static void complete(options *result) {
    if (result->duration == unsaid) {
        result->duration = UINT64_C(1000000000) * (result->run == stuck ? 10 : 1);
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
    if (result->run == relay && result->stalled >= result->connections) {
        fail_usage("--stalled %d leaves none of --connections %d", result->stalled,
                   result->connections);
    }
    if (result->run == stuck) {
        result->rate = result->rate == 0 ? 2000 : result->rate;
        double seconds = (double)(result->warm_up + result->duration) / 1e9;
        double count = result->rate * seconds;
        if (count < 1 || count > (double)MAX_CONNECTIONS) {
            fail_usage("--rate %.15g for %.15g s must be from 1 to %d connections", result->rate,
                       seconds, MAX_CONNECTIONS);
        }
    }
}

void options_parse(options *result, int argc, char *argv[]) {
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"connections", required_argument, NULL, 'c'},
        {"sources", required_argument, NULL, 'f'}, {"in-flight", required_argument, NULL, 'i'},
        {"active", required_argument, NULL, 'a'},  {"size", required_argument, NULL, 'b'},
        {"rate", required_argument, NULL, 'r'},    {"answer-limit", required_argument, NULL, 'l'},
        {"seconds", required_argument, NULL, 's'}, {"warm-up", required_argument, NULL, 'w'},
        {"cpu-of", required_argument, NULL, 'u'},  {"deadline", required_argument, NULL, 'd'},
        {"one-way", no_argument, NULL, 'o'},       {"stalled", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    *result = (options){.sources = 1,
                        .in_flight = 64,
                        .size = 64,
                        .answer_limit = UINT64_C(5000000000),
                        .duration = unsaid,
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
        case 'l':
            result->answer_limit = duration(name, optarg);
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
        case 'o':
            result->one_way = true;
            break;
        case 't':
            result->stalled = integer(name, optarg, 0, MAX_CONNECTIONS);
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
    if (result->port == 0 && result->run != relay) {
        fail_usage("--port is missing");
    }
    complete(result);
}
