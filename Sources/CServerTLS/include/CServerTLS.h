// SPDX-License-Identifier: Apache-2.0

/**
 * @mainpage CServerTLS
 *
 * TLS 1.2 and 1.3 on connected descriptors, for programs with a loop of their own. OpenSSL 3 does
 * the protocol; this library does what a server has to get right around it: reading and writing
 * without blocking and without SIGPIPE, server names, tickets, renewal of certificates, ends and
 * truncation.
 *
 * All of it is included by CServerTLS.h: @ref tls_contexts, @ref tls_identities, @ref tls_tickets,
 * @ref tls_connections, @ref tls_peers, @ref tls_errors.
 *
 * Rules that hold for every function here:
 *
 * - Thread: a connection is used by one thread at a time. Identities, maps of them, ticket keys and
 *   contexts may be used on any thread.
 * - Callbacks return: no C++ exception and no longjmp() may leave one. `context` is what the
 *   program gave with the connection, never looked at.
 * - Errors: nothing aborts, prints, asks at a terminal, or touches signal dispositions. OpenSSL's
 *   queue of errors is empty after each call.
 * - System calls: on a connection recv and send alone, with MSG_DONTWAIT and MSG_NOSIGNAL. Besides
 *   them getrandom, getpid, clock_gettime and time by OpenSSL, futex by mutexes, and what malloc()
 *   needs; files are read by csc_tls_identity_from_files() and csc_tls_context_new().
 * - Not done: renegotiation, compression, early data, versions before TLS 1.2, sessions kept by the
 *   server.
 *
 * @section tls_use Use
 *
 * One context for each loop. For a connection that was accepted: csc_tls_new_server(), then
 * csc_tls_handshake() until it is done, waiting for what it wants, with a deadline of the program's
 * own. Then csc_tls_read() and csc_tls_write(), csc_tls_end_writing(), shutdown(2), csc_tls_free()
 * and close(2).
 */

/**
 * @file CServerTLS.h
 * The whole library. The main page has the rules that hold for every function.
 */
#ifndef CSERVERTLS_H
#define CSERVERTLS_H

#include "CServerTLS/base.h"
#include "CServerTLS/connection.h"
#include "CServerTLS/context.h"
#include "CServerTLS/error.h"
#include "CServerTLS/identity.h"
#include "CServerTLS/peer.h"
#include "CServerTLS/ticket_keys.h"

#endif
