// SPDX-License-Identifier: MIT
/*
 * Preloaded, it makes a program live TUCK_TEST_LATER seconds later by the wall clock: what was used yesterday is days old
 * then. Built and used by tests alone; see Place.later() in tests/fault/faults.py.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret_time) {
    static long later_s;
    static int is_known; // several threads may find it out at once: to the same end
    if (!__atomic_load_n(&is_known, __ATOMIC_ACQUIRE)) {
        const char *text = getenv("TUCK_TEST_LATER");
        __atomic_store_n(&later_s, text ? (long)strtoll(text, NULL, 10) : 0, __ATOMIC_RELAXED);
        __atomic_store_n(&is_known, 1, __ATOMIC_RELEASE);
    }
    int status = (int)syscall(SYS_clock_gettime, id, ret_time);
    if (status == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret_time->tv_sec += __atomic_load_n(&later_s, __ATOMIC_RELAXED);
    return status;
}
