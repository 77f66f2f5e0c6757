// SPDX-License-Identifier: Apache-2.0

// Settings that cannot be used: which one, and why. And the key log.

#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_refused(const csc_tls_settings *settings, csc_tls_fault fault,
                           const char *text) {
    csc_tls_error error;
    assert_null(csc_tls_context_new(settings, &error));
    if (strncmp(error.text, text, strlen(text)) != 0) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(error.fault, fault);
    assert_null(csc_tls_context_new(settings, NULL));
}

static void all_zero_is_a_server(void **state) {
    (void)state;
    csc_tls_error error = {CSC_TLS_FAULT_MEMORY, "old"};
    csc_tls_settings settings = {0};
    csc_tls_context *context = csc_tls_context_new(&settings, &error);
    assert_non_null(context);
    assert_int_equal(error.fault, CSC_TLS_FAULT_NONE);
    assert_string_equal(error.text, "");
    csc_tls_context_free(context);
    csc_tls_context_free(NULL);
}

static void versions_that_exclude_each_other_are_refused(void **state) {
    (void)state;
    const char *text = "There is no version from minimum_version to maximum_version";
    csc_tls_settings settings = {.minimum_version = CSC_TLS_VERSION_1_3,
                                 .maximum_version = CSC_TLS_VERSION_1_2};
    assert_refused(&settings, CSC_TLS_FAULT_VERSIONS, text);
    settings = (csc_tls_settings){.minimum_version = (csc_tls_version)1}; // TLS 1.1
    assert_refused(&settings, CSC_TLS_FAULT_VERSIONS, text);
    settings = (csc_tls_settings){.maximum_version = (csc_tls_version)4};
    assert_refused(&settings, CSC_TLS_FAULT_VERSIONS, text);
}

static void ciphers_and_groups_that_are_none_are_refused(void **state) {
    (void)state;
    csc_tls_settings settings = {.ciphers = "NO-SUCH-CIPHER"};
    assert_refused(&settings, CSC_TLS_FAULT_CIPHERS, "The ciphers cannot be used: no cipher match");
    settings = (csc_tls_settings){.cipher_suites = "TLS_NO_SUCH_SUITE"};
    assert_refused(&settings, CSC_TLS_FAULT_CIPHER_SUITES, "The cipher suites cannot be used");
    settings = (csc_tls_settings){.groups = "P-1"};
    assert_refused(&settings, CSC_TLS_FAULT_GROUPS, "The groups cannot be used");
}

static void protocols_that_cannot_be_sent_are_refused(void **state) {
    (void)state;
    const char *text = "An application protocol is empty, or they are too long";
    const char *empty[] = {"h2", ""};
    csc_tls_settings settings = {.application_protocols = empty, .application_protocol_count = 2};
    assert_refused(&settings, CSC_TLS_FAULT_PROTOCOLS, text);
    char long_name[257];
    memset(long_name, 'a', 256);
    long_name[256] = 0;
    const char *too_long[] = {long_name};
    settings.application_protocols = too_long;
    settings.application_protocol_count = 1;
    assert_refused(&settings, CSC_TLS_FAULT_PROTOCOLS, text);
    long_name[255] = 0;
    csc_tls_context *context = csc_tls_context_new(&settings, NULL);
    assert_non_null(context);
    csc_tls_context_free(context);
    const char *many[300];
    for (int index = 0; index < 300; index++) {
        many[index] = long_name;
    }
    settings.application_protocols = many;
    settings.application_protocol_count = 300;
    assert_refused(&settings, CSC_TLS_FAULT_PROTOCOLS, text);
}

static void authorities_that_cannot_be_used_are_refused(void **state) {
    (void)state;
    csc_tls_settings settings = {.verify_mode = CSC_TLS_VERIFY_REQUIRED};
    assert_refused(&settings, CSC_TLS_FAULT_AUTHORITIES,
                   "There are no authorities to verify certificates with");
    settings.authorities = "junk";
    settings.authorities_size = 4;
    assert_refused(&settings, CSC_TLS_FAULT_AUTHORITIES, "The authorities cannot be read");
    settings.authorities_size = 0;
    assert_refused(&settings, CSC_TLS_FAULT_AUTHORITIES, "The authorities cannot be read");
    settings.authorities = authority()->text;
    settings.authorities_size = authority()->size - 60;
    assert_refused(&settings, CSC_TLS_FAULT_AUTHORITIES, "The authorities cannot be read");
    settings.authorities_size = (size_t)1 << 31;
    assert_refused(&settings, CSC_TLS_FAULT_AUTHORITIES, "The authorities are too long");
    settings.authorities = NULL;
    settings.authorities_file = "/nowhere";
    assert_refused(&settings, CSC_TLS_FAULT_AUTHORITIES,
                   "The file of the authorities cannot be opened: No such file or directory");
    settings.authorities_file = file_with(authority());
    csc_tls_context *context = csc_tls_context_new(&settings, NULL);
    assert_non_null(context);
    csc_tls_context_free(context);
}

static void authorities_come_from_a_file_too(void **state) {
    (void)state;
    pair *it = pair_new();
    it->client_settings.authorities = other_authority()->text;
    it->client_settings.authorities_size = other_authority()->size;
    it->client_settings.authorities_file = file_with(authority());
    pair_handshake(it);
    pair_free(it);
}

static int lines;
static char first_label[40];

static void note_line(csc_tls *tls, const char *line, void *context) {
    assert_non_null(tls);
    assert_non_null(context);
    if (lines++ == 0) {
        snprintf(first_label, sizeof first_label, "%.*s", (int)strcspn(line, " "), line);
    }
}

static void secrets_are_logged_on_request_alone(void **state) {
    (void)state;
    pair *it = pair_new();
    it->server_settings.maximum_version = CSC_TLS_VERSION_1_2;
    const char *path = file_with(&(pem){"", 0});
    setenv("SSLKEYLOGFILE", path, 1);
    pair_handshake(it);
    unsetenv("SSLKEYLOGFILE");
    assert_int_equal(lines, 0);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    pair_disconnect(it);
    pair_forget_contexts(it);
    it->server_settings.key_log = note_line;
    pair_handshake(it);
    assert_int_equal(lines, 1);
    assert_string_equal(first_label, "CLIENT_RANDOM");
    pair_free(it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_zero_is_a_server),
        cmocka_unit_test(versions_that_exclude_each_other_are_refused),
        cmocka_unit_test(ciphers_and_groups_that_are_none_are_refused),
        cmocka_unit_test(protocols_that_cannot_be_sent_are_refused),
        cmocka_unit_test(authorities_that_cannot_be_used_are_refused),
        cmocka_unit_test(authorities_come_from_a_file_too),
        cmocka_unit_test(secrets_are_logged_on_request_alone),
    };
    return cmocka_run_group_tests(tests, NULL, free_shared);
}
