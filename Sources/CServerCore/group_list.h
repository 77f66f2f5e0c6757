// SPDX-License-Identifier: Apache-2.0

// The process's list of groups. A group is in it as long as it has its locks.
#ifndef CSC_GROUP_LIST_H
#define CSC_GROUP_LIST_H

#include "group_type.h"

void csc__group_list_add(csc_group *group);
void csc__group_list_remove(const csc_group *group);

#endif
