// SPDX-License-Identifier: MIT
#include "lib/store/object.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "lib/store/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#define BLOCK             4096U // what file systems allocate at least, nearly everywhere
#define QUARANTINED       32    // damaged objects that are kept for a look, and how much they may
#define QUARANTINED_BYTES (UINT64_C(64) << 20) // take together: they are beyond the bound

// --- Looking at objects --------------------------------------------------------------------------

// "objects/ab/cdef…" with its terminator: what follows the root in a path.
void tuck_store__object_path(const struct tuck_output_id *output,
                             char ret_path[static TUCK_OBJECT_PATH_TAIL]) {
    memcpy(ret_path, "objects/", 8);
    tuck_hex(ret_path + 8, output->bytes, 1);
    ret_path[10] = '/';
    tuck_hex(ret_path + 11, output->bytes + 1, TUCK_ID_BYTES - 1);
    ret_path[11 + OBJECT_NAME] = '\0';
}

void tuck_object_path(const struct tuck_drive *drive, const struct tuck_output_id *output,
                      char *ret_path) {
    size_t len = strlen(drive->shown);
    memcpy(ret_path, drive->shown, len);
    ret_path[len] = '/';
    tuck_store__object_path(output, ret_path + len + 1);
}

uint32_t tuck_store__tag_of(const struct stat *stat) {
    uint64_t h = (uint64_t)stat->st_ino * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (h >> 29) ^ (uint64_t)stat->st_size) * UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 32;
    h += (uint64_t)stat->st_ctim.tv_sec * TUCK_NS_PER_S + (uint64_t)stat->st_ctim.tv_nsec;
    h *= UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(h >> 32);
}

bool tuck_object_is_fault(int os) {
    switch (os) {
    case EIO:
    case ENODEV:
    case ENXIO:
    case ESTALE:
    case ENOTCONN:
    case EROFS:
#ifdef EUCLEAN
    case EUCLEAN: // the file system is damaged
#endif
#ifdef ENOMEDIUM
    case ENOMEDIUM:
#endif
#ifdef ESHUTDOWN
    case ESHUTDOWN:
#endif
        return true;
    default:
        return false;
    }
}

uint64_t tuck_object_space_of(uint64_t size) {
    return (size + BLOCK - 1) / BLOCK * BLOCK;
}

// By the path that the client will use, so that what it finds there is what was looked at, whatever
// became of our root.
int tuck_object_check(const char *path, uint64_t size, uint32_t *ret_tag) {
    struct stat stat;
    if (lstat(path, &stat) < 0)
        return tuck_object_is_fault(errno) ? TUCK_EIO : TUCK_OBJECT_ABSENT;
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size != size)
        return TUCK_OBJECT_DAMAGED;
    *ret_tag = tuck_store__tag_of(&stat);
    return 0;
}

// A damaged object is kept for a look, unless there are enough of them. True if it is there now.
static bool quarantine(struct tuck_drive *drive, int dirfd, const char *name,
                       const struct tuck_output_id *output, uint64_t size) {
    TUCK_CLEANUP(tuck_close_fd) int to = tuck_store__open_dir(drive->rootfd, "quarantine");
    int copy = to < 0 ? -1 : fcntl(to, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    int count = 0;
    struct stat stat;
    if (!dir) {
        tuck_close_fd(&copy);
        return false;
    }
    for (struct dirent *found; (found = readdir(dir));) {
        if (found->d_name[0] == '.')
            continue;
        count++;
        size += fstatat(to, found->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0
                    ? tuck_object_space_of((uint64_t)stat.st_size)
                    : 0;
    }
    (void)closedir(dir);
    char hex[TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex, output->bytes, TUCK_ID_BYTES);
    return count < QUARANTINED && size <= QUARANTINED_BYTES && renameat(dirfd, name, to, hex) == 0;
}

// Whatever stands under the name goes away: a damaged object, a link, an empty directory; a full
// one into staging. With `seen`, only if it is still the file that was looked at: another helper
// may have put a sound one in its place.
bool tuck_store__take_away(struct tuck_drive *drive, const struct tuck_output_id *output,
                           const struct stat *seen) {
    char path[TUCK_OBJECT_PATH_TAIL], name[25];
    struct stat stat;
    tuck_store__object_path(output, path);
    path[10] = '\0'; // the directory; no part of the way may be a link
    TUCK_CLEANUP(tuck_close_fd)
    int dirfd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
    if (dirfd < 0 || fstatat(dirfd, path + 11, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
        (seen && tuck_store__tag_of(seen) != tuck_store__tag_of(&stat)))
        return false;
    if (seen && S_ISREG(stat.st_mode) &&
        quarantine(drive, dirfd, path + 11, output, tuck_object_space_of((uint64_t)stat.st_size)))
        return true;
    if (unlinkat(dirfd, path + 11, 0) == 0 || unlinkat(dirfd, path + 11, AT_REMOVEDIR) == 0)
        return true;
    tuck_random_name(name);
    TUCK_CLEANUP(tuck_close_fd) int staging = tuck_store__open_dir(drive->rootfd, "staging");
    return staging >= 0 && renameat(dirfd, path + 11, staging, name) == 0;
}

// 0 if the file has the hash and did not change meanwhile, TUCK_OBJECT_DAMAGED if not, -errno if it
// cannot be read.
static int hash_file(int fd, const struct stat *before, const struct tuck_output_id *output) {
    uint8_t block[65536];
    struct tuck_digest digest;
    struct tuck_output_id found;
    struct stat after;
    uint64_t at = 0, size = (uint64_t)before->st_size;
    tuck_digest_init(&digest);
    while (at < size) {
        size_t want = size - at < sizeof(block) ? (size_t)(size - at) : sizeof(block);
        ssize_t n = tuck_pread_full(fd, block, want, at);
        if (n < 0)
            return (int)n;
        if (n != (ssize_t)want)
            return TUCK_OBJECT_DAMAGED;
        tuck_digest_add(&digest, block, want);
        at += want;
    }
    tuck_digest_end(&digest, &found);
    if (fstat(fd, &after) < 0)
        return -errno;
    if (tuck_store__tag_of(&after) != tuck_store__tag_of(before))
        return TUCK_OBJECT_ABSENT;
    return tuck_output_equal(&found, output) ? 0 : TUCK_OBJECT_DAMAGED;
}

// 0, TUCK_OBJECT_DAMAGED, TUCK_OBJECT_ABSENT if it changed meanwhile, or -errno: it could not be
// read. *ret_stat is what was opened, if something was.
static int look_into(struct tuck_drive *drive, const struct tuck_output_id *output, uint64_t size,
                     struct stat *ret_stat, bool *ret_is_open) {
    char path[TUCK_OBJECT_PATH_TAIL];
    tuck_store__object_path(output, path);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_NONBLOCK, 0);
    int status = fd < 0 ? fd : fstat(fd, ret_stat) < 0 ? -errno : 0;
    *ret_is_open = fd >= 0;
    if (status == 0)
        status = S_ISREG(ret_stat->st_mode) &&
                         (size == TUCK_OBJECT_ANY_SIZE || (uint64_t)ret_stat->st_size == size)
                     ? hash_file(fd, ret_stat, output)
                     : TUCK_OBJECT_DAMAGED;
    if (status == -ELOOP || (fd < 0 && status == -ENXIO))
        return TUCK_OBJECT_DAMAGED; // a symbolic link, a socket
    return status;
}

static struct tuck_object_found found_of(const struct stat *stat, bool is_open) {
    struct tuck_object_found found = {0};
    if (is_open) {
        found.size = (uint64_t)stat->st_size;
        found.tag = tuck_store__tag_of(stat);
    }
    return found;
}

int tuck_object_verify(struct tuck_drive *drive, const struct tuck_output_id *output, uint64_t size,
                       struct tuck_object_found *ret_found) {
    struct stat stat;
    bool is_open;
    int status = look_into(drive, output, size, &stat, &is_open);
    if (status >= 0)
        *ret_found = found_of(&stat, is_open);
    if (status == TUCK_OBJECT_DAMAGED)
        ret_found->is_gone = tuck_store__take_away(drive, output, is_open ? &stat : NULL);
    // What cannot be read now may be sound: it is a miss, and only a put, which has the content,
    // replaces it.
    if (status < 0)
        return tuck_object_is_fault(-status) ? TUCK_EIO : TUCK_OBJECT_ABSENT;
    return status;
}

int tuck_object_inspect(struct tuck_drive *drive, const struct tuck_output_id *output,
                        struct tuck_object_found *ret_found) {
    struct stat stat;
    bool is_open;
    int status = look_into(drive, output, TUCK_OBJECT_ANY_SIZE, &stat, &is_open);
    if (status >= 0)
        *ret_found = found_of(&stat, is_open);
    if (status < 0)
        return status == -ENOENT ? TUCK_OBJECT_ABSENT : TUCK_EIO;
    return status;
}

int tuck_object_sync(struct tuck_drive *drive, const struct tuck_output_id *output,
                     struct tuck_error *err) {
    char path[TUCK_OBJECT_PATH_TAIL];
    tuck_store__object_path(output, path);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(drive->rootfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    path[10] = '\0'; // its directory
    TUCK_CLEANUP(tuck_close_fd)
    int dirfd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 || dirfd < 0 || fdatasync(fd) < 0 || fsync(dirfd) < 0)
        return tuck_fail_os(err, dirfd < 0 ? -dirfd : errno, "sync an object in '%s'", drive->root);
    return 0;
}

// --- Removing and walking ------------------------------------------------------------------------

// The object comes back, unless another has been put in its place by now: then this one is gone.
static int give_back(struct tuck_drive *drive, int staging, const char *name, const char *path) {
    int status = tuck_name_file(staging, name, drive->rootfd, path);
    if (status == -EEXIST)
        return unlinkat(staging, name, 0) < 0 ? -errno : 0;
    return status < 0 ? status : TUCK_OBJECT_CLAIMED;
}

int tuck_object_remove(struct tuck_drive *drive, const struct tuck_output_id *output,
                       bool (*is_claimed)(void *arg, const struct tuck_output_id *output),
                       void *arg, struct tuck_error *err) {
    char path[TUCK_OBJECT_PATH_TAIL], name[25];
    tuck_store__object_path(output, path);
    if (is_claimed(arg, output))
        return TUCK_OBJECT_CLAIMED;
    TUCK_CLEANUP(tuck_close_fd) int staging = tuck_store__open_dir(drive->rootfd, "staging");
    int status = staging < 0 ? staging : 0;
    tuck_random_name(name);
    if (status == 0 && renameat(drive->rootfd, path, staging, name) < 0)
        status = -errno;
    // Where the drive is so full that it cannot even be moved, it goes at once: that makes room.
    if (status == -ENOSPC || status == -EDQUOT)
        return unlinkat(drive->rootfd, path, 0) == 0 ? 0
               : errno == ENOENT                     ? TUCK_OBJECT_ABSENT
                                 : tuck_fail_os(err, errno, "remove '%s/%s'", drive->root, path);
    if (status < 0)
        return status == -ENOENT ? TUCK_OBJECT_ABSENT
                                 : tuck_fail_os(err, -status, "remove '%s/%s'", drive->root, path);
    // A helper claims before it looks. If it looked before the rename its claim is visible now; if
    // after, it saw nothing.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (is_claimed(arg, output))
        status = give_back(drive, staging, name, path);
    else if (unlinkat(staging, name, 0) < 0 && errno != EISDIR && errno != EPERM)
        status = -errno; // what is no file is swept later
    return status < 0 ? tuck_fail_os(err, -status, "remove '%s/staging/%s'", drive->root, name)
                      : status;
}

int tuck_object_walk(struct tuck_drive *drive, unsigned first, unsigned last,
                     bool (*each)(void *arg, const struct tuck_object_seen *seen), void *arg,
                     struct tuck_error *err) {
    bool goes_on = true;
    for (unsigned byte = first; byte <= last && goes_on; byte++) {
        char path[16];
        struct tuck_object_seen seen = {.output.bytes = {(uint8_t)byte}};
        (void)snprintf(path, sizeof(path), "objects/%02x", byte);
        int fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT)
            continue;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
            int failed = fd < 0 ? -fd : errno;
            tuck_close_fd(&fd);
            return tuck_fail_os(err, failed, "read '%s/%s'", drive->root, path);
        }
        int failed = 0;
        while (goes_on && failed == 0) {
            struct stat stat;
            errno = 0;
            struct dirent *found = readdir(dir);
            if (!found) {
                failed = errno;
                break;
            }
            if (strlen(found->d_name) != OBJECT_NAME ||
                !tuck_unhex(seen.output.bytes + 1, found->d_name, TUCK_ID_BYTES - 1))
                continue;
            if (fstatat(dirfd(dir), found->d_name, &stat, AT_SYMLINK_NOFOLLOW) < 0) {
                failed = errno == ENOENT ? 0 : errno; // it was removed just now
                continue;
            }
            seen.size = (uint64_t)stat.st_size;
            seen.changed_ns =
                (uint64_t)stat.st_ctim.tv_sec * TUCK_NS_PER_S + (uint64_t)stat.st_ctim.tv_nsec;
            goes_on = each(arg, &seen);
        }
        (void)closedir(dir);
        if (failed)
            return tuck_fail_os(err, failed, "read '%s/%s'", drive->root, path);
    }
    return 0;
}
