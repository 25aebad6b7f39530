// SPDX-License-Identifier: MIT
/*
 * Who walks over the index concludes that what was not met is not there, and removes objects for it: a walk that runs
 * beside writers misses nothing that was there all the time, and says so when it could not look.
 */
#include "tests/unit/index_world.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <sys/stat.h>

#define ENTRIES 3000U

// --- System calls --------------------------------------------------------------------------------

ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);

static uint64_t torn_page, bad_page; // of the tree + 2; 0: none
static unsigned torn_reads;          // that are still to come

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset) {
    uint64_t first = (uint64_t)offset / PAGE, end = ((uint64_t)offset + len + PAGE - 1) / PAGE;
    if (bad_page && first <= bad_page && bad_page < end) {
        errno = EIO;
        return -1;
    }
    ssize_t n = __real_pread64(fd, data, len, offset);
    if (torn_page && torn_reads > 0 && first <= torn_page && torn_page < end && n > 0) {
        torn_reads--; // as when a writer is half-way through the page's first record
        memset((uint8_t *)data + (torn_page - first) * PAGE + 64 + 10, 0xa5, 40);
    }
    return n;
}

// --- Walks ---------------------------------------------------------------------------------------

struct tally {
    uint8_t met[2 * ENTRIES];
    unsigned count;
    unsigned act_at; // at this entry
    void (*act)(void);
};

static bool note(void *arg, const struct tuck_action_id *action, const struct tuck_entry *entry) {
    struct tally *tally = arg;
    uint64_t number = entry->size / 1000;
    struct tuck_action_id expected = unit_action(number);
    assert_true(tuck_action_equal(action, &expected));
    assert_true(number < TUCK_ARRAY_LEN(tally->met));
    tally->met[number]++;
    if (++tally->count == tally->act_at)
        tally->act();
    return true;
}

static unsigned count_missed(const struct tally *tally, unsigned first, unsigned count) {
    unsigned missed = 0;
    for (unsigned i = first; i < first + count; i++)
        missed += tally->met[i] == 0;
    return missed;
}

static struct tuck_index *writer;

static void double_the_entries(void) {
    record_many(writer, ENTRIES, ENTRIES, 1);
    flush_all(writer);
}

static void a_walk_misses_nothing_while_the_index_doubles(void **state) {
    (void)state;
    for (unsigned at = 1; at < ENTRIES; at += ENTRIES / 5) {
        static struct tally tally;
        struct world world = world_new();
        struct tuck_index *index = world_open(&world);
        writer = world_open(&world);
        record_many(index, 0, ENTRIES, 1);
        flush_all(index);
        tally = (struct tally){.act_at = at, .act = double_the_entries};
        assert_int_equal(tuck_index_walk(index, note, &tally, NULL), 0);
        assert_int_equal(count_missed(&tally, 0, ENTRIES), 0);
        tuck_index_close(index);
        tuck_index_close(writer);
        world_close(&world);
    }
}

static void a_record_that_is_just_being_written_is_met(void **state) {
    (void)state;
    static struct tally tally;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    record_many(index, 0, ENTRIES, 1);
    flush_all(index);
    for (unsigned reads = 1; reads <= 3; reads++) {
        torn_page = TREE_PAGE + 1;
        torn_reads = reads;
        tally = (struct tally){.count = 0};
        assert_int_equal(tuck_index_walk(index, note, &tally, NULL), 0);
        assert_int_equal(torn_reads, 0);
        assert_int_equal(count_missed(&tally, 0, ENTRIES), 0);
    }
    // What is damaged for good is passed over.
    torn_reads = 1000;
    tally = (struct tally){.count = 0};
    assert_int_equal(tuck_index_walk(index, note, &tally, NULL), 0);
    assert_int_equal(count_missed(&tally, 0, ENTRIES), 1);
    torn_page = 0;
    tuck_index_close(index);
    world_close(&world);
}

static void a_page_that_cannot_be_read_is_a_failure_after_all_others_were_met(void **state) {
    (void)state;
    static struct tally tally;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_error err = {0};
    record_many(index, 0, ENTRIES, 1);
    flush_all(index);
    bad_page = TREE_PAGE + 5;
    tally = (struct tally){.count = 0};
    assert_int_equal(tuck_index_walk(index, note, &tally, &err), TUCK_EIO);
    bad_page = 0;
    assert_int_equal(err.os, EIO);
    assert_in_range(count_missed(&tally, 0, ENTRIES), 1, SLOTS);
    tuck_index_close(index);
    world_close(&world);
}

static void what_was_put_in_the_future_is_met_by_nobody_and_makes_room(void **state) {
    (void)state;
    static struct tally tally;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    tuck_clock_shift(2 * 86400 * (int64_t)TUCK_NS_PER_S);
    for (uint64_t i = 0; i < SLOTS; i++) {
        struct tuck_action_id id = unit_action(i);
        struct tuck_entry entry = entry_of_version(i, 1);
        entry.put_ns = tuck_clock_wall_ns();
        assert_true(tuck_index_record(index, &id, &entry) > 0);
    }
    flush_all(index);
    tuck_clock_shift(-2 * 86400 * (int64_t)TUCK_NS_PER_S);
    tally = (struct tally){.count = 0};
    assert_int_equal(tuck_index_walk(index, note, &tally, NULL), 0);
    assert_int_equal(tally.count, 0);
    struct stat before, after;
    assert_int_equal(stat(world.file, &before), 0);
    record_many(index, SLOTS, SLOTS, 1);
    flush_all(index);
    assert_int_equal(stat(world.file, &after), 0);
    assert_int_equal(after.st_size, before.st_size); // no split: their page was full of nothing
    assert_int_equal(count_found(index, SLOTS, SLOTS, 1), SLOTS);
    tuck_index_close(index);
    world_close(&world);
}

static void what_waits_to_be_written_is_met_by_a_walk_of_its_own(void **state) {
    (void)state;
    static struct tally tally;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    uint64_t seq;
    record_many(index, 0, 20, 1);
    flush_all(index);
    for (uint64_t i = 0; i < 10; i++) { // uses and removals are none of what is put
        struct tuck_action_id id = unit_action(i);
        struct tuck_entry entry = entry_of_version(i, 1);
        if (i % 2)
            (void)tuck_index_touch(index, &id, &entry, false);
        else
            assert_int_equal(tuck_index_remove(index, &id, &entry, &seq), 0);
    }
    record_many(index, 30, 10, 1);
    tally = (struct tally){.count = 0};
    tuck_index_walk_waiting(index, note, &tally);
    assert_int_equal(tally.count, 10);
    assert_int_equal(count_missed(&tally, 30, 10), 0);
    flush_all(index);
    tally = (struct tally){.count = 0};
    tuck_index_walk_waiting(index, note, &tally);
    assert_int_equal(tally.count, 0);
    tuck_index_close(index);
    world_close(&world);
}

// --- Removals that are taken back ----------------------------------------------------------------

static void removals_can_be_taken_back_and_nothing_else_is(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    uint64_t seq;
    record_many(index, 0, 100, 1);
    flush_all(index);
    assert_int_equal(tuck_index_spare(index), 0);
    for (uint64_t i = 0; i < 50; i++) {
        struct tuck_action_id id = unit_action(i);
        struct tuck_entry entry = entry_of_version(i, 1);
        assert_int_equal(tuck_index_remove(index, &id, &entry, &seq), 0);
    }
    record_many(index, 100, 10, 1);
    record_many(index, 0, 5, 2); // put anew: no removal any more
    assert_int_equal(count_found(index, 5, 45, 1), 0);
    assert_int_equal(tuck_index_spare(index), 45);
    assert_int_equal(count_found(index, 5, 45, 1), 45);
    flush_all(index);
    assert_int_equal(count_found(index, 0, 5, 2), 5);
    assert_int_equal(count_found(index, 5, 105, 1), 105);
    tuck_index_close(index);
    world_close(&world);
}

// --- Beside a clear ------------------------------------------------------------------------------

static void add_one(void *arg, struct tuck_index_sums *sums) {
    (void)arg;
    sums->counters.value[TUCK_COUNT_gets]++;
}

static void sums_that_are_added_to_after_somebody_cleared_the_index_are_not_lost(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&world);
    struct tuck_index_sums sums;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
        assert_int_equal(tuck_index_clear(other, NULL), 0);
        assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
        assert_int_equal(tuck_index_clear(index, NULL), 0); // by one that has not noticed either
    }
    struct tuck_index *fresh = world_open(&world);
    tuck_index_sums(fresh, NULL, NULL, &sums);
    assert_int_equal(sums.counters.value[TUCK_COUNT_gets], 10);
    tuck_index_close(fresh);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static void sums_are_written_into_no_file_but_an_index(void **state) {
    (void)state;
    static uint8_t foreign[8 * PAGE];
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_index_sums sums;
    size_t len;
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), 0);
    memset(foreign, 'x', sizeof(foreign));
    assert_int_equal(unlink(world.file), 0);
    unit_write_file(world.file, foreign, sizeof(foreign)); // of a later tuck, say
    assert_int_equal(tuck_index_change_sums(index, add_one, NULL), TUCK_EIO);
    uint8_t *data = unit_read_file(world.file, &len);
    assert_int_equal(len, sizeof(foreign));
    assert_memory_equal(data, foreign, sizeof(foreign));
    free(data);
    tuck_index_sums(index, NULL, NULL, &sums); // of the one that was opened
    assert_int_equal(sums.counters.value[TUCK_COUNT_gets], 1);
    tuck_index_close(index);
    world_close(&world);
}

static void a_handle_that_follows_a_clear_finds_nothing_any_more(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&world);
    record_many(index, 0, 100, 1);
    flush_all(index);
    assert_int_equal(tuck_index_follow(index, NULL), 0);
    assert_int_equal(count_found(index, 0, 100, 1), 100);
    assert_int_equal(tuck_index_clear(other, NULL), 0);
    assert_int_equal(count_found(index, 0, 100, 1), 100); // not noticed yet
    assert_int_equal(tuck_index_follow(index, NULL), 0);
    assert_int_equal(count_found(index, 0, 100, 1), 0);
    assert_true(tuck_index_bytes(index) > 0);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_walk_misses_nothing_while_the_index_doubles),
    cmocka_unit_test(a_record_that_is_just_being_written_is_met),
    cmocka_unit_test(a_page_that_cannot_be_read_is_a_failure_after_all_others_were_met),
    cmocka_unit_test(what_was_put_in_the_future_is_met_by_nobody_and_makes_room),
    cmocka_unit_test(what_waits_to_be_written_is_met_by_a_walk_of_its_own),
    cmocka_unit_test(removals_can_be_taken_back_and_nothing_else_is),
    cmocka_unit_test(sums_that_are_added_to_after_somebody_cleared_the_index_are_not_lost),
    cmocka_unit_test(sums_are_written_into_no_file_but_an_index),
    cmocka_unit_test(a_handle_that_follows_a_clear_finds_nothing_any_more),
};

UNIT_MAIN(tests)
