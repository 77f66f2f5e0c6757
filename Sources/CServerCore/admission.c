// SPDX-License-Identifier: Apache-2.0

// Letting clients in or not: by the limit of live connections, and by the program's answer.

#include "admission.h"

#include <sys/socket.h>
#include <unistd.h>

csc__admission_verdict csc__admission_by_limit(const csc__admission_limits *limits, uint32_t live) {
    bool rejects = limits->max_connections >= 0 && limits->excess != CSC_EXCESS_WAIT &&
                   !limits->is_lifted && live >= (uint32_t)limits->max_connections;
    return (csc__admission_verdict){
        .entry = rejects ? CSC__REJECT : CSC__LET_IN,
        .reason = CSC_REJECTED_BY_LIMIT,
        .reset = limits->excess == CSC_EXCESS_RESET,
    };
}

csc__admission_verdict csc__admission_by_answer(csc_admission answer, bool closed,
                                                bool has_memory) {
    if (answer != CSC_ADMIT) {
        return (csc__admission_verdict){
            .entry = CSC__REJECT,
            .reason = CSC_REJECTED_BY_ADMISSION,
            .reset = answer == CSC_RESET,
        };
    }
    if (closed) {
        return (csc__admission_verdict){.entry = CSC__DISCARD};
    }
    // The callback may have had others queued: room was made for one.
    return (csc__admission_verdict){
        .entry = has_memory ? CSC__LET_IN : CSC__REJECT,
        .reason = CSC_REJECTED_BY_OVERLOAD,
    };
}

csc__admission_verdict csc__admission_by_source(csc__source_answer answer, bool resets) {
    return (csc__admission_verdict){
        .entry = answer >= CSC__SOURCE_FULL ? CSC__REJECT : CSC__LET_IN,
        .reason =
            answer == CSC__SOURCE_FULL ? CSC_REJECTED_BY_SOURCE_LIMIT : CSC_REJECTED_BY_SOURCE_RATE,
        .reset = resets,
    };
}

csc_address csc__local_address(int descriptor) {
    csc_address address = {.family = CSC_FAMILY_NONE};
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (getsockname(descriptor, (struct sockaddr *)&name, &length) == 0) {
        csc_address_from_sockaddr((struct sockaddr *)&name, length, &address);
    }
    return address;
}

void csc__close_rejected(int descriptor, bool reset) {
    if (reset) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    close(descriptor);
}
