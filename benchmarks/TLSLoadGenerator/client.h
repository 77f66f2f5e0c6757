// SPDX-License-Identifier: Apache-2.0

#ifndef TLS_LOAD_GENERATOR_CLIENT_H
#define TLS_LOAD_GENERATOR_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum client_phase {
    CLIENT_CLOSED,
    CLIENT_SHAKING_HANDS,
    CLIENT_SENDING,
    CLIENT_RECEIVING,
    CLIENT_IDLE // its message is back
} client_phase;

// One encrypted connection: a message at a time goes out and has to come back the same.
typedef struct client {
    SSL *ssl;
    SSL_SESSION *session; // the last that the server has sent; kept when the connection is closed
    int descriptor;
    client_phase phase;
    bool is_resumed;
    size_t sent, received; // of the message
    uint64_t since;        // when it began, or was due
    uint64_t messages;     // how many it has begun
} client;

// Of all connections: the port on 127.0.0.1, bytes of a message, whether the server sends one
// unasked, and whether sessions are resumed. Once, first.
void client_prepare(uint16_t port, size_t size, bool is_greeted, bool resumes);

// Connects, shakes hands, and exchanges a first message. epoll is given the client.
void client_begin(client *self, int epoll, uint64_t since);

// Exchanges another message; the last one is back.
void client_send(client *self, uint64_t since);

// Goes on after epoll said so. Returns whether the message is back now. Ends the program when the
// connection is broken, or gives back something else.
bool client_continue(client *self);

// Closes by a reset, which leaves no port in TIME_WAIT.
void client_close(client *self);

#endif
