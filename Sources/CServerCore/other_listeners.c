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

typedef struct wanted {
    char address[ADDRESS + 1];
    uint16_t port;
    bool (*is_own)(unsigned long inode, const void *context);
    const void *context;
} wanted;

static bool has_others(FILE *table, const wanted *it) {
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
        if (state == LISTENING && port == it->port && strcmp(one, it->address) == 0 &&
            !it->is_own(inode, it->context)) {
            return true;
        }
    }
    return false;
}

bool csc__others_listen(const csc_address *address,
                        bool (*is_own)(unsigned long inode, const void *context),
                        const void *context) {
    struct sockaddr_storage name;
    wanted it = {.port = address->port, .is_own = is_own, .context = context};
    csc_address_to_sockaddr(address, &name);
    write_address(&name, it.address);
    bool is_ipv4 = name.ss_family == AF_INET;
    FILE *table = fopen(is_ipv4 ? "/proc/thread-self/net/tcp" : "/proc/thread-self/net/tcp6", "re");
    if (!table) {
        return false;
    }
    bool others = has_others(table, &it);
    fclose(table);
    return others;
}
