// SPDX-License-Identifier: MIT
/*
 * Collection, what it does beside picking: orphans and leftovers, counts that are wrong or missing,
 * quotas and floors of all kinds, and when helpers begin one.
 */
#include "tests/unit/collect_world.h"

#include "lib/base/clock.h"
#include "lib/store/lease.h"
#include "lib/store/object.h"

#include <fcntl.h>
#include <sys/stat.h>

// --- Orphans and leftovers -----------------------------------------------------------------------

static void orphans_are_swept_after_a_day_one_directory_at_a_time(void **state) {
    (void)state;
    struct cache_world world = new_world();
    struct body bodies[30];
    for (uint64_t i = 0; i < 30; i++)
        bodies[i] = put_orphan(&world, i);
    fill(&world, 100, 1, BLOCK);
    pass(DAY - HOUR);
    for (int i = 0; i < 256; i++)
        assert_int_equal(collect(&world).objects, 0);
    pass(2 * HOUR);
    uint64_t orphans = 0;
    for (int i = 0; i < 256; i++) {
        struct tuck_collected done = collect(&world);
        assert_int_equal(done.orphans, done.objects);
        assert_true(done.objects < 8);
        orphans += done.objects;
    }
    assert_int_equal(orphans, 30);
    for (size_t i = 0; i < 30; i++) {
        assert_false(has_object(&world, &bodies[i].output));
        free(bodies[i].data);
    }
    assert_int_equal(count_left(&world, 100, 1, BLOCK), 1);
    assert_sums_are_right(&world);
}

static void at_pressure_orphans_are_swept_after_an_hour_and_before_what_is_kept(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 100, 30, BLOCK);
    struct body bodies[10];
    for (uint64_t i = 0; i < 10; i++)
        bodies[i] = put_orphan(&world, i);
    pass(HOUR - 60);
    uint64_t bytes = used(&world);
    assert_int_equal(
        collect_as(&world, (struct tuck_collect){.max_bytes = bytes - 10 * BLOCK}).objects, 0);
    pass(4 * HOUR); // the entries are within keep
    struct tuck_collected done =
        collect_as(&world, (struct tuck_collect){.max_bytes = bytes - 10 * BLOCK});
    assert_int_equal(done.orphans, 10);
    assert_int_equal(done.objects, 10);
    assert_int_equal(done.entries, 0);
    for (size_t i = 0; i < 10; i++)
        free(bodies[i].data);
    assert_int_equal(count_left(&world, 100, 30, BLOCK), 30);
    assert_sums_are_right(&world);
}

static void an_orphan_that_a_running_helper_gave_out_stays(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 5, 1, BLOCK);
    struct body body = body_of(5, BLOCK);
    struct tuck_cache *running = cache_open(&world, TUCK_LAZY);
    assert_true(get(running, 5, &body, NULL));
    free(put_orphan(&world, 5).data);
    pass(2 * DAY);
    for (int i = 0; i < 256; i++)
        assert_int_equal(collect(&world).objects, 0);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(done.objects, 0);
    assert_true(done.claimed >= 1);
    assert_true(has_object(&world, &body.output));
    cache_end(running);
    assert_int_equal(collect_as(&world, (struct tuck_collect){.max_bytes = 1}).orphans, 1);
    free(body.data);
}

static void what_a_helper_could_not_flush_is_no_orphan(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 1, BLOCK);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    fill_in(cache, 1, 5, BLOCK);
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(unit_path(world.dir, "index/entries"), O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &all), 0); // a stopped process
    cache_end(cache);
    assert_int_equal(unit_count_names(unit_path(world.dir, "index/spool")), 1);
    pass(2 * DAY);
    struct tuck_collect how = {.max_bytes = 1, .is_dry_run = true};
    assert_int_equal(collect_as(&world, how).orphans, 0); // neither while it is held
    (void)close(fd);
    how = (struct tuck_collect){.max_bytes = used(&world)};
    assert_int_equal(collect_as(&world, how).orphans, 0);
    assert_int_equal(count_left(&world, 0, 6, BLOCK), 6);
}

static void leftovers_in_staging_go_after_a_day_and_damaged_objects_after_a_week(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 1, BLOCK);
    const char *staged = unit_path(world.dir, "staging/0123456789abcdef01234567");
    const char *damaged = unit_path(world.dir, "quarantine/0123");
    assert_int_equal(mkdir(unit_path(world.dir, "staging"), 0700), 0);
    assert_int_equal(mkdir(unit_path(world.dir, "quarantine"), 0700), 0);
    unit_write_file(staged, "left behind", 11);
    unit_write_file(damaged, "damaged", 7);
    // The time of its writing says nothing: a removal that is under way moves old files there.
    struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, staged, old, 0), 0);
    (void)collect(&world);
    assert_int_equal(access(staged, F_OK), 0);
    pass(DAY + 60);
    (void)collect(&world);
    assert_int_equal(access(staged, F_OK), -1);
    assert_int_equal(access(damaged, F_OK), 0);
    pass(6 * DAY);
    (void)collect(&world);
    assert_int_equal(access(damaged, F_OK), -1);
}

// --- Space ---------------------------------------------------------------------------------------

static void forget_counts(struct tuck_index_sums *sums) {
    *sums = (struct tuck_index_sums){0};
}

static void
lose_removals(struct tuck_index_sums *sums) { // a collector was killed before it could tell
    sums->counters.value[TUCK_COUNT_stored_bytes] += 1000 * BLOCK;
    sums->counters.value[TUCK_COUNT_stored_objects] += 1000;
}

static void lose_puts(struct tuck_index_sums *sums) { // a helper was
    sums->counters.value[TUCK_COUNT_stored_bytes] = 0;
    sums->counters.value[TUCK_COUNT_stored_objects] = 0;
    sums->counters.value[TUCK_COUNT_removed_bytes] = 5 * BLOCK;
    sums->counters.value[TUCK_COUNT_removed_objects] = 5;
}

static void call(void *arg, struct tuck_index_sums *sums) {
    void (**change)(struct tuck_index_sums * sums) = arg;
    (*change)(sums);
}

static void change_sums(const struct cache_world *world,
                        void (*change)(struct tuck_index_sums *sums)) {
    struct tuck_index *index = open_index(world);
    assert_int_equal(tuck_index_change_sums(index, call, &change), 0);
    tuck_index_close(index);
}

static void a_cache_that_was_never_counted_is_counted_first(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, BLOCK);
    change_sums(&world, forget_counts);
    assert_false(stats_of(&world).is_counted);
    pass(5 * DAY);
    struct tuck_collected done = collect(&world);
    assert_int_equal(done.entries, 0);
    assert_sums_are_right(&world);
    change_sums(&world, forget_counts);
    cache_end(cache_open(&world, TUCK_LAZY)); // any helper does it
    assert_sums_are_right(&world);
    change_sums(&world, forget_counts);
    done = collect_as(&world, (struct tuck_collect){.max_bytes = done.used_before - 10 * BLOCK});
    assert_int_equal(done.objects, 10);
    assert_sums_are_right(&world);
}

static void counts_that_are_missing_never_make_a_huge_number(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 20, BLOCK);
    pass(5 * DAY);
    change_sums(&world, lose_puts);
    struct tuck_drive_stats stats = stats_of(&world);
    assert_int_equal(stats.used_objects, 0);
    assert_true(stats.used_bytes < 100 * BLOCK); // the index
    struct cache_world small = with_quota(world, 10 * BLOCK);
    struct tuck_collected done = collect(&small);
    assert_true(done.used_before < 100 * BLOCK);
    assert_true(done.used_after < 100 * BLOCK);
    assert_true(done.objects <= 20);
}

static void wrong_counts_are_set_right_when_they_ask_for_more_than_there_is(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 20, BLOCK);
    struct cache_world small = with_quota(world, 900 * BLOCK);
    pass(DAY + HOUR); // nothing is older than keep
    change_sums(&world, lose_removals);
    (void)collect(&small);
    assert_sums_are_right(&world);
    assert_false(collect(&small).is_over);
    change_sums(&world, lose_puts);
    pass(8 * DAY);
    (void)collect(&world); // a week later it is counted anew
    assert_sums_are_right(&world);
}

static void a_floor_of_free_space_makes_room_below_the_quota_too(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, BLOCK);
    pass(5 * DAY);
    world.bound.floor = (struct tuck_quota){.percent = 5};
    kernel_pretend_space((struct fake_space){.blocks = 1000, .blocks_free = 30});
    struct tuck_collected done = collect(&world);
    assert_int_equal(done.objects, 20);
    assert_true(done.is_over); // the kernel says so still
    kernel_pretend_space((struct fake_space){.blocks = 1000, .blocks_free = 50});
    done = collect(&world);
    assert_int_equal(done.objects, 0);
    assert_false(done.is_over);
    world.bound.floor = (struct tuck_quota){.bytes = 60 * BLOCK};
    assert_int_equal(collect(&world).objects, 10);
}

static void a_floor_of_free_inodes_makes_room_as_well(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, 10);
    pass(5 * DAY);
    world.bound.floor = (struct tuck_quota){.percent = 10};
    kernel_pretend_space(
        (struct fake_space){.blocks = 1000, .blocks_free = 900, .files = 300, .files_free = 15});
    assert_int_equal(collect(&world).objects, 15);
    // Few free ones of very many are enough, and a file system without a number of them has enough.
    kernel_pretend_space(
        (struct fake_space){.blocks = 1000, .blocks_free = 900, .files = 3000, .files_free = 300});
    assert_int_equal(collect(&world).objects, 0);
    kernel_pretend_space((struct fake_space){.blocks = 1000, .blocks_free = 900});
    assert_int_equal(collect(&world).objects, 0);
}

static void a_quota_in_percent_is_one_of_inodes_too(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 100, 10);
    pass(5 * DAY);
    world.bound.quota = (struct tuck_quota){.percent = 10};
    kernel_pretend_space((struct fake_space){
        .blocks = 100000, .blocks_free = 90000, .files = 1000, .files_free = 800});
    struct tuck_collected done = collect(&world);
    assert_int_equal(done.objects, 20); // 100 of 100: from 90 on, down to 80
    assert_false(done.is_over);
}

static void a_quota_in_percent_is_of_the_file_system_and_the_cache_alone_counts(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 100, BLOCK);
    pass(5 * DAY);
    uint64_t blocks = used(&world) / BLOCK;
    world.bound.quota = (struct tuck_quota){.percent = 10};
    kernel_pretend_space((struct fake_space){.blocks = 10 * blocks, .blocks_free = blocks});
    struct tuck_collected done = collect(&world);
    assert_int_equal(done.limit, blocks * BLOCK);
    assert_in_range(done.used_after, blocks * BLOCK * 79 / 100, blocks * BLOCK * 80 / 100);
    kernel_pretend_space((struct fake_space){.blocks = 20 * blocks, .blocks_free = 0});
    assert_int_equal(collect(&world).objects, 0); // others fill it
}

static void the_smaller_of_two_quotas_counts_and_each_drive_has_its_share(void **state) {
    (void)state;
    struct cache_world world = new_world();
    const char *base = unit_directory();
    world.drives[0] = unit_path(base, "one");
    world.drives[1] = unit_path(base, "other");
    world.drive_count = 2;
    cache_end(cache_open(&world, TUCK_LAZY));
    world.bound.quota = (struct tuck_quota){.bytes = 100 * BLOCK, .percent = 50};
    kernel_pretend_space((struct fake_space){.blocks = 1000, .blocks_free = 900});
    assert_int_equal(collect(&world).limit, 100 * BLOCK);
    kernel_pretend_space((struct fake_space){.blocks = 60, .blocks_free = 50});
    assert_int_equal(collect(&world).limit, 60 * BLOCK); // half of each
    world.bound.quota = (struct tuck_quota){.bytes = 1};
    assert_int_equal(collect(&world).limit, 2); // and never without a limit
}

// --- In helpers ----------------------------------------------------------------------------------

static unsigned count_all(const struct cache_world *world) {
    struct tuck_drive_stats stats = stats_of(world);
    return (unsigned)stats.entries;
}

static uint64_t collections(const struct cache_world *world) {
    return stats_of(world).counters.value[TUCK_COUNT_collections];
}

static void a_helper_keeps_the_bound_when_it_ends(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 100, BLOCK);
    pass(5 * DAY);
    struct cache_world at = with_quota(world, used(&world) + 5 * BLOCK);
    struct tuck_cache *cache = cache_open(&at, TUCK_LAZY);
    fill_in(cache, 100, 10, BLOCK);
    cache_end(cache);
    assert_true(used(&world) <= at.bound.quota.bytes * 80 / 100);
    assert_int_equal(count_left(&world, 100, 10, BLOCK), 10);
    assert_int_equal(collections(&world), 1);
    assert_sums_are_right(&world);
}

static void many_short_helpers_do_not_each_look_in_vain(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, BLOCK); // younger than an hour
    struct cache_world tiny = with_quota(world, 1);
    cache_end(cache_open(&tiny, TUCK_LAZY));
    assert_int_equal(events_of(TUCK_EVENT_BOUND_EXCEEDED), 1);
    pass(3 * HOUR); // now something could be done, but the last one has just looked
    change_sums(&world, (void (*)(struct tuck_index_sums *))forget_counts);
    cache_end(cache_open(&world, TUCK_LAZY)); // counts and leaves its stamp
    struct tuck_index *index = open_index(&world);
    struct tuck_index_sums sums;
    tuck_index_sums(index, NULL, NULL, &sums);
    uint32_t stamp = sums.collected_s;
    assert_true(stamp > 0);
    for (int i = 0; i < 20; i++) {
        pass(2);
        cache_end(cache_open(&world, TUCK_LAZY));
        tuck_index_sums(index, NULL, NULL, &sums);
        assert_int_equal(sums.collected_s, stamp);
    }
    pass(HOUR);
    cache_end(cache_open(&world, TUCK_LAZY));
    tuck_index_sums(index, NULL, NULL, &sums);
    assert_true(sums.collected_s > stamp);
    tuck_index_close(index);
}

static void
a_drive_that_could_not_be_made_to_keep_the_bound_is_left_alone_for_a_minute(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, BLOCK);
    pass(3 * HOUR - 40);
    fill(&world, 50, 50, BLOCK);
    struct cache_world tiny = with_quota(world, 1);
    cache_end(cache_open(&tiny, TUCK_LAZY));
    assert_int_equal(count_all(&world), 50); // what is older has gone
    pass(2 * HOUR - 30);                     // the others are not old enough by some seconds
    cache_end(cache_open(&tiny, TUCK_LAZY));
    assert_int_equal(count_all(&world), 50);
    pass(40); // now they are
    cache_end(cache_open(&tiny, TUCK_LAZY));
    assert_int_equal(count_all(&world), 50);
    pass(30);
    cache_end(cache_open(&tiny, TUCK_LAZY));
    assert_int_equal(count_all(&world), 0);
}

static void after_a_collection_that_made_room_the_next_one_may_follow_at_once(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 200, BLOCK);
    pass(5 * DAY);
    uint64_t quota = used(&world);
    struct cache_world at = with_quota(world, quota);
    cache_end(cache_open(&at, TUCK_LAZY));
    assert_true(used(&world) <= quota * 80 / 100);
    fill(&world, 200, 40, BLOCK); // fast
    assert_true(used(&world) >= quota * 90 / 100);
    cache_end(cache_open(&at, TUCK_LAZY));
    assert_true(used(&world) <= quota * 80 / 100);
    assert_int_equal(count_left(&world, 200, 40, BLOCK), 40);
}

static void a_helper_that_runs_for_long_collects_as_often_as_it_must(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 200, BLOCK);
    pass(5 * DAY);
    struct cache_world at = with_quota(world, used(&world));
    struct tuck_cache *cache = cache_open(&at, TUCK_LAZY);
    for (uint64_t round = 0; round < 3; round++) {
        order_watch(TUCK_LAZY);
        tuck_clock_shift_mono(2 * TUCK_NS_PER_S); // it looks once in a second
        fill_in(cache, 1000 + 30 * round, 30, BLOCK);
        assert_true(order_wait(1));
        order_forget();
    }
    cache_end(cache);
    assert_true(used(&world) <= at.bound.quota.bytes * 90 / 100);
    assert_sums_are_right(&world);
}

static const struct CMUnitTest tests[] = {
    TEST(orphans_are_swept_after_a_day_one_directory_at_a_time),
    TEST(at_pressure_orphans_are_swept_after_an_hour_and_before_what_is_kept),
    TEST(an_orphan_that_a_running_helper_gave_out_stays),
    TEST(what_a_helper_could_not_flush_is_no_orphan),
    TEST(leftovers_in_staging_go_after_a_day_and_damaged_objects_after_a_week),
    TEST(a_cache_that_was_never_counted_is_counted_first),
    TEST(counts_that_are_missing_never_make_a_huge_number),
    TEST(wrong_counts_are_set_right_when_they_ask_for_more_than_there_is),
    TEST(a_floor_of_free_space_makes_room_below_the_quota_too),
    TEST(a_floor_of_free_inodes_makes_room_as_well),
    TEST(a_quota_in_percent_is_one_of_inodes_too),
    TEST(a_quota_in_percent_is_of_the_file_system_and_the_cache_alone_counts),
    TEST(the_smaller_of_two_quotas_counts_and_each_drive_has_its_share),
    TEST(a_helper_keeps_the_bound_when_it_ends),
    TEST(many_short_helpers_do_not_each_look_in_vain),
    TEST(a_drive_that_could_not_be_made_to_keep_the_bound_is_left_alone_for_a_minute),
    TEST(after_a_collection_that_made_room_the_next_one_may_follow_at_once),
    TEST(a_helper_that_runs_for_long_collects_as_often_as_it_must),
};

UNIT_MAIN(tests)
