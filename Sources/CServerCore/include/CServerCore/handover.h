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
 * is refused, reset or left waiting in between. Connections stay where they are. So does the file of
 * a UNIX socket: it is the successor's then, see csc_handover_offer().
 *
 * | Predecessor | Successor |
 * | --- | --- |
 * | csc_handover_listen() | |
 * | | csc_handover_connect(), csc_handover_receive() |
 * | csc_handover_accept(), csc_handover_offer() | |
 * | csc_handover_wait_ready() | adopts the sockets, accepts, csc_handover_ready() |
 * | closes its servers, drains, csc_handover_drained() | csc_handover_listen() at the same path |
 * | exits | |
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

/** How many secrets are handed over at most. */
#define CSC_HANDOVER_MOST_SECRETS 16

/** How long one may be, in bytes. */
#define CSC_HANDOVER_LONGEST_SECRET 4000

/** How many counters are handed over at most. */
#define CSC_HANDOVER_MOST_COUNTERS 48

/**
 * What a successor needs of the predecessor besides the sockets: secrets, the keys of TLS tickets
 * for instance, and counters, for those of the successor to go on. It has copies of all. One thread
 * at a time may use an object.
 */
typedef struct csc_handover_values csc_handover_values;

/** @return an object without values, which the caller frees; NULL without memory */
CSC_API csc_handover_values *CSC_NULLABLE csc_handover_values_new(void);

/** Overwrites the secrets, and frees the object. @param values *taken*, may be NULL */
CSC_API void csc_handover_values_free(csc_handover_values *CSC_NULLABLE values);

/**
 * Sets a secret, in place of one that had the name.
 *
 * @param values *borrowed*
 * @param name NUL-terminated, *borrowed*, 1 to CSC_HANDOVER_LONGEST_NAME bytes
 * @param bytes *borrowed*; anything
 * @param size at most CSC_HANDOVER_LONGEST_SECRET
 * @return 0; EINVAL for a name or a size that is not as said, ENOSPC for one secret too many,
 *   ENOMEM
 */
CSC_API int csc_handover_set_secret(csc_handover_values *values, const char *name,
                                    const void *bytes, size_t size);

/**
 * A secret by its name.
 *
 * @param values *borrowed*
 * @param name NUL-terminated, *borrowed*
 * @param size set to its size
 * @return its bytes, *borrowed* from `values` until the secret is set again; NULL without one
 */
CSC_API const void *CSC_NULLABLE csc_handover_secret(const csc_handover_values *values,
                                                     const char *name, size_t *size);

/**
 * The name of a secret, in the order in which they were set.
 *
 * @param values *borrowed*
 * @param index from 0 on
 * @return *borrowed* from `values`; NULL from the first index on that has none
 */
CSC_API const char *CSC_NULLABLE csc_handover_secret_name(const csc_handover_values *values,
                                                          size_t index);

/**
 * Sets a counter, in place of one that had the name.
 *
 * @param values *borrowed*
 * @param name as for csc_handover_set_secret()
 * @param value any
 * @return 0; EINVAL for a name that is not as said, ENOSPC for one counter too many
 */
CSC_API int csc_handover_set_counter(csc_handover_values *values, const char *name, uint64_t value);

/**
 * A counter, in the order in which they were set.
 *
 * @param values *borrowed*
 * @param index from 0 on
 * @param value set where there is such a counter
 * @return its name, *borrowed* from `values`; NULL from the first index on that has none
 */
CSC_API const char *CSC_NULLABLE csc_handover_counter(const csc_handover_values *values,
                                                      size_t index, uint64_t *value);

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
 * Sends values and the listening sockets to a successor when that has said hello. Both have them
 * then.
 *
 * The file that csc_server_listen_path() has made for one of them is not removed by the server of
 * this process from then on, for good once a csc_handover_wait_ready() has returned 0. Before, where
 * `control` is closed or the successor has ended, it is removed again as without a hand-over. The
 * successor leaves it, too, as that of any socket which it adopts: when nothing listens any more,
 * the next csc_server_listen_path() replaces it.
 *
 * @param control of csc_handover_accept(), or one end of a socketpair() of SOCK_SEQPACKET
 * @param listeners *borrowed*
 * @param count at most CSC_HANDOVER_MOST_LISTENERS
 * @param values *borrowed*; NULL for none
 * @return 0, or the errno of what failed: EINVAL for names and descriptors that are not as said, or
 *   take more than 4,096 bytes, the names with three bytes each
 */
CSC_API int csc_handover_offer(int control, const csc_handover_listener *listeners, size_t count,
                               const csc_handover_values *CSC_NULLABLE values);

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
 * @param values *borrowed*, to add those of the predecessor to; NULL where they are not needed
 * @return 0, or the errno of what failed: nothing was added to `set` then. EMFILE where the process
 *   has no room for the descriptors
 */
CSC_API int csc_handover_receive(int control, csc_inherited *set,
                                 csc_handover_values *CSC_NULLABLE values);

/**
 * Says that this process accepts. From then on the predecessor does not.
 *
 * Where the control connection has been closed, it waits a second at most for the predecessor's
 * process to end.
 *
 * @param control *borrowed*. It becomes readable when the predecessor has drained or ended
 * @return 0, also where the process of the predecessor has ended, or the errno of what failed: EPIPE
 *   or ECONNRESET where the predecessor has given this process up, and serves on
 */
CSC_API int csc_handover_ready(int control);

/**
 * Sends the successor what has become of the connections that were not handed over. Optional: the
 * end of the process says that there are none left.
 *
 * @param control *borrowed*
 * @param served connections that were served to their end
 * @param cut connections that ended with the time for draining
 * @return 0, or the errno of what failed: EPIPE when the successor has ended
 */
CSC_API int csc_handover_drained(int control, uint64_t served, uint64_t cut);

/**
 * Waits for csc_handover_drained() of the predecessor.
 *
 * @param control *borrowed*
 * @param msec how long to wait at most; less than 0 for as long as it takes
 * @param served set where it returns 0, as is `cut`
 * @param cut see there
 * @return 0, or the errno of what failed: ECONNRESET when the predecessor has ended without it
 */
CSC_API int csc_handover_wait_drained(int control, int msec, uint64_t *served, uint64_t *cut);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
