// SPDX-License-Identifier: MIT
#include "lib/store/lease.h"
#include "lib/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>

#define FILTER_BYTES 32768U
#define FILTER_BITS  (FILTER_BYTES * 8U)
#define TAIL_MAGIC   UINT64_C(0x316c61745f6b6375)

// Behind the filter. The first release had none.
struct tail {
    uint64_t magic;
    uint64_t value[TUCK_COUNTER_MAX];
};
#define FILE_BYTES (FILTER_BYTES + 4096U)
_Static_assert(sizeof(struct tail) <= FILE_BYTES - FILTER_BYTES, "the counters fit");

struct tuck_lease {
    int dirfd;
    int fd; // locked as long as the lease lives; -1: the directory is locked instead
    char name[25];
    uint32_t *filter; // mapped and allocated beforehand, so that writing to it cannot fail; NULL:
                      // claims everything
};

struct bit {
    size_t word;
    uint32_t mask;
};

// Two bits for each id, taken from the id itself: it is a hash.
static struct bit bit_of(const struct tuck_output_id *output, int which) {
    uint32_t h;
    memcpy(&h, output->bytes + 4 * which, sizeof(h));
    h %= FILTER_BITS;
    return (struct bit){h / 32, 1U << (h % 32)};
}

// Makes the file complete and locked before it gets its name. 0 or -errno.
static int make_file(struct tuck_lease *lease) {
    bool is_unnamed = true;
    lease->fd = tuck_open_unnamed(lease->dirfd, 0600);
    if (lease->fd == -EOPNOTSUPP) {
        is_unnamed = false;
        lease->fd = openat(lease->dirfd, lease->name,
                           O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (lease->fd < 0)
            lease->fd = -errno;
    }
    int status = lease->fd < 0 ? lease->fd : 0;
    if (status == 0 && flock(lease->fd, LOCK_EX | LOCK_NB) < 0)
        status = -errno;
    struct stat stat;
    if (status == 0 && !is_unnamed && (fstat(lease->fd, &stat) < 0 || stat.st_nlink == 0))
        status = -EAGAIN; // a collector came before the lock and took it for a dead helper's
    if (status == 0)
        status = -posix_fallocate(lease->fd, 0, FILE_BYTES);
    if (status == 0) {
        void *map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, lease->fd, 0);
        if (map == MAP_FAILED)
            status = -errno;
        else
            lease->filter = map;
        // Once in memory it stays: a drive that fails later must not fault it. Where locking is not allowed, that is rare.
        if (lease->filter)
            (void)!mlock(lease->filter, FILE_BYTES);
    }
    if (status == 0 && is_unnamed)
        status = tuck_link_unnamed(lease->fd, lease->dirfd, lease->name);
    if (status < 0 && !is_unnamed)
        (void)unlinkat(lease->dirfd, lease->name, 0);
    return status;
}

int tuck_lease_take(int dirfd, struct tuck_lease **ret_lease, struct tuck_error *err) {
    struct tuck_lease *lease = calloc(1, sizeof(*lease));
    if (!lease) {
        tuck_close_fd(&dirfd);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a lease");
    }
    lease->dirfd = dirfd;
    tuck_random_name(lease->name);
    if (make_file(lease) < 0) {
        tuck_close_fd(&lease->fd);
        if (lease->filter)
            (void)munmap(lease->filter, FILE_BYTES);
        lease->filter = NULL;
        if (flock(lease->dirfd, LOCK_SH) <
            0) { // collectors hold it for the time of two system calls
            int failed = errno;
            tuck_lease_release(lease);
            return tuck_fail_os(err, failed, "take a lease");
        }
    }
    *ret_lease = lease;
    return 0;
}

void tuck_lease_claim(struct tuck_lease *lease, const struct tuck_output_id *output) {
    if (!lease || !lease->filter)
        return;
    for (int which = 0; which < 2; which++) {
        struct bit bit = bit_of(output, which);
        // Pairs with the fence in tuck_drive_remove(): claim, then look; take the name away, then
        // look at the claims.
        if (!(__atomic_load_n(&lease->filter[bit.word], __ATOMIC_RELAXED) & bit.mask))
            __atomic_fetch_or(&lease->filter[bit.word], bit.mask, __ATOMIC_SEQ_CST);
    }
}

static struct tail *tail_of(struct tuck_lease *lease) {
    return (struct tail *)(void *)((uint8_t *)lease->filter + FILTER_BYTES);
}

void tuck_lease_publish(struct tuck_lease *lease, const struct tuck_counters *counters) {
    if (!lease || !lease->filter)
        return;
    struct tail *tail = tail_of(lease);
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        __atomic_store_n(&tail->value[i], __atomic_load_n(&counters->value[i], __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED); // whoever reads them may see some older than others
    tail->magic = TAIL_MAGIC;
}

static void let_go(struct tuck_lease *lease) {
    if (lease->filter)
        (void)munmap(lease->filter, FILE_BYTES);
    tuck_close_fd(&lease->fd);
    tuck_close_fd(&lease->dirfd);
    free(lease);
}

void tuck_lease_release(struct tuck_lease *lease) {
    if (!lease)
        return;
    if (lease->filter)
        (void)unlinkat(lease->dirfd, lease->name, 0);
    let_go(lease);
}

void tuck_lease_abandon(struct tuck_lease *lease) {
    if (lease)
        let_go(lease);
}

// --- The collector's side ------------------------------------------------------------------------

struct tuck_leases {
    int dirfd;
    DIR *dir;
};

int tuck_leases_open(int dirfd, struct tuck_leases **ret_leases, struct tuck_error *err) {
    struct tuck_leases *leases = calloc(1, sizeof(*leases));
    int copy = leases ? fcntl(dirfd, F_DUPFD_CLOEXEC, 0) : -1;
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        int failed = errno;
        tuck_close_fd(&copy);
        tuck_close_fd(&dirfd);
        free(leases);
        return tuck_fail_os(err, failed, "read the leases");
    }
    leases->dirfd = dirfd;
    leases->dir = dir;
    *ret_leases = leases;
    return 0;
}

static int open_lease(int dirfd, const char *name, int how) {
    return openat(dirfd, name, how | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static bool file_claims(int dirfd, const char *name, const struct tuck_output_id *output) {
    TUCK_CLEANUP(tuck_close_fd) int fd = open_lease(dirfd, name, O_RDONLY);
    if (fd < 0)
        return errno != ENOENT; // it cannot be read: take it as a claim
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return false; // its helper died
    for (int which = 0; which < 2; which++) {
        struct bit bit = bit_of(output, which);
        uint32_t word = 0;
        ssize_t n = tuck_pread_full(fd, &word, sizeof(word), bit.word * sizeof(word));
        if (n == (ssize_t)sizeof(word) && !(word & bit.mask))
            return false;
    }
    return true;
}

// False if the file has none: it is of the first release, or nothing was published.
static bool read_tail(int fd, struct tuck_counters *ret_counters) {
    struct tail tail;
    if (tuck_pread_full(fd, &tail, sizeof(tail), FILTER_BYTES) != (ssize_t)sizeof(tail) ||
        tail.magic != TAIL_MAGIC)
        return false;
    memcpy(ret_counters->value, tail.value, sizeof(tail.value));
    return true;
}

void tuck_leases_count(struct tuck_leases *leases, struct tuck_counters *sums) {
    rewinddir(leases->dir);
    for (struct dirent *found; (found = readdir(leases->dir));) {
        struct tuck_counters counters;
        TUCK_CLEANUP(tuck_close_fd)
        int fd = found->d_name[0] == '.' ? -1 : open_lease(leases->dirfd, found->d_name, O_RDONLY);
        bool has_tail = fd >= 0 && read_tail(fd, &counters);
        for (size_t i = 0; has_tail && i < TUCK_COUNTER_MAX; i++)
            sums->value[i] += counters.value[i];
    }
}

// What is published is zeroed before it is added: a reaper that dies in between loses it, instead of counting it twice.
void tuck_leases_reap(struct tuck_leases *leases,
                      bool (*add)(void *arg, const struct tuck_counters *counters), void *arg) {
    static const struct tail zeros;
    rewinddir(leases->dir);
    for (struct dirent *found; (found = readdir(leases->dir));) {
        struct tuck_counters counters;
        TUCK_CLEANUP(tuck_close_fd)
        int fd = found->d_name[0] == '.' ? -1 : open_lease(leases->dirfd, found->d_name, O_RDWR);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
            continue; // its helper runs
        struct tail tail = {.magic = TAIL_MAGIC};
        bool has_tail = read_tail(fd, &counters);
        if (has_tail && tuck_pwrite_all(fd, &zeros, sizeof(zeros), FILTER_BYTES) < 0)
            continue;
        if (!has_tail || add(arg, &counters)) {
            (void)unlinkat(leases->dirfd, found->d_name, 0);
        } else { // it could not be added now: as it was
            memcpy(tail.value, counters.value, sizeof(tail.value));
            (void)!tuck_pwrite_all(fd, &tail, sizeof(tail), FILTER_BYTES);
        }
    }
}

bool tuck_leases_claim(void *arg, const struct tuck_output_id *output) {
    struct tuck_leases *leases = arg;
    // A helper that could not make its file holds the directory.
    if (flock(leases->dirfd, LOCK_EX | LOCK_NB) < 0)
        return true;
    (void)flock(leases->dirfd, LOCK_UN);
    rewinddir(leases->dir);
    for (struct dirent *found; (found = readdir(leases->dir));)
        if (found->d_name[0] != '.' && file_claims(leases->dirfd, found->d_name, output))
            return true;
    return false;
}

void tuck_leases_close(struct tuck_leases *leases) {
    if (!leases)
        return;
    (void)closedir(leases->dir);
    tuck_close_fd(&leases->dirfd);
    free(leases);
}
