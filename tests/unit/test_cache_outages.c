// SPDX-License-Identifier: MIT
/*
 * What becomes of a cache whose drives fail one after the other, and come back: which trouble takes one offline, for how
 * long it is left alone, what is told.
 */
#include "tests/unit/drives_world.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <sys/stat.h>

#define MARGIN_NS (900 * TUCK_NS_PER_MS) // for the time that the tests themselves take

// --- Drives that fail ----------------------------------------------------------------------------

static void a_drive_that_fails_goes_offline_and_the_others_serve(void **state) {
    (void)state;
    static const int kinds[] = {EIO,      ENODEV,    ENXIO,     ESTALE,
                                ENOTCONN, ENOMEDIUM, ESHUTDOWN, EUCLEAN};
    for (size_t kind = 0; kind < TUCK_ARRAY_LEN(kinds); kind++) {
        struct cache_world world = drives_world_new(3);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body body[3];
        for (size_t i = 0; i < 3; i++) {
            body[i] = body_for(&world, i, i, SMALL);
            (void)put(cache, i, &body[i]);
        }
        cache_end(cache);
        cache = cache_open(&world, TUCK_LAZY);
        faults_add(world.drives[1], FAULT_ALL, kinds[kind]);
        for (size_t round = 0; round < 2; round++)
            for (size_t i = 0; i < 3; i++)
                assert_int_equal(get(cache, i, &body[i], NULL), i != 1);
        assert_false(is_online(cache, 1));
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
        assert_string_equal(event_path(TUCK_EVENT_DRIVE_OFFLINE), world.drives[1]);
        assert_non_null(strstr(event_reason(TUCK_EVENT_DRIVE_OFFLINE), strerror(kinds[kind])));
        faults_forget_touches();
        assert_false(get(cache, 1, &body[1], NULL));
        assert_int_equal(faults_touches(world.drives[1]), 0);
        // It is put again elsewhere, and both are found later.
        assert_int_equal(put_on(&world, cache, 1, &body[1]), 2);
        assert_true(get(cache, 1, &body[1], NULL));
        cache_end(cache);
        faults_mend(world.drives[1]);
        for (size_t i = 0; i < 3; i++)
            free(body[i].data);
        move_clocks(600 * TUCK_NS_PER_S);
    }
}

static void one_file_that_cannot_be_read_takes_no_drive_offline(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body bad = body_for(&world, 0, 1, SMALL), good = body_for(&world, 0, 2, SMALL);
    struct tuck_hit hit = put(cache, 1, &bad);
    char *path = realpath(hit.path, NULL);
    (void)put(cache, 2, &good);
    cache_end(cache);
    kernel_pretend_boot(1); // so that it is hashed
    cache = cache_open(&world, TUCK_LAZY);
    faults_add(path, FAULT_READS, EIO);
    for (int i = 0; i < 8; i++) {
        struct tuck_action_id action = unit_action(1);
        assert_int_equal(tuck_cache_get(cache, &action, &hit), TUCK_CACHE_MISS);
    }
    assert_true(is_online(cache, 0));
    assert_true(get(cache, 2, &good, NULL));
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 0);
    // A put has the content and replaces it.
    faults_mend(path);
    assert_int_equal(put_on(&world, cache, 1, &bad), 0);
    assert_true(get(cache, 1, &bad, NULL));
    cache_end(cache);
    free(path);
    free(bad.data);
    free(good.data);
}

static void a_drive_that_fails_again_and_again_goes_offline(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_for(&world, 0, 1, SMALL);
    struct tuck_action_id action = unit_action(1);
    struct tuck_hit hit;
    (void)put(cache, 1, &body);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    faults_add(unit_path(world.drives[0], "index"), FAULT_READS, EIO);
    int tries = 0;
    for (; is_online(cache, 0) && tries < 100; tries++)
        assert_int_equal(tuck_cache_get(cache, &action, &hit), TUCK_CACHE_MISS);
    assert_in_range(tries, 8, 64);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
    assert_true(event_reason(TUCK_EVENT_DRIVE_OFFLINE)[0]);
    faults_mend(NULL);
    cache_end(cache);
    free(body.data);
}

static void a_drive_that_comes_back_serves_again_and_takes_its_own(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body before = body_for(&world, 1, 1, SMALL), meanwhile = body_for(&world, 1, 2, SMALL),
                after = body_for(&world, 1, 3, SMALL);
    (void)put(cache, 1, &before);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    faults_add(world.drives[1], FAULT_ALL, EIO);
    assert_int_equal(put_on(&world, cache, 2, &meanwhile), 2);
    assert_false(get(cache, 1, &before, NULL));
    // Not before its time, and not while it fails.
    move_clocks(TUCK_NS_PER_S - MARGIN_NS);
    faults_forget_touches();
    try_again(cache);
    assert_int_equal(faults_touches(world.drives[1]), 0);
    move_clocks(MARGIN_NS);
    try_again(cache);
    assert_true(faults_touches(world.drives[1]) > 0);
    assert_false(is_online(cache, 1));
    faults_mend(world.drives[1]);
    move_clocks(2 * TUCK_NS_PER_S);
    try_again(cache);
    assert_true(is_online(cache, 1));
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_ONLINE), 1);
    assert_true(get(cache, 1, &before, NULL));
    assert_true(get(cache, 2, &meanwhile, NULL));
    assert_int_equal(put_on(&world, cache, 3, &after), 1);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &before, NULL));
    assert_true(get(cache, 2, &meanwhile, NULL));
    assert_true(get(cache, 3, &after, NULL));
    cache_end(cache);
    free(before.data);
    free(meanwhile.data);
    free(after.data);
}

// As a helper does it, whose flusher tries.
static void a_drive_is_tried_again_by_itself(void **state) {
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        struct cache_world world = drives_world_new(n);
        faults_forbid_threads(false);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body body[4];
        for (size_t i = 0; i < 4; i++)
            body[i] = body_for(&world, 0, i, SMALL);
        faults_add(world.drives[0], FAULT_ALL, EIO);
        assert_int_equal(put_on(&world, cache, 0, &body[0]), n == 1 ? PRIVATE : 1);
        faults_mend(world.drives[0]);
        for (int round = 0; round < 1000 && !is_online(cache, 0); round++) {
            move_clocks(TUCK_NS_PER_S);
            (void)put(
                cache, 1,
                &body
                    [1]); // what wakes it here, for who waits is not woken by a clock that is moved
            struct timespec pause = {.tv_nsec = 10000000};
            (void)nanosleep(&pause, NULL);
        }
        assert_true(is_online(cache, 0));
        assert_int_equal(put_on(&world, cache, 2, &body[2]), 0);
        cache_end(cache);
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 2, &body[2], NULL));
        cache_end(cache);
        for (size_t i = 0; i < 4; i++)
            free(body[i].data);
    }
}

static void with_all_drives_gone_puts_are_private_until_one_comes_back(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body[3];
    for (uint64_t i = 0; i < 3; i++)
        body[i] = body_for(&world, 0, i, SMALL);
    (void)put(cache, 0, &body[0]);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    faults_add(world.drives[0], FAULT_ALL, ENODEV);
    faults_add(world.drives[1], FAULT_ALL, ENODEV);
    assert_int_equal(put_on(&world, cache, 1, &body[1]), PRIVATE);
    assert_true(get(cache, 1, &body[1], NULL));
    assert_false(get(cache, 0, &body[0], NULL));
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 2);
    assert_int_equal(events_of(TUCK_EVENT_PUT_ELSEWHERE), 1);
    faults_mend(world.drives[1]);
    move_clocks(2 * TUCK_NS_PER_S);
    try_again(cache);
    assert_int_equal(put_on(&world, cache, 2, &body[2]), 1);
    assert_true(get(cache, 1, &body[1], NULL)); // still there, for this process
    cache_end(cache);
    faults_mend(world.drives[0]);
    move_clocks(600 * TUCK_NS_PER_S);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 0, &body[0], NULL));
    assert_true(get(cache, 2, &body[2], NULL));
    cache_end(cache);
    for (uint64_t i = 0; i < 3; i++)
        free(body[i].data);
}

static void a_cache_none_of_whose_drives_can_be_used_is_told_of_once(void **state) {
    (void)state;
    for (int is_formed = 0; is_formed < 2; is_formed++) {
        struct cache_world world = drives_world_new(3);
        struct body body = body_of(1, SMALL);
        if (is_formed)
            cache_end(cache_open(&world, TUCK_LAZY));
        for (size_t i = 0; i < 3; i++)
            faults_add(world.drives[i], FAULT_ALL, EIO);
        for (int run = 0; run < 2; run++) { // the second one leaves them alone, and says so too
            struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
            assert_int_equal(events_of(TUCK_EVENT_DRIVE_UNUSABLE), 1 + run);
            assert_non_null(strstr(event_reason(TUCK_EVENT_DRIVE_UNUSABLE), world.drives[0]));
            assert_int_equal(put_on(&world, cache, 1, &body), PRIVATE);
            assert_true(get(cache, 1, &body, NULL));
            cache_end(cache);
        }
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 0);
        assert_int_equal(events_of(TUCK_EVENT_SET_REFUSED), 0);
        assert_int_equal(events_of(TUCK_EVENT_PUT_ELSEWHERE), 0);
        free(body.data);
    }
}

static void a_list_that_does_not_fit_is_told_of_once_and_what_can_serve_does(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct body body[3];
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 3; i++) {
        body[i] = body_for(&world, i, i, SMALL);
        (void)put(cache, i, &body[i]);
    }
    cache_end(cache);
    // In another order; shorter; a single one of them; one more.
    struct cache_world turned = world, shorter = world, single = world, longer = world;
    turned.drives[0] = world.drives[2];
    turned.drives[2] = world.drives[0];
    shorter.drive_count = 2;
    single.drive_count = 1;
    longer.drives[3] = unit_path(unit_directory(), "new");
    longer.drive_count = 4;
    const struct cache_world *lists[] = {&turned, &shorter, &single, &longer};
    for (size_t list = 0; list < TUCK_ARRAY_LEN(lists); list++) {
        struct tuck_error err = {0};
        cache = cache_open(lists[list], TUCK_LAZY);
        assert_int_equal(events_of(TUCK_EVENT_SET_REFUSED), list + 1);
        assert_true(event_reason(TUCK_EVENT_SET_REFUSED)[0]);
        for (uint64_t i = 0; i < 3; i++)
            assert_int_equal(get(cache, i, &body[i], NULL), i < lists[list]->drive_count);
        (void)put(cache, 10, &body[0]);
        cache_end(cache);
        assert_null(cache_open_for_admin(lists[list], &err));
        assert_string_equal(err.text, event_reason(TUCK_EVENT_SET_REFUSED));
    }
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 0);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_UNUSABLE), 0);
    assert_int_equal(unit_count_names(longer.drives[3]), -1);
    for (uint64_t i = 0; i < 3; i++)
        free(body[i].data);
}

static int remove_tree(const char *path) {
    char *command;
    assert_true(asprintf(&command, "rm -rf '%s'", path) > 0);
    int status = system(command);
    free(command);
    return status;
}

static void a_drive_that_was_removed_is_noticed_and_begun_anew(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct cache_world world = drives_world_new(2);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body before = body_for(&world, 0, 1, SMALL), large = body_for(&world, 0, 2, LARGE),
                    after = body_for(&world, 0, 3, SMALL),
                    elsewhere = body_for(&world, 0, 4, SMALL);
        (void)put(cache, 1, &before);
        (void)put(cache, 4, &large);
        assert_int_equal(remove_tree(world.drives[0]), 0);
        if (way == 1)
            assert_int_equal(mkdir(world.drives[0], 0700), 0); // as where something was mounted
        if (way == 2) // in a directory that is not held open
            assert_int_equal(put_on(&world, cache, 4, &elsewhere), 1);
        assert_int_equal(put_on(&world, cache, 1, &before), 1);
        assert_int_equal(put_on(&world, cache, 2, &large), 1);
        assert_false(is_online(cache, 0));
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
        move_clocks(TUCK_NS_PER_S);
        try_again(cache);
        assert_true(is_online(cache, 0));
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_HEALED), 1);
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_ONLINE), 0); // the same thing is told once
        assert_int_equal(put_on(&world, cache, 3, &after), 0);
        for (uint64_t action = 1; action < 4; action++)
            assert_true(get(cache, action,
                            action == 1   ? &before
                            : action == 2 ? &large
                                          : &after,
                            NULL));
        cache_end(cache);
        assert_int_equal(events_of(TUCK_EVENT_ENTRIES_LOST), 0);
        free(before.data);
        free(large.data);
        free(after.data);
        free(elsewhere.data);
    }
}

static void a_drive_that_was_removed_is_noticed_by_the_flush_as_well(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body = body_for(&world, 0, 1, SMALL);
    (void)put(cache, 1, &body); // dirty: there is no flusher
    assert_int_equal(remove_tree(world.drives[0]), 0);
    cache_end(cache);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
    assert_int_equal(events_of(TUCK_EVENT_ENTRIES_LOST), 0);
    free(body.data);
}

// --- Back-off ------------------------------------------------------------------------------------

static void a_drive_is_left_alone_twice_as_long_each_time_up_to_five_minutes(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    faults_add(world.drives[1], FAULT_ALL, EIO);
    tuck_bays__fault(&cache->bays, &cache->bays.bay[1], EIO);
    assert_false(is_online(cache, 1));
    for (uint64_t span_s = 1, round = 0; round < 11; round++) {
        faults_forget_touches();
        move_clocks(span_s * TUCK_NS_PER_S - MARGIN_NS);
        try_again(cache);
        assert_int_equal(faults_touches(world.drives[1]), 0);
        move_clocks(MARGIN_NS);
        try_again(cache);
        assert_true(faults_touches(world.drives[1]) > 0);
        span_s = 2 * span_s > 300 ? 300 : 2 * span_s;
    }
    cache_end(cache);
}

static void an_outage_is_remembered_by_the_next_helper_and_goes_on_doubling(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    cache_end(cache_open(&world, TUCK_LAZY));
    faults_add(world.drives[1], FAULT_ALL, EIO);
    for (uint64_t span_s = 1, round = 0; round < 10; round++) {
        // The first one that tries finds it failing, and tells.
        faults_forget_touches();
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        assert_true(faults_touches(world.drives[1]) > 0);
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), round + 1);
        cache_end(cache);
        // Those that come soon leave it alone, and are silent.
        faults_forget_touches();
        for (int i = 0; i < 3; i++) {
            cache = cache_open(&world, TUCK_LAZY);
            assert_false(is_online(cache, 1));
            assert_true(is_online(cache, 0));
            cache_end(cache);
        }
        move_clocks(span_s * TUCK_NS_PER_S - MARGIN_NS);
        cache_end(cache_open(&world, TUCK_LAZY));
        assert_int_equal(faults_touches(world.drives[1]), 0);
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), round + 1);
        move_clocks(MARGIN_NS);
        span_s = 2 * span_s > 300 ? 300 : 2 * span_s;
    }
    faults_mend(world.drives[1]);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    assert_true(is_online(cache, 1));
    cache_end(cache);
    // Well for five minutes: as if nothing had been, and nothing is left of it.
    move_clocks(301 * TUCK_NS_PER_S);
    cache_end(cache_open(&world, TUCK_LAZY));
    assert_int_equal(access(unit_path(world.gocache, "tuck-outages"), F_OK), -1);
}

static void a_drive_that_fails_soon_after_it_came_back_is_left_alone_longer(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t span_s = 1; span_s <= 8; span_s *= 2) {
        faults_add(world.drives[1], FAULT_ALL, EIO);
        tuck_bays__fault(&cache->bays, &cache->bays.bay[1], EIO);
        faults_mend(world.drives[1]);
        move_clocks(span_s * TUCK_NS_PER_S - MARGIN_NS);
        try_again(cache);
        assert_false(is_online(cache, 1));
        move_clocks(MARGIN_NS);
        try_again(cache);
        assert_true(is_online(cache, 1));
    }
    move_clocks(301 * TUCK_NS_PER_S);
    faults_add(world.drives[1], FAULT_ALL, EIO);
    tuck_bays__fault(&cache->bays, &cache->bays.bay[1], EIO);
    faults_mend(world.drives[1]);
    move_clocks(TUCK_NS_PER_S);
    try_again(cache);
    assert_true(is_online(cache, 1));
    cache_end(cache);
}

static void a_clock_that_is_set_back_prolongs_no_outage_beyond_its_span(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    cache_end(cache_open(&world, TUCK_LAZY));
    faults_add(world.drives[1], FAULT_ALL, EIO);
    cache_end(cache_open(&world, TUCK_LAZY));
    faults_mend(world.drives[1]);
    tuck_clock_shift(-3600 * (int64_t)TUCK_NS_PER_S);
    for (int i = 0; i < 4; i++) { // each of them later than the one before
        cache_end(cache_open(&world, TUCK_LAZY));
        move_clocks(300 * TUCK_NS_PER_MS);
    }
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    assert_true(is_online(cache, 1));
    cache_end(cache);
    tuck_clock_shift(3600 * (int64_t)TUCK_NS_PER_S);
}

static void a_damaged_file_of_outages_is_none(void **state) {
    (void)state;
    static const char *const contents[] = {"", "x",
                                           "0123456789abcdef0123456789abcdef0123456789abcdef"};
    struct cache_world world = drives_world_new(2);
    const char *path = unit_path(world.gocache, "tuck-outages");
    for (size_t i = 0; i < TUCK_ARRAY_LEN(contents); i++) {
        unit_write_file(path, contents[i], strlen(contents[i]));
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        assert_true(is_online(cache, 0) && is_online(cache, 1));
        cache_end(cache);
        faults_add(world.drives[1], FAULT_ALL, EIO);
        cache_end(cache_open(&world, TUCK_LAZY));
        faults_mend(world.drives[1]);
        cache = cache_open(&world, TUCK_LAZY);
        assert_false(is_online(cache, 1)); // it is known now
        cache_end(cache);
        move_clocks(600 * TUCK_NS_PER_S);
    }
    // What cannot be a file is left where it is.
    (void)unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    faults_add(world.drives[1], FAULT_ALL, EIO);
    cache_end(cache_open(&world, TUCK_LAZY));
    faults_mend(world.drives[1]);
    assert_int_equal(unit_count_names(path), 0);
    assert_int_equal(rmdir(path), 0);
}

static void a_subcommand_tries_every_drive_and_ends_its_outage(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct body body = body_for(&world, 1, 1, SMALL);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &body);
    cache_end(cache);
    faults_add(world.drives[1], FAULT_ALL, EIO);
    for (int i = 0; i < 8; i++) {
        cache_end(cache_open(&world, TUCK_LAZY));
        move_clocks((1 << i) * TUCK_NS_PER_S);
    }
    cache_end(cache_open(&world, TUCK_LAZY));
    unsigned told = events_of(TUCK_EVENT_DRIVE_OFFLINE);
    struct tuck_cache_stats *stats = read_stats(&world);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), told + 1);
    assert_non_null(strstr(stats->drive[1].why, "Input/output error"));
    assert_string_equal(stats->drive[0].why, "");
    free(stats);
    faults_mend(world.drives[1]);
    stats = read_stats(&world);
    assert_string_equal(stats->drive[1].why, "");
    assert_int_equal(stats->drive[1].entries, 1);
    free(stats);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 1, &body, NULL));
    cache_end(cache);
    free(body.data);
}

// --- Read-only -----------------------------------------------------------------------------------

// Nor does every file system that takes no writes say so.
static void what_such_a_drive_has_is_put_elsewhere_from_the_first_time_on(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct body known = body_for(&world, 1, 1, SMALL);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    (void)put(cache, 1, &known);
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    faults_add(world.drives[1], FAULT_WRITES, EROFS);
    assert_int_equal(put_on(&world, cache, 2, &known), 2);
    cache_end(cache);
    assert_int_equal(events_of(TUCK_EVENT_ENTRIES_LOST), 0);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_READONLY), 1);
    cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 2, &known, NULL));
    cache_end(cache);
    free(known.data);
}

static void a_drive_that_takes_no_writes_serves_what_it_has(void **state) {
    (void)state;
    for (int is_before_start = 0; is_before_start < 2; is_before_start++) {
        struct cache_world world = drives_world_new(3);
        struct body known = body_for(&world, 1, 1, SMALL), large = body_for(&world, 1, 2, LARGE),
                    later = body_for(&world, 1, 3, SMALL);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        (void)put(cache, 1, &known);
        cache_end(cache);
        move_clocks(2 * 3600 * TUCK_NS_PER_S); // so that a use is to be noted
        if (is_before_start)
            faults_add(world.drives[1], FAULT_WRITES, EROFS);
        cache = cache_open(&world, TUCK_LAZY);
        faults_add(world.drives[1], FAULT_WRITES, EROFS);
        assert_true(get(cache, 1, &known, NULL));
        assert_int_equal(put_on(&world, cache, 2, &large), 2);
        assert_int_equal(put_on(&world, cache, 3, &later), 2);
        assert_int_equal(put_on(&world, cache, 4, &known),
                         2); // where it could not be recorded it is no use
        assert_true(is_online(cache, 1));
        for (uint64_t action = 1; action < 5; action++)
            assert_true(get(cache, action,
                            action == 2   ? &large
                            : action == 3 ? &later
                                          : &known,
                            NULL));
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_READONLY), 1);
        assert_string_equal(event_path(TUCK_EVENT_DRIVE_READONLY), world.drives[1]);
        assert_non_null(strstr(event_reason(TUCK_EVENT_DRIVE_READONLY), "Read-only"));
        assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 0);
        // It may be made writable again; for one that was opened before, soon.
        faults_mend(world.drives[1]);
        struct body again = body_for(&world, 1, 4, SMALL);
        assert_int_equal(put_on(&world, cache, 5, &again), 2);
        move_clocks(10 * TUCK_NS_PER_S);
        struct body at_last = body_for(&world, 1, 5, SMALL);
        assert_int_equal(put_on(&world, cache, 6, &at_last), is_before_start ? 2 : 1);
        cache_end(cache);
        assert_int_equal(events_of(TUCK_EVENT_ENTRIES_LOST), 0);
        cache = cache_open(&world, TUCK_LAZY);
        assert_true(get(cache, 4, &known, NULL));
        assert_true(get(cache, 6, &at_last, NULL));
        struct body next = body_for(&world, 1, 6, SMALL);
        assert_int_equal(put_on(&world, cache, 7, &next), 1);
        cache_end(cache);
        free(next.data);
        free(known.data);
        free(large.data);
        free(later.data);
        free(again.data);
        free(at_last.data);
    }
}

// --- Slow ----------------------------------------------------------------------------------------

static void a_drive_whose_small_operations_take_seconds_again_and_again_goes_offline(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body[3];
    for (size_t i = 0; i < 3; i++) {
        body[i] = body_for(&world, i, i, SMALL);
        (void)put(cache, i, &body[i]);
    }
    cache_end(cache);
    cache = cache_open(&world, TUCK_LAZY);
    // Twice it may be: a disk that has to start up, a moment of much work.
    for (int round = 0; round < 3; round++) {
        faults_slow(unit_path(world.drives[1], "index"), 1500 * TUCK_NS_PER_MS);
        for (int i = 0; i < 2; i++)
            assert_true(get(cache, 1, &body[1], NULL));
        faults_mend(unit_path(world.drives[1], "index"));
        assert_true(is_online(cache, 1));
        move_clocks(60 * TUCK_NS_PER_S);
    }
    faults_slow(unit_path(world.drives[1], "index"), 1500 * TUCK_NS_PER_MS);
    for (int i = 0; i < 3; i++)
        (void)get(cache, 1, &body[1], NULL);
    assert_false(is_online(cache, 1));
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
    assert_non_null(strstr(event_reason(TUCK_EVENT_DRIVE_OFFLINE), "slow"));
    assert_true(get(cache, 0, &body[0], NULL));
    assert_true(get(cache, 2, &body[2], NULL));
    // What is left alone for its slowness is left alone for longer, and not taken while it stays slow.
    move_clocks(59 * TUCK_NS_PER_S);
    faults_forget_touches();
    try_again(cache);
    assert_int_equal(faults_touches(world.drives[1]), 0);
    move_clocks(TUCK_NS_PER_S);
    try_again(cache);
    assert_true(faults_touches(world.drives[1]) > 0);
    assert_false(is_online(cache, 1));
    faults_mend(unit_path(world.drives[1], "index"));
    move_clocks(120 * TUCK_NS_PER_S);
    try_again(cache);
    assert_true(is_online(cache, 1));
    assert_true(get(cache, 1, &body[1], NULL));
    cache_end(cache);
    for (size_t i = 0; i < 3; i++)
        free(body[i].data);
}

static void a_drive_that_is_slow_when_it_is_opened_is_left_alone_by_the_next_helper(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct body body = body_for(&world, 0, 1, SMALL);
    cache_end(cache_open(&world, TUCK_LAZY));
    faults_slow(world.drives[1], 1500 * TUCK_NS_PER_MS);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    assert_false(is_online(cache, 1));
    assert_int_equal(put_on(&world, cache, 1, &body), 0);
    cache_end(cache);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
    faults_forget_touches();
    cache = cache_open(&world, TUCK_LAZY);
    assert_int_equal(faults_touches(world.drives[1]), 0);
    cache_end(cache);
    assert_int_equal(events_of(TUCK_EVENT_DRIVE_OFFLINE), 1);
    free(body.data);
}

static void the_last_drive_stays_however_slow_it_is(void **state) {
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        struct cache_world world = drives_world_new(n);
        struct body body = body_for(&world, 0, 1, SMALL);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        (void)put(cache, 1, &body);
        if (n == 2) {
            faults_add(world.drives[1], FAULT_ALL, EIO);
            tuck_bays__fault(&cache->bays, &cache->bays.bay[1], EIO);
        }
        faults_slow(world.drives[0], 1500 * TUCK_NS_PER_MS);
        for (int i = 0; i < 10; i++)
            assert_true(get(cache, 1, &body, NULL));
        assert_true(is_online(cache, 0));
        faults_mend(NULL);
        cache_end(cache);
        free(body.data);
    }
}

static void slow_puts_count_as_slow_gets_do(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(2);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    faults_slow(unit_path(world.drives[0], "objects"), 1200 * TUCK_NS_PER_MS);
    for (uint64_t i = 0; i < 4; i++) {
        struct body body = body_for(&world, 0, i, SMALL);
        (void)put(cache, i, &body);
        free(body.data);
    }
    assert_false(is_online(cache, 0));
    faults_mend(NULL);
    cache_end(cache);
}

// --- Others at the same time ---------------------------------------------------------------------

static void *get_slowly(void *arg) {
    struct tuck_cache *cache = arg;
    struct tuck_hit hit;
    for (uint64_t i = 0; i < 200; i++) {
        struct tuck_action_id action = unit_action(i % 8);
        (void)!tuck_cache_get_slowly(cache, &action, &hit);
    }
    return NULL;
}

static void drives_fail_and_come_back_while_two_threads_ask(void **state) {
    (void)state;
    struct cache_world world = drives_world_new(3);
    faults_forbid_threads(false);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body body[8];
    for (uint64_t i = 0; i < 8; i++) {
        body[i] = body_for(&world, i % 3, i, i % 2 ? LARGE : SMALL);
        (void)put(cache, i, &body[i]);
    }
    pthread_t thread;
    assert_int_equal(tuck_thread_start(&thread, get_slowly, cache), 0);
    for (uint64_t round = 0; round < 60; round++) {
        const char *drive = world.drives[round % 3];
        faults_add(drive, FAULT_ALL, EIO);
        (void)put(cache, round % 8, &body[round % 8]);
        (void)get(cache, round % 8, &body[round % 8], NULL);
        faults_mend(drive);
        move_clocks(300 * TUCK_NS_PER_S);
        (void)put(cache, (round + 1) % 8, &body[(round + 1) % 8]);
    }
    (void)pthread_join(thread, NULL);
    cache_end(cache);
    move_clocks(600 * TUCK_NS_PER_S);
    cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 8; i++) {
        (void)put(cache, i, &body[i]);
        assert_true(get(cache, i, &body[i], NULL));
        free(body[i].data);
    }
    cache_end(cache);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, faults_teardown)
        TEST(a_drive_that_fails_goes_offline_and_the_others_serve),
        TEST(one_file_that_cannot_be_read_takes_no_drive_offline),
        TEST(a_drive_that_fails_again_and_again_goes_offline),
        TEST(a_drive_that_comes_back_serves_again_and_takes_its_own),
        TEST(a_drive_is_tried_again_by_itself),
        TEST(with_all_drives_gone_puts_are_private_until_one_comes_back),
        TEST(a_cache_none_of_whose_drives_can_be_used_is_told_of_once),
        TEST(a_list_that_does_not_fit_is_told_of_once_and_what_can_serve_does),
        TEST(a_drive_that_was_removed_is_noticed_and_begun_anew),
        TEST(a_drive_that_was_removed_is_noticed_by_the_flush_as_well),
        TEST(a_drive_is_left_alone_twice_as_long_each_time_up_to_five_minutes),
        TEST(an_outage_is_remembered_by_the_next_helper_and_goes_on_doubling),
        TEST(a_drive_that_fails_soon_after_it_came_back_is_left_alone_longer),
        TEST(a_clock_that_is_set_back_prolongs_no_outage_beyond_its_span),
        TEST(a_damaged_file_of_outages_is_none),
        TEST(a_subcommand_tries_every_drive_and_ends_its_outage),
        TEST(what_such_a_drive_has_is_put_elsewhere_from_the_first_time_on),
        TEST(a_drive_that_takes_no_writes_serves_what_it_has),
        TEST(a_drive_whose_small_operations_take_seconds_again_and_again_goes_offline),
        TEST(a_drive_that_is_slow_when_it_is_opened_is_left_alone_by_the_next_helper),
        TEST(the_last_drive_stays_however_slow_it_is),
        TEST(slow_puts_count_as_slow_gets_do),
        TEST(drives_fail_and_come_back_while_two_threads_ask),
#undef TEST
    };
    return unit_run(__FILE__, tests, TUCK_ARRAY_LEN(tests), argc, argv);
}
