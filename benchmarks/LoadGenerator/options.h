// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_OPTIONS_H
#define LOAD_GENERATOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct options options;

// What the command line asks for; durations in nanoseconds.
struct options {
    void (*run)(const options *); // the mode
    const char *mode;
    uint16_t port;
    pid_t server;    // whose CPU time is measured, 0 for none
    int sources;     // clients come from 127.0.0.1 to 127.0.0.N in turn
    int connections; // how many: opened at once, or in storm until the end (0: until the time is
                     // up)
    int active;      // echo: how many of them talk
    int in_flight;   // storm: how many at once
    int size;        // echo: bytes of a message
    int stalled;     // relay: connections whose far end does not read
    bool one_way;    // relay: bytes go from the near end to the far one alone
    double rate;     // echo: messages a second over all connections, 0 for as fast as answered;
                     // stuck: connections a second
    uint64_t answer_limit; // stuck: a connection that waits longer has failed
    uint64_t warm_up;      // before anything is counted
    uint64_t duration;     // that is counted
    uint64_t deadline;     // of the whole program
};

// Ends the program for anything wrong or missing, and for --help.
void options_parse(options *result, int argc, char *argv[]);

#endif
