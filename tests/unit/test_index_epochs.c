// SPDX-License-Identifier: MIT
/*
 * Which objects need no second look after the machine was down: epochs, boots and syncs in the background. The boots
 * are made up, time passes by shifting the clock.
 */
#include "tests/unit/index_world.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <fcntl.h>

static unsigned sync_count;

static bool trusts(struct tuck_index *index, uint64_t number) {
    struct tuck_action_id action = unit_action(number);
    struct tuck_entry found;
    assert_int_equal(tuck_index_find(index, &action, &found), 0);
    return tuck_index_trusts(index, &found);
}

// A helper's run in that boot of the machine: puts `count` actions from `first` on, flushed.
static void put_in_boot(const struct world *world, int boot, uint64_t first, uint64_t count) {
    pretend_boot(boot);
    struct tuck_index *index = world_open(world);
    record_many(index, first, count, 1);
    flush_all(index);
    tuck_index_close(index);
}

static int succeed(int fd) {
    assert_true(fd >= 0);
    sync_count++;
    return 0;
}

static int refuse(int fd) {
    (void)fd;
    sync_count++;
    errno = EIO;
    return -1;
}

// A helper's run in that boot, `later_s` seconds later by the wall clock; returns whether it synced.
static bool sync_in_boot(const struct world *world, int boot, int64_t later_s,
                         int (*sync)(int fd)) {
    pretend_boot(boot);
    tuck_clock_shift(later_s * (int64_t)TUCK_NS_PER_S);
    struct tuck_index *index = world_open(world);
    sync_count = 0;
    tuck_index_sync_if_due(index, sync);
    tuck_index_close(index);
    return sync_count > 0;
}

static bool trusts_in_boot(const struct world *world, int boot, uint64_t number) {
    pretend_boot(boot);
    struct tuck_index *index = world_open(world);
    bool result = trusts(index, number);
    tuck_index_close(index);
    return result;
}

static int end_pretending(void **state) {
    (void)state;
    pretend_boot(0);
    return 0;
}

static void within_one_boot_what_was_put_is_trusted(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = world_open(&world);
    record_many(index, 1, 1, 1);
    assert_true(trusts(index, 1));
    flush_all(index);
    assert_true(trusts(index, 1));
    tuck_index_close(index);
    assert_true(trusts_in_boot(&world, 1, 1));
    world_close(&world);
}

static void after_a_reboot_what_no_sync_covered_is_not_trusted_until_it_was_hashed(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 2);
    assert_false(trusts_in_boot(&world, 2, 1));
    pretend_boot(2);
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry found;
    assert_int_equal(tuck_index_find(index, &action, &found), 0);
    (void)tuck_index_touch(index, &action, &found, true);
    assert_true(trusts(index, 1));
    assert_false(trusts(index, 2));
    flush_all(index);
    tuck_index_close(index);
    assert_true(trusts_in_boot(&world, 2, 1));
    assert_false(trusts_in_boot(&world, 2, 2));
    assert_false(trusts_in_boot(&world, 3, 1)); // nothing has made it durable since
    world_close(&world);
}

static void what_was_hashed_and_then_used_stays_trusted(void **state) {
    (void)state;
    // The first lookup of the day notes both: that it hashed the object, and the time of its use.
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 1);
    pretend_boot(2);
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry found;
    assert_int_equal(tuck_index_find(index, &action, &found), 0);
    (void)tuck_index_touch(index, &action, &found, true);
    found.access_s += 7200;
    (void)tuck_index_touch(index, &action, &found, false);
    assert_true(trusts(index, 1));
    flush_all(index);
    tuck_index_close(index);
    assert_true(trusts_in_boot(&world, 2, 1));
    assert_false(trusts_in_boot(&world, 3, 1));
    world_close(&world);
}

static void a_use_alone_makes_nothing_trusted(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 1);
    pretend_boot(2);
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry found;
    assert_int_equal(tuck_index_find(index, &action, &found), 0);
    found.hits++;
    (void)tuck_index_touch(index, &action, &found, false);
    assert_false(trusts(index, 1));
    flush_all(index);
    assert_false(trusts(index, 1));
    tuck_index_close(index);
    world_close(&world);
}

static void a_sync_is_due_a_minute_after_the_first_put_and_only_then(void **state) {
    (void)state;
    struct world world = world_new();
    assert_false(sync_in_boot(&world, 1, 100, succeed)); // nothing was put
    put_in_boot(&world, 1, 1, 1);
    assert_false(sync_in_boot(&world, 1, 0, succeed));
    assert_false(sync_in_boot(&world, 1, 50, succeed));
    assert_true(sync_in_boot(&world, 1, 20, succeed));
    assert_false(sync_in_boot(&world, 1, 1000, succeed)); // nothing was put since
    put_in_boot(&world, 1, 2, 1);
    assert_true(sync_in_boot(&world, 1, 70, succeed));
    world_close(&world);
}

static void what_a_sync_covered_is_trusted_after_a_reboot(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 1);
    assert_true(sync_in_boot(&world, 1, 70, succeed));
    put_in_boot(&world, 1, 2, 1); // after the sync
    assert_true(trusts_in_boot(&world, 2, 1));
    assert_false(trusts_in_boot(&world, 2, 2));
    assert_true(trusts_in_boot(&world, 3, 1));
    assert_false(trusts_in_boot(&world, 3, 2));
    world_close(&world);
}

static void a_sync_in_a_later_boot_covers_nothing_of_an_earlier_one(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 1);
    put_in_boot(&world, 2, 2, 1);
    assert_true(sync_in_boot(&world, 2, 70, succeed));
    assert_false(trusts_in_boot(&world, 3, 1));
    assert_true(trusts_in_boot(&world, 3, 2));
    world_close(&world);
}

static void a_sync_that_failed_covers_nothing(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 1);
    assert_true(sync_in_boot(&world, 1, 70, refuse));
    assert_false(trusts_in_boot(&world, 2, 1));
    world_close(&world);
}

static const struct world *busy_world;

static int put_meanwhile(int fd) {
    (void)fd;
    struct tuck_index *index = world_open(busy_world);
    record_many(index, 2, 1, 1);
    flush_all(index);
    tuck_index_close(index);
    sync_count++;
    return 0;
}

static void what_is_put_while_a_sync_runs_is_not_covered_by_it(void **state) {
    (void)state;
    struct world world = world_new();
    busy_world = &world;
    put_in_boot(&world, 1, 1, 1);
    assert_true(sync_in_boot(&world, 1, 70, put_meanwhile));
    assert_true(trusts_in_boot(&world, 2, 1));
    assert_false(trusts_in_boot(&world, 2, 2));
    world_close(&world);
}

static int sync_again(int fd) {
    (void)fd;
    struct tuck_index *index = world_open(busy_world);
    tuck_clock_shift(100 * (int64_t)TUCK_NS_PER_S);
    record_many(index, 2, 1, 1);
    flush_all(index);
    tuck_clock_shift(100 * (int64_t)TUCK_NS_PER_S);
    unsigned before = sync_count++;
    tuck_index_sync_if_due(index, succeed);
    assert_int_equal(sync_count, before + 1);
    tuck_index_close(index);
    return 0;
}

static void of_two_helpers_only_one_syncs(void **state) {
    (void)state;
    struct world world = world_new();
    busy_world = &world;
    put_in_boot(&world, 1, 1, 1);
    assert_true(sync_in_boot(&world, 1, 70, sync_again));
    world_close(&world);
}

static void an_object_that_was_durable_before_its_answer_is_always_trusted(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = world_open(&world);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry entry = entry_of_version(1, 1);
    entry.is_synced = true;
    (void)tuck_index_record(index, &action, &entry);
    flush_all(index);
    tuck_index_close(index);
    assert_true(trusts_in_boot(&world, 2, 1));
    assert_true(trusts_in_boot(&world, 30, 1));
    world_close(&world);
}

static void after_many_power_cuts_nothing_unsynced_was_ever_trusted(void **state) {
    (void)state;
    // More boots than the super page has room for. Every third one ends with a sync.
    struct world world = world_new();
    for (int boot = 1; boot <= 60; boot++) {
        put_in_boot(&world, boot, (uint64_t)boot, 1);
        if (boot % 3 == 0)
            assert_true(sync_in_boot(&world, boot, 70, succeed));
        for (int earlier = 1; earlier < boot; earlier++) {
            bool is_trusted = trusts_in_boot(&world, boot, (uint64_t)earlier);
            if (earlier % 3 != 0)
                assert_false(is_trusted);
            else if (boot - earlier < 15)
                assert_true(is_trusted);
        }
    }
    world_close(&world);
}

static void a_clock_that_is_set_back_between_boots_makes_nothing_trusted(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, 1, 1, 1);
    tuck_clock_shift(-400 * (int64_t)TUCK_NS_PER_S);
    assert_false(trusts_in_boot(&world, 2, 1));
    put_in_boot(&world, 2, 2, 1);
    assert_true(sync_in_boot(&world, 2, 70, succeed));
    assert_false(trusts_in_boot(&world, 3, 1));
    assert_true(trusts_in_boot(&world, 3, 2));
    tuck_clock_shift(-70 * (int64_t)TUCK_NS_PER_S);
    put_in_boot(&world, 4, 3, 1);
    assert_false(trusts_in_boot(&world, 5, 3));
    tuck_clock_shift(330 * (int64_t)TUCK_NS_PER_S);
    world_close(&world);
}

static void where_no_boot_can_be_told_each_run_looks_for_itself(void **state) {
    (void)state;
    struct world world = world_new();
    put_in_boot(&world, -1, 1, 1);
    assert_false(trusts_in_boot(&world, -1, 1));
    world_close(&world);
}

static void a_reboot_that_only_a_clear_notices_is_noticed(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *live = world_open(&world);
    struct tuck_index *clearer = world_open(&world);
    assert_int_equal(tuck_index_clear(clearer, NULL), 0);
    tuck_index_close(clearer);
    record_many(live, 1, 1, 1);
    flush_all(live); // into the new file
    tuck_index_close(live);
    assert_true(trusts_in_boot(&world, 1, 1));
    assert_false(trusts_in_boot(&world, 2, 1));
    world_close(&world);
}

static void entries_that_are_flushed_while_the_epoch_cannot_be_read_are_not_durable(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = world_open(&world);
    int fd = open(world.file, O_RDWR | O_CLOEXEC);
    char before[8];
    assert_int_equal(pread(fd, before, sizeof(before), 0), sizeof(before));
    assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0\0", sizeof(before), 0), sizeof(before));
    record_many(index, 1, 1, 1);
    (void)flush_now(index); // may refuse, may write
    assert_int_equal(pwrite(fd, before, sizeof(before), 0), sizeof(before));
    (void)close(fd);
    flush_all(index);
    tuck_index_close(index);
    assert_false(trusts_in_boot(&world, 2, 1));
    world_close(&world);
}

static void spooled_entries_are_as_durable_as_they_were(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = world_open(&world);
    record_many(index, 1, 1, 1);
    assert_int_equal(tuck_index_spool(index), 0); // before any flush came that far
    tuck_index_close(index);
    assert_true(trusts_in_boot(&world, 1, 1));
    pretend_boot(1);
    index = world_open(&world);
    flush_all(index);
    tuck_index_close(index);
    assert_false(trusts_in_boot(&world, 2, 1));
    world_close(&world);
}

static void an_entry_that_was_spooled_before_its_flush_is_not_durable(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = NULL;
    assert_int_equal(tuck_index_open(world.dirfd, &(struct tuck_index_options){.is_durable = true},
                                     &index, NULL),
                     0);
    struct tuck_action_id action = unit_action(1);
    struct tuck_entry entry = entry_of_version(1, 1);
    (void)tuck_index_record(index, &action, &entry);
    assert_int_equal(tuck_index_spool(index), 0);
    tuck_index_close(index);
    index = world_open(&world);
    flush_all(index); // at the level lazy
    tuck_index_close(index);
    assert_false(trusts_in_boot(&world, 2, 1));
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown(within_one_boot_what_was_put_is_trusted, end_pretending),
    cmocka_unit_test_teardown(
        after_a_reboot_what_no_sync_covered_is_not_trusted_until_it_was_hashed, end_pretending),
    cmocka_unit_test_teardown(what_was_hashed_and_then_used_stays_trusted, end_pretending),
    cmocka_unit_test_teardown(a_use_alone_makes_nothing_trusted, end_pretending),
    cmocka_unit_test_teardown(a_sync_is_due_a_minute_after_the_first_put_and_only_then,
                              end_pretending),
    cmocka_unit_test_teardown(what_a_sync_covered_is_trusted_after_a_reboot, end_pretending),
    cmocka_unit_test_teardown(a_sync_in_a_later_boot_covers_nothing_of_an_earlier_one,
                              end_pretending),
    cmocka_unit_test_teardown(a_sync_that_failed_covers_nothing, end_pretending),
    cmocka_unit_test_teardown(what_is_put_while_a_sync_runs_is_not_covered_by_it, end_pretending),
    cmocka_unit_test_teardown(of_two_helpers_only_one_syncs, end_pretending),
    cmocka_unit_test_teardown(an_object_that_was_durable_before_its_answer_is_always_trusted,
                              end_pretending),
    cmocka_unit_test_teardown(after_many_power_cuts_nothing_unsynced_was_ever_trusted,
                              end_pretending),
    cmocka_unit_test_teardown(a_clock_that_is_set_back_between_boots_makes_nothing_trusted,
                              end_pretending),
    cmocka_unit_test_teardown(where_no_boot_can_be_told_each_run_looks_for_itself, end_pretending),
    cmocka_unit_test_teardown(a_reboot_that_only_a_clear_notices_is_noticed, end_pretending),
    cmocka_unit_test_teardown(
        entries_that_are_flushed_while_the_epoch_cannot_be_read_are_not_durable, end_pretending),
    cmocka_unit_test_teardown(spooled_entries_are_as_durable_as_they_were, end_pretending),
    cmocka_unit_test_teardown(an_entry_that_was_spooled_before_its_flush_is_not_durable,
                              end_pretending),
};

UNIT_MAIN(tests)
