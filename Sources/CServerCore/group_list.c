// SPDX-License-Identifier: Apache-2.0

// The process's list of groups. When the process forks, their locks are held: other threads, which
// the child has not, would have left it a lock for ever, and a mailbox that just grows.

#include "group_list.h"

#include "group_type.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static csc_group *first;

static size_t member_count(csc_group *group) {
    return atomic_load(&group->count);
}

static void before_fork(void) {
    pthread_mutex_lock(&lock);
    for (csc_group *group = first; group; group = group->next) {
        pthread_mutex_lock(&group->lock);
        for (size_t index = 0; index < member_count(group); index++) {
            pthread_mutex_lock(&group->members[index]->mailbox.lock);
        }
    }
}

static void after_fork(void) {
    for (csc_group *group = first; group; group = group->next) {
        for (size_t index = 0; index < member_count(group); index++) {
            pthread_mutex_unlock(&group->members[index]->mailbox.lock);
        }
        pthread_mutex_unlock(&group->lock);
    }
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork, after_fork); // fails for lack of memory only
}

void csc__group_list_add(csc_group *group) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    group->next = first;
    first = group;
    pthread_mutex_unlock(&lock);
}

void csc__group_list_remove(const csc_group *group) {
    pthread_mutex_lock(&lock);
    csc_group **link = &first;
    while (*link != group) {
        link = &(*link)->next;
    }
    *link = group->next;
    pthread_mutex_unlock(&lock);
}
