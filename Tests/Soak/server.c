// SPDX-License-Identifier: Apache-2.0

// The C core's server of the soak: sends back what comes, and obeys commands on its standard input,
// one word a line. Each is answered by a line on the standard output.

#include <CServerCore.h>

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct soak_server {
    struct event_base *base;
    csc_server *server;
    csc_address address; // with the port that the kernel chose
    struct rlimit descriptors;
    bool holds; // takes nothing that is pending
    bool told_to_break;
    unsigned long failures; // errors that no command provoked
} soak_server;

// A client whose bytes are on their way in or, while the kernel takes no more, on their way out.
typedef struct client {
    struct event readable, writable;
    char *rest; // owned; NULL while nothing waits
    size_t length;
} client;

static void answer(const char *line) {
    puts(line);
    fflush(stdout);
}

static void drop(client *self) {
    event_del(&self->readable);
    event_del(&self->writable);
    close(event_get_fd(&self->readable));
    free(self->rest);
    free(self);
}

// How many bytes went; -1 when the connection has ended.
static ssize_t send_some(int descriptor, const char *bytes, size_t length) {
    ssize_t sent = send(descriptor, bytes, length, MSG_NOSIGNAL);
    return sent >= 0 ? sent : errno == EAGAIN ? 0 : -1;
}

static void send_rest(int descriptor, short events, void *context) {
    (void)events;
    client *self = context;
    ssize_t sent = send_some(descriptor, self->rest, self->length);
    if (sent < 0) {
        drop(self);
        return;
    }
    self->length -= (size_t)sent;
    memmove(self->rest, self->rest + sent, self->length);
    if (self->length == 0) {
        free(self->rest);
        self->rest = NULL;
        event_del(&self->writable);
        event_add(&self->readable, NULL);
    }
}

static void keep_rest(client *self, const char *bytes, size_t length) {
    self->rest = malloc(length);
    if (!self->rest) {
        drop(self);
        return;
    }
    memcpy(self->rest, bytes, length);
    self->length = length;
    event_del(&self->readable);
    event_add(&self->writable, NULL);
}

static void receive(int descriptor, short events, void *context) {
    static char buffer[16384];
    (void)events;
    client *self = context;
    ssize_t received = recv(descriptor, buffer, sizeof buffer, 0);
    if (received <= 0) {
        if (received == 0 || errno != EAGAIN) {
            drop(self);
        }
        return;
    }
    ssize_t sent = send_some(descriptor, buffer, (size_t)received);
    if (sent < 0) {
        drop(self);
    } else if (sent < received) {
        keep_rest(self, buffer + sent, (size_t)(received - sent));
    }
}

static void on_new_connection(csc_server *server, void *context) {
    soak_server *it = context;
    csc_connection connection;
    while (!it->holds && csc_server_next_pending(server, &connection)) {
        client *self = calloc(1, sizeof *self);
        if (!self) {
            close(connection.descriptor);
            it->failures++;
            continue;
        }
        event_assign(&self->readable, it->base, connection.descriptor, EV_READ | EV_PERSIST,
                     receive, self);
        event_assign(&self->writable, it->base, connection.descriptor, EV_WRITE | EV_PERSIST,
                     send_rest, self);
        event_add(&self->readable, NULL);
    }
}

static void listen_again(soak_server *it) {
    if (!csc_server_listen(it->server, &it->address)) {
        fprintf(stderr, "cannot listen again: %s\n", csc_server_error_string(it->server));
        it->failures++;
    }
}

static void on_accept_error(csc_server *server, csc_error error, void *context) {
    soak_server *it = context;
    if (!csc_server_is_listening(server)) {
        it->failures += !it->told_to_break;
        it->told_to_break = false;
        listen_again(it);
        answer("done");
    } else if (error != CSC_ERROR_SOCKET_RESOURCE) {
        fprintf(stderr, "cannot accept: %s\n", csc_server_error_string(server));
        it->failures++;
    }
}

static unsigned long count_descriptors(void) {
    unsigned long count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

static void report(const soak_server *it) {
    csc_statistics now;
    csc_server_statistics(it->server, &now, sizeof now);
    printf("report %llu %llu %llu %llu %llu %llu %llu %lu %lu\n", (unsigned long long)now.accepted,
           (unsigned long long)now.delivered, (unsigned long long)now.pending,
           (unsigned long long)now.discarded_on_close, (unsigned long long)now.peer_errors,
           (unsigned long long)now.resource_errors, (unsigned long long)now.listener_errors,
           count_descriptors(), it->failures);
    fflush(stdout);
}

// So that not one more descriptor can be had.
static void lower_limit(const soak_server *it) {
    struct rlimit limit = it->descriptors;
    int lowest_free = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(lowest_free);
    limit.rlim_cur = (rlim_t)lowest_free;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void obey(soak_server *it, const char *word) {
    int number = 0;
    if (strcmp(word, "report") == 0) {
        report(it);
        return;
    }
    if (strcmp(word, "end") == 0) {
        event_base_loopbreak(it->base);
    } else if (strcmp(word, "lower") == 0) {
        lower_limit(it);
    } else if (strcmp(word, "restore") == 0) {
        setrlimit(RLIMIT_NOFILE, &it->descriptors);
    } else if (strcmp(word, "pause") == 0) {
        csc_server_pause(it->server);
    } else if (strcmp(word, "resume") == 0) {
        csc_server_resume(it->server);
    } else if (sscanf(word, "limit %d", &number) == 1) {
        csc_server_set_max_pending(it->server, number);
    } else if (strcmp(word, "hold") == 0) {
        it->holds = true;
    } else if (strcmp(word, "close") == 0) {
        csc_server_close(it->server);
        it->holds = false;
        listen_again(it);
    } else if (strcmp(word, "break") == 0) {
        it->told_to_break = true;
        shutdown(csc_server_descriptor(it->server), SHUT_RDWR);
        return; // answered when it listens again
    } else {
        it->failures++;
    }
    answer("done");
}

static void on_command(int descriptor, short events, void *context) {
    static char line[64];
    static size_t length;
    (void)events;
    soak_server *it = context;
    ssize_t received = read(descriptor, line + length, sizeof line - 1 - length);
    if (received <= 0) {
        event_base_loopbreak(it->base); // its parent has gone
        return;
    }
    length += (size_t)received;
    line[length] = '\0';
    char *end = strchr(line, '\n');
    if (end) {
        *end = '\0';
        length = 0; // the next command comes after the answer to this one
        obey(it, line);
    }
}

static void ignore(int number) {
    (void)number;
}

int main(void) {
    soak_server it = {.base = event_base_new()};
    struct sigaction interrupting = {.sa_handler = ignore}; // without SA_RESTART
    sigaction(SIGUSR1, &interrupting, NULL);
    signal(SIGINT, SIG_IGN); // Ctrl-C is for the client, which then ends this program
    getrlimit(RLIMIT_NOFILE, &it.descriptors);
    it.server = csc_server_new(it.base);
    csc_server_on_new_connection(it.server, on_new_connection, &it);
    csc_server_on_accept_error(it.server, on_accept_error, &it);
    csc_address_parse("127.0.0.1", 0, &it.address);
    if (!it.base || !csc_server_listen(it.server, &it.address)) {
        fprintf(stderr, "cannot listen: %s\n", csc_server_error_string(it.server));
        return 1;
    }
    it.address = csc_server_address(it.server);
    struct event command;
    event_assign(&command, it.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_command, &it);
    event_add(&command, NULL);
    printf("listening %u\n", (unsigned)it.address.port);
    fflush(stdout);
    event_base_dispatch(it.base);
    event_del(&command);
    csc_server_free(it.server);
    event_base_free(it.base);
    return 0;
}
