// SPDX-License-Identifier: Apache-2.0

// A folder of a test's own for UNIX sockets, and raw sockets to compare with.
#ifndef FOLDER_H
#define FOLDER_H

#include "fixture.h"

#include <CServerCore.h>
#include <sys/types.h>

enum { PATH_ROOM = 512 };

typedef struct folder {
    char name[32];
    char path[PATH_ROOM]; // "socket" in it
} folder;

folder folder_make(void);

// Fails where anything is left in it.
void folder_remove(const folder *it);

// What is at a path: its inode, without following links; 0 for nothing.
ino_t inode_at(const char *path);

// A socket bound to the path, closed again: what an ended server leaves.
void leave_stale(const char *path);

// A stream socket that listens at a path, and one that is connected to it. -1 with errno.
int raw_path_listener(const char *path);
int connect_to_path(const char *path);

void assert_refused_at(fixture *it, const char *path, csc_error error, const char *text);

// A client comes through the path, and is taken.
void assert_serves_at(fixture *it, const char *path);

#endif
