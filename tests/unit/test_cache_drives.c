// SPDX-License-Identifier: MIT
/*
 * A cache on several drives: where outputs go, which put wins, and what becomes of a build whose drives fail one after
 * the other and come back.
 */
#include "tests/unit/drive_faults.h"

#include "lib/base/clock.h"
#include "lib/cache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define MARGIN_NS (900 * TUCK_NS_PER_MS) // for the time that the tests themselves take
#define SMALL     1000
#define LARGE     300000 // staged while it comes in, and hashed on the second thread

// --- Worlds --------------------------------------------------------------------------------------

static struct cache_world new_world(size_t drive_count) {
    struct cache_world world = cache_world_new();
    const char *top = unit_directory();
    faults_mend(NULL);
    faults_forbid_threads(true);
    for (size_t i = 0; i < drive_count; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "d%zu", i);
        world.drives[i] = unit_path(top, name);
        assert_int_equal(faults_touches(world.drives[i]), 0); // watched from now on
    }
    world.drive_count = drive_count;
    return world;
}

static size_t home_of(const struct cache_world *world, const struct body *body) {
    return (size_t)tuck_place_crcmod(body->output.bytes, TUCK_ID_BYTES, (int)world->drive_count);
}

// A body whose home is this drive; another one for each number.
static struct body body_for(const struct cache_world *world, size_t drive, uint64_t number,
                            size_t len) {
    for (uint64_t i = 0;; i++) {
        struct body body = body_of(number * 1000003 + i, len);
        if (home_of(world, &body) == drive)
            return body;
        free(body.data);
    }
}

#define PRIVATE 99U

// On which drive the file lies that was given out.
static size_t drive_of(const struct cache_world *world, const struct tuck_hit *hit) {
    char *real = realpath(hit->path, NULL);
    assert_non_null(real);
    size_t drive = 0;
    while (drive < world->drive_count &&
           strncmp(real, world->drives[drive], strlen(world->drives[drive])) != 0)
        drive++;
    if (drive == world->drive_count) {
        assert_int_equal(strncmp(real, world->tmp, strlen(world->tmp)), 0);
        drive = PRIVATE;
    }
    free(real);
    return drive;
}

// Puts it and says where it went.
static size_t put_on(const struct cache_world *world, struct tuck_cache *cache, uint64_t action,
                     const struct body *body) {
    struct tuck_hit hit = put(cache, action, body);
    return drive_of(world, &hit);
}

static unsigned count_objects(const char *drive) {
    unsigned count = 0;
    for (int byte = 0; byte < 256; byte++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "objects/%02x", byte);
        int names = unit_count_names(unit_path(drive, name));
        count += names > 0 ? (unsigned)names : 0;
    }
    return count;
}

static void move_clocks(uint64_t by_ns) {
    tuck_clock_shift((int64_t)by_ns);
    tuck_clock_shift_mono(by_ns);
}

// Tries what is due, as the flusher does; here there is none.
static void try_again(struct tuck_cache *cache) {
    tuck_bays__try_again(&cache->bays);
}

static bool is_online(struct tuck_cache *cache, size_t drive) {
    return bay_parts(&cache->bays.bay[drive]) != NULL;
}

static struct tuck_cache_stats *read_stats(const struct cache_world *world) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    struct tuck_cache_stats *stats = calloc(1, sizeof(*stats));
    assert_non_null(cache);
    assert_non_null(stats);
    assert_int_equal(tuck_cache_stats(cache, stats, NULL), 0);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    return stats;
}

// --- Where outputs go ----------------------------------------------------------------------------

static void an_output_goes_to_its_home_and_is_found_by_the_next_process(void **state) {
    (void)state;
    struct cache_world world = new_world(4);
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
    struct cache_world world = new_world(3);
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
        struct cache_world world = new_world(n);
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
    struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(3);
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

// --- Drives that fail ----------------------------------------------------------------------------

static void a_drive_that_fails_goes_offline_and_the_others_serve(void **state) {
    (void)state;
    static const int kinds[] = {EIO,      ENODEV,    ENXIO,     ESTALE,
                                ENOTCONN, ENOMEDIUM, ESHUTDOWN, EUCLEAN};
    for (size_t kind = 0; kind < TUCK_ARRAY_LEN(kinds); kind++) {
        struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(2);
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

static void a_drive_that_fails_again_and_again_goes_offline_though_it_answers_when_it_is_looked_at(
    void **state) {
    (void)state;
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(3);
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
        struct cache_world world = new_world(n);
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
    struct cache_world world = new_world(2);
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
        struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(3);
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
    for (int way = 0; way < 2; way++) {
        struct cache_world world = new_world(2);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        struct body before = body_for(&world, 0, 1, SMALL), large = body_for(&world, 0, 2, LARGE),
                    after = body_for(&world, 0, 3, SMALL);
        (void)put(cache, 1, &before);
        (void)put(cache, 4, &large);
        assert_int_equal(remove_tree(world.drives[0]), 0);
        if (way == 1)
            assert_int_equal(mkdir(world.drives[0], 0700), 0); // as where something was mounted
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
    }
}

// --- Back-off ------------------------------------------------------------------------------------

static void a_drive_is_left_alone_twice_as_long_each_time_up_to_five_minutes(void **state) {
    (void)state;
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(2);
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
    struct tuck_cache_stats *stats = read_stats(&world);
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

static void a_drive_that_takes_no_writes_serves_what_it_has(void **state) {
    (void)state;
    for (int is_before_start = 0; is_before_start < 2; is_before_start++) {
        struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(2);
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
        struct cache_world world = new_world(n);
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
    struct cache_world world = new_world(2);
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

// --- Leases, counters ----------------------------------------------------------------------------

static void each_drive_that_gave_something_out_has_a_lease(void **state) {
    (void)state;
    struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(3);
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
    struct cache_world world = new_world(2);
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
    struct cache_world world = new_world(3);
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

static int mend(void **state) {
    (void)state;
    faults_mend(NULL);
    kernel_hook = NULL;
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, mend)
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
        TEST(a_drive_that_fails_goes_offline_and_the_others_serve),
        TEST(one_file_that_cannot_be_read_takes_no_drive_offline),
        TEST(
            a_drive_that_fails_again_and_again_goes_offline_though_it_answers_when_it_is_looked_at),
        TEST(a_drive_that_comes_back_serves_again_and_takes_its_own),
        TEST(a_drive_is_tried_again_by_itself),
        TEST(with_all_drives_gone_puts_are_private_until_one_comes_back),
        TEST(a_cache_none_of_whose_drives_can_be_used_is_told_of_once),
        TEST(a_list_that_does_not_fit_is_told_of_once_and_what_can_serve_does),
        TEST(a_drive_that_was_removed_is_noticed_and_begun_anew),
        TEST(a_drive_is_left_alone_twice_as_long_each_time_up_to_five_minutes),
        TEST(an_outage_is_remembered_by_the_next_helper_and_goes_on_doubling),
        TEST(a_drive_that_fails_soon_after_it_came_back_is_left_alone_longer),
        TEST(a_clock_that_is_set_back_prolongs_no_outage_beyond_its_span),
        TEST(a_damaged_file_of_outages_is_none),
        TEST(a_subcommand_tries_every_drive_and_ends_its_outage),
        TEST(a_drive_that_takes_no_writes_serves_what_it_has),
        TEST(a_drive_whose_small_operations_take_seconds_again_and_again_goes_offline),
        TEST(a_drive_that_is_slow_when_it_is_opened_is_left_alone_by_the_next_helper),
        TEST(the_last_drive_stays_however_slow_it_is),
        TEST(slow_puts_count_as_slow_gets_do),
        TEST(each_drive_that_gave_something_out_has_a_lease),
        TEST(each_drive_counts_what_was_done_on_it),
        TEST(requests_are_counted_while_the_first_drive_is_gone_and_its_outages_when_it_is_back),
        TEST(drives_fail_and_come_back_while_two_threads_ask),
#undef TEST
    };
    return unit_run(__FILE__, tests, TUCK_ARRAY_LEN(tests), argc, argv);
}
