// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/service.h
 * What a process has to do with its service manager. Include CServerCore.h.
 */
#ifndef CSERVERCORE_SERVICE_H
#define CSERVERCORE_SERVICE_H

#include "address.h"
#include "base.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup service Running under a service manager
 * Sockets that systemd, or another manager with the same protocols, has opened for the process, and
 * messages to it. Nothing of systemd's is needed to build or to run a program with them.
 *
 * @code
 * csc_inherited *inherited = csc_inherited_from_environment(NULL); // first, before threads start
 * const char *manager = getenv("NOTIFY_SOCKET");
 * csc_server_listen_inherited(server, inherited, "http", &address);
 * csc_inherited_free(inherited); // closes what no server has taken
 * csc_notify(manager, "READY=1", -1);
 * @endcode
 * @{
 */

/** Descriptors that the process has inherited. Opaque; one thread at a time may use it. */
typedef struct csc_inherited csc_inherited;

/** What is wrong with the variables that describe inherited descriptors. */
typedef enum csc_inherited_error {
    CSC_INHERITED_ERROR_NONE = 0,   /**< nothing */
    CSC_INHERITED_ERROR_PROCESS,    /**< LISTEN_PID is not a number of a process */
    CSC_INHERITED_ERROR_PIDFD_ID,   /**< LISTEN_PIDFDID is not a number */
    CSC_INHERITED_ERROR_COUNT,      /**< LISTEN_FDS is not a number from 1 on */
    CSC_INHERITED_ERROR_NAMES,      /**< LISTEN_FDNAMES has more or fewer names */
    CSC_INHERITED_ERROR_DESCRIPTOR, /**< LISTEN_FDS counts one that is not open */
    CSC_INHERITED_ERROR_MEMORY      /**< memory is short */
} csc_inherited_error;

/**
 * An error for a person to read, in English. Any thread may ask.
 *
 * @param error what went wrong
 * @return static, never freed; empty for CSC_INHERITED_ERROR_NONE
 */
CSC_API const char *csc_inherited_error_text(csc_inherited_error error);

/**
 * Takes over the descriptors that the service manager has opened for the process: those from 3 on
 * that LISTEN_FDS counts, if LISTEN_PID is this process, and so is LISTEN_PIDFDID where it is set.
 *
 * Call it once, first in main(): it removes the four variables from the environment, so that they
 * reach no child, which is no work for a process with threads; and a program that has closed one of
 * the numbers loses the file that has got it. The descriptors are made close-on-exec.
 *
 * @param error if not NULL, set to what is wrong, or to CSC_INHERITED_ERROR_NONE
 * @return freed by csc_inherited_free(); empty where nothing is inherited; NULL on an error, with
 *   all descriptors as they were
 */
CSC_API csc_inherited *CSC_NULLABLE
csc_inherited_from_environment(csc_inherited_error *CSC_NULLABLE error);

/**
 * An empty set, for descriptors that reach the process in another way.
 *
 * @return freed by csc_inherited_free(); NULL when memory is short
 */
CSC_API csc_inherited *CSC_NULLABLE csc_inherited_new(void);

/**
 * Adds a descriptor to a set, and makes it close-on-exec.
 *
 * @param set NULL for nothing to do
 * @param descriptor *taken* on success
 * @param name NUL-terminated, copied
 * @return false where it is not open, or memory is short
 */
CSC_API bool csc_inherited_add(csc_inherited *CSC_NULLABLE set, int descriptor, const char *name);

/**
 * Closes the descriptors that nothing has taken, as csc_inherited_close(), and frees the set.
 *
 * @param set NULL for nothing to do
 */
CSC_API void csc_inherited_free(csc_inherited *CSC_NULLABLE set);

/**
 * Closes the descriptors that nothing has taken. They count as taken from then on.
 *
 * @param set NULL for an empty set
 */
CSC_API void csc_inherited_close(csc_inherited *CSC_NULLABLE set);

/**
 * The same of one descriptor.
 *
 * @param set NULL for an empty set
 * @param index from 0; nothing happens where that is taken, or there are not so many
 */
CSC_API void csc_inherited_close_one(csc_inherited *CSC_NULLABLE set, size_t index);

/**
 * How many descriptors were inherited, those that are taken included.
 *
 * @param set NULL for an empty set
 * @return 0 where nothing was inherited
 */
CSC_API size_t csc_inherited_count(const csc_inherited *CSC_NULLABLE set);

/**
 * The name of a descriptor: the FileDescriptorName= of a socket unit, which is the unit's own name
 * where it has none. Several may have the same. A name is a label, and proves nothing.
 *
 * @param set NULL for an empty set
 * @param index from 0, in the order of the descriptors
 * @return as long as the set, never freed; "unknown" where LISTEN_FDNAMES was not set, empty where
 *   there are not so many
 */
CSC_API const char *csc_inherited_name(const csc_inherited *CSC_NULLABLE set, size_t index);

/**
 * A descriptor, which may be of any kind.
 *
 * @param set NULL for an empty set
 * @param index from 0
 * @return *borrowed* until it is taken; -1 where it is taken, or there are not so many
 */
CSC_API int csc_inherited_descriptor(const csc_inherited *CSC_NULLABLE set, size_t index);

/**
 * Whether a descriptor is a listening stream socket: IPv4, IPv6 or a unix-domain socket.
 *
 * @param set NULL for an empty set
 * @param index from 0
 * @return false where it is another kind, or is taken
 */
CSC_API bool csc_inherited_is_listener(const csc_inherited *CSC_NULLABLE set, size_t index);

/**
 * Takes a descriptor out of the set, which will not close it.
 *
 * @param set NULL for an empty set
 * @param index from 0
 * @return *returned*, the caller closes it; -1 where it is taken, or there are not so many
 */
CSC_API int csc_inherited_take(csc_inherited *CSC_NULLABLE set, size_t index);

/**
 * Listens on the first inherited listening socket of a name that is not taken, as
 * csc_server_adopt(), or where there is none on an address, as csc_server_listen().
 *
 * @param set *borrowed*; NULL for an empty set. Its socket is taken on success
 * @param name NUL-terminated, *borrowed*
 * @param address *borrowed*
 * @return false as those do; what is inherited is still the set's
 */
CSC_API bool csc_server_listen_inherited(csc_server *CSC_NULLABLE server,
                                         csc_inherited *CSC_NULLABLE set, const char *name,
                                         const csc_address *address);

/**
 * Sends a message to the service manager: lines of NAME=VALUE, such as "READY=1", "STOPPING=1",
 * "STATUS=...", "MAINPID=...", "EXTEND_TIMEOUT_USEC=...", "WATCHDOG=1", or "FDSTORE=1" with
 * "FDNAME=..." and a descriptor. It waits one second at most for a manager that does not read. Any
 * thread may call it.
 *
 * @param manager the value of NOTIFY_SOCKET, NUL-terminated, *borrowed*: a path, or @ and an
 *   abstract name; NULL or empty where there is no manager, and nothing to do
 * @param state NUL-terminated, *borrowed*
 * @param descriptor *borrowed*, a duplicate is sent; -1 for none
 * @return 0, or the errno of what failed: EAFNOSUPPORT for another kind of address
 */
CSC_API int csc_notify(const char *CSC_NULLABLE manager, const char *state, int descriptor);

/**
 * Sends "RELOADING=1" with the time, as Type=notify-reload wants it; "READY=1" says that the reload
 * is over. Any thread may call it.
 *
 * @param manager as for csc_notify()
 * @return as csc_notify()
 */
CSC_API int csc_notify_reloading(const char *CSC_NULLABLE manager);

/**
 * Blocks until the manager has read all messages before this one. A process that ends earlier loses
 * them: the manager cannot find out any more whose they are. Any thread may call it.
 *
 * @param manager as for csc_notify()
 * @param msec how long to wait at most; less than 0 for as long as it takes
 * @return as csc_notify(); ETIMEDOUT after that time
 */
CSC_API int csc_notify_barrier(const char *CSC_NULLABLE manager, int msec);

/**
 * How often at least the manager wants "WATCHDOG=1", of WATCHDOG_USEC and WATCHDOG_PID in the
 * environment; half of that is a good interval. Send it only while all is well: where a process has
 * loops on several threads, while all of them turn.
 *
 * @return in microseconds; 0 for never
 */
CSC_API uint64_t csc_watchdog_interval(void);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
