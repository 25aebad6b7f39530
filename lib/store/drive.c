// SPDX-License-Identifier: MIT
#include "lib/store/drive.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "lib/store/inside.h"
#include "lib/store/space.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#define DAY_S    86400
#define ROOT_MAX 4000 // bytes of a root's path
_Static_assert(ROOT_MAX + 1 + TUCK_OBJECT_PATH_TAIL <= TUCK_OBJECT_PATH_ROOM, "any path fits");

// --- Opening -------------------------------------------------------------------------------------

static const char readme_text[] = "This directory belongs to tuck, a build cache for Go.\n"
                                  "It holds nothing that cannot be built again. To empty it: tuck "
                                  "clear. To remove it: delete it while no build runs.\n"
                                  "  tuck.json   what this is\n"
                                  "  objects/    outputs of the go command, each named by its "
                                  "SHA-256; never written again once named\n"
                                  "  index/      which action made which output\n"
                                  "  leases/     one locked file for each helper that runs\n";

static const char tag_text[] =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file marks a cache directory, see https://bford.info/cachedir/\n";

static bool is_utf8(const char *text) {
    json_t *string = json_string(text); // checks it
    json_decref(string);
    return string != NULL;
}

// Writes a small file in one piece: whoever sees the name sees all of it. 0 also if the name
// exists; or -errno.
static int write_once(int dirfd, const char *name, const char *text) {
    char temp[25];
    tuck_random_name(temp);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, temp, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int status = tuck_write_all(fd, text, strlen(text), NULL);
    if (status == 0)
        status = tuck_name_file(dirfd, temp, dirfd, name);
    if (status < 0)
        (void)unlinkat(dirfd, temp, 0);
    return status == -EEXIST ? 0 : status;
}

int tuck_drive_write_format(struct tuck_drive *drive, const char *text, bool is_new,
                            struct tuck_error *err) {
    char temp[25];
    tuck_random_name(temp);
    int status = write_once(drive->rootfd, "CACHEDIR.TAG", tag_text);
    if (status == 0)
        status = write_once(drive->rootfd, "README", readme_text);
    if (status == 0)
        status = write_once(drive->rootfd, is_new ? "tuck.json" : temp, text);
    if (status == 0 && !is_new && renameat(drive->rootfd, temp, drive->rootfd, "tuck.json") < 0) {
        status = -errno;
        (void)unlinkat(drive->rootfd, temp, 0);
    }
    return status < 0 ? tuck_fail_os(err, -status, "write '%s/tuck.json'", drive->root) : 0;
}

// True if a cache may be begun here: nothing but what helpers make that begin it at this moment.
static bool is_free(struct tuck_drive *drive) {
    static const char *const ours[] = {"CACHEDIR.TAG", "README",     "objects",
                                       "index",        "leases",     "staging",
                                       "quarantine",   "lost+found", "tuck.json.damaged"};
    int fd = fcntl(drive->rootfd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool is_free = dir != NULL;
    if (dir)
        rewinddir(dir);
    for (struct dirent *found; is_free && (found = readdir(dir));) {
        uint8_t name[12];
        bool is_ours = found->d_name[0] == '.' || strcmp(found->d_name, "tuck.json") == 0 ||
                       (strlen(found->d_name) == 24 && tuck_unhex(name, found->d_name, 12));
        for (size_t i = 0; i < TUCK_ARRAY_LEN(ours); i++)
            is_ours |= strcmp(found->d_name, ours[i]) == 0;
        is_free = is_ours;
    }
    if (dir)
        (void)closedir(dir);
    else
        tuck_close_fd(&fd);
    return is_free;
}

int tuck_drive_read_format(struct tuck_drive *drive, char *ret_text, size_t room, size_t *ret_len,
                           struct tuck_error *err) {
    *ret_len = 0;
    int fd = tuck_open_beneath(drive->rootfd, "tuck.json", O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return is_free(drive) ? TUCK_DRIVE_BLANK : TUCK_DRIVE_OCCUPIED;
    if (fd == -ELOOP) // something else stands there: as good as damaged
        return 0;
    if (fd < 0)
        return tuck_fail_os(err, -fd, "open '%s/tuck.json'", drive->root);
    struct stat stat;
    bool is_file = fstat(fd, &stat) < 0 || S_ISREG(stat.st_mode);
    ssize_t len = is_file ? tuck_pread_full(fd, ret_text, room, 0) : 0;
    tuck_close_fd(&fd);
    if (len < 0)
        return tuck_fail_os(err, (int)-len, "read '%s/tuck.json'", drive->root);
    *ret_len = (size_t)len;
    return 0;
}

int tuck_drive_set_aside_format(struct tuck_drive *drive, struct tuck_error *err) {
    if (renameat(drive->rootfd, "tuck.json", drive->rootfd, "tuck.json.damaged") < 0)
        return tuck_fail_os(err, errno, "set aside the damaged '%s/tuck.json'", drive->root);
    return 0;
}

int tuck_drive_take_turn(struct tuck_drive *drive, uint64_t wait_ns) {
    return tuck_lock_file(drive->rootfd, tuck_clock_mono_ns() + wait_ns) < 0 ? TUCK_DRIVE_BUSY : 0;
}

static int check_owner(struct tuck_drive *drive, struct tuck_error *err) {
    struct stat stat;
    if (fstat(drive->rootfd, &stat) < 0)
        return tuck_fail_os(err, errno, "look at '%s'", drive->root);
    if (stat.st_uid != geteuid() && geteuid() != 0)
        return tuck_fail(
            err, TUCK_EACCESS,
            "'%s' belongs to user %u, not to you; others could put wrong outputs there",
            drive->root, (unsigned)stat.st_uid);
    return 0;
}

static int close_to_others(struct tuck_drive *drive, struct tuck_error *err) {
    struct stat stat;
    if (fstat(drive->rootfd, &stat) < 0)
        return tuck_fail_os(err, errno, "look at '%s'", drive->root);
    if ((stat.st_mode & 022) && fchmod(drive->rootfd, stat.st_mode & 07755 & ~022U) < 0)
        return tuck_fail_os(err, errno, "others may write to '%s' and that cannot be changed",
                            drive->root);
    return 0;
}

// The go command renames what it installs away from the cache unless the path begins, as text, with
// $GOCACHE.
static char *choose_shown(const char *root, const char *gocache) {
    size_t len = gocache ? strlen(gocache) : 0;
    while (len > 0 && gocache[len - 1] == '/')
        len--;
    if (len == 0 || (strncmp(root, gocache, len) == 0 && root[len] == '/') || !is_utf8(gocache))
        return strdup(root);
    struct tuck_digest digest;
    struct tuck_output_id name;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, root, strlen(root));
    tuck_digest_end(&digest, &name);
    char hex[17] = {0};
    tuck_hex(hex, name.bytes, 8);
    char *link = NULL;
    if (asprintf(&link, "%.*s/tuck-%s", (int)len, gocache, hex) < 0)
        return NULL;
    char target[4096];
    for (int attempt = 0; attempt < 2; attempt++) {
        ssize_t n = readlink(link, target, sizeof(target));
        if (n == (ssize_t)strlen(root) && memcmp(target, root, (size_t)n) == 0)
            return link;
        if (n >= 0 || (symlink(root, link) < 0 && errno != EEXIST))
            break;
    }
    free(link);
    return strdup(root); // no link can be made: the real path, and a moved object is a miss
}

static int open_root(const char *root, struct tuck_drive **ret_drive, struct tuck_error *err) {
    struct tuck_drive *drive = calloc(1, sizeof(*drive));
    if (!drive)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
    for (size_t i = 0; i < TUCK_ARRAY_LEN(drive->subdir); i++)
        drive->subdir[i] = -1;
    drive->root = strdup(root);
    drive->rootfd = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int failed = errno;
    struct stat link;
    if (drive->rootfd < 0 && lstat(root, &link) == 0 && S_ISLNK(link.st_mode)) {
        // People move a cache to another disk and leave a link; one that somebody else made is a
        // trap.
        failed = EPERM;
        if (link.st_uid == geteuid() || link.st_uid == 0)
            drive->rootfd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (drive->rootfd < 0 && link.st_uid == geteuid())
            failed = errno;
    }
    *ret_drive = drive;
    if (!drive->root)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
    if (drive->rootfd < 0)
        return tuck_fail_os(err, failed, "open the cache directory '%s'", root);
    return 0;
}

static void close_drive(struct tuck_drive **drive) {
    tuck_drive_close(*drive);
}

int tuck_drive_open(const char *root, bool may_make, struct tuck_drive **ret_drive,
                    struct tuck_error *err) {
    TUCK_CLEANUP(close_drive) struct tuck_drive *drive = NULL;
    if (root[0] != '/')
        return tuck_fail(err, TUCK_EINVAL, "the cache directory '%s' is not an absolute path",
                         root);
    struct tuck_error missing = {0};
    int status = open_root(root, &drive, &missing);
    if (status < 0 && missing.os == ENOENT && may_make) {
        status = tuck_mkdir_parents(root);
        if (status < 0)
            return tuck_fail_os(err, -status, "create the cache directory '%s'", root);
        tuck_drive_close(TUCK_TAKE(drive));
        status = open_root(root, &drive, err);
    } else if (status < 0) {
        if (err)
            *err = missing;
        return missing.os == ENOENT ? TUCK_DRIVE_MISSING : status;
    }
    if (status == 0)
        status = check_owner(drive, err);
    if (status < 0)
        return status;
    *ret_drive = TUCK_TAKE(drive);
    return 0;
}

int tuck_drive_begin(struct tuck_drive *drive, const char *gocache, struct tuck_error *err) {
    int status = close_to_others(drive, err);
    if (status < 0)
        return status;
    drive->shown = choose_shown(drive->root, gocache);
    if (!drive->shown)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
    if (strlen(drive->shown) > ROOT_MAX)
        return tuck_fail(err, TUCK_EINVAL, "the cache directory's path is longer than %d bytes",
                         ROOT_MAX);
    if (!is_utf8(drive->shown))
        return tuck_fail(
            err, TUCK_EINVAL,
            "the cache directory's path is not UTF-8; the go command could not open what is in it");
    return 0;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk) {
    (void)stat, (void)walk;
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

// Removes what private drives of earlier runs have left, a day later; running helpers hold theirs
// locked.
static void sweep_private(const char *parent) {
    DIR *dir = opendir(parent);
    if (!dir)
        return;
    for (struct dirent *found; (found = readdir(dir));) {
        struct stat stat;
        if (strncmp(found->d_name, "tuck-private-", 13) != 0 ||
            fstatat(dirfd(dir), found->d_name, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISDIR(stat.st_mode) || stat.st_uid != geteuid() ||
            (uint64_t)stat.st_mtim.tv_sec + DAY_S > tuck_clock_wall_ns() / TUCK_NS_PER_S)
            continue;
        TUCK_CLEANUP(tuck_close_fd)
        int fd = openat(dirfd(dir), found->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        char *path = NULL;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
            asprintf(&path, "%s/%s", parent, found->d_name) >= 0)
            (void)!nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        free(path);
    }
    (void)closedir(dir);
}

int tuck_drive_open_private(struct tuck_drive **ret_drive, struct tuck_error *err) {
    TUCK_CLEANUP(close_drive) struct tuck_drive *drive = NULL;
    const char *parent = getenv("TMPDIR");
    if (!parent || parent[0] != '/' || strlen(parent) > ROOT_MAX / 2 || !is_utf8(parent))
        parent = "/tmp";
    TUCK_CLEANUP(tuck_free) char *path = NULL;
    if (asprintf(&path, "%s/tuck-private-XXXXXX", parent) < 0)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
    sweep_private(parent);
    if (!mkdtemp(path))
        return tuck_fail_os(err, errno, "make a private directory in '%s'", parent);
    int status = open_root(path, &drive, err);
    if (status < 0)
        return status;
    (void)flock(drive->rootfd, LOCK_SH | LOCK_NB);
    drive->shown = TUCK_TAKE(path);
    *ret_drive = TUCK_TAKE(drive);
    return 0;
}

void tuck_store__close_subdirs(struct tuck_drive *drive) {
    for (size_t i = 0; i < TUCK_ARRAY_LEN(drive->subdir); i++)
        tuck_close_fd(&drive->subdir[i]);
}

void tuck_drive_close(struct tuck_drive *drive) {
    if (!drive)
        return;
    tuck_store__close_subdirs(drive);
    tuck_close_fd(&drive->rootfd);
    free(drive->root);
    free(drive->shown);
    free(drive);
}

const char *tuck_drive_shown_root(const struct tuck_drive *drive) {
    return drive->shown;
}

int tuck_store__open_dir(int dirfd, const char *name) {
    int fd = tuck_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd != -ENOENT)
        return fd;
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    return tuck_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
}

int tuck_drive_open_dir(struct tuck_drive *drive, const char *name, struct tuck_error *err) {
    int fd = tuck_store__open_dir(drive->rootfd, name);
    return fd < 0 ? tuck_fail_os(err, -fd, "open '%s/%s'", drive->root, name) : fd;
}

int tuck_drive_sync_all(struct tuck_drive *drive, struct tuck_error *err) {
#ifdef __linux__
    if (syncfs(drive->rootfd) < 0)
        return tuck_fail_os(err, errno, "sync the file system of '%s'", drive->root);
#else
    (void)err;
    sync();
#endif
    return 0;
}

// --- Looking after it ----------------------------------------------------------------------------

int tuck_drive_space(struct tuck_drive *drive, struct tuck_space *ret_space,
                     struct tuck_error *err) {
    return tuck_space_read(drive->rootfd, ret_space, err);
}

uint64_t tuck_drive_now_ns(struct tuck_drive *drive) {
    struct stat stat;
    if (futimens(drive->rootfd, NULL) < 0 || fstat(drive->rootfd, &stat) < 0)
        return 0;
    return (uint64_t)stat.st_ctim.tv_sec * TUCK_NS_PER_S + (uint64_t)stat.st_ctim.tv_nsec;
}

bool tuck_drive_is_readonly(struct tuck_drive *drive) {
    struct statvfs found;
    return fstatvfs(drive->rootfd, &found) == 0 && (found.f_flag & ST_RDONLY);
}

int tuck_drive_probe(struct tuck_drive *drive, struct tuck_error *err) {
    struct stat held, present;
    char byte;
    if (fstat(drive->rootfd, &held) < 0 || stat(drive->root, &present) < 0)
        return tuck_fail_os(err, errno, "look at '%s'", drive->root);
    if (held.st_ino != present.st_ino || held.st_dev != present.st_dev)
        return tuck_fail(err, TUCK_EIO, "'%s' is not the directory any more that it was",
                         drive->root);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = tuck_open_beneath(drive->rootfd, "tuck.json", O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return tuck_fail_os(err, -fd, "open '%s/tuck.json'", drive->root);
    ssize_t n = tuck_pread_full(fd, &byte, 1, 0);
    if (n < 0)
        return tuck_fail_os(err, (int)-n, "read '%s/tuck.json'", drive->root);
    // What was read may have been in memory: a file that is made is not.
    TUCK_CLEANUP(tuck_close_fd) int made = tuck_open_unnamed(drive->rootfd, 0600);
    if (made < 0 && tuck_object_is_fault(-made) && made != -EROFS)
        return tuck_fail_os(err, -made, "make a file in '%s'", drive->root);
    int status = made < 0 ? 0 : tuck_pwrite_all(made, "tuck", 4, 0);
    if (status == 0 && made >= 0 && fdatasync(made) < 0)
        status = -errno;
    if (status < 0 && tuck_object_is_fault(-status))
        return tuck_fail_os(err, -status, "write to '%s'", drive->root);
    return 0;
}

// By the time of the last change: of an object that is just being removed the last write is long
// ago.
static void sweep_dir(struct tuck_drive *drive, const char *name, uint64_t age_s) {
    uint64_t now_s = tuck_clock_wall_ns() / TUCK_NS_PER_S;
    int fd = tuck_open_beneath(drive->rootfd, name, O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        tuck_close_fd(&fd);
        return;
    }
    for (struct dirent *found; (found = readdir(dir));) {
        struct stat stat;
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0 ||
            fstatat(dirfd(dir), found->d_name, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
            (uint64_t)stat.st_ctim.tv_sec + age_s > now_s)
            continue;
        if (!S_ISDIR(stat.st_mode)) {
            (void)unlinkat(dirfd(dir), found->d_name, 0);
            continue;
        }
        char *path = NULL;
        if (asprintf(&path, "%s/%s/%s", drive->root, name, found->d_name) >= 0)
            (void)!nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        free(path);
    }
    (void)closedir(dir);
}

void tuck_drive_sweep(struct tuck_drive *drive) {
    sweep_dir(drive, "staging", DAY_S);
    sweep_dir(drive, "quarantine", 7 * DAY_S);
}
