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
        status = -posix_fallocate(lease->fd, 0, FILTER_BYTES);
    if (status == 0) {
        void *map = mmap(NULL, FILTER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, lease->fd, 0);
        if (map == MAP_FAILED)
            status = -errno;
        else
            lease->filter = map;
        // Once in memory it stays: a drive that fails later must not fault it. Where locking is not allowed, that is rare.
        if (lease->filter)
            (void)!mlock(lease->filter, FILTER_BYTES);
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
            (void)munmap(lease->filter, FILTER_BYTES);
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

void tuck_lease_release(struct tuck_lease *lease) {
    if (!lease)
        return;
    if (lease->filter) {
        (void)unlinkat(lease->dirfd, lease->name, 0);
        (void)munmap(lease->filter, FILTER_BYTES);
    }
    tuck_close_fd(&lease->fd);
    tuck_close_fd(&lease->dirfd);
    free(lease);
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

static bool file_claims(int dirfd, const char *name, const struct tuck_output_id *output) {
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT;              // it cannot be read: take it as a claim
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) { // its helper died
        (void)unlinkat(dirfd, name, 0);
        return false;
    }
    for (int which = 0; which < 2; which++) {
        struct bit bit = bit_of(output, which);
        uint32_t word = 0;
        ssize_t n = tuck_pread_full(fd, &word, sizeof(word), bit.word * sizeof(word));
        if (n == (ssize_t)sizeof(word) && !(word & bit.mask))
            return false;
    }
    return true;
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
