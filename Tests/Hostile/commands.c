// SPDX-License-Identifier: Apache-2.0

// The commands that drive the subject: a word and at most two numbers a line.

#include "subject.h"

#include <FaultInjection.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void print_statistics(const subject *subject) {
    csc_statistics now;
    csc_server_statistics(subject->server, &now, sizeof now);
    printf("{\"accepted\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"pending\":%" PRIu64
           ",\"discarded\":%" PRIu64 ",\"shed\":%" PRIu64 ",\"peer_errors\":%" PRIu64
           ",\"resource_errors\":%" PRIu64 ",\"permission_errors\":%" PRIu64
           ",\"listener_errors\":%" PRIu64 ",\"episodes\":%" PRIu64 ",\"accept_queue\":%" PRIu64
           ",\"accept_queue_limit\":%" PRIu64,
           now.accepted, now.delivered, now.pending, now.discarded_on_close, now.shed,
           now.peer_errors, now.resource_errors, now.permission_errors, now.listener_errors,
           now.error_episodes, now.accept_queue, now.accept_queue_limit);
    printf(",\"in_preface\":%" PRIu64 ",\"ended_in_preface\":%" PRIu64
           ",\"preface_invalid\":%" PRIu64 ",\"preface_cut_short\":%" PRIu64
           ",\"preface_timeouts\":%" PRIu64 ",\"preface_silent\":%" PRIu64 ",\"local\":%d",
           now.in_preface, now.ended_in_preface, now.preface_invalid, now.preface_cut_short,
           now.preface_timeouts, now.preface_silent, subject->local);
    printf(",\"listening\":%s,\"error\":\"%s\",\"told\":%d,\"held\":%d,\"connection_error\":%d,"
           "\"signals\":%d,\"turns\":%" PRIu64 ",\"accepts\":%" PRIu64 ",\"bad_closes\":%" PRIu64
           ",\"wall_clock\":%" PRId64 "}\n",
           csc_server_is_listening(subject->server) ? "true" : "false",
           csc_server_error_string(subject->server), subject->accept_errors, connections_held(),
           connections_error(), subject->signals, fault_calls(FAULT_EPOLL_WAIT),
           fault_calls(FAULT_ACCEPT4), fault_bad_closes(), (int64_t)time(NULL));
}

static void wait_for_connection(subject *subject, int msec) {
    bool timed_out = false;
    int64_t start = microseconds();
    bool available = csc_server_wait(subject->server, msec, &timed_out);
    int64_t elapsed = microseconds() - start;
    connections_serve(subject->server, subject);
    printf("{\"available\":%s,\"timed_out\":%s,\"microseconds\":%" PRId64 "}\n",
           available ? "true" : "false", timed_out ? "true" : "false", elapsed);
}

static void close_server(subject *subject) {
    int64_t start = microseconds();
    csc_server_close(subject->server);
    printf("{\"microseconds\":%" PRId64 "}\n", microseconds() - start);
}

// A child that does not exec: it ends its copy of the server, and then as programs do.
static void fork_child(subject *subject) {
    int status = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        csc_server_free(subject->server);
        exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    printf("{\"status\":%d}\n", status);
}

// Counts the sockets that a program started from here finds open.
static void spawn_child(void) {
    int ends[2];
    posix_spawn_file_actions_t actions;
    char *command[] = {"ls", "-l", "/proc/self/fd", NULL};
    char line[512];
    pid_t child = -1;
    int sockets = 0;
    int lines = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        puts("{\"sockets\":-1}");
        return;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int failure = posix_spawnp(&child, "ls", &actions, NULL, command, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    while (output && fgets(line, sizeof line, output)) {
        lines++;
        sockets += strstr(line, "socket:") || strstr(line, "anon_inode:");
    }
    if (output) {
        fclose(output);
    }
    if (failure == 0) {
        waitpid(child, NULL, 0);
    }
    printf("{\"sockets\":%d}\n", failure == 0 && lines > 3 ? sockets : -1);
}

// Every so many microseconds; 0 for never again.
static void set_alarm(int interval) {
    struct itimerval often = {.it_interval.tv_usec = interval, .it_value.tv_usec = interval};
    setitimer(ITIMER_REAL, &often, NULL);
    puts("{}");
}

// For things that have no answer.
static void done(void) {
    puts("{}");
}

static void obey(subject *subject, const char *word, int one, int two) {
    if (strcmp(word, "statistics") == 0) {
        print_statistics(subject);
    } else if (strcmp(word, "wait") == 0) {
        wait_for_connection(subject, one);
    } else if (strcmp(word, "close") == 0) {
        close_server(subject);
    } else if (strcmp(word, "fork") == 0) {
        fork_child(subject);
    } else if (strcmp(word, "spawn") == 0) {
        spawn_child();
    } else if (strcmp(word, "alarm") == 0) {
        set_alarm(one);
    } else if (strcmp(word, "fail") == 0) {
        fault_fail(FAULT_ACCEPT4, 1, one, two);
        done();
    } else if (strcmp(word, "heal") == 0) {
        fault_clear();
        done();
    } else if (strcmp(word, "drop") == 0) {
        connections_drop(one);
        csc_server_descriptor_freed(subject->server);
        done();
    } else if (strcmp(word, "pause") == 0) {
        csc_server_pause(subject->server);
        done();
    } else if (strcmp(word, "resume") == 0) {
        csc_server_resume(subject->server);
        done();
    } else {
        printf("{\"unknown\":\"%s\"}\n", word);
    }
}

bool commands_read(subject *subject) {
    static char line[128];
    static size_t length;
    ssize_t count;
    do {
        count = read(STDIN_FILENO, line + length, sizeof line - 1 - length);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) {
        return false;
    }
    length += (size_t)count;
    line[length] = '\0';
    char *newline;
    while ((newline = strchr(line, '\n'))) {
        char word[32];
        int one = 0;
        int two = 0;
        if (sscanf(line, "%31s %d %d", word, &one, &two) >= 1) {
            obey(subject, word, one, two);
            fflush(stdout);
        }
        size_t used = (size_t)(newline - line) + 1;
        memmove(line, newline + 1, length - used + 1);
        length -= used;
    }
    return true;
}
