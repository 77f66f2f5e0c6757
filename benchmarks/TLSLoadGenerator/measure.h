// SPDX-License-Identifier: Apache-2.0

#ifndef TLS_LOAD_GENERATOR_MEASURE_H
#define TLS_LOAD_GENERATOR_MEASURE_H

#include "client.h"
#include "latency.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// What the command line asks for; times in nanoseconds.
typedef struct settings {
    const char *mode;
    uint16_t port;
    pid_t server;      // whose CPU time is read; 0 for none
    int connections;   // at once
    size_t size;       // of a message
    double rate;       // echo: messages a second on all connections; 0 for as fast as answered
    bool resumes;      // handshakes: offers the last session
    bool is_greeted;   // handshakes: the server sends the message unasked
    bool has_realtime; // goes before all that the machine does besides, if it may
    uint64_t warm_up, duration;
} settings;

// The time in which things are counted, and what was.
typedef struct measure {
    uint64_t opens, closes;
    uint64_t cpu_before, cpu_after;
    bool is_open;
    uint64_t count, resumed;
    uint64_t latest; // of what was to be sent at a time, how late at most
    latencies latencies;
} measure;

uint64_t now(void);

void measure_begin(measure *self, const settings *settings);

// To be called often. Returns whether the time is over.
bool measure_is_over(measure *self, const settings *settings);

void measure_count(measure *self, uint64_t since, bool is_resumed);

// One line of JSON.
void measure_print(measure *self, const settings *settings);

// The modes.
void echo(const settings *settings);
void handshakes(const settings *settings);

#endif
