// SPDX-License-Identifier: Apache-2.0

#ifndef CSC_TLS_PREPARE_H
#define CSC_TLS_PREPARE_H

// Called first by what may be the first to use OpenSSL in this program.
void csc__tls_prepare_openssl(void);

#endif
