// SPDX-License-Identifier: Apache-2.0

// The kernel's side of a server: opening, checking, closing a listening socket. Knows nothing of
// csc_server.
#ifndef CSC_LISTENING_SOCKET_H
#define CSC_LISTENING_SOCKET_H

#include "CServerCore.h"
#include "socket_file.h"
#include "unix_socket.h"

#include <sys/types.h>

typedef struct csc__listening_socket {
    int descriptor; // owned; -1 for none. The number that the program knows, and may break
    int private_fd; // owned; its duplicate that only we know, for every call of ours
    dev_t device;   // with the inode: distinguishes our socket from a stranger that got its number
    ino_t inode;
    uint64_t cookie; // the kernel's number for the socket, for when the inode cannot be asked; or 0
    csc_address address;      // as the kernel reports it, port included
    csc__socket_file *file;   // owned; that it has made, to be removed with it; or NULL
    char path[CSC_PATH_SIZE]; // of a UNIX socket; "" for none
} csc__listening_socket;

extern const csc__listening_socket csc__no_listening_socket;

// The call that failed and its errno, for csc_error_from_errno().
typedef struct csc__failure {
    csc_call call;
    int errnum;        // as the table of errors has it
    int system_errnum; // of the system call, where that is another
} csc__failure;

// How a socket is opened beside its address.
typedef struct csc__opening {
    int backlog;
    // Called between socket(2) and bind(2): an errno to fail with, or 0. NULL for none.
    int (*made)(int descriptor, void *context);
    void *context;
} csc__opening;

// Opens so many sockets of one address and listens: one alone, or several with SO_REUSEPORT, which
// no other process has. On failure nothing is left open.
bool csc__listening_sockets_open(csc__listening_socket *sockets, size_t count,
                                 const csc_address *address, const csc__opening *opening,
                                 csc__failure *failure);

// The parts of it, for one that is not an address's. Makes a socket; on failure there is none.
bool csc__listening_socket_make(csc__listening_socket *socket, int family,
                                const csc__opening *opening, csc__failure *failure);

// Listens: clients may come from now on.
bool csc__listening_socket_listen(csc__listening_socket *socket, const csc__opening *opening,
                                  csc__failure *failure);

// Closes one that was made and does not listen, and removes its file.
void csc__listening_socket_abandon(csc__listening_socket *socket);

// Checks a descriptor from outside and fills the socket from it; changes nothing about the
// descriptor.
bool csc__listening_socket_inspect(csc__listening_socket *socket, int descriptor,
                                   csc__failure *failure);

// The flags of a descriptor from outside.
typedef struct csc__descriptor_flags {
    int status;
    int descriptor;
} csc__descriptor_flags;

// Makes an inspected descriptor non-blocking and close-on-exec, and says what its flags were. On
// failure they are as they were.
bool csc__listening_socket_take(const csc__listening_socket *socket, csc__descriptor_flags *before,
                                csc__failure *failure);
void csc__listening_socket_give_back(const csc__listening_socket *socket,
                                     const csc__descriptor_flags *before);

// Makes the duplicate. On failure there is none.
bool csc__listening_socket_duplicate(csc__listening_socket *socket, csc__failure *failure);

// True when one of the two numbers is closed, or is another file's now.
bool csc__listening_socket_was_taken(const csc__listening_socket *socket);

// Asks the kernel. False as well when it cannot be asked.
bool csc__listening_socket_listens(const csc__listening_socket *socket);

// Removes the file that it has made, if that is still there and not another process's. True where no
// client comes by it any more. While the socket is open no other file can have that inode.
bool csc__listening_socket_remove_file(csc__listening_socket *socket);

// Closes the duplicate alone.
void csc__listening_socket_release(csc__listening_socket *socket);

// Forgets the file, and the number that the program knows. Returns it; -1 when it is no longer ours.
int csc__listening_socket_forget(csc__listening_socket *socket);

// Removes the file, and closes both numbers, but for one that is no longer ours.
void csc__listening_socket_close(csc__listening_socket *socket);

// Grows the process's descriptor table to hold this many, within RLIMIT_NOFILE. Failure changes
// nothing.
void csc__grow_descriptor_table(const csc__listening_socket *socket, int descriptors);

#endif
