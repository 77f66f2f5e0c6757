// SPDX-License-Identifier: Apache-2.0

// The files that listening UNIX sockets have made: each is removed with its socket, unless that goes
// on in another process. Knows nothing of csc_server.
#ifndef CSC_SOCKET_FILE_H
#define CSC_SOCKET_FILE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct csc__socket_file csc__socket_file;

// For the file that a socket will make at a path. NULL with errno.
csc__socket_file *csc__socket_file_new(const char *path);

// Once the socket is bound: looks which file it is. False with errno; then none will be removed.
bool csc__socket_file_find(csc__socket_file *it, int socket);

// Removes the file, if it is still this one and the socket's end is its end, and frees `it`, which
// may be NULL. True where it was removed: no client comes by it any more.
bool csc__socket_file_remove(csc__socket_file *it);

// Frees it alone.
void csc__socket_file_forget(csc__socket_file *it);

// The sockets are offered to the process at the other end of a control socket. While both ends are
// open it may have them. Any thread may call it, as the next one.
void csc__socket_files_offer(int control, const int *sockets, size_t count);

// The process at the other end is ready: it has for good the files of what it was offered.
void csc__socket_files_leave(int control);

#endif
