// SPDX-License-Identifier: Apache-2.0

// See named_calls.h. With CSC_NAMED_CALLS in the environment a test program runs under a seccomp
// filter that allows only these, and traps the others: the program ends where the library made one,
// and makes it where the test did. That needs the library and the shim as shared objects, which
// distinguish callers.

#include "named_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

const named_call named_calls[] = {
    {"accept4", SYS_accept4, true},
    {"epoll_ctl", SYS_epoll_ctl, true},
#ifdef SYS_epoll_wait
    {"epoll_wait", SYS_epoll_wait, true},
#endif
    {"epoll_wait", SYS_epoll_pwait, true},
#ifdef SYS_poll
    {"poll", SYS_poll, true},
#endif
    {"poll", SYS_ppoll, true},
    {"read", SYS_read, true},
    {"recv", SYS_recvfrom, true},
    {"write", SYS_write, true},
    {"fstat", SYS_fstat, true},
    {"fstat", SYS_newfstatat, true},
    {"getsockopt", SYS_getsockopt, true},
    {"clock_gettime", SYS_clock_gettime, true},
    {"close", SYS_close, true},
    {"fcntl", SYS_fcntl, true},
    {"timerfd_settime", SYS_timerfd_settime, true},
    {"eventfd", SYS_eventfd2, true},
    {"getrlimit", SYS_prlimit64, true},
#ifdef SYS_getrlimit
    {"getrlimit", SYS_getrlimit, true},
#endif
    {"getsockname", SYS_getsockname, true},
    {"getpeername", SYS_getpeername, false},
    {"getrandom", SYS_getrandom, false},
    {"sched_yield", SYS_sched_yield, true},
    {"setsockopt", SYS_setsockopt, true},
    {"openat", SYS_openat, true},
    {"getdents64", SYS_getdents64, true},
    {"socket", SYS_socket, false},
    {"bind", SYS_bind, false},
    {"listen", SYS_listen, false},
    {"timerfd_create", SYS_timerfd_create, false},
    {"dup3", SYS_dup3, false},
    {"pidfd_open", SYS_pidfd_open, false},
    {"fstatfs", SYS_fstatfs, false},
    {"sendmsg", SYS_sendmsg, false},
    {"recvmsg", SYS_recvmsg, false},
    {"pipe2", SYS_pipe2, false},
    {"connect", SYS_connect, false},
    {"fchmod", SYS_fchmod, false},
#ifdef SYS_rename
    {"rename", SYS_rename, false},
    {"unlink", SYS_unlink, false},
#endif
    {"rename", SYS_renameat2, false},
    {"unlink", SYS_unlinkat, false},
    {"geteuid", SYS_geteuid, false},
    {"getpid", SYS_getpid, false},
    {"ioctl", SYS_ioctl, false},
    {"connect", SYS_connect, false},
    {"geteuid", SYS_geteuid, false},
    {"getcwd", SYS_getcwd, false},
    {"newfstatat", SYS_newfstatat, true},
#ifdef SYS_chmod
    {"chmod", SYS_chmod, false},
#endif
    {"chmod", SYS_fchmodat, false},
#ifdef SYS_unlink
    {"unlink", SYS_unlink, true},
#endif
    {"unlink", SYS_unlinkat, true},
    {NULL, SYS_brk, true},
    {NULL, SYS_mmap, true},
    {NULL, SYS_munmap, true},
    {NULL, SYS_futex, true},
    {NULL, SYS_exit_group, true},
};
const size_t named_calls_count = sizeof named_calls / sizeof named_calls[0];

bool named_calls_are_enforced(void) {
    const char *wanted = getenv("CSC_NAMED_CALLS");
    return wanted && *wanted != '\0';
}

#if defined(__x86_64__)

// Of threads and signals, which the library has nothing to do with.
static const int others[] = {
    SYS_clone,    SYS_clone3,  SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction,
    SYS_mprotect, SYS_madvise, SYS_exit,         SYS_rseq,           SYS_set_robust_list,
    SYS_execve,   SYS_gettid,  SYS_sigaltstack,  SYS_mremap,         SYS_restart_syscall};

// A call from within makes it past the filter.
long named_calls_make(const greg_t *arguments);
extern const char named_calls_made[];
__asm__(".text\n"
        ".globl named_calls_make\n"
        ".type named_calls_make, @function\n"
        "named_calls_make:\n"
        "    push %rbx\n"
        "    mov %rdi, %rbx\n"
        "    mov 0(%rbx), %rax\n"
        "    mov 8(%rbx), %rdi\n"
        "    mov 16(%rbx), %rsi\n"
        "    mov 24(%rbx), %rdx\n"
        "    mov 32(%rbx), %r10\n"
        "    mov 40(%rbx), %r8\n"
        "    mov 48(%rbx), %r9\n"
        "    syscall\n"
        ".globl named_calls_made\n"
        "named_calls_made:\n"
        "    pop %rbx\n"
        "    ret\n"
        ".size named_calls_make, .-named_calls_make\n");

static bool is_of(const Dl_info *info, const char *name) {
    return info->dli_fname && strstr(info->dli_fname, name);
}

// Below the C library, libevent and the shim the next caller is who made it.
static bool is_librarys(void) {
    void *frames[32];
    int count = backtrace(frames, 32);
    for (int i = 3; i < count; i++) { // this, the handler, the signal's own frame
        Dl_info info;
        if (dladdr(frames[i], &info) == 0) {
            return false;
        }
        if (is_of(&info, "libcservercore")) {
            return true;
        }
        if (!is_of(&info, "libc.so") && !is_of(&info, "libevent") &&
            !is_of(&info, "libfault_injection") && !is_of(&info, "ld-linux")) {
            return false;
        }
    }
    return false;
}

static void on_trap(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number;
    ucontext_t *interrupted = context;
    greg_t *registers = interrupted->uc_mcontext.gregs;
    if (is_librarys()) {
        char text[128];
        int length = snprintf(text, sizeof text,
                              "system call %d of the library is not named in CServerCore.h\n",
                              info->si_syscall);
        const greg_t say[] = {SYS_write, STDERR_FILENO, (greg_t)(uintptr_t)text, length, 0, 0, 0};
        named_calls_make(say);
        abort();
    }
    const greg_t arguments[] = {info->si_syscall,   registers[REG_RDI], registers[REG_RSI],
                                registers[REG_RDX], registers[REG_R10], registers[REG_R8],
                                registers[REG_R9]};
    int errnum = errno;
    registers[REG_RAX] = named_calls_make(arguments);
    errno = errnum;
}

static bool install(void) {
    enum { MOST = 256 };
    static struct sock_filter program[MOST];
    unsigned short length = 0;
    uint64_t made = (uint64_t)(uintptr_t)named_calls_made;
    const uint32_t pointer = offsetof(struct seccomp_data, instruction_pointer);
#define ADD(...) program[length++] = (struct sock_filter)__VA_ARGS__
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)made, 0, 3));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer + 4));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(made >> 32), 0, 1));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (size_t i = 0; i < named_calls_count; i++) {
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)named_calls[i].number, 0, 1));
        ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)others[i], 0, 1));
        ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
#undef ADD
    struct sock_fprog whole = {.len = length, .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) == 0;
}

static bool is_active;

// cmocka would take SIGSYS for itself.
void (*signal(int number, void (*handler)(int)))(int) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct sigaction before;
    if (number == SIGSYS && is_active) {
        return SIG_DFL;
    }
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

static __attribute__((constructor)) void allow_only_named_calls(void) {
    if (!named_calls_are_enforced()) {
        return;
    }
    void *frame;
    backtrace(&frame, 1); // loads what it needs
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL) != 0 || !install()) {
        perror("CSC_NAMED_CALLS");
        _exit(1);
    }
    is_active = true;
}

#endif
