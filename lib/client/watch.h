// SPDX-License-Identifier: MIT
/*
 * What a client waits for, behind one descriptor that a host can poll: pipes, the helper's end, a
 * deadline, a call from another thread. This file pair is the only one that knows epoll; a system
 * without it needs its own. Threads: one at a time, except tuck_watch_wake().
 */
#pragma once
#include "lib/base/prelude.h"

enum tuck_watched {                 // bits of what tuck_watch_wait() returns
    TUCK_WATCH_OUT = 1 << 0,        // the helper's stdin has room, or is broken
    TUCK_WATCH_IN = 1 << 1,         // its stdout has something, or is at its end
    TUCK_WATCH_COMPLAINTS = 1 << 2, // its stderr
    TUCK_WATCH_EXIT = 1 << 3,       // its pidfd
    TUCK_WATCH_TIMER = 1 << 4,
    TUCK_WATCH_WAKE = 1 << 5,
};

struct tuck_watch {
    int fd;
    int timer_fd, wake_fd;
    uint64_t armed_ns; // when the timer goes off; UINT64_MAX if it does not
};

/** 0, or -errno with nothing left. */
TUCK_CHECKED int tuck_watch_init(struct tuck_watch *watch);
void tuck_watch_fini(struct tuck_watch *watch);

/** Watches fd from now on. OUT is told once each time that room comes to be, the others while
 * they last. 0, or -errno. */
TUCK_CHECKED int tuck_watch_add(struct tuck_watch *watch, int fd, enum tuck_watched what);
void tuck_watch_remove(struct tuck_watch *watch, int fd);

/** The timer goes off at that time (monotonic ns) or earlier. */
void tuck_watch_set_timer(struct tuck_watch *watch, uint64_t deadline_ns);

/** Ends a wait, present or next. Any thread. */
void tuck_watch_wake(struct tuck_watch *watch);

/** Waits at most limit_ms, -1 for ever, 0 not at all. Returns bits of enum tuck_watched; 0 also
 * when a signal came. */
unsigned tuck_watch_wait(struct tuck_watch *watch, int limit_ms);
