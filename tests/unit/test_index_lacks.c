// SPDX-License-Identifier: MIT
/*
 * That an action is not here is told from the tail of its page, most of the time; it is never told of one that is here.
 * The latter is asserted in every test of the index, by version_found().
 */
#include "tests/unit/index_world.h"

#include <fcntl.h>
#include <sys/stat.h>

#define ENTRIES 3000U
#define TAIL_AT (64U + SLOTS * 104U) // in a page

static unsigned count_lacking(struct tuck_index *index, uint64_t first, uint64_t count) {
    unsigned lacking = 0;
    for (uint64_t i = first; i < first + count; i++) {
        struct tuck_action_id action = unit_action(i);
        lacking += tuck_index_lacks(index, &action);
    }
    return lacking;
}

// One in ten is mistaken for one that may be here, with thirty of 256 prints in a page.
static void assert_lacks_nearly_all(struct tuck_index *index, uint64_t first, uint64_t count) {
    assert_in_range(count_lacking(index, first, count), count * 7 / 10, count);
}

// Changes one byte of the tail of each page, or makes all of them zero.
static void spoil_tails(const struct world *world, bool is_zeroing) {
    static const uint8_t zeros[PAGE - TAIL_AT];
    struct stat stat;
    int fd = open(world->file, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &stat), 0);
    for (off_t at = TREE_PAGE * PAGE + TAIL_AT; at < stat.st_size; at += PAGE) {
        uint8_t byte;
        if (is_zeroing)
            assert_int_equal(pwrite(fd, zeros, sizeof(zeros), at), sizeof(zeros));
        assert_int_equal(pread(fd, &byte, 1, at + 7), 1);
        byte ^= 1;
        if (!is_zeroing)
            assert_int_equal(pwrite(fd, &byte, 1, at + 7), 1);
    }
    (void)close(fd);
}

static void of_what_is_absent_that_is_told_nearly_always(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(count_lacking(index, 0, 100), 0); // there is no page yet
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
    assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
    struct tuck_index *other = world_open(&world); // which has to learn how deep the tree is
    assert_int_equal(count_found(other, 0, ENTRIES, 1), ENTRIES);
    assert_lacks_nearly_all(other, ENTRIES, ENTRIES);
    tuck_index_close(other);
    tuck_index_close(index);
    world_close(&world);
}

static void it_is_right_all_the_time_while_the_index_doubles(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&world);
    for (uint64_t count = 0; count < ENTRIES; count += 50) {
        assert_int_equal(record_many(index, count, 50, 1), 50);
        assert_int_equal(count_lacking(index, count, 50), 0); // dirty
        flush_all(index);
        assert_int_equal(count_found(index, 0, count + 50, 1), count + 50);
        assert_int_equal(count_found(other, 0, count + 50, 1), count + 50);
    }
    assert_lacks_nearly_all(other, ENTRIES, ENTRIES);
    tuck_index_close(other);
    tuck_index_close(index);
    world_close(&world);
}

static void what_was_removed_is_lacking(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    for (uint64_t i = 0; i < ENTRIES; i += 2) {
        struct tuck_action_id action = unit_action(i);
        struct tuck_entry entry = entry_of_version(i, 1);
        uint64_t seq;
        assert_int_equal(tuck_index_remove(index, &action, &entry, &seq), 0);
    }
    flush_all(index);
    unsigned lacking = 0;
    for (uint64_t i = 0; i < ENTRIES; i += 2)
        lacking += count_lacking(index, i, 1);
    assert_in_range(lacking, ENTRIES * 7 / 20, ENTRIES / 2);
    tuck_index_close(index);
    world_close(&world);
}

static void pages_without_a_tail_or_with_a_damaged_one_tell_nothing(void **state) {
    (void)state;
    for (int is_zeroing = 0; is_zeroing < 2; is_zeroing++) {
        struct world world = world_new();
        struct tuck_index *index = world_open(&world);
        assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
        flush_all(index);
        spoil_tails(&world, is_zeroing);
        assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
        assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
        assert_int_equal(record_many(index, 0, ENTRIES, 2), ENTRIES); // each page gets one
        flush_all(index);
        assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
        tuck_index_close(index);
        world_close(&world);
    }
}

static void pages_of_another_boot_tell_nothing(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = world_open(&world);
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
    tuck_index_close(index);
    pretend_boot(2);
    index = world_open(&world);
    assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
    assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
    tuck_index_close(index);
    pretend_boot(0);
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(of_what_is_absent_that_is_told_nearly_always),
    cmocka_unit_test(it_is_right_all_the_time_while_the_index_doubles),
    cmocka_unit_test(what_was_removed_is_lacking),
    cmocka_unit_test(pages_without_a_tail_or_with_a_damaged_one_tell_nothing),
    cmocka_unit_test(pages_of_another_boot_tell_nothing),
};

UNIT_MAIN(tests)
