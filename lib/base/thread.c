// SPDX-License-Identifier: MIT
#include "lib/base/thread.h"
#include "lib/base/clock.h"

#include <errno.h>
#include <signal.h>

#ifndef NDEBUG
static _Thread_local unsigned held_ranks; // one bit per rank

static void note_taken(enum tuck_lock_rank rank) {
    tuck_verify(held_ranks >> rank == 0); // nothing of this rank or an inner one is held
    held_ranks |= 1U << rank;
}

static void note_released(enum tuck_lock_rank rank) {
    held_ranks &= ~(1U << rank);
}
#else
static void note_taken(enum tuck_lock_rank rank) {
    (void)rank;
}

static void note_released(enum tuck_lock_rank rank) {
    (void)rank;
}
#endif

void tuck_mutex_init(struct tuck_mutex *mutex, enum tuck_lock_rank rank) {
    tuck_verify(pthread_mutex_init(&mutex->mutex, NULL) == 0);
    mutex->rank = rank;
}

void tuck_mutex_fini(struct tuck_mutex *mutex) {
    (void)pthread_mutex_destroy(&mutex->mutex);
}

void tuck_lock(struct tuck_mutex *mutex) {
    note_taken(mutex->rank);
    tuck_verify(pthread_mutex_lock(&mutex->mutex) == 0);
}

void tuck_unlock(struct tuck_mutex *mutex) {
    tuck_verify(pthread_mutex_unlock(&mutex->mutex) == 0);
    note_released(mutex->rank);
}

void tuck_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    tuck_verify(pthread_condattr_init(&attributes) == 0);
    tuck_verify(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    tuck_verify(pthread_cond_init(cond, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
}

bool tuck_cond_wait_until(pthread_cond_t *cond, struct tuck_mutex *mutex, uint64_t deadline_ns) {
    uint64_t kernel_ns = tuck_clock_kernel_ns(deadline_ns);
    struct timespec until = {.tv_sec = (time_t)(kernel_ns / TUCK_NS_PER_S),
                             .tv_nsec = (long)(kernel_ns % TUCK_NS_PER_S)};
    note_released(mutex->rank);
    int status = pthread_cond_timedwait(cond, &mutex->mutex, &until);
    note_taken(mutex->rank);
    return status != ETIMEDOUT;
}

void tuck_cond_wait(pthread_cond_t *cond, struct tuck_mutex *mutex) {
    note_released(mutex->rank);
    tuck_verify(pthread_cond_wait(cond, &mutex->mutex) == 0);
    note_taken(mutex->rank);
}

int tuck_thread_start(pthread_t *ret_thread, void *(*body)(void *), void *arg) {
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); // comes to the thread that caused it, or ends the process: mapping.h
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(ret_thread, NULL, body, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -status;
}
