// SPDX-License-Identifier: Apache-2.0

// Secrets and counters that a process leaves to its successor, by their names.
//
// The object owns copies of all of them. The bytes of a secret are overwritten before their memory
// is given back.

#include "handover_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct secret {
    char name[CSC_HANDOVER_LONGEST_NAME + 1];
    size_t size;
    uint8_t bytes[CSC_HANDOVER_LONGEST_SECRET];
} secret;

struct csc_handover_values {
    size_t secret_count;
    size_t counter_count;
    secret *secrets[CSC_HANDOVER_MOST_SECRETS];
    csc__handover_counter counters[CSC_HANDOVER_MOST_COUNTERS];
};

csc_handover_values *csc_handover_values_new(void) {
    return calloc(1, sizeof(csc_handover_values));
}

void csc_handover_values_free(csc_handover_values *values) {
    for (size_t i = 0; values && i < values->secret_count; i++) {
        explicit_bzero(values->secrets[i], sizeof *values->secrets[i]);
        free(values->secrets[i]);
    }
    free(values);
}

static bool is_name(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length <= CSC_HANDOVER_LONGEST_NAME;
}

static secret *find_secret(const csc_handover_values *values, const char *name) {
    for (size_t i = 0; i < values->secret_count; i++) {
        if (strcmp(values->secrets[i]->name, name) == 0) {
            return values->secrets[i];
        }
    }
    return NULL;
}

int csc_handover_set_secret(csc_handover_values *values, const char *name, const void *bytes,
                            size_t size) {
    if (!is_name(name) || size > CSC_HANDOVER_LONGEST_SECRET) {
        return EINVAL;
    }
    secret *one = find_secret(values, name);
    if (!one && values->secret_count == CSC_HANDOVER_MOST_SECRETS) {
        return ENOSPC;
    }
    if (!one) {
        one = calloc(1, sizeof *one);
        if (!one) {
            return ENOMEM;
        }
        strcpy(one->name, name);
        values->secrets[values->secret_count++] = one;
    }
    explicit_bzero(one->bytes, sizeof one->bytes);
    if (size > 0) {
        memcpy(one->bytes, bytes, size);
    }
    one->size = size;
    return 0;
}

const void *csc_handover_secret(const csc_handover_values *values, const char *name, size_t *size) {
    const secret *one = find_secret(values, name);
    *size = one ? one->size : 0;
    return one ? one->bytes : NULL;
}

const char *csc_handover_secret_name(const csc_handover_values *values, size_t index) {
    return index < values->secret_count ? values->secrets[index]->name : NULL;
}

int csc_handover_set_counter(csc_handover_values *values, const char *name, uint64_t value) {
    size_t index = 0;
    if (!is_name(name)) {
        return EINVAL;
    }
    while (index < values->counter_count && strcmp(values->counters[index].name, name) != 0) {
        index++;
    }
    if (index == CSC_HANDOVER_MOST_COUNTERS) {
        return ENOSPC;
    }
    strcpy(values->counters[index].name, name);
    values->counters[index].value = value;
    values->counter_count += index == values->counter_count;
    return 0;
}

const char *csc_handover_counter(const csc_handover_values *values, size_t index, uint64_t *value) {
    if (index >= values->counter_count) {
        return NULL;
    }
    *value = values->counters[index].value;
    return values->counters[index].name;
}

bool csc__handover_values_secret(const csc_handover_values *values, size_t index,
                                 csc__handover_message *message) {
    if (!values || index >= values->secret_count) {
        return false;
    }
    const secret *one = values->secrets[index];
    message->type = CSC__HANDOVER_SECRET;
    strcpy(message->secret_name, one->name);
    message->secret = one->bytes;
    message->secret_size = one->size;
    return true;
}

bool csc__handover_values_counters(const csc_handover_values *values,
                                   csc__handover_message *message) {
    if (!values || values->counter_count == 0) {
        return false;
    }
    message->type = CSC__HANDOVER_STATISTICS;
    message->counter_count = (uint16_t)values->counter_count;
    memcpy(message->counters, values->counters, sizeof values->counters);
    return true;
}

int csc__handover_values_keep(csc_handover_values *values, const csc__handover_message *message) {
    int errnum = 0;
    if (message->type == CSC__HANDOVER_SECRET) {
        errnum = csc_handover_set_secret(values, message->secret_name, message->secret,
                                         message->secret_size);
    }
    for (size_t i = 0; errnum == 0 && i < message->counter_count; i++) {
        errnum =
            csc_handover_set_counter(values, message->counters[i].name, message->counters[i].value);
    }
    return errnum == ENOSPC ? EPROTO : errnum;
}
