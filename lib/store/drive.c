// SPDX-License-Identifier: MIT
#include "lib/store/drive.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <sys/file.h>

#define FORMAT_VERSION 1
#define OBJECT_NAME    62 // characters after the two of the directory
#define DAY_S          86400
#define ROOT_MAX       4000 // bytes of a root's path
_Static_assert(ROOT_MAX + 1 + TUCK_DRIVE_PATH_TAIL <= TUCK_DRIVE_PATH_ROOM, "any path fits");

struct tuck_drive {
    int rootfd;          /* const after init */
    bool has_no_unnamed; /* owned by the thread that stages: files without a name cannot get one
                            here */
    char *root;          /* const after init */
    char *shown;         /* const after init */
    int subdir[256];     /* owned by the thread that stages: objects/00 … ff, -1 until needed */
};

struct tuck_stage {
    struct tuck_drive *drive;
    struct tuck_output_id output;
    int fd;
    uint64_t len;
    int staging;   // where there are no unnamed files: the directory, and
    char temp[25]; // the name in it
};

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

static int write_format(struct tuck_drive *drive, struct tuck_error *err) {
    char id[25], text[256];
    tuck_random_name(id);
    (void)snprintf(text, sizeof(text),
                   "{\"format\": \"tuck\", \"version\": %d, \"id\": \"%s\", \"set\": [\"%s\"], "
                   "\"placement\": \"CRCMOD\"}\n",
                   FORMAT_VERSION, id, id);
    int status = write_once(drive->rootfd, "CACHEDIR.TAG", tag_text);
    if (status == 0)
        status = write_once(drive->rootfd, "README", readme_text);
    if (status == 0)
        status = write_once(drive->rootfd, "tuck.json", text);
    return status < 0 ? tuck_fail_os(err, -status, "begin a cache in '%s'", drive->root) : 0;
}

// True if a cache may be begun here: nothing but what helpers make that begin it at this moment.
static bool is_free(struct tuck_drive *drive) {
    static const char *const ours[] = {"CACHEDIR.TAG", "README",           "objects",
                                       "index",        "leases",           "staging",
                                       "lost+found",   "tuck.json.damaged"};
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

// A damaged format file says nothing that is needed: it is written anew. A newer one means: hands
// off.
static int check_format(struct tuck_drive *drive, struct tuck_error *err) {
    char text[65536]; // the set of a newer tuck may be long
    int fd = tuck_open_beneath(drive->rootfd, "tuck.json", O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return is_free(drive)
                   ? write_format(drive, err)
                   : tuck_fail(err, TUCK_EINVAL,
                               "'%s' has other things in it; a cache needs a directory of its own",
                               drive->root);
    if (fd < 0 && fd != -ELOOP)
        return tuck_fail_os(err, -fd, "open '%s/tuck.json'", drive->root);
    ssize_t len = fd < 0 ? 0 : tuck_pread_full(fd, text, sizeof(text), 0);
    tuck_close_fd(&fd);
    json_t *format = len > 0 ? json_loadb(text, (size_t)len, 0, NULL) : NULL;
    json_int_t version = json_integer_value(json_object_get(format, "version"));
    json_decref(format);
    if (version > FORMAT_VERSION)
        return tuck_fail(
            err, TUCK_EINVAL,
            "'%s' was made by a newer tuck (format %d, this one knows %d); use that one, or "
            "another directory",
            drive->root, (int)version, FORMAT_VERSION);
    if (version == FORMAT_VERSION)
        return 0;
    char aside[40];
    (void)snprintf(aside, sizeof(aside), "tuck.json.damaged");
    if (renameat(drive->rootfd, "tuck.json", drive->rootfd, aside) < 0)
        return tuck_fail_os(err, errno, "set aside the damaged '%s/tuck.json'", drive->root);
    return write_format(drive, err);
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

int tuck_drive_open(const char *root, const char *gocache, struct tuck_drive **ret_drive,
                    struct tuck_error *err) {
    TUCK_CLEANUP(close_drive) struct tuck_drive *drive = NULL;
    if (root[0] != '/')
        return tuck_fail(err, TUCK_EINVAL, "the cache directory '%s' is not an absolute path",
                         root);
    struct tuck_error missing = {0};
    int status = open_root(root, &drive, &missing);
    if (status < 0) {
        if (missing.os == ENOENT)
            status = tuck_mkdir_parents(root);
        if (missing.os == ENOENT && status < 0)
            return tuck_fail_os(err, -status, "create the cache directory '%s'", root);
        tuck_drive_close(TUCK_TAKE(drive));
        status = open_root(root, &drive, err);
    }
    if (status == 0)
        status = check_owner(drive, err);
    if (status == 0)
        status = check_format(drive, err);
    if (status == 0)
        status = close_to_others(drive, err);
    if (status < 0)
        return status;
    drive->shown = choose_shown(root, gocache);
    if (!drive->shown)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
    if (strlen(drive->shown) > ROOT_MAX)
        return tuck_fail(err, TUCK_EINVAL, "the cache directory's path is longer than %d bytes",
                         ROOT_MAX);
    if (!is_utf8(drive->shown))
        return tuck_fail(
            err, TUCK_EINVAL,
            "the cache directory's path is not UTF-8; the go command could not open what is in it");
    *ret_drive = TUCK_TAKE(drive);
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

static void close_subdirs(struct tuck_drive *drive) {
    for (size_t i = 0; i < TUCK_ARRAY_LEN(drive->subdir); i++)
        tuck_close_fd(&drive->subdir[i]);
}

void tuck_drive_close(struct tuck_drive *drive) {
    if (!drive)
        return;
    close_subdirs(drive);
    tuck_close_fd(&drive->rootfd);
    free(drive->root);
    free(drive->shown);
    free(drive);
}

const char *tuck_drive_shown_root(const struct tuck_drive *drive) {
    return drive->shown;
}

static int open_dir(int dirfd, const char *name) {
    int fd = tuck_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd != -ENOENT)
        return fd;
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    return tuck_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
}

int tuck_drive_open_dir(struct tuck_drive *drive, const char *name, struct tuck_error *err) {
    int fd = open_dir(drive->rootfd, name);
    return fd < 0 ? tuck_fail_os(err, -fd, "open '%s/%s'", drive->root, name) : fd;
}

// --- Looking at objects --------------------------------------------------------------------------

// "objects/ab/cdef…" with its terminator: what follows the root in a path.
static void object_path(const struct tuck_output_id *output,
                        char ret_path[static TUCK_DRIVE_PATH_TAIL]) {
    memcpy(ret_path, "objects/", 8);
    tuck_hex(ret_path + 8, output->bytes, 1);
    ret_path[10] = '/';
    tuck_hex(ret_path + 11, output->bytes + 1, TUCK_ID_BYTES - 1);
    ret_path[11 + OBJECT_NAME] = '\0';
}

void tuck_drive_path(const struct tuck_drive *drive, const struct tuck_output_id *output,
                     char *ret_path) {
    size_t len = strlen(drive->shown);
    memcpy(ret_path, drive->shown, len);
    ret_path[len] = '/';
    object_path(output, ret_path + len + 1);
}

static uint32_t tag_of(const struct stat *stat) {
    uint64_t h = (uint64_t)stat->st_ino * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (h >> 29) ^ (uint64_t)stat->st_size) * UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 32;
    h += (uint64_t)stat->st_ctim.tv_sec * TUCK_NS_PER_S + (uint64_t)stat->st_ctim.tv_nsec;
    h *= UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(h >> 32);
}

// By the path that the client will use, so that what it finds there is what was looked at, whatever
// became of our root.
int tuck_drive_check(const char *path, uint64_t size, uint32_t *ret_tag) {
    struct stat stat;
    if (lstat(path, &stat) < 0)
        return TUCK_DRIVE_ABSENT;
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size != size)
        return TUCK_DRIVE_DAMAGED;
    *ret_tag = tag_of(&stat);
    return 0;
}

// Whatever stands under the name goes away: a file, a link, an empty directory; a full one into staging. With `seen`, only
// if it is still the file that was looked at: another helper may have put a sound one in its place.
static void take_away(struct tuck_drive *drive, const struct tuck_output_id *output,
                      const struct stat *seen) {
    char path[TUCK_DRIVE_PATH_TAIL], name[25];
    struct stat stat;
    object_path(output, path);
    path[10] = '\0'; // the directory; no part of the way may be a link
    TUCK_CLEANUP(tuck_close_fd)
    int dirfd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
    if (dirfd < 0 || fstatat(dirfd, path + 11, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
        (seen && tag_of(seen) != tag_of(&stat)))
        return;
    if (unlinkat(dirfd, path + 11, 0) == 0 || unlinkat(dirfd, path + 11, AT_REMOVEDIR) == 0)
        return;
    tuck_random_name(name);
    TUCK_CLEANUP(tuck_close_fd) int staging = open_dir(drive->rootfd, "staging");
    if (staging >= 0)
        (void)renameat(dirfd, path + 11, staging, name);
}

// 0 if the file has the hash and did not change meanwhile, TUCK_DRIVE_DAMAGED if not, -errno if it
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
            return TUCK_DRIVE_DAMAGED;
        tuck_digest_add(&digest, block, want);
        at += want;
    }
    tuck_digest_end(&digest, &found);
    if (fstat(fd, &after) < 0)
        return -errno;
    if (tag_of(&after) != tag_of(before))
        return TUCK_DRIVE_ABSENT;
    return tuck_output_equal(&found, output) ? 0 : TUCK_DRIVE_DAMAGED;
}

int tuck_drive_verify(struct tuck_drive *drive, const struct tuck_output_id *output, uint64_t size,
                      uint32_t *ret_tag) {
    char path[TUCK_DRIVE_PATH_TAIL];
    struct stat stat;
    object_path(output, path);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_NONBLOCK, 0);
    int status = fd < 0 ? fd : fstat(fd, &stat) < 0 ? -errno : 0;
    if (status == 0)
        status = S_ISREG(stat.st_mode) && (uint64_t)stat.st_size == size
                     ? hash_file(fd, &stat, output)
                     : TUCK_DRIVE_DAMAGED;
    if (status == -ELOOP || status == -ENXIO)
        status = TUCK_DRIVE_DAMAGED; // a symbolic link, a socket
    if (status == TUCK_DRIVE_DAMAGED)
        take_away(drive, output, fd < 0 ? NULL : &stat);
    // What cannot be read now may be sound: it is a miss, and only a put, which has the content,
    // replaces it.
    if (status < 0)
        return TUCK_DRIVE_ABSENT;
    if (status == 0)
        *ret_tag = tag_of(&stat);
    return status;
}

int tuck_drive_sync(struct tuck_drive *drive, const struct tuck_output_id *output) {
    char path[TUCK_DRIVE_PATH_TAIL];
    object_path(output, path);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(drive->rootfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    path[10] = '\0'; // its directory
    TUCK_CLEANUP(tuck_close_fd)
    int dirfd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
    return fd >= 0 && dirfd >= 0 && fdatasync(fd) == 0 && fsync(dirfd) == 0 ? 0 : TUCK_EIO;
}

// --- Removing and walking ------------------------------------------------------------------------

int tuck_drive_remove(struct tuck_drive *drive, const struct tuck_output_id *output,
                      bool (*is_claimed)(void *arg, const struct tuck_output_id *output), void *arg,
                      struct tuck_error *err) {
    char path[TUCK_DRIVE_PATH_TAIL], name[25];
    object_path(output, path);
    if (is_claimed(arg, output))
        return TUCK_DRIVE_CLAIMED;
    TUCK_CLEANUP(tuck_close_fd) int staging = open_dir(drive->rootfd, "staging");
    if (staging < 0)
        return tuck_fail_os(err, -staging, "open '%s/staging'", drive->root);
    tuck_random_name(name);
    if (renameat(drive->rootfd, path, staging, name) < 0)
        return errno == ENOENT ? TUCK_DRIVE_ABSENT
                               : tuck_fail_os(err, errno, "remove '%s/%s'", drive->root, path);
    // A helper claims before it looks. If it looked before the rename its claim is visible now; if
    // after, it saw nothing.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (is_claimed(arg, output)) {
        (void)renameat(staging, name, drive->rootfd, path);
        return TUCK_DRIVE_CLAIMED;
    }
    if (unlinkat(staging, name, 0) < 0)
        return tuck_fail_os(err, errno, "remove '%s/staging/%s'", drive->root, name);
    return 0;
}

int tuck_drive_walk(struct tuck_drive *drive,
                    bool (*each)(void *arg, const struct tuck_output_id *output), void *arg,
                    struct tuck_error *err) {
    bool goes_on = true;
    for (unsigned first = 0; first < 256 && goes_on; first++) {
        char path[16];
        struct tuck_output_id output = {.bytes = {(uint8_t)first}};
        (void)snprintf(path, sizeof(path), "objects/%02x", first);
        int fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT)
            continue;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
            int failed = fd < 0 ? -fd : errno;
            tuck_close_fd(&fd);
            return tuck_fail_os(err, failed, "read '%s/%s'", drive->root, path);
        }
        for (struct dirent *found; goes_on && (found = readdir(dir));)
            if (strlen(found->d_name) == OBJECT_NAME &&
                tuck_unhex(output.bytes + 1, found->d_name, TUCK_ID_BYTES - 1))
                goes_on = each(arg, &output);
        (void)closedir(dir);
    }
    return 0;
}

// --- Staging -------------------------------------------------------------------------------------

static int open_subdir(struct tuck_drive *drive, uint8_t first) {
    int *held = &drive->subdir[first];
    if (*held >= 0)
        return *held;
    char path[16];
    (void)snprintf(path, sizeof(path), "objects/%02x", first);
    int fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        TUCK_CLEANUP(tuck_close_fd) int objects = open_dir(drive->rootfd, "objects");
        if (objects < 0)
            return objects;
        fd = open_dir(objects, path + 8);
    }
    if (fd >= 0)
        *held = fd;
    return fd;
}

// The body's file: unnamed in its directory, or named in staging/ where there is no such thing.
static int open_body(struct tuck_stage *stage) {
    int subdir = open_subdir(stage->drive, stage->output.bytes[0]);
    if (subdir < 0)
        return subdir;
    int fd = stage->drive->has_no_unnamed ? -EOPNOTSUPP : tuck_open_unnamed(subdir, 0444);
    if (fd == -ENOENT || fd == -EPERM) { // the directory was removed while we held it
        tuck_close_fd(&stage->drive->subdir[stage->output.bytes[0]]);
        subdir = open_subdir(stage->drive, stage->output.bytes[0]);
        fd = subdir < 0 ? subdir : tuck_open_unnamed(subdir, 0444);
    }
    if (fd != -EOPNOTSUPP)
        return fd;
    stage->staging = open_dir(stage->drive->rootfd, "staging");
    if (stage->staging < 0)
        return stage->staging;
    tuck_random_name(stage->temp);
    fd = openat(stage->staging, stage->temp, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC,
                0444);
    return fd < 0 ? -errno : fd;
}

int tuck_stage_begin(struct tuck_drive *drive, const struct tuck_output_id *output,
                     struct tuck_stage **ret_stage, struct tuck_error *err) {
    struct tuck_stage *stage = calloc(1, sizeof(*stage));
    if (!stage)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a put");
    stage->drive = drive;
    stage->output = *output;
    stage->staging = -1;
    stage->fd = open_body(stage);
    if (stage->fd == -EMFILE) { // few descriptors: give back those that only save time
        close_subdirs(drive);
        tuck_close_fd(&stage->staging);
        stage->fd = open_body(stage);
    }
    if (stage->fd < 0) {
        int failed = -stage->fd;
        stage->fd = -1;
        tuck_stage_free(stage);
        return tuck_fail_os(err, failed, "make a file in '%s'", drive->root);
    }
    *ret_stage = stage;
    return 0;
}

int tuck_stage_write(struct tuck_stage *stage, const void *data, size_t len,
                     struct tuck_error *err) {
    int status = tuck_pwrite_all(stage->fd, data, len, stage->len);
    if (status < 0)
        return tuck_fail_os(err, -status, "write to '%s'", stage->drive->root);
    stage->len += len;
    return 0;
}

int tuck_stage_move(struct tuck_stage **stage, struct tuck_drive *to, struct tuck_error *err) {
    struct tuck_stage *moved = NULL;
    int status = tuck_stage_begin(to, &(*stage)->output, &moved, err);
    uint8_t block[65536];
    while (status == 0 && moved->len < (*stage)->len) {
        size_t want = (*stage)->len - moved->len < sizeof(block)
                          ? (size_t)((*stage)->len - moved->len)
                          : sizeof(block);
        ssize_t n = tuck_pread_full((*stage)->fd, block, want, moved->len);
        if (n != (ssize_t)want)
            status = tuck_fail_os(err, n < 0 ? (int)-n : EIO, "read back from '%s'",
                                  (*stage)->drive->root);
        else
            status = tuck_stage_write(moved, block, want, err);
    }
    if (status < 0) {
        tuck_stage_free(moved);
        return status;
    }
    tuck_stage_free(*stage);
    *stage = moved;
    return 0;
}

static int give_name(struct tuck_stage *stage, const char *name) {
    int subdir = open_subdir(stage->drive, stage->output.bytes[0]);
    if (subdir < 0)
        return subdir;
    if (stage->staging < 0)
        return tuck_link_unnamed(stage->fd, subdir, name);
    int status = tuck_name_file(stage->staging, stage->temp, subdir, name);
    if (status == 0)
        stage->temp[0] = '\0';
    return status;
}

// True if the drive makes unnamed files but cannot name them: the body moves to a named one.
static bool stage_by_name(struct tuck_stage **stage, int status) {
    struct tuck_drive *drive = (*stage)->drive;
    if ((*stage)->staging >= 0 || (status != -EPERM && status != -EOPNOTSUPP && status != -ENOSYS &&
                                   status != -ENOENT && status != -EXDEV))
        return false;
    drive->has_no_unnamed = true;
    return tuck_stage_move(stage, drive, NULL) == 0;
}

int tuck_stage_commit(struct tuck_stage **stage, bool sync, uint32_t *ret_tag,
                      struct tuck_error *err) {
    struct tuck_drive *drive = (*stage)->drive;
    struct tuck_output_id output = (*stage)->output;
    char path[TUCK_DRIVE_PATH_TAIL], shown[TUCK_DRIVE_PATH_ROOM];
    object_path(&output, path);
    tuck_drive_path(drive, &output, shown);
    int status = 0;
    bool is_others = false; // the object that stands there now
    uint32_t verified = 0;
    for (int attempt = 0; attempt < 4; attempt++) {
        status = sync && fdatasync((*stage)->fd) < 0 ? -errno : give_name(*stage, path + 11);
        if (status == -EEXIST) {
            // Another helper was faster; or something else stands there, which goes away.
            int found = tuck_drive_verify(drive, &output, (*stage)->len, &verified);
            if (found == 0) {
                is_others = true;
                status = sync && tuck_drive_sync(drive, &output) < 0 ? -EIO : 0;
                break;
            }
            if (found == TUCK_DRIVE_ABSENT)
                take_away(drive, &output, NULL);
        } else if (status == -ENOENT && attempt == 0) {
            // The directory was removed while we held it.
            tuck_close_fd(&drive->subdir[output.bytes[0]]);
        } else if (status == 0 || !stage_by_name(stage, status)) {
            break;
        }
    }
    if (status == 0 && sync && !is_others && fsync(drive->subdir[output.bytes[0]]) < 0)
        status = -errno;
    // If the root was moved away, the path that we would give out leads elsewhere.
    uint32_t tag = 0;
    if (status == 0 &&
        (tuck_drive_check(shown, (*stage)->len, &tag) != 0 || (is_others && tag != verified)))
        status = -ESTALE;
    if (status < 0)
        return tuck_fail_os(err, -status, "give an object its name in '%s'", drive->root);
    *ret_tag = tag;
    tuck_stage_free(TUCK_TAKE(*stage));
    return 0;
}

void tuck_stage_free(struct tuck_stage *stage) {
    if (!stage)
        return;
    if (stage->staging >= 0 && stage->temp[0])
        (void)unlinkat(stage->staging, stage->temp, 0);
    tuck_close_fd(&stage->staging);
    tuck_close_fd(&stage->fd);
    free(stage);
}
