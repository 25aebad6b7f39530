// SPDX-License-Identifier: MIT
/*
 * That an action is not here is told from the brief, most of the time; it is never told of one that is here. The latter
 * is asserted in every test of the index, by version_found().
 */
#include "tests/unit/index_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define ENTRIES    3000U
#define SLOT_BYTES 64U

static unsigned count_lacking(struct tuck_index *index, uint64_t first, uint64_t count) {
    unsigned lacking = 0;
    for (uint64_t i = first; i < first + count; i++) {
        struct tuck_action_id action = unit_action(i);
        lacking += tuck_index_lacks(index, &action);
    }
    return lacking;
}

// As a helper with several drives, which asks from the first get on: nobody else wants a brief.
static struct tuck_index *open_asking(const struct world *world) {
    struct tuck_index *index = world_open(world);
    (void)count_lacking(index, 0, 1);
    return index;
}

// One in seventy is mistaken for one that may be here, with thirty of 2048 prints in a page.
static void assert_lacks_nearly_all(struct tuck_index *index, uint64_t first, uint64_t count) {
    assert_in_range(count_lacking(index, first, count), count * 95 / 100, count);
}

enum spoiling { ONE_BYTE, ZEROS, OTHERS_SLOTS, CUT_OFF, SPOILINGS };

// Changes a byte of each slot, or makes all of them zero, or changes them round, or cuts the file off.
static void spoil_brief(const struct world *world, enum spoiling how) {
    static uint8_t slots[2][SLOT_BYTES];
    struct stat stat;
    int fd = open(unit_path(world->dir, "brief"), O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &stat), 0);
    assert_true(stat.st_size > 0);
    for (off_t at = 0; at < stat.st_size; at += sizeof(slots)) {
        assert_int_equal(pread(fd, slots, sizeof(slots), at), sizeof(slots));
        uint8_t first[SLOT_BYTES];
        memcpy(first, slots[0], sizeof(first));
        if (how == ZEROS)
            memset(slots, 0, sizeof(slots));
        if (how == ONE_BYTE)
            slots[0][7] ^= 1, slots[1][7] ^= 1;
        if (how == OTHERS_SLOTS)
            memcpy(slots[0], slots[1], SLOT_BYTES), memcpy(slots[1], first, SLOT_BYTES);
        assert_int_equal(pwrite(fd, slots, sizeof(slots), at), sizeof(slots));
    }
    if (how == CUT_OFF)
        assert_int_equal(ftruncate(fd, 100), 0);
    (void)close(fd);
}

static void with_a_single_drive_there_is_no_brief_until_somebody_asks(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *single = world_open(&world);
    assert_int_equal(record_many(single, 0, ENTRIES, 1), ENTRIES);
    flush_all(single);
    assert_int_equal(access(unit_path(world.dir, "brief"), F_OK), -1);
    struct tuck_index *index = open_asking(&world);
    static const volatile int go_on;
    tuck_index_fill_brief(index, &go_on);
    assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
    assert_int_equal(record_many(single, ENTRIES, ENTRIES, 1),
                     ENTRIES); // it keeps what is there now
    flush_all(single);
    assert_lacks_nearly_all(index, 2 * ENTRIES, ENTRIES);
    assert_int_equal(count_found(index, 0, 2 * ENTRIES, 1), 2 * ENTRIES);
    tuck_index_close(index);
    tuck_index_close(single);
    world_close(&world);
}

static void of_what_is_absent_that_is_told_nearly_always(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = open_asking(&world);
    assert_int_equal(count_lacking(index, 0, 100), 0); // there is no page yet
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
    assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
    struct tuck_index *other = open_asking(&world); // which has to learn how deep the tree is
    assert_int_equal(count_found(other, 0, ENTRIES, 1), ENTRIES);
    assert_lacks_nearly_all(other, ENTRIES, ENTRIES);
    tuck_index_close(other);
    tuck_index_close(index);
    world_close(&world);
}

static void it_is_right_all_the_time_while_the_index_doubles(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = open_asking(&world), *other = open_asking(&world);
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
    struct tuck_index *index = open_asking(&world);
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
    assert_in_range(lacking, ENTRIES * 95 / 200, ENTRIES / 2);
    tuck_index_close(index);
    world_close(&world);
}

static void a_damaged_brief_tells_nothing_until_it_is_written_anew(void **state) {
    (void)state;
    for (enum spoiling how = 0; how < SPOILINGS; how++) {
        struct world world = world_new();
        struct tuck_index *index = open_asking(&world);
        assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
        flush_all(index);
        assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
        spoil_brief(&world, how);
        assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
        assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
        assert_int_equal(record_many(index, ENTRIES, ENTRIES, 1), ENTRIES); // each page gets one
        flush_all(index);
        struct tuck_index *other = open_asking(&world); // which has lost no page of its mapping
        assert_lacks_nearly_all(other, 2 * ENTRIES, ENTRIES);
        assert_int_equal(count_found(other, 0, 2 * ENTRIES, 1), 2 * ENTRIES);
        tuck_index_close(other);
        tuck_index_close(index);
        world_close(&world);
    }
}

static void a_brief_that_was_removed_or_renamed_is_begun_anew(void **state) {
    (void)state;
    for (int is_renamed = 0; is_renamed < 2; is_renamed++) {
        struct world world = world_new();
        struct tuck_index *index = open_asking(&world), *other = world_open(&world);
        assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
        flush_all(index);
        assert_lacks_nearly_all(other, ENTRIES, ENTRIES);
        if (is_renamed)
            assert_int_equal(rename(unit_path(world.dir, "brief"), unit_path(world.dir, "x")), 0);
        else
            assert_int_equal(unlink(unit_path(world.dir, "brief")), 0);
        assert_int_equal(record_many(index, 0, 2 * ENTRIES, 2), 2 * ENTRIES);
        flush_all(index);
        assert_int_equal(count_lacking(index, 2 * ENTRIES, ENTRIES),
                         0); // it had the old one mapped
        assert_int_equal(count_found(other, 0, 2 * ENTRIES, 2), 2 * ENTRIES); // as does this one
        tuck_index_close(other);
        tuck_index_close(index);
        index = open_asking(&world);
        assert_lacks_nearly_all(index, 2 * ENTRIES, ENTRIES);
        assert_int_equal(count_found(index, 0, 2 * ENTRIES, 2), 2 * ENTRIES);
        tuck_index_close(index);
        world_close(&world);
    }
}

// A helper that had none, for want of space say, has to forget what another notes meanwhile.
static void a_brief_that_comes_later_is_kept_as_well(void **state) {
    (void)state;
    struct world world = world_new();
    const char *brief = unit_path(world.dir, "brief");
    assert_int_equal(mkdir(brief, 0700), 0);
    struct tuck_index *index = open_asking(&world);
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    assert_int_equal(rmdir(unit_path(world.dir, "brief")), 0);
    struct tuck_index *other = open_asking(&world);
    static const volatile int go_on;
    tuck_index_fill_brief(other, &go_on);
    assert_lacks_nearly_all(other, ENTRIES, ENTRIES);
    assert_int_equal(record_many(index, ENTRIES, ENTRIES, 1), ENTRIES);
    flush_all(index);
    assert_int_equal(count_found(other, 0, 2 * ENTRIES, 1), 2 * ENTRIES);
    tuck_index_close(other);
    tuck_index_close(index);
    world_close(&world);
}

// A directory, a link, a FIFO, a file that is for reading only: the index does without.
static void where_the_brief_cannot_be_had_nothing_is_told(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct world world = world_new();
        const char *brief = unit_path(world.dir, "brief");
        if (kind == 0)
            assert_int_equal(mkdir(brief, 0700), 0);
        else if (kind == 1)
            assert_int_equal(symlink("elsewhere", brief), 0);
        else
            assert_int_equal(mkfifo(brief, 0600), 0);
        struct tuck_index *index = open_asking(&world);
        assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
        flush_all(index);
        static const volatile int go_on;
        tuck_index_fill_brief(index, &go_on);
        assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
        assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
        assert_int_equal(access(unit_path(world.dir, "elsewhere"), F_OK), -1);
        tuck_index_close(index);
        world_close(&world);
    }
}

// Whatever write fails: what is told of a page is never what was there before.
static void a_write_that_fails_leaves_nothing_wrong_behind(void **state) {
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    for (size_t e = 0; e < sizeof(errors) / sizeof(*errors); e++) {
        for (unsigned nth = 1; nth < 40; nth++) {
            struct world world = world_new();
            struct tuck_index *index = open_asking(&world), *other = open_asking(&world);
            assert_int_equal(record_many(index, 0, 300, 1), 300);
            flush_all(index);
            assert_int_equal(count_found(other, 0, 300, 1), 300);
            assert_int_equal(record_many(index, 300, 30, 1), 30);
            fail_write(nth, errors[e], false);
            (void)!tuck_index_flush(index, 0, NULL);
            fail_write(0, 0, false);
            // What is still dirty is found only by its own index: both are asked, and version_found() judges.
            assert_int_equal(count_found(index, 0, 330, 1), 330);
            assert_in_range(count_found(other, 0, 330, 1), 300, 330);
            flush_all(index);
            assert_int_equal(count_found(other, 0, 330, 1), 330);
            tuck_index_close(other);
            tuck_index_close(index);
            world_close(&world);
        }
    }
}

static void pages_of_another_boot_tell_nothing_until_somebody_has_noted_them(void **state) {
    (void)state;
    struct world world = world_new();
    static const volatile int go_on, stop = 1;
    pretend_boot(1);
    struct tuck_index *index = open_asking(&world);
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
    tuck_index_close(index);
    pretend_boot(2);
    index = open_asking(&world);
    assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
    tuck_index_fill_brief(index, &stop);
    assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
    int held = lock_pages(&world, 3, 1); // somebody changes one
    tuck_index_fill_brief(index, &go_on);
    (void)close(held);
    assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
    struct tuck_index *other = open_asking(&world);
    tuck_index_fill_brief(other, &go_on); // what was left out comes with the next one
    assert_lacks_nearly_all(other, ENTRIES, ENTRIES);
    assert_int_equal(count_found(other, 0, ENTRIES, 1), ENTRIES);
    spoil_brief(&world, ZEROS);
    tuck_index_fill_brief(other, &go_on);
    assert_lacks_nearly_all(index, ENTRIES, ENTRIES);
    assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
    tuck_index_close(other);
    tuck_index_close(index);
    pretend_boot(0);
    world_close(&world);
}

// A copy of the entries is another file, and what was told of the old one is not true of it for long.
static void a_copy_of_the_entries_has_no_brief(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = open_asking(&world);
    assert_int_equal(record_many(index, 0, ENTRIES, 1), ENTRIES);
    flush_all(index);
    tuck_index_close(index);
    size_t len;
    uint8_t *entries = unit_read_file(world.file, &len);
    const char *copy = unit_path(world.dir, "copy");
    unit_write_file(copy, entries, len);
    free(entries);
    assert_int_equal(rename(copy, world.file), 0);
    index = open_asking(&world);
    assert_int_equal(count_lacking(index, ENTRIES, ENTRIES), 0);
    assert_int_equal(count_found(index, 0, ENTRIES, 1), ENTRIES);
    tuck_index_close(index);
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(with_a_single_drive_there_is_no_brief_until_somebody_asks),
    cmocka_unit_test(of_what_is_absent_that_is_told_nearly_always),
    cmocka_unit_test(it_is_right_all_the_time_while_the_index_doubles),
    cmocka_unit_test(what_was_removed_is_lacking),
    cmocka_unit_test(a_damaged_brief_tells_nothing_until_it_is_written_anew),
    cmocka_unit_test(a_brief_that_was_removed_or_renamed_is_begun_anew),
    cmocka_unit_test(a_brief_that_comes_later_is_kept_as_well),
    cmocka_unit_test(where_the_brief_cannot_be_had_nothing_is_told),
    cmocka_unit_test(a_write_that_fails_leaves_nothing_wrong_behind),
    cmocka_unit_test(pages_of_another_boot_tell_nothing_until_somebody_has_noted_them),
    cmocka_unit_test(a_copy_of_the_entries_has_no_brief),
};

UNIT_MAIN(tests)
