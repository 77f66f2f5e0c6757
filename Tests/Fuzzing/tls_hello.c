// SPDX-License-Identifier: Apache-2.0

// Fuzzes the first bytes of a client, which the server reads for the name before OpenSSL does. The
// first byte chooses how they come: as they are, or as a ClientHello that is whole but for its
// extensions, which are the input; and whether in one piece.
//
// The server never blocks, ends with DONE, a wish or a failure that has a text, and leaves nothing
// in OpenSSL's queue of errors.

#include "certificates.h"
#include "check.h"

#include <CServerTLS.h>
#include <openssl/err.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE = 4, MOST = 4096, FEW = 7 };

static csc_tls_context *new_context(void) {
    static const char *const protocols[] = {"h2", "http/1.1"};
    csc_tls_identities *identities = csc_tls_identities_new();
    csc_tls_identity *identity = identity_for("localhost", KEY_ED25519);
    csc_tls_ticket_keys *keys = csc_tls_ticket_keys_new();
    csc_tls_identities_set(identities, "www.example.com", identity, NULL);
    csc_tls_identities_set(identities, "*.example.com", identity, NULL);
    csc_tls_settings settings = {.identities = identities,
                                 .ticket_keys = keys,
                                 .application_protocols = protocols,
                                 .application_protocol_count = 2};
    csc_tls_context *context = csc_tls_context_new(&settings, NULL);
    csc_tls_identities_free(identities);
    csc_tls_identity_free(identity);
    csc_tls_ticket_keys_free(keys);
    return context;
}

static void put(uint8_t *bytes, size_t *place, size_t number, int width) {
    while (width-- > 0) {
        bytes[(*place)++] = (uint8_t)(number >> (8 * width));
    }
}

// A record with a ClientHello of TLS 1.2 that has these extensions.
static size_t hello_with(const uint8_t *extensions, size_t size, uint8_t *record) {
    static const uint8_t fields[] = {0xc0, 0x2b, 0xc0, 0x2c, 0x13, 0x01, 0x13, 0x02};
    enum { VERSION_AND_RANDOM = 34 };
    size_t body = VERSION_AND_RANDOM + 1 + 2 + sizeof fields + 2 + 2 + size;
    size_t place = 0;
    put(record, &place, 0x160301, 3);
    put(record, &place, MESSAGE + body, 2);
    put(record, &place, 1, 1);
    put(record, &place, body, 3);
    put(record, &place, 0x0303, 2);
    memset(record + place, 'r', VERSION_AND_RANDOM - 2);
    place += VERSION_AND_RANDOM - 2;
    put(record, &place, 0, 1);
    put(record, &place, sizeof fields, 2);
    memcpy(record + place, fields, sizeof fields);
    place += sizeof fields;
    put(record, &place, 0x0100, 2);
    put(record, &place, size, 2);
    memcpy(record + place, extensions, size);
    return place + size;
}

static void receive(csc_tls_context *context, const uint8_t *bytes, size_t size, size_t step) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    csc_tls *tls = csc_tls_new_server(context, pair[0], NULL);
    CHECK(tls != NULL, "memory");
    csc_tls_result result = CSC_TLS_WANT_READ;
    for (size_t place = 0; place < size && result == CSC_TLS_WANT_READ; place += step) {
        size_t length = size - place < step ? size - place : step;
        CHECK(send(pair[1], bytes + place, length, MSG_NOSIGNAL) == (ssize_t)length, "%zu", length);
        result = csc_tls_handshake(tls);
        CHECK(ERR_peek_error() == 0, "%lu", ERR_peek_error());
    }
    CHECK(result == CSC_TLS_WANT_READ || result == CSC_TLS_FAILED, "%d", (int)result);
    CHECK((result == CSC_TLS_FAILED) == (csc_tls_failure_text(tls)[0] != 0), "%s",
          csc_tls_failure_text(tls));
    csc_tls_free(tls);
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static csc_tls_context *context;
    if (!context) {
        context = new_context();
        CHECK(context != NULL, "settings");
    }
    if (size == 0 || size > MOST) {
        return 0;
    }
    uint8_t made[MOST + 100];
    size_t length = size - 1;
    if (data[0] & 1) {
        length = hello_with(data + 1, length, made);
    } else {
        memcpy(made, data + 1, length);
    }
    receive(context, made, length, data[0] & 2 ? FEW : length + 1);
    return 0;
}
