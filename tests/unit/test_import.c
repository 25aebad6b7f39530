// SPDX-License-Identifier: MIT
/*
 * Import: what is taken over from a built-in cache of the go command and what is left out, whatever state that cache is
 * in, and that nothing happens to it.
 */
#include "tests/unit/cache_world.h"

#include "lib/base/clock.h"
#include "lib/index/index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define HOUR_S 3600U
#define DAY_S  86400U

// --- System calls --------------------------------------------------------------------------------

int __real_openat64(int dirfd, const char *path, int flags, ...);
int __wrap_openat64(int dirfd, const char *path, int flags, ...);
int __real_fstatvfs64(int fd, struct statvfs *ret_found);
int __wrap_fstatvfs64(int fd, struct statvfs *ret_found);

static const char *forbidden; // part of a path that may not be opened
static struct statvfs pretended;
static const char *pretended_path; // only below it; NULL: everywhere

int __wrap_openat64(int dirfd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (forbidden && strstr(path, forbidden)) {
        errno = EACCES;
        return -1;
    }
    return __real_openat64(dirfd, path, flags, mode);
}

int __wrap_fstatvfs64(int fd, struct statvfs *ret_found) {
    char link[64], path[4200];
    int status = __real_fstatvfs64(fd, ret_found);
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len < 0 ? 0 : len] = '\0';
    if (pretended.f_bsize &&
        (!pretended_path || strncmp(path, pretended_path, strlen(pretended_path)) == 0))
        *ret_found = pretended;
    return status;
}

// A file system of so many blocks and inodes. 0 of each: the real one.
static void pretend_space(uint64_t blocks, uint64_t free_blocks, uint64_t files,
                          uint64_t free_files) {
    pretended = (struct statvfs){
        .f_bsize = blocks ? 4096 : 0,
        .f_frsize = 4096,
        .f_blocks = blocks,
        .f_bfree = free_blocks,
        .f_bavail = free_blocks,
        .f_files = files,
        .f_ffree = free_files,
        .f_favail = free_files,
    };
}

// --- The go command's cache ----------------------------------------------------------------------

static uint64_t now_s(void) {
    return tuck_clock_wall_ns() / TUCK_NS_PER_S;
}

static struct cache_world world_new(void) {
    forbidden = NULL;
    pretended_path = NULL;
    pretend_space(0, 0, 0, 0);
    return cache_world_new();
}

// "<dir>/ab/<id>-a", made with its directory.
static const char *go_path(const char *dir, const uint8_t *id, char kind) {
    char name[80] = {0}, first[3] = {0};
    tuck_hex(first, id, 1);
    tuck_hex(name, id, 1);
    name[2] = '/';
    tuck_hex(name + 3, id, TUCK_ID_BYTES);
    name[3 + TUCK_ID_HEX] = '-';
    name[4 + TUCK_ID_HEX] = kind;
    (void)mkdir(unit_path(dir, first), 0777);
    return unit_path(dir, name);
}

static const char *action_path(const char *dir, uint64_t action) {
    struct tuck_action_id id = unit_action(action);
    return go_path(dir, id.bytes, 'a');
}

static const char *body_path(const char *dir, const struct body *body) {
    return go_path(dir, body->output.bytes, 'd');
}

static void set_time(const char *path, uint64_t time_s) {
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)time_s}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void line_of(uint64_t action, const struct body *body, uint64_t put_ns,
                    char ret_line[static 200]) {
    struct tuck_action_id id = unit_action(action);
    char hex[2][TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex[0], id.bytes, TUCK_ID_BYTES);
    tuck_hex(hex[1], body->output.bytes, TUCK_ID_BYTES);
    int len = snprintf(ret_line, 200, "v1 %s %s %20zu %20llu\n", hex[0], hex[1], body->len,
                       (unsigned long long)put_ns);
    assert_int_equal(len, 175);
}

// As the go command puts it.
static void go_put(const char *dir, uint64_t action, const struct body *body, uint64_t put_ns) {
    char line[200];
    line_of(action, body, put_ns, line);
    unit_write_file(body_path(dir, body), body->data, body->len);
    unit_write_file(action_path(dir, action), line, 175);
    set_time(action_path(dir, action), put_ns / TUCK_NS_PER_S);
}

// What is below a directory, but for tuck's own: names, sizes, contents and times as one number.
static uint64_t picture_of(const char *dir) {
    uint64_t sum = 0;
    DIR *open = opendir(dir);
    assert_non_null(open);
    for (struct dirent *found; (found = readdir(open));) {
        struct stat stat;
        if (found->d_name[0] == '.' || strcmp(found->d_name, "tuck") == 0)
            continue;
        const char *path = unit_path(dir, found->d_name);
        assert_int_equal(lstat(path, &stat), 0);
        uint64_t one = 17 * stat.st_mode + (uint64_t)stat.st_size * 31 + stat.st_nlink * 7;
        one = one * 1000003 + (uint64_t)stat.st_mtim.tv_sec + (uint64_t)stat.st_mtim.tv_nsec;
        one = one * 1000003 + (uint64_t)stat.st_ctim.tv_sec + (uint64_t)stat.st_ctim.tv_nsec;
        for (const char *at = found->d_name; *at; at++)
            one = one * 131 + (uint8_t)*at;
        sum += one + (S_ISDIR(stat.st_mode) ? picture_of(path) : 0);
    }
    (void)closedir(open);
    return sum;
}

// --- Importing -----------------------------------------------------------------------------------

static int import_into(struct tuck_cache *cache, const char *dir, struct tuck_imported *ret_done,
                       struct tuck_error *err) {
    struct tuck_import how = {.dir = dir};
    return tuck_cache_import(cache, &how, ret_done, err);
}

static struct tuck_imported import(const struct cache_world *world) {
    struct tuck_cache *cache = cache_open(world, TUCK_LAZY);
    struct tuck_imported done;
    uint64_t before = picture_of(world->gocache);
    assert_int_equal(import_into(cache, world->gocache, &done, NULL), 0);
    assert_true(done.is_complete);
    assert_int_equal(done.entries + done.present + done.executables + done.damaged + done.no_room +
                         done.unreadable,
                     done.found);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    assert_int_equal(picture_of(world->gocache), before);
    assert_int_equal(unit_count_names(world->tmp), 0);
    return done;
}

static bool has(const struct cache_world *world, uint64_t action, const struct body *body,
                struct tuck_hit *ret_hit) {
    struct tuck_cache *cache = cache_open(world, TUCK_LAZY);
    bool is_hit = get(cache, action, body, ret_hit);
    tuck_cache_close(cache); // nothing is written of the use
    return is_hit;
}

static struct tuck_entry entry_in(const struct cache_world *world, uint64_t action) {
    struct tuck_index *index = NULL;
    struct tuck_index_options options = {0};
    struct tuck_entry entry;
    struct tuck_action_id id = unit_action(action);
    int dirfd = unit_open_directory(unit_path(world->dir, "index"));
    assert_int_equal(tuck_index_open(dirfd, &options, &index, NULL), 0);
    assert_int_equal(tuck_index_find(index, &id, &entry), 0);
    tuck_index_close(index);
    (void)close(dirfd);
    return entry;
}

static void what_go_has_is_got_here_with_its_time_and_go_keeps_it(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 65535, 65536, 65537, 300000};
    struct cache_world world = world_new();
    uint64_t begin_ns = tuck_clock_wall_ns() - 2 * DAY_S * TUCK_NS_PER_S, bytes = 0;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(sizes); i++) {
        struct body body = body_of(i, sizes[i]);
        go_put(world.gocache, i, &body, begin_ns + i * 1234567891);
        bytes += sizes[i];
        free(body.data);
    }
    struct tuck_imported done = import(&world);
    assert_int_equal(done.entries, TUCK_ARRAY_LEN(sizes));
    assert_int_equal(done.bytes, bytes);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(sizes); i++) {
        struct body body = body_of(i, sizes[i]);
        struct tuck_hit hit;
        struct stat stat_go, stat_tuck;
        assert_true(has(&world, i, &body, &hit));
        assert_int_equal(hit.time_ns, begin_ns + i * 1234567891);
        assert_int_equal(stat(body_path(world.gocache, &body), &stat_go), 0);
        assert_int_equal(stat(hit.path, &stat_tuck), 0);
        assert_int_not_equal(stat_go.st_ino, stat_tuck.st_ino);
        free(body.data);
    }
    struct tuck_drive_stats stats = stats_of(&world);
    assert_int_equal(stats.entries, TUCK_ARRAY_LEN(sizes));
    assert_int_equal(stats.counters.value[TUCK_COUNT_imported], TUCK_ARRAY_LEN(sizes));
    assert_int_equal(stats.counters.value[TUCK_COUNT_puts], 0);
    assert_int_equal(stats.used_objects, TUCK_ARRAY_LEN(sizes));
    assert_true(stats.is_counted);
}

static void what_go_writes_later_in_its_files_is_not_seen_here(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 5000), other = body_of(2, 5000);
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    (void)import(&world);
    int fd = open(body_path(world.gocache, &body), O_WRONLY);
    assert_int_equal(pwrite(fd, other.data, 5000, 0), 5000);
    assert_int_equal(ftruncate(fd, 0), 0);
    (void)close(fd);
    assert_true(has(&world, 1, &body, NULL));
    free(body.data);
    free(other.data);
}

static void an_import_again_takes_nothing_and_reads_no_body(void **state) {
    (void)state;
    struct cache_world world = world_new();
    for (uint64_t i = 0; i < 20; i++) {
        struct body body = body_of(i % 15, 100 * (i % 15));
        go_put(world.gocache, i, &body, tuck_clock_wall_ns());
        free(body.data);
    }
    assert_int_equal(import(&world).entries, 20);
    calls_forget();
    kernel_break_reads(unit_path(world.gocache, "tuck/objects"));
    struct tuck_imported done = import(&world);
    assert_int_equal(done.present, 20);
    assert_int_equal(done.entries, 0);
    assert_int_equal(calls_count(CALL_READ_OBJECT), 0);
    assert_int_equal(calls_count(CALL_WRITE_OBJECT), 0);
    assert_int_equal(calls_count(CALL_WRITE_ENTRIES), 0);
}

static void of_two_puts_of_an_action_the_newer_one_wins_wherever_it_is(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body ours = body_of(1, 1000), gos = body_of(2, 2000);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_hit before = put(cache, 1, &ours), hit;
    (void)put(cache, 2, &ours);
    cache_end(cache);
    go_put(world.gocache, 1, &gos, before.time_ns - 1);
    go_put(world.gocache, 2, &gos, tuck_clock_wall_ns());
    struct tuck_imported done = import(&world);
    assert_int_equal(done.present, 1);
    assert_int_equal(done.entries, 1);
    assert_true(has(&world, 1, &ours, &hit));
    assert_int_equal(hit.time_ns, before.time_ns);
    assert_true(has(&world, 2, &gos, NULL));
    free(ours.data);
    free(gos.data);
}

static void an_object_that_was_lost_here_comes_back_and_its_put_grows_no_older(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000), other = body_of(2, 1000);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_hit lost = put(cache, 1, &body), other_lost = put(cache, 2, &other), hit;
    cache_end(cache);
    assert_int_equal(unlink(lost.path), 0);
    assert_int_equal(unlink(other_lost.path), 0);
    go_put(world.gocache, 1, &body, lost.time_ns - TUCK_NS_PER_S);
    go_put(world.gocache, 2, &body,
           other_lost.time_ns - TUCK_NS_PER_S); // another output than the newer put's
    struct tuck_imported done = import(&world);
    assert_int_equal(done.entries, 1);
    assert_int_equal(done.present, 1);
    calls_forget();
    assert_true(has(&world, 1, &body, &hit));
    assert_int_equal(hit.time_ns, lost.time_ns);
    assert_int_equal(calls_count(CALL_READ_OBJECT), 0); // it was hashed when it came
    assert_false(has(&world, 2, &other, NULL));
    free(body.data);
    free(other.data);
}

static void what_was_used_here_is_not_made_older_by_an_import(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000), fresh = body_of(2, 1000);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &body);
    cache_end(cache);
    uint64_t later_ns = tuck_clock_wall_ns();
    go_put(world.gocache, 1, &body, later_ns);
    go_put(world.gocache, 2, &fresh, later_ns);
    set_time(action_path(world.gocache, 1),
             now_s() - 3 * DAY_S); // as after a copy of the directory
    assert_int_equal(import(&world).entries, 2);
    struct tuck_entry entry = entry_in(&world, 1);
    assert_int_equal(entry.put_ns, later_ns);
    assert_false(entry.is_expendable);
    assert_in_range(entry.access_s, now_s() - 60, now_s());
    entry = entry_in(&world, 2);
    assert_true(entry.is_expendable);
    assert_int_equal(entry.hits, 0);
    free(body.data);
    free(fresh.data);
}

static void what_go_put_again_keeps_its_use_here(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    uint64_t put_ns = tuck_clock_wall_ns() - 2 * HOUR_S * TUCK_NS_PER_S;
    // Put here four hours ago and used now; go has put it again in between.
    tuck_clock_shift(-(int64_t)(4 * HOUR_S * TUCK_NS_PER_S));
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 3, &body);
    cache_end(cache);
    tuck_clock_shift((int64_t)(4 * HOUR_S * TUCK_NS_PER_S));
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 3, &body, NULL));
    cache_end(cache);
    go_put(world.gocache, 3, &body, put_ns);
    assert_int_equal(import(&world).entries, 1);
    struct tuck_entry entry = entry_in(&world, 3);
    assert_int_equal(entry.put_ns, put_ns);
    assert_in_range(entry.access_s, now_s() - 60, now_s());
    assert_int_equal(entry.hits, 1);
    free(body.data);
}

static void the_last_use_is_that_of_go_but_no_time_to_come_and_none_before_the_put(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    uint64_t now = now_s(), put_ns = (now - 3 * DAY_S) * TUCK_NS_PER_S + 5;
    for (uint64_t action = 0; action < 4; action++)
        go_put(world.gocache, action, &body, put_ns);
    set_time(action_path(world.gocache, 0), now - DAY_S);
    set_time(action_path(world.gocache, 1), now + 9 * DAY_S);
    set_time(action_path(world.gocache, 2), UINT64_C(5000000000)); // more than 32 bits of seconds
    set_time(action_path(world.gocache, 3), 0);
    assert_int_equal(import(&world).entries, 4);
    assert_int_equal(entry_in(&world, 0).access_s, now - DAY_S);
    assert_in_range(entry_in(&world, 1).access_s, now, now_s());
    assert_in_range(entry_in(&world, 2).access_s, now, now_s());
    assert_int_equal(entry_in(&world, 3).access_s, now - 3 * DAY_S);
    for (uint64_t action = 0; action < 4; action++)
        assert_int_equal(entry_in(&world, action).put_ns, put_ns);
    free(body.data);
}

static void a_put_of_the_first_second_keeps_its_time(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    struct tuck_hit hit;
    go_put(world.gocache, 1, &body, 0);
    go_put(world.gocache, 2, &body, 1);
    assert_int_equal(import(&world).entries, 2);
    assert_true(has(&world, 1, &body, &hit));
    assert_int_equal(hit.time_ns, 0);
    assert_true(has(&world, 2, &body, &hit));
    assert_int_equal(hit.time_ns, 1);
    assert_int_equal(import(&world).present, 2);
    free(body.data);
}

static void a_line_that_is_not_one_of_gos_is_left_out(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    char good[200], line[200];
    uint64_t put_ns = tuck_clock_wall_ns();
    static const struct {
        int at;
        const char *text;
    } changes[] = {
        {0, "v2 "},
        {0, "V1 "},
        {2, "\t"},
        {3, "0"},
        {3, "g"},
        {67, "-"},
        {68, "x"},
        {132, "0"},
        {133, "-"},
        {152, " "},
        {152, "\n"},
        {153, "0"},
        {173, "x"},
        {174, " "},
        {174, "\r"},
        {133, "9999999999"},
        {154, "-"},
        {154, "9"},
        {154, "99999999999999999999"},
    };
    // The digit that replaces one of the action's must be another one.
    for (uint64_t action = 0; action < TUCK_ARRAY_LEN(changes); action++) {
        line_of(action, &body, put_ns, good);
        memcpy(line, good, sizeof(line));
        memcpy(line + changes[action].at, changes[action].text, strlen(changes[action].text));
        if (changes[action].at == 3 && line[3] == good[3])
            line[3] = '1';
        unit_write_file(body_path(world.gocache, &body), body.data, body.len);
        unit_write_file(action_path(world.gocache, action), line, 175);
    }
    uint64_t count = TUCK_ARRAY_LEN(changes);
    static const size_t lengths[] = {0, 1, 174, 176, 199};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lengths); i++, count++) {
        line_of(count, &body, put_ns, line);
        unit_write_file(action_path(world.gocache, count), line, lengths[i]);
    }
    line_of(1000, &body, put_ns, line); // a copy under another action's name
    unit_write_file(action_path(world.gocache, count++), line, 175);
    line_of(count, &body, put_ns + 2 * HOUR_S * TUCK_NS_PER_S,
            line); // a time that the index does not believe
    unit_write_file(action_path(world.gocache, count++), line, 175);
    struct tuck_imported done = import(&world);
    assert_int_equal(done.found, count);
    assert_int_equal(done.damaged, count);
    assert_int_equal(unit_count_names(unit_path(world.dir, "objects")), -1);
    free(body.data);
}

static void an_entry_in_a_directory_where_go_does_not_look_is_left_out(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    const char *from = action_path(world.gocache, 1);
    const char *first = from + strlen(world.gocache) + 1;
    const char *elsewhere = unit_path(world.gocache, strncmp(first, "00", 2) ? "00" : "01");
    assert_int_equal(mkdir(elsewhere, 0777), 0);
    assert_int_equal(rename(from, unit_path(elsewhere, strrchr(from, '/') + 1)), 0);
    struct tuck_imported done = import(&world);
    assert_int_equal(done.damaged, 1);
    assert_int_equal(done.entries, 0);
    free(body.data);
}

static void a_body_that_is_not_what_its_name_says_is_left_out(void **state) {
    (void)state;
    struct cache_world world = world_new();
    enum { GONE, SHORT, LONG, EMPTY, CHANGED, LINK, FIFO, LINE_LINK, LINE_FIFO, LINE_DIR, GOOD };
    for (uint64_t action = GONE; action <= GOOD; action++) {
        struct body body = body_of(action, 5000);
        go_put(world.gocache, action, &body, tuck_clock_wall_ns());
        const char *data = body_path(world.gocache, &body);
        const char *line = action_path(world.gocache, action);
        const char *other = unit_path(world.gocache, action < LINE_LINK ? "data" : "line");
        const char *changed = action < LINE_LINK ? data : line;
        if (action == LINK || action == LINE_LINK)
            assert_true(rename(changed, other) == 0 && symlink(other, changed) == 0);
        else if (action != GOOD && (action == GONE || action >= FIFO))
            assert_int_equal(unlink(changed), 0);
        if (action == FIFO || action == LINE_FIFO)
            assert_int_equal(mkfifo(changed, 0666), 0);
        if (action == LINE_DIR)
            assert_int_equal(mkdir(line, 0777), 0);
        if (action == SHORT)
            unit_write_file(data, body.data, 4999);
        if (action == EMPTY)
            unit_write_file(data, "", 0);
        body.data[2500] ^= action == CHANGED;
        if (action == LONG)
            unit_write_file(data, body.data, 5001);
        if (action == CHANGED)
            unit_write_file(data, body.data, 5000);
        free(body.data);
    }
    struct tuck_imported done = import(&world);
    assert_int_equal(done.damaged, GOOD);
    assert_int_equal(done.entries, 1);
    struct body good = body_of(GOOD, 5000);
    assert_true(has(&world, GOOD, &good, NULL));
    assert_int_equal(stats_of(&world).used_objects, 1);
    free(good.data);
}

static void executables_are_left_out(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    const char *data = body_path(world.gocache, &body);
    assert_int_equal(unlink(data), 0);
    assert_int_equal(mkdir(data, 0777), 0);
    unit_write_file(unit_path(data, "hello"), body.data, body.len);
    struct tuck_imported done = import(&world);
    assert_int_equal(done.executables, 1);
    assert_int_equal(done.entries + done.damaged, 0);
    free(body.data);
}

static void what_else_lies_in_gos_directory_is_nothing_to_it(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    const char *dirs[] = {"fuzz", "0", "000", "gg", "AB", "fuzz/00", "tuck-0123456789abcdef"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(dirs); i++)
        assert_int_equal(mkdir(unit_path(world.gocache, dirs[i]), 0777), 0);
    const char *files[] = {"README", "trim.txt", "testexpire.txt", "fuzz/00/x-a", "fe"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(files); i++)
        unit_write_file(unit_path(world.gocache, files[i]), "1700000000", 10);
    assert_int_equal(symlink("fuzz", unit_path(world.gocache, "fd")), 0);
    const char *line = action_path(world.gocache, 1);
    static const char *const odd[] = {"-a", ".-a", "x-a", "README", "-b"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(odd); i++) {
        char path[4200];
        (void)snprintf(path, sizeof(path), "%.*s%s", (int)(strrchr(line, '/') - line) + 1, line,
                       odd[i]);
        unit_write_file(path, "x", 1);
    }
    struct tuck_imported done = import(&world);
    assert_int_equal(done.found, 1);
    assert_int_equal(done.entries, 1);
    free(body.data);
}

static void what_cannot_be_read_costs_itself_alone_and_is_told(void **state) {
    (void)state;
    struct cache_world world = world_new();
    for (uint64_t action = 0; action < 8; action++) {
        struct body body = body_of(action, 100000);
        go_put(world.gocache, action, &body, tuck_clock_wall_ns());
        free(body.data);
    }
    struct body broken = body_of(3, 100000), closed = body_of(4, 100000);
    kernel_break_reads(body_path(world.gocache, &broken)); // in the middle of the import
    forbidden = strrchr(body_path(world.gocache, &closed), '/') + 1;
    struct tuck_imported done = import(&world);
    assert_int_equal(done.unreadable, 2);
    assert_int_equal(done.entries, 6);
    kernel_break_reads(action_path(world.gocache, 3));
    forbidden = strrchr(action_path(world.gocache, 4), '/') + 1;
    done = import(&world);
    assert_int_equal(done.unreadable, 2);
    assert_int_equal(done.present, 6);
    kernel_break_reads(NULL);
    forbidden = NULL;
    done = import(&world);
    assert_int_equal(done.entries, 2);
    free(broken.data);
    free(closed.data);
}

static void a_directory_that_cannot_be_read_is_told(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    char first[3] = {0};
    struct tuck_action_id id = unit_action(1);
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    tuck_hex(first, id.bytes, 1);
    forbidden = first;
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_imported done;
    assert_int_equal(import_into(cache, world.gocache, &done, NULL), 0);
    assert_int_equal(done.unreadable, 1);
    assert_int_equal(done.found, 0);
    cache_end(cache);
    free(body.data);
}

static void what_is_no_built_in_cache_is_refused_with_a_reason(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_imported done;
    struct tuck_error err;
    unit_write_file(unit_path(world.tmp, "file"), "x", 1);
    const char *const wrong[] = {unit_path(world.tmp, "absent"), unit_path(world.tmp, "file"),
                                 world.dir};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(wrong); i++) {
        err = (struct tuck_error){0};
        int status = import_into(cache, wrong[i], &done, &err);
        assert_true(status < 0);
        assert_int_equal(err.code, status);
        assert_non_null(strstr(err.text, wrong[i]));
        assert_false(done.is_complete);
    }
    assert_int_equal(unlink(unit_path(world.tmp, "file")), 0);
    assert_int_equal(import_into(cache, world.tmp, &done, NULL), 0); // empty: nothing to do
    assert_int_equal(done.found, 0);
    cache_end(cache);
}

// --- Room ----------------------------------------------------------------------------------------

static void a_full_drive_ends_it_with_a_reason_and_what_came_before_stays(void **state) {
    (void)state;
    struct cache_world world = world_new();
    uint64_t now_ns = tuck_clock_wall_ns();
    for (uint64_t action = 0; action < 6; action++) {
        struct body body = body_of(action, 100000);
        go_put(world.gocache, action, &body, now_ns - action * DAY_S * TUCK_NS_PER_S);
        free(body.data);
    }
    struct body fourth = body_of(3, 100000);
    char name[16] = "objects/";
    tuck_hex(name + 8, fourth.output.bytes, 1);
    kernel_fill(unit_path(world.dir, name));
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_imported done;
    struct tuck_error err = {0};
    assert_int_equal(import_into(cache, world.gocache, &done, &err), TUCK_ENOSPACE);
    assert_non_null(strstr(err.text, world.dir));
    assert_int_equal(err.os, ENOSPC);
    assert_int_equal(done.entries, 3);
    assert_false(done.is_complete);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    assert_int_equal(unit_count_names(world.tmp), 0); // an import needs no private directory
    assert_int_equal(events_of(TUCK_EVENT_PUT_ELSEWHERE), 0);
    kernel_fill(NULL);
    for (uint64_t action = 0; action < 6; action++) {
        struct body body = body_of(action, 100000);
        assert_int_equal(has(&world, action, &body, NULL), action < 3);
        free(body.data);
    }
    done = import(&world);
    assert_int_equal(done.present, 3);
    assert_int_equal(done.entries, 3);
    free(fourth.data);
}

static void an_index_that_cannot_be_written_ends_it_with_a_reason(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    for (uint64_t action = 0; action < 20; action++)
        go_put(world.gocache, action, &body, tuck_clock_wall_ns());
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_imported done;
    struct tuck_error err = {0};
    kernel_fill(unit_path(world.dir, "index"));
    assert_int_equal(import_into(cache, world.gocache, &done, &err), TUCK_ENOSPACE);
    assert_non_null(strstr(err.text, "index"));
    assert_false(done.is_complete);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    kernel_fill(NULL);
    assert_int_equal(import(&world).entries, 20);
    free(body.data);
}

static void without_any_drive_it_fails_and_makes_no_private_directory(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 1000);
    struct tuck_imported done;
    struct tuck_error err = {0};
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    unit_write_file(world.dir, "x", 1);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    assert_true(import_into(cache, world.gocache, &done, &err) < 0);
    assert_true(err.text[0] != '\0');
    assert_int_equal(done.entries, 0);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    assert_int_equal(unit_count_names(world.tmp), 0);
    free(body.data);
}

static void make_three_drives(struct cache_world *world) {
    world->drive_count = 3;
    for (size_t i = 0; i < 3; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "drive%zu", i);
        world->drives[i] = unit_path(world->gocache, name);
    }
    for (uint64_t action = 0; action < 30; action++) {
        struct body body = body_of(action, 1000);
        go_put(world->gocache, action, &body, tuck_clock_wall_ns());
        free(body.data);
    }
}

static void assert_second_drive_has_nothing(struct cache_world world) {
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_imported done;
    assert_int_equal(import_into(cache, world.gocache, &done, NULL), 0);
    assert_int_equal(done.entries, 30);
    tuck_cache_end(cache);
    struct tuck_cache_stats *stats = calloc(1, sizeof(*stats));
    assert_int_equal(tuck_cache_stats(cache, stats, NULL), 0);
    assert_int_equal(stats->drive[0].objects + stats->drive[2].objects, 30);
    assert_true(stats->drive[0].objects > 0 && stats->drive[2].objects > 0);
    assert_int_equal(stats->drive[1].objects, 0);
    tuck_cache_close(cache);
    for (uint64_t action = 0; action < 30; action++) {
        struct body body = body_of(action, 1000);
        assert_true(has(&world, action, &body, NULL));
        free(body.data);
    }
    assert_int_equal(unit_count_names(world.tmp), 0);
    free(stats);
}

static void what_a_full_drive_does_not_take_goes_to_the_next(void **state) {
    (void)state;
    struct cache_world world = world_new();
    make_three_drives(&world);
    kernel_fill(unit_path(world.drives[1], "objects"));
    assert_second_drive_has_nothing(world);
}

static void a_drive_without_room_above_its_floor_leaves_it_to_the_next(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound = (struct tuck_bound){.quota = {.bytes = UINT64_C(1) << 30},
                                      .floor = {.percent = 10},
                                      .low = 80,
                                      .high = 90,
                                      .keep_s = DAY_S};
    make_three_drives(&world);
    pretend_space(1000, 99, 0, 0);
    pretended_path = world.drives[1];
    assert_second_drive_has_nothing(world);
}

#define MIB         (UINT64_C(1) << 20)
#define INDEX_SPACE (UINT64_C(64) << 10) // of a small index, at most

static void the_newest_come_until_the_low_watermark_would_be_passed(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound = (struct tuck_bound){
        .quota = {.bytes = 10 * MIB + 2 * INDEX_SPACE}, .low = 50, .high = 90, .keep_s = DAY_S};
    uint64_t now_ns = tuck_clock_wall_ns();
    // In an order that is not that of their names: 0 is the newest, 19 the oldest.
    for (uint64_t action = 0; action < 20; action++) {
        struct body body = body_of(action, MIB / 2);
        go_put(world.gocache, action, &body, now_ns - (action + 1) * HOUR_S * TUCK_NS_PER_S);
        free(body.data);
    }
    struct body ours = body_of(100, MIB);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 100, &ours);
    cache_end(cache);
    struct tuck_imported done = import(&world);
    assert_int_equal(done.entries, 8); // with ours and the index half of the quota
    assert_int_equal(done.no_room, 12);
    assert_int_equal(done.no_room_bytes, 6 * MIB);
    cache_end(cache_open(&world, TUCK_LAZY)); // which would collect if that were due
    assert_true(has(&world, 100, &ours, NULL));
    for (uint64_t action = 0; action < 20; action++) {
        struct body body = body_of(action, MIB / 2);
        assert_int_equal(has(&world, action, &body, NULL), action < 8);
        free(body.data);
    }
    assert_int_equal(stats_of(&world).counters.value[TUCK_COUNT_evicted], 0);
    free(ours.data);
}

static void a_small_one_still_fits_where_a_large_one_does_not(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound =
        (struct tuck_bound){.quota = {.bytes = 4 * MIB}, .low = 50, .high = 90, .keep_s = DAY_S};
    uint64_t now_ns = tuck_clock_wall_ns();
    struct body large = body_of(1, 3 * MIB), small = body_of(2, 1000);
    go_put(world.gocache, 1, &large, now_ns);
    go_put(world.gocache, 2, &small, now_ns - HOUR_S * TUCK_NS_PER_S);
    struct tuck_imported done = import(&world);
    assert_int_equal(done.entries, 1);
    assert_int_equal(done.no_room, 1);
    assert_true(has(&world, 2, &small, NULL));
    free(large.data);
    free(small.data);
}

static void an_output_of_many_actions_takes_its_room_once(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound =
        (struct tuck_bound){.quota = {.bytes = 4 * MIB}, .low = 50, .high = 90, .keep_s = DAY_S};
    struct body body = body_of(1, 3 * MIB / 2), none = body_of(2, 0);
    for (uint64_t action = 0; action < 10; action++)
        go_put(world.gocache, action, &body, tuck_clock_wall_ns());
    for (uint64_t action = 10; action < 20; action++)
        go_put(world.gocache, action, &none, tuck_clock_wall_ns());
    assert_int_equal(import(&world).entries, 20);
    struct tuck_drive_stats stats = stats_of(&world);
    assert_int_equal(stats.used_objects, 2);
    assert_in_range(stats.used_bytes, 3 * MIB / 2, 3 * MIB / 2 + INDEX_SPACE);
    free(body.data);
    free(none.data);
}

static void a_cache_whose_size_nobody_knows_is_counted_first(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound =
        (struct tuck_bound){.quota = {.bytes = 4 * MIB}, .low = 50, .high = 90, .keep_s = DAY_S};
    struct body ours = body_of(1, 3 * MIB / 2), gos = body_of(2, MIB);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &ours);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    assert_int_equal(unlink(unit_path(world.dir, "index/entries")), 0);
    go_put(world.gocache, 2, &gos, tuck_clock_wall_ns());
    struct tuck_imported done = import(&world);
    assert_int_equal(done.no_room, 1);
    struct tuck_drive_stats stats = stats_of(&world);
    assert_true(stats.is_counted);
    assert_in_range(stats.used_bytes, 3 * MIB / 2, 3 * MIB / 2 + INDEX_SPACE);
    free(ours.data);
    free(gos.data);
}

static void what_must_stay_free_stays_free(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound = (struct tuck_bound){
        .quota = {.percent = 50}, .floor = {.percent = 10}, .low = 80, .high = 90, .keep_s = DAY_S};
    struct body body = body_of(1, 50 * 4096), small = body_of(2, 10 * 4096);
    go_put(world.gocache, 1, &body, tuck_clock_wall_ns());
    go_put(world.gocache, 2, &small, tuck_clock_wall_ns());
    pretend_space(1000, 140, 1000, 500); // of bytes there is room for 40 blocks above the floor
    struct tuck_imported done = import(&world);
    assert_int_equal(done.entries, 1);
    assert_int_equal(done.no_room, 1);
    pretend_space(1000, 500, 1000, 100); // of inodes there is none
    done = import(&world);
    assert_int_equal(done.present, 1);
    assert_int_equal(done.no_room, 1);
    pretend_space(1000, 500, 1000, 101);
    done = import(&world);
    assert_int_equal(done.entries, 1);
    free(body.data);
    free(small.data);
}

static void what_comes_leaves_room_for_its_entries_in_the_index(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound =
        (struct tuck_bound){.quota = {.bytes = MIB}, .low = 80, .high = 90, .keep_s = DAY_S};
    for (uint64_t action = 0; action < 400; action++) {
        struct body body = body_of(action, action ? 0 : 10 * 4096);
        go_put(world.gocache, action, &body, tuck_clock_wall_ns());
        free(body.data);
    }
    pretend_space(1000, 45, 0, 0); // for 41 blocks that the entries may need, and 10 of the body
    assert_int_equal(import(&world).no_room, 1);
    pretend_space(1000, 55, 0, 0);
    assert_int_equal(import(&world).no_room, 0);
}

static void a_share_of_the_file_system_is_a_share_of_its_inodes_too(void **state) {
    (void)state;
    struct cache_world world = world_new();
    world.bound =
        (struct tuck_bound){.quota = {.percent = 5}, .low = 80, .high = 90, .keep_s = DAY_S};
    for (uint64_t action = 0; action < 10; action++) {
        struct body body = body_of(action, 100);
        go_put(world.gocache, action, &body, tuck_clock_wall_ns());
        free(body.data);
    }
    pretend_space(1000000, 900000, 100, 90); // 80 % of five
    struct tuck_imported done = import(&world);
    assert_int_equal(done.entries, 4);
    assert_int_equal(done.no_room, 6);
}

// --- Stopping, and many of them ------------------------------------------------------------------

struct stopping {
    uint64_t after; // entries
    volatile int stop;
    uint64_t calls;
};

static void stop_after(void *arg, const struct tuck_imported *so_far) {
    struct stopping *stopping = arg;
    stopping->calls++;
    if (so_far->entries >= stopping->after)
        stopping->stop = 1;
}

static void stopped_anywhere_the_next_one_goes_on(void **state) {
    (void)state;
    struct cache_world world = world_new();
    for (uint64_t action = 0; action < 12; action++) {
        struct body body = body_of(action % 10, 100 * action);
        go_put(world.gocache, action, &body, tuck_clock_wall_ns() - action * TUCK_NS_PER_S);
        free(body.data);
    }
    uint64_t taken = 0;
    for (uint64_t step = 0; taken < 12; step++) {
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct stopping stopping = {.after = step ? 5 : 0};
        struct tuck_imported done;
        struct tuck_import how = {world.gocache, stop_after, &stopping, &stopping.stop};
        assert_int_equal(tuck_cache_import(cache, &how, &done, NULL), 0);
        assert_true(stopping.calls > 0);
        assert_int_equal(done.is_complete, !stopping.stop);
        assert_in_range(done.entries, 0, step ? 5 : 0);
        tuck_cache_end(cache);
        tuck_cache_close(cache);
        taken += done.entries;
        assert_int_equal(stats_of(&world).entries, taken);
        assert_true(step < 5);
    }
    assert_int_equal(import(&world).present, 12);
}

static void more_than_wait_for_the_index_at_once_all_come(void **state) {
    (void)state;
    struct cache_world world = world_new();
    struct body body = body_of(1, 100);
    enum { MANY = 20000 };
    char first[3] = {0}, line[200];
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        tuck_hex(first, &byte, 1);
        assert_int_equal(mkdir(unit_path(world.gocache, first), 0777), 0);
    }
    unit_write_file(body_path(world.gocache, &body), body.data, body.len);
    for (uint64_t action = 0; action < MANY; action++) {
        line_of(action, &body, tuck_clock_wall_ns(), line);
        unit_write_file(action_path(world.gocache, action), line, 175);
    }
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct tuck_imported done;
    assert_int_equal(import_into(cache, world.gocache, &done, NULL), 0);
    assert_int_equal(done.entries, MANY);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    assert_int_equal(stats_of(&world).entries, MANY);
    assert_int_equal(events_of(TUCK_EVENT_ENTRIES_LOST), 0);
    free(body.data);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_go_has_is_got_here_with_its_time_and_go_keeps_it),
    cmocka_unit_test(what_go_writes_later_in_its_files_is_not_seen_here),
    cmocka_unit_test(an_import_again_takes_nothing_and_reads_no_body),
    cmocka_unit_test(of_two_puts_of_an_action_the_newer_one_wins_wherever_it_is),
    cmocka_unit_test(an_object_that_was_lost_here_comes_back_and_its_put_grows_no_older),
    cmocka_unit_test(what_was_used_here_is_not_made_older_by_an_import),
    cmocka_unit_test(what_go_put_again_keeps_its_use_here),
    cmocka_unit_test(the_last_use_is_that_of_go_but_no_time_to_come_and_none_before_the_put),
    cmocka_unit_test(a_put_of_the_first_second_keeps_its_time),
    cmocka_unit_test(a_line_that_is_not_one_of_gos_is_left_out),
    cmocka_unit_test(an_entry_in_a_directory_where_go_does_not_look_is_left_out),
    cmocka_unit_test(a_body_that_is_not_what_its_name_says_is_left_out),
    cmocka_unit_test(executables_are_left_out),
    cmocka_unit_test(what_else_lies_in_gos_directory_is_nothing_to_it),
    cmocka_unit_test(what_cannot_be_read_costs_itself_alone_and_is_told),
    cmocka_unit_test(a_directory_that_cannot_be_read_is_told),
    cmocka_unit_test(what_is_no_built_in_cache_is_refused_with_a_reason),
    cmocka_unit_test(a_full_drive_ends_it_with_a_reason_and_what_came_before_stays),
    cmocka_unit_test(an_index_that_cannot_be_written_ends_it_with_a_reason),
    cmocka_unit_test(without_any_drive_it_fails_and_makes_no_private_directory),
    cmocka_unit_test(what_a_full_drive_does_not_take_goes_to_the_next),
    cmocka_unit_test(a_drive_without_room_above_its_floor_leaves_it_to_the_next),
    cmocka_unit_test(the_newest_come_until_the_low_watermark_would_be_passed),
    cmocka_unit_test(a_small_one_still_fits_where_a_large_one_does_not),
    cmocka_unit_test(an_output_of_many_actions_takes_its_room_once),
    cmocka_unit_test(a_cache_whose_size_nobody_knows_is_counted_first),
    cmocka_unit_test(what_must_stay_free_stays_free),
    cmocka_unit_test(what_comes_leaves_room_for_its_entries_in_the_index),
    cmocka_unit_test(a_share_of_the_file_system_is_a_share_of_its_inodes_too),
    cmocka_unit_test(stopped_anywhere_the_next_one_goes_on),
    cmocka_unit_test(more_than_wait_for_the_index_at_once_all_come),
};

UNIT_MAIN(tests)
