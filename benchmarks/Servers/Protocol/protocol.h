// SPDX-License-Identifier: Apache-2.0

#ifndef SERVERS_PROTOCOL_H
#define SERVERS_PROTOCOL_H

// What the C and C++ servers have in common: the conversation with benchmarks/run.
// benchmarks/README.md describes it.

#include <netinet/in.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PROTOCOL_BACKLOG = 65535 };

#define PROTOCOL_GREETING "hello, stranger\n"
enum { PROTOCOL_GREETING_LENGTH = sizeof PROTOCOL_GREETING - 1 };

typedef enum protocol_load { PROTOCOL_DRAIN, PROTOCOL_STORM, PROTOCOL_ECHO } protocol_load;

// Reads `drain N`, `storm` or `echo`; ends the program with a usage text otherwise. N is in
// protocol_wanted then.
protocol_load protocol_parse(int argc, char *argv[]);
extern long protocol_wanted;

// 127.0.0.1, port 0.
struct sockaddr_in protocol_address(void);

// A listening socket, non-blocking, with TCP_NODELAY for the connections to inherit.
int protocol_listen(void);

// Prints the port, of a socket or given. In drain it then waits for the line that lets accepting
// start.
void protocol_start(protocol_load load, int listening_socket);
void protocol_start_on_port(protocol_load load, uint16_t port);

// Drain: one connection is in the program's hands, from this peer. The last one prints the result.
void protocol_drained(const struct sockaddr_in *peer);
void protocol_drained_from(uint8_t last_octet, uint16_t port);

// To be called when standard input is readable: ends the program if that was the end.
void protocol_standard_input_is_readable(void);

#ifdef __cplusplus
}
#endif

#endif
