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
 * All of it is in CServerCore.h: @ref listening, @ref callbacks, @ref connections, @ref limits,
 * @ref errors, @ref addresses, @ref statistics.
 *
 * Rules that hold for every function here:
 *
 * - Thread: a server belongs to the thread that runs its event_base (without a base: to one thread
 * at a time). No function that is given a server may be called from another thread but
 * csc_server_wake() and csc_server_connection_ended(); those without a server may be called from
 * any. Different servers on different threads are independent.
 * - Callbacks: any function may be called from any callback, csc_server_close() and
 * csc_server_free() included. A callback returns: no C++ exception and no longjmp() may leave it.
 * How deep callbacks nest is the program's choice, never the clients'.
 * - SIGPIPE: a client may be gone before it is answered, and a write then ends the process unless
 * SIGPIPE is ignored. Write with send(2) and MSG_NOSIGNAL, or call signal(SIGPIPE, SIG_IGN) where
 * write(2), dprintf(3) or libevent's bufferevents are used. The library writes to no connection.
 * - Errors: a function that can fail returns false (or -1, or NULL); csc_server_error() and
 *   csc_server_error_string() then say why. Nothing aborts, prints, or touches signal dispositions.
 * - Parameters: `server` is the server that a call is about or a callback comes from, *borrowed*;
 * `context` is what the program gave with the callback, never looked at, and still the program's.
 * - NULL for the server is allowed everywhere and means a server that could not be made: it does
 * not listen, has nothing pending, its settings are what they are at first, and its error is
 * CSC_ERROR_SOCKET_RESOURCE.
 * - Descriptors are close-on-exec and non-blocking from their first moment.
 * - System calls: to listen, a server makes socket, setsockopt, bind, listen, getsockname, fstat,
 * fcntl, getrlimit, timerfd_create, timerfd_settime and epoll_ctl; addresses with a scope make
 * socket and ioctl; a child of fork() makes eventfd and dup3. Once it listens, a server makes
 * accept4, epoll_wait and epoll_ctl (by libevent), poll, read, fstat, fcntl, getsockopt,
 * clock_gettime, close, and what malloc() needs; timerfd_settime and write where other threads end
 * connections or wake a wait. A wait makes one eventfd; when descriptors run out getrlimit is
 * called, and with CSC_OVERLOAD_SHED eventfd. Clients that are rejected cost getsockname where
 * there is a csc_rejected_fn, and a reset setsockopt. csc_server_descriptor_headroom() reads
 * /proc/self/fd: getrlimit, openat, getdents64. Where a filter forbids one to accept, that is an
 * error like a lack of resources, with longer pauses.
 * - Descriptors of the process that the library keeps are closed only while they are its own: a
 * program that closes a number which is not its own breaks the server, but no other file.
 * - A server stays with the process that made it. In a child of fork() that does not exec it no
 * longer listens, csc_server_listen(), csc_server_adopt() and csc_server_wait() fail with
 * CSC_ERROR_OPERATION, and csc_server_free() closes the child's copies of its descriptors; nothing
 * of that reaches the parent. The loop of the parent is libevent's to protect: the child leaves the
 * inherited event_base alone, or calls event_reinit(); a loop that it runs all the same reports
 * CSC_ERROR_OPERATION to the csc_accept_error_fn. A child that is to accept from the same queue
 * makes an event_base, or calls event_reinit(), and makes a server of its own, which adopts what
 * csc_server_release() of the inherited server returns. So does a program that calls daemon(3)
 * after csc_server_listen(); simpler is daemon(3) first.
 *
 * Exactly once: at any time outside a callback `accepted + added == delivered + pending +
 * discarded_on_close + shed + rejected_by_admission + rejected_by_limit` (see csc_statistics).
 */

/**
 * @file CServerCore.h
 * The whole library. The main page has the rules that hold for every function.
 */
#ifndef CSERVERCORE_H
#define CSERVERCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header, as in 0.1.0. While the first number is 0, the second one may change
 * names and types. */
#define CSC_VERSION_MAJOR 0
/** The second number: what is new. */
#define CSC_VERSION_MINOR 1
/** The third number: what was mended. */
#define CSC_VERSION_PATCH 0
/** The three as one number that can be compared, as in 100 for 0.1.0. */
#define CSC_VERSION_NUMBER (CSC_VERSION_MAJOR * 10000 + CSC_VERSION_MINOR * 100 + CSC_VERSION_PATCH)

/** @cond Not for programs to use. */
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
/** @endcond */

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct sockaddr;
struct sockaddr_storage;

CSC_ASSUME_NONNULL

/* ---------------------------------------------------------------------------------------------- */
/**
 * @defgroup errors Errors
 * What went wrong, as a number and as a text.
 * @{
 */

/**
 * What went wrong, with the numbers of QAbstractSocket::SocketError.
 *
 * A server's own calls give only some of them; the rest is there so that a program, or a socket
 * class above this library, has one set of numbers for all.
 */
typedef enum csc_error {
    CSC_ERROR_UNKNOWN = -1,           /**< no error yet, or one without a class of its own */
    CSC_ERROR_CONNECTION_REFUSED = 0, /**< the peer refused, or nobody listens there */
    CSC_ERROR_REMOTE_HOST_CLOSED = 1, /**< the peer ended the connection */
    CSC_ERROR_HOST_NOT_FOUND = 2,     /**< a host name has no address */
    CSC_ERROR_SOCKET_ACCESS = 3,   /**< not permitted: privileged port, seccomp, security module */
    CSC_ERROR_SOCKET_RESOURCE = 4, /**< out of descriptors or memory */
    CSC_ERROR_SOCKET_TIMEOUT = 5,  /**< a wait ended without what it waited for */
    CSC_ERROR_DATAGRAM_TOO_LARGE = 6,             /**< given by nothing here */
    CSC_ERROR_NETWORK = 7,                        /**< the network failed */
    CSC_ERROR_ADDRESS_IN_USE = 8,                 /**< the address and port are taken */
    CSC_ERROR_SOCKET_ADDRESS_NOT_AVAILABLE = 9,   /**< not an address of this machine */
    CSC_ERROR_UNSUPPORTED_SOCKET_OPERATION = 10,  /**< the socket or address cannot do this */
    CSC_ERROR_UNFINISHED_SOCKET_OPERATION = 11,   /**< the caller gave up before the end */
    CSC_ERROR_PROXY_AUTHENTICATION_REQUIRED = 12, /**< the proxy wants credentials, or others */
    CSC_ERROR_SSL_HANDSHAKE_FAILED = 13,          /**< given by nothing here */
    CSC_ERROR_PROXY_CONNECTION_REFUSED = 14,      /**< nobody listens where the proxy should be */
    CSC_ERROR_PROXY_CONNECTION_CLOSED = 15,       /**< the proxy closed the connection too early */
    CSC_ERROR_PROXY_CONNECTION_TIMEOUT = 16,      /**< the proxy did not answer in time */
    CSC_ERROR_PROXY_NOT_FOUND = 17,               /**< the proxy's host name has no address */
    CSC_ERROR_PROXY_PROTOCOL = 18,                /**< the proxy speaks another protocol */
    CSC_ERROR_OPERATION = 19,    /**< the call was made in a state that does not allow it */
    CSC_ERROR_SSL_INTERNAL = 20, /**< given by nothing here */
    CSC_ERROR_SSL_INVALID_USER_DATA = 21, /**< given by nothing here */
    CSC_ERROR_TEMPORARY = 22              /**< nothing is wrong, but there is nothing now */
} csc_error;

/** The system call that an errno came from; the same errno means different things to different
 * calls. */
typedef enum csc_call {
    CSC_CALL_SOCKET,  /**< socket(2) */
    CSC_CALL_BIND,    /**< bind(2) */
    CSC_CALL_LISTEN,  /**< listen(2) */
    CSC_CALL_ACCEPT,  /**< accept4(2) */
    CSC_CALL_ADOPT,   /**< checking a descriptor that the program hands over */
    CSC_CALL_CONNECT, /**< for client sockets built beside the server */
    CSC_CALL_READ,    /**< read(2), recv(2) */
    CSC_CALL_WRITE,   /**< write(2), send(2) */
    CSC_CALL_WATCH    /**< registering a descriptor with the event loop */
} csc_call;

/**
 * The class of an errno, as QTcpServer and QTcpSocket report it. Any thread may ask.
 *
 * @param call the system call that failed
 * @param errnum its errno
 * @param text if not NULL, set to the human-readable text: static, never freed
 * @return the class; CSC_ERROR_UNKNOWN for an errno that has none, CSC_ERROR_NETWORK where the call
 *   is CSC_CALL_READ or CSC_CALL_WRITE
 */
CSC_API csc_error csc_error_from_errno(csc_call call, int errnum,
                                       const char *CSC_NULLABLE *CSC_NULLABLE text);

/** @} */

/* ---------------------------------------------------------------------------------------------- */
/**
 * @defgroup addresses Addresses
 * Reading and writing them. All of these may be called from any thread.
 * @{
 */

/** What a csc_address holds. */
typedef enum csc_family {
    CSC_FAMILY_NONE = 0, /**< no address */
    CSC_FAMILY_ANY = 1,  /**< every interface, IPv4 and IPv6 on one socket */
    CSC_FAMILY_IPV4 = 4, /**< an IPv4 address */
    CSC_FAMILY_IPV6 = 6 /**< an IPv6 address; IPv4-mapped only where csc_address_parse() read one */
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
 * @param port stored in the result, host byte order
 * @param address filled on success, untouched otherwise
 * @return false when the text is not a literal, or its scope is neither the name of an interface
 * nor a number from 1 to INT32_MAX; a number need not be an interface's of this machine
 */
CSC_API bool csc_address_parse(const char *text, uint16_t port, csc_address *address);

/**
 * Writes the address without its port; an IPv6 scope is written as the interface's name where it
 * has one.
 *
 * @param address borrowed
 * @param buffer filled with the text, NUL-terminated unless its size is 0
 * @param size of the buffer in bytes; CSC_ADDRESS_TEXT_SIZE is always enough
 * @return the length of the text without its NUL; 0 for CSC_FAMILY_NONE or when the buffer is too
 * small
 */
CSC_API size_t csc_address_format(const csc_address *address, char *buffer, size_t size);

/**
 * Whether an address is one of the machine to itself.
 *
 * @param address borrowed
 * @return true for 127.0.0.0/8 and ::1, an IPv4-mapped 127.0.0.0/8 included
 */
CSC_API bool csc_address_is_loopback(const csc_address *address);

/**
 * Whether two addresses are the same, port and scope included. An IPv4-mapped IPv6 address is the
 * same as the IPv4 address that it stands for.
 *
 * @param one borrowed
 * @param other borrowed
 */
CSC_API bool csc_address_equal(const csc_address *one, const csc_address *other);

/**
 * Converts from the kernel's form. An IPv4-mapped IPv6 address becomes the IPv4 address it stands
 * for, so that a peer has one form whichever socket it came through.
 *
 * @param source borrowed; NULL is too short
 * @param length of what stands there, in bytes
 * @param address filled, always
 * @return false, with the address set to CSC_FAMILY_NONE, when it is neither IPv4 nor IPv6 or too
 * short
 */
CSC_API bool csc_address_from_sockaddr(const struct sockaddr *CSC_NULLABLE source, size_t length,
                                       csc_address *address);

/**
 * Converts to the kernel's form. CSC_FAMILY_ANY becomes `::`.
 *
 * @param address borrowed
 * @param result filled with a sockaddr_in or sockaddr_in6, the rest 0
 * @return the length of the result in bytes, 0 for CSC_FAMILY_NONE
 */
CSC_API unsigned int csc_address_to_sockaddr(const csc_address *address,
                                             struct sockaddr_storage *result);

/** @} */

/* ---------------------------------------------------------------------------------------------- */
/**
 * @defgroup listening A server, and listening
 * Making a server, telling it where to listen, and ending it.
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

/** A server. Opaque; made by csc_server_new(), ended by csc_server_free(). */
typedef struct csc_server csc_server;

/** An accepted connection. A plain value: whoever holds it last owns the descriptor. */
typedef struct csc_connection {
    int descriptor;    /**< close-on-exec, non-blocking */
    csc_address peer;  /**< as accept4(2) gave it: right even when the peer has already gone */
    uint32_t reserved; /**< 0 */
} csc_connection;

/**
 * Makes a server that does not listen yet.
 *
 * @param base *borrowed*, must outlive the server; NULL for use with csc_server_wait() alone
 * @return the server, freed by the caller with csc_server_free(); NULL when memory is short
 */
CSC_API csc_server *CSC_NULLABLE csc_server_new(struct event_base *CSC_NULLABLE base);

/** Closes the server as csc_server_close() does and frees it. Allowed in a callback of the same
 * server, which is then called back no more. The event_base is still the program's. */
CSC_API void csc_server_free(csc_server *CSC_NULLABLE server);

/** @} */

/* ---------------------------------------------------------------------------------------------- */
/**
 * @defgroup callbacks Callbacks
 * What a server tells the program, always on the thread of its loop.
 * @{
 */

/** Called once for each new connection, after it was queued or given to the incoming callback. */
typedef void (*csc_new_connection_fn)(csc_server *server, void *CSC_NULLABLE context);

/**
 * Called instead of queuing a connection.
 *
 * @param connection its descriptor *taken*: the callback owns it and closes it or passes it on, to
 *   any thread; csc_server_add_pending() gives it back to the queue. The pointer is *borrowed* for
 *   the call
 */
typedef void (*csc_incoming_connection_fn)(csc_server *server, const csc_connection *connection,
                                           void *CSC_NULLABLE context);

/**
 * Called when accepting fails for a reason the program should know: once an episode, not per
 * attempt. An episode ends with the next connection or csc_server_resume().
 *
 * A server that does not listen when this is called has lost its listening socket; any other goes
 * on by itself, unless its policy is CSC_OVERLOAD_STRICT. What fails within the callback is
 * reported when it has returned.
 *
 * @param error the class; csc_server_error_string() has the text
 */
typedef void (*csc_accept_error_fn)(csc_server *server, csc_error error,
                                    void *CSC_NULLABLE context);

/** What an admission callback decides. */
typedef enum csc_admission {
    CSC_ADMIT,  /**< lets it in */
    CSC_REFUSE, /**< closes the connection */
    CSC_RESET   /**< resets it, which leaves nothing of it in the kernel */
} csc_admission;

/**
 * Called for each connection before anything is made of it.
 *
 * @param peer the client's address and port, *borrowed* for the call
 * @return what becomes of the client
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
    csc_address peer;            /**< the client's address and port */
    csc_address local;           /**< the address that the client connected to */
    csc_rejection_reason reason; /**< why it was turned away */
    uint32_t reserved[3];        /**< 0 */
} csc_rejection;

/**
 * Called by csc_server_listen() for each socket that it makes, between socket(2) and bind(2): for
 * options that must be set before, such as SO_REUSEPORT, IP_FREEBIND, SO_BINDTODEVICE, IP_TOS.
 *
 * SO_REUSEADDR and IPV6_V6ONLY are set by then. For CSC_FAMILY_ANY there may be a second socket,
 * where the kernel has no IPv6. A callback that closes or frees the server makes listening fail.
 *
 * @param descriptor *borrowed* for the call
 * @return 0, or the errno that csc_server_listen() is to fail with
 */
typedef int (*csc_socket_fn)(csc_server *server, int descriptor, void *CSC_NULLABLE context);

/**
 * Called for each connection that was turned away, when its descriptor has been closed.
 *
 * @param rejection who and why, *borrowed* for the call
 */
typedef void (*csc_rejected_fn)(csc_server *server, const csc_rejection *rejection,
                                void *CSC_NULLABLE context);

/**
 * Sets the callback for new connections, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_new_connection(csc_server *CSC_NULLABLE server,
                                          csc_new_connection_fn CSC_NULLABLE callback,
                                          void *CSC_NULLABLE context);

/**
 * Sets the callback that takes connections, in place of the one before.
 *
 * @param callback NULL, the default, queues them
 */
CSC_API void csc_server_on_incoming_connection(csc_server *CSC_NULLABLE server,
                                               csc_incoming_connection_fn CSC_NULLABLE callback,
                                               void *CSC_NULLABLE context);

/**
 * Sets the callback for accept errors, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_accept_error(csc_server *CSC_NULLABLE server,
                                        csc_accept_error_fn CSC_NULLABLE callback,
                                        void *CSC_NULLABLE context);

/**
 * Sets the callback that admits connections, in place of the one before.
 *
 * @param callback NULL, the default, admits all
 */
CSC_API void csc_server_on_admission(csc_server *CSC_NULLABLE server,
                                     csc_admission_fn CSC_NULLABLE callback,
                                     void *CSC_NULLABLE context);

/**
 * Sets the callback for the sockets that csc_server_listen() makes, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_socket(csc_server *CSC_NULLABLE server,
                                  csc_socket_fn CSC_NULLABLE callback, void *CSC_NULLABLE context);

/**
 * Sets the callback for connections that were turned away, in place of the one before.
 *
 * @param callback NULL for none
 */
CSC_API void csc_server_on_rejected(csc_server *CSC_NULLABLE server,
                                    csc_rejected_fn CSC_NULLABLE callback,
                                    void *CSC_NULLABLE context);

/** @} */

/**
 * @addtogroup listening
 * @{
 */

/**
 * Listens on an address and port (QTcpServer::listen).
 *
 * CSC_FAMILY_ANY listens on all interfaces for IPv4 and IPv6, or for IPv4 where the kernel has no
 * IPv6. An IPv6 address never takes IPv4 clients. Port 0 lets the kernel choose. SO_REUSEADDR is
 * set, SO_REUSEPORT is not. The process's descriptor table is grown once
 * (csc_server_set_expected_connections()).
 *
 * @param address borrowed
 * @return false when it already listens, the address is CSC_FAMILY_NONE, the csc_socket_fn refuses,
 *   or a system call fails; nothing is left open then
 */
CSC_API bool csc_server_listen(csc_server *CSC_NULLABLE server, const csc_address *address);

/**
 * Takes over a listening socket (QTcpServer::setSocketDescriptor).
 *
 * The descriptor must be a listening IPv4 or IPv6 stream socket that no server of this process
 * uses. It is made non-blocking and close-on-exec; its queue length and options stay as they are.
 *
 * @param descriptor *taken* on success; untouched and still the caller's on failure
 * @return false when it is not such a socket, or the server listens already
 */
CSC_API bool csc_server_adopt(csc_server *CSC_NULLABLE server, int descriptor);

/**
 * Stops listening, closes the listening socket and every connection still pending. Connections
 * already taken are not touched. Settings and the last error stay. Does nothing when not listening
 * and empty.
 */
CSC_API void csc_server_close(csc_server *CSC_NULLABLE server);

/**
 * Stops listening without closing the listening socket, for another server, thread or process to
 * accept from: clients in the kernel's queue stay there. What is pending can still be taken.
 *
 * In a child of fork() it returns the child's copy of the descriptor.
 *
 * @return *returned*: the caller closes it; non-blocking and close-on-exec. -1 when it does not
 *   listen, or other code has closed the descriptor
 */
CSC_API int csc_server_release(csc_server *CSC_NULLABLE server);

/**
 * Stops listening in order: accepts what the kernel has completed by now, whatever the limits say,
 * then closes the listening socket. Only the admission callback may still reject a client. What is
 * pending can still be taken. A client that connects meanwhile may be reset; one that connects
 * later is refused.
 *
 * In a callback of another csc_server_finish() of the server it leaves the rest to that one: the
 * server stops listening when that returns.
 */
CSC_API void csc_server_finish(csc_server *CSC_NULLABLE server);

/**
 * Whether the server listens.
 *
 * A listening socket breaks when somebody else closes its descriptor, puts something else in its
 * place, or shuts the socket down. The server looks every second, on the loop or in
 * csc_server_wait(); then it stops, tells the accept error callback once, and leaves a number that
 * is no longer its own alone.
 *
 * @return true between a successful listen or adopt and close, or until the listening socket breaks
 */
CSC_API bool csc_server_is_listening(const csc_server *CSC_NULLABLE server);

/**
 * Where the server listens.
 *
 * @return the address with the port; CSC_FAMILY_NONE and 0 when it does not listen
 */
CSC_API csc_address csc_server_address(const csc_server *CSC_NULLABLE server);

/**
 * The port the server listens on, the kernel's choice where 0 was asked for.
 *
 * @return in host byte order; 0 when it does not listen
 */
CSC_API uint16_t csc_server_port(const csc_server *CSC_NULLABLE server);

/**
 * The listening descriptor. The server holds a duplicate for its own use beside it.
 *
 * @return *borrowed*: the server closes it; -1 when it does not listen
 */
CSC_API int csc_server_descriptor(const csc_server *CSC_NULLABLE server);

/** @} */

/* ---------------------------------------------------------------------------------------------- */
/**
 * @defgroup limits Limits
 * How much a server takes, and what becomes of the rest.
 * @{
 */

/**
 * Sets how many connections may be pending: 30 at first. At the limit the rest waits in the
 * kernel's queue. Raising it resumes accepting.
 *
 * @param count 0 or less accepts nothing
 */
CSC_API void csc_server_set_max_pending(csc_server *CSC_NULLABLE server, int count);

/**
 * How many connections may be pending.
 *
 * @return as it was set
 */
CSC_API int csc_server_max_pending(const csc_server *CSC_NULLABLE server);

/**
 * Sets the length of the kernel's queue, used by the next listen.
 *
 * @param length connections; INT_MAX, the default, and any number above net.core.somaxconn mean
 *   that, the kernel's maximum
 */
CSC_API void csc_server_set_backlog(csc_server *CSC_NULLABLE server, int length);

/**
 * The length of the kernel's queue that the next listen asks for.
 *
 * @return as it was set
 */
CSC_API int csc_server_backlog(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many connections one turn of the loop accepts at most, 64 at first: what else the loop
 * has to do waits so long.
 *
 * @param count less than 1 counts as 1
 */
CSC_API void csc_server_set_accept_batch(csc_server *CSC_NULLABLE server, int count);

/**
 * How many connections one turn of the loop accepts at most.
 *
 * @return 1 or more
 */
CSC_API int csc_server_accept_batch(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many descriptors the program expects to have open; 65,536 at first, bounded by
 * RLIMIT_NOFILE.
 *
 * Listening grows the descriptor table to this size, 8 bytes of kernel memory each, because in a
 * process with threads each later doubling would stall accept4(2) for milliseconds.
 *
 * @param count 0 or less leaves the table alone
 */
CSC_API void csc_server_set_expected_connections(csc_server *CSC_NULLABLE server, int count);

/**
 * How many descriptors the next listen makes room for.
 *
 * @return as it was set
 */
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
 *
 * @param policy one of the three
 */
CSC_API void csc_server_set_overload_policy(csc_server *CSC_NULLABLE server,
                                            csc_overload_policy policy);

/**
 * What a lack of descriptors or memory does.
 *
 * @return as it was set
 */
CSC_API csc_overload_policy csc_server_overload_policy(const csc_server *CSC_NULLABLE server);

/**
 * Sets how many descriptors accepting leaves to the rest of the program; 32 at first.
 *
 * When no others are left, accepting pauses as for EMFILE, with the same error. The limit is read
 * when the server starts to listen and whenever descriptors seem to run out, each end of a back-off
 * included, so that a changed one is noticed.
 *
 * @param count more than a quarter of RLIMIT_NOFILE counts as that; 0 or less leaves none
 */
CSC_API void csc_server_set_descriptor_reserve(csc_server *CSC_NULLABLE server, int count);

/**
 * How many descriptors accepting leaves to the rest of the program.
 *
 * @return as it was set
 */
CSC_API int csc_server_descriptor_reserve(const csc_server *CSC_NULLABLE server);

/**
 * How many more descriptors the process may open before the reserve is touched. Counted in
 * /proc/self/fd when asked, which takes longer the more there are.
 *
 * @return 0 or more
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
 * @param excess what becomes of clients beyond it; CSC_EXCESS_WAIT at first
 */
CSC_API void csc_server_set_max_connections(csc_server *CSC_NULLABLE server, int count,
                                            csc_excess excess);

/**
 * How many connections may be live at once.
 *
 * @return as it was set; -1 for no limit
 */
CSC_API int csc_server_max_connections(const csc_server *CSC_NULLABLE server);

/**
 * What becomes of clients beyond csc_server_max_connections().
 *
 * @return as it was set
 */
CSC_API csc_excess csc_server_excess(const csc_server *CSC_NULLABLE server);

/**
 * Tells that a delivered connection has ended: once for each, after its descriptor was closed.
 * Makes room below csc_server_set_max_connections(), and ends a back-off for lack of resources.
 * Calls no callback; a program that sets no limit may do without it.
 *
 * May be called from any thread, as long as the server is not freed meanwhile: from another one
 * than the server's it takes effect on the loop's next turn, or in the wait that is running.
 */
CSC_API void csc_server_connection_ended(csc_server *CSC_NULLABLE server);

/** @} */

/* ---------------------------------------------------------------------------------------------- */
/**
 * @defgroup connections Taking connections
 * The queue of pending connections, waiting for one, and pausing.
 * @{
 */

/**
 * Whether a connection is pending.
 *
 * @return true when csc_server_next_pending() would give one
 */
CSC_API bool csc_server_has_pending(const csc_server *CSC_NULLABLE server);

/**
 * Takes the oldest pending connection (QTcpServer::nextPendingConnection). Works when not
 * listening, too.
 *
 * @param connection filled on success, untouched otherwise; its descriptor *returned*: the caller
 *   closes it
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
 * True at once when one is pending, listening or not. Otherwise accepts what the kernel holds, up
 * to the pending limit, with the same callbacks as the loop. Accepts while paused. Signals do not
 * shorten the wait.
 *
 * @param msec milliseconds; 0 polls; -1 or less waits without limit
 * @param timed_out if not NULL: set to whether the time ran out; untouched when the server does not
 * listen
 * @return false when the time ran out (CSC_ERROR_SOCKET_TIMEOUT), csc_server_wake() was called,
 * accepting failed, the server does not listen, or 16 waits of this server are already on the stack
 */
CSC_API bool csc_server_wait(csc_server *CSC_NULLABLE server, int msec,
                             bool *CSC_NULLABLE timed_out);

/**
 * Ends the csc_server_wait() that is running, or else the next one: it returns false, with
 * CSC_ERROR_UNFINISHED_SOCKET_OPERATION. Of waits within a wait it ends the innermost.
 *
 * May be called from any thread and from signal handlers, as long as the server is not freed
 * meanwhile. Several calls before a wait ends count as one. A wait has one descriptor more for it,
 * an eventfd; without one, because there are no others, it ends after a second at most.
 */
CSC_API void csc_server_wake(csc_server *CSC_NULLABLE server);

/** Stops accepting until csc_server_resume(); the server goes on listening and the kernel's queue
 * fills. */
CSC_API void csc_server_pause(csc_server *CSC_NULLABLE server);

/**
 * Undoes csc_server_pause(), and the pause of CSC_OVERLOAD_STRICT. After a lack of resources it
 * tries again at once; in a csc_accept_error_fn, or when the last resume was in vain, it leaves the
 * back-off its time instead. Harmless at any time.
 */
CSC_API void csc_server_resume(csc_server *CSC_NULLABLE server);

/** @} */

/**
 * @addtogroup errors
 * @{
 */

/**
 * The last error. A later success does not clear it.
 *
 * @return CSC_ERROR_UNKNOWN at first; CSC_ERROR_SOCKET_RESOURCE for NULL
 */
CSC_API csc_error csc_server_error(const csc_server *CSC_NULLABLE server);

/**
 * The last error for a person to read, in English.
 *
 * @return empty at first; static or what csc_server_set_error() was given, never freed
 */
CSC_API const char *csc_server_error_string(const csc_server *CSC_NULLABLE server);

/**
 * The errno of the last error: what tells EMFILE from ENFILE, ENOMEM and ENOBUFS, which are all
 * CSC_ERROR_SOCKET_RESOURCE.
 *
 * @return 0 at first, and for an error that is no system call's; ENOMEM for NULL
 */
CSC_API int csc_server_errno(const csc_server *CSC_NULLABLE server);

/**
 * Sets the last error; for layers above that refuse a call themselves.
 *
 * @param error the class
 * @param text NUL-terminated, *borrowed* as long as the server: not copied
 */
CSC_API void csc_server_set_error(csc_server *CSC_NULLABLE server, csc_error error,
                                  const char *text);

/** @} */

/* ---------------------------------------------------------------------------------------------- */
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
 * Fills a snapshot. Asks the kernel for its queue, by one getsockopt(2).
 *
 * @param statistics filled; all 0 when the server is NULL
 * @param size sizeof(csc_statistics) as the caller knows it: a later library fills only that much,
 * an earlier one leaves what it does not know as it is
 */
CSC_API void csc_server_statistics(const csc_server *CSC_NULLABLE server,
                                   csc_statistics *statistics, size_t size);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
