// SPDX-License-Identifier: Apache-2.0

// Fuzzes what a program gives the library for TLS, much of it from files of its own. The first byte
// chooses which setting; the rest are its texts, each up to a NUL.
//
// What is refused has a text that says why; a name that was accepted is found in any case, with a
// dot at its end, and by its wildcard; keys of tickets that were accepted are written back as they
// were.

#include "certificates.h"
#include "check.h"

#include <CServerTLS.h>
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "identity_type.h"
#include "ticket_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXTS = 6 };

typedef struct texts {
    char *text[TEXTS];
    size_t size[TEXTS];
    int count;
} texts;

// Copies of the exact size, so that the address sanitizer sees each byte too many.
static texts split(const uint8_t *data, size_t size) {
    texts all = {.count = 0};
    while (all.count < TEXTS && size > 0) {
        const uint8_t *end = memchr(data, 0, size);
        size_t length = end ? (size_t)(end - data) : size;
        char *copy = malloc(length + 1);
        if (!copy) {
            break;
        }
        memcpy(copy, data, length);
        copy[length] = 0;
        all.text[all.count] = copy;
        all.size[all.count++] = length;
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
    return all;
}

static void check_error(bool is_made, const csc_tls_error *error) {
    CHECK(is_made == (error->fault == CSC_TLS_FAULT_NONE), "%d", error->fault);
    CHECK(is_made == (error->text[0] == 0), "%s", error->text);
    CHECK(memchr(error->text, 0, sizeof error->text) != NULL, "%d", error->fault);
}

static void check_found(csc_tls_identities *map, const char *name, const csc_tls_identity *wanted) {
    csc_tls_identity *found = csc__tls_identities_get(map, name);
    CHECK(found == wanted, "%s", name);
    csc_tls_identity_free(found);
}

static void set_names(csc_tls_identity *identity, const texts *all) {
    csc_tls_identities *map = csc_tls_identities_new();
    for (int i = 0; map && i < all->count; i++) {
        csc_tls_error error;
        bool is_set = csc_tls_identities_set(map, all->text[i], identity, &error);
        check_error(is_set, &error);
        csc_tls_identity_free(csc__tls_identities_get(map, all->text[i]));
        if (is_set) {
            char other[300];
            size_t length = all->size[i];
            bool is_wild = strncmp(all->text[i], "*.", 2) == 0;
            snprintf(other, sizeof other, "%s%s%s", is_wild ? "any" : "", all->text[i] + is_wild,
                     all->text[i][length - 1] == '.' ? "" : ".");
            for (char *letter = other; *letter; letter++) {
                *letter = (char)toupper((unsigned char)*letter);
            }
            check_found(map, all->text[i], identity);
            if (strlen(other) <= 253) {
                check_found(map, other, identity);
            }
        }
    }
    for (int i = 0; map && i < all->count; i++) {
        csc_tls_identities_set(map, all->text[i], NULL, NULL);
    }
    for (int i = 0; map && i < all->count; i++) {
        check_found(map, all->text[i], NULL);
    }
    csc_tls_identities_free(map);
}

static void read_pem(const texts *all) {
    csc_tls_error error;
    csc_tls_identity *identity = csc_tls_identity_from_pem(
        all->count > 0 ? all->text[0] : "", all->count > 0 ? all->size[0] : 0,
        all->count > 1 ? all->text[1] : "", all->count > 1 ? all->size[1] : 0,
        all->count > 2 ? all->text[2] : NULL, &error);
    check_error(identity != NULL, &error);
    if (identity) {
        csc_tls_identity_expiry(identity);
        csc_tls_identity_free(identity);
    }
}

// A server's: a client's without authorities reads those of the system, which takes long.
static void make_context(csc_tls_identity *identity, csc_tls_settings settings) {
    static csc_tls_identities *map;
    csc_tls_error error;
    if (!map) {
        map = csc_tls_identities_new();
        csc_tls_identities_set(map, NULL, identity, NULL);
    }
    settings.identities = map;
    csc_tls_context *context = csc_tls_context_new(&settings, &error);
    check_error(context != NULL, &error);
    csc_tls_context_free(context);
}

static void import_keys(const uint8_t *data, size_t size) {
    csc_tls_ticket_keys *keys = csc_tls_ticket_keys_new();
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (keys && copy) {
        memcpy(copy, data, size);
        csc_tls_error error;
        uint8_t exported[CSC_TLS_TICKET_KEYS_SIZE];
        bool is_imported = csc_tls_ticket_keys_import(keys, copy, size, &error);
        check_error(is_imported, &error);
        csc_tls_ticket_keys_export(keys, exported);
        if (is_imported) {
            CHECK(size == sizeof exported && memcmp(exported, copy, size) == 0, "%zu", size);
        }
        csc__tls_ticket_key key;
        bool is_newest;
        csc__tls_ticket_keys_newest(keys, &key);
        CHECK(csc__tls_ticket_keys_named(keys, key.name, &key, &is_newest), "%d", key.name[0]);
    }
    free(copy);
    csc_tls_ticket_keys_free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static csc_tls_identity *identity;
    if (!identity) {
        identity = identity_for("localhost", KEY_ED25519);
    }
    if (size == 0) {
        return 0;
    }
    texts all = split(data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        set_names(identity, &all);
        break;
    case 1:
        read_pem(&all);
        break;
    case 2:
        make_context(identity, (csc_tls_settings){
                                   .application_protocols = (const char *const *)all.text,
                                   .application_protocol_count = (size_t)all.count,
                               });
        break;
    case 3:
        make_context(identity, (csc_tls_settings){.ciphers = all.text[0],
                                                  .cipher_suites = all.text[1],
                                                  .groups = all.text[2]});
        break;
    case 4:
        make_context(identity, (csc_tls_settings){.authorities = all.text[0],
                                                  .authorities_size = all.size[0]});
        break;
    default:
        import_keys(data + 1, size - 1);
        break;
    }
    for (int i = 0; i < all.count; i++) {
        free(all.text[i]);
    }
    return 0;
}
