// SPDX-License-Identifier: MIT
/*
 * Get and put, what the cache does when its drive fails, and in which order things reach the disk.
 */
#include "tests/unit/cache_world.h"

#include "lib/base/clock.h"
#include "lib/index/index.h"
#include "lib/store/lease.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static uint64_t counter(struct tuck_cache *cache, enum tuck_counter which) {
    return __atomic_load_n(&tuck_cache_counters(cache)->value[which], __ATOMIC_RELAXED);
}

// --- Get and put ---------------------------------------------------------------------------------

static void what_was_put_is_got_in_this_process_and_in_the_next(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 65535, 65536, 65537, 300000};
    struct cache_world world = cache_world_new();
    for (size_t i = 0; i < TUCK_ARRAY_LEN(sizes); i++) {
        struct body body = body_of(i, sizes[i]);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct tuck_hit hit, again;
        uint64_t before = tuck_clock_wall_ns();
        assert_false(get(cache, i, &body, NULL));
        hit = put(cache, i, &body);
        assert_in_range(hit.time_ns, before, tuck_clock_wall_ns());
        assert_int_equal(strncmp(hit.path, world.dir, strlen(world.dir)), 0);
        assert_true(get(cache, i, &body, &again));
        assert_int_equal(again.time_ns, hit.time_ns);
        assert_string_equal(again.path, hit.path);
        cache_end(cache);
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, i, &body, &again));
        assert_int_equal(again.time_ns, hit.time_ns);
        assert_string_equal(again.path, hit.path);
        cache_end(cache);
        free(body.data);
    }
    assert_int_equal(unit_count_names(world.tmp), 0);
}

static void how_the_body_is_cut_makes_no_difference(void **state) {
    (void)state;
    static const size_t parts[] = {1, 7, 4096, 49152, 1000000};
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(parts); i++) {
        for (size_t len = parts[i] == 1 ? 2000 : 70000; len < 140000; len += 70000) {
            struct body body = body_of(len + i, len);
            struct tuck_hit hit;
            assert_int_equal(put_in_parts(cache, len + i, &body, parts[i], &hit), 0);
            assert_true(get(cache, len + i, &body, NULL));
            free(body.data);
        }
    }
    cache_end(cache);
}

static void a_later_put_of_the_action_replaces_the_output(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body one = body_of(1, 1000), other = body_of(2, 2000);
    (void)put(cache, 1, &one);
    (void)put(cache, 1, &other);
    assert_true(get(cache, 1, &other, NULL));
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &other, NULL));
    cache_end(cache);
    free(one.data);
    free(other.data);
}

static void the_same_output_again_writes_nothing(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    for (size_t len = 0; len <= 300000; len += 100000) {
        struct body body = body_of(len, len);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct stat before, after;
        struct tuck_hit hit = put(cache, len + 1, &body);
        assert_int_equal(stat(hit.path, &before), 0);
        calls_forget();
        for (uint64_t action = 2; action < 5; action++)
            hit = put(cache, len + action, &body);
        assert_int_equal(calls_count(CALL_WRITE_OBJECT), 0);
        assert_int_equal(calls_count(CALL_READ_OBJECT), 0); // what this process wrote it knows
        assert_int_equal(stat(hit.path, &after), 0);
        assert_int_equal(after.st_ino, before.st_ino);
        assert_int_equal(counter(cache, TUCK_COUNT_dedupes), 3);
        assert_int_equal(counter(cache, TUCK_COUNT_bytes_written), len);
        cache_end(cache);

        // Another process hashes it once, and then knows it too.
        cache = cache_open(&world, TUCK_LAZY);
        calls_forget();
        (void)put(cache, len + 5, &body);
        assert_int_equal(calls_count(CALL_WRITE_OBJECT), 0);
        size_t reads = calls_count(CALL_READ_OBJECT);
        assert_int_equal(reads > 0, len > 0);
        (void)put(cache, len + 6, &body);
        assert_int_equal(calls_count(CALL_READ_OBJECT), reads);
        for (uint64_t action = 1; action <= 6; action++)
            assert_true(get(cache, len + action, &body, NULL));
        cache_end(cache);
        free(body.data);
    }
}

static void what_is_known_is_forgotten_when_the_object_changes(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    struct tuck_hit hit = put(cache, 1, &body);
    struct stat before, after;
    assert_int_equal(stat(hit.path, &before), 0);
    do { // until its change time has moved by a tick
        assert_int_equal(chmod(hit.path, 0600), 0);
        int fd = open(hit.path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(write(fd, "damage", 6), 6);
        (void)close(fd);
        assert_int_equal(stat(hit.path, &after), 0);
    } while (after.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
    (void)put(cache, 2, &body); // checks the file's content
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    free(body.data);
}

static void a_body_that_is_not_what_was_announced_is_refused_and_leaves_nothing(void **state) {
    (void)state;
    for (size_t len = 1000; len <= 201000; len += 100000) {
        struct cache_world world = cache_world_new();
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body body = body_of(1, len);
        struct tuck_action_id action = unit_action(1);
        struct tuck_output_id wrong = unit_output(1);
        struct tuck_hit hit;
        for (int fault = 0; fault < 5; fault++) {
            struct tuck_put *put = NULL;
            struct tuck_error err = {0};
            uint64_t size = fault == 0 ? len + 1 : fault == 1 ? len - 1 : len;
            assert_int_equal(tuck_put_begin(cache, &action, fault == 2 ? &wrong : &body.output,
                                            size, &put, NULL),
                             0);
            if (fault == 3)
                body.data[len / 2] ^= 1;
            if (fault == 4) { // much too long
                for (int i = 0; i < 5; i++)
                    tuck_put_write(put, body.data, body.len);
            } else {
                tuck_put_write(put, body.data, body.len);
            }
            if (fault == 3)
                body.data[len / 2] ^= 1;
            assert_int_equal(tuck_put_commit(&put, &hit, &err), TUCK_EINVAL);
            assert_null(put);
            assert_int_equal(err.code, TUCK_EINVAL);
            assert_false(get(cache, 1, &body, NULL));
        }
        struct tuck_put *unfinished = NULL;
        assert_int_equal(tuck_put_begin(cache, &action, &body.output, len, &unfinished, NULL), 0);
        tuck_put_write(unfinished, body.data, len / 2);
        tuck_put_free(unfinished);
        tuck_put_free(NULL);
        assert_false(get(cache, 1, &body, NULL));
        (void)put(cache, 1, &body); // and the next one is fine
        cache_end(cache);
        struct tuck_drive_stats stats = stats_of(&world);
        assert_int_equal(stats.entries, 1);
        assert_int_equal(stats.counters.value[TUCK_COUNT_puts], 1);
        free(body.data);
    }
}

static void a_wrong_body_for_an_object_that_is_there_is_refused_too(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000), wrong = body;
    struct tuck_hit hit;
    (void)put(cache, 1, &body);
    wrong.data = calloc(1, wrong.len);
    assert_int_equal(put_in_parts(cache, 2, &wrong, 100, &hit), TUCK_EINVAL);
    assert_false(get(cache, 2, &body, NULL));
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    free(wrong.data);
    free(body.data);
}

static void an_object_that_is_gone_or_has_another_size_is_a_miss(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    struct tuck_hit hit = put(cache, 1, &body);
    assert_int_equal(unlink(hit.path), 0);
    assert_false(get(cache, 1, &body, NULL));
    (void)put(cache, 1, &body);
    assert_int_equal(truncate(hit.path, 999), 0);
    assert_false(get(cache, 1, &body, NULL));
    (void)put(cache, 1, &body);
    assert_true(get(cache, 1, &body, NULL));
    assert_int_equal(counter(cache, TUCK_COUNT_gets), 3);
    assert_int_equal(counter(cache, TUCK_COUNT_misses), 2);
    assert_int_equal(counter(cache, TUCK_COUNT_hits), 1);
    cache_end(cache);
    free(body.data);
}

static void a_damaged_object_is_a_miss_and_an_event_and_the_next_put_repairs_it(void **state) {
    (void)state;
    for (size_t len = 1000; len <= 301000; len += 300000) {
        struct cache_world world = cache_world_new();
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body body = body_of(1, len);
        struct tuck_hit hit = put(cache, 1, &body);
        (void)put(cache, 2, &body);
        cache_end(cache);
        assert_int_equal(chmod(hit.path, 0600), 0);
        int fd = open(hit.path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(write(fd, "damage", 6), 6);
        (void)close(fd);
        kernel_pretend_boot(2); // its change time may be that of its making, to the tick
        cache = cache_open(&world, TUCK_LAZY);
        assert_false(get(cache, 1, &body, NULL));
        assert_int_equal(events_of(TUCK_EVENT_OBJECT_DAMAGED), 1);
        assert_int_equal(counter(cache, TUCK_COUNT_damaged), 1);
        assert_false(get(cache, 2, &body, NULL));
        (void)put(cache, 1, &body);
        assert_true(get(cache, 1, &body, NULL));
        assert_true(get(cache, 2, &body, NULL));
        assert_int_equal(events_of(TUCK_EVENT_OBJECT_DAMAGED), 1);
        cache_end(cache);
        free(body.data);
    }
}

// --- Time ----------------------------------------------------------------------------------------

static void a_later_put_has_a_later_time_even_when_the_clock_was_set_back(void **state) {
    (void)state;
    static const int64_t back_s[] = {600, 3500, 2 * 3600, 48 * 3600};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(back_s); i++) {
        struct cache_world world = cache_world_new();
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body one = body_of(1, 1000), other = body_of(2, 1000);
        struct tuck_hit first = put(cache, 1, &one), second, third;
        cache_end(cache);
        tuck_clock_shift(-back_s[i] * (int64_t)TUCK_NS_PER_S);
        cache = cache_open(&world, TUCK_LAZY);
        second = put(cache, 1, &other);
        assert_true(get(cache, 1, &other, NULL));
        cache_end(cache);
        if (back_s[i] < 3600) // further back the old entry is as good as none
            assert_true(second.time_ns > first.time_ns);
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1, &other, &third));
        assert_int_equal(third.time_ns, second.time_ns);
        second = put(cache, 1, &one);
        assert_true(second.time_ns > third.time_ns);
        assert_true(get(cache, 1, &one, NULL));
        cache_end(cache);
        tuck_clock_shift(back_s[i] * (int64_t)TUCK_NS_PER_S);
        free(one.data);
        free(other.data);
    }
}

static void a_put_is_found_again_when_the_clock_went_back_while_its_entry_was_dirty(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_BATCH); // writes entries at the end
    struct body one = body_of(1, 1000), other = body_of(2, 1000);
    (void)put(cache, 1, &one);
    tuck_clock_shift(-2 * 3600 * (int64_t)TUCK_NS_PER_S);
    (void)put(cache, 1, &other);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &other, NULL));
    cache_end(cache);
    tuck_clock_shift(2 * 3600 * (int64_t)TUCK_NS_PER_S);
    free(one.data);
    free(other.data);
}

static struct tuck_entry entry_in(const struct cache_world *world, uint64_t action) {
    int dirfd = unit_open_directory(unit_path(world->dir, "index"));
    struct tuck_action_id id = unit_action(action);
    struct tuck_index *index = NULL;
    struct tuck_entry entry;
    assert_int_equal(tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, NULL), 0);
    assert_int_equal(tuck_index_find(index, &id, &entry), 0);
    tuck_index_close(index);
    (void)close(dirfd);
    return entry;
}

static void a_use_is_noted_once_an_hour_and_never_moves_the_put_time(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    struct tuck_hit hit = put(cache, 1, &body), later;
    cache_end(cache);
    struct tuck_entry first = entry_in(&world, 1);
    assert_int_equal(first.hits, 0);
    for (int use = 0; use < 4; use++) { // after 40, 80, 120, 160 minutes
        tuck_clock_shift(2400 * (int64_t)TUCK_NS_PER_S);
        calls_forget();
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1, &body, &later));
        assert_int_equal(later.time_ns, hit.time_ns);
        cache_end(cache);
        assert_int_equal(calls_count(CALL_WRITE_ENTRIES), use % 2);
        assert_int_equal(entry_in(&world, 1).hits, (use + 1) / 2);
    }
    assert_in_range(entry_in(&world, 1).access_s - first.access_s, 9600, 9660);
    tuck_clock_shift(-4 * 2400 * (int64_t)TUCK_NS_PER_S);
    free(body.data);
}

static void a_warm_run_writes_no_entries_and_reads_no_objects(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    for (uint64_t action = 0; action < 100; action++)
        (void)put(cache, action, &body);
    cache_end(cache);
    calls_forget();
    cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t action = 0; action < 100; action++)
        assert_true(get(cache, action, &body, NULL));
    cache_end(cache);
    assert_int_equal(calls_count(CALL_WRITE_ENTRIES), 0);
    assert_int_equal(calls_count(CALL_READ_OBJECT), 0);
    assert_int_equal(calls_count(CALL_SYNC_ALL), 0);
    free(body.data);
}

// --- After a reboot ------------------------------------------------------------------------------

static void after_a_reboot_an_object_is_hashed_once_before_it_is_served(void **state) {
    (void)state;
    for (size_t len = 1000; len <= 301000; len += 300000) {
        struct cache_world world = cache_world_new();
        struct body body = body_of(1, len);
        struct tuck_action_id action = unit_action(1);
        struct tuck_hit hit;
        kernel_pretend_boot(1);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        (void)put(cache, 1, &body);
        cache_end(cache);
        kernel_pretend_boot(2);
        calls_forget();
        cache = cache_open(&world, TUCK_LAZY);
        assert_int_equal(tuck_cache_get(cache, &action, &hit), len > 262144 ? TUCK_CACHE_SLOW : 0);
        assert_int_equal(calls_count(CALL_READ_OBJECT) > 0, len <= 262144);
        assert_true(get(cache, 1, &body, NULL));
        assert_int_equal(counter(cache, TUCK_COUNT_verified), 1);
        size_t reads = calls_count(CALL_READ_OBJECT);
        for (int i = 0; i < 3; i++)
            assert_int_equal(tuck_cache_get(cache, &action, &hit), 0);
        cache_end(cache);
        cache = cache_open(&world, TUCK_LAZY);
        assert_int_equal(tuck_cache_get(cache, &action, &hit), 0);
        assert_int_equal(calls_count(CALL_READ_OBJECT), reads);
        assert_int_equal(counter(cache, TUCK_COUNT_verified), 0);
        cache_end(cache);
        free(body.data);
    }
}

static void on_the_next_morning_too_it_is_hashed_once(void **state) {
    (void)state;
    // Its access time is noted in the same lookup.
    struct cache_world world = cache_world_new();
    struct body body = body_of(1, 1000);
    kernel_pretend_boot(1);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &body);
    cache_end(cache);
    kernel_pretend_boot(2);
    tuck_clock_shift(12 * 3600 * (int64_t)TUCK_NS_PER_S);
    uint64_t verified[3];
    for (int run = 0; run < 3; run++) {
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1, &body, NULL));
        verified[run] = counter(cache, TUCK_COUNT_verified);
        cache_end(cache);
    }
    tuck_clock_shift(-12 * 3600 * (int64_t)TUCK_NS_PER_S);
    assert_int_equal(verified[0], 1);
    assert_int_equal(verified[1], 0);
    assert_int_equal(verified[2], 0);
    free(body.data);
}

static void what_was_put_durably_needs_no_look_after_a_reboot(void **state) {
    (void)state;
    for (enum tuck_durability level = TUCK_BATCH; level <= TUCK_STRICT; level++) {
        struct cache_world world = cache_world_new();
        struct body body = body_of(1, 1000);
        kernel_pretend_boot(1);
        struct tuck_cache *cache = cache_open(&world, level);
        (void)put(cache, 1, &body);
        cache_end(cache);
        kernel_pretend_boot(2);
        calls_forget();
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1, &body, NULL));
        assert_int_equal(calls_count(CALL_READ_OBJECT), 0);
        cache_end(cache);
        free(body.data);
    }
}

static void what_a_sync_in_the_background_covered_needs_no_look_after_a_reboot(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct body body = body_of(1, 1000);
    kernel_pretend_boot(1);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &body);
    cache_end(cache);
    assert_int_equal(calls_count(CALL_SYNC_ALL), 0);
    tuck_clock_shift(100 * (int64_t)TUCK_NS_PER_S);
    cache_end(cache_open(&world, TUCK_LAZY));
    tuck_clock_shift(-100 * (int64_t)TUCK_NS_PER_S);
    assert_int_equal(calls_count(CALL_SYNC_ALL), 1);
    kernel_pretend_boot(2);
    calls_forget();
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &body, NULL));
    assert_int_equal(calls_count(CALL_READ_OBJECT), 0);
    cache_end(cache);
    free(body.data);
}

// --- Order ---------------------------------------------------------------------------------------

static void lazy_syncs_nothing_and_names_each_object_before_its_entry_is_written(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body small = body_of(1, 1000), large = body_of(2, 200000);
    (void)put(cache, 1, &small);
    (void)put(cache, 2, &large);
    cache_end(cache);
    assert_int_equal(calls_count(CALL_NAME_OBJECT), 2);
    assert_true(calls_count(CALL_WRITE_ENTRIES) > 0);
    assert_true(calls_first(CALL_NAME_OBJECT) < calls_first(CALL_WRITE_ENTRIES));
    assert_true(calls_last(CALL_NAME_OBJECT) < calls_last(CALL_WRITE_ENTRIES));
    assert_true(calls_last(CALL_WRITE_OBJECT) < calls_last(CALL_NAME_OBJECT));
    assert_int_equal(calls_count(CALL_SYNC_ALL) + calls_count(CALL_SYNC_OBJECT) +
                         calls_count(CALL_SYNC_OBJECTS) + calls_count(CALL_SYNC_ENTRIES),
                     0);
    free(small.data);
    free(large.data);
}

static void
batch_syncs_the_objects_before_the_first_entry_is_written_and_then_the_entries(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_BATCH);
    struct body body;
    for (uint64_t i = 0; i < 100; i++) {
        body = body_of(i, 1000);
        (void)put(cache, i, &body);
        free(body.data);
    }
    assert_int_equal(calls_count(CALL_WRITE_ENTRIES), 0); // it gathers them for longer than that
    cache_end(cache);
    assert_int_equal(calls_count(CALL_NAME_OBJECT), 100);
    assert_int_equal(calls_count(CALL_SYNC_ALL), 1);
    assert_true(calls_last(CALL_NAME_OBJECT) < calls_first(CALL_SYNC_ALL));
    assert_true(calls_first(CALL_SYNC_ALL) < calls_first(CALL_WRITE_ENTRIES));
    assert_true(calls_last(CALL_WRITE_ENTRIES) < calls_last(CALL_SYNC_ENTRIES));
}

static void strict_makes_each_object_durable_before_its_answer(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_STRICT);
    for (size_t len = 0; len <= 200000; len += 100000) {
        struct body body = body_of(len, len);
        calls_forget();
        (void)put(cache, len, &body);
        calls_note(CALL_ANSWER);
        assert_int_equal(calls_count(CALL_SYNC_OBJECT), 1);
        assert_true(calls_first(CALL_SYNC_OBJECT) < calls_first(CALL_ANSWER));
        assert_true(calls_last(CALL_SYNC_OBJECTS) < calls_first(CALL_ANSWER));
        assert_true(calls_first(CALL_NAME_OBJECT) < calls_last(CALL_SYNC_OBJECTS));
        if (len > 0)
            assert_true(calls_last(CALL_WRITE_OBJECT) < calls_first(CALL_SYNC_OBJECT));
        free(body.data);
    }
    calls_forget();
    cache_end(cache);
    assert_int_equal(calls_count(CALL_SYNC_ENTRIES) > 0, calls_count(CALL_WRITE_ENTRIES) > 0);
}

static void strict_syncs_an_object_that_a_lazy_helper_has_put(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct body body = body_of(1, 1000);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &body);
    cache_end(cache);
    cache = cache_open(&world, TUCK_STRICT);
    calls_forget();
    (void)put(cache, 2, &body);
    assert_int_equal(calls_count(CALL_SYNC_OBJECT), 1);
    assert_true(calls_count(CALL_SYNC_OBJECTS) >= 1);
    (void)put(cache, 3, &body); // once is enough
    assert_int_equal(calls_count(CALL_SYNC_OBJECT), 1);
    cache_end(cache);
    free(body.data);
}

static void strict_syncs_it_also_when_a_lookup_has_hashed_it_before(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct body body = body_of(1, 1000);
    kernel_pretend_boot(1);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &body);
    cache_end(cache);
    kernel_pretend_boot(2);
    cache = cache_open(&world, TUCK_STRICT);
    assert_true(get(cache, 1, &body, NULL)); // hashed, so that it is known; but not durable
    assert_int_equal(counter(cache, TUCK_COUNT_verified), 1);
    calls_forget();
    (void)put(cache, 2, &body);
    assert_int_equal(calls_count(CALL_SYNC_OBJECT), 1);
    cache_end(cache);
    free(body.data);
}

static void
when_the_sync_of_a_batch_fails_no_entry_is_written_and_none_is_trusted_later(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct body body = body_of(1, 1000);
    kernel_pretend_boot(1);
    struct tuck_cache *cache = cache_open(&world, TUCK_BATCH);
    (void)put(cache, 1, &body);
    kernel_break_syncs(true);
    cache_end(cache);
    assert_int_equal(calls_count(CALL_WRITE_ENTRIES), 0);
    cache = cache_open(&world, TUCK_LAZY); // finds it in the spool
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    kernel_break_syncs(false);
    kernel_pretend_boot(2);
    calls_forget();
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &body, NULL));
    assert_true(calls_count(CALL_READ_OBJECT) > 0); // not without a look
    cache_end(cache);
    free(body.data);
}

static void a_put_is_seen_by_other_processes_before_the_helper_ends(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY),
                      *other = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    (void)put(cache, 1, &body);
    assert_true(calls_wait(CALL_WRITE_ENTRIES, 1));
    assert_true(get(other, 1, &body, NULL));
    (void)put(cache, 2, &body); // the flusher goes on
    assert_true(calls_wait(CALL_WRITE_ENTRIES, 2));
    assert_true(get(other, 2, &body, NULL));
    cache_end(cache);
    cache_end(other);
    free(body.data);
}

static void many_puts_are_flushed_before_their_time_has_come(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_BATCH); // five seconds otherwise
    struct body body = body_of(1, 100);
    uint64_t began = tuck_clock_mono_ns();
    for (uint64_t action = 0; action < 600; action++) {
        struct tuck_hit hit;
        assert_int_equal(put_in_parts(cache, action, &body, 100, &hit), 0);
    }
    assert_true(calls_wait(CALL_WRITE_ENTRIES, 1));
    if (tuck_clock_mono_ns() - began < 4 * TUCK_NS_PER_S)
        assert_int_equal(calls_first(CALL_SYNC_ALL) < calls_first(CALL_WRITE_ENTRIES), 1);
    cache_end(cache);
    free(body.data);
}

// --- When the drive fails ------------------------------------------------------------------------

static void
a_drive_that_cannot_be_used_is_an_event_and_puts_go_to_a_private_directory(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    unit_write_file(world.dir, "in the way", 10);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_UNUSABLE), 1);
    for (size_t len = 0; len <= 200000; len += 100000) {
        struct body body = body_of(len, len);
        assert_false(get(cache, len, &body, NULL));
        struct tuck_hit hit = put(cache, len, &body), again;
        assert_int_equal(strncmp(hit.path, world.tmp, strlen(world.tmp)), 0);
        assert_true(get(cache, len, &body, &again));
        assert_string_equal(again.path, hit.path);
        assert_int_equal(again.time_ns, hit.time_ns);
        free(body.data);
    }
    assert_int_equal(counter(cache, TUCK_COUNT_fallbacks), 3);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_UNUSABLE), 1);
    assert_int_equal(events_of(TUCK_EVENT_PUT_ELSEWHERE), 0); // it is the same news
    assert_int_equal(unit_count_names(world.tmp), 1);
    cache_end(cache);
    assert_int_equal(unit_count_names(world.tmp), 1); // its paths were given out
}

static void
a_full_drive_sends_puts_to_a_private_directory_and_is_used_again_when_it_has_room(void **state) {
    (void)state;
    for (size_t len = 1000; len <= 201000; len += 100000) {
        struct cache_world world = cache_world_new();
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body one = body_of(1, len), other = body_of(2, len);
        kernel_fill(unit_path(world.dir, "objects"));
        struct tuck_hit hit = put(cache, 1, &one);
        assert_int_equal(strncmp(hit.path, world.tmp, strlen(world.tmp)), 0);
        (void)put(cache, 2, &other);
        assert_int_equal(events_of(TUCK_EVENT_PUT_ELSEWHERE), 1); // told once
        assert_true(get(cache, 1, &one, NULL));
        assert_true(get(cache, 2, &other, NULL));
        kernel_fill(NULL);
        hit = put(cache, 1, &other);
        assert_int_equal(strncmp(hit.path, world.dir, strlen(world.dir)), 0);
        assert_true(get(cache, 1, &other, &hit)); // the newer one
        assert_int_equal(strncmp(hit.path, world.dir, strlen(world.dir)), 0);
        cache_end(cache);
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 1, &other, NULL));
        assert_false(get(cache, 2, &other, NULL)); // lived as long as its process
        cache_end(cache);
        free(one.data);
        free(other.data);
    }
}

static void a_drive_that_fills_up_in_the_middle_of_a_body_loses_nothing_of_it(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 500000);
    struct tuck_action_id action = unit_action(1);
    struct tuck_put *put = NULL;
    struct tuck_hit hit;
    assert_int_equal(tuck_put_begin(cache, &action, &body.output, body.len, &put, NULL), 0);
    tuck_put_write(put, body.data, 300000);
    kernel_fill(unit_path(world.dir, "objects"));
    tuck_put_write(put, body.data + 300000, 100000);
    tuck_put_write(put, body.data + 400000, 100000);
    assert_int_equal(tuck_put_commit(&put, &hit, NULL), 0);
    assert_true(get(cache, 1, &body, &hit));
    assert_int_equal(strncmp(hit.path, world.tmp, strlen(world.tmp)), 0);
    kernel_fill(NULL);
    cache_end(cache);
    free(body.data);
}

static void a_put_fails_only_when_no_place_is_left_and_the_next_one_works(void **state) {
    (void)state;
    for (size_t len = 1000; len <= 201000; len += 100000) {
        struct cache_world world = cache_world_new();
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body body = body_of(1, len);
        struct tuck_hit hit;
        kernel_fill("/"); // everything
        assert_int_equal(put_in_parts(cache, 1, &body, 10000, &hit), TUCK_ENOSPACE);
        assert_int_equal(events_of(TUCK_EVENT_PUT_FAILED), 1);
        kernel_fill(NULL);
        assert_false(get(cache, 1, &body, NULL));
        (void)put(cache, 1, &body);
        assert_true(get(cache, 1, &body, NULL));
        cache_end(cache);
        free(body.data);
    }
}

static void with_no_place_at_all_gets_are_misses_and_puts_fail_with_a_reason(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    unit_write_file(world.dir, "in the way", 10);
    assert_int_equal(setenv("TMPDIR", unit_path(world.tmp, "absent"), 1), 0);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (size_t len = 0; len <= 200000; len += 100000) {
        struct body body = body_of(1, len);
        struct tuck_hit hit;
        assert_false(get(cache, 1, &body, NULL));
        assert_true(put_in_parts(cache, 1, &body, 10000, &hit) < 0);
        assert_false(get(cache, 1, &body, NULL));
        free(body.data);
    }
    cache_end(cache);
}

static void
a_full_index_keeps_the_puts_for_this_process_and_serves_no_wrong_one_later(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    kernel_fill(unit_path(world.dir, "index"));
    (void)put(cache, 1, &body);
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    kernel_fill(NULL);
    assert_true(events_of(TUCK_EVENT_ENTRIES_LOST) > 0);
    cache = cache_open(&world, TUCK_LAZY);
    (void)get(cache, 1, &body, NULL);
    (void)put(cache, 1, &body);
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    free(body.data);
}

static int lock_index(const struct cache_world *world) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    int fd = open(unit_path(world->dir, "index/entries"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

static void
an_end_while_others_hold_the_index_takes_a_second_at_most_and_loses_nothing(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 1000);
    int lock = lock_index(&world);
    for (uint64_t action = 0; action < 50; action++)
        (void)put(cache, action, &body);
    uint64_t began = tuck_clock_mono_ns();
    tuck_cache_end(cache);
    uint64_t took_ns = tuck_clock_mono_ns() - began;
    tuck_cache_close(cache);
    assert_true(took_ns < 5 * TUCK_NS_PER_S); // half a second is promised; machines are busy
    (void)close(lock);
    assert_int_equal(unit_count_names(unit_path(world.dir, "index/spool")), 1);
    cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t action = 0; action < 50; action++)
        assert_true(get(cache, action, &body, NULL));
    cache_end(cache);
    assert_int_equal(unit_count_names(unit_path(world.dir, "index/spool")), -1);
    assert_int_equal(events_of(TUCK_EVENT_ENTRIES_LOST), 0);
    free(body.data);
}

// --- Bounds --------------------------------------------------------------------------------------

static void a_body_takes_the_same_memory_whatever_its_size(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 65536);
    struct tuck_action_id action = unit_action(1);
    struct tuck_put *put = NULL;
    (void)put_in_parts(cache, 2, &body, 65536, &(struct tuck_hit){0}); // what is made once
    size_t before = unit_allocated_bytes(), most = 0;
    assert_int_equal(tuck_put_begin(cache, &action, &body.output, 32 << 20, &put, NULL), 0);
    for (int i = 0; i < 512; i++) {
        tuck_put_write(put, body.data, body.len);
        size_t now = unit_allocated_bytes();
        most = now > before && now - before > most ? now - before : most;
    }
    assert_true(most < 100000);
    tuck_put_free(put);
    cache_end(cache);
    free(body.data);
}

static void memory_is_bounded_when_nothing_can_be_flushed(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 100);
    struct tuck_hit hit;
    size_t before = unit_allocated_bytes();
    int lock = lock_index(&world);
    for (uint64_t action = 0; action < 40000; action++)
        assert_int_equal(put_in_parts(cache, action, &body, 100, &hit), 0);
    assert_true(unit_allocated_bytes() - before < 16 << 20);
    (void)close(lock);
    cache_end(cache);
    free(body.data);
}

static void memory_is_bounded_when_everything_goes_to_the_private_directory(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    unit_write_file(world.dir, "in the way", 10);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(1, 100);
    struct tuck_hit hit;
    size_t before = unit_allocated_bytes();
    for (uint64_t action = 0; action < 3000; action++)
        assert_int_equal(put_in_parts(cache, action, &body, 100, &hit), 0);
    for (uint64_t action = 0; action < 3000; action += 100)
        assert_true(get(cache, action, &body, NULL));
    assert_true(unit_allocated_bytes() - before < 3000 * 300);
    cache_end(cache);
    free(body.data);
}

// --- The whole cache -----------------------------------------------------------------------------

static void statistics_count_entries_distinct_objects_and_their_bytes(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_of(0, 50);
    for (uint64_t i = 0; i < 5000; i++) {
        if (i % 50 == 0) {
            free(body.data);
            body = body_of(i, 50 + i);
        }
        struct tuck_hit hit;
        assert_int_equal(put_in_parts(cache, i, &body, 10000, &hit), 0);
    }
    for (uint64_t i = 4950; i < 5010; i++)
        assert_int_equal(get(cache, i, &body, NULL), i < 5000);
    cache_end(cache);
    struct tuck_drive_stats stats = stats_of(&world);
    assert_int_equal(stats.entries, 5000);
    assert_int_equal(stats.objects, 100);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 5000; i += 50)
        bytes += 50 + i;
    assert_int_equal(stats.bytes, bytes);
    assert_int_equal(stats.counters.value[TUCK_COUNT_puts], 5000);
    assert_int_equal(stats.counters.value[TUCK_COUNT_dedupes], 4900);
    assert_int_equal(stats.counters.value[TUCK_COUNT_gets], 60);
    assert_int_equal(stats.counters.value[TUCK_COUNT_hits], 50);
    assert_int_equal(stats.counters.value[TUCK_COUNT_misses], 10);
    free(body.data);
}

static void statistics_of_no_cache_are_a_failure_and_make_none(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_error err = {0};
    assert_null(cache_open_for_admin(&world, &err));
    assert_non_null(strstr(err.text, world.dir));
    assert_int_equal(unit_count_names(world.gocache), 0);
}

static void a_clear_removes_everything_but_what_running_helpers_gave_out(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body bodies[20];
    for (uint64_t i = 0; i < 20; i++) {
        bodies[i] = body_of(i, 1000 + i);
        (void)put(cache, i, &bodies[i]);
    }
    cache_end(cache);
    struct tuck_cache *running = cache_open(&world, TUCK_LAZY);
    struct tuck_hit given[5];
    for (uint64_t i = 0; i < 5; i++)
        assert_true(get(running, i, &bodies[i], &given[i]));
    struct tuck_removed cleared = clear_cache(&world);
    assert_int_equal(cleared.objects, 15);
    assert_int_equal(cleared.kept, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(access(given[i].path, R_OK), 0);
    for (uint64_t i = 5; i < 20; i++)
        assert_false(get(running, i, &bodies[i], NULL));

    // The running helper goes on, and the next one finds what it puts and nothing else.
    (void)put(running, 7, &bodies[7]);
    (void)put(running, 3, &bodies[3]);
    assert_true(get(running, 7, &bodies[7], NULL));
    cache_end(running);
    cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(get(cache, i, &bodies[i], NULL), i == 7 || i == 3);
    cache_end(cache);
    cleared = clear_cache(&world);
    assert_int_equal(cleared.objects, 6);
    assert_int_equal(cleared.kept, 0);
    for (size_t i = 0; i < 20; i++)
        free(bodies[i].data);
}

static void what_was_given_out_is_claimed_before_the_answer(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body one = body_of(1, 1000), other = body_of(2, 1000);
    (void)put(cache, 1, &one);
    struct tuck_leases *leases = NULL;
    assert_int_equal(
        tuck_leases_open(unit_open_directory(unit_path(world.dir, "leases")), &leases, NULL), 0);
    assert_true(tuck_leases_claim(leases, &one.output));
    assert_false(tuck_leases_claim(leases, &other.output));
    cache_end(cache);
    assert_false(tuck_leases_claim(leases, &one.output));
    cache = cache_open(&world, TUCK_LAZY);
    assert_false(tuck_leases_claim(leases, &one.output));
    assert_true(get(cache, 1, &one, NULL));
    assert_true(tuck_leases_claim(leases, &one.output));
    cache_end(cache);
    tuck_leases_close(leases);
    free(one.data);
    free(other.data);
}

static void a_cache_that_nobody_used_ends_without_a_trace_in_the_index(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    cache_end(cache_open(&world, TUCK_LAZY));
    struct tuck_drive_stats stats = stats_of(&world);
    assert_int_equal(stats.entries, 0);
    tuck_cache_close(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_was_put_is_got_in_this_process_and_in_the_next),
    cmocka_unit_test(how_the_body_is_cut_makes_no_difference),
    cmocka_unit_test(a_later_put_of_the_action_replaces_the_output),
    cmocka_unit_test(the_same_output_again_writes_nothing),
    cmocka_unit_test(what_is_known_is_forgotten_when_the_object_changes),
    cmocka_unit_test(a_body_that_is_not_what_was_announced_is_refused_and_leaves_nothing),
    cmocka_unit_test(a_wrong_body_for_an_object_that_is_there_is_refused_too),
    cmocka_unit_test(an_object_that_is_gone_or_has_another_size_is_a_miss),
    cmocka_unit_test(a_damaged_object_is_a_miss_and_an_event_and_the_next_put_repairs_it),
    cmocka_unit_test(a_later_put_has_a_later_time_even_when_the_clock_was_set_back),
    cmocka_unit_test(a_put_is_found_again_when_the_clock_went_back_while_its_entry_was_dirty),
    cmocka_unit_test(a_use_is_noted_once_an_hour_and_never_moves_the_put_time),
    cmocka_unit_test(a_warm_run_writes_no_entries_and_reads_no_objects),
    cmocka_unit_test(after_a_reboot_an_object_is_hashed_once_before_it_is_served),
    cmocka_unit_test(on_the_next_morning_too_it_is_hashed_once),
    cmocka_unit_test(what_was_put_durably_needs_no_look_after_a_reboot),
    cmocka_unit_test(what_a_sync_in_the_background_covered_needs_no_look_after_a_reboot),
    cmocka_unit_test(lazy_syncs_nothing_and_names_each_object_before_its_entry_is_written),
    cmocka_unit_test(
        batch_syncs_the_objects_before_the_first_entry_is_written_and_then_the_entries),
    cmocka_unit_test(strict_makes_each_object_durable_before_its_answer),
    cmocka_unit_test(strict_syncs_an_object_that_a_lazy_helper_has_put),
    cmocka_unit_test(strict_syncs_it_also_when_a_lookup_has_hashed_it_before),
    cmocka_unit_test(when_the_sync_of_a_batch_fails_no_entry_is_written_and_none_is_trusted_later),
    cmocka_unit_test(a_put_is_seen_by_other_processes_before_the_helper_ends),
    cmocka_unit_test(many_puts_are_flushed_before_their_time_has_come),
    cmocka_unit_test(a_drive_that_cannot_be_used_is_an_event_and_puts_go_to_a_private_directory),
    cmocka_unit_test(
        a_full_drive_sends_puts_to_a_private_directory_and_is_used_again_when_it_has_room),
    cmocka_unit_test(a_drive_that_fills_up_in_the_middle_of_a_body_loses_nothing_of_it),
    cmocka_unit_test(a_put_fails_only_when_no_place_is_left_and_the_next_one_works),
    cmocka_unit_test(with_no_place_at_all_gets_are_misses_and_puts_fail_with_a_reason),
    cmocka_unit_test(a_full_index_keeps_the_puts_for_this_process_and_serves_no_wrong_one_later),
    cmocka_unit_test(an_end_while_others_hold_the_index_takes_a_second_at_most_and_loses_nothing),
    cmocka_unit_test(a_body_takes_the_same_memory_whatever_its_size),
    cmocka_unit_test(memory_is_bounded_when_nothing_can_be_flushed),
    cmocka_unit_test(memory_is_bounded_when_everything_goes_to_the_private_directory),
    cmocka_unit_test(statistics_count_entries_distinct_objects_and_their_bytes),
    cmocka_unit_test(statistics_of_no_cache_are_a_failure_and_make_none),
    cmocka_unit_test(a_clear_removes_everything_but_what_running_helpers_gave_out),
    cmocka_unit_test(what_was_given_out_is_claimed_before_the_answer),
    cmocka_unit_test(a_cache_that_nobody_used_ends_without_a_trace_in_the_index),
};

UNIT_MAIN(tests)
