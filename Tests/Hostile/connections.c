// SPDX-License-Identifier: Apache-2.0

// What the subject does with its connections.

#include "subject.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_HELD = 65536 };

static int held[MOST_HELD]; // a ring
static int first, count;
static int talking;
static int last_error;

static void end(struct event *event) {
    event_del(event);
    close(event_get_fd(event));
    free(event);
    talking--;
}

// Clients send little and wait for it, so that the kernel always has room.
static void echo(int descriptor, short events, void *context) {
    static char buffer[4096];
    (void)events;
    ssize_t received = recv(descriptor, buffer, sizeof buffer, 0);
    if (received > 0) {
        received = send(descriptor, buffer, (size_t)received, MSG_NOSIGNAL);
    }
    if (received < 0 && errno == EAGAIN) {
        return;
    }
    if (received < 0) {
        last_error = errno;
    }
    if (received <= 0) {
        end(context);
    }
}

static bool talk(struct event_base *base, int descriptor) {
    struct event *event = malloc(sizeof *event);
    if (!event || event_assign(event, base, descriptor, EV_READ | EV_PERSIST, echo, event) != 0 ||
        event_add(event, NULL) != 0) {
        free(event);
        return false;
    }
    talking++;
    return true;
}

static bool hold(int descriptor) {
    if (count == MOST_HELD) {
        return false;
    }
    held[(first + count++) % MOST_HELD] = descriptor;
    return true;
}

static void format(const csc_address *address, char *text) {
    if (address->family == CSC_FAMILY_UNIX) {
        strcpy(text, "path");
    } else {
        csc_address_format(address, text, CSC_ADDRESS_TEXT_SIZE);
    }
}

static void name(subject *subject, const csc_connection *connection) {
    char peer[CSC_ADDRESS_TEXT_SIZE] = "";
    char proxy[CSC_ADDRESS_TEXT_SIZE] = "";
    char text[sizeof peer + sizeof proxy + 64];
    csc_proxy_tls tls = {.is_tls = false};
    const csc_proxied *proxied = connection->proxied;
    if (proxied) {
        format(&proxied->proxy, proxy);
        subject->local += proxied->header.source.family == CSC_FAMILY_NONE;
        csc_proxy_tls_read(proxied->tlvs, &tls);
    }
    format(&connection->peer, peer);
    int length = snprintf(text, sizeof text, "%s %u %s%s%.*s\n", peer,
                          (unsigned)connection->peer.port, proxy, tls.is_tls ? " " : "",
                          tls.is_tls ? (int)tls.version.count : 0, (const char *)tls.version.start);
    send(connection->descriptor, text, (size_t)(length < (int)sizeof text ? length : 0),
         MSG_NOSIGNAL);
}

void connections_serve(csc_server *server, void *context) {
    subject *subject = context;
    csc_connection connection;
    if (subject->service == LEAVE) {
        return;
    }
    while (csc_server_next_pending(server, &connection)) {
        int descriptor = connection.descriptor;
        if (subject->service == NAME) {
            name(subject, &connection);
        }
        csc_proxied_free(connection.proxied);
        bool kept = (subject->service == HOLD && hold(descriptor)) ||
                    (subject->service == ECHO && talk(subject->base, descriptor));
        if (!kept) {
            close(descriptor);
        }
    }
}

void connections_drop(int wanted) {
    while (wanted-- > 0 && count > 0) {
        close(held[first]);
        first = (first + 1) % MOST_HELD;
        count--;
    }
}

int connections_held(void) {
    return count + talking;
}

int connections_error(void) {
    return last_error;
}
