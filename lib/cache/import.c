// SPDX-License-Identifier: MIT
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/cache/admin.h"
#include "lib/cache/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

/*
 * The go command's built-in cache: <dir>/ab/<action>-a is one line of text, "v1", the action, the
 * output, its size and the time of its put, and <dir>/cd/<output>-d is the body; a directory of that
 * name holds an executable. Both are written in place by the go command, so that what is read may be
 * half-written: the text has a fixed length, and the body is hashed. cmd/go/internal/cache/cache.go.
 */

#define LINE_BYTES 175 // "v1 " 64 " " 64 " " 20 " " 20 "\n"
#define DIGITS     20

struct importing {
    struct tuck_cache *cache;
    const struct tuck_import *how;
    int dirfd;
    struct tuck_imported done;
};

static bool read_digits(const char *text, uint64_t *ret_number) {
    uint64_t number = 0;
    int at = 0;
    while (at < DIGITS && text[at] == ' ')
        at++;
    if (at == DIGITS)
        return false;
    for (; at < DIGITS; at++) {
        if (!isdigit((unsigned char)text[at]) || number > (INT64_MAX - 9) / 10)
            return false;
        number = 10 * number + (uint64_t)(text[at] - '0');
    }
    *ret_number = number;
    return true;
}

// Reads the file of an action; its name says which.
static bool read_action(int dirfd, const char *name, struct tuck_action_id *ret_action,
                        struct tuck_entry *ret_entry) {
    char line[LINE_BYTES + 1];
    struct stat stat;
    struct tuck_action_id named;
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode) ||
        tuck_pread_full(fd, line, sizeof(line), 0) != LINE_BYTES)
        return false;
    *ret_entry = (struct tuck_entry){0};
    if (memcmp(line, "v1 ", 3) != 0 || line[67] != ' ' || line[132] != ' ' || line[153] != ' ' ||
        line[174] != '\n' || !tuck_unhex(ret_action->bytes, line + 3, TUCK_ID_BYTES) ||
        !tuck_unhex(ret_entry->output.bytes, line + 68, TUCK_ID_BYTES) ||
        !tuck_unhex(named.bytes, name, TUCK_ID_BYTES) || !tuck_action_equal(&named, ret_action) ||
        !read_digits(line + 133, &ret_entry->size) || !read_digits(line + 154, &ret_entry->put_ns))
        return false;
    // The go command sets the file's time when it uses it, as we do: once an hour.
    ret_entry->access_s = stat.st_mtim.tv_sec > 0 ? (uint32_t)stat.st_mtim.tv_sec : 0;
    return true;
}

static int import_one(struct importing *importing, int dirfd, const char *name,
                      struct tuck_error *err) {
    struct tuck_action_id action;
    struct tuck_entry entry;
    char path[TUCK_ID_HEX + 6];
    struct stat stat;
    if (!read_action(dirfd, name, &action, &entry)) {
        importing->done.damaged++;
        return 0;
    }
    if (tuck_cache__has(importing->cache, &action, &entry)) {
        importing->done.present++;
        return 0;
    }
    tuck_hex(path, entry.output.bytes, 1);
    path[2] = '/';
    tuck_hex(path + 3, entry.output.bytes, TUCK_ID_BYTES);
    memcpy(path + 3 + TUCK_ID_HEX, "-d", 3);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(importing->dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) < 0) {
        importing->done.damaged++;
        return 0;
    }
    if (S_ISDIR(stat.st_mode)) {
        importing->done.executables++;
        return 0;
    }
    int status = S_ISREG(stat.st_mode) && (uint64_t)stat.st_size == entry.size
                     ? tuck_cache__take_file(importing->cache, &action, &entry, fd, err)
                     : TUCK_OBJECT_DAMAGED;
    importing->done.entries += status == 0;
    importing->done.bytes += status == 0 ? entry.size : 0;
    importing->done.damaged += status > 0;
    return status < 0 ? status : 0;
}

static bool is_stopped(const struct importing *importing) {
    return importing->how->stop && *importing->how->stop;
}

static int import_dir(struct importing *importing, unsigned first, struct tuck_error *err) {
    char name[3];
    int status = 0;
    (void)snprintf(name, sizeof(name), "%02x", first);
    int fd = openat(importing->dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        tuck_close_fd(&fd);
        return 0; // it was never needed
    }
    for (struct dirent *found; status == 0 && !is_stopped(importing) && (found = readdir(dir));) {
        size_t len = strlen(found->d_name);
        if (len == TUCK_ID_HEX + 2 && strcmp(found->d_name + TUCK_ID_HEX, "-a") == 0)
            status = import_one(importing, dirfd(dir), found->d_name, err);
        if (importing->how->progress)
            importing->how->progress(importing->how->arg, importing->done.entries,
                                     importing->done.bytes);
    }
    (void)closedir(dir);
    return status;
}

int tuck_cache_import(struct tuck_cache *cache, const struct tuck_import *how,
                      struct tuck_imported *ret_imported, struct tuck_error *err) {
    struct importing importing = {.cache = cache, .how = how};
    TUCK_CLEANUP(tuck_close_fd) int dirfd = open(how->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return tuck_fail_os(err, errno, "open the cache to import, '%s'", how->dir);
    importing.dirfd = dirfd;
    int status = 0;
    for (unsigned first = 0; first < 256 && status == 0 && !is_stopped(&importing); first++)
        status = import_dir(&importing, first, err);
    importing.done.is_complete = status == 0 && !is_stopped(&importing);
    *ret_imported = importing.done;
    return status;
}
