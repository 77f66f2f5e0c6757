// SPDX-License-Identifier: Apache-2.0

// Reads the PROXY header of a connection, and no byte behind it.
//
// The bytes are looked at in the kernel's buffer first, and then those that belong to the header are
// taken out of it: two calls where it came in one piece. The beginning of a header belongs to it as a
// whole, and is taken out, too: otherwise the socket would be ready again at once.

#include "proxy_receiver.h"

#include "preface.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { IPV4_BITS = 32, IPV6_BITS = 128, MAPPED_BITS = IPV6_BITS - IPV4_BITS };

// Compared as two words: a proxy connects again and again.
typedef struct network {
    uint64_t address[2]; // the bits of the prefix
    uint64_t mask[2];
    uint8_t family;
} network;

typedef struct receiver {
    uint8_t *buffer; // owned, as long as the longest header
    size_t size;
    size_t maximum; // of version 2
    csc_proxy_versions versions;
    size_t network_count;
    network networks[];
} receiver;

// The beginning of a header that came in pieces.
typedef struct piece {
    size_t count;
    uint8_t bytes[];
} piece;

void csc_proxied_free(csc_proxied *proxied) {
    free(proxied);
}

/* ---------------------------------------------------------------------------------------------- */
// Networks

static int bits_of(const csc_address *address) {
    switch (address->family) {
    case CSC_FAMILY_IPV4:
        return IPV4_BITS;
    case CSC_FAMILY_IPV6:
        return IPV6_BITS;
    case CSC_FAMILY_UNIX: // all of them: they have no address
        return 0;
    default:
        return -1;
    }
}

bool csc__proxy_networks_are_valid(const csc_proxy_requirement *requirement) {
    bool valid = requirement->network_count > 0 && requirement->networks;
    for (size_t index = 0; valid && index < requirement->network_count; index++) {
        const csc_network *network = &requirement->networks[index];
        valid = network->prefix_length <= bits_of(&network->address);
    }
    return valid;
}

// Peers come as IPv4 where they are.
static csc_network unmapped(const csc_network *network) {
    static const uint8_t prefix[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};
    csc_network result = *network;
    if (network->address.family == CSC_FAMILY_IPV6 && network->prefix_length >= MAPPED_BITS &&
        memcmp(network->address.bytes, prefix, sizeof prefix) == 0) {
        result.address.family = CSC_FAMILY_IPV4;
        result.prefix_length = (uint8_t)(network->prefix_length - MAPPED_BITS);
        memcpy(result.address.bytes, network->address.bytes + sizeof prefix, 4);
    }
    return result;
}

static network in_words(const csc_network *given) {
    uint8_t mask[IPV6_BITS / 8] = {0};
    network result = {.family = given->address.family};
    for (int bit = 0; bit < given->prefix_length; bit++) {
        mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    }
    memcpy(result.mask, mask, sizeof mask);
    memcpy(result.address, given->address.bytes, sizeof mask);
    result.address[0] &= result.mask[0];
    result.address[1] &= result.mask[1];
    return result;
}

static bool is_in(const csc_address *address, const network *network) {
    uint64_t words[2];
    memcpy(words, address->bytes, sizeof words);
    return address->family == network->family &&
           (words[0] & network->mask[0]) == network->address[0] &&
           (words[1] & network->mask[1]) == network->address[1];
}

static csc__preface_result start(void *settings, const csc_connection *connection) {
    const receiver *it = settings;
    for (size_t index = 0; index < it->network_count; index++) {
        if (is_in(&connection->peer, &it->networks[index])) {
            return CSC__PREFACE_MORE;
        }
    }
    return CSC__PREFACE_UNTRUSTED;
}

/* ---------------------------------------------------------------------------------------------- */
// The header

static bool takes(const receiver *it, uint8_t version) {
    return it->versions == CSC_PROXY_V1_AND_V2 ||
           version == (it->versions == CSC_PROXY_V1_ONLY ? 1 : 2);
}

static csc__preface_result refuse(csc__preface_fault *fault, uint32_t error, uint32_t offset) {
    *fault = (csc__preface_fault){error, offset};
    return CSC__PREFACE_INVALID;
}

// Keeps the beginning of a header.
static csc__preface_result hold(const receiver *it, size_t count, void **state) {
    piece *held = realloc(*state, sizeof *held + count);
    if (!held) {
        return CSC__PREFACE_NO_MEMORY;
    }
    held->count = count;
    memcpy(held->bytes, it->buffer, count);
    *state = held;
    return CSC__PREFACE_MORE;
}

static csc__preface_result pass(const receiver *it, const csc_proxy_header *header,
                                csc_connection *connection) {
    csc_proxy_bytes tlvs = csc_proxy_header_tlvs(header, it->buffer);
    csc_proxied *proxied = malloc(sizeof *proxied + tlvs.count);
    if (!proxied) {
        return CSC__PREFACE_NO_MEMORY;
    }
    *proxied = (csc_proxied){.proxy = connection->peer, .header = *header};
    if (tlvs.count > 0) {
        uint8_t *bytes = (uint8_t *)(proxied + 1);
        memcpy(bytes, tlvs.start, tlvs.count);
        proxied->tlvs = (csc_proxy_bytes){bytes, tlvs.count};
    }
    if (header->source.family != CSC_FAMILY_NONE) {
        connection->peer = header->source;
    }
    connection->proxied = proxied;
    return CSC__PREFACE_PASSED;
}

static csc__preface_result step(void *settings, csc_connection *connection, void **state,
                                csc__preface_fault *fault) {
    const receiver *it = settings;
    const piece *held = *state;
    size_t before = held ? held->count : 0;
    if (before >= it->size) {
        return refuse(fault, CSC_PROXY_ERROR_LENGTH, 0); // the maximum is less than it was
    }
    if (held) {
        memcpy(it->buffer, held->bytes, before);
    }
    ssize_t seen = recv(connection->descriptor, it->buffer + before, it->size - before,
                        MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0 && (errno == EAGAIN || errno == EINTR)) {
        return CSC__PREFACE_NOTHING;
    }
    if (seen <= 0) {
        return held ? CSC__PREFACE_CUT_SHORT : CSC__PREFACE_SILENT;
    }
    size_t count = before + (size_t)seen;
    csc_proxy_header header;
    csc_proxy_state parsed = csc_proxy_header_parse(it->buffer, count, it->maximum, &header);
    if (parsed == CSC_PROXY_INVALID) {
        return refuse(fault, header.error, header.error_offset);
    }
    if (!takes(it, header.version)) {
        return refuse(fault, CSC_PROXY_ERROR_VERSION, 0);
    }
    size_t end = parsed == CSC_PROXY_DONE ? header.length : count;
    ssize_t taken = recv(connection->descriptor, it->buffer + before, end - before, MSG_DONTWAIT);
    if (taken != (ssize_t)(end - before)) {
        return CSC__PREFACE_CUT_SHORT;
    }
    return parsed == CSC_PROXY_DONE ? pass(it, &header, connection) : hold(it, count, state);
}

/* ---------------------------------------------------------------------------------------------- */
// Its life

static void end(void *state) {
    free(state);
}

static void free_receiver(void *settings) {
    receiver *it = settings;
    free(it->buffer);
    free(it);
}

void *csc__proxy_receiver_new(const csc_proxy_requirement *requirement) {
    size_t count = requirement->network_count;
    size_t maximum = requirement->maximum_length == 0 ? CSC_PROXY_HEADER_DEFAULT_MAXIMUM
                     : requirement->maximum_length > CSC_PROXY_HEADER_LONGEST
                         ? CSC_PROXY_HEADER_LONGEST
                         : requirement->maximum_length;
    receiver *it = malloc(sizeof *it + count * sizeof it->networks[0]);
    if (!it) {
        return NULL;
    }
    it->maximum = maximum;
    it->size = maximum < CSC_PROXY_HEADER_LONGEST_V1 ? CSC_PROXY_HEADER_LONGEST_V1 : maximum;
    it->versions = requirement->versions;
    it->network_count = count;
    for (size_t index = 0; index < count; index++) {
        const csc_network network = unmapped(&requirement->networks[index]);
        it->networks[index] = in_words(&network);
    }
    it->buffer = malloc(it->size);
    if (!it->buffer) {
        free(it);
        return NULL;
    }
    return it;
}

const csc__preface_protocol csc__proxy_receiver_protocol = {start, step, end, free_receiver};
