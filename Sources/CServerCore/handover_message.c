// SPDX-License-Identifier: Apache-2.0

#include "handover_message.h"

#include <string.h>

enum { HEADER = 8 };

static const char magic[4] = {'T', 'S', 'K', '1'};

// Both directions keep to the end of their bytes; `fits` is false once something has not fitted.
typedef struct writer {
    uint8_t *bytes;
    size_t length;
    bool fits;
} writer;

typedef struct reader {
    const uint8_t *bytes;
    size_t left;
    bool fits;
} reader;

static void put(writer *to, const void *bytes, size_t count) {
    to->fits = to->fits && count <= CSC__HANDOVER_LONGEST - to->length;
    if (to->fits) {
        memcpy(to->bytes + to->length, bytes, count);
        to->length += count;
    }
}

static void put_number(writer *to, uint32_t number, size_t count) {
    uint8_t bytes[4];
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(number >> (8 * i));
    }
    put(to, bytes, count);
}

static const uint8_t *get(reader *from, size_t count) {
    static const uint8_t zeros[CSC_HANDOVER_LONGEST_NAME];
    from->fits = from->fits && count <= from->left;
    if (!from->fits) {
        return zeros;
    }
    const uint8_t *bytes = from->bytes;
    from->bytes += count;
    from->left -= count;
    return bytes;
}

static uint32_t get_number(reader *from, size_t count) {
    const uint8_t *bytes = get(from, count);
    uint32_t number = 0;
    for (size_t i = 0; i < count; i++) {
        number |= (uint32_t)bytes[i] << (8 * i);
    }
    return number;
}

static bool is_family(uint8_t family) {
    return family == CSC_FAMILY_IPV4 || family == CSC_FAMILY_IPV6 || family == CSC__HANDOVER_UNIX;
}

uint8_t csc__handover_index(const csc__handover_message *message, size_t entry) {
    uint8_t count = 0;
    for (size_t i = 0; i < entry; i++) {
        if (strcmp(message->entries[i].name, message->entries[entry].name) == 0) {
            count++;
        }
    }
    return count;
}

static bool is_sound(const csc__handover_message *message) {
    for (size_t i = 0; i < message->count; i++) {
        const csc__handover_entry *one = &message->entries[i];
        if (one->name[0] == '\0' || !is_family(one->family) ||
            one->index != csc__handover_index(message, i)) {
            return false;
        }
    }
    return true;
}

static void put_listeners(writer *to, const csc__handover_message *message) {
    put_number(to, message->count, 2);
    for (size_t i = 0; i < message->count; i++) {
        const csc__handover_entry *one = &message->entries[i];
        size_t length = strlen(one->name);
        put_number(to, one->family, 1);
        put_number(to, one->index, 1);
        put_number(to, (uint32_t)length, 1);
        put(to, one->name, length);
    }
}

static bool get_listeners(reader *from, csc__handover_message *message) {
    uint32_t count = get_number(from, 2);
    if (count > CSC_HANDOVER_MOST_LISTENERS) {
        return false;
    }
    message->count = (uint16_t)count;
    for (size_t i = 0; i < count; i++) {
        csc__handover_entry *one = &message->entries[i];
        one->family = (uint8_t)get_number(from, 1);
        one->index = (uint8_t)get_number(from, 1);
        size_t length = get_number(from, 1);
        if (length > CSC_HANDOVER_LONGEST_NAME) {
            return false;
        }
        const uint8_t *name = get(from, length);
        if (memchr(name, '\0', length)) {
            return false; // or bytes are missing
        }
        memcpy(one->name, name, length);
        one->name[length] = '\0';
    }
    return is_sound(message);
}

size_t csc__handover_write(const csc__handover_message *message,
                           uint8_t bytes[CSC__HANDOVER_LONGEST]) {
    writer to = {.bytes = bytes, .fits = true};
    put(&to, magic, sizeof magic);
    put_number(&to, message->type, 2);
    put_number(&to, 0, 2); // the length, which is known at the end
    switch (message->type) {
    case CSC__HANDOVER_HELLO:
        put_number(&to, message->version, 2);
        put_number(&to, message->process, 4);
        break;
    case CSC__HANDOVER_LISTENERS:
        if (!is_sound(message)) {
            return 0;
        }
        put_listeners(&to, message);
        break;
    case CSC__HANDOVER_READY:
        break;
    }
    size_t rest = to.length - HEADER;
    bytes[6] = (uint8_t)rest;
    bytes[7] = (uint8_t)(rest >> 8);
    return to.fits ? to.length : 0;
}

bool csc__handover_read(const uint8_t *bytes, size_t length, csc__handover_message *message) {
    reader from = {.bytes = bytes, .left = length, .fits = true};
    memset(message, 0, sizeof *message);
    if (length > CSC__HANDOVER_LONGEST ||
        memcmp(get(&from, sizeof magic), magic, sizeof magic) != 0) {
        return false;
    }
    uint32_t type = get_number(&from, 2);
    if (get_number(&from, 2) != from.left) {
        return false;
    }
    message->type = (csc__handover_type)type;
    switch (type) {
    case CSC__HANDOVER_HELLO:
        message->version = (uint16_t)get_number(&from, 2);
        message->process = get_number(&from, 4);
        break;
    case CSC__HANDOVER_LISTENERS:
        if (!get_listeners(&from, message)) {
            return false;
        }
        break;
    case CSC__HANDOVER_READY:
        break;
    default:
        return false;
    }
    return from.fits && from.left == 0;
}
