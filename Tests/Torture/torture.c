// SPDX-License-Identifier: Apache-2.0

// The driver: plays every scenario with every call failing, each with every errno that it is
// documented to have; then with every allocation failing.
//
//   torture            all of it
//   torture --once     each call fails once only
//   torture NAME...    these scenarios alone
//
// Exits with 1 when the judge objects to a run. What the pairs at the end count: a place is a call
// with all its callers in the library and libevent, and a pair is a place with one errno.

#include "torture.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_PAIRS = 16384, MOST_REPORTS = 30, LONGEST_RUN_S = 120 };
enum { ALLOCATION = FAULT_CALLS, LIBEVENT_ALLOCATION, KINDS };
enum { WARMING_UP = 1 }; // nth of a plan without failures

typedef struct mode {
    const char *name;
    int count;
} mode;

static const mode modes[] = {{"once", 1}, {"20 times", 20}, {"for ever", -1}};

typedef struct pair {
    fault_call call;
    uint64_t site;
    int errnum;
} pair;

typedef struct plan {
    const scenario *what;
    int call; // a fault_call, ALLOCATION or LIBEVENT_ALLOCATION
    uint64_t nth;
    int errnum;
    const mode *how;
} plan;

static pair pairs[MOST_PAIRS];
static int pair_count;
static uint64_t runs_of_call[KINDS];
static uint64_t objections;
static plan present; // for a debugger, where the program is stuck

static void describe(const plan *it, FILE *to) {
    if (it->how && it->call >= ALLOCATION) {
        fprintf(to, "%s, allocation %lu%s fails %s", it->what->name, it->nth,
                it->call == ALLOCATION ? "" : " of libevent", it->how->name);
    } else if (it->how) {
        fprintf(to, "%s, %s number %lu fails %s with %s", it->what->name,
                fault_call_name((fault_call)it->call), it->nth, it->how->name,
                strerrorname_np(it->errnum));
    } else {
        fprintf(to, "%s, nothing fails", it->what->name);
    }
}

// Not safe in a signal handler in general, but this one interrupts a loop that does not end.
static void on_alarm(int number) {
    (void)number;
    fault_clear();
    fprintf(stderr, "does not end: ");
    describe(&present, stderr);
    fprintf(stderr, "\n");
    _exit(1);
}

static void object(const plan *it, const char *trouble) {
    if (++objections <= MOST_REPORTS) {
        describe(it, stdout);
        printf(": %s\n", trouble);
        fflush(stdout);
    }
}

static void ignore_log(int severity, const char *message) {
    (void)severity;
    (void)message;
}

static void set_plan(const plan *it) {
    int nth = (int)it->nth;
    if (!it->how) {
        return;
    }
    if (it->call == ALLOCATION) {
        fault_fail_allocation(nth, it->how->count);
        return;
    }
    if (it->call == LIBEVENT_ALLOCATION) {
        libevent_memory_fail(nth, it->how->count);
        return;
    }
    fault_fail((fault_call)it->call, nth, it->how->count, it->errnum);
    if (it->call == (int)FAULT_ACCEPT4 && (it->errnum == EINVAL || it->errnum == ENOSYS)) {
        fault_fail(FAULT_ACCEPT, 1, it->how->count, it->errnum); // libevent tries that next
    }
}

static void play(const plan *it) {
    run run = {.misled = (it->call == (int)FAULT_FSTAT && it->errnum == EBADF) ||
                         (it->call == (int)FAULT_ACCEPT4 && it->errnum == EAGAIN)};
    present = *it;
    alarm(LONGEST_RUN_S);
    fault_clear();
    fault_reset_counts();
    fault_stop_clock();
    fault_skip_waits(true);
    set_plan(it);
    judge_run(&run, it->what, it->how && it->how->count < 0);
    fault_clear();
    fault_start_clock();
    alarm(0);
    if (run.trouble[0] && it->nth != WARMING_UP) {
        object(it, run.trouble);
    }
    runs_of_call[it->call] += it->how != NULL;
}

static void note_pair(fault_call call, uint64_t site, int errnum) {
    for (int i = 0; i < pair_count; i++) {
        if (pairs[i].call == call && pairs[i].site == site && pairs[i].errnum == errnum) {
            return;
        }
    }
    if (pair_count < MOST_PAIRS) {
        pairs[pair_count++] = (pair){.call = call, .site = site, .errnum = errnum};
    }
}

static void fail_each_call(const scenario *what, fault_call call, uint64_t count,
                           size_t mode_count) {
    for (const int *errnum = errnos_of(call); *errnum; errnum++) {
        for (uint64_t nth = 1; nth <= count; nth++) {
            note_pair(call, fault_site(call, nth), *errnum);
            for (size_t how = 0; how < mode_count; how++) {
                play(&(plan){what, (int)call, nth, *errnum, &modes[how]});
            }
        }
    }
}

static void fail_each_allocation(const scenario *what, int kind, uint64_t count,
                                 size_t mode_count) {
    for (uint64_t nth = 1; nth <= count; nth++) {
        for (size_t how = 0; how < mode_count; how++) {
            play(&(plan){what, kind, nth, ENOMEM, &modes[how]});
        }
    }
}

static void torture(const scenario *what, size_t mode_count) {
    uint64_t counts[FAULT_CALLS];
    plan nothing = {.what = what, .call = ALLOCATION, .nth = WARMING_UP};
    play(&nothing); // what is allocated once for all is so now
    nothing.nth = 0;
    libevent_memory_reset_count();
    fault_record_sites(true, 0);
    play(&nothing);
    fault_record_sites(false, 0);
    for (int call = 0; call < FAULT_CALLS; call++) {
        counts[call] = fault_calls((fault_call)call);
    }
    uint64_t allocations = fault_allocations();
    uint64_t of_libevent = libevent_memory_allocations();
    for (int call = 0; call < FAULT_CALLS; call++) {
        fail_each_call(what, (fault_call)call, counts[call], mode_count);
    }
    fail_each_allocation(what, ALLOCATION, allocations, mode_count);
    fail_each_allocation(what, LIBEVENT_ALLOCATION, of_libevent, mode_count);
}

static bool is_wanted(const scenario *what, char **names, int count) {
    bool wanted = count == 0;
    for (int i = 0; i < count; i++) {
        wanted = wanted || strcmp(what->name, names[i]) == 0;
    }
    return wanted;
}

static void torture_all(const scenario *list, char **names, int count, size_t mode_count) {
    for (const scenario *what = list; what->name; what++) {
        if (is_wanted(what, names, count)) {
            torture(what, mode_count);
        }
    }
}

// Places are counted through one errno: each of a call's places meets all of them.
static void print_table(size_t mode_count) {
    uint64_t runs = 0;
    int places = 0;
    printf("%-16s %8s %8s %8s\n", "call", "places", "pairs", "runs");
    for (int call = 0; call < FAULT_CALLS; call++) {
        int call_pairs = 0;
        int call_places = 0;
        for (int i = 0; i < pair_count; i++) {
            bool same = pairs[i].call == (fault_call)call;
            call_pairs += same;
            call_places += same && pairs[i].errnum == errnos_of(pairs[i].call)[0];
        }
        if (call_pairs > 0) {
            printf("%-16s %8d %8d %8lu\n", fault_call_name((fault_call)call), call_places,
                   call_pairs, runs_of_call[call]);
        }
        runs += runs_of_call[call];
        places += call_places;
    }
    printf("%-16s %8s %8s %8lu\n", "allocation", "", "", runs_of_call[ALLOCATION]);
    printf("%-16s %8s %8s %8lu\n", "  of libevent", "", "", runs_of_call[LIBEVENT_ALLOCATION]);
    runs += runs_of_call[ALLOCATION] + runs_of_call[LIBEVENT_ALLOCATION];
    printf("%d pairs of a place and an errno at %d places, %s, in %lu runs; %lu objections\n",
           pair_count, places, mode_count == 1 ? "once" : "in three modes", runs, objections);
}

int main(int argument_count, char **arguments) {
    bool once = argument_count > 1 && strcmp(arguments[1], "--once") == 0;
    size_t mode_count = once ? 1 : sizeof modes / sizeof modes[0];
    char **names = arguments + 1 + once;
    int name_count = argument_count - 1 - once;
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    libevent_memory_install();
    event_set_log_callback(ignore_log); // libevent prints what injected faults do to it
    // A small table: the duplicate that grows it is at the limit, and each run makes one.
    struct rlimit limit = {.rlim_cur = 1024};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 1024) {
        limit.rlim_cur = 1024;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    torture_all(listening_scenarios, names, name_count, mode_count);
    torture_all(accepting_scenarios, names, name_count, mode_count);
    torture_all(ending_scenarios, names, name_count, mode_count);
    torture_all(limiting_scenarios, names, name_count, mode_count);
    torture_all(grouping_scenarios, names, name_count, mode_count);
    torture_all(budget_scenarios, names, name_count, mode_count);
    torture_all(preface_scenarios, names, name_count, mode_count);
    print_table(mode_count);
    return objections > 0;
}
