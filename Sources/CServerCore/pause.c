// SPDX-License-Identifier: Apache-2.0

// What a failing accept does to a server: it never spins, and never stays silent.
//
//      accepting --error--> backing off --time over, or a descriptor freed--> retry --> accepting
//                   \--> strict: until csc_server_resume()     still short <--/
//
// The time is always running while a server backs off, so that nothing depends on a notification:
// other servers and other parts of the program share the same limit.

#include "pause.h"

#include <errno.h>

enum {
    FIRST_RETRY_MS = 5,
    FIRST_RETRY_PERMISSION_MS = 100,
    LONGEST_RETRY_MS = 1000,
    MOST_FRUITLESS = 64,
};

static csc__accept_class classify(int errnum, bool listens) {
    switch (errnum) {
    case EAGAIN:
        return CSC__NOTHING;
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ECONNRESET:
    case ETIMEDOUT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EPIPE:
        return CSC__PEER;
    case EPERM:
    case EACCES:
    case ENOSYS:
        return CSC__PERMISSION;
    case EOPNOTSUPP:
        return listens ? CSC__PEER : CSC__BROKEN;
    case EBADF:
    case ENOTSOCK:
    case EINVAL:
    case EFAULT:
        return CSC__BROKEN;
    default: // EMFILE, ENFILE, ENOBUFS, ENOMEM, and any errno of a later kernel: never spin on it
        return CSC__RESOURCES;
    }
}

static int16_t next_delay(const csc__pause *pause, int first) {
    int delay = pause->delay == 0 ? first : pause->delay * 2;
    return (int16_t)(delay < LONGEST_RETRY_MS ? delay : LONGEST_RETRY_MS);
}

void csc__pause_note_fruitless(csc__pause *pause) {
    if (pause->fruitless < MOST_FRUITLESS) {
        pause->fruitless++;
    }
}

csc__verdict csc__pause_judge(const csc__pause *pause, int errnum, csc_overload_policy policy,
                              bool listens) {
    csc__verdict verdict = {.cause = classify(errnum, listens)};
    int first = verdict.cause == CSC__PERMISSION ? FIRST_RETRY_PERMISSION_MS : FIRST_RETRY_MS;
    switch (verdict.cause) {
    case CSC__NOTHING:
        return verdict;
    case CSC__BROKEN:
        verdict.reports = true;
        return verdict;
    case CSC__PEER:
        if (!csc__pause_is_fruitless(pause)) {
            return verdict;
        }
        break;
    default:
        break;
    }
    verdict.pauses = true;
    verdict.delay = next_delay(pause, first);
    verdict.strict = policy == CSC_OVERLOAD_STRICT;
    verdict.sheds = policy == CSC_OVERLOAD_SHED && (errnum == EMFILE || errnum == ENFILE);
    verdict.reports = !pause->reported;
    return verdict;
}

csc__verdict csc__pause_judge_shortage(const csc__pause *pause, csc_overload_policy policy) {
    return csc__pause_judge(pause, EMFILE, policy, true);
}

csc__verdict csc__pause_judge_nobody(const csc__pause *pause) {
    return (csc__verdict){.delay = next_delay(pause, FIRST_RETRY_MS)};
}

bool csc__pause_is_fruitless(const csc__pause *pause) {
    return pause->fruitless >= MOST_FRUITLESS;
}

void csc__pause_begin(csc__pause *pause, const csc__verdict *verdict, int64_t now) {
    pause->backing_off = true;
    pause->strict = pause->strict || verdict->strict;
    pause->delay = verdict->delay;
    pause->end = now + verdict->delay;
}

bool csc__pause_is_over(const csc__pause *pause, int64_t now) {
    return pause->backing_off && now >= pause->end;
}

void csc__pause_resume(csc__pause *pause, bool reporting) {
    pause->strict = false;
    pause->reported = false;
    if (pause->backing_off && !pause->resumed && !reporting) {
        pause->backing_off = false;
        pause->resumed = true;
        pause->delay = 0;
    }
}
