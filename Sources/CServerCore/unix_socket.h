// SPDX-License-Identifier: Apache-2.0

// Paths of UNIX sockets, and what is there. Knows nothing of csc_server.
#ifndef CSC_UNIX_SOCKET_H
#define CSC_UNIX_SOCKET_H

#include "CServerCore.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

typedef struct csc__unix_name {
    struct sockaddr_un address;
    socklen_t length;
} csc__unix_name;

static inline bool csc__is_abstract(const char *path) {
    return path[0] == '@';
}

// False for a path that is empty or too long.
bool csc__unix_name_of(const char *path, csc__unix_name *name);

// The path of what the kernel reports; "" where it has none.
void csc__path_of(const struct sockaddr *address, socklen_t length, char path[CSC_PATH_SIZE]);

// A descriptor: until it is closed no other process that asks for one begins to listen at the path.
// -1 with errno: EADDRINUSE where one does.
int csc__path_lock(const char *path);

typedef enum csc__path_state {
    CSC__PATH_FREE,
    CSC__PATH_STALE,   // a socket of our user that refuses connections
    CSC__PATH_USED,    // a socket that does not refuse them
    CSC__PATH_OTHERS,  // a socket of another user
    CSC__PATH_FOREIGN, // no socket
    CSC__PATH_UNKNOWN, // with errno
} csc__path_state;

csc__path_state csc__path_look(const char *path, const csc__unix_name *name);

#endif
