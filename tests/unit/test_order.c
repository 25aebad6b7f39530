// SPDX-License-Identifier: MIT
/*
 * Rule A: an entry is written after its object. Rule B: an object is removed after its entries. Both are looked at in
 * every write of the index and every removal there is, at all levels of durability, whoever causes them.
 */
#include "tests/unit/order_world.h"

#include "lib/base/clock.h"
#include "lib/index/index.h"

#include <fcntl.h>
#include <sys/stat.h>

#define DAY INT64_C(86400)

static int64_t shifted_s;

static void pass(int64_t seconds) {
    tuck_clock_shift(seconds * (int64_t)TUCK_NS_PER_S);
    shifted_s += seconds;
}

static int reset(void **state) {
    (void)state;
    pass(-shifted_s);
    (void)memory_fail_at(0);
    order_forget();
    return 0;
}

// --- The world -----------------------------------------------------------------------------------

static struct cache_world new_world(enum tuck_durability level) {
    struct cache_world world = cache_world_new();
    world.admin_level = level;
    world.bound = (struct tuck_bound){
        .quota = {.bytes = UINT64_C(1) << 40}, .low = 80, .high = 90, .keep_s = 86400};
    return world;
}

static void put_some(struct tuck_cache *cache, uint64_t action, uint64_t number, uint64_t count,
                     size_t len) {
    for (uint64_t i = 0; i < count; i++) {
        struct body body = body_of(number + i, len);
        struct tuck_hit hit;
        assert_int_equal(put_in_parts(cache, action + i, &body, len ? len : 1, &hit), 0);
        free(body.data);
    }
}

static void fill(const struct cache_world *world, enum tuck_durability level, uint64_t first,
                 uint64_t count) {
    struct tuck_cache *cache = cache_open(world, level);
    put_some(cache, first, first, count, 100);
    cache_end(cache);
}

static uint64_t collect(const struct cache_world *world, struct tuck_collect how) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    struct tuck_collected done;
    assert_int_equal(tuck_cache_collect(cache, &how, &done, NULL), 0);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    return done.objects;
}

static void at_all_levels(void (*test)(enum tuck_durability level)) {
    for (enum tuck_durability level = TUCK_LAZY; level <= TUCK_STRICT; level++) {
        (void)reset(NULL);
        test(level);
        (void)order_check();
        order_forget();
    }
}

// --- Rule A --------------------------------------------------------------------------------------

static void put_and_end(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    fill(&world, level, 0, 700); // several flushes, and more entries than are kept in memory
    assert_int_equal(order_check().entries, 700);
}

static void objects_come_before_entries_in_flushes_and_at_the_end(void **state) {
    (void)state;
    at_all_levels(put_and_end);
}

static void put_again(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    struct tuck_cache *cache = cache_open(&world, level);
    put_some(cache, 0, 0, 300, 100);
    put_some(cache, 0, 5000, 150, 3000); // other outputs for the same actions, flushed or not
    put_some(cache, 1000, 0, 100, 100);  // the same outputs for other actions
    put_some(cache, 2000, 0, 20, 0);
    cache_end(cache);
    cache = cache_open(&world, level); // and in another process, that knows nothing of them
    put_some(cache, 3000, 0, 100, 100);
    put_some(cache, 0, 7000, 100, 100);
    cache_end(cache);
    assert_true(order_check().entries >= 620);
}

static void objects_come_before_entries_that_are_replaced_or_share_them(void **state) {
    (void)state;
    at_all_levels(put_again);
}

static void flush_in_two_processes(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    struct tuck_cache *one = cache_open(&world, level), *other = cache_open(&world, level);
    for (uint64_t round = 0; round < 6; round++) {
        put_some(one, 1000 * round, 1000 * round, 100, 100);
        put_some(other, 500 + 1000 * round, 1000 * round, 100, 100); // what the other has put
    }
    cache_end(one);
    cache_end(other);
    assert_int_equal(order_check().entries, 1200);
}

static void objects_come_before_entries_of_several_helpers(void **state) {
    (void)state;
    at_all_levels(flush_in_two_processes);
}

// --- Rule B --------------------------------------------------------------------------------------

static void collect_much(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    fill(&world, level, 0, 700);
    struct tuck_cache *cache = cache_open(&world, level);
    put_some(cache, 1000, 0, 300, 100); // shared
    cache_end(cache);
    pass(5 * DAY);
    assert_int_equal(collect(&world, (struct tuck_collect){.max_bytes = 1}), 700);
    assert_int_equal(order_check().removals, 700);
}

static void entries_go_before_objects_in_a_collection(void **state) {
    (void)state;
    at_all_levels(collect_much);
}

static void collect_in_a_helper(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    fill(&world, level, 0, 400);
    pass(5 * DAY);
    struct cache_world small = world;
    small.bound.quota.bytes = stats_of(&world).used_bytes;
    struct tuck_cache *cache = cache_open(&small, level);
    tuck_clock_shift_mono(2 * TUCK_NS_PER_S);
    put_some(cache, 2000, 2000, 550, 3000); // while it runs, and a flush is due at once
    assert_true(order_wait(1));
    put_some(cache, 3000, 3000, 100, 3000);
    cache_end(cache); // and when it ends
    assert_true(order_check().removals >= 400);
}

static void both_rules_hold_while_a_helper_puts_and_collects(void **state) {
    (void)state;
    at_all_levels(collect_in_a_helper);
}

static void sweep_orphans(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    fill(&world, level, 0, 50);
    struct tuck_cache *cache = cache_open(&world, level);
    put_some(cache, 0, 9000, 50, 100); // the ones before are orphans
    cache_end(cache);
    pass(5 * 3600);
    assert_int_equal(collect(&world, (struct tuck_collect){.max_bytes = 1}), 100);
    assert_int_equal(order_check().removals, 100);
}

static void what_is_swept_has_no_entry(void **state) {
    (void)state;
    at_all_levels(sweep_orphans);
}

static void remove_one_by_one(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    fill(&world, level, 0, 60);
    struct tuck_cache *cache = cache_open(&world, level);
    put_some(cache, 1000, 10, 5, 100);
    cache_end(cache);
    cache = cache_open_for_admin(&world, NULL);
    struct tuck_removed removed;
    for (uint64_t i = 0; i < 20; i++) { // by action and by output
        struct tuck_action_id action = unit_action(i);
        struct body body = body_of(i + 20, 100);
        assert_int_equal(tuck_cache_remove(cache, action.bytes, &removed, NULL), 0);
        assert_int_equal(removed.entries, 1);
        assert_int_equal(removed.objects, i < 10 || i >= 15); // others name it
        assert_int_equal(tuck_cache_remove(cache, body.output.bytes, &removed, NULL), 0);
        assert_int_equal(removed.entries, 1);
        assert_int_equal(removed.objects, 1);
        free(body.data);
    }
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    assert_int_equal(order_check().removals, 35);
}

static void entries_go_before_objects_when_one_is_removed(void **state) {
    (void)state;
    at_all_levels(remove_one_by_one);
}

// A clear takes away for a moment what a running helper has given out, and its entries are to be
// written before that.
static void wait_for_entries(const struct cache_world *world, uint64_t number, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        struct body body = body_of(number + i, 100);
        for (size_t writes = calls_count(CALL_WRITE_ENTRIES) + 1;
             !order_is_named(world->dir, &body.output); writes++)
            assert_true(calls_wait(CALL_WRITE_ENTRIES, writes));
        free(body.data);
    }
}

static void clear_twice(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    for (int round = 0; round < 2; round++) {
        struct tuck_cache *running = cache_open(&world, level);
        put_some(running, 0, 0, 400, 100);
        wait_for_entries(&world, 0, 400);
        assert_int_equal(clear_cache(&world).kept, 400); // as long as it runs
        put_some(running, 0, 0, 10, 100);
        cache_end(running);
        assert_int_equal(clear_cache(&world).objects, 400);
    }
    assert_int_equal(order_check().removals, 800);
}

static void entries_go_before_objects_in_a_clear(void **state) {
    (void)state;
    at_all_levels(clear_twice);
}

static void repair(enum tuck_durability level) {
    struct cache_world world = new_world(level);
    order_watch(level);
    struct tuck_cache *cache = cache_open(&world, level);
    struct body body = body_of(1, 100);
    struct tuck_hit hit = put(cache, 1, &body);
    put_some(cache, 2, 2, 50, 100);
    cache_end(cache);
    assert_int_equal(chmod(hit.path, 0600), 0);
    assert_int_equal(truncate(hit.path, 50), 0);
    cache = cache_open_for_admin(&world, NULL);
    struct tuck_scrub how = {.part = 1, .parts = 1, .is_repair = true};
    struct tuck_scrubbed done;
    assert_int_equal(tuck_cache_scrub(cache, &how, &done, NULL), 0);
    assert_int_equal(done.repaired, 1);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    (void)order_check();
    cache = cache_open(&world, level);
    (void)put(cache, 1, &body);
    cache_end(cache);
    free(body.data);
}

static void both_rules_hold_in_a_repair_and_after_it(void **state) {
    (void)state;
    at_all_levels(repair);
}

// --- The watcher ---------------------------------------------------------------------------------

// What else would an empty list of faults tell?
static void a_page_that_names_an_object_which_is_not_there_would_be_seen(void **state) {
    (void)state;
    struct cache_world world = new_world(TUCK_LAZY);
    fill(&world, TUCK_LAZY, 0, 1);
    order_watch(TUCK_LAZY);
    int dirfd = unit_open_directory(unit_path(world.dir, "index"));
    struct tuck_index *index = NULL;
    assert_int_equal(tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, NULL), 0);
    struct tuck_action_id action = unit_action(7);
    struct tuck_entry entry = {.output = unit_output(7), .put_ns = tuck_clock_wall_ns()};
    assert_true(tuck_index_record(index, &action, &entry) > 0);
    assert_int_equal(tuck_index_flush(index, TUCK_NS_PER_S, NULL), 0);
    tuck_index_close(index);
    (void)close(dirfd);
    assert_true(order_has_fault());
    order_watch(TUCK_LAZY);
    struct body body = body_of(0, 100);
    char path[100], hex[TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex, body.output.bytes, TUCK_ID_BYTES);
    (void)snprintf(path, sizeof(path), "objects/%.2s/%s", hex, hex + 2);
    int rootfd = unit_open_directory(world.dir);
    assert_int_equal(mkdir(unit_path(world.dir, "staging"), 0700), 0);
    int staging = unit_open_directory(unit_path(world.dir, "staging"));
    assert_int_equal(renameat(rootfd, path, staging, "away"), 0);
    (void)close(staging);
    (void)close(rootfd);
    assert_true(order_has_fault());
    free(body.data);
}

#define TEST(name) cmocka_unit_test_setup(name, reset)

static const struct CMUnitTest tests[] = {
    TEST(objects_come_before_entries_in_flushes_and_at_the_end),
    TEST(objects_come_before_entries_that_are_replaced_or_share_them),
    TEST(objects_come_before_entries_of_several_helpers),
    TEST(entries_go_before_objects_in_a_collection),
    TEST(both_rules_hold_while_a_helper_puts_and_collects),
    TEST(what_is_swept_has_no_entry),
    TEST(entries_go_before_objects_when_one_is_removed),
    TEST(entries_go_before_objects_in_a_clear),
    TEST(both_rules_hold_in_a_repair_and_after_it),
    TEST(a_page_that_names_an_object_which_is_not_there_would_be_seen),
};

UNIT_MAIN(tests)
