// SPDX-License-Identifier: Apache-2.0

// Counting listening sockets in /proc, which has those first and then the connections: of those
// one line is read, however many there are.

#include "listener_count.h"

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

static size_t count_in(FILE *table, const char *address, unsigned port) {
    char line[LINE];
    size_t count = 0;
    unsigned state = LISTENING;
    fgets(line, sizeof line, table); // the headings
    while (state == LISTENING && fgets(line, sizeof line, table)) {
        char one[ADDRESS + 1] = "";
        unsigned its_port = 0;
        state = 0;
        sscanf(line, "%*u: %32[0-9A-F]:%4X %*32[0-9A-F]:%*4X %2X", one, &its_port, &state);
        count += state == LISTENING && its_port == port && strcmp(one, address) == 0;
    }
    return count;
}

size_t csc__count_listeners(const csc_address *address) {
    struct sockaddr_storage name;
    char text[ADDRESS + 1];
    csc_address_to_sockaddr(address, &name);
    write_address(&name, text);
    bool is_ipv4 = name.ss_family == AF_INET;
    FILE *table = fopen(is_ipv4 ? "/proc/thread-self/net/tcp" : "/proc/thread-self/net/tcp6", "re");
    if (!table) {
        return 0;
    }
    size_t count = count_in(table, text, address->port);
    fclose(table);
    return count;
}
