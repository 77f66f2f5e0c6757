// SPDX-License-Identifier: Apache-2.0

// Where each call comes from: two calls of the same kind from different places are two ways to
// fail.

#include "plans.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <string.h>

enum { MOST_CALLS = 8192, MOST_CALLERS = 32 };

typedef struct site {
    fault_call call;
    uint64_t number;
} site;

static _Thread_local bool is_recording;
static int depth;
static site sites[MOST_CALLS];
static int site_count;

void fault_record_sites(bool record, int callers) {
    is_recording = record;
    depth = callers;
    if (record) {
        site_count = 0;
    }
}

// The shim's own frames come first. In a test whose code under test is in the executable as well,
// they end with the call's name.
static int first_caller(fault_call call, void *const *callers, int count) {
    Dl_info here;
    Dl_info where;
    int last_in_executable = -1;
    bool leading = dladdr((void *)&site_count, &here);
    for (int i = 0; i < count; i++) {
        if (!dladdr(callers[i], &where)) {
            continue;
        }
        if (where.dli_sname && strcmp(where.dli_sname, fault_call_name(call)) == 0) {
            return i + 1;
        }
        leading = leading && where.dli_fbase == here.dli_fbase;
        last_in_executable = leading ? i : last_in_executable;
    }
    return last_in_executable + 1;
}

static bool is_in_executable(const void *address) {
    Dl_info here;
    Dl_info where;
    return dladdr((void *)&site_count, &here) && dladdr(address, &where) &&
           here.dli_fbase == where.dli_fbase;
}

static uint64_t number_of_callers(fault_call call) {
    void *callers[MOST_CALLERS];
    int count = backtrace(callers, MOST_CALLERS);
    int first = first_caller(call, callers, count);
    uint64_t number = UINT64_C(14695981039346656037);
    for (int i = first; i < count && (depth == 0 || i < first + depth); i++) {
        if (depth == 0 && is_in_executable(callers[i])) {
            break;
        }
        number = (number ^ (uint64_t)(uintptr_t)callers[i]) * UINT64_C(1099511628211);
    }
    return number;
}

void fault__note_site(fault_call call) {
    if (!is_recording || site_count == MOST_CALLS) {
        return;
    }
    int errnum = errno;
    fault__begin_own_work();
    sites[site_count++] = (site){.call = call, .number = number_of_callers(call)};
    fault__end_own_work();
    errno = errnum;
}

uint64_t fault_site(fault_call call, uint64_t nth) {
    for (int i = 0; i < site_count; i++) {
        if (sites[i].call == call && --nth == 0) {
            return sites[i].number;
        }
    }
    return 0;
}
