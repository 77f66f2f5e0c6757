// SPDX-License-Identifier: Apache-2.0

// A server and a client of the library, connected by a socket pair, and driven by turns.
#ifndef PAIR_H
#define PAIR_H

// cmocka wants these before its own header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "certificates.h"
#include "must.h"

#include <CServerTLS.h>
#include <FaultInjection.h>

typedef struct pair {
    csc_tls_identities *identities; // of the server; has "localhost" and no default identity
    csc_tls_identities *own;        // of the client; empty
    csc_tls_ticket_keys *keys;
    csc_tls_settings server_settings; // as they are before pair_connect()
    csc_tls_settings client_settings;
    const char *server_name; // "localhost"
    csc_tls_context *server_context;
    csc_tls_context *client_context;
    int descriptors[2]; // of the server, of the client
    csc_tls *server;
    csc_tls *client;
} pair;

// Settings that work: an ECDSA certificate, the authority, tickets.
pair *pair_new(void);
void pair_free(pair *it);

// Makes the contexts, unless they are there, and a connection; the one before ends.
void pair_connect(pair *it);
void pair_disconnect(pair *it);
void pair_forget_contexts(pair *it);

// Steps of both sides until none goes on by itself. The results are those of the last steps.
typedef struct pair_results {
    csc_tls_result server;
    csc_tls_result client;
} pair_results;
pair_results pair_step(pair *it);

// Connects, and completes the handshake.
void pair_handshake(pair *it);

// The same, which has to fail on the server, or on the client.
void pair_fail_on_server(pair *it, csc_tls_failure failure);
void pair_fail_on_client(pair *it, csc_tls_failure failure);

// Sends bytes from one side to the other, which gets all of them.
void pair_exchange(csc_tls *from, csc_tls *to, size_t size);

// A text that is there to be read, or is written; a result of a read without bytes.
void assert_reads(csc_tls *tls, const char *text);
void assert_writes(csc_tls *tls, const char *text);
void assert_read_result(csc_tls *tls, csc_tls_result expected);

// A session of the client, after the server's first bytes; and a handshake that offers it. Returns
// whether it was resumed, on which both sides have to agree.
typedef struct session {
    unsigned char bytes[8192];
    size_t size;
} session;
session pair_session(pair *it);
bool pair_resumes(pair *it, const session *offered);

bool under_valgrind(void);

// For the end of a group of tests: frees the certificates.
int free_shared(void **state);

#endif
