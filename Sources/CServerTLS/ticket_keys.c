// SPDX-License-Identifier: Apache-2.0

// Three keys, the newest first, under a lock that is held for a copy of one of them. Copies are
// wiped after use.

#include "ticket_key.h"

#include "prepare.h"
#include "setting_error.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static const char MAGIC[8] = "CSCTKT1";

struct csc_tls_ticket_keys {
    atomic_uint references;
    pthread_mutex_t lock; // for what follows
    csc__tls_ticket_key keys[CSC__TLS_TICKET_KEYS];
};

_Static_assert(sizeof MAGIC + sizeof(csc__tls_ticket_key[CSC__TLS_TICKET_KEYS]) ==
                   CSC_TLS_TICKET_KEYS_SIZE,
               "what is exported has no gaps");

static bool make_key(csc__tls_ticket_key *key) {
    bool is_made = RAND_bytes(key->name, sizeof key->name) == 1 &&
                   RAND_priv_bytes(key->cipher, sizeof key->cipher) == 1 &&
                   RAND_priv_bytes(key->mac, sizeof key->mac) == 1;
    key->name[0] = CSC__TLS_TICKET_MARK;
    key->made = time(NULL);
    return is_made;
}

csc_tls_ticket_keys *csc_tls_ticket_keys_new(void) {
    csc__tls_prepare_openssl();
    csc_tls_ticket_keys *keys = OPENSSL_zalloc(sizeof *keys);
    if (keys && !make_key(&keys->keys[0])) {
        OPENSSL_clear_free(keys, sizeof *keys);
        keys = NULL;
    }
    if (keys) {
        atomic_init(&keys->references, 1);
        pthread_mutex_init(&keys->lock, NULL); // cannot fail on Linux
    }
    ERR_clear_error();
    return keys;
}

csc_tls_ticket_keys *csc__tls_ticket_keys_retain(csc_tls_ticket_keys *keys) {
    atomic_fetch_add(&keys->references, 1);
    return keys;
}

void csc_tls_ticket_keys_free(csc_tls_ticket_keys *keys) {
    if (keys && atomic_fetch_sub(&keys->references, 1) == 1) {
        pthread_mutex_destroy(&keys->lock);
        OPENSSL_clear_free(keys, sizeof *keys);
    }
}

// With the lock. The oldest key is written over.
static void push(csc_tls_ticket_keys *keys, const csc__tls_ticket_key *key) {
    memmove(keys->keys + 1, keys->keys, sizeof keys->keys - sizeof keys->keys[0]);
    keys->keys[0] = *key;
}

bool csc_tls_ticket_keys_rotate(csc_tls_ticket_keys *keys) {
    csc__tls_ticket_key key;
    bool is_made = make_key(&key);
    if (is_made) {
        pthread_mutex_lock(&keys->lock);
        push(keys, &key);
        pthread_mutex_unlock(&keys->lock);
    }
    OPENSSL_cleanse(&key, sizeof key);
    ERR_clear_error();
    return is_made;
}

// With the lock. Where random numbers are short the old key goes on.
static void renew_old(csc_tls_ticket_keys *keys) {
    csc__tls_ticket_key key;
    int64_t age = time(NULL) - keys->keys[0].made; // less than 0 after the clock was set back
    if (age >= CSC_TLS_TICKET_PERIOD || age <= -CSC_TLS_TICKET_PERIOD) {
        if (make_key(&key)) {
            push(keys, &key);
        }
        OPENSSL_cleanse(&key, sizeof key);
    }
}

void csc__tls_ticket_keys_newest(csc_tls_ticket_keys *keys, csc__tls_ticket_key *key) {
    pthread_mutex_lock(&keys->lock);
    renew_old(keys);
    *key = keys->keys[0];
    pthread_mutex_unlock(&keys->lock);
}

bool csc__tls_ticket_keys_named(csc_tls_ticket_keys *keys, const unsigned char *name,
                                csc__tls_ticket_key *key, bool *is_newest) {
    bool is_found = false;
    pthread_mutex_lock(&keys->lock);
    for (int index = 0; index < CSC__TLS_TICKET_KEYS && !is_found; index++) {
        const csc__tls_ticket_key *one = &keys->keys[index];
        if (one->made != 0 && memcmp(one->name, name, sizeof one->name) == 0) {
            *key = *one;
            *is_newest = index == 0;
            is_found = true;
        }
    }
    pthread_mutex_unlock(&keys->lock);
    return is_found;
}

void csc_tls_ticket_keys_export(csc_tls_ticket_keys *keys, void *bytes) {
    memcpy(bytes, MAGIC, sizeof MAGIC);
    pthread_mutex_lock(&keys->lock);
    memcpy((char *)bytes + sizeof MAGIC, keys->keys, sizeof keys->keys);
    pthread_mutex_unlock(&keys->lock);
}

bool csc_tls_ticket_keys_import(csc_tls_ticket_keys *keys, const void *bytes, size_t size,
                                csc_tls_error *error) {
    csc__tls_no_error(error);
    csc__tls_ticket_key imported[CSC__TLS_TICKET_KEYS];
    if (size != CSC_TLS_TICKET_KEYS_SIZE || memcmp(bytes, MAGIC, sizeof MAGIC) != 0) {
        return csc__tls_error(error, CSC_TLS_FAULT_TICKET_KEYS,
                              "These are not exported ticket keys");
    }
    memcpy(imported, (const char *)bytes + sizeof MAGIC, sizeof imported);
    // None is of a time before 1970, whose age is no number.
    bool has_key = imported[0].made > 0;
    for (int index = 1; index < CSC__TLS_TICKET_KEYS; index++) {
        has_key = has_key && imported[index].made >= 0;
    }
    if (has_key) {
        pthread_mutex_lock(&keys->lock);
        memcpy(keys->keys, imported, sizeof imported);
        pthread_mutex_unlock(&keys->lock);
    }
    OPENSSL_cleanse(imported, sizeof imported);
    return has_key || csc__tls_error(error, CSC_TLS_FAULT_TICKET_KEYS,
                                     "These exported ticket keys have no key");
}
