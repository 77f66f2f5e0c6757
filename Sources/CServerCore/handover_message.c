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
    if (to->fits && count > 0) {
        memcpy(to->bytes + to->length, bytes, count);
        to->length += count;
    }
}

static void put_number(writer *to, uint64_t number, size_t count) {
    uint8_t bytes[8];
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

static uint64_t get_number(reader *from, size_t count) {
    const uint8_t *bytes = get(from, count);
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++) {
        number |= (uint64_t)bytes[i] << (8 * i);
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

static void put_name(writer *to, const char *name) {
    size_t length = strlen(name);
    put_number(to, length, 1);
    put(to, name, length);
}

// False where it is too long, has a NUL or is not there as a whole.
static bool get_name(reader *from, char name[CSC_HANDOVER_LONGEST_NAME + 1]) {
    size_t length = get_number(from, 1);
    if (length > CSC_HANDOVER_LONGEST_NAME) {
        return false;
    }
    const uint8_t *bytes = get(from, length);
    if (memchr(bytes, '\0', length)) {
        return false; // or bytes are missing
    }
    memcpy(name, bytes, length);
    name[length] = '\0';
    return true;
}

static void put_listeners(writer *to, const csc__handover_message *message) {
    put_number(to, message->count, 2);
    for (size_t i = 0; i < message->count; i++) {
        const csc__handover_entry *one = &message->entries[i];
        put_number(to, one->family, 1);
        put_number(to, one->index, 1);
        put_name(to, one->name);
    }
}

static bool get_listeners(reader *from, csc__handover_message *message) {
    size_t count = get_number(from, 2);
    if (count > CSC_HANDOVER_MOST_LISTENERS) {
        return false;
    }
    message->count = (uint16_t)count;
    for (size_t i = 0; i < count; i++) {
        csc__handover_entry *one = &message->entries[i];
        one->family = (uint8_t)get_number(from, 1);
        one->index = (uint8_t)get_number(from, 1);
        if (!get_name(from, one->name)) {
            return false;
        }
    }
    return is_sound(message);
}

static void put_counters(writer *to, const csc__handover_message *message) {
    put_number(to, message->counter_count, 2);
    for (size_t i = 0; i < message->counter_count; i++) {
        put_name(to, message->counters[i].name);
        put_number(to, message->counters[i].value, 8);
    }
}

static bool get_counters(reader *from, csc__handover_message *message) {
    size_t count = get_number(from, 2);
    if (count > CSC_HANDOVER_MOST_COUNTERS) {
        return false;
    }
    message->counter_count = (uint16_t)count;
    for (size_t i = 0; i < count; i++) {
        if (!get_name(from, message->counters[i].name) || message->counters[i].name[0] == '\0') {
            return false;
        }
        message->counters[i].value = get_number(from, 8);
    }
    return true;
}

static bool get_secret(reader *from, csc__handover_message *message) {
    if (!get_name(from, message->secret_name) || message->secret_name[0] == '\0') {
        return false;
    }
    message->secret_size = from->left;
    message->secret = get(from, from->left);
    return message->secret_size <= CSC_HANDOVER_LONGEST_SECRET;
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
    case CSC__HANDOVER_STATISTICS:
        put_counters(&to, message);
        break;
    case CSC__HANDOVER_SECRET:
        put_name(&to, message->secret_name);
        put(&to, message->secret, message->secret_size);
        break;
    case CSC__HANDOVER_DRAINED:
        put_number(&to, message->served, 8);
        put_number(&to, message->cut, 8);
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
    uint64_t type = get_number(&from, 2);
    if (get_number(&from, 2) != from.left) {
        return false;
    }
    message->type = (csc__handover_type)type;
    switch (type) {
    case CSC__HANDOVER_HELLO:
        message->version = (uint16_t)get_number(&from, 2);
        message->process = (uint32_t)get_number(&from, 4);
        break;
    case CSC__HANDOVER_LISTENERS:
        if (!get_listeners(&from, message)) {
            return false;
        }
        break;
    case CSC__HANDOVER_READY:
        break;
    case CSC__HANDOVER_STATISTICS:
        if (!get_counters(&from, message)) {
            return false;
        }
        break;
    case CSC__HANDOVER_SECRET:
        if (!get_secret(&from, message)) {
            return false;
        }
        break;
    case CSC__HANDOVER_DRAINED:
        message->served = get_number(&from, 8);
        message->cut = get_number(&from, 8);
        break;
    default:
        return false;
    }
    return from.fits && from.left == 0;
}
