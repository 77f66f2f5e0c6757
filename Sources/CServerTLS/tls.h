// SPDX-License-Identifier: Apache-2.0

// What the files of the library share: the state of a connection and of a context.
//
// All memory is OpenSSL's (OPENSSL_zalloc), so that a program that gives OpenSSL an allocator of its
// own has all of it there.
#ifndef CSC_TLS_H
#define CSC_TLS_H

#include "CServerTLS.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdint.h>

// What a session is bound to: what verifies certificates, and on a client the server's name, too.
enum { CSC__TLS_SESSION_NAME = 32 };

struct csc_tls_context {
    atomic_uint references; // the program, and the connections
    SSL_CTX *ctx;
    BIO_METHOD *transport;
    EVP_CIPHER *ticket_cipher; // fetched once: OpenSSL 3.0 takes locks for it
    csc_tls_identities *identities;
    csc_tls_ticket_keys *ticket_keys;
    csc_tls_lookup_fn lookup;
    csc_tls_verify_fn verify;
    csc_tls_key_log_fn key_log;
    csc_tls_psk_fn psk;
    csc_tls_verify_mode verify_mode; // never CSC_TLS_VERIFY_AUTOMATIC
    unsigned char session_name[CSC__TLS_SESSION_NAME];
    bool is_client;
    unsigned protocols_size; // of application_protocols, which is in the form of the extension
    unsigned char *application_protocols;
};

// A question to the program.
typedef enum csc__tls_question {
    CSC__TLS_NOT_ASKED,
    CSC__TLS_ASKED,
    CSC__TLS_ANSWERED
} csc__tls_question;

// What its descriptor is used for, at one time.
typedef enum csc__tls_use { CSC__TLS_UNUSED, CSC__TLS_IN_CALL, CSC__TLS_ABANDONED } csc__tls_use;

// Of a csc_tls_psk_fn; psk.c has it.
typedef struct csc__tls_psk_answer csc__tls_psk_answer;

// A record that was made and waits for the next bytes to be sent.
typedef struct csc__tls_held {
    size_t size;
    unsigned char bytes[];
} csc__tls_held;

// Packed: each connection has one.
struct csc_tls {
    SSL *ssl;
    csc_tls_context *context;
    csc_tls_identity *identity;      // the one chosen for this handshake; NULL before
    char *server_name;               // that the client of a server has asked for, or NULL
    char *psk_identity;              // of the last key that was asked for, or NULL
    X509_STORE_CTX *verifying;       // during a csc_tls_verify_fn
    csc__tls_psk_answer *psk_answer; // during a csc_tls_psk_fn
    csc__tls_held *held;             // the ticket of TLS 1.3, or NULL
    void *owner;                     // the program's context
    int descriptor;
    atomic_int descriptor_use; // a csc__tls_use
    int system_error;          // errno of the last call that failed; 0 for none
    csc_tls_failure failure;
    int verify_error;
    unsigned unfinished;    // bytes of the record that was sent in part, or not at all
    int16_t alert_received; // -1 for none
    int16_t alert_sent;
    csc__tls_question lookup : 2;
    csc__tls_question verify : 2;
    bool is_accepted : 1;         // the answer to `verify`
    bool has_failed : 1;          // nothing goes on
    bool has_call_failed : 1;     // a system call of this step
    bool would_block : 1;         // this step found no more input
    bool has_input : 1;           // the first byte has come
    bool has_reached_end : 1;     // recv() has returned 0
    bool is_complete : 1;         // the handshake is
    bool is_by_psk : 1;           // it was by a pre-shared key
    bool has_key : 1;             // the last question for a key was answered
    bool lacks_key : 1;           // it was not
    bool was_asked : 1;           // for the first message, without an answer
    bool has_no_name : 1;         // a client that must verify has no name to verify
    bool may_have_more : 1;       // the last read gave bytes
    bool takes_tickets : 1;       // the client can resume by a ticket of TLS 1.3
    bool owes_ticket : 1;         // it gets one before the first bytes, which is not made yet
    bool has_ended : 1;           // close_notify is with the kernel
    bool is_ending : 1;           // close_notify was begun
    unsigned char records;        // since the buffers were released, counted until they are kept
    unsigned char session_name[]; // of a client: CSC__TLS_SESSION_NAME bytes
};

// context.c
csc_tls_context *csc__tls_context_retain(csc_tls_context *context);

// transport.c: OpenSSL's way to the descriptor.
BIO_METHOD *csc__tls_transport_new(void);
BIO *csc__tls_transport_of(csc_tls *tls);

// The connection of OpenSSL's, in its callbacks. Application data of the SSL would be two blocks more.
static inline csc_tls *csc__tls_of(const SSL *ssl) {
    return BIO_get_data(SSL_get_rbio(ssl));
}

// failure.c: begins a call of OpenSSL, and says what it has come to. `returned` is less than 1.
void csc__tls_begin(csc_tls *tls);
csc_tls_result csc__tls_succeed(void);
csc_tls_result csc__tls_conclude(csc_tls *tls, int returned);
csc_tls_result csc__tls_fail(csc_tls *tls, csc_tls_failure failure);
csc_tls_result csc__tls_misused(csc_tls *tls);

// data.c: frees buffers that are empty; false where something is in them.
bool csc__tls_free_buffers(csc_tls *tls);

// session.c: binds a client's session to the server's name, which may be NULL.
bool csc__tls_bind_session(csc_tls *tls, const char *server_name);

// hello.c: what is decided from the client's first message.
void csc__tls_set_hello_callbacks(csc_tls_context *context);

// verify.c
void csc__tls_set_verify_callback(csc_tls_context *context);

#endif
