// SPDX-License-Identifier: Apache-2.0

// When accepting pauses, for how long, and what the program hears of it. Decides only: no system
// call, nothing of csc_server.
#ifndef CSC_PAUSE_H
#define CSC_PAUSE_H

#include "CServerCore.h"

// What an attempt to accept can fail with.
typedef enum csc__accept_class {
    CSC__NOTHING,    // there is no client
    CSC__PEER,       // this client has gone, others may be there
    CSC__RESOURCES,  // descriptors or memory
    CSC__PERMISSION, // a policy of the system
    CSC__BROKEN      // the listening socket can be used no more
} csc__accept_class;

typedef struct csc__pause {
    // What accepting sets to 0, side by side: one store for each connection.
    int16_t delay;     // milliseconds of the last back-off in a row; 0 when there is none
    uint8_t fruitless; // attempts in a row that found no client, or only a peer's error
    bool resumed;      // csc_server_resume() ended a back-off; nothing accepted since
    bool reported;     // in an episode: an error was reported; nothing accepted, no resume since
    bool strict;       // until csc_server_resume(), or until listening starts again
    bool backing_off;
    int64_t end; // monotonic milliseconds at which the back-off ends
} csc__pause;

// What an attempt in vain is to do.
typedef struct csc__verdict {
    csc__accept_class cause;
    bool pauses; // back off for `delay` milliseconds
    bool strict; // and until csc_server_resume()
    bool sheds;  // reject the clients in the kernel's queue
    bool reports;
    int16_t delay;
} csc__verdict;

// `pause->fruitless` counts this attempt. `listens`: whether the socket still listens, asked only
// for EOPNOTSUPP.
csc__verdict csc__pause_judge(const csc__pause *pause, int errnum, csc_overload_policy policy,
                              bool listens);

// The verdict where others would get too few descriptors, before an attempt was made: the errno is
// EMFILE's.
csc__verdict csc__pause_judge_shortage(const csc__pause *pause, csc_overload_policy policy);

// Others were faster although the socket is ready: backs off in silence.
csc__verdict csc__pause_judge_nobody(const csc__pause *pause);

// Counts an attempt that found no client, or only a peer's error.
void csc__pause_note_fruitless(csc__pause *pause);

// Whether so many attempts in a row were in vain that it is time to back off.
bool csc__pause_is_fruitless(const csc__pause *pause);

void csc__pause_begin(csc__pause *pause, const csc__verdict *verdict, int64_t now);

// Whether the time of a back-off is over.
bool csc__pause_is_over(const csc__pause *pause, int64_t now);

// csc_server_resume(): ends strict mode and the episode. The back-off ends too, unless the last
// resume was in vain or `reporting`: accepting would otherwise fail, report and resume for ever.
void csc__pause_resume(csc__pause *pause, bool reporting);

#endif
