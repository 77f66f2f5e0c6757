// SPDX-License-Identifier: Apache-2.0

// OpenSSL's way to the descriptor, without the faults of its own: write(2), which raises SIGPIPE, and
// what depends on whether the descriptor is non-blocking.
//
// There is no BIO_CTRL_EOF here: with it OpenSSL makes the peer's end without close_notify a fatal
// error, after which nothing can be written. Whether that end is an error is said by csc_tls_read().

#include "tls.h"

#include <errno.h>
#include <sched.h>
#include <sys/socket.h>

enum { HANDSHAKE = 0x16, ALERT = 0x15 }; // types of records

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

static int transmit(BIO *bio, const char *bytes, int size) {
    csc_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t count = send_bytes(tls, bytes, size);
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
