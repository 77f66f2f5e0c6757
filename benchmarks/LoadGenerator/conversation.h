// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_CONVERSATION_H
#define LOAD_GENERATOR_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One connection of echo: a message at a time goes out and must come back the same.
typedef struct conversation {
    int descriptor;
    int epoll;
    bool waiting;      // for the rest of its message to come back
    bool blocked;      // the kernel takes no more of it now
    size_t sent;       // bytes of the message
    size_t received;   // bytes of the message
    uint64_t number;   // of the message, its first bytes
    uint64_t since;    // when it was sent, or was due
    uint64_t messages; // how many it has begun
} conversation;

// Sets the size of all messages. Once, first.
void conversation_prepare(size_t size);

// Registers the connection with epoll; the conversation must stay where it is.
void conversation_begin(conversation *self, int epoll, int descriptor);

// Sends the next message; the last one must be back.
void conversation_send(conversation *self, uint64_t since);

// Goes on after epoll said so. Returns whether the message is back now.
bool conversation_continue(conversation *self, uint32_t events);

#endif
