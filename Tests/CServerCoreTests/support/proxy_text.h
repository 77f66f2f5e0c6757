// SPDX-License-Identifier: Apache-2.0

// What a PROXY header says, in the words of the vectors.
#ifndef PROXY_TEXT_H
#define PROXY_TEXT_H

#include <ProxyHeaderVectors.h>

enum { PROXY_TEXT_SIZE = 1024 };

// Writes what proxy_vector.text is, for a header that was read from these bytes.
void proxy_text(const csc_proxy_header *header, const uint8_t *bytes, char *text);

#endif
