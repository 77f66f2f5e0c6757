// SPDX-License-Identifier: Apache-2.0

// The server's program: started, given commands, ended. See soak.h.

#include "soak.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_ANSWER_MS = 30000, LINE = 256 };

static void read_line(const server_process *it, char line[LINE]) {
    size_t length = 0;
    int64_t deadline = milliseconds() + LONGEST_ANSWER_MS;
    while (length < LINE - 1) {
        struct pollfd entry = {.fd = it->answers, .events = POLLIN};
        int64_t left = deadline - milliseconds();
        int ready = left > 0 ? poll(&entry, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        if (ready <= 0) {
            fail("the server does not answer");
        }
        if (read(it->answers, line + length, 1) != 1) {
            fail("the server has ended");
        }
        if (line[length] == '\n') {
            break;
        }
        length++;
    }
    line[length] = '\0';
}

void process_start(server_process *it, char *const arguments[]) {
    int commands[2];
    int answers[2];
    if (pipe(commands) != 0 || pipe(answers) != 0) {
        fail("no pipe: %s", strerror(errno));
    }
    it->pid = fork();
    if (it->pid < 0) {
        fail("no process: %s", strerror(errno));
    }
    if (it->pid == 0) {
        dup2(commands[0], STDIN_FILENO);
        dup2(answers[1], STDOUT_FILENO);
        close(commands[0]);
        close(commands[1]);
        close(answers[0]);
        close(answers[1]);
        execv(arguments[0], arguments);
        fprintf(stderr, "%s: %s\n", arguments[0], strerror(errno));
        _exit(127);
    }
    close(commands[0]);
    close(answers[1]);
    it->commands = commands[1];
    it->answers = answers[0];
    char line[LINE];
    read_line(it, line);
    unsigned port;
    if (sscanf(line, "listening %u", &port) != 1) {
        fail("the server says \"%s\"", line);
    }
    it->port = (uint16_t)port;
}

void process_send(const server_process *it, const char *command) {
    if (dprintf(it->commands, "%s\n", command) < 0) {
        fail("the server takes no command: %s", strerror(errno));
    }
}

static void ask(const server_process *it, const char *command, char answer[LINE]) {
    process_send(it, command);
    read_line(it, answer);
}

void process_tell(const server_process *it, const char *command) {
    process_send(it, command);
    process_await(it, command);
}

void process_await(const server_process *it, const char *command) {
    char answer[LINE];
    read_line(it, answer);
    if (strcmp(answer, "done") != 0) {
        fail("%s: the server says \"%s\"", command, answer);
    }
}

server_report process_report(const server_process *it) {
    char answer[LINE];
    server_report now;
    ask(it, "report", answer);
    if (sscanf(answer, "report %llu %llu %llu %llu %llu %llu %llu %llu %llu", &now.accepted,
               &now.delivered, &now.pending, &now.discarded, &now.peer_errors, &now.resource_errors,
               &now.listener_errors, &now.descriptors, &now.failures) != 9) {
        fail("the server says \"%s\"", answer);
    }
    return now;
}

bool process_end(server_process *it) {
    int status = 0;
    process_tell(it, "end");
    close(it->commands);
    close(it->answers);
    return waitpid(it->pid, &status, 0) == it->pid && status == 0;
}
