// SPDX-License-Identifier: Apache-2.0

#include "prepare.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

void csc__tls_prepare_openssl(void) {
    // Else exit() frees what other threads are still using. Without effect where the program has used
    // OpenSSL before.
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    ERR_clear_error();
}
