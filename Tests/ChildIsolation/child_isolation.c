// SPDX-License-Identifier: Apache-2.0

// The thread that starts all children, and what replaces posix_spawn() to reach it.
//
// The actions of a call and the call itself are expected on one thread, which remembers what they
// duplicate. The library's own calls go to the kernel directly, so that no injected fault reaches
// them.

#include "include/ChildIsolation.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_LENT = 64, FIRST_OWN = 3 };

typedef int spawn_fn(pid_t *, const char *, const posix_spawn_file_actions_t *,
                     const posix_spawnattr_t *, char *const[], char *const[]);
typedef int init_fn(posix_spawn_file_actions_t *);
typedef int adddup2_fn(posix_spawn_file_actions_t *, int, int);

// One call of posix_spawn(), owned by the thread that makes it.
typedef struct request {
    pid_t *process;
    const char *path;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    char *const *arguments;
    char *const *environment;
    sigset_t mask;
    int lent[MOST_LENT];
    int count;
    int result;
} request;

static bool is_active;
static bool is_decided;       // whether it is
static int lending_end = -1;  // for the threads that make calls
static int starting_end = -1; // for the thread that starts children

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static request *pending;

static _Thread_local int duplicated[MOST_LENT];
static _Thread_local int duplicated_count;

// Sets a pointer to the function that one of these hides.
static void find_real(void *function, const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        abort();
    }
    memcpy(function, &found, sizeof found);
}

static bool is_open(int descriptor) {
    return syscall(SYS_fcntl, descriptor, F_GETFD) >= 0;
}

// Room for MOST_LENT descriptors beside one byte.
typedef struct parcel {
    char byte;
    struct iovec vector;
    struct msghdr message;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * MOST_LENT)];
} parcel;

static void wrap(parcel *parcel) {
    memset(parcel, 0, sizeof *parcel);
    parcel->vector = (struct iovec){.iov_base = &parcel->byte, .iov_len = 1};
    parcel->message = (struct msghdr){.msg_iov = &parcel->vector,
                                      .msg_iovlen = 1,
                                      .msg_control = parcel->control,
                                      .msg_controllen = sizeof parcel->control};
}

static bool lend(const request *request) {
    parcel parcel;
    wrap(&parcel);
    if (request->count == 0) {
        parcel.message.msg_control = NULL;
        parcel.message.msg_controllen = 0;
    } else {
        size_t size = sizeof(int) * (size_t)request->count;
        parcel.message.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&parcel.message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), request->lent, size);
    }
    return syscall(SYS_sendmsg, lending_end, &parcel.message, 0) == 1;
}

// Borrows the descriptors under the numbers that they have in the table of the tests.
static bool borrow(const request *request) {
    parcel parcel;
    wrap(&parcel);
    if (syscall(SYS_recvmsg, starting_end, &parcel.message, MSG_CMSG_CLOEXEC) != 1) {
        return false;
    }
    int received[MOST_LENT];
    struct cmsghdr *header = CMSG_FIRSTHDR(&parcel.message);
    size_t size = sizeof(int) * (size_t)request->count;
    if (request->count == 0 || !header || header->cmsg_len != CMSG_LEN(size)) {
        return request->count == 0;
    }
    memcpy(received, CMSG_DATA(header), size);
    // First above all wanted numbers: one of those may be another's at the moment.
    int above = FIRST_OWN;
    for (int i = 0; i < request->count; i++) {
        above = request->lent[i] >= above ? request->lent[i] + 1 : above;
    }
    bool done = true;
    for (int i = 0; i < request->count; i++) {
        int moved = (int)syscall(SYS_fcntl, received[i], F_DUPFD_CLOEXEC, above);
        syscall(SYS_close, received[i]);
        received[i] = moved;
    }
    for (int i = 0; i < request->count; i++) {
        done = syscall(SYS_dup3, received[i], request->lent[i], O_CLOEXEC) >= 0 && done;
        syscall(SYS_close, received[i]);
    }
    return done;
}

static void give_back(const request *request) {
    for (int i = 0; i < request->count; i++) {
        if (request->lent[i] >= FIRST_OWN) {
            syscall(SYS_close, request->lent[i]);
        }
    }
}

static void serve(request *request) {
    spawn_fn *spawn;
    find_real(&spawn, "posix_spawn");
    request->result = EMFILE;
    if (borrow(request)) {
        sigset_t own;
        pthread_sigmask(SIG_SETMASK, &request->mask, &own);
        request->result = spawn(request->process, request->path, request->actions,
                                request->attributes, request->arguments, request->environment);
        pthread_sigmask(SIG_SETMASK, &own, NULL);
    }
    give_back(request);
}

// The kernel gives a thread a table of its own by either; containers often forbid the second.
static bool take_own_table(void) {
#ifdef SYS_close_range
    const unsigned none = 1U << 30;
    const unsigned unshare_table = 1U << 1; // CLOSE_RANGE_UNSHARE
    if (syscall(SYS_close_range, none, none, unshare_table) == 0) {
        return true;
    }
#endif
    return syscall(SYS_unshare, CLONE_FILES) == 0;
}

static void *start_children(void *context) {
    (void)context;
    pthread_mutex_lock(&state);
    is_active = take_own_table();
    is_decided = true;
    pthread_cond_broadcast(&changed);
    while (is_active) {
        while (!pending) {
            pthread_cond_wait(&changed, &state);
        }
        serve(pending);
        pending = NULL;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&state);
    return NULL;
}

// Before main(), when the process has one thread and no descriptor of a test.
__attribute__((constructor)) static void isolate_children(void) {
    int ends[2];
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return;
    }
    lending_end = ends[0];
    starting_end = ends[1];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&state);
    if (pthread_create(&thread, NULL, start_children, NULL) == 0) {
        pthread_detach(thread);
        while (!is_decided) {
            pthread_cond_wait(&changed, &state);
        }
    }
    pthread_mutex_unlock(&state);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool child_isolation_is_active(void) {
    return is_active;
}

int posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions) {
    duplicated_count = 0;
    init_fn *init;
    find_real(&init, "posix_spawn_file_actions_init");
    return init(actions);
}

int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to) {
    if (duplicated_count == MOST_LENT) {
        return ENOMEM;
    }
    bool is_new = from >= 0;
    for (int i = 0; i < duplicated_count; i++) {
        is_new = is_new && duplicated[i] != from;
    }
    if (is_new) {
        duplicated[duplicated_count++] = from;
    }
    adddup2_fn *adddup2;
    find_real(&adddup2, "posix_spawn_file_actions_adddup2");
    return adddup2(actions, from, to);
}

int posix_spawn(pid_t *process, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const arguments[],
                char *const environment[]) {
    if (!is_active) {
        spawn_fn *spawn;
        find_real(&spawn, "posix_spawn");
        return spawn(process, path, actions, attributes, arguments, environment);
    }
    request request = {.process = process,
                       .path = path,
                       .actions = actions,
                       .attributes = attributes,
                       .arguments = arguments,
                       .environment = environment};
    pthread_sigmask(SIG_SETMASK, NULL, &request.mask);
    for (int i = 0; actions && i < duplicated_count; i++) {
        if (is_open(duplicated[i])) {
            request.lent[request.count++] = duplicated[i];
        }
    }
    pthread_mutex_lock(&one_at_a_time);
    if (lend(&request)) {
        pthread_mutex_lock(&state);
        pending = &request;
        pthread_cond_broadcast(&changed);
        while (pending) {
            pthread_cond_wait(&changed, &state);
        }
        pthread_mutex_unlock(&state);
    } else {
        request.result = errno;
    }
    pthread_mutex_unlock(&one_at_a_time);
    return request.result;
}
