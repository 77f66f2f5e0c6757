// SPDX-License-Identifier: Apache-2.0

// The messages of a hand-over, from bytes to values and back, without I/O.
//
// All numbers are little-endian. Each message is one packet:
//
//   "TSK1"  type: 2 bytes  length of the rest: 2 bytes
//   HELLO      version: 2, process: 4
//   LISTENERS  count: 2, then for each family: 1, index among those of its name: 1,
//              length of the name: 1, the name
//   READY      nothing
//   STATISTICS count: 2, then for each length of the name: 1, the name, value: 8
//   SECRET     length of the name: 1, the name, the secret
//   DRAINED    connections served: 8, connections cut: 8
#ifndef CSC_HANDOVER_MESSAGE_H
#define CSC_HANDOVER_MESSAGE_H

#include "CServerCore.h"

enum { CSC__HANDOVER_VERSION = 1, CSC__HANDOVER_LONGEST = 4096 };

typedef enum csc__handover_type {
    CSC__HANDOVER_HELLO = 1,
    CSC__HANDOVER_LISTENERS = 2,
    CSC__HANDOVER_READY = 3,
    CSC__HANDOVER_STATISTICS = 4,
    CSC__HANDOVER_SECRET = 5,
    CSC__HANDOVER_DRAINED = 6
} csc__handover_type;

typedef struct csc__handover_entry {
    char name[CSC_HANDOVER_LONGEST_NAME + 1];
    uint8_t family; // CSC_FAMILY_IPV4, CSC_FAMILY_IPV6, or CSC__HANDOVER_UNIX
    uint8_t index;
} csc__handover_entry;

enum { CSC__HANDOVER_UNIX = 1 };

typedef struct csc__handover_counter {
    char name[CSC_HANDOVER_LONGEST_NAME + 1];
    uint64_t value;
} csc__handover_counter;

typedef struct csc__handover_message {
    csc__handover_type type;
    uint16_t version; // of HELLO, as is the process
    uint32_t process;
    uint16_t count; // of LISTENERS
    csc__handover_entry entries[CSC_HANDOVER_MOST_LISTENERS];
    uint16_t counter_count; // of STATISTICS
    csc__handover_counter counters[CSC_HANDOVER_MOST_COUNTERS];
    char secret_name[CSC_HANDOVER_LONGEST_NAME + 1]; // of SECRET
    const uint8_t *secret; // borrowed; of a message that was read, in its bytes
    size_t secret_size;
    uint64_t served; // of DRAINED
    uint64_t cut;
} csc__handover_message;

// How many of the entries before one have its name; at most CSC_HANDOVER_MOST_LISTENERS of them.
uint8_t csc__handover_index(const csc__handover_message *message, size_t entry);

// The length of the message; 0 where its values are not as they should be, or it is too long.
size_t csc__handover_write(const csc__handover_message *message,
                           uint8_t bytes[CSC__HANDOVER_LONGEST]);

// False for all that csc__handover_write() does not write.
bool csc__handover_read(const uint8_t *bytes, size_t length, csc__handover_message *message);

#endif
