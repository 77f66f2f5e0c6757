// SPDX-License-Identifier: Apache-2.0

// Bytes in and out, and the end.

#include "tickets.h"
#include "tls.h"

#include <string.h>

// After so many records since its buffers were released a connection is busy, and keeps them: a message
// costs no allocation. Before that they are freed after each record: of many connections with a message
// now and then, as after a flood of new ones, the allocator would have to keep 34 KiB for each.
enum { BUSY = 16 };

static void note_record(csc_tls *tls) {
    if (tls->records < BUSY) {
        tls->records++;
    }
}

// SSL_MODE_RELEASE_BUFFERS leaves those that OpenSSL makes for a ticket.
static void free_unless_busy(csc_tls *tls) {
    if (tls->records < BUSY) {
        csc__tls_free_buffers(tls);
    }
}

csc_tls_result csc_tls_read(csc_tls *tls, void *buffer, size_t size, size_t *count) {
    *count = 0;
    if (tls->has_failed) {
        return CSC_TLS_FAILED;
    }
    if (!tls->is_complete || size == 0) {
        return csc__tls_misused(tls);
    }
    csc__tls_begin(tls);
    int returned = SSL_read_ex(tls->ssl, buffer, size, count);
    csc_tls_result result = returned == 1 ? csc__tls_succeed() : csc__tls_conclude(tls, returned);
    if (result == CSC_TLS_DONE) {
        note_record(tls);
    }
    tls->may_have_more =
        result == CSC_TLS_DONE || (result == CSC_TLS_WANT_READ && !tls->would_block);
    free_unless_busy(tls);
    return result;
}

// SSL_has_pending() alone is true for a part of a record, too, and reading on would spin.
bool csc_tls_has_buffered_input(const csc_tls *tls) {
    return tls->may_have_more && !tls->has_failed && SSL_has_pending(tls->ssl);
}

csc_tls_result csc_tls_write(csc_tls *tls, const void *bytes, size_t size, size_t *count) {
    *count = 0;
    if (tls->has_failed) {
        return CSC_TLS_FAILED;
    }
    if (!tls->is_complete || tls->is_ending || size < tls->unfinished) {
        return csc__tls_misused(tls);
    }
    if (tls->owes_ticket && size > 0) {
        csc__tls_offer_ticket(tls);
    }
    while (*count < size) {
        size_t written = 0;
        size_t left = size - *count;
        csc__tls_begin(tls);
        int returned = SSL_write_ex(tls->ssl, (const char *)bytes + *count, left, &written);
        if (returned != 1) {
            csc_tls_result result = csc__tls_conclude(tls, returned);
            // The record is made of these bytes, and OpenSSL compares the length.
            tls->unfinished =
                left < SSL3_RT_MAX_PLAIN_LENGTH ? (unsigned)left : SSL3_RT_MAX_PLAIN_LENGTH;
            return result;
        }
        note_record(tls);
        *count += written;
        tls->unfinished = 0;
    }
    free_unless_busy(tls);
    return csc__tls_succeed();
}

csc_tls_result csc_tls_end_writing(csc_tls *tls) {
    if (tls->has_failed || tls->has_ended) {
        return tls->has_failed ? CSC_TLS_FAILED : CSC_TLS_DONE;
    }
    if (!tls->is_complete || tls->unfinished > 0) {
        return csc__tls_misused(tls);
    }
    tls->is_ending = true;
    csc__tls_begin(tls);
    // Once more after success would read, and throw away what the peer still sends.
    int returned = SSL_shutdown(tls->ssl);
    if (returned < 0) {
        return csc__tls_conclude(tls, returned);
    }
    tls->has_ended = true;
    return csc__tls_succeed();
}

// SSL_free_buffers() of OpenSSL before 3.0.14, 3.1.6, 3.2.2 and 3.3.1 frees them also while the header
// of a record was read, and not its body (CVE-2024-4741): "RH" is what it reads next between records.
bool csc__tls_free_buffers(csc_tls *tls) {
    bool is_between_records =
        !SSL_has_pending(tls->ssl) && strcmp(SSL_rstate_string(tls->ssl), "RH") == 0;
    return is_between_records && SSL_free_buffers(tls->ssl) == 1;
}

bool csc_tls_release_buffers(csc_tls *tls) {
    bool is_released = csc__tls_free_buffers(tls);
    if (is_released) {
        tls->records = 0;
    }
    return is_released;
}
