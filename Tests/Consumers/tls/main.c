// SPDX-License-Identifier: Apache-2.0

// What a program sees of the installed library for TLS, beside the core.

#include <CServerCore.h>
#include <CServerTLS.h>

#include <stdio.h>

int main(void) {
    csc_tls_settings settings = {0};
    csc_tls_error error;
    csc_tls_context *context = csc_tls_context_new(&settings, &error);
    if (!context) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    csc_tls_context_free(context);
    printf("%s\n", csc_version());
    return 0;
}
