// SPDX-License-Identifier: MIT
/*
 * What the index promises while nothing is damaged. Damage and crashes are in test_index_damage.c, what is trusted
 * after a power cut in test_index_epochs.c.
 */
#include "tests/unit/index_world.h"

#include "lib/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

// --- Find, record, touch, flush ------------------------------------------------------------------

static void an_action_that_was_never_recorded_is_absent(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(version_found(index, 1), 0);
    record_many(index, 2, 500, 1);
    flush_all(index);
    assert_int_equal(version_found(index, 1), 0);
    tuck_index_close(index);
    world_close(&world);
}

static void all_fields_are_found_at_once_and_after_a_flush_and_after_reopening(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry found, entry = entry_of_version(1, 1);
    entry.size = UINT64_C(0x123456789abcdef0);
    entry.access_s = 0xfedcba98;
    entry.hits = 65535;
    entry.is_synced = true;
    entry.file_tag = 0xdeadbeef;
    assert_int_equal(tuck_index_record(index, &action, &entry), 1);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(tuck_index_find(index, &action, &found), 0);
        assert_true(tuck_output_equal(&found.output, &entry.output));
        assert_int_equal(found.size, entry.size);
        assert_int_equal(found.put_ns, entry.put_ns);
        assert_int_equal(found.access_s, entry.access_s);
        assert_int_equal(found.hits, entry.hits);
        assert_int_equal(found.is_synced, true);
        assert_int_equal(found.file_tag, entry.file_tag);
        if (round == 0)
            flush_all(index);
        if (round == 1) {
            tuck_index_close(index);
            index = world_open(&world);
        }
    }
    tuck_index_close(index);
    world_close(&world);
}

static void what_was_not_flushed_is_gone_after_reopening(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    record_many(index, 1, 100, 1);
    flush_all(index);
    record_many(index, 1, 200, 2);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 1, 100, 1), 100);
    assert_int_equal(count_found(index, 101, 100, 2), 0);
    tuck_index_close(index);
    tuck_index_close(NULL);
    world_close(&world);
}

static void a_flush_without_dirty_entries_writes_nothing(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    record_many(index, 1, 10, 1);
    flush_all(index);
    (void)count_writes();
    flush_all(index);
    assert_int_equal(count_writes(), 0);
    tuck_index_close(index);
    index = world_open(&world);
    (void)version_found(index, 1);
    flush_all(index);
    assert_int_equal(count_writes(), 0);
    tuck_index_close(index);
    world_close(&world);
}

static void the_number_of_dirty_entries_is_told(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    for (uint64_t number = 1; number <= 300; number++) {
        struct tuck_action_id action = unit_action(number);
        struct tuck_entry entry = entry_of_version(number, 1);
        assert_int_equal(tuck_index_record(index, &action, &entry), number);
        assert_int_equal(tuck_index_record(index, &action, &entry), number);
        assert_int_equal(tuck_index_touch(index, &action, &entry, false), number);
    }
    flush_all(index);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry entry = entry_of_version(1, 2);
    assert_int_equal(tuck_index_record(index, &action, &entry), 1);
    tuck_index_close(index);
    world_close(&world);
}

static void another_handle_finds_what_was_flushed_and_not_what_was_not(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *one = world_open(&world), *other = world_open(&world);
    record_many(one, 1, 1000, 1);
    assert_int_equal(count_found(other, 1, 1000, 1), 0);
    flush_all(one);
    assert_int_equal(count_found(other, 1, 1000, 1), 1000);
    record_many(other, 1, 1000, 2);
    flush_all(other);
    assert_int_equal(count_found(one, 1, 1000, 2), 1000);
    tuck_index_close(one);
    tuck_index_close(other);
    world_close(&world);
}

static void of_two_puts_the_later_one_wins_in_any_order(void **state) {
    (void)state;
    // The order of the records, whether there is a flush between them, and whether they come from one handle.
    for (int way = 0; way < 8; way++) {
        struct world world = world_new();
        struct tuck_index *one = world_open(&world);
        struct tuck_index *other = way & 4 ? world_open(&world) : one;
        record_many(one, 1, 50, way & 1 ? 2 : 1);
        if (way & 2)
            flush_all(one);
        record_many(other, 1, 50, way & 1 ? 1 : 2);
        flush_all(other);
        flush_all(one);
        assert_int_equal(count_found(one, 1, 50, 2), 50);
        assert_int_equal(count_found(other, 1, 50, 2), 50);
        if (other != one)
            tuck_index_close(other);
        tuck_index_close(one);
        world_close(&world);
    }
}

static void a_touch_notes_the_use_and_is_found_after_the_next_flush(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry found;
    record_many(index, 1, 1, 1);
    flush_all(index);
    assert_int_equal(tuck_index_find(index, &action, &found), 0);
    found.access_s += 7200;
    found.hits = 3;
    assert_int_equal(tuck_index_touch(index, &action, &found, false), 1);
    flush_all(index);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(version_found(index, 1), 1);
    assert_int_equal(tuck_index_find(index, &action, &found), 0);
    assert_int_equal(found.access_s, entry_of_version(1, 1).access_s + 7200);
    assert_int_equal(found.hits, 3);
    tuck_index_close(index);
    world_close(&world);
}

static void a_touch_brings_nothing_back_and_makes_nothing_up(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *one = world_open(&world), *other = world_open(&world);
    struct tuck_action_id action = unit_action(1), never = unit_action(2);
    struct tuck_entry old = entry_of_version(1, 1), none = entry_of_version(2, 1);
    record_many(one, 1, 1, 1);
    flush_all(one);
    record_many(other, 1, 1, 2);
    flush_all(other);
    (void)tuck_index_touch(one, &action, &old, true);
    (void)tuck_index_touch(one, &never, &none, true);
    flush_all(one);
    assert_int_equal(version_found(one, 1), 2);
    assert_int_equal(version_found(other, 1), 2);
    assert_int_equal(version_found(one, 2), 0);
    assert_int_equal(version_found(other, 2), 0);
    tuck_index_close(one);
    tuck_index_close(other);
    world_close(&world);
}

static void a_late_touch_does_not_hide_a_later_put_of_the_same_handle(void **state) {
    (void)state;
    // A lookup that hashes a large object on the second thread notes its entry after the put of a new one.
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry old;
    record_many(index, 1, 1, 1);
    flush_all(index);
    assert_int_equal(tuck_index_find(index, &action, &old), 0);
    record_many(index, 1, 1, 2);
    flush_all(index);
    (void)tuck_index_touch(index, &action, &old, true);
    assert_int_equal(version_found(index, 1), 2);
    tuck_index_close(index);
    world_close(&world);
}

static void a_dirty_entry_does_not_hide_a_later_put_of_another_handle(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *one = world_open(&world), *other = world_open(&world);
    record_many(one, 1, 1, 1);
    record_many(other, 1, 1, 2);
    flush_all(other);
    assert_int_equal(version_found(one, 1), 2);
    tuck_index_close(one);
    tuck_index_close(other);
    world_close(&world);
}

static void a_put_time_far_in_the_future_is_damage_and_a_put_of_today_replaces_it(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry found, future = entry_of_version(1, 1);
    future.put_ns = tuck_clock_wall_ns() + 2 * 3600 * TUCK_NS_PER_S;
    (void)tuck_index_record(index, &action, &future);
    flush_all(index);
    assert_int_equal(tuck_index_find(index, &action, &found), TUCK_INDEX_ABSENT);
    record_many(index, 1, 1, 2);
    flush_all(index);
    assert_int_equal(version_found(index, 1), 2);
    tuck_index_close(index);
    world_close(&world);
}

// --- Growth --------------------------------------------------------------------------------------

static void two_hundred_thousand_entries_are_all_found_again(void **state) {
    (void)state;
    const uint64_t total = 200000, step = 10000;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_index *old = world_open(&world); // since the file was empty
    for (uint64_t first = 0; first < total; first += step) {
        record_many(index, first, step, 1);
        flush_all(index);
    }
    assert_int_equal(count_found(index, 0, total, 1), total);
    tuck_index_close(index);
    assert_int_equal(count_found(old, 0, total, 1), total);
    tuck_index_close(old);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, total, 1), total);
    assert_int_equal(count_found(index, total, 1000, 1), 0);

    // Pages are split when they are full and not before: they are half full at least, on the average.
    uint64_t pages = 0;
    char head[8];
    int fd = open(world.file, O_RDONLY | O_CLOEXEC);
    for (uint64_t page = TREE_PAGE; pread(fd, head, sizeof(head), (off_t)(page * PAGE)) > 0; page++)
        pages += memcmp(head, "\0\0\0\0\0\0\0", sizeof(head)) != 0;
    (void)close(fd);
    assert_in_range(pages, total / SLOTS, 2 * total / SLOTS);
    tuck_index_close(index);
    world_close(&world);
}

static bool tally(void *arg, const struct tuck_action_id *action, const struct tuck_entry *entry) {
    uint8_t *seen = arg;
    uint64_t number = entry->size / 1000;
    struct tuck_action_id expected = unit_action(number);
    struct tuck_entry first = entry_of_version(number, 1);
    assert_true(tuck_action_equal(action, &expected));
    assert_true(tuck_output_equal(&entry->output, &first.output));
    assert_in_range(number, 0, 4999);
    seen[number]++;
    return true;
}

static bool stop_at_five(void *arg, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    (void)action, (void)entry;
    return ++*(int *)arg < 5;
}

static void a_walk_meets_every_flushed_entry_once_and_no_dirty_one(void **state) {
    (void)state;
    static uint8_t seen[5000];
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    assert_int_equal(tuck_index_walk(index, tally, seen, NULL), 0);
    record_many(index, 0, 4000, 1);
    flush_all(index);
    record_many(index, 4000, 1000, 1);
    assert_int_equal(tuck_index_walk(index, tally, seen, NULL), 0);
    for (size_t number = 0; number < TUCK_ARRAY_LEN(seen); number++)
        assert_int_equal(seen[number], number < 4000);
    int count = 0;
    assert_int_equal(tuck_index_walk(index, stop_at_five, &count, NULL), 0);
    assert_int_equal(count, 5);
    tuck_index_close(index);
    world_close(&world);
}

// --- Locks of others -----------------------------------------------------------------------------

static void entries_of_a_locked_page_stay_dirty_until_it_is_free(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&world);
    record_many(index, 0, 1000, 1);
    flush_all(index);
    record_many(index, 0, 1000, 2);
    int lock = lock_pages(&world, TREE_PAGE + 3, 1);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);

    // The others were written; those of the page are still the first version there and the second here.
    uint64_t held = 0;
    for (uint64_t number = 0; number < 1000; number++) {
        assert_int_equal(version_found(index, number), 2);
        held += version_found(other, number) == 1;
    }
    assert_in_range(held, 1, SLOTS);
    struct tuck_action_id action = unit_action(0);
    struct tuck_entry entry = entry_of_version(0, 2);
    size_t dirty = tuck_index_touch(index, &action, &entry, false);
    assert_in_range(dirty, held, held + 1);

    (void)close(lock);
    flush_all(index);
    assert_int_equal(count_found(other, 0, 1000, 2), 1000);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static void a_lock_on_the_whole_file_loses_nothing(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    int lock = lock_pages(&world, 0, 100000);
    record_many(index, 0, 300, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    record_many(index, 100, 300, 2);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    assert_int_equal(count_found(index, 0, 100, 1), 100);
    assert_int_equal(count_found(index, 100, 300, 2), 300);
    (void)close(lock);
    flush_all(index);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, 100, 1), 100);
    assert_int_equal(count_found(index, 100, 300, 2), 300);
    tuck_index_close(index);
    world_close(&world);
}

static void a_lock_on_the_page_that_a_split_needs_loses_nothing(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    record_many(index, 0, SLOTS, 1);
    flush_all(index);
    int lock = lock_pages(&world, TREE_PAGE + 1, 1); // where page 0 splits to
    record_many(index, SLOTS, 20, 1);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    assert_int_equal(count_found(index, 0, SLOTS + 20, 1), SLOTS + 20);
    (void)close(lock);
    flush_all(index);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, SLOTS + 20, 1), SLOTS + 20);
    tuck_index_close(index);
    world_close(&world);
}

static void a_flush_waits_for_a_lock_as_long_as_it_may(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    int lock = lock_pages(&world, TREE_PAGE, 100000);
    record_many(index, 0, 10, 1);
    uint64_t wait_ns = 30 * TUCK_NS_PER_MS;
    uint64_t began = tuck_clock_mono_ns();
    assert_int_equal(tuck_index_flush(index, wait_ns, NULL), TUCK_INDEX_BUSY);
    assert_true(tuck_clock_mono_ns() - began >= wait_ns);
    assert_true(tuck_clock_mono_ns() - began < 10 * TUCK_NS_PER_S);
    (void)close(lock);
    tuck_index_close(index);
    world_close(&world);
}

static void the_lock_of_a_killed_process_is_free(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)lock_pages(&world, 0, 100000);
        (void)!write(ready[1], "!", 1);
        for (;;)
            (void)pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    record_many(index, 0, 100, 1);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    flush_all(index);
    (void)close(ready[0]);
    (void)close(ready[1]);
    tuck_index_close(index);
    world_close(&world);
}

// --- When writing fails --------------------------------------------------------------------------

static void a_write_that_fails_anywhere_keeps_the_entries_dirty_and_the_file_sound(void **state) {
    (void)state;
    // Enough to split a few pages; then each write fails in turn, once and for good.
    for (int is_for_good = 0; is_for_good < 2; is_for_good++) {
        for (unsigned nth = 1;; nth++) {
            struct world world = world_new();
            struct tuck_index *index = world_open(&world);
            record_many(index, 0, 60, 1);
            flush_all(index);
            record_many(index, 0, 150, 2);
            (void)count_writes();
            fail_write(nth, nth % 2 ? ENOSPC : EINTR + nth % 3 ? EIO : EDQUOT, is_for_good);
            int status = flush_now(index);
            bool was_reached = count_writes() >= nth;
            fail_write(0, 0, false);
            assert_int_equal(count_found(index, 0, 150, 2), 150);
            struct tuck_index *other = world_open(&world);
            for (uint64_t number = 0; number < 150; number++)
                assert_in_range(version_found(other, number), number < 60, 2);
            if (status < 0)
                flush_all(index);
            assert_int_equal(count_found(other, 0, 150, 2), 150);
            tuck_index_close(other);
            tuck_index_close(index);
            world_close(&world);
            if (!was_reached)
                break;
            assert_in_range(nth, 1, 100);
        }
    }
}

static struct tuck_index *open_durable(const struct world *world) {
    struct tuck_index *index = NULL;
    assert_int_equal(tuck_index_open(world->dirfd, &(struct tuck_index_options){.is_durable = true},
                                     &index, NULL),
                     0);
    return index;
}

static void a_durable_index_marks_what_was_put_as_synced_and_what_was_only_used_not(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = open_durable(&world);
    struct tuck_action_id put = unit_action(1), used = unit_action(2);
    struct tuck_entry entry = entry_of_version(1, 1), found;
    assert_int_equal(tuck_index_record(index, &put, &entry), 1);
    assert_int_equal(tuck_index_find(index, &put, &found), 0);
    assert_false(found.is_synced); // not yet
    flush_all(index);
    assert_int_equal(tuck_index_find(index, &put, &found), 0);
    assert_true(found.is_synced);
    tuck_index_close(index);
    index = world_open(&world);
    entry = entry_of_version(2, 1);
    (void)tuck_index_record(index, &used, &entry);
    flush_all(index);
    tuck_index_close(index);
    index = open_durable(&world);
    (void)tuck_index_touch(index, &used, &entry, true);
    flush_all(index);
    assert_int_equal(tuck_index_find(index, &used, &found), 0);
    assert_false(found.is_synced);
    tuck_index_close(index);
    world_close(&world);
}

// --- Removing ------------------------------------------------------------------------------------

static void a_removed_entry_is_gone_at_once_and_after_a_flush_and_for_others(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&world);
    record_many(index, 0, 300, 1);
    flush_all(index);
    for (uint64_t number = 0; number < 300; number += 2) {
        struct tuck_action_id action = unit_action(number);
        struct tuck_entry entry;
        uint64_t seq = 0;
        assert_int_equal(tuck_index_find(index, &action, &entry), 0);
        assert_int_equal(tuck_index_remove(index, &action, &entry, &seq), 0);
        assert_true(seq > 0);
        assert_int_equal(version_found(index, number), 0);
        assert_int_equal(version_found(other, number), 1);
    }
    flush_all(index);
    for (uint64_t number = 0; number < 300; number++) {
        assert_int_equal(version_found(index, number), number % 2);
        assert_int_equal(version_found(other, number), number % 2);
    }
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static void a_removal_spares_a_later_put_whoever_made_it(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&world);
    struct tuck_entry entry;
    uint64_t seq;
    record_many(index, 0, 2, 1);
    flush_all(index);
    for (uint64_t number = 0; number < 2; number++) {
        struct tuck_action_id action = unit_action(number);
        assert_int_equal(tuck_index_find(index, &action, &entry), 0);
        assert_int_equal(tuck_index_remove(index, &action, &entry, &seq), 0);
    }
    record_many(index, 0, 1, 2); // put again here
    record_many(other, 1, 1, 2); // and by another helper
    flush_all(other);
    flush_all(index);
    assert_int_equal(count_found(index, 0, 2, 2), 2);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static void a_use_of_an_entry_that_is_to_go_does_not_keep_it(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(0);
    struct tuck_entry entry;
    uint64_t seq;
    record_many(index, 0, 1, 1);
    flush_all(index);
    assert_int_equal(tuck_index_find(index, &action, &entry), 0);
    assert_int_equal(tuck_index_remove(index, &action, &entry, &seq), 0);
    (void)tuck_index_touch(index, &action, &entry, true);
    assert_int_equal(version_found(index, 0), 0);
    flush_all(index);
    assert_int_equal(version_found(index, 0), 0);
    tuck_index_close(index);
    world_close(&world);
}

static unsigned lost_events;

static void count_lost(struct tuck_event_sink *sink, const struct tuck_event *event) {
    (void)sink;
    lost_events += event->kind == TUCK_EVENT_ENTRIES_LOST;
}

static void dirty_entries_are_bounded_and_losing_some_is_an_event(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_event_sink sink = {count_lost};
    struct tuck_index *index = NULL;
    assert_int_equal(
        tuck_index_open(world.dirfd, &(struct tuck_index_options){.sink = &sink}, &index, NULL), 0);
    int lock = lock_pages(&world, 0, 1 << 20);
    size_t before = unit_allocated_bytes();
    lost_events = 0;
    uint64_t first_kept = record_many(index, 0, 60000, 1);
    assert_int_equal(first_kept, TUCK_INDEX_DIRTY_MAX);
    assert_int_equal(lost_events, 60000 - first_kept);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    assert_int_equal(record_many(index, 0, 60000, 2),
                     first_kept); // those that are there are replaced
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    assert_true(unit_allocated_bytes() - before < 8 << 20);
    uint64_t kept = count_found(index, 0, 60000, 2);
    assert_int_equal(kept, first_kept);
    (void)close(lock);
    flush_all(index);
    assert_int_equal(count_found(index, 0, 60000, 2), kept);
    tuck_index_close(index);
    world_close(&world);
}

// --- Spool ---------------------------------------------------------------------------------------

// Leaves version `version` of these actions in the spool.
static void spool_many(const struct world *world, uint64_t first, uint64_t count,
                       uint64_t version) {
    struct tuck_index *index = world_open(world);
    int lock = lock_pages(world, 0, 100000);
    record_many(index, first, count, version);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    assert_int_equal(tuck_index_spool(index), 0);
    (void)close(lock);
    tuck_index_close(index);
}

static void spooled_entries_are_found_by_the_next_handle_and_flushed_by_it(void **state) {
    (void)state;
    struct world world = world_new();
    spool_many(&world, 0, 300, 1);
    spool_many(&world, 300, 300, 1); // it took the first in and spooled both again
    struct tuck_index *index = world_open(&world);
    assert_int_equal(count_found(index, 0, 600, 1), 600);
    flush_all(index);
    tuck_index_close(index);
    assert_int_equal(unit_count_names(unit_path(world.dir, "spool")), -1);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, 600, 1), 600);
    tuck_index_close(index);
    world_close(&world);
}

static void spools_stay_until_they_are_flushed(void **state) {
    (void)state;
    struct world world = world_new();
    spool_many(&world, 0, 100, 1);
    struct tuck_index *index = world_open(&world);
    int lock = lock_pages(&world, TREE_PAGE, 100000);
    assert_int_equal(flush_now(index), TUCK_INDEX_BUSY);
    tuck_index_close(index); // without a spool of its own, as a killed one
    (void)close(lock);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, 100, 1), 100);
    flush_all(index);
    tuck_index_close(index);
    world_close(&world);
}

static void an_empty_spool_makes_no_file(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry entry = entry_of_version(1, 1);
    assert_int_equal(tuck_index_spool(index), 0);
    (void)tuck_index_touch(index, &action, &entry, false);
    assert_int_equal(tuck_index_spool(index), 0); // a touch is not worth one
    assert_int_equal(unit_count_names(unit_path(world.dir, "spool")), -1);
    tuck_index_close(index);
    world_close(&world);
}

static void a_spooled_entry_loses_against_a_later_put_in_the_file(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *other = world_open(&world);
    spool_many(&world, 0, 100, 1);
    record_many(other, 0, 100, 2);
    flush_all(other);
    tuck_index_close(other);
    struct tuck_index *index = world_open(&world);
    assert_int_equal(count_found(index, 0, 100, 2), 100);
    flush_all(index);
    assert_int_equal(count_found(index, 0, 100, 2), 100);
    tuck_index_close(index);
    world_close(&world);
}

// The only file in the spool.
static const char *find_spool(const struct world *world) {
    const char *dir = unit_path(world->dir, "spool"), *path = NULL;
    DIR *names = opendir(dir);
    assert_non_null(names);
    for (struct dirent *found; (found = readdir(names));)
        if (found->d_name[0] != '.')
            path = unit_path(dir, found->d_name);
    (void)closedir(names);
    assert_non_null(path);
    return path;
}

static void a_damaged_or_half_written_spool_is_no_entry_at_all(void **state) {
    (void)state;
    struct world world = world_new();
    spool_many(&world, 0, 20, 1);
    const char *path = find_spool(&world);
    size_t len;
    uint8_t *data = unit_read_file(path, &len);
    for (size_t at = 0; at < len; at += 7) {
        data[at] ^= 0x40;
        unit_write_file(path, data, len);
        data[at] ^= 0x40;
        struct tuck_index *index = world_open(&world);
        assert_int_equal(count_found(index, 0, 20, 1), 0);
        tuck_index_close(index);
    }
    for (size_t part = 0; part < len; part += 5) {
        unit_write_file(path, data, part);
        struct tuck_index *index = world_open(&world);
        assert_int_equal(count_found(index, 0, 20, 1), 0);
        tuck_index_close(index);
    }
    unit_write_file(path, data, len);
    struct tuck_index *index = world_open(&world);
    assert_int_equal(count_found(index, 0, 20, 1), 20);
    tuck_index_close(index);
    free(data);
    world_close(&world);
}

static void things_planted_in_the_spool_do_no_harm(void **state) {
    (void)state;
    struct world world = world_new();
    spool_many(&world, 0, 20, 1);
    const char *dir = unit_path(world.dir, "spool");
    const char *target = unit_path(world.dir, "victim");
    unit_write_file(target, "precious", 8);
    assert_int_equal(symlink("../victim", unit_path(dir, "0123456789abcdef01234567")), 0);
    assert_int_equal(mkfifo(unit_path(dir, "1123456789abcdef01234567"), 0600), 0);
    assert_int_equal(mkdir(unit_path(dir, "2123456789abcdef01234567"), 0700), 0);
    unit_write_file(unit_path(dir, "3123456789abcdef01234567"), "", 0);
    unit_write_file(unit_path(dir, "short"), "x", 1);
    struct tuck_index *index = world_open(&world);
    assert_int_equal(count_found(index, 0, 20, 1), 20);
    flush_all(index);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, 20, 1), 20);
    tuck_index_close(index);
    size_t len;
    uint8_t *data = unit_read_file(target, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(data, "precious", 8);
    free(data);
    world_close(&world);
}

static void more_spooled_entries_than_fit_the_memory_are_not_thrown_away(void **state) {
    (void)state;
    struct world world = world_new();
    const uint64_t each = 9000;
    // Three helpers that began together could not write; the next one takes in what they left.
    struct tuck_index *index[3];
    for (size_t i = 0; i < 3; i++)
        index[i] = world_open(&world);
    for (size_t i = 0; i < 3; i++) {
        record_many(index[i], i * each, each, 1);
        assert_int_equal(tuck_index_spool(index[i]), 0);
        tuck_index_close(index[i]);
    }
    for (int helpers = 0; helpers < 3; helpers++) {
        struct tuck_index *next = world_open(&world);
        flush_all(next);
        tuck_index_close(next);
    }
    struct tuck_index *last = world_open(&world);
    assert_int_equal(count_found(last, 0, 3 * each, 1), 3 * each);
    tuck_index_close(last);
    world_close(&world);
}

// --- Another file --------------------------------------------------------------------------------

static void after_a_clear_nothing_is_found_and_everything_can_be_put_again(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    record_many(index, 0, 3000, 1);
    flush_all(index);
    assert_int_equal(tuck_index_clear(index, NULL), 0);
    assert_int_equal(count_found(index, 0, 3000, 1), 0);
    record_many(index, 0, 100, 2);
    flush_all(index);
    assert_int_equal(count_found(index, 0, 3000, 2), 100);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, 3000, 2), 100);
    assert_int_equal(unit_count_names(world.dir), 2); // entries, brief
    tuck_index_close(index);
    world_close(&world);
}

static void a_live_handle_follows_a_clear_at_its_next_flush(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *live = world_open(&world), *clearer = world_open(&world);
    record_many(live, 0, 2000, 1);
    flush_all(live);
    record_many(live, 5000, 200, 1);
    assert_int_equal(tuck_index_clear(clearer, NULL), 0);
    assert_int_equal(count_found(clearer, 0, 2000, 1), 0);
    flush_all(live); // the dirty ones go to the new file
    assert_int_equal(count_found(live, 0, 2000, 1), 0);
    assert_int_equal(count_found(live, 5000, 200, 1), 200);
    assert_int_equal(count_found(clearer, 5000, 200, 1), 200);
    record_many(live, 0, 2000, 2);
    flush_all(live);
    assert_int_equal(count_found(clearer, 0, 2000, 2), 2000);
    tuck_index_close(live);
    tuck_index_close(clearer);
    world_close(&world);
}

static void a_clear_empties_the_spool_too(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    spool_many(&world, 0, 50, 1);
    assert_int_equal(tuck_index_clear(index, NULL), 0);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, 50, 1), 0);
    tuck_index_close(index);
    world_close(&world);
}

static void a_file_that_somebody_removed_is_made_anew_by_the_next_flush(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    record_many(index, 0, 100, 1);
    flush_all(index);
    assert_int_equal(unlink(world.file), 0);
    record_many(index, 100, 100, 1);
    flush_all(index);
    struct tuck_index *other = world_open(&world);
    assert_int_equal(count_found(other, 100, 100, 1), 100);
    assert_int_equal(count_found(index, 0, 100, 1), 0);
    tuck_index_close(other);
    tuck_index_close(index);
    world_close(&world);
}

static unsigned damage_events;

static void count_damage(struct tuck_event_sink *sink, const struct tuck_event *event) {
    (void)sink;
    damage_events += event->kind == TUCK_EVENT_INDEX_DAMAGED;
}

static void whatever_stands_in_place_of_the_file_is_set_aside(void **state) {
    (void)state;
    for (int what = 0; what < 8; what++) {
        struct world world = world_new();
        const char *victim = unit_path(world.dir, "victim");
        unit_write_file(victim, "precious", 8);
        switch (what) {
        case 0:
            assert_int_equal(symlink("victim", world.file), 0);
            break;
        case 1:
            assert_int_equal(mkfifo(world.file, 0600), 0);
            break;
        case 2:
            assert_int_equal(mkdir(world.file, 0700), 0);
            unit_write_file(unit_path(world.file, "inside"), "x", 1);
            break;
        case 3:
            unit_write_file(world.file, "", 0);
            break;
        case 4:
            unit_write_file(world.file, "not an index", 12);
            break;
        case 5:
            assert_int_equal(symlink("nowhere", world.file), 0);
            break;
        case 6: // and something is in the way of setting it aside
            unit_write_file(world.file, "not an index", 12);
            assert_int_equal(mkdir(unit_path(world.dir, "entries.damaged"), 0700), 0);
            unit_write_file(unit_path(world.dir, "entries.damaged/inside"), "x", 1);
            break;
        default:
            assert_int_equal(mkdir(world.file, 0700), 0);
            unit_write_file(unit_path(world.dir, "entries.damaged"), "x", 1);
        }
        struct tuck_event_sink sink = {count_damage};
        struct tuck_index *index = NULL;
        struct tuck_error err = {0};
        damage_events = 0;
        assert_int_equal(
            tuck_index_open(world.dirfd, &(struct tuck_index_options){.sink = &sink}, &index, &err),
            0);
        assert_int_equal(damage_events, 1);
        record_many(index, 0, 100, 1);
        flush_all(index);
        tuck_index_close(index);
        index = NULL;
        assert_int_equal(
            tuck_index_open(world.dirfd, &(struct tuck_index_options){.sink = &sink}, &index, NULL),
            0);
        assert_int_equal(damage_events, 1);
        assert_int_equal(count_found(index, 0, 100, 1), 100);
        tuck_index_close(index);
        size_t len;
        uint8_t *data = unit_read_file(victim, &len);
        assert_int_equal(len, 8);
        free(data);
        world_close(&world);
    }
}

static void an_index_that_cannot_be_made_is_a_failure_with_its_reason(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = NULL;
    struct tuck_error err = {0};
    assert_int_equal(rmdir(world.dir), 0);
    assert_true(tuck_index_open(world.dirfd, &(struct tuck_index_options){0}, &index, &err) < 0);
    assert_null(index);
    assert_true(err.code < 0 && err.text[0]);
    world_close(&world);
}

static void *flush_until_told(void *arg) {
    struct {
        struct tuck_index *index;
        bool is_over;
    } *flushing = arg;
    while (!__atomic_load_n(&flushing->is_over, __ATOMIC_RELAXED))
        (void)!tuck_index_flush(flushing->index, TUCK_NS_PER_S, NULL);
    return NULL;
}

static void an_entry_that_is_flushed_at_once_is_not_taken_for_a_lost_one(void **state) {
    (void)state;
    struct world world = world_new();
    struct {
        struct tuck_index *index;
        bool is_over;
    } flushing = {world_open(&world), false};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flush_until_told, &flushing), 0);
    uint64_t kept = 0;
    for (uint64_t first = 0; first < 48000; first += 4000) { // never too many for the room there is
        kept += record_many(flushing.index, first, 4000, 1);
        assert_int_equal(tuck_index_flush(flushing.index, TUCK_NS_PER_S, NULL), 0);
    }
    __atomic_store_n(&flushing.is_over, true, __ATOMIC_RELAXED);
    (void)pthread_join(thread, NULL);
    assert_int_equal(kept, 48000);
    tuck_index_close(flushing.index);
    world_close(&world);
}

// --- Counters ------------------------------------------------------------------------------------

static void add(void *arg, struct tuck_index_sums *sums) {
    const struct tuck_counters *counters = arg;
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        sums->counters.value[i] += counters->value[i];
}

static void count(void *arg, struct tuck_index_sums *sums) {
    (void)arg;
    sums->base_bytes = -5;
    sums->base_objects = 7;
    sums->is_counted = true;
    sums->collected_s = 11;
    sums->swept_s = 13;
    sums->sweep_next = 255;
}

static void sums_add_up_over_handles_and_survive_a_clear(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *one = world_open(&world), *other = world_open(&world);
    struct tuck_counters more = {{0}};
    struct tuck_index_sums sums;
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        more.value[i] = i + 1;
    tuck_index_sums(one, NULL, NULL, &sums);
    assert_false(sums.is_counted); // objects may be there already
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        assert_int_equal(sums.counters.value[i], 0);
    assert_int_equal(tuck_index_change_sums(one, add, &more), 0);
    assert_int_equal(tuck_index_change_sums(other, add, &more), 0);
    assert_int_equal(tuck_index_change_sums(one, count, NULL), 0);
    for (int after_clear = 0; after_clear < 2; after_clear++) {
        tuck_index_sums(one, NULL, NULL, &sums);
        for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
            assert_int_equal(sums.counters.value[i], 2 * (i + 1));
        assert_int_equal(sums.base_bytes, -5);
        assert_int_equal(sums.base_objects, 7);
        assert_true(sums.is_counted);
        assert_int_equal(sums.collected_s, 11);
        assert_int_equal(sums.swept_s, 13);
        assert_int_equal(sums.sweep_next, 255);
        assert_int_equal(tuck_index_clear(one, NULL), 0);
    }
    tuck_index_close(one);
    tuck_index_close(other);
    world_close(&world);
}

static void damaged_sums_begin_at_zero(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_counters more = {{5, 6, 7}};
    struct tuck_index_sums sums;
    assert_int_equal(tuck_index_change_sums(index, add, &more), 0);
    assert_int_equal(tuck_index_change_sums(index, count, NULL), 0);
    int fd = open(world.file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\xff", 1, PAGE + 20), 1);
    (void)close(fd);
    tuck_index_sums(index, NULL, NULL, &sums);
    assert_int_equal(sums.counters.value[0], 0);
    assert_false(sums.is_counted);
    assert_int_equal(tuck_index_change_sums(index, add, &more), 0);
    tuck_index_sums(index, NULL, NULL, &sums);
    assert_int_equal(sums.counters.value[1], 6);
    tuck_index_close(index);
    world_close(&world);
}

static void sums_that_another_process_holds_are_busy(void **state) {
    (void)state;
    struct world world = world_new();
    struct tuck_index *index = world_open(&world);
    struct tuck_counters more = {{1}};
    int lock = lock_pages(&world, 1, 1);
    assert_int_equal(tuck_index_change_sums(index, add, &more), TUCK_INDEX_BUSY);
    (void)close(lock);
    assert_int_equal(tuck_index_change_sums(index, add, &more), 0);
    tuck_index_close(index);
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_action_that_was_never_recorded_is_absent),
    cmocka_unit_test(all_fields_are_found_at_once_and_after_a_flush_and_after_reopening),
    cmocka_unit_test(what_was_not_flushed_is_gone_after_reopening),
    cmocka_unit_test(a_flush_without_dirty_entries_writes_nothing),
    cmocka_unit_test(the_number_of_dirty_entries_is_told),
    cmocka_unit_test(another_handle_finds_what_was_flushed_and_not_what_was_not),
    cmocka_unit_test(of_two_puts_the_later_one_wins_in_any_order),
    cmocka_unit_test(a_touch_notes_the_use_and_is_found_after_the_next_flush),
    cmocka_unit_test(a_touch_brings_nothing_back_and_makes_nothing_up),
    cmocka_unit_test(a_late_touch_does_not_hide_a_later_put_of_the_same_handle),
    cmocka_unit_test(a_dirty_entry_does_not_hide_a_later_put_of_another_handle),
    cmocka_unit_test(a_put_time_far_in_the_future_is_damage_and_a_put_of_today_replaces_it),
    cmocka_unit_test(two_hundred_thousand_entries_are_all_found_again),
    cmocka_unit_test(a_walk_meets_every_flushed_entry_once_and_no_dirty_one),
    cmocka_unit_test(entries_of_a_locked_page_stay_dirty_until_it_is_free),
    cmocka_unit_test(a_lock_on_the_whole_file_loses_nothing),
    cmocka_unit_test(a_lock_on_the_page_that_a_split_needs_loses_nothing),
    cmocka_unit_test(a_flush_waits_for_a_lock_as_long_as_it_may),
    cmocka_unit_test(the_lock_of_a_killed_process_is_free),
    cmocka_unit_test(a_write_that_fails_anywhere_keeps_the_entries_dirty_and_the_file_sound),
    cmocka_unit_test(a_durable_index_marks_what_was_put_as_synced_and_what_was_only_used_not),
    cmocka_unit_test(a_removed_entry_is_gone_at_once_and_after_a_flush_and_for_others),
    cmocka_unit_test(a_removal_spares_a_later_put_whoever_made_it),
    cmocka_unit_test(a_use_of_an_entry_that_is_to_go_does_not_keep_it),
    cmocka_unit_test(dirty_entries_are_bounded_and_losing_some_is_an_event),
    cmocka_unit_test(spooled_entries_are_found_by_the_next_handle_and_flushed_by_it),
    cmocka_unit_test(spools_stay_until_they_are_flushed),
    cmocka_unit_test(an_empty_spool_makes_no_file),
    cmocka_unit_test(a_spooled_entry_loses_against_a_later_put_in_the_file),
    cmocka_unit_test(a_damaged_or_half_written_spool_is_no_entry_at_all),
    cmocka_unit_test(things_planted_in_the_spool_do_no_harm),
    cmocka_unit_test(more_spooled_entries_than_fit_the_memory_are_not_thrown_away),
    cmocka_unit_test(after_a_clear_nothing_is_found_and_everything_can_be_put_again),
    cmocka_unit_test(a_live_handle_follows_a_clear_at_its_next_flush),
    cmocka_unit_test(a_clear_empties_the_spool_too),
    cmocka_unit_test(a_file_that_somebody_removed_is_made_anew_by_the_next_flush),
    cmocka_unit_test(whatever_stands_in_place_of_the_file_is_set_aside),
    cmocka_unit_test(an_index_that_cannot_be_made_is_a_failure_with_its_reason),
    cmocka_unit_test(an_entry_that_is_flushed_at_once_is_not_taken_for_a_lost_one),
    cmocka_unit_test(sums_add_up_over_handles_and_survive_a_clear),
    cmocka_unit_test(damaged_sums_begin_at_zero),
    cmocka_unit_test(sums_that_another_process_holds_are_busy),
};

UNIT_MAIN(tests)
