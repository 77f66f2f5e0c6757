/**
 * @file CServerCore.h
 * A TCP server for C programs on Linux: the accept loop and the queue of pending connections.
 *
 * It is the documented QTcpServer without its sockets: listen, take connections as they come or
 * later, close. Connections are handed over as a descriptor with the peer's address; what happens
 * on them is the program's own business. The loop is libevent's; without one, csc_server_wait()
 * does everything.
 *
 * Rules that hold for every function here:
 *
 * - Thread: a server belongs to the thread that runs its event_base (without a base: to one thread
 * at a time). No function may be called from another thread. Different servers on different threads
 * are independent.
 * - Callbacks: any function may be called from any callback, csc_server_close() and
 * csc_server_free() included.
 * - Errors: a function that can fail returns false (or -1, or NULL); csc_server_error() and
 *   csc_server_error_string() then say why. Nothing aborts, prints, or touches signal dispositions.
 * - NULL for the server is allowed everywhere and means a server that could not be made: it does
 * not listen, has nothing pending, and its error is CSC_ERROR_SOCKET_RESOURCE.
 * - Descriptors are close-on-exec and non-blocking from their first moment.
 * - System calls: once it listens, a server makes accept4, epoll_wait and epoll_ctl (by libevent),
 * poll, read, fstat, getsockopt, clock_gettime, close, what malloc() needs, and when descriptors
 * run out fcntl, getrlimit, and for CSC_OVERLOAD_SHED eventfd and getsockname. Where a filter
 * forbids one to accept, that is an error like a lack of resources, with longer pauses.
 * - A server stays with the process that made it. In a child of fork() that does not exec it no
 * longer listens, csc_server_listen(), csc_server_adopt() and csc_server_wait() fail with
 * CSC_ERROR_OPERATION, and csc_server_free() closes the child's copies of its descriptors; nothing
 * of that reaches the parent. A child that is to accept from the same queue makes an event_base and
 * a server of its own, which adopts a duplicate of csc_server_descriptor(). The loop of the parent
 * is libevent's to protect: the child leaves the inherited event_base alone, or calls
 * event_reinit().
 *
 * Exactly once: at any time outside a callback `accepted + added == delivered + pending +
 * discarded_on_close + shed + rejected_by_admission + rejected_by_limit` (see csc_statistics).
 */
#ifndef CSERVERCORE_H
#define CSERVERCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSC_VERSION_MAJOR 0
#define CSC_VERSION_MINOR 1
#define CSC_VERSION_PATCH 0

#if defined(__GNUC__)
#define CSC_API __attribute__((visibility("default")))
#else
#define CSC_API
#endif

#if defined(__clang__)
#define CSC_NULLABLE _Nullable
#define CSC_ASSUME_NONNULL                                                                         \
    _Pragma("clang diagnostic push")                                                               \
        _Pragma("clang diagnostic ignored \"-Wnullability-extension\"")                            \
            _Pragma("clang assume_nonnull begin")
#define CSC_ASSUME_NONNULL_DONE _Pragma("clang assume_nonnull end") _Pragma("clang diagnostic pop")
#else
#define CSC_NULLABLE
#define CSC_ASSUME_NONNULL
#define CSC_ASSUME_NONNULL_DONE
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct sockaddr;
struct sockaddr_storage;

CSC_ASSUME_NONNULL

/* ---------------------------------------------------------------------------------------------- */
/* Errors */

/** What went wrong, with the numbers of QAbstractSocket::SocketError. */
typedef enum csc_error {
    CSC_ERROR_UNKNOWN = -1, /**< no error yet, or one without a class of its own */
    CSC_ERROR_CONNECTION_REFUSED = 0,
    CSC_ERROR_REMOTE_HOST_CLOSED = 1,
    CSC_ERROR_HOST_NOT_FOUND = 2,
    CSC_ERROR_SOCKET_ACCESS = 3,   /**< not permitted: privileged port, seccomp, security module */
    CSC_ERROR_SOCKET_RESOURCE = 4, /**< out of descriptors or memory */
    CSC_ERROR_SOCKET_TIMEOUT = 5,
    CSC_ERROR_DATAGRAM_TOO_LARGE = 6,
    CSC_ERROR_NETWORK = 7,
    CSC_ERROR_ADDRESS_IN_USE = 8,
    CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE = 9,
    CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION = 10,
    CSC_ERROR_UNFINISHED_SOCKET_OPERATION = 11,
    CSC_ERROR_PROXY_AUTHENTICATION_REQUIRED = 12,
    CSC_ERROR_SSL_HANDSHAKE_FAILED = 13,
    CSC_ERROR_PROXY_CONNECTION_REFUSED = 14,
    CSC_ERROR_PROXY_CONNECTION_CLOSED = 15,
    CSC_ERROR_PROXY_CONNECTION_TIMEOUT = 16,
    CSC_ERROR_PROXY_NOT_FOUND = 17,
    CSC_ERROR_PROXY_PROTOCOL = 18,
    CSC_ERROR_OPERATION = 19, /**< the call was made in a state that does not allow it */
    CSC_ERROR_SSL_INTERNAL = 20,
    CSC_ERROR_SSL_INVALID_USER_DATA = 21,
    CSC_ERROR_TEMPORARY = 22
} csc_error;

/** The system call that an errno came from; the same errno means different things to different
 * calls. */
typedef enum csc_call {
    CSC_CALL_SOCKET,
    CSC_CALL_BIND,
    CSC_CALL_LISTEN,
    CSC_CALL_ACCEPT,
    CSC_CALL_ADOPT,   /**< checking a descriptor that the program hands over */
    CSC_CALL_CONNECT, /**< for client sockets built beside the server */
    CSC_CALL_READ,
    CSC_CALL_WRITE,
    CSC_CALL_WATCH /**< registering a descriptor with the event loop */
} csc_call;

/**
 * The class of an errno, as QTcpServer and QTcpSocket report it.
 *
 * @param call the system call that failed
 * @param errnum its errno
 * @param text if not NULL, set to the human-readable text: static, never freed
 */
CSC_API csc_error csc_error_from_errno(csc_call call, int errnum,
                                       const char *CSC_NULLABLE *CSC_NULLABLE text);

/* ---------------------------------------------------------------------------------------------- */
/* Addresses */

/** What a csc_address holds. */
typedef enum csc_family {
    CSC_FAMILY_NONE = 0, /**< no address */
    CSC_FAMILY_ANY = 1,  /**< every interface, IPv4 and IPv6 on one socket */
    CSC_FAMILY_IPV4 = 4,
    CSC_FAMILY_IPV6 = 6
} csc_family;

/** An address with its port. A plain value; all zero means no address. */
typedef struct csc_address {
    uint8_t bytes[16]; /**< network order; IPv4 uses the first four */
    uint32_t scope_id; /**< interface index of a link-local IPv6 address, else 0 */
    uint16_t port;     /**< host byte order */
    uint8_t family;    /**< a csc_family */
    uint8_t reserved;  /**< 0 */
} csc_address;

/** Room for any text that csc_address_format() writes, the final NUL included. */
#define CSC_ADDRESS_TEXT_SIZE 64

/**
 * Reads a literal: dotted IPv4, IPv6 with an optional `%scope` (interface name or number), or `*`
 * for CSC_FAMILY_ANY. Never a host name, never a short form such as `127.1`.
 *
 * @param text NUL-terminated, borrowed
 * @param port stored in the result
 * @param address filled on success, untouched otherwise
 * @return false when the text is not a literal, or its scope names no interface
 */
CSC_API bool csc_address_parse(const char *text, uint16_t port, csc_address *address);

/**
 * Writes the address without its port; an IPv6 scope is written as the interface's name where it
 * has one.
 *
 * @param buffer of size bytes, CSC_ADDRESS_TEXT_SIZE is always enough; NUL-terminated unless size
 * is 0
 * @return the length of the text without its NUL; 0 for CSC_FAMILY_NONE or when the buffer is too
 * small
 */
CSC_API size_t csc_address_format(const csc_address *address, char *buffer, size_t size);

/** True for 127.0.0.0/8 and ::1, an IPv4-mapped 127.0.0.0/8 included. */
CSC_API bool csc_address_is_loopback(const csc_address *address);

/**
 * Converts from the kernel's form. An IPv4-mapped IPv6 address becomes the IPv4 address it stands
 * for, so that a peer has one form whichever socket it came through.
 *
 * @return false, with the address set to CSC_FAMILY_NONE, when it is neither IPv4 nor IPv6 or too
 * short
 */
CSC_API bool csc_address_from_sockaddr(const struct sockaddr *CSC_NULLABLE source, size_t length,
                                       csc_address *address);

/**
 * Converts to the kernel's form. CSC_FAMILY_ANY becomes `::`.
 *
 * @return the length of the result, 0 for CSC_FAMILY_NONE
 */
CSC_API unsigned int csc_address_to_sockaddr(const csc_address *address,
                                             struct sockaddr_storage *result);

/* ---------------------------------------------------------------------------------------------- */
/* Server */

/** A server. Opaque; made by csc_server_new(), ended by csc_server_free(). */
typedef struct csc_server csc_server;

/** An accepted connection. A plain value: whoever holds it last owns the descriptor. */
typedef struct csc_connection {
    int descriptor;   /**< close-on-exec, non-blocking */
    csc_address peer; /**< as accept4(2) gave it: right even when the peer has already gone */
} csc_connection;

/**
 * Makes a server that does not listen yet.
 *
 * @param base *borrowed*, must outlive the server; NULL for use with csc_server_wait() alone
 * @return the server, freed by the caller with csc_server_free(); NULL when memory is short
 */
CSC_API csc_server *CSC_NULLABLE csc_server_new(struct event_base *CSC_NULLABLE base);

/** Closes the server as csc_server_close() does and frees it. Allowed in a callback of the same
 * server. */
CSC_API void csc_server_free(csc_server *CSC_NULLABLE server);

/** Called once for each new connection, after it was queued or given to the incoming callback. */
typedef void (*csc_new_connection_fn)(csc_server *server, void *CSC_NULLABLE context);

/**
 * Called instead of queuing a connection.
 *
 * @param connection *taken*: the callback owns the descriptor and closes it or passes it on;
 *   csc_server_add_pending() gives it back to the queue
 */
typedef void (*csc_incoming_connection_fn)(csc_server *server, const csc_connection *connection,
                                           void *CSC_NULLABLE context);

/** Called when accepting fails for a reason the program should know: once an episode, not per
 * attempt. An episode ends with the next connection or csc_server_resume(). */
typedef void (*csc_accept_error_fn)(csc_server *server, csc_error error,
                                    void *CSC_NULLABLE context);

/** What an admission callback decides. */
typedef enum csc_admission {
    CSC_ADMIT,
    CSC_REFUSE, /**< closes the connection */
    CSC_RESET   /**< resets it, which leaves nothing of it in the kernel */
} csc_admission;

/**
 * Called for each connection before anything is made of it.
 *
 * @param peer *borrowed* for the call
 */
typedef csc_admission (*csc_admission_fn)(csc_server *server, const csc_address *peer,
                                          void *CSC_NULLABLE context);

/** Why a connection was turned away. */
typedef enum csc_rejection_reason {
    CSC_REJECTED_BY_ADMISSION, /**< the admission callback said so */
    CSC_REJECTED_BY_LIMIT,     /**< csc_server_set_max_connections() was reached */
    CSC_REJECTED_BY_OVERLOAD   /**< CSC_OVERLOAD_SHED, or no memory to queue it */
} csc_rejection_reason;

/** A connection that was turned away. */
typedef struct csc_rejection {
    csc_address peer;
    csc_address local; /**< the address that the client connected to */
    csc_rejection_reason reason;
} csc_rejection;

/** Called for each connection that was turned away, when its descriptor has been closed. */
typedef void (*csc_rejected_fn)(csc_server *server, const csc_rejection *rejection,
                                void *CSC_NULLABLE context);

/** Sets the callback for new connections; NULL for none. */
CSC_API void csc_server_on_new_connection(csc_server *CSC_NULLABLE server,
                                          csc_new_connection_fn CSC_NULLABLE callback,
                                          void *CSC_NULLABLE context);

/** Sets the callback that takes connections; NULL, the default, queues them. */
CSC_API void csc_server_on_incoming_connection(csc_server *CSC_NULLABLE server,
                                               csc_incoming_connection_fn CSC_NULLABLE callback,
                                               void *CSC_NULLABLE context);

/** Sets the callback for accept errors; NULL for none. */
CSC_API void csc_server_on_accept_error(csc_server *CSC_NULLABLE server,
                                        csc_accept_error_fn CSC_NULLABLE callback,
                                        void *CSC_NULLABLE context);

/** Sets the callback that admits connections; NULL, the default, admits all. */
CSC_API void csc_server_on_admission(csc_server *CSC_NULLABLE server,
                                     csc_admission_fn CSC_NULLABLE callback,
                                     void *CSC_NULLABLE context);

/** Sets the callback for connections that were turned away; NULL for none. */
CSC_API void csc_server_on_rejected(csc_server *CSC_NULLABLE server,
                                    csc_rejected_fn CSC_NULLABLE callback,
                                    void *CSC_NULLABLE context);

/**
 * Listens on an address and port (QTcpServer::listen).
 *
 * CSC_FAMILY_ANY listens on all interfaces for IPv4 and IPv6, or for IPv4 where the kernel has no
 * IPv6. An IPv6 address never takes IPv4 clients. Port 0 lets the kernel choose. SO_REUSEADDR is
 * set, SO_REUSEPORT is not. The process's descriptor table is grown once
 * (csc_server_set_expected_connections()).
 *
 * @return false when it already listens or a system call fails; nothing is left open then
 */
CSC_API bool csc_server_listen(csc_server *CSC_NULLABLE server, const csc_address *address);

/**
 * Takes over a listening socket (QTcpServer::setSocketDescriptor).
 *
 * The descriptor must be a listening IPv4 or IPv6 stream socket that no server of this process
 * uses. It is made non-blocking and close-on-exec; its queue length and options stay as they are.
 *
 * @param descriptor *taken* on success; untouched and still the caller's on failure
 */
CSC_API bool csc_server_adopt(csc_server *CSC_NULLABLE server, int descriptor);

/**
 * Stops listening, closes the listening socket and every connection still pending. Connections
 * already taken are not touched. Settings and the last error stay. Does nothing when not listening
 * and empty.
 */
CSC_API void csc_server_close(csc_server *CSC_NULLABLE server);

/**
 * Stops listening in order: accepts what the kernel has completed by now, whatever the limits say,
 * then closes the listening socket. What is pending can still be taken. A client that connects
 * meanwhile may be reset; one that connects later is refused.
 */
CSC_API void csc_server_finish(csc_server *CSC_NULLABLE server);

/**
 * True between a successful listen or adopt and close, or until the listening socket breaks.
 *
 * It breaks when somebody else closes its descriptor, puts something else in its place, or shuts
 * the socket down. The server looks every second, on the loop or in csc_server_wait(); then it
 * stops, tells the accept error callback once, and leaves a number that is no longer its own alone.
 */
CSC_API bool csc_server_is_listening(const csc_server *CSC_NULLABLE server);

/** Where the server listens, with the port; CSC_FAMILY_NONE and 0 when it does not. */
CSC_API csc_address csc_server_address(const csc_server *CSC_NULLABLE server);

/** The port the server listens on; 0 when it does not. */
CSC_API uint16_t csc_server_port(const csc_server *CSC_NULLABLE server);

/** The listening descriptor, *borrowed*; -1 when the server does not listen. The server holds a
 * duplicate for its own use beside it. */
CSC_API int csc_server_descriptor(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many connections may be pending: 30 at first. At the limit the rest waits in the
 * kernel's queue. 0 or less accepts nothing. Raising it resumes accepting.
 */
CSC_API void csc_server_set_max_pending(csc_server *CSC_NULLABLE server, int count);
CSC_API int csc_server_max_pending(const csc_server *CSC_NULLABLE server);

/**
 * Sets the length of the kernel's queue, used by the next listen. INT_MAX, the default, or any
 * number above it means the kernel's maximum, net.core.somaxconn.
 */
CSC_API void csc_server_set_backlog(csc_server *CSC_NULLABLE server, int length);
CSC_API int csc_server_backlog(const csc_server *CSC_NULLABLE server);

/** Sets how many connections one turn of the loop accepts at most, 64 at first; less than 1 counts
 * as 1. */
CSC_API void csc_server_set_accept_batch(csc_server *CSC_NULLABLE server, int count);
CSC_API int csc_server_accept_batch(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many descriptors the program expects to have open; 65,536 at first, bounded by
 * RLIMIT_NOFILE.
 *
 * Listening grows the descriptor table to this size, 8 bytes of kernel memory each, because in a
 * process with threads each later doubling would stall accept4(2) for milliseconds. 0 leaves the
 * table alone.
 */
CSC_API void csc_server_set_expected_connections(csc_server *CSC_NULLABLE server, int count);
CSC_API int csc_server_expected_connections(const csc_server *CSC_NULLABLE server);

/** What a lack of descriptors or memory does. */
typedef enum csc_overload_policy {
    /** Pause, retry after 5 ms doubling to 1 s, lose nothing: clients wait in the kernel's queue.
     */
    CSC_OVERLOAD_WAIT,
    /** The same, but first the clients in the kernel's queue are turned away, a batch at most each
     * time descriptors have run out: they learn at once that they will not be served. */
    CSC_OVERLOAD_SHED,
    /** Pause until csc_server_resume(), as Qt does. */
    CSC_OVERLOAD_STRICT
} csc_overload_policy;

/**
 * Chooses what a lack of descriptors or memory does from the next one on; CSC_OVERLOAD_WAIT at
 * first.
 *
 * With CSC_OVERLOAD_SHED a listening server holds one descriptor more, which it gives up for a
 * moment to take a client and close the connection. While others have taken that descriptor, it
 * behaves as with CSC_OVERLOAD_WAIT.
 */
CSC_API void csc_server_set_overload_policy(csc_server *CSC_NULLABLE server,
                                            csc_overload_policy policy);
CSC_API csc_overload_policy csc_server_overload_policy(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many descriptors accepting leaves to the rest of the program; 32 at first, at most a
 * quarter of RLIMIT_NOFILE. 0 or less leaves none.
 *
 * When no others are left, accepting pauses as for EMFILE, with the same error. The limit is read
 * when the server starts to listen and whenever descriptors seem to run out, each end of a back-off
 * included, so that a changed one is noticed.
 */
CSC_API void csc_server_set_descriptor_reserve(csc_server *CSC_NULLABLE server, int count);
CSC_API int csc_server_descriptor_reserve(const csc_server *CSC_NULLABLE server);

/**
 * How many more descriptors the process may open before the reserve is touched. Counted in
 * /proc/self/fd when asked, which takes longer the more there are.
 */
CSC_API int csc_server_descriptor_headroom(const csc_server *CSC_NULLABLE server);

/**
 * Tells that the program has closed a descriptor: a back-off for lack of resources then ends on the
 * loop's next turn instead of when its time is over. Harmless at any time, calls no callback.
 *
 * csc_server_connection_ended() does the same.
 *
 * @return whether the server still lacks resources, as far as it knows: until then each further
 *   descriptor is worth telling
 */
CSC_API bool csc_server_descriptor_freed(csc_server *CSC_NULLABLE server);

/** What becomes of clients beyond csc_server_set_max_connections(). */
typedef enum csc_excess {
    CSC_EXCESS_WAIT,  /**< they wait in the kernel's queue until a connection ends */
    CSC_EXCESS_CLOSE, /**< they are accepted and closed */
    CSC_EXCESS_RESET  /**< they are accepted and reset */
} csc_excess;

/**
 * Sets how many connections may be live at once: pending, or delivered and not yet ended by
 * csc_server_connection_ended(). Raising it resumes accepting.
 *
 * @param count less than 0, as at first, for no limit; 0 admits nobody
 */
CSC_API void csc_server_set_max_connections(csc_server *CSC_NULLABLE server, int count,
                                            csc_excess excess);
CSC_API int csc_server_max_connections(const csc_server *CSC_NULLABLE server);
CSC_API csc_excess csc_server_excess(const csc_server *CSC_NULLABLE server);

/**
 * Tells that a delivered connection has ended: once for each, after its descriptor was closed.
 * Makes room below csc_server_set_max_connections(), and ends a back-off for lack of resources.
 * Calls no callback; a program that sets no limit may do without it.
 */
CSC_API void csc_server_connection_ended(csc_server *CSC_NULLABLE server);

/** True when a connection is pending. */
CSC_API bool csc_server_has_pending(const csc_server *CSC_NULLABLE server);

/**
 * Takes the oldest pending connection (QTcpServer::nextPendingConnection). Works when not
 * listening, too.
 *
 * @param connection filled on success, its descriptor *returned*: the caller closes it
 * @return false when none is pending
 */
CSC_API bool csc_server_next_pending(csc_server *CSC_NULLABLE server, csc_connection *connection);

/**
 * Appends a connection to the queue (QTcpServer::addPendingConnection), whatever the limits say.
 *
 * It is live from now on; one that was delivered before is to end by csc_server_connection_ended()
 * first, unless the incoming callback gives back what it was just handed.
 *
 * @param connection *taken* on success. A descriptor of -1 is allowed: it keeps a place in the
 * order for something the caller holds itself, and whose end it tells even when the server was
 * closed.
 * @return false when memory is short; the connection is still the caller's then
 */
CSC_API bool csc_server_add_pending(csc_server *CSC_NULLABLE server,
                                    const csc_connection *connection);

/**
 * Lets in a connection that did not come through accept4(2), such as one that a proxy passed on: it
 * counts as accepted, and goes through the same callbacks and the same queue, whatever the limits
 * say that make clients wait. The server need not listen.
 *
 * @param connection *taken* on success, which being turned away is too, its descriptor
 * close-on-exec and non-blocking
 * @return false when memory is short; the connection is still the caller's then
 */
CSC_API bool csc_server_take(csc_server *CSC_NULLABLE server, const csc_connection *connection);

/**
 * Waits for a connection without running the event loop (QTcpServer::waitForNewConnection).
 *
 * True at once when one is pending. Otherwise accepts what the kernel holds, up to the pending
 * limit, with the same callbacks as the loop. Accepts while paused. Signals do not shorten the
 * wait.
 *
 * @param msec milliseconds; 0 polls; -1 or less waits without limit
 * @param timed_out if not NULL: set to whether the time ran out; untouched when the server does not
 * listen
 * @return false when the time ran out (CSC_ERROR_SOCKET_TIMEOUT), accepting failed, the server does
 * not listen, or 16 waits of this server are already on the stack
 */
CSC_API bool csc_server_wait(csc_server *CSC_NULLABLE server, int msec,
                             bool *CSC_NULLABLE timed_out);

/** Stops accepting until csc_server_resume(); the server goes on listening and the kernel's queue
 * fills. */
CSC_API void csc_server_pause(csc_server *CSC_NULLABLE server);

/** Undoes csc_server_pause(), and ends a wait after a lack of resources. Harmless at any time. */
CSC_API void csc_server_resume(csc_server *CSC_NULLABLE server);

/** The last error; CSC_ERROR_UNKNOWN at first. A later success does not clear it. */
CSC_API csc_error csc_server_error(const csc_server *CSC_NULLABLE server);

/** The last error for a person to read; empty at first. Static, never freed. */
CSC_API const char *csc_server_error_string(const csc_server *CSC_NULLABLE server);

/** Sets the last error; for layers above that refuse a call themselves. @param text static */
CSC_API void csc_server_set_error(csc_server *CSC_NULLABLE server, csc_error error,
                                  const char *text);

/** Counters since the server was made; 64 bits, never reset. */
typedef struct csc_statistics {
    uint64_t accepted;              /**< connections that accept4(2) returned */
    uint64_t added;                 /**< csc_server_add_pending() of something not just accepted */
    uint64_t delivered;             /**< taken by next_pending, or by the incoming callback */
    uint64_t pending;               /**< in the queue now */
    uint64_t discarded_on_close;    /**< pending when the server was closed or freed */
    uint64_t shed;                  /**< turned away for lack of descriptors or memory */
    uint64_t rejected_by_admission; /**< turned away by the admission callback */
    uint64_t rejected_by_limit;     /**< turned away beyond csc_server_set_max_connections() */
    uint64_t live;                /**< pending, or delivered and not yet told to have ended, now */
    uint64_t peer_errors;         /**< accept errors that concerned one peer only */
    uint64_t resource_errors;     /**< attempts in vain for lack of descriptors or memory */
    uint64_t refused_errors;      /**< accept errors by policy: EPERM, EACCES, ENOSYS */
    uint64_t listener_errors;     /**< times that the listening socket was broken */
    uint64_t error_episodes;      /**< times that accept_error was told of a pause */
    uint64_t pauses;              /**< times that accepting paused for an error, a lack of resources
                                       or the limit of connections; not for what is pending */
    uint64_t paused_milliseconds; /**< how long all those were, one that lasts included */
    uint64_t kernel_queue;        /**< completed connections in the kernel's queue now */
    uint64_t kernel_queue_limit;  /**< length of that queue */
} csc_statistics;

/**
 * Fills a snapshot.
 *
 * @param size sizeof(csc_statistics) as the caller knows it: a later library fills only that much
 */
CSC_API void csc_server_statistics(const csc_server *CSC_NULLABLE server,
                                   csc_statistics *statistics, size_t size);

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
