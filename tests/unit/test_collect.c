// SPDX-License-Identifier: MIT
/*
 * Collection: when it begins and ends, what goes first and what never, and what others may do
 * meanwhile.
 */
#include "tests/unit/collect_world.h"

#include "lib/base/clock.h"
#include "lib/store/lease.h"
#include "lib/store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

// --- When it begins and ends ---------------------------------------------------------------------

static void nothing_goes_while_the_high_watermark_is_not_reached(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 100, BLOCK);
    pass(10 * DAY);
    uint64_t bytes = used(&world);
    struct cache_world below = with_quota(world, bytes * 100 / 90 + 100);
    struct tuck_collected done = collect(&below);
    assert_int_equal(done.entries + done.objects + done.bytes, 0);
    assert_int_equal(done.used_before, bytes);
    assert_int_equal(done.used_after, bytes);
    assert_int_equal(done.limit, below.bound.quota.bytes);
    assert_false(done.is_over);
    assert_int_equal(count_left(&world, 0, 100, BLOCK), 100);
}

static void from_the_high_watermark_on_it_goes_below_the_low_one_and_no_further(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 100, BLOCK);
    pass(10 * DAY);
    uint64_t bytes = used(&world), limit = bytes * 100 / 90, low = limit * 80 / 100;
    struct cache_world at = with_quota(world, limit);
    struct tuck_collected done = collect(&at);
    assert_int_equal(done.used_before, bytes);
    assert_in_range(done.used_after, low - BLOCK, low);
    assert_int_equal(done.bytes, bytes - done.used_after);
    assert_int_equal(done.objects, done.bytes / BLOCK);
    assert_int_equal(done.entries, done.objects);
    assert_false(done.is_over);
    assert_int_equal(used(&world), done.used_after);
    assert_int_equal(count_left(&world, 0, 100, BLOCK), 100 - done.objects);
    assert_sums_are_right(&world);
    done = collect(&at); // below high: nothing more
    assert_int_equal(done.entries, 0);
}

static void a_cache_far_above_its_quota_gets_below_the_low_watermark_too(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 200, BLOCK);
    pass(10 * DAY);
    uint64_t limit = index_bytes(&world) + 10 * BLOCK;
    struct cache_world small = with_quota(world, limit);
    struct tuck_collected done = collect(&small);
    assert_true(done.used_after <= limit * 80 / 100 + BLOCK);
    assert_sums_are_right(&world);
}

// --- What goes first -----------------------------------------------------------------------------

static void what_was_not_used_for_longest_goes_first(void **state) {
    (void)state;
    struct cache_world world = new_world();
    for (uint64_t age = 0; age < 5; age++) {
        fill(&world, 20 * age, 20, BLOCK);
        pass(2 * DAY);
    }
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 50 * BLOCK});
    assert_int_equal(count_left(&world, 0, 40, BLOCK), 0);
    assert_int_equal(count_left(&world, 40, 20, BLOCK), 10);
    assert_int_equal(count_left(&world, 60, 40, BLOCK), 40);
}

static void of_the_same_age_the_larger_goes_first(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 20, BLOCK);
    fill(&world, 20, 2, 20 * BLOCK);
    fill(&world, 22, 20, BLOCK);
    pass(2 * DAY);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 40 * BLOCK});
    assert_int_equal(count_left(&world, 20, 2, 20 * BLOCK), 0);
    assert_int_equal(count_left(&world, 0, 20, BLOCK) + count_left(&world, 22, 20, BLOCK), 40);
}

static void use_often(struct tuck_entry *entry) {
    entry->hits = 80;
}

static void of_the_same_age_and_size_the_less_used_goes_first(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 40, BLOCK);
    pass(2 * DAY);
    for (uint64_t i = 0; i < 40; i += 2)
        change_entry(&world, i, use_often);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 20 * BLOCK});
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(has_entry(&world, i), i % 2 == 0);
}

static void was_imported(struct tuck_entry *entry) {
    entry->is_expendable = true;
}

static void what_nobody_used_here_goes_sooner_but_not_before_all_else(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 10, BLOCK); // nine days old
    pass(6 * DAY);
    fill(&world, 10, 20, BLOCK); // three days
    for (uint64_t i = 20; i < 30; i++)
        change_entry(&world, i, was_imported);
    pass(3 * DAY);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 10 * BLOCK});
    assert_int_equal(count_left(&world, 20, 10, BLOCK), 0); // as if twelve days old
    assert_int_equal(count_left(&world, 0, 20, BLOCK), 20);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 10 * BLOCK});
    assert_int_equal(count_left(&world, 0, 10, BLOCK), 0);
    assert_int_equal(count_left(&world, 10, 10, BLOCK), 10);
}

static void no_policy_makes_an_entry_immortal(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 30, BLOCK);
    for (uint64_t i = 0; i < 10; i++)
        change_entry(&world, i, was_imported);
    for (uint64_t i = 10; i < 20; i++)
        change_entry(&world, i, use_often);
    pass(2 * DAY);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(done.objects, 30);
    assert_int_equal(count_left(&world, 0, 30, BLOCK), 0);
}

static void be_of_the_far_future(struct tuck_entry *entry) {
    entry->access_s += 400U * 86400U;
}

static void nor_does_a_clock_that_was_wrong(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 10, BLOCK);
    change_entry(&world, 3, be_of_the_far_future); // used next year
    pass(400 * DAY);
    fill(&world, 10, 1, BLOCK); // put next year
    pass(-400 * DAY);
    pass(3 * DAY);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(done.entries, 10);
    assert_int_equal(count_left(&world, 0, 10, BLOCK), 0);
    assert_false(has_body(&world, 10, BLOCK));
    assert_sums_are_right(&world);
}

// --- What never goes -----------------------------------------------------------------------------

static void what_was_used_within_the_hour_never_goes(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 20, BLOCK);
    pass(HOUR / 2);
    struct cache_world tiny = with_quota(world, 1);
    for (int hour = 0; hour < 2; hour++) { // an access time may be an hour stale
        struct tuck_collected done = collect(&tiny);
        assert_int_equal(done.entries, 0);
        assert_true(done.is_over);
        done = collect_as(&tiny, (struct tuck_collect){.max_bytes = 0, .older_than_s = 3600});
        assert_int_equal(done.entries, 0);
        assert_int_equal(count_left(&world, 0, 20, BLOCK), 20);
        pass(HOUR - 60);
    }
    pass(HOUR);
    assert_int_equal(collect(&tiny).entries, 20);
}

static void what_a_running_helper_gave_out_never_goes_nor_does_its_entry(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 40, BLOCK);
    pass(30 * DAY);
    struct cache_world tiny = with_quota(world, 1);
    struct tuck_cache *running = cache_open(&world, TUCK_LAZY);
    struct tuck_hit hit;
    for (uint64_t i = 0; i < 10; i++) {
        struct body body = body_of(i, BLOCK);
        assert_true(get(running, i, &body, &hit)); // noted in its memory alone
        free(body.data);
    }
    struct tuck_collected told =
        collect_as(&tiny, (struct tuck_collect){.max_bytes = UINT64_MAX, .is_dry_run = true});
    struct tuck_collected done = collect(&tiny);
    assert_int_equal(told.entries, 30);
    assert_int_equal(done.entries, 30);
    assert_int_equal(done.objects, 30);
    assert_int_equal(done.claimed, 10);
    assert_true(done.is_over);
    assert_int_equal(count_left(&world, 0, 40, BLOCK), 10);
    cache_end(running);
    assert_int_equal(collect(&tiny).entries, 0); // its uses are known now
    running = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 10; i++) {
        struct body body = body_of(i, BLOCK);
        assert_true(get(running, i, &body, NULL));
        free(body.data);
    }
    cache_end(running);
    assert_sums_are_right(&world);
}

static void what_running_helpers_use_does_not_keep_the_rest_from_going(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 30, BLOCK);
    pass(DAY);
    fill(&world, 30, 30, BLOCK);
    pass(30 * DAY);
    struct tuck_cache *running = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 30; i++) { // the oldest
        struct body body = body_of(i, BLOCK);
        assert_true(get(running, i, &body, NULL));
        free(body.data);
    }
    struct tuck_collected done =
        collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 20 * BLOCK});
    assert_int_equal(done.objects, 20);
    assert_false(done.is_over);
    cache_end(running);
    assert_int_equal(count_left(&world, 0, 60, BLOCK), 40);
}

static void what_was_used_within_keep_goes_only_if_the_quota_asks_for_it(void **state) {
    (void)state;
    struct cache_world world = new_world();
    world.bound.keep_s = 5 * DAY;
    fill(&world, 0, 20, BLOCK);
    pass(10 * DAY);
    fill(&world, 20, 20, 3 * BLOCK); // larger, and within keep
    pass(3 * DAY);
    uint64_t bytes = used(&world);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = bytes - 20 * BLOCK});
    assert_int_equal(count_left(&world, 0, 20, BLOCK), 0);
    assert_int_equal(count_left(&world, 20, 20, 3 * BLOCK), 20);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = bytes - 35 * BLOCK});
    assert_int_equal(count_left(&world, 20, 20, 3 * BLOCK), 15);
}

static void nothing_within_keep_goes_for_the_bound_while_older_things_are_enough(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, BLOCK);
    pass(10 * DAY);
    fill(&world, 50, 50, BLOCK);
    pass(12 * HOUR);
    struct cache_world at = with_quota(world, used(&world));
    assert_true(collect(&at).objects > 0);
    assert_int_equal(count_left(&world, 50, 50, BLOCK), 50);
}

// --- Shared and empty objects --------------------------------------------------------------------

static void a_shared_object_stays_as_long_as_a_younger_entry_names_it(void **state) {
    (void)state;
    struct cache_world world = new_world();
    struct body body = body_of(1000, BLOCK);
    fill(&world, 0, 20, BLOCK);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 100; i < 110; i++)
        (void)put(cache, i, &body);
    cache_end(cache);
    pass(5 * DAY);
    cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 200, &body);
    cache_end(cache);
    pass(HOUR);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(count_left(&world, 0, 20, BLOCK), 0);
    assert_true(has_object(&world, &body.output));
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 200, &body, NULL));
    cache_end(cache);
    pass(5 * DAY);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(done.objects, 1);
    assert_false(has_object(&world, &body.output));
    assert_sums_are_right(&world);
    free(body.data);
}

static void an_object_that_very_many_entries_name_goes_with_the_last_of_them(void **state) {
    (void)state;
    struct cache_world world = new_world();
    struct body body = body_of(1000, BLOCK);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 600; i++) {
        struct tuck_hit hit;
        assert_int_equal(put_in_parts(cache, i, &body, body.len, &hit), 0);
    }
    cache_end(cache);
    pass(5 * DAY);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(done.entries, 600);
    assert_int_equal(done.objects, 1);
    assert_int_equal(done.orphans, 0);
    assert_false(has_object(&world, &body.output));
    free(body.data);
}

static void entries_that_share_objects_do_not_make_more_go_than_has_to(void **state) {
    (void)state;
    struct cache_world world = new_world();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 1000; i++) { // 20 objects, each named by 50
        struct body body = body_of(5000 + i / 50, BLOCK);
        struct tuck_hit hit;
        assert_int_equal(put_in_parts(cache, i, &body, BLOCK, &hit), 0);
        free(body.data);
        if (i % 50 == 49)
            pass(HOUR);
    }
    cache_end(cache);
    pass(5 * DAY);
    struct tuck_collected done =
        collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 5 * BLOCK});
    assert_int_equal(done.objects, 5);
    assert_int_equal(done.entries, 250);
}

static void empty_objects_go_like_others_and_weigh_nothing(void **state) {
    (void)state;
    struct cache_world world = new_world();
    struct body empty = body_of(0, 0);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 100; i < 120; i++)
        (void)put(cache, i, &empty);
    cache_end(cache);
    pass(5 * DAY);
    fill(&world, 0, 10, BLOCK);
    pass(5 * DAY);
    struct tuck_collected done =
        collect_as(&world, (struct tuck_collect){.max_bytes = used(&world) - 5 * BLOCK});
    assert_int_equal(done.objects, 5 + 1);
    assert_int_equal(done.bytes, 5 * BLOCK);
    assert_int_equal(done.entries, 5 + 20); // the older ones went with them
    assert_false(has_object(&world, &empty.output));
    assert_sums_are_right(&world);
    free(empty.data);
}

// --- Meanwhile -----------------------------------------------------------------------------------

struct meanwhile {
    struct cache_world world;
    struct tuck_cache *helper;
    uint64_t action, number;
    bool ends;
};

// A helper that puts, in the middle of a collection, an output that is about to go.
static void put_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    struct body body = body_of(meanwhile->number, BLOCK);
    meanwhile->helper = cache_open(&meanwhile->world, TUCK_LAZY);
    (void)put(meanwhile->helper, meanwhile->action, &body);
    if (meanwhile->ends)
        cache_end(TUCK_TAKE(meanwhile->helper));
    free(body.data);
}

static void a_put_between_pick_and_removal_saves_the_object(void **state) {
    (void)state;
    for (int ends = 0; ends < 2; ends++) { // while the collection runs
        struct cache_world world = new_world();
        fill(&world, 0, 400, 100); // more than a step
        pass(5 * DAY);
        struct meanwhile meanwhile = {.world = world, .action = 1000, .number = 7, .ends = ends};
        for (uint64_t i = 0; i < 400; i++) // it is in the last step
            if (i != 7)
                change_entry(&world, i, use_often);
        struct body body = body_of(7, BLOCK);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        (void)put(cache, 2000, &body);
        cache_end(cache);
        pass(5 * DAY);
        order_before_removal(put_meanwhile, &meanwhile);
        (void)collect_as(&world, (struct tuck_collect){.max_bytes = 1});
        assert_true(has_object(&world, &body.output));
        if (meanwhile.helper)
            cache_end(meanwhile.helper);
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1000, &body, NULL));
        cache_end(cache);
        free(body.data);
        pass(-10 * DAY);
    }
}

static void use_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    struct body body = body_of(meanwhile->number, BLOCK);
    meanwhile->helper = cache_open(&meanwhile->world, TUCK_LAZY);
    assert_true(get(meanwhile->helper, meanwhile->action, &body, NULL));
    if (meanwhile->ends)
        cache_end(TUCK_TAKE(meanwhile->helper));
    free(body.data);
}

static void a_use_between_pick_and_removal_saves_the_entry(void **state) {
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        struct cache_world world = new_world();
        fill(&world, 0, 300, 3 * BLOCK);
        pass(HOUR);
        fill(&world, 1000, 1, BLOCK); // younger and smaller: in the second step
        pass(5 * DAY);
        struct meanwhile meanwhile = {.world = world, .action = 1000, .number = 1000, .ends = ends};
        order_before_removal(use_meanwhile, &meanwhile);
        struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
        assert_int_equal(done.entries, 300);
        if (meanwhile.helper)
            cache_end(meanwhile.helper);
        struct body body = body_of(1000, BLOCK);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1000, &body, NULL));
        cache_end(cache);
        free(body.data);
        pass(-5 * DAY - HOUR);
    }
}

static void collect_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    struct tuck_collected done = collect(&meanwhile->world);
    assert_true(done.is_busy);
    assert_int_equal(done.entries + done.objects, 0);
    meanwhile->number++;
}

static void of_two_collectors_one_works(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 20, BLOCK);
    pass(5 * DAY);
    struct meanwhile meanwhile = {.world = with_quota(world, 1)};
    order_before_removal(collect_meanwhile, &meanwhile);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(meanwhile.number, 1);
    assert_int_equal(done.objects, 20);
    assert_false(done.is_busy);
    assert_false(collect(&meanwhile.world).is_busy); // and the turn is given back
}

static volatile int stop;

static void stop_meanwhile(void *arg) {
    (void)arg;
    stop = 1;
}

static void it_stops_between_steps_and_the_next_one_goes_on_at_once(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 600, 100);
    pass(5 * DAY);
    stop = 0;
    order_watch(TUCK_LAZY);
    order_before_removal(stop_meanwhile, NULL);
    struct cache_world tiny = with_quota(world, 1);
    struct tuck_collected done =
        collect_as(&tiny, (struct tuck_collect){.max_bytes = UINT64_MAX, .stop = &stop});
    assert_int_equal(done.objects, 256);
    assert_int_equal(order_check().removals, 256);
    order_forget();
    assert_int_equal(count_left(&world, 0, 600, 100), 600 - 256);
    assert_sums_are_right(&world);
    cache_end(cache_open(&tiny, TUCK_LAZY)); // a helper, just after
    assert_int_equal(count_left(&world, 0, 600, 100), 0);
    assert_sums_are_right(&world);
}

// --- By the way ----------------------------------------------------------------------------------

static uint8_t *read_index(const struct cache_world *world, size_t *ret_len) {
    return unit_read_file(unit_path(world->dir, "index/entries"), ret_len);
}

static void a_dry_run_changes_nothing_and_tells_what_the_real_one_does(void **state) {
    (void)state;
    for (int what = 0; what < 4; what++) {
        struct cache_world world = new_world();
        struct body shared = body_of(900, 2 * BLOCK);
        fill(&world, 0, 60, BLOCK);
        pass(3 * DAY);
        fill(&world, 60, 40, 2 * BLOCK);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        for (uint64_t i = 200; i < 230; i++)
            (void)put(cache, i, &shared);
        cache_end(cache);
        pass(2 * DAY);
        { // orphans, because somebody lost the index' mind
            struct tuck_index *index = open_index(&world);
            for (uint64_t i = 0; i < 10; i++) {
                struct tuck_action_id id = unit_action(i);
                struct tuck_entry entry;
                uint64_t seq;
                assert_int_equal(tuck_index_find(index, &id, &entry), 0);
                assert_int_equal(tuck_index_remove(index, &id, &entry, &seq), 0);
            }
            assert_int_equal(tuck_index_flush(index, TUCK_NS_PER_S, NULL), 0);
            tuck_index_close(index);
        }
        struct tuck_collect how = {.max_bytes = UINT64_MAX, .is_dry_run = true};
        if (what == 1)
            how.max_bytes = used(&world) - 40 * BLOCK;
        if (what == 2)
            how.older_than_s = 3 * DAY;
        if (what == 3)
            how.max_bytes = 1;
        struct cache_world asked = with_quota(world, used(&world));
        size_t len, len_after;
        uint8_t *before = read_index(&world, &len);
        struct tuck_collected told = collect_as(&asked, how);
        uint8_t *after = read_index(&world, &len_after);
        assert_int_equal(len, len_after);
        assert_memory_equal(before, after, len);
        free(before);
        free(after);
        assert_sums_are_right(&world);
        how.is_dry_run = false;
        struct tuck_collected done = collect_as(&asked, how);
        assert_int_equal(told.entries, done.entries);
        assert_int_equal(told.objects, done.objects);
        assert_int_equal(told.orphans, done.orphans);
        assert_int_equal(told.bytes, done.bytes);
        assert_int_equal(told.used_before, done.used_before);
        assert_int_equal(told.used_after, done.used_after);
        assert_int_equal(told.limit, done.limit);
        assert_int_equal(told.is_over, done.is_over);
        assert_true(done.objects > 0);
        assert_sums_are_right(&world);
        free(shared.data);
        pass(-5 * DAY);
    }
}

static void what_is_older_goes_and_nothing_else(void **state) {
    (void)state;
    struct cache_world world = new_world();
    for (uint64_t day = 0; day < 6; day++) {
        fill(&world, 10 * day, 10, BLOCK);
        pass(DAY);
    }
    struct tuck_collected done = collect_as(
        &world, (struct tuck_collect){.max_bytes = UINT64_MAX, .older_than_s = 3 * DAY - HOUR});
    assert_int_equal(done.entries, 40);
    assert_int_equal(count_left(&world, 0, 40, BLOCK), 0);
    assert_int_equal(count_left(&world, 40, 20, BLOCK), 20);
    assert_false(done.is_over);
    assert_sums_are_right(&world);
}

static void a_largest_size_is_kept_below_whatever_the_quota_says(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 50, BLOCK);
    pass(5 * DAY);
    uint64_t bytes = used(&world);
    struct tuck_collected done =
        collect_as(&world, (struct tuck_collect){.max_bytes = bytes - 20 * BLOCK});
    assert_int_equal(done.objects, 20);
    assert_int_equal(done.limit, bytes - 20 * BLOCK);
    assert_int_equal(done.used_after, bytes - 20 * BLOCK);
    assert_false(done.is_over);
    done = collect_as(&world, (struct tuck_collect){.max_bytes = bytes});
    assert_int_equal(done.objects, 0);
    // And the bound still counts where it asks for more.
    struct cache_world small = with_quota(world, bytes / 4);
    assert_true(collect_as(&small, (struct tuck_collect){.max_bytes = bytes}).objects > 15);
}
// --- When memory is short ------------------------------------------------------------------------

static void without_memory_it_fails_or_works_and_removes_nothing_that_is_named(void **state) {
    (void)state;
    struct cache_world world = new_world();
    struct body shared = body_of(900, BLOCK);
    fill(&world, 0, 40, BLOCK);
    for (uint64_t i = 40; i < 50; i++)
        free(put_orphan(&world, i).data);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 200; i < 210; i++)
        (void)put(cache, i, &shared);
    cache_end(cache);
    pass(5 * DAY);
    cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 300, &shared); // young
    cache_end(cache);
    pass(HOUR);
    size_t failures = 0, made = 1;
    for (size_t n = 1; made + 1 >= n && n < 1000; n++) {
        cache = cache_open_for_admin(&world, NULL);
        struct tuck_collect how = {.max_bytes = used(&world) - BLOCK};
        struct tuck_collected done;
        struct tuck_error err = {0};
        order_watch(TUCK_LAZY);
        (void)memory_fail_at(n);
        int status = tuck_cache_collect(cache, &how, &done, &err);
        made = memory_fail_at(0);
        (void)order_check();
        order_forget();
        failures += status < 0;
        if (status != 0 && status != TUCK_ENOMEM)
            print_message("# %zu: %d %s\n", n, status, err.text);
        assert_true(status == 0 || (status == TUCK_ENOMEM && err.text[0]));
        tuck_cache_end(cache);
        tuck_cache_close(cache);
        assert_true(has_object(&world, &shared.output));
    }
    print_message("# %zu allocations failed one by one\n", failures);
    assert_true(failures > 5);
    for (uint64_t i = 0; i < 40; i++) // orphans may be left
        assert_true(has_body(&world, i, BLOCK) || !has_entry(&world, i));
    assert_sums_are_right(&world);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    assert_int_equal(count_left(&world, 0, 40, BLOCK), 0);
    free(shared.data);
}

// --- When others hold the index ------------------------------------------------------------------

static void a_stopped_process_on_one_page_does_not_keep_the_rest_from_going(void **state) {
    (void)state;
    struct cache_world world = new_world();
    fill(&world, 0, 600, 100); // some twenty pages
    pass(5 * DAY);
    struct flock page = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * 4096, .l_len = 4096};
    int fd = open(unit_path(world.dir, "index/entries"), O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &page), 0);
    order_watch(TUCK_LAZY);
    struct tuck_collected done = collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    (void)order_check();
    order_forget();
    unsigned left = 0;
    for (uint64_t i = 0; i < 600; i++) {
        bool is_there = has_entry(&world, i);
        if (is_there) // nothing dangles
            assert_true(has_body(&world, i, 100));
        left += is_there;
    }
    assert_in_range(left, 1, 60);
    assert_int_equal(done.entries, 600 - left);
    assert_true(done.is_over);
    assert_sums_are_right(&world);
    (void)close(fd);
    (void)collect_as(&world, (struct tuck_collect){.max_bytes = 1});
    for (uint64_t i = 0; i < 600; i++)
        assert_false(has_entry(&world, i) || has_body(&world, i, 100));
    assert_sums_are_right(&world);
}

static const struct CMUnitTest tests[] = {
    TEST(nothing_goes_while_the_high_watermark_is_not_reached),
    TEST(from_the_high_watermark_on_it_goes_below_the_low_one_and_no_further),
    TEST(a_cache_far_above_its_quota_gets_below_the_low_watermark_too),
    TEST(what_was_not_used_for_longest_goes_first),
    TEST(of_the_same_age_the_larger_goes_first),
    TEST(of_the_same_age_and_size_the_less_used_goes_first),
    TEST(what_nobody_used_here_goes_sooner_but_not_before_all_else),
    TEST(no_policy_makes_an_entry_immortal),
    TEST(nor_does_a_clock_that_was_wrong),
    TEST(what_was_used_within_the_hour_never_goes),
    TEST(what_a_running_helper_gave_out_never_goes_nor_does_its_entry),
    TEST(what_running_helpers_use_does_not_keep_the_rest_from_going),
    TEST(what_was_used_within_keep_goes_only_if_the_quota_asks_for_it),
    TEST(nothing_within_keep_goes_for_the_bound_while_older_things_are_enough),
    TEST(a_shared_object_stays_as_long_as_a_younger_entry_names_it),
    TEST(an_object_that_very_many_entries_name_goes_with_the_last_of_them),
    TEST(entries_that_share_objects_do_not_make_more_go_than_has_to),
    TEST(empty_objects_go_like_others_and_weigh_nothing),
    TEST(a_put_between_pick_and_removal_saves_the_object),
    TEST(a_use_between_pick_and_removal_saves_the_entry),
    TEST(of_two_collectors_one_works),
    TEST(it_stops_between_steps_and_the_next_one_goes_on_at_once),
    TEST(a_dry_run_changes_nothing_and_tells_what_the_real_one_does),
    TEST(what_is_older_goes_and_nothing_else),
    TEST(a_largest_size_is_kept_below_whatever_the_quota_says),
    TEST(without_memory_it_fails_or_works_and_removes_nothing_that_is_named),
    TEST(a_stopped_process_on_one_page_does_not_keep_the_rest_from_going),
};

UNIT_MAIN(tests)
