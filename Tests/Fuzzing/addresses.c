// SPDX-License-Identifier: Apache-2.0

// Fuzzes the addresses. The first byte chooses: the rest is a text to parse, or a sockaddr from
// outside.
//
// What was understood once must come through every other form and back as it was. Buffers have the
// exact size, so that the address sanitizer sees each byte too many.

#include "check.h"

#include <CServerCore.h>

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool are_equal(const csc_address *one, const csc_address *other) {
    return memcmp(one, other, sizeof *one) == 0;
}

// Exactly enough room is enough; less gives an empty text.
static void check_room(const csc_address *address, const char *text, size_t length) {
    const size_t sizes[] = {0, 1, length / 2, length, length + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *buffer = malloc(sizes[i]);
        size_t written = csc_address_format(address, buffer, sizes[i]);
        if (sizes[i] > length) {
            CHECK(written == length && strcmp(buffer, text) == 0, "%s", text);
        } else {
            CHECK(written == 0, "%s in %zu bytes", text, sizes[i]);
            CHECK(sizes[i] == 0 || buffer[0] == '\0', "%s in %zu bytes", text, sizes[i]);
        }
        free(buffer);
    }
}

static void check_text(const csc_address *address) {
    char text[CSC_ADDRESS_TEXT_SIZE];
    size_t length = csc_address_format(address, text, sizeof text);
    CHECK(length > 0 && length == strlen(text), "%zu", length);
    check_room(address, text, length);
    csc_address again;
    CHECK(csc_address_parse(text, address->port, &again), "%s", text);
    CHECK(are_equal(address, &again), "%s", text);
    CHECK(csc_address_is_loopback(address) == csc_address_is_loopback(&again), "%s", text);
}

// An IPv4-mapped address comes back as its IPv4 address, and CSC_FAMILY_ANY as `::`; from then on
// it stays as it is.
static void check_kernel_form(const csc_address *address) {
    struct sockaddr_storage name;
    csc_address first;
    csc_address second;
    unsigned int length = csc_address_to_sockaddr(address, &name);
    CHECK(length > 0, "family %d", address->family);
    CHECK(csc_address_from_sockaddr((struct sockaddr *)&name, length, &first), "%u", length);
    CHECK(first.port == address->port, "%u", first.port);
    CHECK(csc_address_is_loopback(&first) == csc_address_is_loopback(address), "%u", length);
    length = csc_address_to_sockaddr(&first, &name);
    CHECK(csc_address_from_sockaddr((struct sockaddr *)&name, length, &second), "%u", length);
    CHECK(are_equal(&first, &second), "%u", length);
    csc_address cut;
    CHECK(!csc_address_from_sockaddr((struct sockaddr *)&name, length - 1, &cut), "%u", length);
    CHECK(cut.family == CSC_FAMILY_NONE, "%d", cut.family);
}

static void parse_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    static const csc_address untouched = {.bytes = {0xa5}, .scope_id = 7, .port = 9, .reserved = 1};
    csc_address address = untouched;
    if (csc_address_parse(text, 4242, &address)) {
        CHECK(address.port == 4242 && address.reserved == 0, "%s", text);
        check_text(&address);
        check_kernel_form(&address);
    } else {
        CHECK(are_equal(&address, &untouched), "%s", text);
    }
    free(text);
}

static void read_sockaddr(const uint8_t *data, size_t size) {
    void *name = malloc(size);
    memcpy(name, data, size);
    csc_address address;
    bool understood = csc_address_from_sockaddr(name, size, &address);
    CHECK(understood == (address.family != CSC_FAMILY_NONE), "%d", address.family);
    bool has_form = understood && address.family != CSC_FAMILY_UNIX;
    if (has_form) {
        CHECK(address.family == CSC_FAMILY_IPV4 || address.family == CSC_FAMILY_IPV6, "%d",
              address.family);
        check_kernel_form(&address);
        // The kernel numbers interfaces with a positive int; no text means another.
        if (address.scope_id <= INT32_MAX) {
            check_text(&address);
        }
    } else {
        char text[CSC_ADDRESS_TEXT_SIZE];
        CHECK(csc_address_format(&address, text, sizeof text) == 0, "%s", text);
    }
    free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        (data[0] & 1 ? read_sockaddr : parse_text)(data + 1, size - 1);
    }
    return 0;
}
