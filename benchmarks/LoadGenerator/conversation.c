// SPDX-License-Identifier: Apache-2.0

#include "conversation.h"

#include "connecting.h"
#include "failure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// All messages are the same but for their number at the start, so one copy does for all of them.
// Each is a line of ASCII, so that a server that reads lines sends it back, too.
static unsigned char *message;
static unsigned char *answer;
static size_t message_size;
static uint64_t last_number;

void conversation_prepare(size_t size) {
    message_size = size;
    message = malloc(size);
    answer = malloc(size + 1); // room to notice a byte too many
    if (!message || !answer) {
        fail("no memory for a message of %zu bytes", size);
    }
    for (size_t i = 0; i < size; i++) {
        message[i] = (unsigned char)(' ' + (i * 31 + i / 251) % 95);
    }
    message[size - 1] = '\n';
}

static void stamp(uint64_t number) {
    for (size_t i = 0; i < 8 && i + 1 < message_size; i++) {
        message[i] = (unsigned char)('0' + (number >> 6 * i) % 64);
    }
}

static void watch(conversation *self, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (self->blocked ? EPOLLOUT : 0),
                                .data.ptr = self};
    if (epoll_ctl(self->epoll, operation, self->descriptor, &event) != 0) {
        fail_errno("cannot watch a connection");
    }
}

void conversation_begin(conversation *self, int epoll, int descriptor) {
    *self = (conversation){.epoll = epoll, .descriptor = descriptor};
    watch(self, EPOLL_CTL_ADD);
}

static void send_rest(conversation *self) {
    stamp(self->number);
    ssize_t count =
        send(self->descriptor, message + self->sent, message_size - self->sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
        fail_errno("cannot send");
    }
    self->sent += count > 0 ? (size_t)count : 0;
    bool blocked = self->sent < message_size;
    if (blocked != self->blocked) {
        self->blocked = blocked;
        watch(self, EPOLL_CTL_MOD);
    }
}

void conversation_send(conversation *self, uint64_t since) {
    self->number = ++last_number;
    self->messages++;
    self->since = since;
    self->sent = 0;
    self->received = 0;
    self->waiting = true;
    send_rest(self);
}

static bool receive(conversation *self) {
    size_t room = message_size - self->received + 1;
    ssize_t count = recv(self->descriptor, answer, room, 0);
    if (count < 0) {
        if (errno == EAGAIN) {
            return false;
        }
        fail_errno("a connection broke after %llu messages", (unsigned long long)self->messages);
    }
    if (count == 0) {
        fail("the server closed a connection after %llu messages",
             (unsigned long long)self->messages);
    }
    size_t length = (size_t)count;
    stamp(self->number);
    if (!self->waiting || self->received + length > self->sent ||
        memcmp(answer, message + self->received, length) != 0) {
        fail("a connection brought back something that was not sent");
    }
    self->received += length;
    self->waiting = self->received < message_size;
    return !self->waiting;
}

bool conversation_continue(conversation *self, uint32_t events) {
    if (self->blocked && (events & EPOLLOUT) != 0) {
        send_rest(self);
    }
    return (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && receive(self);
}
