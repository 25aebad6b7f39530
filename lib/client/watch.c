// SPDX-License-Identifier: MIT
#include "lib/client/watch.h"
#include "lib/base/io.h"
#include "lib/client/process.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

int tuck_watch_init(struct tuck_watch *watch) {
    TUCK_CLEANUP(tuck_close_fd)
    int fd = tuck_process_clear_stdio(epoll_create1(EPOLL_CLOEXEC));
    if (fd < 0)
        return fd;
    TUCK_CLEANUP(tuck_close_fd)
    int timer =
        tuck_process_clear_stdio(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (timer < 0)
        return timer;
    TUCK_CLEANUP(tuck_close_fd)
    int wake = tuck_process_clear_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (wake < 0)
        return wake;
    struct tuck_watch made = {.fd = fd, .timer_fd = timer, .wake_fd = wake, .armed_ns = UINT64_MAX};
    int status = tuck_watch_add(&made, timer, TUCK_WATCH_TIMER);
    if (status == 0)
        status = tuck_watch_add(&made, wake, TUCK_WATCH_WAKE);
    if (status < 0)
        return status;
    *watch = made;
    fd = timer = wake = -1;
    return 0;
}

void tuck_watch_fini(struct tuck_watch *watch) {
    tuck_close_fd(&watch->timer_fd);
    tuck_close_fd(&watch->wake_fd);
    tuck_close_fd(&watch->fd);
}

int tuck_watch_add(struct tuck_watch *watch, int fd, enum tuck_watched what) {
    // Timer and wake-ups are told once, so that nobody has to read them.
    bool is_once = what == TUCK_WATCH_OUT || what == TUCK_WATCH_TIMER || what == TUCK_WATCH_WAKE;
    struct epoll_event event = {.events = (what == TUCK_WATCH_OUT ? EPOLLOUT : EPOLLIN) |
                                          (is_once ? EPOLLET : 0),
                                .data = {.u32 = what}};
    return epoll_ctl(watch->fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void tuck_watch_remove(struct tuck_watch *watch, int fd) {
    (void)epoll_ctl(watch->fd, EPOLL_CTL_DEL, fd, NULL);
}

void tuck_watch_set_timer(struct tuck_watch *watch, uint64_t deadline_ns) {
    if (deadline_ns >= watch->armed_ns) // it goes off, and then is set anew
        return;
    // A time of 0 would mean never.
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(deadline_ns / TUCK_NS_PER_S),
                     .tv_nsec = (long)(deadline_ns % TUCK_NS_PER_S) + (deadline_ns == 0)}};
    if (timerfd_settime(watch->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        watch->armed_ns = deadline_ns;
}

void tuck_watch_wake(struct tuck_watch *watch) {
    static const uint64_t one = 1;
    (void)!write(watch->wake_fd, &one, sizeof(one)); // fails only where it is awake 2^64 times over
}

unsigned tuck_watch_wait(struct tuck_watch *watch, int limit_ms) {
    struct epoll_event events[8];
    unsigned bits = 0;
    int count = epoll_wait(watch->fd, events, TUCK_ARRAY_LEN(events), limit_ms);
    for (int i = 0; i < count; i++)
        bits |= events[i].data.u32;
    if (bits & TUCK_WATCH_TIMER)
        watch->armed_ns = UINT64_MAX;
    return bits;
}
