// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/handover.h
 * Listening sockets for the process that will take this one's place. Include CServerCore.h.
 */
#ifndef CSERVERCORE_HANDOVER_H
#define CSERVERCORE_HANDOVER_H

#include "base.h"
#include "service.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup handover Hot restart
 * A process that serves, the predecessor, passes its listening sockets to a new one, its successor,
 * over a unix-domain socket of sequenced packets. Both accept from the same queues until the
 * successor has said that it is ready; then the predecessor stops accepting, and drains. No client
 * is refused, reset or left waiting in between. Connections stay where they are.
 *
 * | Predecessor | Successor |
 * | --- | --- |
 * | csc_handover_listen() | |
 * | | csc_handover_connect(), csc_handover_receive() |
 * | csc_handover_accept(), csc_handover_offer() | |
 * | csc_handover_wait_ready() | adopts the sockets, accepts, csc_handover_ready() |
 * | closes its servers, drains, exits | csc_handover_listen() at the same path |
 *
 * Until csc_handover_wait_ready() has returned 0 the predecessor serves as if nothing had been:
 * whatever fails, it closes the control connection, and waits for the next successor. A successor
 * that fails exits, which closes its copies. After that the successor never gives the sockets back.
 *
 * Each side makes sure that the other is a process of the same effective user. A message that does
 * not come within 5 seconds fails with ETIMEDOUT, the end of the connection with ECONNRESET,
 * anything that is not the protocol with EPROTO, another user with EPERM; what came with such a
 * message is closed. A call blocks until then, unless the program calls it when the loop says that
 * the descriptor is readable. Any thread may call these functions.
 * @{
 */

/** How many listening sockets are handed over at most. */
#define CSC_HANDOVER_MOST_LISTENERS 64

/** How long the name of one may be, in bytes. */
#define CSC_HANDOVER_LONGEST_NAME 64

/** A listening socket to hand over. */
typedef struct csc_handover_listener {
    const char
        *name; /**< NUL-terminated, 1 to CSC_HANDOVER_LONGEST_NAME bytes; several may have one */
    int descriptor; /**< borrowed */
} csc_handover_listener;

/**
 * Listens for successors, in place of who listened at this path before, if that was a process of the
 * same user. The file is for this user alone; its folder should be, too. It is never removed: one
 * that nothing listens at any more is no predecessor.
 *
 * @param path NUL-terminated, *borrowed*, 1 to 90 bytes
 * @param listener set to a descriptor that the caller closes, close-on-exec
 * @return 0, or the errno of what failed: EADDRINUSE where the path is anything else
 */
CSC_API int csc_handover_listen(const char *path, int *listener);

/**
 * Accepts a connection of a successor.
 *
 * @param listener *borrowed*
 * @param msec how long to wait for one at most; less than 0 for as long as it takes
 * @param control set to a descriptor that the caller closes, close-on-exec; its end is what the
 *   successor sees of the end of this process
 * @return 0, or the errno of what failed
 */
CSC_API int csc_handover_accept(int listener, int msec, int *control);

/**
 * Sends the listening sockets to a successor when that has said hello. Both have them then.
 *
 * @param control of csc_handover_accept(), or one end of a socketpair() of SOCK_SEQPACKET
 * @param listeners *borrowed*
 * @param count at most CSC_HANDOVER_MOST_LISTENERS
 * @return 0, or the errno of what failed: EINVAL for names and descriptors that are not as said, or
 *   take more than 4,096 bytes, the names with three bytes each
 */
CSC_API int csc_handover_offer(int control, const csc_handover_listener *listeners, size_t count);

/**
 * Waits until the successor is ready. The time for it to initialise: a minute is plenty.
 *
 * @param control *borrowed*
 * @param msec how long to wait at most; less than 0 for as long as it takes
 * @return 0, or the errno of what failed: then the program goes on serving
 */
CSC_API int csc_handover_wait_ready(int control, int msec);

/**
 * Connects to the predecessor.
 *
 * @param path NUL-terminated, *borrowed*
 * @param control set to a descriptor that the caller closes, close-on-exec
 * @return 0, or the errno of what failed: ENOENT or ECONNREFUSED where there is no predecessor,
 *   ETIMEDOUT where it is busy with others for a second
 */
CSC_API int csc_handover_connect(const char *path, int *control);

/**
 * Says hello, receives the listening sockets, and adds them to a set. Each is a listening socket of
 * the family that the message says.
 *
 * @param control of csc_handover_connect(), or one end of a socketpair()
 * @param set *borrowed*, for csc_server_listen_inherited(): of csc_inherited_new() or
 *   csc_inherited_from_environment()
 * @return 0, or the errno of what failed: nothing was added then
 */
CSC_API int csc_handover_receive(int control, csc_inherited *set);

/**
 * Says that this process accepts. From then on the predecessor does not.
 *
 * @param control *borrowed*. It becomes readable when the predecessor has ended
 * @return 0, or the errno of what failed: the predecessor may serve on
 */
CSC_API int csc_handover_ready(int control);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
