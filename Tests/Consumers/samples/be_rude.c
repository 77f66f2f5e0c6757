// SPDX-License-Identifier: Apache-2.0

// Clients that break off at every moment: before a byte, in the middle of an answer, with input
// unread, by a reset or half-closed; and at the end some that behave.
//
//   be_rude PORT COUNT EXPECTED    EXPECTED: what a polite client reads first, or "echo"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 20000, POLITE = 20, MUCH = 2000000 };

static struct sockaddr_in where = {.sin_family = AF_INET};

static int connect_once(void) {
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client >= 0 && connect(client, (struct sockaddr *)&where, sizeof where) == 0) {
        return client;
    }
    if (client >= 0) {
        close(client);
    }
    return -1;
}

// A server that has just been started may not listen yet.
static int connect_soon(void) {
    for (int i = 0; i < 2000; i++) {
        int client = connect_once();
        if (client >= 0) {
            return client;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return -1;
}

static void reset(int client) {
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(client);
}

static bool is_ready(int client, short events) {
    struct pollfd entry = {.fd = client, .events = events};
    return poll(&entry, 1, WAIT_MS) == 1;
}

// The way in which the nth client breaks off.
static void be_rude(int client, int nth) {
    static char bytes[32768];
    char byte;
    switch (nth % 8) {
    case 0:
        break; // at once
    case 1:
        send(client, bytes, 1, MSG_NOSIGNAL);
        break;
    case 2:
        shutdown(client, SHUT_WR);
        break;
    case 3: // in the middle of a large message
        send(client, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 4: // when something has come back
        send(client, bytes, 100, MSG_NOSIGNAL);
        if (is_ready(client, POLLIN)) {
            recv(client, &byte, 1, MSG_DONTWAIT);
        }
        break;
    case 5:
        send(client, bytes, 100, MSG_NOSIGNAL);
        shutdown(client, SHUT_WR);
        break;
    case 6:
        close(client); // in order, but with what comes unread
        return;
    default:
        send(client, bytes, 10, MSG_NOSIGNAL);
        shutdown(client, SHUT_RD);
        break;
    }
    reset(client);
}

static bool reads_greeting(int client, const char *expected) {
    char text[64] = "";
    size_t length = 0;
    while (length < strlen(expected) && is_ready(client, POLLIN)) {
        ssize_t count = recv(client, text + length, sizeof text - 1 - length, 0);
        if (count <= 0) {
            break;
        }
        length += (size_t)count;
    }
    return strncmp(text, expected, strlen(expected)) == 0;
}

// Sends much without reading, then finishes sending, and gets all of it.
static bool gets_echo(int client) {
    static char sent[MUCH];
    static char received[MUCH + 1];
    size_t out = 0;
    size_t in = 0;
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = (char)(i * 31 + i / 251);
    }
    fcntl(client, F_SETFL, O_NONBLOCK);
    for (;;) {
        if (!is_ready(client, out < sizeof sent ? POLLIN | POLLOUT : POLLIN)) {
            return false;
        }
        ssize_t count =
            out < sizeof sent ? send(client, sent + out, sizeof sent - out, MSG_NOSIGNAL) : 0;
        out += count > 0 ? (size_t)count : 0;
        if (count > 0 && out == sizeof sent) {
            shutdown(client, SHUT_WR);
        }
        // While there is more to send it reads only where the server takes no more.
        if (count > 0 && out < sizeof sent) {
            continue;
        }
        count = recv(client, received + in, sizeof received - in, 0);
        if (count == 0 || (count < 0 && errno != EAGAIN)) {
            break;
        }
        in += count > 0 ? (size_t)count : 0;
    }
    return in == sizeof sent && memcmp(sent, received, in) == 0;
}

int main(int argc, char *argv[]) {
    if (argc != 4) {
        return 64;
    }
    where.sin_port = htons((uint16_t)atoi(argv[1]));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool echoes = strcmp(argv[3], "echo") == 0;
    int count = atoi(argv[2]);
    for (int i = 0; i < count; i++) {
        int client = i == 0 ? connect_soon() : connect_once();
        if (client < 0) {
            fprintf(stderr, "client %d cannot connect: %s\n", i, strerror(errno));
            return 1;
        }
        be_rude(client, i);
    }
    for (int i = 0; i < POLITE; i++) {
        int client = connect_once();
        if (client < 0 || !(echoes ? gets_echo(client) : reads_greeting(client, argv[3]))) {
            fprintf(stderr, "polite client %d was not served\n", i);
            return 1;
        }
        close(client);
    }
    printf("%d rude clients and %d polite ones\n", count, POLITE);
    return 0;
}
