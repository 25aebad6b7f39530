// SPDX-License-Identifier: MIT
/*
 * A cache on several drives: where outputs go, which put wins, leases and counters of each drive.
 */
#include "tests/unit/drives_world.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <sys/stat.h>

// --- Where outputs go ----------------------------------------------------------------------------

static void an_output_goes_to_its_home_and_is_found_by_the_next_process(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(4);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    unsigned count[4] = {0};
    for (uint64_t i = 0; i < 40; i++) {
        struct body body = body_of(i, i % 8 == 0 ? LARGE : SMALL);
        struct tuck_hit hit = put(cache, i, &body);
        assert_int_equal(drive_of(&world, &hit), home_of(&world, &body));
        // As text below $GOCACHE, or the go command would move it away.
        assert_int_equal(strncmp(hit.path, world.gocache, strlen(world.gocache)), 0);
        count[home_of(&world, &body)]++;
        free(body.data);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_true(count[i] > 0);
        assert_int_equal(count_objects(world.drives[i]), count[i]);
    }
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 40; i++) {
        struct body body = body_of(i, i % 8 == 0 ? LARGE : SMALL);
        assert_true(get(cache, i, &body, NULL));
        free(body.data);
    }
    cache_end(cache);
    assert_int_equal(unit_count_names(world.tmp), 0);
}

static void an_empty_output_is_at_home_on_a_drive_as_any_other(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct body nothing = body_of(1, 0);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t action = 0; action < 20; action++)
        assert_int_equal(put_on(&world, cache, action, &nothing), home_of(&world, &nothing));
    // And everywhere else: each drive that is the only one, and the private directory.
    for (size_t only = 0; only <= 3; only++) {
        for (size_t i = 0; i < 3; i++)
            if (i != only)
                faults_add(world.drives[i], FAULT_ALL, EIO);
        struct cache_world one = world;
        size_t place = put_on(&one, cache, 100 + only, &nothing);
        assert_int_equal(place, only < 3 ? only : PRIVATE);
        assert_true(get(cache, 100 + only, &nothing, NULL));
        faults_mend("/");
        for (size_t i = 0; i < 3; i++)
            faults_mend(world.drives[i]);
        move_clocks(300 * TUCK_NS_PER_S);
        try_again(cache);
        for (size_t i = 0; i < 3; i++)
            assert_true(is_online(cache, i));
    }
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t action = 0; action < 20; action++)
        assert_true(get(cache, action, &nothing, NULL));
    for (uint64_t action = 100; action < 103; action++)
        assert_true(get(cache, action, &nothing, NULL));
    cache_end(cache);
    free(nothing.data);
}

// The seed's test: n drives, the home of a key is offline, n = 1 … 8.
static void with_its_home_offline_an_output_goes_to_the_next_drive_in_the_circle(void **state) {
    (void)state;
    for (size_t n = 1; n <= 8; n++) {
        struct cache_world world = drives_world_new(n);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        for (size_t down = 0; down < n; down++) {
            struct body small = body_for(&world, down, down, SMALL);
            struct body large = body_for(&world, down, down + 100, LARGE);
            faults_add(world.drives[down], FAULT_ALL, EIO);
            size_t expected = n == 1 ? PRIVATE : (down + 1) % n;
            assert_int_equal(put_on(&world, cache, down, &small), expected);
            assert_int_equal(put_on(&world, cache, down + 100, &large), expected);
            assert_false(is_online(cache, down));
            assert_true(get(cache, down, &small, NULL));
            faults_mend(world.drives[down]);
            move_clocks(300 * TUCK_NS_PER_S);
            try_again(cache);
            assert_true(is_online(cache, down));
            free(small.data);
            free(large.data);
        }
        cache_end(cache);
    }
}

static void an_object_that_is_elsewhere_is_used_and_not_written_again(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_for(&world, 1, 1, SMALL), large = body_for(&world, 1, 2, LARGE);
    faults_add(world.drives[1], FAULT_ALL, EIO);
    assert_int_equal(put_on(&world, cache, 1, &body), 2);
    assert_int_equal(put_on(&world, cache, 2, &large), 2);
    cache_end(cache);
    faults_mend(world.drives[1]);
    move_clocks(TUCK_NS_PER_S);
    // The home is back: the object stays where it is.
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(is_online(cache, 1));
    calls_forget();
    assert_int_equal(put_on(&world, cache, 3, &body), 2);
    assert_int_equal(put_on(&world, cache, 4, &large), 2);
    assert_int_equal(calls_count(CALL_WRITE_OBJECT), 0);
    assert_int_equal(count_objects(world.drives[1]), 0);
    for (uint64_t action = 1; action < 5; action++)
        assert_true(get(cache, action, action % 2 ? &body : &large, NULL));
    cache_end(cache);
    // One that is damaged there is put at home.
    struct tuck_hit hit;
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &body, &hit));
    cache_end(cache);
    assert_int_equal(chmod(hit.path, 0600), 0);
    body.data[0] ^= 1;
    unit_write_file(hit.path, body.data, body.len);
    body.data[0] ^= 1;
    cache = cache_open(&world, TUCK_LAZY);
    assert_int_equal(put_on(&world, cache, 5, &body), 1);
    cache_end(cache);
    free(body.data);
    free(large.data);
}

static void a_full_drive_passes_on_what_it_cannot_take(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body before = body_for(&world, 1, 1, SMALL), small = body_for(&world, 1, 2, SMALL),
                large = body_for(&world, 1, 3, LARGE);
    assert_int_equal(put_on(&world, cache, 1, &before), 1);
    faults_add(unit_path(world.drives[1], "objects"), FAULT_WRITES, ENOSPC);
    assert_int_equal(put_on(&world, cache, 2, &small), 2);
    assert_int_equal(put_on(&world, cache, 3, &large), 2);
    assert_true(is_online(cache, 1));
    assert_true(get(cache, 1, &before, NULL));
    // Everywhere: still no put fails.
    faults_add(unit_path(world.drives[2], "objects"), FAULT_WRITES, ENOSPC);
    faults_add(unit_path(world.drives[0], "objects"), FAULT_WRITES, ENOSPC);
    struct body none = body_for(&world, 0, 4, LARGE);
    assert_int_equal(put_on(&world, cache, 4, &none), PRIVATE);
    assert_int_equal(events_of(TUCK_EVENT_PUT_ELSEWHERE), 1);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 0);
    // And an object that is there takes none.
    assert_int_equal(put_on(&world, cache, 5, &before), 1);
    cache_end(cache);
    free(before.data);
    free(small.data);
    free(large.data);
    free(none.data);
}

// Cut at each place in which the body can be when its drive takes no more.
static void a_body_moves_on_with_what_was_written_of_it(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    for (size_t cut = 0; cut < LARGE; cut += 49152) {
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body body = body_for(&world, 0, cut + 7, LARGE);
        struct tuck_action_id action = unit_action(cut);
        struct tuck_put *under_way = NULL;
        struct tuck_hit hit;
        assert_int_equal(tuck_put_begin(cache, &action, &body.output, body.len, &under_way, NULL),
                         0);
        for (size_t at = 0; at < LARGE; at += 49152) {
            if (at == cut)
                faults_add(world.drives[0], FAULT_WRITES, cut % 98304 ? EIO : ENOSPC);
            tuck_put_write(under_way, body.data + at, LARGE - at < 49152 ? LARGE - at : 49152);
        }
        assert_int_equal(tuck_put_commit(&under_way, &hit, NULL), 0);
        assert_int_equal(drive_of(&world, &hit), 1);
        assert_true(get(cache, cut, &body, NULL));
        cache_end(cache);
        faults_mend(world.drives[0]);
        move_clocks(600 * TUCK_NS_PER_S);
        free(body.data);
    }
}

static void over_its_quota_a_cache_still_takes_puts(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    world.bound =
        (struct tuck_bound){.quota = {.bytes = 1}, .low = 80, .high = 90, .keep_s = 86400};
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 20; i++) {
        struct body body = body_of(i, SMALL);
        (void)put_on(&world, cache, i, &body);
        assert_true(get(cache, i, &body, NULL));
        free(body.data);
    }
    cache_end(cache);
}

// --- Which put wins ------------------------------------------------------------------------------

static void the_newest_put_among_the_drives_online_wins(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body first = body_for(&world, 2, 1, SMALL), second = body_for(&world, 0, 2, SMALL),
                third = body_for(&world, 1, 3, SMALL);
    struct tuck_hit hit;
    (void)put(cache, 1, &first);
    (void)put(cache, 1, &second);
    (void)put(cache, 1, &third);
    assert_true(get(cache, 1, &third, NULL));
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &third, NULL));
    faults_add(world.drives[1], FAULT_ALL, EIO);
    assert_true(get(cache, 1, &second, &hit)); // the newest of those that can be asked
    assert_int_equal(drive_of(&world, &hit), 0);
    faults_mend(world.drives[1]);
    move_clocks(TUCK_NS_PER_S);
    try_again(cache);
    assert_true(get(cache, 1, &third, NULL));
    cache_end(cache);
    free(first.data);
    free(second.data);
    free(third.data);
}

static void
a_put_is_later_than_the_one_before_wherever_that_is_and_whatever_the_clock_says(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct body one = body_for(&world, 0, 1, SMALL), other = body_for(&world, 1, 2, SMALL);
    uint64_t last_ns = 0;
    for (int i = 0; i < 6; i++) {
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body *body = i % 2 ? &other : &one;
        struct tuck_hit hit = put(cache, 1, body), again;
        assert_true(hit.time_ns > last_ns);
        last_ns = hit.time_ns;
        assert_true(get(cache, 1, body, &again));
        assert_int_equal(again.time_ns, last_ns);
        cache_end(cache);
        tuck_clock_shift(-600 * (int64_t)TUCK_NS_PER_S);
    }
    tuck_clock_shift(3600 * (int64_t)TUCK_NS_PER_S);
    free(one.data);
    free(other.data);
}

static void a_put_from_the_future_on_one_drive_does_not_win_over_another(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct body wrong = body_for(&world, 0, 1, SMALL), right = body_for(&world, 1, 2, SMALL);
    tuck_clock_shift(3 * 3600 * (int64_t)TUCK_NS_PER_S);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &wrong);
    cache_end(cache);
    tuck_clock_shift(-3 * 3600 * (int64_t)TUCK_NS_PER_S);
    cache = cache_open(&world, TUCK_LAZY);
    assert_false(get(cache, 1, &wrong, NULL));
    (void)put(cache, 1, &right);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &right, NULL));
    cache_end(cache);
    free(wrong.data);
    free(right.data);
}

static void what_is_removed_is_removed_on_every_drive(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body[3];
    for (size_t i = 0; i < 3; i++) {
        body[i] = body_for(&world, i, i, SMALL);
        (void)put(cache, 1, &body[i]); // the same action: an entry on each drive
    }
    cache_end(cache);
    struct tuck_action_id action = unit_action(1);
    struct tuck_removed removed;
    struct tuck_cache *admin = cache_open_for_admin(&world, NULL);
    assert_int_equal(tuck_cache_remove(admin, action.bytes, &removed, NULL), 0);
    assert_int_equal(removed.entries, 3);
    assert_int_equal(removed.objects, 3);
    tuck_cache_end(admin);
    tuck_cache_close(admin);
    cache = cache_open(&world, TUCK_LAZY);
    for (size_t i = 0; i < 3; i++) {
        assert_false(get(cache, 1, &body[i], NULL));
        assert_int_equal(count_objects(world.drives[i]), 0);
        free(body[i].data);
    }
    cache_end(cache);
}

// --- Leases, counters ----------------------------------------------------------------------------

static void each_drive_that_gave_something_out_has_a_lease(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body[3];
    for (size_t i = 0; i < 3; i++)
        body[i] = body_for(&world, i, i, SMALL);
    (void)put(cache, 0, &body[0]);
    (void)put(cache, 1, &body[1]);
    assert_int_equal(unit_count_names(unit_path(world.drives[0], "leases")), 1);
    assert_int_equal(unit_count_names(unit_path(world.drives[1], "leases")), 1);
    assert_true(unit_count_names(unit_path(world.drives[2], "leases")) <= 0);
    // So that a clear leaves it.
    struct tuck_cache *other = cache_open(&world, TUCK_LAZY);
    (void)put(other, 2, &body[2]);
    cache_end(other);
    struct tuck_removed removed = clear_cache(&world);
    assert_int_equal(removed.kept, 2);
    assert_int_equal(removed.objects, 1);
    assert_int_equal(count_objects(world.drives[0]), 1);
    assert_int_equal(count_objects(world.drives[1]), 1);
    assert_int_equal(count_objects(world.drives[2]), 0);
    cache_end(cache);
    for (size_t i = 0; i < 3; i++) {
        assert_true(unit_count_names(unit_path(world.drives[i], "leases")) <= 0);
        free(body[i].data);
    }
}

static uint64_t total(const struct tuck_cache_stats *stats, enum tuck_counter which) {
    uint64_t sum = 0;
    for (size_t i = 0; i < stats->count; i++)
        sum += stats->drive[i].counters.value[which];
    return sum;
}

static void each_drive_counts_what_was_done_on_it(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 6; i++) { // one on the first, two on the second, three on the third
        size_t drive = i < 1 ? 0 : i < 3 ? 1 : 2;
        struct body body = body_for(&world, drive, i, SMALL);
        (void)put(cache, i, &body);
        assert_true(get(cache, i, &body, NULL));
        assert_false(get(cache, i + 100, &body, NULL));
        free(body.data);
    }
    cache_end(cache);
    struct tuck_cache_stats *stats = read_stats(&world);
    for (size_t i = 0; i < 3; i++) {
        const struct tuck_counters *counters = &stats->drive[i].counters;
        assert_string_equal(stats->drive[i].root, world.drives[i]);
        assert_int_equal(stats->drive[i].entries, i + 1);
        assert_int_equal(stats->drive[i].objects, i + 1);
        assert_int_equal(stats->drive[i].bytes, (i + 1) * SMALL);
        assert_int_equal(counters->value[TUCK_COUNT_puts], i + 1);
        assert_int_equal(counters->value[TUCK_COUNT_hits], i + 1);
        assert_int_equal(counters->value[TUCK_COUNT_stored_objects], i + 1);
        assert_int_equal(counters->value[TUCK_COUNT_bytes_served], (i + 1) * SMALL);
    }
    assert_int_equal(total(stats, TUCK_COUNT_gets), 12);
    assert_int_equal(total(stats, TUCK_COUNT_misses), 6);
    free(stats);
}

static void
requests_are_counted_while_the_first_drive_is_gone_and_its_outages_when_it_is_back(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct body body = body_for(&world, 0, 1, SMALL);
    cache_end(cache_open(&world, TUCK_LAZY));
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    faults_add(world.drives[0], FAULT_ALL, EIO);
    assert_false(get(cache, 1, &body, NULL)); // fails
    assert_false(get(cache, 1, &body, NULL));
    (void)put(cache, 1, &body);
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    faults_mend(world.drives[0]);
    struct tuck_cache_stats *stats = read_stats(&world);
    assert_int_equal(total(stats, TUCK_COUNT_gets), 3);
    assert_int_equal(total(stats, TUCK_COUNT_misses), 2);
    assert_int_equal(total(stats, TUCK_COUNT_hits), 1);
    assert_int_equal(total(stats, TUCK_COUNT_puts), 1);
    assert_int_equal(stats->drive[0].counters.value[TUCK_COUNT_stored_objects], 0);
    assert_int_equal(stats->drive[1].counters.value[TUCK_COUNT_stored_objects], 1);
    assert_int_equal(stats->drive[0].counters.value[TUCK_COUNT_offline], 1);
    assert_int_equal(stats->drive[1].counters.value[TUCK_COUNT_offline], 0);
    free(stats);
    stats = read_stats(&world); // once
    assert_int_equal(total(stats, TUCK_COUNT_offline), 1);
    free(stats);
    free(body.data);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, faults_teardown)
        TEST(an_output_goes_to_its_home_and_is_found_by_the_next_process),
        TEST(an_empty_output_is_at_home_on_a_drive_as_any_other),
        TEST(with_its_home_offline_an_output_goes_to_the_next_drive_in_the_circle),
        TEST(an_object_that_is_elsewhere_is_used_and_not_written_again),
        TEST(a_full_drive_passes_on_what_it_cannot_take),
        TEST(a_body_moves_on_with_what_was_written_of_it),
        TEST(over_its_quota_a_cache_still_takes_puts),
        TEST(the_newest_put_among_the_drives_online_wins),
        TEST(a_put_is_later_than_the_one_before_wherever_that_is_and_whatever_the_clock_says),
        TEST(a_put_from_the_future_on_one_drive_does_not_win_over_another),
        TEST(what_is_removed_is_removed_on_every_drive),
        TEST(each_drive_that_gave_something_out_has_a_lease),
        TEST(each_drive_counts_what_was_done_on_it),
        TEST(requests_are_counted_while_the_first_drive_is_gone_and_its_outages_when_it_is_back),
#undef TEST
    };
    return unit_run(__FILE__, tests, TUCK_ARRAY_LEN(tests), argc, argv);
}
