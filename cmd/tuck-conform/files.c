// SPDX-License-Identifier: MIT
/*
 * What happens to files behind a helper's back: damage, removal, full disks; and what must not
 * happen to them. Paths may contain {dir}, {gocache}, {home}, {tmp}, {base} and
 * {case}.
 */
#include "cmd/tuck-conform/engine.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <glob.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TREE_DESCRIPTORS 16
#define ALL_OF_IT        (1U << 30)

static char *path_word(struct engine *engine, const struct word *word) {
    return place_fill_in(engine->place, word_string(engine, word));
}

static void free_text(char **text) {
    free(*text);
}
#define OWNED_TEXT TUCK_CLEANUP(free_text) char *

static int trouble(struct engine *engine, const char *what, const char *path) {
    return fail(engine, "cannot %s '%s': %s", what, path, strerror(errno));
}

// -- whole files ---------------------------------------------------------------------------------
static bool read_file(const char *path, struct buf *ret_content) {
    int fd TUCK_CLEANUP(tuck_close_fd) = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    char block[1 << 15];
    ssize_t got = fd < 0 ? -1 : 0;
    while (fd >= 0 && (got = read(fd, block, sizeof(block))) > 0)
        buf_add(ret_content, block, (size_t)got);
    return got == 0;
}

// The same file, with other content: as a failing drive would leave it.
static bool rewrite_file(const char *path, const struct buf *content) {
    (void)chmod(path, 0600);
    int fd TUCK_CLEANUP(tuck_close_fd) = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && tuck_pwrite_all(fd, content->data, content->len, 0) == 0 &&
           ftruncate(fd, (off_t)content->len) == 0;
}

static bool write_new(const char *path, const void *data, size_t len) {
    int fd TUCK_CLEANUP(tuck_close_fd) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd >= 0 && tuck_pwrite_all(fd, data, len, 0) == 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status, (void)kind, (void)where;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static bool remove_all(const char *path) {
    return nftw(path, remove_one, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT;
}

// -- damage --------------------------------------------------------------------------------------
static uint32_t dice(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static void add_noise(struct buf *content, size_t len, uint64_t *state) {
    for (size_t i = 0; i < len; i++) {
        char byte = (char)dice(state);
        buf_add(content, &byte, 1);
    }
}

static void flip_bits(struct buf *content, size_t count, uint64_t *state) {
    for (size_t i = 0; i < count && content->len; i++)
        content->data[dice(state) % content->len] ^= (char)(1 << dice(state) % 8);
}

// False if there is no such kind of change.
static bool change(struct buf *content, const char *kind) {
    uint64_t state = content->len + 1;
    size_t len = content->len;
    if (strcmp(kind, "empty") == 0) {
        content->len = 0;
    } else if (strcmp(kind, "shorter") == 0) {
        content->len -= len > 0;
    } else if (strcmp(kind, "half") == 0) {
        content->len /= 2;
    } else if (strcmp(kind, "longer") == 0) {
        buf_text(content, "x");
    } else if (strcmp(kind, "first-byte") == 0) {
        content->data[0] ^= (char)(len > 0);
    } else if (strcmp(kind, "last-byte") == 0) {
        content->data[len ? len - 1 : 0] ^= (char)(len ? 0x80 : 0);
    } else if (strcmp(kind, "one-bit") == 0) {
        flip_bits(content, 1, &state);
    } else if (strcmp(kind, "hundred-bits") == 0) {
        flip_bits(content, 100, &state);
    } else if (strcmp(kind, "many-bits") == 0) {
        flip_bits(content, 3000, &state);
    } else if (strcmp(kind, "zeros") == 0 && len) {
        memset(content->data, 0, len);
    } else if (strcmp(kind, "ones") == 0 && len) {
        memset(content->data, 0xff, len);
    } else if (strcmp(kind, "noise") == 0) {
        content->len = 0;
        add_noise(content, len, &state);
    } else if (strcmp(kind, "longer-noise") == 0) {
        add_noise(content, 70000, &state);
    } else if (strcmp(kind, "shifted") == 0) {
        struct buf all = {0};
        buf_add(&all, "\0", 1);
        buf_add(&all, content->data, len ? len - 1 : 0);
        buf_free(content);
        *content = all;
    } else if (strcmp(kind, "twice") == 0) {
        struct buf all = {0};
        buf_add(&all, content->data, len);
        buf_add(&all, content->data, len);
        buf_free(content);
        *content = all;
    } else if (strcmp(kind, "foreign") == 0) {
        content->len = 0;
        buf_text(content, "SQLite format 3");
        for (size_t i = 0; i < 8000; i++)
            buf_add(content, "\0", 1);
    } else {
        return (strcmp(kind, "zeros") == 0 || strcmp(kind, "ones") == 0);
    }
    return true;
}

static bool replace_by_other_file(struct engine *engine, const char *path) {
    struct buf noise = {0}, fake = {0};
    struct stat status;
    uint64_t state = 7;
    buf_format(&fake, "%s/fake", engine->place->base);
    bool is_done = lstat(path, &status) == 0;
    if (is_done)
        add_noise(&noise, (size_t)status.st_size, &state);
    is_done = is_done && write_new(fake.data, noise.data, noise.len) &&
              chmod(fake.data, status.st_mode & 07777) == 0;
    struct timespec times[2] = {status.st_atim, status.st_mtim};
    is_done =
        is_done && utimensat(AT_FDCWD, fake.data, times, 0) == 0 && rename(fake.data, path) == 0;
    buf_free(&noise);
    buf_free(&fake);
    return is_done;
}

static bool replace_by_wrong_link(struct engine *engine, const char *path) {
    struct buf wrong = {0}, noise = {0};
    struct stat status;
    uint64_t state = 8;
    buf_format(&wrong, "%s/wrong", engine->place->base);
    bool is_done = lstat(path, &status) == 0;
    if (is_done)
        add_noise(&noise, (size_t)status.st_size, &state);
    is_done = is_done && write_new(wrong.data, noise.data, noise.len) && unlink(path) == 0 &&
              symlink(wrong.data, path) == 0;
    buf_free(&wrong);
    buf_free(&noise);
    return is_done;
}

static bool move_away(struct engine *engine, const char *path) {
    struct buf stolen = {0};
    buf_format(&stolen, "%s/stolen", engine->place->base);
    bool is_done = chmod(path, 0644) == 0 && rename(path, stolen.data) == 0;
    buf_free(&stolen);
    return is_done;
}

static int replace_by(struct engine *engine, const char *path, const char *kind) {
    const char *name = strrchr(path, '/');
    bool is_done;
    if (strcmp(kind, "gone") == 0)
        is_done = unlink(path) == 0;
    else if (strcmp(kind, "moved") == 0)
        is_done = move_away(engine, path);
    else if (strcmp(kind, "unreadable") == 0)
        is_done = chmod(path, 0) == 0;
    else if (strcmp(kind, "other-file") == 0)
        is_done = replace_by_other_file(engine, path);
    else if (strcmp(kind, "link-to-wrong") == 0)
        is_done = replace_by_wrong_link(engine, path);
    else if (strcmp(kind, "directory") == 0)
        is_done = unlink(path) == 0 && mkdir(path, 0755) == 0;
    else if (strcmp(kind, "fifo") == 0)
        is_done = unlink(path) == 0 && mkfifo(path, 0644) == 0;
    else if (strcmp(kind, "link-to-itself") == 0)
        is_done = unlink(path) == 0 && symlink(name ? name + 1 : path, path) == 0;
    else if (strcmp(kind, "link-to-nothing") == 0)
        is_done = unlink(path) == 0 && symlink("nothing", path) == 0;
    else if (strcmp(kind, "link-to-zero") == 0)
        is_done = unlink(path) == 0 && symlink("/dev/zero", path) == 0;
    else
        script_error(engine, "there is no damage '%s'", kind);
    return is_done ? 0 : trouble(engine, "damage", path);
}

// damage PATH KIND
int verb_damage(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    const char *kind = word_string(engine, &statement->words[2]);
    struct buf content = {0};
    int result = 0;
    struct stat status;
    if (lstat(path, &status) < 0)
        result = fail(engine, "there is no file '%s'", path);
    else if (S_ISREG(status.st_mode) && read_file(path, &content)) {
        buf_add(&content, "", 0);
        if (change(&content, kind))
            result = rewrite_file(path, &content) ? 0 : trouble(engine, "damage", path);
        else
            result = replace_by(engine, path, kind);
    } else {
        result = replace_by(engine, path, kind);
    }
    buf_free(&content);
    place_forget(engine->place);
    return result;
}

// -- plain changes -------------------------------------------------------------------------------
int verb_remove(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    if (!remove_all(path))
        return trouble(engine, "remove", path);
    place_forget(engine->place);
    return 0;
}

int verb_rename(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT from = path_word(engine, &statement->words[1]);
    OWNED_TEXT to = path_word(engine, &statement->words[2]);
    if (rename(from, to) < 0)
        return trouble(engine, "rename", from);
    place_forget(engine->place);
    return 0;
}

static void make_parents(const char *path) {
    OWNED_TEXT parent = need_strndup(path, strlen(path));
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return;
    *slash = '\0';
    (void)!tuck_mkdir_parents(parent);
}

int verb_write(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    struct value content = value_flat(&engine->arena, word_value(engine, &statement->words[2]));
    make_parents(path);
    if (!write_new(path, content.data, content.len))
        return trouble(engine, "write", path);
    return 0;
}

static mode_t mode_word(struct engine *engine, const struct word *word) {
    mode_t mode = 0;
    for (const char *at = word_string(engine, word); *at >= '0' && *at <= '7'; at++)
        mode = mode * 8 + (mode_t)(*at - '0');
    return mode;
}

int verb_mkdir(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    make_parents(path);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return trouble(engine, "make", path);
    if (statement->word_count > 2 && chmod(path, mode_word(engine, &statement->words[2])) < 0)
        return trouble(engine, "change the mode of", path);
    return 0;
}

// link TARGET PATH
int verb_link(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT target = path_word(engine, &statement->words[1]);
    OWNED_TEXT path = path_word(engine, &statement->words[2]);
    make_parents(path);
    if (symlink(target, path) < 0)
        return trouble(engine, "link", path);
    return 0;
}

int verb_chmod(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    if (chmod(path, mode_word(engine, &statement->words[2])) < 0)
        return trouble(engine, "change the mode of", path);
    return 0;
}

// age PATH TIME: it was changed so long ago
int verb_age(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    int64_t then = (int64_t)tuck_clock_wall_ns() - word_number(engine, &statement->words[2]);
    struct timespec time = {.tv_sec = then / 1000000000, .tv_nsec = then % 1000000000};
    struct timespec times[2] = {time, time};
    if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0)
        return trouble(engine, "age", path);
    return 0;
}

// -- what must not change ------------------------------------------------------------------------
static bool digest_fd(int fd, uint8_t ret_digest[TUCK_ID_BYTES]) {
    struct tuck_digest digest;
    struct tuck_output_id id;
    char block[1 << 15];
    uint64_t at = 0;
    ssize_t got;
    tuck_digest_init(&digest);
    while ((got = pread(fd, block, sizeof(block), (off_t)at)) > 0) {
        tuck_digest_add(&digest, block, (size_t)got);
        at += (uint64_t)got;
    }
    tuck_digest_end(&digest, &id);
    memcpy(ret_digest, id.bytes, TUCK_ID_BYTES);
    return got == 0;
}

// open PATH as NAME: as the go command has its module indexes
int verb_open(struct engine *engine, const struct statement *statement) {
    const char *path = word_string(engine, &statement->words[1]);
    struct opened *one = need_alloc(sizeof(*one));
    struct stat status;
    one->name = need_strndup(word_string(engine, &statement->words[3]),
                             strlen(word_string(engine, &statement->words[3])));
    one->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    one->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (one->fd < 0 || fstat(one->fd, &status) < 0 || !digest_fd(one->fd, one->digest))
        return fail(engine, "the file '%s' cannot be read: %s", path, strerror(errno));
    one->size = (uint64_t)status.st_size;
    if (one->watch >= 0)
        (void)inotify_add_watch(one->watch, path, IN_MODIFY);
    one->next = engine->opened;
    engine->opened = one;
    return 0;
}

static int opened_unchanged(struct engine *engine, const struct opened *one) {
    union {
        struct inotify_event first;
        char bytes[4096];
    } events;
    struct stat status;
    uint8_t digest[TUCK_ID_BYTES];
    if (fstat(one->fd, &status) < 0 || (uint64_t)status.st_size != one->size)
        return fail(engine, "the file was truncated or extended under its reader");
    if (!digest_fd(one->fd, digest) || memcmp(digest, one->digest, sizeof(digest)) != 0)
        return fail(engine, "the bytes of the file changed under its reader");
    if (one->watch >= 0 && read(one->watch, &events, sizeof(events)) > 0 &&
        events.first.mask & IN_MODIFY)
        return fail(engine, "the file was written to under its reader");
    return 0;
}

// nftw() hands nothing through.
static struct {
    struct buf *listing;
    const struct snapshot *snapshot;
    size_t base;
} listing_now;

static int list_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
    struct buf *to = listing_now.listing;
    (void)where, (void)kind;
    for (size_t i = 0; i < listing_now.snapshot->without_count; i++) {
        size_t len = strlen(listing_now.snapshot->without[i]);
        if (strncmp(path, listing_now.snapshot->without[i], len) == 0 &&
            (path[len] == '/' || !path[len]))
            return 0;
    }
    buf_format(to, "%s %o", path + listing_now.base, status->st_mode & S_IFMT);
    if (S_ISREG(status->st_mode)) {
        uint8_t digest[TUCK_ID_BYTES] = {0};
        char hex[TUCK_ID_HEX];
        int fd TUCK_CLEANUP(tuck_close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
            (void)digest_fd(fd, digest);
        tuck_hex(hex, digest, sizeof(digest));
        buf_format(to, " %lld ", (long long)status->st_size);
        buf_add(to, hex, 16);
    }
    buf_text(to, "\n");
    return 0;
}

static int by_line(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(struct buf *text) {
    size_t count = 0;
    char **lines = NULL;
    struct buf sorted = {0};
    for (char *at = text->data; at && *at;) {
        char *stop = strchr(at, '\n');
        if (stop)
            *stop = '\0';
        lines = need_realloc(lines, (count + 1) * sizeof(*lines));
        lines[count++] = at;
        at = stop ? stop + 1 : NULL;
    }
    if (count)
        qsort(lines, count, sizeof(*lines), by_line);
    for (size_t i = 0; i < count; i++)
        buf_format(&sorted, "%s\n", lines[i]);
    free(lines);
    buf_free(text);
    *text = sorted;
}

static void list_tree(const struct snapshot *snapshot, struct buf *ret_listing) {
    listing_now.listing = ret_listing;
    listing_now.snapshot = snapshot;
    listing_now.base = strlen(snapshot->top);
    (void)nftw(snapshot->top, list_one, TREE_DESCRIPTORS, FTW_PHYS);
    sort_lines(ret_listing);
}

// snapshot NAME DIRECTORY [without PATH...]
int verb_snapshot(struct engine *engine, const struct statement *statement) {
    struct snapshot *one = need_alloc(sizeof(*one));
    const char *name = word_string(engine, &statement->words[1]);
    one->name = need_strndup(name, strlen(name));
    one->top = path_word(engine, &statement->words[2]);
    for (size_t i = 4; i < statement->word_count; i++) {
        one->without = need_realloc(one->without, (one->without_count + 1) * sizeof(*one->without));
        one->without[one->without_count++] = path_word(engine, &statement->words[i]);
    }
    list_tree(one, &one->listing);
    one->next = engine->snapshots;
    engine->snapshots = one;
    return 0;
}

// The first line that stands in only one of two sorted listings.
static void first_difference(const char *a, const char *b, struct buf *ret_text) {
    while (a && b && *a && *b) {
        size_t one = strcspn(a, "\n"), two = strcspn(b, "\n");
        if (one != two || memcmp(a, b, one) != 0)
            break;
        a += one + (a[one] == '\n');
        b += two + (b[two] == '\n');
    }
    bool has_a = a && *a, has_b = b && *b;
    buf_format(ret_text, "before '%.*s', now '%.*s'", has_a ? (int)strcspn(a, "\n") : 0,
               has_a ? a : "", has_b ? (int)strcspn(b, "\n") : 0, has_b ? b : "");
}

static int snapshot_unchanged(struct engine *engine, const struct snapshot *one) {
    struct buf now = {0}, difference = {0};
    list_tree(one, &now);
    int result = 0;
    if (now.len != one->listing.len || (now.len && memcmp(now.data, one->listing.data, now.len))) {
        first_difference(one->listing.data, now.data, &difference);
        result = fail(engine, "files changed below '%s': %s", one->top, difference.data);
    }
    buf_free(&now);
    buf_free(&difference);
    return result;
}

// unchanged NAME: an opened file, or a snapshot
int verb_unchanged(struct engine *engine, const struct statement *statement) {
    const char *name = word_string(engine, &statement->words[1]);
    for (const struct opened *one = engine->opened; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return opened_unchanged(engine, one);
    for (const struct snapshot *one = engine->snapshots; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return snapshot_unchanged(engine, one);
    script_error(engine, "nothing was opened or listed as '%s'", name);
}

// -- patterns ------------------------------------------------------------------------------------
void find_files(const struct engine *engine, const char *pattern, struct buf *ret_lines) {
    OWNED_TEXT filled = place_fill_in(engine->place, pattern);
    glob_t found;
    if (glob(filled, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        buf_format(ret_lines, "%s%s", ret_lines->len ? "\n" : "", found.gl_pathv[i]);
    globfree(&found);
}

static struct {
    const struct engine *engine;
    struct buf *lines;
} strays_now;

static bool may_stay(const struct engine *engine, const char *path) {
    char *const *patterns = engine->setup->profile->value[PROFILE_own_files];
    const char *name = strrchr(path, '/');
    if (!patterns[0]) // a guess, from how programs name such files
        return !strstr(name, "tmp") && !strstr(name, "temp") && !strstr(name, ".part");
    for (size_t i = 0; i < PROFILE_VALUES && patterns[i]; i++) {
        OWNED_TEXT filled = place_fill_in(engine->place, patterns[i]);
        if (fnmatch(filled, path, FNM_PATHNAME) == 0)
            return true;
    }
    return false;
}

static int look_for_stray(const char *path, const struct stat *status, int kind,
                          struct FTW *where) {
    (void)kind, (void)where;
    if (!S_ISDIR(status->st_mode) && !may_stay(strays_now.engine, path))
        buf_format(strays_now.lines, "%s%s", strays_now.lines->len ? "\n" : "", path);
    return 0;
}

void find_strays(const struct engine *engine, struct buf *ret_lines) {
    strays_now.engine = engine;
    strays_now.lines = ret_lines;
    (void)nftw(engine->place->dir, look_for_stray, TREE_DESCRIPTORS, FTW_PHYS);
    (void)nftw(engine->place->tmp, look_for_stray, TREE_DESCRIPTORS, FTW_PHYS);
}

// -- copies of a place ---------------------------------------------------------------------------
static struct {
    const char *to;
    size_t from;
} copy_now;

static int copy_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
    struct buf to = {0}, content = {0};
    (void)kind, (void)where;
    buf_format(&to, "%s%s", copy_now.to, path + copy_now.from);
    if (S_ISDIR(status->st_mode)) {
        (void)mkdir(to.data, 0700);
    } else if (S_ISLNK(status->st_mode)) {
        char target[4096];
        ssize_t len = readlink(path, target, sizeof(target) - 1);
        target[len < 0 ? 0 : len] = '\0';
        (void)!symlink(target, to.data);
    } else if (S_ISREG(status->st_mode) && read_file(path, &content)) {
        (void)write_new(to.data, content.data, content.len);
        (void)chmod(to.data, status->st_mode & 07777);
    }
    buf_free(&to);
    buf_free(&content);
    return 0;
}

// copy-place NAME: a new place with a copy of all files of this one, as they are at this moment
int verb_copy_place(struct engine *engine, const struct statement *statement) {
    struct place *from = engine->place;
    struct place *to = use_place(engine, word_string(engine, &statement->words[1]));
    copy_now.to = to->base;
    copy_now.from = strlen(from->base);
    (void)nftw(from->base, copy_one, TREE_DESCRIPTORS, FTW_PHYS);
    for (size_t i = 0; i < from->known_count; i++)
        for (size_t j = 0; j < from->known[i].body_count; j++)
            (void)place_may(to, from->known[i].action, from->known[i].bodies[j]);
    return 0;
}

// -- disks ---------------------------------------------------------------------------------------
static bool write_text(const char *path, const char *text) {
    int fd TUCK_CLEANUP(tuck_close_fd) = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

// Mounts are made where only this worker and its helpers see them, and end with them.
static bool have_own_mounts(void) {
    static int state; // 0: not tried, 1: yes, -1: no
    if (state == 0) {
        uid_t user = geteuid();
        gid_t group = getegid();
        char map[64];
        state = unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) == 0 ? 1 : -1;
        if (state > 0 && user != 0) {
            (void)snprintf(map, sizeof(map), "%u %u 1", user, user);
            (void)write_text("/proc/self/setgroups", "deny");
            state = write_text("/proc/self/uid_map", map) ? 1 : -1;
            (void)snprintf(map, sizeof(map), "%u %u 1", group, group);
            (void)write_text("/proc/self/gid_map", map);
        }
        if (state > 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            state = -1;
    }
    return state > 0;
}

// mount PATH OPTIONS | mount PATH read-only | mount PATH off
int verb_mount(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    const char *options = word_string(engine, &statement->words[2]);
    if (!have_own_mounts())
        return not_judged(engine, "needs root or user namespaces, to mount a small file system");
    if (strcmp(options, "off") == 0)
        return umount2(path, MNT_DETACH) == 0 ? 0 : trouble(engine, "unmount", path);
    if (strcmp(options, "read-only") == 0) {
        if (mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
            return trouble(engine, "mount read-only", path);
        return 0;
    }
    (void)!tuck_mkdir_parents(path);
    if (mount("tmpfs", path, "tmpfs", 0, options) < 0)
        return not_judged(engine, "cannot mount a small file system: %s", strerror(errno));
    place_forget(engine->place);
    return 0;
}

static void take_inodes(const char *path) {
    for (int i = 0, fd = 0; i < 10000 && fd >= 0; i++) {
        struct buf name = {0};
        buf_format(&name, "%s/filler%d", path, i);
        fd = open(name.data, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0)
            (void)close(fd);
        buf_free(&name);
    }
}

// fill-disk DIRECTORY [inodes]: up to the last byte, or the last file
int verb_fill_disk(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    struct buf filler = {0};
    if (statement->word_count > 2) {
        take_inodes(path);
        return 0;
    }
    buf_format(&filler, "%s/filler", path);
    int fd TUCK_CLEANUP(tuck_close_fd) =
        open(filler.data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    static char block[1 << 20];
    uint64_t all = 0;
    for (size_t size = sizeof(block); fd >= 0 && size && all < ALL_OF_IT;) {
        ssize_t put = write(fd, block, size);
        if (put <= 0)
            size /= 2;
        else
            all += (uint64_t)put;
    }
    buf_free(&filler);
    return 0;
}

// set-version FILE BEFORE NUMBER: the digits behind the first match of BEFORE become NUMBER
int verb_set_version(struct engine *engine, const struct statement *statement) {
    OWNED_TEXT path = path_word(engine, &statement->words[1]);
    const char *before = word_string(engine, &statement->words[2]);
    struct buf content = {0}, changed = {0};
    regex_t regex;
    regmatch_t match;
    if (regcomp(&regex, before, REG_EXTENDED) != 0)
        script_error(engine, "'%s' is no regular expression", before);
    if (!read_file(path, &content) || !content.len ||
        regexec(&regex, content.data, 1, &match, 0) != 0)
        return not_judged(engine, "there is no version in '%s'", path);
    const char *from = content.data + match.rm_eo;
    size_t digits = strspn(from, "0123456789");
    buf_add(&changed, content.data, (size_t)match.rm_eo);
    buf_text(&changed, word_string(engine, &statement->words[3]));
    buf_text(&changed, from + digits);
    int result = rewrite_file(path, &changed) ? 0 : trouble(engine, "write", path);
    buf_free(&content);
    buf_free(&changed);
    regfree(&regex);
    place_forget(engine->place);
    return result;
}

// -- clear ---------------------------------------------------------------------------------------
// clear: the helper's own command that removes what it may
int verb_clear(struct engine *engine, const struct statement *statement) {
    const char *command = engine->setup->profile->value[PROFILE_clear_command][0];
    (void)statement;
    if (!command)
        return not_judged(engine, "needs a profile with clear_command");
    OWNED_TEXT filled = place_fill_in(engine->place, command);
    struct buf line = {0};
    buf_format(&line, "GOCACHE='%s' HOME='%s' exec env ", engine->place->gocache,
               engine->place->home);
    for (const char *at = filled; *at;) { // {program} is the helper itself
        if (strncmp(at, "{program}", 9) == 0) {
            buf_format(&line, "'%s'", engine->setup->command[0]);
            at += 9;
        } else {
            buf_add(&line, at++, 1);
        }
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", line.data, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    uint64_t deadline_ns = tuck_clock_mono_ns() + engine->patience_ns;
    while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
        if (tuck_clock_mono_ns() > deadline_ns) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            break;
        }
        (void)helper_pump(&engine->group, tuck_clock_mono_ns() + 2 * TUCK_NS_PER_MS, NULL, NULL);
    }
    place_forget(engine->place);
    int result = status == 0 ? 0 : fail(engine, "clearing the cache failed: %s", line.data);
    buf_free(&line);
    return result;
}
