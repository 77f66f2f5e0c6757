// SPDX-License-Identifier: Apache-2.0

// Addresses: literals, the kernel's form, and the one canonical form that peers are reported in.
// Nothing here allocates, and no function looks up a host name.

#include "CServerCore.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool parse_scope(const char *text, uint32_t *scope_id) {
    uint32_t by_name = if_nametoindex(text);
    if (by_name != 0) {
        *scope_id = by_name;
        return true;
    }
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || number == 0 || number > INT32_MAX) {
        return false;
    }
    *scope_id = (uint32_t)number;
    return true;
}

bool csc_address_parse(const char *text, uint16_t port, csc_address *address) {
    csc_address result = {.port = port};
    char plain[INET6_ADDRSTRLEN];
    const char *scope = strchr(text, '%');
    size_t length = scope ? (size_t)(scope - text) : strlen(text);
    if (length >= sizeof plain) {
        return false;
    }
    memcpy(plain, text, length);
    plain[length] = '\0';

    if (!scope && strcmp(plain, "*") == 0) {
        result.family = CSC_FAMILY_ANY;
    } else if (!scope && inet_pton(AF_INET, plain, result.bytes) == 1) {
        result.family = CSC_FAMILY_IPV4;
    } else if (inet_pton(AF_INET6, plain, result.bytes) == 1 &&
               (!scope || parse_scope(scope + 1, &result.scope_id))) {
        result.family = CSC_FAMILY_IPV6;
    } else {
        return false;
    }
    *address = result;
    return true;
}

// Appends to a text of CSC_ADDRESS_TEXT_SIZE.
static void format_scope(uint32_t scope_id, char *text) {
    char name[IF_NAMESIZE];
    size_t used = strlen(text);
    if (if_indextoname(scope_id, name)) {
        snprintf(text + used, CSC_ADDRESS_TEXT_SIZE - used, "%%%s", name);
    } else {
        snprintf(text + used, CSC_ADDRESS_TEXT_SIZE - used, "%%%u", scope_id);
    }
}

size_t csc_address_format(const csc_address *address, char *buffer, size_t size) {
    char text[CSC_ADDRESS_TEXT_SIZE] = "";
    switch (address->family) {
    case CSC_FAMILY_ANY:
        memcpy(text, "*", sizeof "*");
        break;
    case CSC_FAMILY_IPV4:
        inet_ntop(AF_INET, address->bytes, text, INET_ADDRSTRLEN);
        break;
    case CSC_FAMILY_IPV6:
        inet_ntop(AF_INET6, address->bytes, text, INET6_ADDRSTRLEN);
        if (address->scope_id != 0) {
            format_scope(address->scope_id, text);
        }
        break;
    default:
        break;
    }
    size_t length = strlen(text);
    if (length >= size) {
        if (size > 0) {
            buffer[0] = '\0';
        }
        return 0;
    }
    memcpy(buffer, text, length + 1);
    return length;
}

bool csc_address_is_loopback(const csc_address *address) {
    static const uint8_t loopback6[16] = {[15] = 1};
    switch (address->family) {
    case CSC_FAMILY_IPV4:
        return address->bytes[0] == 127;
    case CSC_FAMILY_IPV6:
        return memcmp(address->bytes, loopback6, sizeof loopback6) == 0 ||
               (memcmp(address->bytes, mapped_prefix, sizeof mapped_prefix) == 0 &&
                address->bytes[12] == 127);
    default:
        return false;
    }
}

bool csc_address_from_sockaddr(const struct sockaddr *source, size_t length, csc_address *address) {
    *address = (csc_address){.family = CSC_FAMILY_NONE};
    if (!source || length < sizeof source->sa_family) {
        return false;
    }
    if (source->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, source, sizeof in);
        memcpy(address->bytes, &in.sin_addr, 4);
        address->port = ntohs(in.sin_port);
        address->family = CSC_FAMILY_IPV4;
        return true;
    }
    if (source->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, source, sizeof in6);
        const uint8_t *bytes = in6.sin6_addr.s6_addr;
        address->port = ntohs(in6.sin6_port);
        if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
            memcpy(address->bytes, bytes + sizeof mapped_prefix, 4);
            address->family = CSC_FAMILY_IPV4;
        } else {
            memcpy(address->bytes, bytes, sizeof address->bytes);
            address->scope_id = in6.sin6_scope_id;
            address->family = CSC_FAMILY_IPV6;
        }
        return true;
    }
    if (source->sa_family == AF_UNIX) {
        address->family = CSC_FAMILY_UNIX; // also one without a name, which has this alone
        return true;
    }
    return false;
}

unsigned int csc_address_to_sockaddr(const csc_address *address, struct sockaddr_storage *result) {
    memset(result, 0, sizeof *result);
    if (address->family == CSC_FAMILY_IPV4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(address->port)};
        memcpy(&in.sin_addr, address->bytes, 4);
        memcpy(result, &in, sizeof in);
        return sizeof in;
    }
    if (address->family == CSC_FAMILY_IPV6 || address->family == CSC_FAMILY_ANY) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};
        if (address->family == CSC_FAMILY_IPV6) {
            memcpy(&in6.sin6_addr, address->bytes, sizeof address->bytes);
            in6.sin6_scope_id = address->scope_id;
        }
        memcpy(result, &in6, sizeof in6);
        return sizeof in6;
    }
    return 0;
}

// An IPv4-mapped address in the form of the IPv4 address; unused bytes 0.
static csc_address canonical(const csc_address *address) {
    struct sockaddr_storage name;
    csc_address result = {.family = address->family, .port = address->port};
    unsigned int length = csc_address_to_sockaddr(address, &name);
    if (address->family == CSC_FAMILY_IPV4 || address->family == CSC_FAMILY_IPV6) {
        csc_address_from_sockaddr((struct sockaddr *)&name, length, &result);
    }
    return result;
}

bool csc_address_equal(const csc_address *one, const csc_address *other) {
    csc_address first = canonical(one);
    csc_address second = canonical(other);
    return first.family == second.family && first.port == second.port &&
           first.scope_id == second.scope_id &&
           memcmp(first.bytes, second.bytes, sizeof first.bytes) == 0;
}
