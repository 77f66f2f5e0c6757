// SPDX-License-Identifier: Apache-2.0

// Runs the echo server as a process and talks to it as a client would.
// Usage: drive path/to/c-echo

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const char *program;

// Starts the program, with up to seven arguments and a NULL, and with one of its streams on a pipe,
// which is returned.
static FILE *start_with(pid_t *process, int stream, char *const arguments[]) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    *process = fork();
    CHECK(*process >= 0);
    if (*process == 0) {
        dup2(ends[1], stream);
        close(ends[0]);
        close(ends[1]);
        char *command[9] = {(char *)program};
        for (size_t i = 0; arguments[i]; i++) {
            CHECK(i < 7);
            command[i + 1] = arguments[i];
        }
        execv(program, command);
        _exit(127);
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

static FILE *start(pid_t *process, int stream, char *port) {
    return start_with(process, stream, (char *[]){"127.0.0.1", port, NULL});
}

static int exit_code(pid_t process) {
    int status = 0;
    CHECK(waitpid(process, &status, 0) == process);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int connect_to(unsigned port) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    return client;
}

static unsigned char byte_at(size_t position) {
    return (unsigned char)(position * 2654435761U >> 13);
}

// Sends so much before it reads anything, until the server's writes find no more room, then reads
// it all back.
static void echo(unsigned port, size_t size) {
    int client = connect_to(port);
    size_t sent = 0;
    size_t received = 0;
    bool reading = false;
    while (received < size) {
        struct pollfd entry = {.fd = client, .events = sent < size ? POLLOUT : 0};
        entry.events = (short)(entry.events | (reading ? POLLIN : 0));
        int ready = poll(&entry, 1, reading ? 60000 : 100);
        CHECK(ready >= 0);
        if (ready == 0) {
            CHECK(!reading); // neither side moves: the server waits for us to read
            reading = true;
        }
        unsigned char buffer[65536];
        if (entry.revents & POLLOUT) {
            size_t count = size - sent < sizeof buffer ? size - sent : sizeof buffer;
            for (size_t i = 0; i < count; i++) {
                buffer[i] = byte_at(sent + i);
            }
            ssize_t done = send(client, buffer, count, MSG_NOSIGNAL | MSG_DONTWAIT);
            CHECK(done > 0);
            sent += (size_t)done;
            if (sent == size) {
                CHECK(shutdown(client, SHUT_WR) == 0);
                reading = true;
            }
        }
        if (entry.revents & POLLIN) {
            ssize_t done = recv(client, buffer, sizeof buffer, MSG_DONTWAIT);
            CHECK(done > 0);
            for (size_t i = 0; i < (size_t)done; i++) {
                CHECK(buffer[i] == byte_at(received + i));
            }
            received += (size_t)done;
        }
    }
    char end;
    CHECK(recv(client, &end, 1, 0) == 0);
    close(client);
}

static void refuse_arguments(void) {
    static const struct {
        char *arguments[4];
        const char *complaint;
    } cases[] = {
        {{"127.0.0.1", "70007"}, "c-echo: a port is a number from 0 to 65535, not '70007'\n"},
        {{"127.0.0.1", "-1"}, "c-echo: a port is a number from 0 to 65535, not '-1'\n"},
        {{"127.0.0.1", "12x"}, "c-echo: a port is a number from 0 to 65535, not '12x'\n"},
        {{"127.0.0.1", " 12"}, "c-echo: a port is a number from 0 to 65535, not ' 12'\n"},
        {{"127.0.0.1", ""}, "c-echo: a port is a number from 0 to 65535, not ''\n"},
        {{"127.0.0.1", "99999999999999999999"},
         "c-echo: a port is a number from 0 to 65535, not '99999999999999999999'\n"},
        {{"localhost", "0"}, "c-echo: an address is IPv4, IPv6 or *, not 'localhost'\n"},
        {{"", "0"}, "c-echo: an address is IPv4, IPv6 or *, not ''\n"},
        {{"-c", "0"}, "c-echo: -c takes a number from 1 on, not '0'\n"},
        {{"-f", "1.5"},
         "c-echo: -f and -i take a number of seconds from 1 to 1000000, not '1.5'\n"},
        {{"-i", "0"}, "c-echo: -f and -i take a number of seconds from 1 to 1000000, not '0'\n"},
        {{"-l", "0"}, "c-echo: -l takes a number of loops from 1 to 1024, not '0'\n"},
        {{"-r", "0"}, "c-echo: -r and -s take a number from 1 on, not '0'\n"},
        {{"-s", "-1"}, "c-echo: -r and -s take a number from 1 on, not '-1'\n"},
        {{"127.0.0.1", "0", "0"},
         "usage: c-echo [-c connections] [-f seconds] [-i seconds] [-l loops] [-r rate] "
         "[-s connections] [address [port]]\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pid_t process;
        char line[256] = "";
        FILE *errors = start_with(&process, STDERR_FILENO, cases[i].arguments);
        CHECK(fgets(line, sizeof line, errors) != NULL);
        CHECK(strcmp(line, cases[i].complaint) == 0);
        CHECK(fgets(line, sizeof line, errors) == NULL);
        fclose(errors);
        CHECK(exit_code(process) == 64);
    }
}

// Idle clients, more than the server has descriptors, keep no other one out for long.
static void outlast_idle_clients(void) {
    struct rlimit usual;
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    struct rlimit few = {.rlim_cur = 64, .rlim_max = usual.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    pid_t server;
    unsigned port = 0;
    char *arguments[] = {"-f", "1", "-i", "1", "127.0.0.1", "0", NULL};
    int complaints = dup(STDERR_FILENO);
    FILE *errors = tmpfile();
    CHECK(errors && dup2(fileno(errors), STDERR_FILENO) == STDERR_FILENO);
    FILE *output = start_with(&server, STDOUT_FILENO, arguments);
    CHECK(dup2(complaints, STDERR_FILENO) == STDERR_FILENO);
    close(complaints);
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    CHECK(fscanf(output, "listening on 127.0.0.1 port %u", &port) == 1 && port > 0);

    enum { COUNT = 100 };
    int idle[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        idle[i] = connect_to(port);
        // Some say something first.
        CHECK(i % 2 == 0 || send(idle[i], "x", 1, MSG_NOSIGNAL) == 1);
    }
    echo(port, 1000);
    for (size_t i = 0; i < COUNT; i++) {
        char bytes[2];
        CHECK(recv(idle[i], bytes, sizeof bytes, MSG_WAITALL) == (ssize_t)(i % 2));
        close(idle[i]);
    }
    CHECK(kill(server, SIGINT) == 0);
    CHECK(exit_code(server) == 0);
    fclose(output);
    struct stat written;
    CHECK(fstat(fileno(errors), &written) == 0 && written.st_size == 0); // no shortage
    fclose(errors);
}

static int count_threads(pid_t process) {
    char path[64];
    char line[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)process);
    FILE *status = fopen(path, "r");
    CHECK(status);
    while (fgets(line, sizeof line, status) && sscanf(line, "Threads: %d", &count) != 1) {
    }
    fclose(status);
    return count;
}

// Clients at the same time, so that each loop gets some, and more than there may be.
static void serve_on_several_loops(void) {
    enum { LOOPS = 4, COUNT = 16 };
    pid_t server;
    unsigned port = 0;
    int clients[COUNT];
    FILE *output = start_with(&server, STDOUT_FILENO,
                              (char *[]){"-l", "4", "-c", "8", "127.0.0.1", "0", NULL});
    CHECK(fscanf(output, "listening on 127.0.0.1 port %u", &port) == 1 && port > 0);
    CHECK(count_threads(server) >= LOOPS); // a sanitizer has one of its own
    for (int i = 0; i < COUNT; i++) {
        clients[i] = connect_to(port);
        CHECK(send(clients[i], "x", 1, MSG_NOSIGNAL) == 1);
    }
    for (int i = 0; i < COUNT; i++) {
        char byte = 0;
        CHECK(recv(clients[i], &byte, 1, 0) == 1 && byte == 'x');
        close(clients[i]); // makes room for the next one
    }
    echo(port, 1000000);
    int silent = connect_to(port);
    echo(port, 1000);
    CHECK(kill(server, SIGINT) == 0);
    CHECK(exit_code(server) == 0);
    char byte;
    CHECK(recv(silent, &byte, 1, 0) == 0);
    close(silent);
    fclose(output);
}

int main(int argc, char *argv[]) {
    CHECK(argc == 2);
    program = argv[1];
    alarm(250);

    refuse_arguments();
    outlast_idle_clients();
    serve_on_several_loops();

    pid_t server;
    unsigned port = 0;
    FILE *output = start(&server, STDOUT_FILENO, "0");
    CHECK(fscanf(output, "listening on 127.0.0.1 port %u", &port) == 1 && port > 0);

    echo(port, 1);
    echo(port, 100000);
    echo(port, (size_t)32 << 20);

    // A client that resets, and one that is still there at the end.
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int rude = connect_to(port);
    CHECK(send(rude, "x", 1, MSG_NOSIGNAL) == 1);
    setsockopt(rude, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(rude);
    int silent = connect_to(port);
    echo(port, 1000);

    // A second server says why it cannot have the port.
    char text[16];
    char line[256] = "";
    pid_t second;
    snprintf(text, sizeof text, "%u", port);
    FILE *errors = start(&second, STDERR_FILENO, text);
    CHECK(fgets(line, sizeof line, errors) != NULL);
    CHECK(strcmp(line, "cannot listen: The bound address is already in use\n") == 0);
    fclose(errors);
    CHECK(exit_code(second) == 1);

    CHECK(kill(server, SIGINT) == 0);
    CHECK(exit_code(server) == 0);
    char byte;
    CHECK(recv(silent, &byte, 1, 0) == 0);
    close(silent);
    fclose(output);
    return 0;
}
