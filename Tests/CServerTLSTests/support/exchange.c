// SPDX-License-Identifier: Apache-2.0

// exchange HANDSHAKES MESSAGES: a server and a client of the library talk to each other, for
// count-instructions.

#include "pair.h"

#include <stdlib.h>

int main(int count, char **words) {
    must(count == 3);
    pair *it = pair_new();
    for (int handshakes = atoi(words[1]); handshakes > 0; handshakes--) {
        pair_handshake(it);
    }
    for (int messages = atoi(words[2]); messages > 0; messages--) {
        char bytes[64] = {0};
        size_t length;
        must(csc_tls_write(it->client, bytes, sizeof bytes, &length) == CSC_TLS_DONE);
        must(csc_tls_read(it->server, bytes, sizeof bytes, &length) == CSC_TLS_DONE);
        must(!csc_tls_has_buffered_input(it->server));
        must(csc_tls_write(it->server, bytes, sizeof bytes, &length) == CSC_TLS_DONE);
        must(csc_tls_read(it->client, bytes, sizeof bytes, &length) == CSC_TLS_DONE);
    }
    pair_free(it);
    free_certificates();
    return 0;
}
