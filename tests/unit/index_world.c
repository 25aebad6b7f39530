// SPDX-License-Identifier: MIT
#include "tests/unit/index_world.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

// --- System calls --------------------------------------------------------------------------------

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset);

int __wrap_getentropy(void *ret_data, size_t len);

// The index draws a seed for each file that decides which entries share a page: a failure can be had again only if
// it is the same one then.
int __wrap_getentropy(void *ret_data, size_t len) {
    static struct unit_random random;
    if (random.state == 0)
        random = unit_random_of("getentropy");
    unit_random_fill(&random, ret_data, len);
    return 0;
}

static int boot;

static ino_t watched; // the file whose writes are noted, 0 for none
static struct page_write *writes;
static size_t writes_count, writes_room;

static unsigned fail_nth;
static int fail_error;
static bool fail_for_good;
static unsigned write_count;

void pretend_boot(int number) {
    boot = number;
}

int __wrap_open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (boot == 0 || strcmp(path, "/proc/sys/kernel/random/boot_id") != 0)
        return __real_open64(path, flags, mode);
    if (boot < 0) {
        errno = ENOENT;
        return -1;
    }
    char name[64];
    int fd = memfd_create("boot_id", MFD_CLOEXEC);
    assert_true(fd >= 0);
    int len = snprintf(name, sizeof(name), "00000000-0000-0000-0000-%012d\n", boot);
    assert_int_equal(__real_pwrite64(fd, name, (size_t)len, 0), len);
    return fd;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset) {
    write_count++;
    if (fail_nth > 0 && --fail_nth == 0) {
        if (fail_for_good)
            fail_nth = 1;
        errno = fail_error;
        return -1;
    }
    struct stat stat;
    if (watched && fstat(fd, &stat) == 0 && stat.st_ino == watched) {
        if (writes_count == writes_room) {
            writes_room = writes_room ? 2 * writes_room : 64;
            writes = realloc(writes, writes_room * sizeof(*writes));
            assert_non_null(writes);
        }
        struct page_write *write = &writes[writes_count++];
        assert_true(len <= sizeof(write->data));
        write->offset = (uint64_t)offset;
        write->len = len;
        memcpy(write->data, data, len);
    }
    return __real_pwrite64(fd, data, len, offset);
}

void watch_writes(const struct world *world) {
    struct stat stat;
    assert_int_equal(lstat(world->file, &stat), 0);
    watched = stat.st_ino;
}

struct page_write *stop_watching(size_t *ret_count) {
    struct page_write *found = writes;
    *ret_count = writes_count;
    watched = 0;
    writes = NULL;
    writes_count = writes_room = 0;
    return found;
}

void fail_write(unsigned nth, int error, bool is_for_good) {
    fail_nth = nth;
    fail_error = error;
    fail_for_good = is_for_good;
}

unsigned count_writes(void) {
    unsigned count = write_count;
    write_count = 0;
    return count;
}

// --- Worlds --------------------------------------------------------------------------------------

struct world world_new(void) {
    struct world world = {.dir = unit_directory()};
    world.dirfd = unit_open_directory(world.dir);
    world.file = unit_path(world.dir, "entries");
    return world;
}

void world_close(struct world *world) {
    (void)close(world->dirfd);
    world->dirfd = -1;
}

struct tuck_index *world_open(const struct world *world) {
    struct tuck_index *index = NULL;
    struct tuck_error err = {0};
    int dirfd = unit_open_directory(world->dir); // as another process does: an open file of its own
    int status = tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, &err);
    (void)close(dirfd);
    if (status != 0)
        print_message("# open: %s\n", err.text);
    assert_int_equal(status, 0);
    return index;
}

static uint64_t base_ns(void) {
    static uint64_t base;
    if (base == 0)
        base = tuck_clock_wall_ns() - 600 * TUCK_NS_PER_S;
    return base;
}

struct tuck_entry entry_of_version(uint64_t number, uint64_t version) {
    struct tuck_entry entry = {
        .output = unit_output(number << 24 | version),
        .size = number * 1000 + version,
        .put_ns = base_ns() + version,
        .access_s = (uint32_t)(base_ns() / TUCK_NS_PER_S),
        .file_tag = (uint32_t)(number * 31 + version),
    };
    return entry;
}

uint64_t version_found(struct tuck_index *index, uint64_t number) {
    struct tuck_action_id action = unit_action(number);
    struct tuck_entry found;
    bool is_lacking = tuck_index_lacks(index, &action);
    int status = tuck_index_find(index, &action, &found);
    if (status == TUCK_INDEX_ABSENT)
        return 0;
    assert_int_equal(status, 0);
    assert_false(is_lacking);
    uint64_t version = found.put_ns - base_ns();
    struct tuck_entry expected = entry_of_version(number, version);
    assert_in_range(version, 1, 1 << 24);
    assert_true(tuck_output_equal(&found.output, &expected.output));
    assert_int_equal(found.size, expected.size);
    assert_int_equal(found.file_tag, expected.file_tag);
    return version;
}

uint64_t record_many(struct tuck_index *index, uint64_t first, uint64_t count, uint64_t version) {
    uint64_t kept = 0;
    for (uint64_t number = first; number < first + count; number++) {
        struct tuck_action_id action = unit_action(number);
        struct tuck_entry entry = entry_of_version(number, version);
        kept += tuck_index_record(index, &action, &entry) > 0;
    }
    return kept;
}

uint64_t count_found(struct tuck_index *index, uint64_t first, uint64_t count, uint64_t version) {
    uint64_t found = 0;
    for (uint64_t number = first; number < first + count; number++) {
        uint64_t got = version_found(index, number);
        if (got != 0)
            assert_int_equal(got, version);
        found += got == version;
    }
    return found;
}

int flush_now(struct tuck_index *index) {
    struct tuck_error err = {0};
    int status = tuck_index_flush(index, 0, &err);
    assert_int_equal(err.code, status < 0 ? status : 0);
    return status;
}

void flush_all(struct tuck_index *index) {
    assert_int_equal(flush_now(index), 0);
}

int lock_pages(const struct world *world, uint64_t first_page, uint64_t page_count) {
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)(first_page * PAGE),
                         .l_len = (off_t)(page_count * PAGE)};
    int fd = open(world->file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}
