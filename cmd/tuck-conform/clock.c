// SPDX-License-Identifier: MIT
/*
 * Loaded into a helper before libc: its wall clock begins at CONFORM_NOW (seconds) and runs on from
 * there. Helpers that do not ask libc for the time do not notice. Built as a library of its own and
 * embedded in tuck-conform.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

SHOWN int clock_gettime(clockid_t id, struct timespec *now);
SHOWN time_t time(time_t *ret);
SHOWN int gettimeofday(struct timeval *restrict now, void *restrict zone);

static void shift(struct timespec *now) {
    static time_t first;
    const char *text = getenv("CONFORM_NOW");
    if (!text)
        return;
    if (!first)
        first = now->tv_sec;
    now->tv_sec = (time_t)strtoll(text, NULL, 10) + now->tv_sec - first;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int status = (int)syscall(SYS_clock_gettime, id, now);
    if (status == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        shift(now);
    return status;
}

time_t time(time_t *ret) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}
