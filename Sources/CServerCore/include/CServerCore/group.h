// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/group.h
 * Several loops. Include CServerCore.h.
 */
#ifndef CSERVERCORE_GROUP_H
#define CSERVERCORE_GROUP_H

#include "address.h"
#include "base.h"
#include "server.h"
#include "statistics.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup groups Several loops
 * One server accepts, and its connections are placed on servers of other loops: its members.
 *
 * The acceptor is an ordinary server: it listens, adopts, pauses, finishes and reports errors, and
 * its limits are those of the whole group. csc_server_set_max_connections() limits the connections
 * of all members together, csc_server_set_max_pending() those on their way to each; csc_group_new()
 * raises that to the accept batch, for it to be lowered afterwards where that is wanted. It watches the
 * members from its loop; where csc_server_wait() takes the loop's place, it looks at them once a
 * second at least.
 *
 * A member is a server without a socket. It receives what is placed on it through the same
 * callbacks and the same queue as if it had accepted it, on the thread of its own base, and its own
 * limits hold for it. csc_server_is_listening() of a member is true as long as the acceptor
 * listens, or connections are on their way to the member. csc_server_finish() of a member takes
 * those, csc_server_close() closes them: call either for the acceptor first, which goes on placing
 * otherwise. csc_server_listen(), csc_server_adopt() and csc_server_wait() of a member fail.
 *
 * A group stays with the process that made it, as servers do. In a child of fork() its members
 * listen no more, and csc_server_free() of each closes the child's copies of what was on its way.
 *
 * Exactly once: while no thread is at work, the sum of all, csc_group_statistics(), has `accepted +
 * added == delivered + pending + in_mailbox + in_preface + ended_in_preface + discarded_on_close + shed +
 * rejected_by_admission + rejected_by_limit + rejected_by_source_limit + rejected_by_source_rate`.
 * @{
 */

/** The servers that share a listening server's connections. Opaque; made by csc_group_new(). */
typedef struct csc_group csc_group;

/** Which member gets a connection. */
typedef enum csc_distribution {
    /** The one with the fewest live connections; of several, the acceptor's own loop, then the next
     * in turn. */
    CSC_LEAST_CONNECTIONS,
    /** One after the other. */
    CSC_ROUND_ROBIN,
    /** Always the same for one address of a peer, whatever its port: what is kept of a client stays
     * on one loop, until a member is added, or that member is freed. */
    CSC_BY_PEER,
    /** The one that a csc_choice_fn chooses. */
    CSC_CUSTOM
} csc_distribution;

/**
 * Makes a group of a server, which places its connections on members from then on.
 *
 * Call it on the acceptor's thread. It takes the place of the acceptor's incoming callback.
 *
 * @param acceptor *borrowed*, with an event_base, in no other group; listening or not
 * @param capacity how many members it can have, those that were freed included
 * @return freed with the acceptor and the members, by the last of them; NULL when memory or
 *   descriptors are short or the acceptor cannot be used, as its error says
 */
CSC_API csc_group *CSC_NULLABLE csc_group_new(csc_server *CSC_NULLABLE acceptor, size_t capacity);

/**
 * Makes a server a member, for as long as it lives.
 *
 * Call it on the server's thread, which may be the acceptor's; other threads may add members at the
 * same time. The group lives until the acceptor and all members are freed, and is not to be used
 * afterwards.
 *
 * @param server *borrowed*, with an event_base, not listening and in no other group
 * @return false when it cannot be a member, the group is full, or memory or descriptors are short,
 *   as the server's error says
 */
CSC_API bool csc_group_add(csc_group *group, csc_server *CSC_NULLABLE server);

/**
 * Whether the acceptor listens. Any thread may ask.
 *
 * @return true as csc_server_is_listening() of the acceptor
 */
CSC_API bool csc_group_is_listening(const csc_group *group);

/**
 * How many members there are, those that were freed included. Any thread may ask.
 *
 * @return at most the capacity
 */
CSC_API size_t csc_group_size(const csc_group *group);

/**
 * Chooses how connections are distributed, on the acceptor's thread.
 *
 * @param distribution CSC_LEAST_CONNECTIONS at first
 */
CSC_API void csc_group_set_distribution(csc_group *group, csc_distribution distribution);

/**
 * Chooses a member for a connection, on the acceptor's thread.
 *
 * @param acceptor the server that has accepted it
 * @param peer the client's address and port, *borrowed* for the call
 * @return the member's index, in the order in which they were added; any other number, and that of
 *   a member that was freed, leaves the choice to CSC_LEAST_CONNECTIONS
 */
typedef size_t (*csc_choice_fn)(csc_server *acceptor, const csc_address *peer,
                                void *CSC_NULLABLE context);

/**
 * Sets the callback of CSC_CUSTOM, in place of the one before. On the acceptor's thread.
 *
 * @param callback NULL, as at first, for CSC_LEAST_CONNECTIONS
 */
CSC_API void csc_group_on_choice(csc_group *group, csc_choice_fn CSC_NULLABLE callback,
                                 void *CSC_NULLABLE context);

/**
 * Sets how long a connection may be on its way to a loop that is busy, 10 milliseconds at first:
 * then it is taken back and placed on another one, if there is one that takes it. A loop that has
 * left a connection so long gets no more until it has looked. A loop fetches connections after the
 * other events of its turn, so that what came together with an event whose handler blocks is still
 * taken back. With CSC_BY_PEER and CSC_CUSTOM connections wait where they belong. On the acceptor's
 * thread.
 *
 * @param msec less than 0 takes nothing back
 */
CSC_API void csc_group_set_stall_limit(csc_group *group, int msec);

/**
 * The counters of all servers of the group, as one server would have them: each connection counts
 * once, also those from before its server was in the group. Any thread may ask, as long as the group
 * is there. What csc_server_statistics() of the acceptor has beyond that is left out: accept_queue,
 * and of overload_milliseconds a pause that lasts.
 *
 * @param statistics filled
 * @param size as for csc_server_statistics()
 */
CSC_API void csc_group_statistics(const csc_group *group, csc_statistics *statistics, size_t size);

/**
 * The counters of one member, for any thread; those of a member that was freed stay.
 *
 * @param index in the order in which they were added
 * @param statistics filled; all 0 when there is no such member
 * @param size as for csc_server_statistics()
 */
CSC_API void csc_group_member_statistics(const csc_group *group, size_t index,
                                         csc_statistics *statistics, size_t size);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
