// SPDX-License-Identifier: MIT
/*
 * Mutexes with ranks. The table below is the order in which they may be taken, outer ones first;
 * debug builds abort on any other order. No lock is held across file I/O, a callback or a wait
 * other than its own condition.
 */
#pragma once
#include "lib/base/prelude.h"
#include <pthread.h>

enum tuck_lock_rank {
    TUCK_RANK_SERVE = 1, // serve: slow queue
    TUCK_RANK_CACHE,     // cache: flusher's orders
    TUCK_RANK_LEASE,     // cache: the lease of a drive
    TUCK_RANK_SET,       // store: which drives are open, and what is known of the set
    TUCK_RANK_LRU,       // lru: the caches of one group
    TUCK_RANK_INDEX,     // index: super page, spools
    TUCK_RANK_BRIEF,     // index: mappings that are made
    TUCK_RANK_TABLE,     // table: its items; never while a loader or a callback runs
    TUCK_RANK_OUTPUT,    // serve: answers waiting to be written
    TUCK_RANK_TRACE,     // serve: the recorded conversation
    TUCK_RANK_CLIENT,    // client: submitted requests, who drives, who waits
    TUCK_RANK_TAIL,      // client: the end of the helper's stderr
};

struct tuck_mutex {
    pthread_mutex_t mutex;
    enum tuck_lock_rank rank; /* const after init */
};

void tuck_mutex_init(struct tuck_mutex *mutex, enum tuck_lock_rank rank);
void tuck_mutex_fini(struct tuck_mutex *mutex);
void tuck_lock(struct tuck_mutex *mutex);
void tuck_unlock(struct tuck_mutex *mutex);

/** A condition that waits on the monotonic clock. */
void tuck_cond_init(pthread_cond_t *cond);

/** Waits until signalled or the deadline (monotonic ns) has passed; false when it has. Spurious
 * wake-ups happen. */
bool tuck_cond_wait_until(pthread_cond_t *cond, struct tuck_mutex *mutex, uint64_t deadline_ns);
void tuck_cond_wait(pthread_cond_t *cond, struct tuck_mutex *mutex);

/** Starts a thread that gets no signals but those that it causes, so that they interrupt the main
 * thread's read. 0, or -errno. */
TUCK_CHECKED int tuck_thread_start(pthread_t *ret_thread, void *(*body)(void *), void *arg);
