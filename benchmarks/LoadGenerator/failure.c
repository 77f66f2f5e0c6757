// SPDX-License-Identifier: Apache-2.0

#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_FAILED = 1, STATUS_USAGE = 64 };

static void say(const char *format, va_list arguments) {
    fputs("load-generator: ", stderr);
    vfprintf(stderr, format, arguments);
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(STATUS_FAILED);
}

void fail_errno(const char *format, ...) {
    int number = errno;
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(number));
    exit(STATUS_FAILED);
}

void fail_usage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    fputs(" (see load-generator --help)\n", stderr);
    exit(STATUS_USAGE);
}
