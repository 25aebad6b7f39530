// SPDX-License-Identifier: MIT
#include "lib/store/stage.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "lib/store/drive.h"
#include "lib/store/inside.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif

struct tuck_stage {
    struct tuck_drive *drive;
    struct tuck_output_id output;
    int fd;
    uint64_t len;
    int staging;   // where there are no unnamed files: the directory, and
    char temp[25]; // the name in it
};

// --- Staging -------------------------------------------------------------------------------------

static int open_subdir(struct tuck_drive *drive, uint8_t first) {
    int *held = &drive->subdir[first];
    if (*held >= 0)
        return *held;
    char path[16];
    (void)snprintf(path, sizeof(path), "objects/%02x", first);
    int fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        TUCK_CLEANUP(tuck_close_fd) int objects = tuck_store__open_dir(drive->rootfd, "objects");
        if (objects < 0)
            return objects;
        fd = tuck_store__open_dir(objects, path + 8);
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
    stage->staging = tuck_store__open_dir(stage->drive->rootfd, "staging");
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
        tuck_store__close_subdirs(drive);
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

static bool share_blocks(int from, int to) {
#ifdef FICLONE
    return ioctl(to, FICLONE, from) == 0;
#else
    (void)from, (void)to;
    return false;
#endif
}

int tuck_stage_take_file(struct tuck_stage *stage, int fd, uint64_t size, bool *ret_is_shared,
                         struct tuck_error *err) {
    // What was shared is ours, whatever becomes of the original: it is hashed there.
    bool is_shared = size > 0 && share_blocks(fd, stage->fd);
    int source = is_shared ? stage->fd : fd;
    uint8_t block[65536];
    struct tuck_digest digest;
    struct tuck_output_id found;
    struct stat stat;
    tuck_digest_init(&digest);
    for (uint64_t at = 0; at < size;) {
        size_t want = size - at < sizeof(block) ? (size_t)(size - at) : sizeof(block);
        ssize_t n = tuck_pread_full(source, block, want, at);
        if (n < 0)
            return TUCK_OBJECT_ABSENT;
        if (n != (ssize_t)want)
            return TUCK_OBJECT_DAMAGED;
        tuck_digest_add(&digest, block, want);
        int status = is_shared ? 0 : tuck_pwrite_all(stage->fd, block, want, at);
        if (status < 0)
            return tuck_fail_os(err, -status, "write to '%s'", stage->drive->root);
        at += want;
    }
    stage->len = size;
    tuck_digest_end(&digest, &found);
    if (fstat(stage->fd, &stat) < 0 || (uint64_t)stat.st_size != size ||
        !tuck_output_equal(&found, &stage->output))
        return TUCK_OBJECT_DAMAGED;
    *ret_is_shared = is_shared;
    return 0;
}

int tuck_stage_reopen(struct tuck_drive *drive, const struct tuck_output_id *output,
                      struct tuck_stage **ret_stage, struct tuck_error *err) {
    char path[TUCK_OBJECT_PATH_TAIL];
    struct stat stat;
    tuck_store__object_path(output, path);
    struct tuck_stage *stage = calloc(1, sizeof(*stage));
    if (!stage)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a put");
    *stage = (struct tuck_stage){.drive = drive, .output = *output, .staging = -1};
    stage->fd = tuck_open_beneath(drive->rootfd, path, O_RDONLY | O_NONBLOCK, 0);
    int failed = stage->fd < 0 ? -stage->fd : fstat(stage->fd, &stat) < 0 ? errno : 0;
    if (failed) {
        stage->fd = stage->fd < 0 ? -1 : stage->fd;
        tuck_stage_free(stage);
        return tuck_fail_os(err, failed, "open an object in '%s'", drive->root);
    }
    stage->len = (uint64_t)stat.st_size;
    *ret_stage = stage;
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

int tuck_stage_commit(struct tuck_stage **stage, uint32_t *ret_tag, bool *ret_is_new,
                      struct tuck_error *err) {
    struct tuck_drive *drive = (*stage)->drive;
    struct tuck_output_id output = (*stage)->output;
    char path[TUCK_OBJECT_PATH_TAIL], shown[TUCK_OBJECT_PATH_ROOM];
    tuck_store__object_path(&output, path);
    tuck_object_path(drive, &output, shown);
    int status = 0;
    bool is_others = false;    // the object that stands there now
    bool has_replaced = false; // something that stood there
    struct tuck_object_found verified = {0};
    for (int attempt = 0; attempt < 4; attempt++) {
        status = give_name(*stage, path + 11);
        if (status == -EEXIST) {
            // Another helper was faster; or something else stands there, which goes away.
            int found = tuck_object_verify(drive, &output, (*stage)->len, &verified);
            if (found == 0) {
                is_others = true;
                status = 0;
                break;
            }
            if (found == TUCK_OBJECT_DAMAGED)
                has_replaced |= verified.is_gone;
            else
                has_replaced |= tuck_store__take_away(drive, &output, NULL);
        } else if (status == -ENOENT && attempt == 0) {
            // The directory was removed while we held it.
            tuck_close_fd(&drive->subdir[output.bytes[0]]);
        } else if (status == 0 || !stage_by_name(stage, status)) {
            break;
        }
    }
    // If the root was moved away, the path that we would give out leads elsewhere.
    uint32_t tag = 0;
    if (status == 0 &&
        (tuck_object_check(shown, (*stage)->len, &tag) != 0 || (is_others && tag != verified.tag)))
        status = -ESTALE;
    if (status < 0)
        return tuck_fail_os(err, -status, "give an object its name in '%s'", drive->root);
    *ret_tag = tag;
    *ret_is_new = !is_others && !has_replaced;
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
