// SPDX-License-Identifier: Apache-2.0

// Looking for listening sockets in /proc, which has those first and then the connections: of those
// one line is read, however many there are. While others come and go it may have a socket twice, so
// that counting them would not do.

#include "other_listeners.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { LINE = 256, ADDRESS = 32, LISTENING = 0x0A };

// As /proc writes it: the words of the address as they are in memory.
static void write_address(const struct sockaddr_storage *name, char text[ADDRESS + 1]) {
    if (name->ss_family == AF_INET) {
        const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)name;
        snprintf(text, ADDRESS + 1, "%08X", ipv4->sin_addr.s_addr);
        return;
    }
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)name;
    uint32_t words[4];
    memcpy(words, &ipv6->sin6_addr, sizeof words);
    snprintf(text, ADDRESS + 1, "%08X%08X%08X%08X", words[0], words[1], words[2], words[3]);
}

static bool is_one_of(const csc__listening_socket *sockets, size_t count, unsigned long inode) {
    for (size_t index = 0; index < count; index++) {
        if (sockets[index].inode == inode) {
            return true;
        }
    }
    return false;
}

static bool has_others(FILE *table, const char *address, const csc__listening_socket *sockets,
                       size_t count) {
    char line[LINE];
    unsigned state = LISTENING;
    bool is_heading = true;
    while (state == LISTENING && fgets(line, sizeof line, table)) {
        char one[ADDRESS + 1] = "";
        unsigned port = 0;
        unsigned long inode = 0;
        if (is_heading) {
            is_heading = false;
            continue;
        }
        state = 0;
        sscanf(line, "%*u: %32[0-9A-F]:%4X %*32[0-9A-F]:%*4X %2X %*s %*s %*s %*u %*u %lu", one,
               &port, &state, &inode);
        if (state == LISTENING && port == sockets[0].address.port && strcmp(one, address) == 0 &&
            !is_one_of(sockets, count, inode)) {
            return true;
        }
    }
    return false;
}

bool csc__others_listen(const csc__listening_socket *sockets, size_t count) {
    struct sockaddr_storage name;
    char address[ADDRESS + 1];
    csc_address_to_sockaddr(&sockets[0].address, &name);
    write_address(&name, address);
    bool is_ipv4 = name.ss_family == AF_INET;
    FILE *table = fopen(is_ipv4 ? "/proc/thread-self/net/tcp" : "/proc/thread-self/net/tcp6", "re");
    if (!table) {
        return false;
    }
    bool others = has_others(table, address, sockets, count);
    fclose(table);
    return others;
}
