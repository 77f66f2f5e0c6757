// SPDX-License-Identifier: Apache-2.0

// See failing_accept.h.

#include "failing_accept.h"

// libevent falls back from accept4 to accept on EINVAL and ENOSYS, so both must fail.
void fail_accept(int count, int errnum) {
    fault_fail(FAULT_ACCEPT4, 1, count, errnum);
    fault_fail(FAULT_ACCEPT, 1, count, errnum);
}

void assert_accept_error(const fixture *it, int errnum) {
    const char *text = NULL;
    csc_error error = csc_error_from_errno(CSC_CALL_ACCEPT, errnum, &text);
    assert_int_equal(it->accept_error, error);
    fixture_assert_error(it, error, text);
}

void start_failing(fixture *it) {
    csc_server_close(it->server);
    csc_server_set_error(it->server, CSC_ERROR_UNKNOWN, "");
    fixture_listen(it);
    fixture_watch(it);
    it->new_connections = 0;
    it->accept_errors = 0;
    fixture_connect(it);
    fault_reset_counts();
}

void finish_failing(fixture *it) {
    fault_clear();
    fault_start_clock();
    fixture_take_all(it);
    while (it->owned_count > 0) {
        fixture_close(it, it->owned[0]);
    }
}
