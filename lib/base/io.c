// SPDX-License-Identifier: MIT
#include "lib/base/io.h"
#include "lib/base/clock.h"
#include "lib/base/id.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/syscall.h>
#ifdef __linux__
#include <linux/openat2.h>
#endif

void tuck_close_fd(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void tuck_free(void *pointer_to_pointer) {
    void **pointer = pointer_to_pointer;
    free(*pointer);
    *pointer = NULL;
}

int tuck_write_all(int fd, const void *data, size_t len, const volatile int *stop) {
    const uint8_t *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EAGAIN) {
            // In slices: the signal that sets *stop may come just before the wait, or to another thread.
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            n = poll(&wait, 1, stop ? 100 : -1) < 0 && errno != EINTR ? -1 : 0;
            if (n == 0 && stop && *stop)
                return -EINTR;
        } else if (n < 0 && errno == EINTR) {
            n = 0;
        }
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
        if (len > 0 && stop && *stop) // a pipe that took a part is full
            return -EINTR;
    }
    return 0;
}

ssize_t tuck_pread_full(int fd, void *ret_data, size_t len, uint64_t offset) {
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(fd, (uint8_t *)ret_data + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int tuck_pwrite_all(int fd, const void *data, size_t len, uint64_t offset) {
    size_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(fd, (const uint8_t *)data + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

// Without openat2: walk the components, refusing links at each.
static int open_walking(int dirfd, const char *path, int flags, mode_t mode) {
    TUCK_CLEANUP(tuck_close_fd) int held = -1;
    int at = dirfd;
    for (;;) {
        const char *slash = strchr(path, '/');
        if (!slash) {
            int fd = openat(at, path, flags | O_NOFOLLOW | O_CLOEXEC, mode);
            return fd < 0 ? -errno : fd;
        }
        char part[256];
        size_t len = (size_t)(slash - path);
        if (len >= sizeof(part))
            return -ENAMETOOLONG;
        memcpy(part, path, len);
        part[len] = '\0';
        int next = openat(at, part, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
        if (next < 0)
            return -errno;
        tuck_close_fd(&held);
        at = held = next;
        path = slash + 1;
    }
}

int tuck_open_beneath(int dirfd, const char *path, int flags, mode_t mode) {
#ifdef __linux__
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
    if (fd >= 0)
        return (int)fd;
    // EPERM and ENOSYS: older kernels, and sandboxes that do not know the call.
    if (errno != ENOSYS && errno != EPERM)
        return -errno;
#endif
    return open_walking(dirfd, path, flags, mode);
}

int tuck_mkdir_parents(const char *path) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return -errno;
    TUCK_CLEANUP(tuck_free) char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    for (char *at = copy + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return -errno;
        *at = '/';
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

int tuck_open_unnamed(int dirfd, mode_t mode) {
#ifdef O_TMPFILE
    int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd >= 0)
        return fd;
    return errno == EISDIR || errno == EINVAL ? -EOPNOTSUPP : -errno;
#else
    (void)dirfd, (void)mode;
    return -EOPNOTSUPP;
#endif
}

int tuck_link_unnamed(int fd, int dirfd, const char *name) {
#ifdef __linux__
    // By descriptor where the process may (it needs CAP_DAC_READ_SEARCH), else through /proc.
    if (linkat(fd, "", dirfd, name, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOENT)
        return -errno;
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
#else
    (void)fd, (void)dirfd, (void)name;
    return -EOPNOTSUPP;
#endif
}

int tuck_name_file(int dirfd, const char *temp, int to_dirfd, const char *name) {
    if (linkat(dirfd, temp, to_dirfd, name, 0) == 0) {
        (void)unlinkat(dirfd, temp, 0);
        return 0;
    }
    if (errno == EEXIST || errno == ENOENT)
        return -errno;
        // No hard links here. Both ways below move a whole file, so that no reader ever sees a
        // part.
#ifdef RENAME_NOREPLACE
    if (renameat2(dirfd, temp, to_dirfd, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST || errno == ENOENT)
        return -errno;
#endif
    return renameat(dirfd, temp, to_dirfd, name) == 0 ? 0 : -errno;
}

// The holder needs little time; there is no event to wait for that a dead or stopped one could not
// withhold. False when the deadline has passed.
static bool pause_before(uint64_t deadline_ns, int round) {
    struct timespec pause = {.tv_nsec = round < 10 ? 50000 : 1000000};
    if (tuck_clock_mono_ns() >= deadline_ns)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

int tuck_lock_file(int fd, uint64_t deadline_ns) {
    for (int round = 0;; round++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (!pause_before(deadline_ns, round))
            return -ETIMEDOUT;
    }
}

int tuck_lock_range(int fd, uint64_t offset, uint64_t len, uint64_t deadline_ns) {
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = (off_t)len};
    for (int round = 0;; round++) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return -errno;
        if (!pause_before(deadline_ns, round))
            return -ETIMEDOUT;
    }
}

void tuck_unlock_range(int fd, uint64_t offset, uint64_t len) {
    struct flock lock = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = (off_t)len};
    (void)fcntl(fd, F_OFD_SETLK, &lock);
}

uint64_t tuck_mount_id(int fd) {
#ifdef STATX_MNT_ID
    const unsigned unique = 0x4000; // STATX_MNT_ID_UNIQUE, which older headers lack
    struct statx statx_of;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID | unique, &statx_of) == 0)
        return statx_of.stx_mnt_id;
#endif
    (void)fd;
    return 0;
}

void tuck_random(void *ret_data, size_t len) {
    tuck_verify(getentropy(ret_data, len) == 0);
}

void tuck_random_name(char ret_name[static 25]) {
    uint8_t bytes[12];
    tuck_random(bytes, sizeof(bytes));
    tuck_hex(ret_name, bytes, sizeof(bytes));
    ret_name[24] = '\0';
}
