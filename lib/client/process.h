// SPDX-License-Identifier: MIT
/*
 * The helper as a child process with pipes. It is started without running a line of ours between
 * fork and exec (posix_spawn), signalled and waited for through a descriptor where the kernel has
 * such (pidfd), so that a number used again is never hit, and waited for exactly once, without
 * blocking. All descriptors here are close-on-exec and above 2; ours do not block. Threads: one at
 * a time.
 */
#pragma once
#include "lib/client/status.h"

#include <sys/types.h>

struct tuck_process {
    pid_t pid;      // 0 once it was waited for
    int pidfd;      // readable when it has ended; -1 where there is no such thing
    int to;         // its stdin, -1 once closed
    int from;       // its stdout, the same
    int complaints; // its stderr, if captured
    bool has_group;
    enum tuck_client_end_how how;
    int status; // exit status, or number of the signal
};

struct tuck_process_plan {
    char *const *words;
    const char *path;
    char *const *environment; // NULL: the host's
    bool has_group;
    enum tuck_client_stderr_to stderr_to;
    int stderr_fd;
};

/** On failure nothing is left of it, and *ret_process is untouched. */
TUCK_CHECKED int tuck_process_start(const struct tuck_process_plan *plan,
                                    struct tuck_process *ret_process,
                                    struct tuck_client_error *error);

/** Writes to its stdin what fits. Returns the count or -errno; never raises SIGPIPE. */
TUCK_CHECKED ssize_t tuck_process_write(struct tuck_process *process, const void *data, size_t len);

/** True once the process has ended: it was waited for, or that is not ours to do any more. */
TUCK_CHECKED bool tuck_process_has_ended(struct tuck_process *process);

/** Sends a signal, to its whole group if it has one. No-op once it was waited for. */
void tuck_process_signal(struct tuck_process *process, int number);

/** Moves a descriptor of ours above 2, so that it is in nobody's way there. Returns it or
 * -errno, closed then. */
TUCK_CHECKED int tuck_process_clear_stdio(int fd);

/** Closes all descriptors. */
void tuck_process_fini(struct tuck_process *process);
