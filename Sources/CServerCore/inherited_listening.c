// SPDX-License-Identifier: Apache-2.0

// A server that listens on a socket which the service manager has opened, or else opens one itself.

#include "CServerCore.h"

#include <string.h>

bool csc_server_listen_inherited(csc_server *server, csc_inherited *set, const char *name,
                                 const csc_address *address) {
    for (size_t i = 0; i < csc_inherited_count(set); i++) {
        if (strcmp(csc_inherited_name(set, i), name) == 0 && csc_inherited_is_listener(set, i)) {
            bool listens = csc_server_adopt(server, csc_inherited_descriptor(set, i));
            if (listens) {
                csc_inherited_take(set, i);
            }
            return listens;
        }
    }
    return csc_server_listen(server, address);
}
