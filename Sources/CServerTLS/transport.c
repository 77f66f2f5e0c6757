// SPDX-License-Identifier: Apache-2.0

// OpenSSL's way to the descriptor, without the faults of its own: write(2), which raises SIGPIPE, and
// what depends on whether the descriptor is non-blocking.
//
// There is no BIO_CTRL_EOF here: with it OpenSSL makes the peer's end without close_notify a fatal
// error, after which nothing can be written. Whether that end is an error is said by csc_tls_read().

#include "tls.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

enum { HANDSHAKE = 0x16, ALERT = 0x15 }; // types of records

enum { WITH_TICKET = 18432 }; // a record, and before it a ticket without certificates

// A server is spoken to first, and by a handshake; a client may get an alert.
static bool is_tls(const csc_tls *tls, unsigned char first) {
    return first == HANDSHAKE || (first == ALERT && tls->context->is_client);
}

// Not of a connection that another thread has abandoned: the number may be another file's by now.
static bool begin_call(csc_tls *tls) {
    int before = CSC__TLS_UNUSED;
    bool may_call = atomic_compare_exchange_strong(&tls->descriptor_use, &before, CSC__TLS_IN_CALL);
    if (!may_call) {
        errno = EBADF;
    }
    return may_call;
}

static void end_call(csc_tls *tls) {
    atomic_store_explicit(&tls->descriptor_use, CSC__TLS_UNUSED, memory_order_release);
}

void csc_tls_abandon(csc_tls *tls) {
    int before;
    do {
        before = CSC__TLS_UNUSED;
        if (atomic_compare_exchange_strong(&tls->descriptor_use, &before, CSC__TLS_ABANDONED)) {
            return;
        }
        sched_yield(); // for the length of a call that does not block
    } while (before == CSC__TLS_IN_CALL);
}

static ssize_t receive_bytes(csc_tls *tls, char *buffer, int size) {
    if (!begin_call(tls)) {
        return -1;
    }
    ssize_t count;
    do {
        count = recv(tls->descriptor, buffer, (size_t)size, MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    end_call(tls);
    return count;
}

static ssize_t send_bytes(csc_tls *tls, const char *bytes, int size) {
    if (!begin_call(tls)) {
        return -1;
    }
    ssize_t count;
    do {
        count = send(tls->descriptor, bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    end_call(tls);
    return count;
}

static int receive(BIO *bio, char *buffer, int size) {
    csc_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t count = receive_bytes(tls, buffer, size);
    if (count < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            BIO_set_retry_read(bio);
            tls->would_block = true;
        } else {
            tls->system_error = errno;
            tls->has_call_failed = true;
        }
        return -1;
    }
    if (count == 0) {
        tls->has_reached_end = true;
    } else if (!tls->has_input) {
        tls->has_input = true;
        if (!is_tls(tls, (unsigned char)buffer[0])) {
            tls->failure = CSC_TLS_FAILURE_NOT_TLS;
            return -1;
        }
    }
    return (int)count;
}

static bool is_ticket(const csc_tls *tls) {
    return !tls->is_complete && SSL_get_state(tls->ssl) == TLS_ST_SW_SESSION_TICKET &&
           SSL_version(tls->ssl) == TLS1_3_VERSION;
}

// Keeps the record for what is sent next; see tickets.c.
static int hold(csc_tls *tls, const char *bytes, size_t size) {
    size_t before = tls->held ? tls->held->size : 0;
    csc__tls_held *held = OPENSSL_realloc(tls->held, sizeof *held + before + size);
    if (!held) {
        tls->failure = CSC_TLS_FAILURE_MEMORY;
        return -1;
    }
    memcpy(held->bytes + before, bytes, size);
    held->size = before + size;
    tls->held = held;
    return (int)size;
}

static void drop_held(csc_tls *tls, size_t count) {
    csc__tls_held *held = tls->held;
    held->size -= count;
    memmove(held->bytes, held->bytes + count, held->size);
    if (held->size == 0) {
        OPENSSL_free(held);
        tls->held = NULL;
    }
}

static size_t smaller(size_t one, size_t other) {
    return one < other ? one : other;
}

// In one call with what is held, of which OpenSSL learns nothing.
static ssize_t send_after_held(csc_tls *tls, const char *bytes, size_t size) {
    char both[WITH_TICKET];
    size_t first = smaller(tls->held->size, sizeof both);
    size_t second = smaller(size, sizeof both - first);
    memcpy(both, tls->held->bytes, first);
    memcpy(both + first, bytes, second);
    ssize_t count = send_bytes(tls, both, (int)(first + second));
    if (count < 0) {
        return -1;
    }
    drop_held(tls, smaller((size_t)count, first));
    if ((size_t)count > first) {
        return count - (ssize_t)first;
    }
    errno = EAGAIN;
    return -1;
}

static int transmit(BIO *bio, const char *bytes, int size) {
    csc_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (is_ticket(tls)) {
        return hold(tls, bytes, (size_t)size);
    }
    ssize_t count =
        tls->held ? send_after_held(tls, bytes, (size_t)size) : send_bytes(tls, bytes, size);
    if (count < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            BIO_set_retry_write(bio);
        } else {
            tls->system_error = errno;
            tls->has_call_failed = true;
        }
    }
    return (int)count;
}

// Nothing is held back, so there is nothing to flush.
static long control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *csc__tls_transport_new(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "cservertls");
    if (method) {
        BIO_meth_set_read(method, receive);
        BIO_meth_set_write(method, transmit);
        BIO_meth_set_ctrl(method, control);
    }
    return method;
}

BIO *csc__tls_transport_of(csc_tls *tls) {
    BIO *bio = BIO_new(tls->context->transport);
    if (bio) {
        BIO_set_data(bio, tls);
        BIO_set_init(bio, 1);
    }
    return bio;
}
