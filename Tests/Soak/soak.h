// SPDX-License-Identifier: Apache-2.0

// What the parts of the soak's client share.
#ifndef SOAK_H
#define SOAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// process.c: the server's program, which obeys commands.

typedef struct server_process {
    pid_t pid;
    int commands; // its standard input
    int answers;  // its standard output
    uint16_t port;
} server_process;

typedef struct server_report {
    unsigned long long accepted, delivered, pending, discarded, peer_errors, resource_errors,
        listener_errors, descriptors, failures;
} server_report;

void process_start(server_process *it, char *const arguments[]);
// Sends a command and waits for its answer; the same in two parts.
void process_tell(const server_process *it, const char *command);
void process_send(const server_process *it, const char *command);
void process_await(const server_process *it, const char *command);
server_report process_report(const server_process *it);
// Ends it; true when it ended as it should.
bool process_end(server_process *it);

// memory.c: samples of what the server holds, against the number of connections.

void memory_sample(pid_t pid, uint64_t connections);
void memory_print_tenths(uint64_t total);
// By how many bytes a straight line through the samples of so many last tenths rises, and their
// mean.
void memory_trend(uint64_t total, int tenths, double *growth, double *mean);

// load.c: the clients.

typedef enum kind {
    NORMAL,
    RESET_EARLY, // before the server can have accepted it
    RESET_AFTER_DATA,
    HALF_CLOSE,
    SILENT,
    BYTE_BY_BYTE,
    BIG_UNREAD, // sends much and reads nothing
    HELD,
    KINDS
} kind;

extern const char *const kind_names[KINDS];

typedef struct load_totals {
    uint64_t begun;
    uint64_t established;
    uint64_t of_kind[KINDS];
} load_totals;

// A client that waits longer than that for an answer fails the soak.
void load_start(uint16_t port, unsigned seed, int64_t answer_seconds);
const load_totals *load_totals_now(void);
// From now on half of the clients reset early, and the others stay for a moment: more than a limit of
// some hundred lets in.
void load_halve(void);
// Begins connections while there is room, at most until so many are begun, and lets them go on, for
// some milliseconds. While the server cannot accept, only such as wait for it.
void load_turn(uint64_t most, bool server_accepts);
size_t load_active(void);
// Whether the first clients, as many as there ever are at once and held, may still be there.
bool load_begins(void);
// Connects that many, for the server to discard, and waits for their ends.
void load_connect_silent(size_t count);
void load_await_ends(void);

// events.c: what happens to the server meanwhile.

typedef struct events_done {
    unsigned total;
    unsigned breaks;     // of the listening socket
    unsigned exhaustion; // of descriptors
    uint64_t discards;   // connections that it must have discarded
} events_done;

void events_start(const server_process *server, bool with_close, int64_t every_milliseconds);
// Does what is due. False while the server cannot accept.
bool events_turn(void);
// Ends what is going on.
void events_end(void);
const events_done *events_done_so_far(void);

// main.c
int64_t milliseconds(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
