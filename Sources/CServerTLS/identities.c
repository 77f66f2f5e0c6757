// SPDX-License-Identifier: Apache-2.0

// The map from server names to identities: an array in the order of the names, under a lock that is
// held for a search or a move of the array, so that handshakes on several loops do not wait.

#include "identity_type.h"
#include "setting_error.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>

enum { LONGEST_NAME = 253 }; // RFC 1035

typedef struct entry {
    char *name; // in small letters
    csc_tls_identity *identity;
} entry;

struct csc_tls_identities {
    atomic_uint references;
    pthread_mutex_t lock; // for what follows
    csc_tls_identity *fallback;
    entry *entries;
    size_t count;
    size_t capacity;
};

csc_tls_identities *csc_tls_identities_new(void) {
    csc_tls_identities *identities = OPENSSL_zalloc(sizeof *identities);
    if (identities) {
        atomic_init(&identities->references, 1);
        pthread_mutex_init(&identities->lock, NULL); // cannot fail on Linux
    }
    return identities;
}

csc_tls_identities *csc__tls_identities_retain(csc_tls_identities *identities) {
    atomic_fetch_add(&identities->references, 1);
    return identities;
}

void csc_tls_identities_free(csc_tls_identities *identities) {
    if (!identities || atomic_fetch_sub(&identities->references, 1) != 1) {
        return;
    }
    for (size_t index = 0; index < identities->count; index++) {
        OPENSSL_free(identities->entries[index].name);
        csc_tls_identity_free(identities->entries[index].identity);
    }
    OPENSSL_free(identities->entries);
    csc_tls_identity_free(identities->fallback);
    pthread_mutex_destroy(&identities->lock);
    OPENSSL_free(identities);
}

// Copies a name in small letters, without a dot at its end. Not by tolower(), which has a locale.
static bool copy_name(char copy[LONGEST_NAME + 1], const char *name) {
    size_t length = strlen(name);
    if (length > 0 && name[length - 1] == '.') {
        length--;
    }
    if (length == 0 || length > LONGEST_NAME) {
        return false;
    }
    for (size_t index = 0; index < length; index++) {
        char letter = name[index];
        copy[index] = letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
    }
    copy[length] = 0;
    return true;
}

// Of letters, digits, hyphens and underscores, in labels that are not empty; "*" as the first one.
static bool is_name(const char *name) {
    if (strncmp(name, "*.", 2) == 0) {
        name += 2;
    }
    size_t label = 0;
    for (; *name; name++) {
        if (*name == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
        } else if ((*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') ||
                   *name == '-' || *name == '_') {
            label++;
        } else {
            return false;
        }
    }
    return label > 0;
}

bool csc__tls_is_sent_name(const char *name) {
    char copy[LONGEST_NAME + 1];
    return name[0] != '*' && copy_name(copy, name) && strlen(copy) == strlen(name) && is_name(copy);
}

// Where a name is, or would be.
static size_t find(const csc_tls_identities *identities, const char *name, bool *is_there) {
    size_t low = 0;
    size_t high = identities->count;
    *is_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, identities->entries[middle].name);
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static csc_tls_identity *identity_of(const csc_tls_identities *identities, const char *name) {
    bool is_there;
    size_t index = find(identities, name, &is_there);
    return is_there ? identities->entries[index].identity : NULL;
}

// The exact name, then with its first label as the wildcard.
static csc_tls_identity *best_for(const csc_tls_identities *identities, char *name) {
    csc_tls_identity *found = identity_of(identities, name);
    char *dot = strchr(name, '.');
    if (!found && dot && dot > name) {
        dot[-1] = '*';
        found = identity_of(identities, dot - 1);
    }
    return found;
}

csc_tls_identity *csc__tls_identities_get(csc_tls_identities *identities, const char *name) {
    char copy[LONGEST_NAME + 1];
    if (name && !copy_name(copy, name)) {
        return NULL;
    }
    pthread_mutex_lock(&identities->lock);
    csc_tls_identity *found = name ? best_for(identities, copy) : identities->fallback;
    if (found) {
        csc__tls_identity_retain(found);
    }
    pthread_mutex_unlock(&identities->lock);
    return found;
}

// With the lock. Takes the name and the identity where it succeeds.
static bool insert(csc_tls_identities *identities, size_t index, entry added) {
    if (identities->count == identities->capacity) {
        size_t capacity = identities->capacity ? identities->capacity * 2 : 8;
        entry *entries = OPENSSL_realloc(identities->entries, capacity * sizeof *entries);
        if (!entries) {
            return false;
        }
        identities->entries = entries;
        identities->capacity = capacity;
    }
    entry *place = identities->entries + index;
    memmove(place + 1, place, (identities->count - index) * sizeof *place);
    *place = added;
    identities->count++;
    return true;
}

// With the lock.
static void take_out(csc_tls_identities *identities, size_t index) {
    entry *place = identities->entries + index;
    identities->count--;
    memmove(place, place + 1, (identities->count - index) * sizeof *place);
}

static void swap(csc_tls_identity **one, csc_tls_identity **other) {
    csc_tls_identity *kept = *one;
    *one = *other;
    *other = kept;
}

// With the lock. What is to be freed afterwards is left in `changed`.
static bool change(csc_tls_identities *identities, entry *changed) {
    bool is_there;
    size_t index = find(identities, changed->name, &is_there);
    if (!is_there && changed->identity) {
        if (!insert(identities, index, *changed)) {
            return false;
        }
        *changed = (entry){NULL, NULL};
    } else if (is_there && changed->identity) {
        swap(&identities->entries[index].identity, &changed->identity);
    } else if (is_there) {
        entry gone = identities->entries[index];
        take_out(identities, index);
        OPENSSL_free(changed->name);
        *changed = gone;
    }
    return true;
}

bool csc_tls_identities_set(csc_tls_identities *identities, const char *name,
                            csc_tls_identity *identity, csc_tls_error *error) {
    csc__tls_no_error(error);
    ERR_clear_error();
    char copy[LONGEST_NAME + 1];
    if (name && (!copy_name(copy, name) || !is_name(copy))) {
        return csc__tls_error(error, CSC_TLS_FAULT_NAME, "\"%.100s\" is not the name of a server",
                              name);
    }
    entry changed = {name ? OPENSSL_strdup(copy) : NULL, NULL};
    if (name && !changed.name) {
        return csc__tls_no_memory(error);
    }
    changed.identity = identity ? csc__tls_identity_retain(identity) : NULL;
    bool has_changed = true;
    pthread_mutex_lock(&identities->lock);
    if (name) {
        has_changed = change(identities, &changed);
    } else {
        swap(&identities->fallback, &changed.identity);
    }
    pthread_mutex_unlock(&identities->lock);
    OPENSSL_free(changed.name);
    csc_tls_identity_free(changed.identity);
    return has_changed || csc__tls_no_memory(error);
}
