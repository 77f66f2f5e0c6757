// SPDX-License-Identifier: Apache-2.0

// Ticket keys, as OpenSSL's callbacks use them.
#ifndef CSC_TLS_TICKET_KEY_H
#define CSC_TLS_TICKET_KEY_H

#include "CServerTLS/ticket_keys.h"

enum { CSC__TLS_TICKET_NAME = 16, CSC__TLS_TICKET_SECRET = 32, CSC__TLS_TICKET_KEYS = 3 };

// The first byte of each name: no text in UTF-8 has it, so that a ticket is not taken for the
// identity of a pre-shared key.
enum { CSC__TLS_TICKET_MARK = 0xff };

typedef struct csc__tls_ticket_key {
    int64_t made; // seconds since 1970; 0 for no key
    unsigned char name[CSC__TLS_TICKET_NAME];
    unsigned char cipher[CSC__TLS_TICKET_SECRET];
    unsigned char mac[CSC__TLS_TICKET_SECRET];
} csc__tls_ticket_key;

csc_tls_ticket_keys *csc__tls_ticket_keys_retain(csc_tls_ticket_keys *keys);

// Copies the key to write tickets with; makes one where the newest is old.
void csc__tls_ticket_keys_newest(csc_tls_ticket_keys *keys, csc__tls_ticket_key *key);

// Copies the key of that name. False where there is none; `is_newest` says whether tickets are still
// written with it.
bool csc__tls_ticket_keys_named(csc_tls_ticket_keys *keys, const unsigned char *name,
                                csc__tls_ticket_key *key, bool *is_newest);

#endif
