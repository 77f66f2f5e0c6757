// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/statistics.h
 * Statistics. Include CServerCore.h.
 */
#ifndef CSERVERCORE_STATISTICS_H
#define CSERVERCORE_STATISTICS_H

#include "base.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup statistics Statistics
 * What a server has done so far: counters that always add up.
 * @{
 */

/** Counters since the server was made; 64 bits, never reset. */
typedef struct csc_statistics {
    uint64_t accepted;              /**< connections that accept4(2) returned */
    uint64_t added;                 /**< csc_server_add_pending() of something not just accepted */
    uint64_t delivered;             /**< taken by next_pending, or by the incoming callback */
    uint64_t pending;               /**< in the queue now */
    uint64_t discarded_on_close;    /**< pending when the server was closed or freed */
    uint64_t shed;                  /**< rejected for lack of descriptors or memory */
    uint64_t rejected_by_admission; /**< rejected by the admission callback */
    uint64_t rejected_by_limit;     /**< rejected beyond csc_server_set_max_connections() */
    uint64_t live;                  /**< pending, or delivered and not reported as ended, now */
    uint64_t peer_errors;           /**< accept errors that concerned one peer only */
    uint64_t resource_errors;       /**< attempts in vain for lack of descriptors or memory */
    uint64_t permission_errors;     /**< accept errors by policy: EPERM, EACCES, ENOSYS */
    uint64_t listener_errors;       /**< times that the listening socket was broken */
    uint64_t error_episodes;        /**< times that a pause was reported to accept_error */
    uint64_t overload_pauses; /**< times that accepting paused for an error, a lack of resources,
                          the limit of connections or the rate; not for what is pending */
    uint64_t overload_milliseconds; /**< how long all those were, one that lasts included */
    uint64_t accept_queue;          /**< completed connections in the kernel's queue now */
    uint64_t accept_queue_limit;    /**< length of that queue */
    uint64_t in_mailbox;            /**< on their way to the members of a group now */
    uint64_t taken_back; /**< of a group: times that one was taken from a loop that was busy */
    uint64_t in_preface; /**< accepted, and not yet past their PROXY header, now */
    uint64_t ended_in_preface;  /**< closed without having got past it, for the reasons below */
    uint64_t preface_untrusted; /**< not from a network whose headers are taken */
    uint64_t preface_invalid;   /**< without a header, or with a wrong one */
    uint64_t preface_cut_short; /**< ended by their peer in the middle of it */
    uint64_t preface_timeouts;  /**< not past it in time */
    uint64_t preface_dropped;   /**< closed for others, beyond csc_server_set_max_prefaces() */
    uint64_t preface_silent;    /**< ended by their peer before its first byte: health checks */
    uint64_t rejected_by_source_limit; /**< rejected beyond csc_source_limits::max_connections */
    uint64_t rejected_by_source_rate;  /**< beyond csc_source_limits::accepts_per_second */
    uint64_t uncounted_sources; /**< let in although the table of sources had no place for theirs */
    uint64_t rate_pauses;       /**< times that accepting paused for csc_server_set_accept_rate() */
} csc_statistics;

/**
 * Fills a snapshot. Asks the kernel for its queue, by one getsockopt(2).
 *
 * @param statistics filled; all 0 when the server is NULL
 * @param size sizeof(csc_statistics) as the caller knows it: a later library fills only that much,
 * an earlier one leaves what it does not know as it is
 */
CSC_API void csc_server_statistics(const csc_server *CSC_NULLABLE server,
                                   csc_statistics *statistics, size_t size);

/**
 * Lets other threads read the counters from now on, by csc_server_shared_statistics(). Call it on
 * the server's thread. The acceptor and the members of a group do so already.
 *
 * @return false when memory is short, as the server's error says
 */
CSC_API bool csc_server_share_statistics(csc_server *CSC_NULLABLE server);

/**
 * The counters, for any thread, as long as the server is not freed: each as it was when the server
 * last counted something. accept_queue, and of overload_milliseconds a pause that lasts, are left
 * out, and live has connections whose end another thread has reported since.
 *
 * @param statistics filled; all 0 before csc_server_share_statistics()
 * @param size as for csc_server_statistics()
 */
CSC_API void csc_server_shared_statistics(const csc_server *CSC_NULLABLE server,
                                          csc_statistics *statistics, size_t size);

/**
 * csc_statistics::live alone, without a system call.
 *
 * @return 0 when the server is NULL
 */
CSC_API uint64_t csc_server_live(const csc_server *CSC_NULLABLE server);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
