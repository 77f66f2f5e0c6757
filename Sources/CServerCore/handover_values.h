// SPDX-License-Identifier: Apache-2.0

// What csc_handover_values holds, as the messages have it.
#ifndef CSC_HANDOVER_VALUES_H
#define CSC_HANDOVER_VALUES_H

#include "handover_message.h"

// The message with the secret of an index; false when there is none. Its bytes are borrowed.
bool csc__handover_values_secret(const csc_handover_values *values, size_t index,
                                 csc__handover_message *message);

// The message with all counters; false when there are none.
bool csc__handover_values_counters(const csc_handover_values *values,
                                   csc__handover_message *message);

// Keeps what a message of either kind has. Returns 0, ENOMEM, or EPROTO for more than there may be.
int csc__handover_values_keep(csc_handover_values *values, const csc__handover_message *message);

#endif
