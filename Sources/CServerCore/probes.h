// SPDX-License-Identifier: Apache-2.0

// Probes for bpftrace, gdb, perf and SystemTap: CSC__PROBE(accept, server, descriptor, ...) is the
// probe cservercore:accept, one NOP and a note in the object file that says where its arguments
// are. The page of CServerCore.h has the table of all.
//
// An argument has to be at hand, in a register or in memory: nothing is computed for a probe.
// Without <sys/sdt.h>, and with CSERVERCORE_USDT=0, a probe is no code, and its arguments are not
// evaluated.
#ifndef CSC_PROBES_H
#define CSC_PROBES_H

#ifndef CSERVERCORE_USDT
#if defined __has_include
#if __has_include(<sys/sdt.h>)
#define CSERVERCORE_USDT 1
#endif
#endif
#endif

#if CSERVERCORE_USDT

#if defined __clang__
// Where it may choose, Clang copies what is in a register to the stack; GCC leaves each where it is.
#define STAP_SDT_ARG_CONSTRAINT nr
// Of the macros of sdt.h; the last is the name since Clang 19.
#pragma clang diagnostic ignored "-Wunknown-warning-option"
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#pragma clang diagnostic ignored "-Wvariadic-macro-arguments-omitted"
#endif

#include <sys/sdt.h>

#define CSC__PROBE1(name, a)       STAP_PROBE1(cservercore, name, a)
#define CSC__PROBE2(name, a, b)    STAP_PROBE2(cservercore, name, a, b)
#define CSC__PROBE3(name, a, b, c) STAP_PROBE3(cservercore, name, a, b, c)

#else

#define CSC__PROBE1(name, a)       ((void)sizeof(a))
#define CSC__PROBE2(name, a, b)    ((void)sizeof(a), (void)sizeof(b))
#define CSC__PROBE3(name, a, b, c) ((void)sizeof(a), (void)sizeof(b), (void)sizeof(c))

#endif

#endif
