// SPDX-License-Identifier: MIT
#include "lib/client/process.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

extern char **environ;

int tuck_process_clear_stdio(int fd) {
    if (fd < 0)
        return -errno;
    if (fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int os = errno;
    (void)close(fd);
    return moved < 0 ? -os : moved;
}

// A pipe whose ends are close-on-exec and above 2. Ours does not block; that the other end shares
// nothing with it but the pipe is what makes this invisible to the helper.
static int open_pipe(bool is_ours_to_write, int *ret_ours, int *ret_theirs) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    TUCK_CLEANUP(tuck_close_fd) int reader = tuck_process_clear_stdio(ends[0]);
    TUCK_CLEANUP(tuck_close_fd) int writer = tuck_process_clear_stdio(ends[1]);
    if (reader < 0 || writer < 0)
        return reader < 0 ? reader : writer;
    if (fcntl(is_ours_to_write ? writer : reader, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    *ret_ours = is_ours_to_write ? TUCK_TAKE_FD(writer) : TUCK_TAKE_FD(reader);
    *ret_theirs = is_ours_to_write ? TUCK_TAKE_FD(reader) : TUCK_TAKE_FD(writer);
    return 0;
}

static void fini_actions(posix_spawn_file_actions_t *actions) {
    (void)posix_spawn_file_actions_destroy(actions);
}

static void fini_attributes(posix_spawnattr_t *attributes) {
    (void)posix_spawnattr_destroy(attributes);
}

// Returns 0 or an errno, as these functions do.
static int plan_descriptors(posix_spawn_file_actions_t *actions,
                            const struct tuck_process_plan *plan, int in, int out, int complaints) {
    int os = 0;
    int flags = fcntl(2, F_GETFD);
    // stderr first: what it is copied from may be 0 or 1, which are replaced next.
    if (plan->stderr_to == TUCK_CLIENT_STDERR_CAPTURE)
        os = posix_spawn_file_actions_adddup2(actions, complaints, 2);
    else if (plan->stderr_to == TUCK_CLIENT_STDERR_FD)
        os = posix_spawn_file_actions_adddup2(actions, plan->stderr_fd, 2);
    else if (plan->stderr_to == TUCK_CLIENT_STDERR_DISCARD || flags < 0 || (flags & FD_CLOEXEC))
        // Also where the host has none: the first file that the helper opens must not become it.
        os = posix_spawn_file_actions_addopen(actions, 2, "/dev/null", O_RDWR, 0);
    if (os == 0)
        os = posix_spawn_file_actions_adddup2(actions, in, 0);
    return os ? os : posix_spawn_file_actions_adddup2(actions, out, 1);
}

// What the go command's children get: nothing blocked; SIGPIPE by default. SIGCHLD too, for a host
// that ignores it would take from the helper the status of its own children.
static int plan_signals(posix_spawnattr_t *attributes, bool has_group) {
    sigset_t none, by_default;
    (void)sigemptyset(&none);
    (void)sigemptyset(&by_default);
    (void)sigaddset(&by_default, SIGPIPE);
    (void)sigaddset(&by_default, SIGCHLD);
    int os = posix_spawnattr_setsigmask(attributes, &none);
    if (os == 0)
        os = posix_spawnattr_setsigdefault(attributes, &by_default);
    if (os == 0)
        os = posix_spawnattr_setpgroup(attributes, 0);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    return os ? os
              : posix_spawnattr_setflags(
                    attributes, (short)(has_group ? flags | POSIX_SPAWN_SETPGROUP : flags));
}

static int spawn(const struct tuck_process_plan *plan, int in, int out, int complaints,
                 pid_t *ret_pid) {
    TUCK_CLEANUP(fini_actions) posix_spawn_file_actions_t actions;
    TUCK_CLEANUP(fini_attributes) posix_spawnattr_t attributes;
    int os = posix_spawn_file_actions_init(&actions);
    tuck_verify(os == 0);
    os = posix_spawnattr_init(&attributes);
    tuck_verify(os == 0);
    os = plan_descriptors(&actions, plan, in, out, complaints);
    if (os == 0)
        os = plan_signals(&attributes, plan->has_group);
    if (os == 0)
        os = posix_spawn(ret_pid, plan->path, &actions, &attributes, plan->words,
                         plan->environment ? plan->environment : environ);
    return os;
}

static int open_pidfd(pid_t pid) {
#ifdef SYS_pidfd_open
    int fd = (int)syscall(SYS_pidfd_open, pid, 0); // close-on-exec by itself
    fd = fd < 0 ? -1 : tuck_process_clear_stdio(fd);
    return fd < 0 ? -1 : fd;
#else
    (void)pid;
    return -1;
#endif
}

int tuck_process_start(const struct tuck_process_plan *plan, struct tuck_process *ret_process,
                       struct tuck_client_error *error) {
    TUCK_CLEANUP(tuck_close_fd) int to = -1, in = -1, from = -1, out = -1, ours = -1, theirs = -1;
    int status = open_pipe(true, &to, &in);
    if (status == 0)
        status = open_pipe(false, &from, &out);
    if (status == 0 && plan->stderr_to == TUCK_CLIENT_STDERR_CAPTURE)
        status = open_pipe(false, &ours, &theirs);
    if (status < 0)
        return tuck_client__fail_os(error, TUCK_CLIENT_SYSTEM, -status, "cannot make a pipe");
    pid_t pid;
    int os = spawn(plan, in, out, theirs, &pid);
    if (os) {
        char name[300];
        return tuck_client__fail_os(
            error, TUCK_CLIENT_NO_START, os, "cannot start the helper '%s'",
            tuck_client__printable(plan->words[0], strlen(plan->words[0]), name, sizeof(name)));
    }
    *ret_process = (struct tuck_process){.pid = pid,
                                         .pidfd = open_pidfd(pid),
                                         .to = TUCK_TAKE_FD(to),
                                         .from = TUCK_TAKE_FD(from),
                                         .complaints = TUCK_TAKE_FD(ours),
                                         .has_group = plan->has_group};
    return 0;
}

ssize_t tuck_process_write(struct tuck_process *process, const void *data, size_t len) {
    // A pipe has no MSG_NOSIGNAL. SIGPIPE comes to the thread that writes: it is blocked there and,
    // if this write raised it, taken back before anyone sees it. One that waited before is the
    // host's and stays.
    sigset_t pipe_only, before, waiting;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    bool was_waiting = sigismember(&before, SIGPIPE) == 1 && sigpending(&waiting) == 0 &&
                       sigismember(&waiting, SIGPIPE) == 1;
    ssize_t written;
    do
        written = write(process->to, data, len);
    while (written < 0 && errno == EINTR);
    int os = errno;
    if (written < 0 && os == EPIPE && !was_waiting) {
        static const struct timespec at_once = {0, 0};
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return written < 0 ? -os : written;
}

bool tuck_process_has_ended(struct tuck_process *process) {
    if (process->pid == 0)
        return true;
    siginfo_t info = {0};
    idtype_t type = process->pidfd >= 0 ? (idtype_t)P_PIDFD : P_PID;
    id_t id = process->pidfd >= 0 ? (id_t)process->pidfd : (id_t)process->pid;
    int status;
    do
        status = waitid(type, id, &info, WEXITED | WNOHANG);
    while (status < 0 && errno == EINTR);
    if (status == 0 && info.si_pid == 0)
        return false;
    process->pid = 0;
    if (status < 0) { // ECHILD: the host ignores SIGCHLD, or waits for any child
        process->how = TUCK_CLIENT_END_UNKNOWN;
    } else {
        process->how = info.si_code == CLD_EXITED ? TUCK_CLIENT_END_EXIT : TUCK_CLIENT_END_SIGNAL;
        process->status = info.si_status;
    }
    return true;
}

void tuck_process_signal(struct tuck_process *process, int number) {
    if (process->pid == 0)
        return;
    // The number of a group cannot be used again while its first process was not waited for.
    if (process->has_group && kill(-process->pid, number) == 0)
        return;
#ifdef SYS_pidfd_send_signal
    if (process->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, 0);
        return;
    }
#endif
    (void)kill(process->pid, number);
}

void tuck_process_fini(struct tuck_process *process) {
    tuck_close_fd(&process->to);
    tuck_close_fd(&process->from);
    tuck_close_fd(&process->complaints);
    tuck_close_fd(&process->pidfd);
}
