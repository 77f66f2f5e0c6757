// SPDX-License-Identifier: Apache-2.0

// A program that waits for its connections, without a loop: it includes nothing of libevent's.

#include <CServerCore.h>

#include <stdio.h>

int main(void) {
    csc_server *server = csc_server_new(NULL);
    csc_address address = {.family = CSC_FAMILY_ANY};
    bool listens = server && csc_server_listen(server, &address);
    printf("%s\n", listens ? "listening" : "not listening");
    csc_server_free(server);
    return listens ? 0 : 1;
}
