// SPDX-License-Identifier: Apache-2.0

// A server that requires PROXY headers, and the proxies that connect to it.
#ifndef PROXIES_H
#define PROXIES_H

#include "guests.h"

// Of a client 192.0.2.1 port 56324, at 198.51.100.2 port 443.
#define V1_HEADER "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
enum { V1_HEADER_SIZE = sizeof V1_HEADER - 1 };

// Requires headers of the loopback network, within five seconds.
void proxies_require(csc_server *server);

// The same, and listens; the scene sees who is rejected.
void proxies_start(fixture *it, scene *now);

// The same within an hour, where no time is to pass: a busy machine may hold up a test for seconds.
void proxies_start_patiently(fixture *it, scene *now);

// A proxy that has sent these bytes.
int proxies_connect(fixture *it, const char *bytes);
void proxies_send(int proxy, const void *bytes, size_t count);

// Takes the one pending connection, and checks that it is that of V1_HEADER with this behind it. It has
// ended then.
void proxies_assert_delivered(fixture *it, const char *payload);

// What can be read at a connection now.
void proxies_assert_payload(int descriptor, const char *payload);

#endif
