// SPDX-License-Identifier: MIT
#include "lib/store/lease.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/io.h"
#include "lib/base/mapping.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#define FILTER_BYTES 32768U
#define FILTER_BITS  (FILTER_BYTES * 8U)
#define TAIL_MAGIC   UINT64_C(0x316c61745f6b6375)

// Behind the filter. The first release had none.
struct tail {
    uint64_t magic; // that counters were published
    uint64_t value[TUCK_COUNTER_MAX];
    uint64_t stays; // STAYS: the claims count without a lock as well
};
#define STAYS      UINT64_C(0x73796174736b6375)
#define FILE_BYTES (FILTER_BYTES + 4096U)
_Static_assert(sizeof(struct tail) <= FILE_BYTES - FILTER_BYTES, "the counters fit");

struct tuck_lease {
    int dirfd;
    int fd; // locked as long as the lease lives; -1: the directory is locked instead
    char name[25];
    struct tuck_mapping map; // of the file, allocated beforehand; none: claims everything
    int error;               // why there is no file, or 0
    bool has_dir;            /* atomic: the directory is locked: there is no map, or it broke */
};

// Words of the filter, or NULL.
static uint32_t *filter_of(struct tuck_lease *lease) {
    return lease->map.data;
}

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
    if (status == 0)
        status = tuck_mapping_open(&lease->map, lease->fd, 0, FILE_BYTES);
    if (status == 0 && is_unnamed)
        status = tuck_link_unnamed(lease->fd, lease->dirfd, lease->name);
    if (status < 0 && !is_unnamed)
        (void)unlinkat(lease->dirfd, lease->name, 0);
    return status;
}

// Collectors hold it for the time of two system calls. One that was stopped between them keeps
// nobody waiting: the next claim tries again.
static bool lock_directory(struct tuck_lease *lease) {
    if (__atomic_load_n(&lease->has_dir, __ATOMIC_RELAXED))
        return true;
    bool has_dir = flock(lease->dirfd, LOCK_SH | LOCK_NB) == 0;
    if (has_dir)
        __atomic_store_n(&lease->has_dir, true, __ATOMIC_RELAXED); // the lock itself orders
    return has_dir;
}

int tuck_lease_take(int dirfd, struct tuck_lease **ret_lease, struct tuck_error *err) {
    struct tuck_lease *lease = calloc(1, sizeof(*lease));
    if (!lease) {
        tuck_close_fd(&dirfd);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a lease");
    }
    lease->dirfd = dirfd;
    tuck_random_name(lease->name);
    int status = make_file(lease);
    if (status < 0) {
        lease->error = -status;
        tuck_close_fd(&lease->fd);
        tuck_mapping_close(&lease->map);
        if (!lock_directory(lease) && errno != EWOULDBLOCK) {
            int failed = errno;
            tuck_lease_release(lease);
            return tuck_fail_os(err, failed, "take a lease");
        }
    }
    *ret_lease = lease;
    return 0;
}

int tuck_lease_error(const struct tuck_lease *lease) {
    return lease ? lease->error : 0;
}

void tuck_lease_claim(struct tuck_lease *lease, const struct tuck_output_id *output) {
    if (!lease)
        return;
    uint32_t *filter = filter_of(lease);
    for (int which = 0; filter && which < 2; which++) {
        struct bit bit = bit_of(output, which);
        // Pairs with the fence in tuck_object_remove(): claim, then look; take the name away, then
        // look at the claims.
        if (!(__atomic_load_n(&filter[bit.word], __ATOMIC_RELAXED) & bit.mask))
            __atomic_fetch_or(&filter[bit.word], bit.mask, __ATOMIC_SEQ_CST);
    }
    // What was claimed before is lost with a page of the map.
    if (!filter || tuck_mapping_is_broken(&lease->map))
        (void)lock_directory(lease);
}

static struct tail *tail_of(struct tuck_lease *lease) {
    return (struct tail *)(void *)((uint8_t *)lease->map.data + FILTER_BYTES);
}

void tuck_lease_publish(struct tuck_lease *lease, const struct tuck_counters *counters) {
    if (!lease || !lease->map.data)
        return;
    struct tail *tail = tail_of(lease);
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        __atomic_store_n(&tail->value[i], __atomic_load_n(&counters->value[i], __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED); // whoever reads them may see some older than others
    __atomic_store_n(&tail->magic, TAIL_MAGIC, __ATOMIC_RELAXED);
}

static void let_go(struct tuck_lease *lease) {
    tuck_mapping_close(&lease->map);
    tuck_close_fd(&lease->fd);
    tuck_close_fd(&lease->dirfd);
    free(lease);
}

void tuck_lease_release(struct tuck_lease *lease) {
    if (!lease)
        return;
    if (lease->map.data)
        (void)unlinkat(lease->dirfd, lease->name, 0);
    let_go(lease);
}

void tuck_lease_abandon(struct tuck_lease *lease) {
    if (lease)
        let_go(lease);
}

void tuck_lease_leave(struct tuck_lease *lease) {
    if (lease && lease->map.data)
        __atomic_store_n(&tail_of(lease)->stays, STAYS, __ATOMIC_SEQ_CST); // before the lock goes
    tuck_lease_abandon(lease);
}

// --- The collector's side ------------------------------------------------------------------------

struct tuck_leases {
    int dirfd;
    DIR *dir;

    // As they were read last
    uint32_t (*filter)[FILTER_BYTES / sizeof(uint32_t)];
    size_t filter_count, filter_room;
    bool claims_all; // something cannot be read, or somebody claims everything
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

enum held { HELD, NOT_HELD, UNKNOWN };

// Whether the claims of a file count. Its descriptor is the caller's.
static enum held look_at(int dirfd, const char *name, int *ret_fd) {
    uint64_t stays = 0;
    *ret_fd = open_lease(dirfd, name, O_RDONLY);
    if (*ret_fd < 0)
        return errno == ENOENT ? NOT_HELD : UNKNOWN;
    if (flock(*ret_fd, LOCK_SH | LOCK_NB) < 0)
        return HELD;
    ssize_t n = tuck_pread_full(*ret_fd, &stays, sizeof(stays),
                                FILTER_BYTES + offsetof(struct tail, stays));
    return n == (ssize_t)sizeof(stays) && stays == STAYS ? HELD : NOT_HELD; // its helper died
}

static bool file_claims(int dirfd, const char *name, const struct tuck_output_id *output) {
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    enum held held = look_at(dirfd, name, &fd);
    if (held != HELD)
        return held == UNKNOWN; // it cannot be read: take it as a claim
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

// What is published is zeroed before it is added: a reaper that dies in between loses it, instead
// of counting it twice.
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

// A helper that could not make its file holds the directory.
static bool is_directory_held(struct tuck_leases *leases) {
    if (flock(leases->dirfd, LOCK_EX | LOCK_NB) < 0)
        return true;
    (void)flock(leases->dirfd, LOCK_UN);
    return false;
}

bool tuck_leases_claim(void *arg, const struct tuck_output_id *output) {
    struct tuck_leases *leases = arg;
    if (is_directory_held(leases))
        return true;
    rewinddir(leases->dir);
    for (struct dirent *found; (found = readdir(leases->dir));)
        if (found->d_name[0] != '.' && file_claims(leases->dirfd, found->d_name, output))
            return true;
    return false;
}

// One more filter. False without memory.
static bool make_room(struct tuck_leases *leases) {
    if (leases->filter_count < leases->filter_room)
        return true;
    size_t room = leases->filter_room ? 2 * leases->filter_room : 8;
    void *grown = realloc(leases->filter, room * sizeof(*leases->filter));
    if (!grown)
        return false;
    leases->filter = grown;
    leases->filter_room = room;
    return true;
}

int tuck_leases_read(struct tuck_leases *leases, struct tuck_error *err) {
    leases->filter_count = 0;
    leases->claims_all = is_directory_held(leases);
    rewinddir(leases->dir);
    for (struct dirent *found; (found = readdir(leases->dir));) {
        TUCK_CLEANUP(tuck_close_fd) int fd = -1;
        enum held held =
            found->d_name[0] == '.' ? NOT_HELD : look_at(leases->dirfd, found->d_name, &fd);
        if (held == HELD && !make_room(leases))
            return tuck_fail(err, TUCK_ENOMEM, "no memory to read the leases");
        leases->claims_all |=
            held == UNKNOWN ||
            (held == HELD && tuck_pread_full(fd, leases->filter[leases->filter_count], FILTER_BYTES,
                                             0) != (ssize_t)FILTER_BYTES);
        leases->filter_count += held == HELD;
    }
    return 0;
}

bool tuck_leases_claimed(const struct tuck_leases *leases, const struct tuck_output_id *output) {
    struct bit one = bit_of(output, 0), other = bit_of(output, 1);
    bool is_claimed = leases->claims_all;
    for (size_t i = 0; i < leases->filter_count && !is_claimed; i++)
        is_claimed =
            leases->filter[i][one.word] & one.mask && leases->filter[i][other.word] & other.mask;
    return is_claimed;
}

void tuck_leases_close(struct tuck_leases *leases) {
    if (!leases)
        return;
    free(leases->filter);
    (void)closedir(leases->dir);
    tuck_close_fd(&leases->dirfd);
    free(leases);
}

// --- The turn ------------------------------------------------------------------------------------

#define TURN_NS (20 * TUCK_NS_PER_MS) // others hold it that long when they only ask

int tuck_turn_take(int dirfd, int *ret_turn, struct tuck_error *err) {
    TUCK_CLEANUP(tuck_close_fd) int turn = dirfd;
    if (faccessat(turn, ".", W_OK, 0) < 0)
        return tuck_fail_os(err, errno, "remove anything from the drive");
    uint64_t deadline_ns = tuck_clock_mono_ns() + TURN_NS;
    while (flock(turn, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return tuck_fail_os(err, errno, "take the turn to collect");
        if (tuck_clock_mono_ns() >= deadline_ns)
            return TUCK_TURN_TAKEN;
        struct timespec pause = {.tv_nsec = 1000000}; // no event tells when who only asks has gone
        (void)nanosleep(&pause, NULL);
    }
    *ret_turn = TUCK_TAKE_FD(turn);
    return 0;
}

bool tuck_turn_is_taken(int dirfd) {
    TUCK_CLEANUP(tuck_close_fd) int turn = dirfd;
    return flock(turn, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}
