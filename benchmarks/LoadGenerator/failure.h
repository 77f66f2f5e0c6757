// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_FAILURE_H
#define LOAD_GENERATOR_FAILURE_H

// Say on standard error what went wrong and end the program: a load that is not exactly what was
// asked for has no figures.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The same, with the text of errno after it.
_Noreturn void fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

// For a wrong command line: names the way to the usage text, and another exit status.
_Noreturn void fail_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
