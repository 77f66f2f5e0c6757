// SPDX-License-Identifier: Apache-2.0

/**
 * @mainpage CServerCore
 *
 * A TCP server for C programs on Linux: the accept loop and the queue of pending connections.
 *
 * It is the documented QTcpServer without its sockets: listen, take connections as they come or
 * later, close. Connections are handed over as a descriptor with the peer's address; what happens
 * on them is the program's own business. The loop is libevent's; without one, csc_server_wait()
 * does everything.
 *
 * All of it is included by CServerCore.h: @ref listening, @ref callbacks, @ref connections, @ref
 * limits,
 * @ref sources, @ref groups, @ref errors, @ref addresses, @ref statistics, @ref proxied, @ref proxy_headers,
 * @ref service, @ref handover.
 *
 * Rules that hold for every function here:
 *
 * - Thread: a server belongs to the thread that runs its event_base (without a base: to one thread
 *   at a time). No function that is given a server may be called from another thread but
 *   csc_server_wake(), csc_server_connection_ended(), csc_server_connection_ended_from() and
 *   csc_server_shared_statistics(); those without a server may be called from any, as far as they do
 *   not say otherwise. Different servers on different threads are independent.
 * - Callbacks: any function may be called from any callback, csc_server_close() and
 *   csc_server_free() included. A callback returns: no C++ exception and no longjmp() may leave
 *   it. How deep callbacks nest is the program's choice, never the clients'.
 * - SIGPIPE: a client may be gone before it is answered, and a write then ends the process unless
 *   SIGPIPE is ignored. Write with send(2) and MSG_NOSIGNAL, or call signal(SIGPIPE, SIG_IGN)
 *   where write(2), dprintf(3) or libevent's bufferevents are used. The library writes to no
 *   connection.
 * - Errors: a function that can fail returns false (or -1, or NULL); csc_server_error() and
 *   csc_server_error_string() then say why. Nothing aborts, prints, or touches signal
 *   dispositions.
 * - Parameters: `server` is the server that a call is about or a callback comes from, *borrowed*;
 *   `group` is the group that a call is about, which is there as long as one of its servers;
 *   `context` is what the program gave with the callback, never looked at, and still the
 *   program's.
 * - NULL for the server is allowed everywhere and means a server that could not be made: it does
 *   not listen, has nothing pending, its settings are what they are at first, and its error is
 *   CSC_ERROR_SOCKET_RESOURCE.
 * - Descriptors are close-on-exec and non-blocking from their first moment; those of a hand-over,
 *   whose functions wait, block.
 * - System calls: to listen, a server makes socket, setsockopt, bind, listen, getsockname,
 *   fstat, fcntl, getrlimit, timerfd_create, timerfd_settime and epoll_ctl; addresses with a
 *   scope make socket and ioctl; a child of fork() makes eventfd and dup3, and getpeername where
 *   it ends a member of a group. A group makes an eventfd, with fcntl and epoll_ctl, for its
 *   acceptor and for each member; so does csc_server_set_budget(). csc_server_open_sockets() for
 *   several reads /proc: openat, newfstatat. csc_server_listen_path() makes newfstatat, geteuid,
 *   connect, chmod and unlink beside, and getcwd for a relative path; where such a server stops
 *   listening newfstatat, unlink, and where its socket was offered to a successor fstat and poll.
 *   Without a file that it removes, csc_server_finish() of a UNIX socket reads
 *   /proc/sys/net/core/somaxconn: openat, newfstatat;
 *   csc_peer_credentials() makes getsockopt. Once it listens, a server makes accept4, epoll_wait
 *   and epoll_ctl (by libevent), poll, read, fstat, fcntl, getsockopt, clock_gettime, close, and
 *   what malloc() and mutexes need; timerfd_settime and write where other threads end
 *   connections or wake a wait, where a group places connections on other loops, or waits for
 *   room, one write for many, and where a server waits for a place of a budget. Where PROXY headers
 *   are required, recv reads them. csc_sources_new() makes getrandom; counting a client in its source makes
 *   sched_yield where another thread counts one of the same source. A wait makes one
 *   eventfd; when descriptors run out getrlimit is called, and with CSC_OVERLOAD_SHED eventfd.
 *   Clients that are rejected cost getsockname where there is a csc_rejected_fn, and a reset
 *   setsockopt. csc_server_descriptor_headroom() reads /proc/self/fd: getrlimit, openat,
 *   getdents64. Where a filter forbids one to accept, that is an error like a lack of resources,
 *   with longer pauses. Inherited descriptors take getpid, fcntl, fstat and getsockopt, and where
 *   LISTEN_PIDFDID is set pidfd_open and fstatfs; a message to the service manager socket,
 *   setsockopt, sendmsg and close, a barrier pipe2 and poll as well. Handing sockets over takes
 *   socket, bind, listen, connect, accept4, poll, sendmsg, recvmsg, setsockopt, getsockopt, fcntl,
 *   fstat, fchmod, rename, unlink, geteuid, getpid and close, and pidfd_open where the other has
 *   closed its end.
 * - Descriptors of the process that the library keeps are closed only while they are its own: a
 *   program that closes a number which is not its own breaks the server, but no other file.
 * - A server stays with the process that made it. In a child of fork() that does not exec it no
 *   longer listens, csc_server_listen(), csc_server_adopt() and csc_server_wait() fail with
 *   CSC_ERROR_OPERATION, and csc_server_free() closes the child's copies of its descriptors;
 *   nothing of that reaches the parent. The loop of the parent is libevent's to protect: the child
 *   leaves the inherited event_base alone, or calls event_reinit(); a loop that it runs all the
 *   same reports CSC_ERROR_OPERATION to the csc_accept_error_fn. A child that is to accept from
 *   the same queue makes an event_base, or calls event_reinit(), and makes a server of its own,
 *   which adopts what csc_server_release() of the inherited server returns. So does a program that
 *   calls daemon(3) after csc_server_listen(); simpler is daemon(3) first.
 *
 * Exactly once: at any time outside a callback `accepted + added == delivered + pending +
 * in_preface + ended_in_preface + discarded_on_close + shed + rejected_by_admission +
 * rejected_by_limit + rejected_by_source_limit + rejected_by_source_rate` (see csc_statistics); of a
 * group all its servers together have that (see @ref groups).
 *
 * @section probes Probes
 *
 * A library that was built where `<sys/sdt.h>` is (Debian's systemtap-sdt-dev) has static probes of
 * the provider `cservercore` for bpftrace, perf, SystemTap and gdb. One that nothing traces is a
 * NOP. CMake's option CSERVERCORE_USDT, and CSERVERCORE_USDT=0 for the compiler, leave them out.
 * The first argument is the csc_server.
 *
 * | Probe | Arguments | When |
 * | --- | --- | --- |
 * | listen | server, descriptor, port | The server listens |
 * | accept | server, descriptor, peer | A connection; `peer` is a `struct sockaddr *`, or NULL |
 * | reject | server, descriptor, reason | A client will be closed, for a csc_rejection_reason |
 * | place | server, member, descriptor | An acceptor places a connection on a member of its group |
 * | take_back | server, member, descriptor | A member left it waiting too long; place follows |
 * | deliver | server, descriptor | The program has taken a connection |
 * | pause | server, errno, delay | Accepting pauses for `delay` milliseconds |
 * | resume | server | A pause is over, by csc_server_resume() or its time |
 * | finish | server | csc_server_finish() has begun |
 * | close | server, descriptor | The server will stop listening, whatever the reason |
 *
 * The members of a group are csc_servers, too. The peer is NULL where the connection came from
 * csc_server_inject(). A connection that a csc_incoming_connection_fn gets is delivered when that
 * has returned and kept it. The errno is 0 where no call failed; the delay is -1 for
 * csc_server_pause(), and CSC_OVERLOAD_STRICT does not go by it, but waits for csc_server_resume().
 * A limit that is reached is no pause.
 */

/**
 * @file CServerCore.h
 * The whole library. The main page has the rules that hold for every function.
 */
#ifndef CSERVERCORE_H
#define CSERVERCORE_H

#include "CServerCore/address.h"
#include "CServerCore/base.h"
#include "CServerCore/budget.h"
#include "CServerCore/callbacks.h"
#include "CServerCore/connections.h"
#include "CServerCore/error.h"
#include "CServerCore/group.h"
#include "CServerCore/handover.h"
#include "CServerCore/limits.h"
#include "CServerCore/proxied.h"
#include "CServerCore/proxy_header.h"
#include "CServerCore/server.h"
#include "CServerCore/service.h"
#include "CServerCore/sources.h"
#include "CServerCore/statistics.h"
#include "CServerCore/unix_socket.h"

/** The version of this header, as in 0.1.0. While the first number is 0, the second one may change
 * names and types. */
#define CSC_VERSION_MAJOR 0
/** The second number: what is new. */
#define CSC_VERSION_MINOR 1
/** The third number: what was mended. */
#define CSC_VERSION_PATCH 0
/** The three as one number that can be compared, as in 100 for 0.1.0. */
#define CSC_VERSION_NUMBER (CSC_VERSION_MAJOR * 10000 + CSC_VERSION_MINOR * 100 + CSC_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @addtogroup listening
 * @{
 */

/**
 * The version of the library that is loaded, which may be another than the header's.
 *
 * @return as CSC_VERSION_NUMBER
 */
CSC_API int csc_version_number(void);

/**
 * The version of the library that is loaded, as text, such as "0.1.0".
 *
 * @return static, never freed
 */
CSC_API const char *csc_version(void);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
