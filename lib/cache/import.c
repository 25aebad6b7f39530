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
 * half-written: the text has a fixed length, and the body is hashed as it is copied.
 * cmd/go/internal/cache/cache.go.
 *
 * First all lines are read, which is quick, then bodies are taken, those of the latest uses first: so
 * whatever ends the import (a full quota, ^C, a crash) has kept what is worth most, and the next one
 * passes over it without reading a body. Taking stops where the low watermark would be passed. Up to
 * the high one there would be room, but the first builds after it would then have to evict, and what
 * was imported goes first.
 *
 * No hard links: the go command writes its own files in place.
 */

#define LINE_BYTES 175 // "v1 " 64 " " 64 " " 20 " " 20 "\n"
#define DIGITS     20

// What entries take in the index is 150 bytes each or so, in pages of 4 KiB.
#define INDEX_BYTES      65536U
#define INDEX_ENTRY_SIZE 256U
#define OTHER_FILES      16U // directories, the lease: inodes that are needed besides the body's

struct candidate {
    struct tuck_action_id action;
    struct tuck_entry entry; // of what the line says: output, size, put_ns; access_s
};

// What a drive may still take. Found when it is needed first: a drive may come back meanwhile.
struct room {
    bool is_known;
    uint64_t bytes, objects;
};

struct importing {
    struct tuck_cache *cache;
    const struct tuck_import *how;
    int dirfd;
    uint32_t now_s;
    struct candidate *candidate;
    size_t count, allocated;
    struct room room[TUCK_DRIVES_MAX]; // by the bay's number
    struct tuck_imported *done;
};

static bool is_stopped(const struct importing *importing) {
    return importing->how->stop && *importing->how->stop;
}

static void show_progress(const struct importing *importing) {
    if (importing->how->progress)
        importing->how->progress(importing->how->arg, importing->done);
}

// What is gone, or is a link or a socket, is damage like any other; the rest speaks of the user's machine.
static void count_unopened(struct importing *importing, int os) {
    if (os == ENOENT || os == ENOTDIR || os == ELOOP || os == ENXIO)
        importing->done->damaged++;
    else
        importing->done->unreadable++;
}

// --- Lines ---------------------------------------------------------------------------------------

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

static bool read_line(const char line[static LINE_BYTES], struct candidate *candidate) {
    struct tuck_entry *entry = &candidate->entry;
    return memcmp(line, "v1 ", 3) == 0 && line[67] == ' ' && line[132] == ' ' && line[153] == ' ' &&
           line[174] == '\n' && tuck_unhex(candidate->action.bytes, line + 3, TUCK_ID_BYTES) &&
           tuck_unhex(entry->output.bytes, line + 68, TUCK_ID_BYTES) &&
           read_digits(line + 133, &entry->size) && read_digits(line + 154, &entry->put_ns);
}

// The go command sets the file's time when it uses the entry, as we do: once an hour. A copy of the
// directory may have lost it, and a clock that was wrong may have set it to anything.
static uint32_t access_of(const struct importing *importing, const struct stat *stat,
                          uint64_t put_ns) {
    uint64_t access_s = stat->st_mtim.tv_sec > 0 ? (uint64_t)stat->st_mtim.tv_sec : 0;
    if (access_s < put_ns / TUCK_NS_PER_S)
        access_s = put_ns / TUCK_NS_PER_S;
    return access_s < importing->now_s ? (uint32_t)access_s : importing->now_s;
}

static struct candidate *new_candidate(struct importing *importing) {
    if (importing->count == importing->allocated) {
        size_t allocated = importing->allocated ? 2 * importing->allocated : 1024;
        struct candidate *grown =
            reallocarray(importing->candidate, allocated, sizeof(*importing->candidate));
        if (!grown)
            return NULL;
        importing->candidate = grown;
        importing->allocated = allocated;
    }
    importing->candidate[importing->count] = (struct candidate){0};
    return &importing->candidate[importing->count];
}

// Reads the file of an action, whose name says which.
static int look_at_action(struct importing *importing, unsigned first, int dirfd, const char *name,
                          struct tuck_error *err) {
    char line[LINE_BYTES + 1];
    struct stat stat;
    struct tuck_action_id named;
    struct candidate *candidate = new_candidate(importing);
    if (!candidate)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to import");
    importing->done->found++;
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) < 0) {
        count_unopened(importing, errno);
        return 0;
    }
    ssize_t len = S_ISREG(stat.st_mode) ? tuck_pread_full(fd, line, sizeof(line), 0) : 0;
    if (len < 0) {
        importing->done->unreadable++;
        return 0;
    }
    if (len != LINE_BYTES || !read_line(line, candidate) ||
        !tuck_unhex(named.bytes, name, TUCK_ID_BYTES) || named.bytes[0] != first ||
        !tuck_action_equal(&named, &candidate->action) ||
        !tuck_index_believes(candidate->entry.put_ns)) {
        importing->done->damaged++;
        return 0;
    }
    candidate->entry.access_s = access_of(importing, &stat, candidate->entry.put_ns);
    importing->count++;
    return 0;
}

static int look_at_directory(struct importing *importing, unsigned first, struct tuck_error *err) {
    char name[3];
    (void)snprintf(name, sizeof(name), "%02x", first);
    int fd = openat(importing->dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int status = 0;
    if (!dir) {
        if (fd >= 0 || (errno != ENOENT && errno != ENOTDIR && errno != ELOOP))
            importing->done->unreadable++; // else the go command never needed it
        tuck_close_fd(&fd);
        return 0;
    }
    while (status == 0 && !is_stopped(importing)) {
        errno = 0;
        struct dirent *found = readdir(dir);
        if (!found) {
            importing->done->unreadable += errno != 0;
            break;
        }
        if (strlen(found->d_name) != TUCK_ID_HEX + 2 ||
            strcmp(found->d_name + TUCK_ID_HEX, "-a") != 0)
            continue;
        status = look_at_action(importing, first, dirfd(dir), found->d_name, err);
        show_progress(importing);
    }
    (void)closedir(dir);
    return status;
}

// The latest use first; of equal ones the later put, so that every import goes the same way.
static int compare_candidates(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->entry.access_s != y->entry.access_s)
        return x->entry.access_s > y->entry.access_s ? -1 : 1;
    if (x->entry.put_ns != y->entry.put_ns)
        return x->entry.put_ns > y->entry.put_ns ? -1 : 1;
    return memcmp(x->action.bytes, y->action.bytes, TUCK_ID_BYTES);
}

// --- Room ----------------------------------------------------------------------------------------

static bool count_object(void *arg, const struct tuck_object_seen *seen) {
    tuck_cache__census_add(arg, seen);
    return true;
}

// How much the bay's drive may take until it is at its low watermark.
static int find_room(struct importing *importing, struct bay *bay, struct bay_parts *parts,
                     struct tuck_error *err) {
    const struct tuck_bound *bound = &importing->cache->bound;
    struct room *room = &importing->room[bay->number];
    struct tuck_index_sums sums;
    struct tuck_space space;
    if (room->is_known)
        return 0;
    tuck_cache__sums(bay, &sums);
    // Of a new cache, one of the first release, or one whose index was lost, nobody knows how large it is.
    if (!sums.is_counted) {
        struct census census;
        tuck_cache__census_begin(&census, bay, parts);
        int status = tuck_object_walk(parts->drive, 0, 255, count_object, &census, err);
        if (status < 0)
            return status;
        if (tuck_cache__census_end(&census, parts) == 0)
            tuck_cache__sums(bay, &sums);
    }
    int status = tuck_drive_space(parts->drive, &space, err);
    if (status < 0)
        return status;
    *room = (struct room){true, UINT64_MAX, UINT64_MAX};
    uint64_t limit = tuck_cache__limit(importing->cache, &space);
    if (limit != UINT64_MAX)
        room->bytes =
            tuck_space_below_mark(limit, tuck_cache__used_bytes(parts, &sums), bound->low);
    if (bound->quota.percent > 0 && space.files > 0) { // a share of its inodes too
        struct tuck_quota share = {.percent = bound->quota.percent};
        room->objects = tuck_space_below_mark(tuck_space_limit(&share, space.files),
                                              tuck_cache__used_objects(&sums), bound->low);
    }
    return 0;
}

// Whether the drive keeps what has to stay free, and what the entries will need, without which bodies
// are of no use. Asked anew each time: others write to it as well.
static bool is_above_floor(const struct importing *importing, struct bay_parts *parts,
                           uint64_t bytes) {
    const struct tuck_quota *floor = &importing->cache->bound.floor;
    struct tuck_quota inodes = {.percent = floor->percent};
    struct tuck_space space;
    if (tuck_drive_space(parts->drive, &space, NULL) < 0)
        return true; // taking it will tell what is wrong
    bytes += INDEX_BYTES + importing->count * INDEX_ENTRY_SIZE;
    return space.free >= bytes &&
           tuck_space_below_floor(space.total, space.free - bytes, floor) == 0 &&
           (space.files == 0 ||
            (space.files_free > OTHER_FILES &&
             tuck_space_below_floor(space.files, space.files_free - 1, &inodes) == 0));
}

static int look_for_room(struct importing *importing, const struct tuck_entry *entry,
                         bool *ret_has_room, struct tuck_error *err) {
    struct bay *bay = tuck_cache__home(importing->cache, &entry->output);
    struct bay_parts *parts = bay ? bay_parts(bay) : NULL;
    char path[TUCK_OBJECT_PATH_ROOM];
    uint32_t tag;
    *ret_has_room = true;
    if (!parts)
        return 0; // taking it will tell that there is no drive
    int status = find_room(importing, bay, parts, err);
    if (status < 0)
        return status;
    const struct room *room = &importing->room[bay->number];
    uint64_t bytes = tuck_object_space_of(entry->size);
    if (room->bytes >= bytes && room->objects > 0 && is_above_floor(importing, parts, bytes))
        return 0;
    // What is there already takes nothing.
    tuck_object_path(parts->drive, &entry->output, path);
    *ret_has_room = tuck_object_check(path, entry->size, &tag) == 0;
    return 0;
}

static void take_room(struct importing *importing, const struct tuck_taken *taken, uint64_t size) {
    struct room *room = &importing->room[taken->bay->number];
    uint64_t bytes = tuck_object_space_of(size);
    if (!taken->is_new)
        return;
    if (room->bytes != UINT64_MAX)
        room->bytes -= room->bytes < bytes ? room->bytes : bytes;
    if (room->objects != UINT64_MAX)
        room->objects -= room->objects > 0;
}

// --- Bodies --------------------------------------------------------------------------------------

// False if the entry is not needed: the cache has one that is as new. Else what the cache knows of the action is kept.
static bool is_needed(struct importing *importing, const struct tuck_action_id *action,
                      struct tuck_entry *entry) {
    struct tuck_entry present;
    bool has_object;
    entry->is_expendable = true; // until it is used here
    if (!tuck_cache__find(importing->cache, action, &present, &has_object))
        return true;
    if (present.put_ns >= entry->put_ns) {
        // The newer put wins, also where its object is lost; but go may have the very same one.
        if (has_object || !tuck_output_equal(&present.output, &entry->output))
            return false;
        entry->put_ns = present.put_ns;
    }
    if (present.access_s > entry->access_s)
        entry->access_s = present.access_s;
    entry->hits = present.hits;
    entry->is_expendable = present.is_expendable;
    return true;
}

static int open_body(struct importing *importing, const struct tuck_output_id *output) {
    char path[TUCK_ID_HEX + 6];
    tuck_hex(path, output->bytes, 1);
    path[2] = '/';
    tuck_hex(path + 3, output->bytes, TUCK_ID_BYTES);
    memcpy(path + 3 + TUCK_ID_HEX, "-d", 3);
    return openat(importing->dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int import_body(struct importing *importing, const struct tuck_action_id *action,
                       const struct tuck_entry *entry, int fd, struct tuck_error *err) {
    struct tuck_imported *done = importing->done;
    struct tuck_taken taken;
    int status = tuck_cache__take_file(importing->cache, action, entry, fd, &taken, err);
    if (status == 0) {
        take_room(importing, &taken, entry->size);
        done->entries++;
        done->bytes += entry->size;
        done->shared_bytes += taken.is_shared ? entry->size : 0;
    }
    done->damaged += status == TUCK_OBJECT_DAMAGED;
    done->unreadable += status == TUCK_OBJECT_ABSENT;
    return status < 0 ? status : 0;
}

static int import_one(struct importing *importing, const struct candidate *candidate,
                      struct tuck_error *err) {
    struct tuck_imported *done = importing->done;
    struct tuck_entry entry = candidate->entry;
    struct stat stat;
    if (!is_needed(importing, &candidate->action, &entry)) {
        done->present++;
        return 0;
    }
    TUCK_CLEANUP(tuck_close_fd) int fd = open_body(importing, &entry.output);
    if (fd < 0 || fstat(fd, &stat) < 0) {
        count_unopened(importing, errno);
        return 0;
    }
    if (S_ISDIR(stat.st_mode)) {
        done->executables++;
        return 0;
    }
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size != entry.size) {
        done->damaged++;
        return 0;
    }
    bool has_room;
    int status = look_for_room(importing, &entry, &has_room, err);
    if (status == 0 && has_room)
        return import_body(importing, &candidate->action, &entry, fd, err);
    if (status == 0) {
        done->no_room++;
        done->no_room_bytes += entry.size;
    }
    return status;
}

// Until now entries may only be on their way to the index. One that a stopped process holds up does
// not fail the import: it is left beside the index when the cache ends.
static int flush_all(struct tuck_cache *cache, struct tuck_error *err) {
    int status = 0;
    for (size_t i = 0; i < cache->bays.count && status >= 0; i++) {
        struct bay_parts *parts = bay_parts(&cache->bays.bay[i]);
        if (parts)
            status = tuck_index_flush(parts->index, TUCK_NS_PER_S, err);
    }
    return status < 0 ? status : 0;
}

// --- All of it -----------------------------------------------------------------------------------

static int import_all(struct importing *importing, struct tuck_error *err) {
    struct tuck_cache *cache = importing->cache;
    int status = 0;
    for (unsigned first = 0; first < 256 && status == 0 && !is_stopped(importing); first++)
        status = look_at_directory(importing, first, err);
    if (importing->count > 0)
        qsort(importing->candidate, importing->count, sizeof(*importing->candidate),
              compare_candidates);
    // The answer does not matter here: asking notes which drives are full.
    for (size_t i = 0; i < cache->bays.count; i++)
        (void)tuck_cache__what_is_due(cache, &cache->bays.bay[i]);
    for (size_t i = 0; i < importing->count && status == 0 && !is_stopped(importing); i++) {
        status = import_one(importing, &importing->candidate[i], err);
        show_progress(importing);
    }
    if (status == 0)
        status = flush_all(cache, err);
    importing->done->is_complete = status == 0 && !is_stopped(importing);
    return status;
}

int tuck_cache_import(struct tuck_cache *cache, const struct tuck_import *how,
                      struct tuck_imported *ret_imported, struct tuck_error *err) {
    struct importing importing = {
        .cache = cache,
        .how = how,
        .now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S),
        .done = ret_imported,
    };
    *ret_imported = (struct tuck_imported){0};
    TUCK_CLEANUP(tuck_close_fd) int dirfd = open(how->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return tuck_fail_os(err, errno, "open the cache to import, '%s'", how->dir);
    if (faccessat(dirfd, "tuck.json", F_OK, 0) == 0)
        return tuck_fail(err, TUCK_EINVAL,
                         "'%s' is a cache of tuck; what can be imported is one of the go command",
                         how->dir);
    importing.dirfd = dirfd;
    int status = import_all(&importing, err);
    free(importing.candidate);
    return status;
}
