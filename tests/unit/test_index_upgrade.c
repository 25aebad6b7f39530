// SPDX-License-Identifier: MIT
/*
 * The sums page and the first release, whose helpers may still run on the same drive: each reads and keeps what the
 * other has counted. The first release knows 13 counters and nothing of the space that objects take.
 */
#include "tests/unit/index_world.h"

#include <errno.h>
#include <fcntl.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);

static bool has_broken_reads;

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset) {
    if (has_broken_reads) {
        errno = EIO;
        return -1;
    }
    return __real_pread64(fd, data, len, offset);
}

#define FIRST_MAGIC    UINT64_C(0x31746e636b637574)
#define FIRST_COUNTERS 13U

// As the first release has it, at the beginning of the second page.
struct first_page {
    uint64_t magic;
    uint64_t count;
    uint64_t value[64];
    uint64_t check;
};

static bool first_release_reads(const struct world *world, struct first_page *ret_page) {
    int fd = open(world->file, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, ret_page, sizeof(*ret_page), PAGE), sizeof(*ret_page));
    (void)close(fd);
    return ret_page->magic == FIRST_MAGIC &&
           ret_page->check ==
               XXH3_64bits_withSeed(ret_page, offsetof(struct first_page, check), FIRST_MAGIC);
}

// What a helper of the first release does at its end.
static void first_release_adds(const struct world *world, uint64_t by) {
    struct first_page page;
    if (!first_release_reads(world, &page))
        memset(&page, 0, sizeof(page));
    page.magic = FIRST_MAGIC;
    page.count = FIRST_COUNTERS;
    for (size_t i = 0; i < FIRST_COUNTERS; i++)
        page.value[i] += by;
    page.check = XXH3_64bits_withSeed(&page, offsetof(struct first_page, check), FIRST_MAGIC);
    int fd = open(world->file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &page, sizeof(page), PAGE), sizeof(page));
    (void)close(fd);
}

// And its `clear`: what it knows goes into the new file.
static void first_release_clears(const struct world *world) {
    struct first_page page;
    uint8_t rest[PAGE - sizeof(page)] = {0};
    assert_true(first_release_reads(world, &page));
    int fd = open(world->file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, rest, sizeof(rest), (off_t)(PAGE + sizeof(page))), sizeof(rest));
    (void)close(fd);
}

static void add_one(void *arg, struct tuck_index_sums *sums) {
    (void)arg;
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        sums->counters.value[i]++;
}

static void count(void *arg, struct tuck_index_sums *sums) {
    (void)arg;
    sums->base_bytes = 4096;
    sums->base_objects = 1;
    sums->is_counted = true;
    sums->collected_s = 11;
}

static struct tuck_index_sums sums_of(struct tuck_index *index) {
    struct tuck_index_sums sums;
    tuck_index_sums(index, NULL, NULL, &sums);
    return sums;
}

static void assert_counters(struct tuck_index *index, uint64_t old, uint64_t later) {
    struct tuck_index_sums sums = sums_of(index);
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        assert_int_equal(sums.counters.value[i], i < FIRST_COUNTERS ? old : later);
}

static void what_the_first_release_has_counted_is_read_and_added_to(void **state) {
    (void)state;
    struct world world = world_new();
    tuck_index_close(world_open(&world));
    uint8_t zeros[PAGE] = {0};
    int fd = open(world.file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, zeros, PAGE, PAGE), PAGE);
    (void)close(fd);
    first_release_adds(&world, 5);
    struct tuck_index *index = world_open(&world);
    assert_counters(index, 5, 0);
    assert_false(sums_of(index).is_counted); // nobody knows how large the cache is
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    assert_counters(index, 6, 1);
    assert_false(sums_of(index).is_counted);
    assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
    assert_true(sums_of(index).is_counted);
    assert_counters(index, 6, 1);
    tuck_index_close(index);
    world_close(&world);
}

static void the_first_release_reads_what_was_counted_here_and_keeps_it(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct first_page page;
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
    assert_true(first_release_reads(&world, &page));
    for (size_t i = 0; i < FIRST_COUNTERS; i++)
        assert_int_equal(page.value[i], 1);
    first_release_adds(&world, 2);
    assert_counters(index, 3, 1);
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    assert_counters(index, 4, 2);
    tuck_index_close(index);
    world_close(&world);
}

static void
after_a_helper_of_the_first_release_nobody_knows_the_size_until_it_is_counted(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
        assert_true(sums_of(index).is_counted);
        first_release_adds(&world, 1); // it did not count what it has stored
        assert_false(sums_of(index).is_counted);
        assert_int_equal(sums_of(index).collected_s, 11);
        // Others that add to the sums do not make it known.
        assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
        assert_false(sums_of(index).is_counted);
    }
    assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
    assert_true(sums_of(index).is_counted);
    tuck_index_close(index);
    world_close(&world);
}

static void a_clear_by_the_first_release_keeps_the_counters(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
    first_release_clears(&world);
    assert_counters(index, 1, 1);
    assert_false(sums_of(index).is_counted);
    tuck_index_close(index);
    world_close(&world);
}

static void damage_to_what_the_first_release_does_not_know_leaves_it_the_counters(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
    int fd = open(world.file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\xff", 1, (off_t)(PAGE + sizeof(struct first_page) + 9)), 1);
    (void)close(fd);
    assert_counters(index, 1, 1);
    assert_false(sums_of(index).is_counted);
    tuck_index_close(index);
    world_close(&world);
}

static void sums_that_cannot_be_read_now_are_not_begun_anew(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    has_broken_reads = true;
    int status = tuck_index_change_sums(index, add_one, NULL);
    has_broken_reads = false;
    assert_int_equal(status, TUCK_EIO);
    assert_counters(index, 1, 1);
    tuck_index_close(index);
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sums_that_cannot_be_read_now_are_not_begun_anew),
    cmocka_unit_test(what_the_first_release_has_counted_is_read_and_added_to),
    cmocka_unit_test(the_first_release_reads_what_was_counted_here_and_keeps_it),
    cmocka_unit_test(after_a_helper_of_the_first_release_nobody_knows_the_size_until_it_is_counted),
    cmocka_unit_test(a_clear_by_the_first_release_keeps_the_counters),
    cmocka_unit_test(damage_to_what_the_first_release_does_not_know_leaves_it_the_counters),
};

UNIT_MAIN(tests)
