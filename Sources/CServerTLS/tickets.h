// SPDX-License-Identifier: Apache-2.0

// Session tickets of a context, and of a connection.
#ifndef CSC_TLS_TICKETS_H
#define CSC_TLS_TICKETS_H

#include "tls.h"

// Lets a server's context write and accept tickets, or none without keys.
bool csc__tls_enable_tickets(csc_tls_context *context);

// Has OpenSSL make one at the end of the handshake, which transport.c holds, where that is possible.
void csc__tls_plan_ticket(csc_tls *tls);

// Before the first bytes of a server: OpenSSL writes a ticket ahead of them.
void csc__tls_offer_ticket(csc_tls *tls);

#endif
