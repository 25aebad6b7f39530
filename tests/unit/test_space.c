// SPDX-License-Identifier: MIT
/*
 * Space: what has to be cleared, against the seed's vectors and wide arithmetic; scores; and the picker, against
 * sorting everything.
 */
#include "tests/unit/unit.h"

#include "lib/store/space.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sys/statvfs.h>

__extension__ typedef unsigned __int128 wide;

// --- Reading -------------------------------------------------------------------------------------

static const struct statvfs *pretended; // what fstatvfs() says, if not NULL
static int pretended_errno;
int __real_fstatvfs64(int fd, struct statvfs *ret_found);
int __wrap_fstatvfs64(int fd, struct statvfs *ret_found);

int __wrap_fstatvfs64(int fd, struct statvfs *ret_found) {
    if (pretended_errno) {
        errno = pretended_errno;
        pretended_errno = pretended_errno == EINTR ? 0 : pretended_errno;
        return -1;
    }
    if (!pretended)
        return __real_fstatvfs64(fd, ret_found);
    *ret_found = *pretended;
    return 0;
}

static void the_file_system_of_a_descriptor_is_read(void **state) {
    (void)state;
    int fd = unit_open_directory(unit_directory());
    struct tuck_space space = {0};
    pretended_errno = EINTR; // once
    assert_int_equal(tuck_space_read(fd, &space, NULL), 0);
    assert_true(space.total > 0 && space.free <= space.total);
    assert_true(space.files_free <= space.files);
    (void)close(fd);
}

static void what_is_kept_back_for_root_does_not_count(void **state) {
    (void)state;
    struct statvfs found = {.f_bsize = 65536,
                            .f_frsize = 4096,
                            .f_blocks = 1000,
                            .f_bfree = 300,
                            .f_bavail = 250,
                            .f_files = 100,
                            .f_ffree = 30,
                            .f_favail = 20};
    struct tuck_space space = {0};
    pretended = &found;
    assert_int_equal(tuck_space_read(0, &space, NULL), 0);
    assert_int_equal(space.total, 950 * 4096);
    assert_int_equal(space.free, 250 * 4096);
    assert_int_equal(space.files, 90);
    assert_int_equal(space.files_free, 20);

    found = (struct statvfs){.f_bsize = 512, .f_blocks = 10, .f_bfree = 10, .f_bavail = 10};
    assert_int_equal(tuck_space_read(0, &space, NULL), 0);
    assert_int_equal(space.total, 5120);
    assert_int_equal(space.files, 0); // as btrfs says it: inodes are made as needed
    assert_int_equal(space.files_free, 0);

    found = (struct statvfs){.f_frsize = 4096, .f_blocks = UINT64_MAX, .f_bavail = UINT64_MAX};
    assert_int_equal(tuck_space_read(0, &space, NULL), 0);
    assert_true(space.total == UINT64_MAX && space.free == UINT64_MAX);
    pretended = NULL;
}

static void a_drive_that_does_not_answer_is_a_failure_with_its_reason(void **state) {
    (void)state;
    struct tuck_space space = {.total = 77};
    struct tuck_error err = {0};
    pretended_errno = EIO;
    assert_int_equal(tuck_space_read(0, &space, &err), TUCK_EIO);
    pretended_errno = 0;
    assert_int_equal(err.os, EIO);
    assert_non_null(strstr(err.text, strerror(EIO)));
    assert_int_equal(space.total, 77);
    assert_true(tuck_space_read(-1, &space, NULL) < 0);
}

// --- Limits --------------------------------------------------------------------------------------

#define GIB (UINT64_C(1) << 30)

static uint64_t limit_of(uint64_t bytes, unsigned percent, uint64_t total) {
    struct tuck_quota quota = {.bytes = bytes, .percent = percent};
    return tuck_space_limit(&quota, total);
}

static void the_limit_is_the_smaller_of_what_is_given(void **state) {
    (void)state;
    assert_true(limit_of(50 * GIB, 0, 10 * GIB) == 50 * GIB);
    assert_true(limit_of(0, 25, 400 * GIB) == 100 * GIB);
    assert_true(limit_of(50 * GIB, 25, 400 * GIB) == 50 * GIB);
    assert_true(limit_of(50 * GIB, 25, 100 * GIB) == 25 * GIB);
    assert_true(limit_of(0, 0, 100 * GIB) == UINT64_MAX);
    assert_true(limit_of(0, 80, 0) == 0);
    assert_true(limit_of(0, 10, 1009) == 100); // rounded down
}

static void by_default_it_is_20_gib_or_a_tenth(void **state) {
    (void)state;
    struct tuck_quota quota = TUCK_QUOTA_DEFAULT;
    assert_true(tuck_space_limit(&quota, 100 * GIB) == 10 * GIB);
    assert_true(tuck_space_limit(&quota, 200 * GIB) == 20 * GIB);
    assert_true(tuck_space_limit(&quota, 4000 * GIB) == 20 * GIB);
}

// --- Watermarks ----------------------------------------------------------------------------------

static void what_to_clear_is_what_the_seed_clears(void **state) {
    (void)state;
    // The seed bounds the whole file system: there `used` is what is not free.
    static const struct {
        unsigned total, free, quota, low, high, expected;
    } rows[] = {
        {1000, 800, 40, 90, 90, 0},    {1000, 200, 40, 90, 90, 400}, {1000, 400, 40, 90, 90, 240},
        {1000, 600, 40, 90, 90, 40},   {1000, 600, 40, 70, 70, 120}, {1000, 1000, 90, 70, 70, 0},
        {1000, 0, 90, 70, 70, 370},    {1000, 250, 100, 50, 90, 0}, // high not yet reached
        {1000, 100, 100, 50, 90, 400}, {1000, 101, 100, 50, 90, 0}, // and just
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++)
        assert_int_equal(tuck_space_to_clear(limit_of(0, rows[i].quota, rows[i].total),
                                             rows[i].total - rows[i].free, rows[i].low,
                                             rows[i].high),
                         rows[i].expected);
}

static void clearing_begins_at_the_high_watermark_and_ends_at_the_low_one(void **state) {
    (void)state;
    assert_true(tuck_space_to_clear(20 * GIB, 18 * GIB - 1, 80, 90) == 0);
    assert_true(tuck_space_to_clear(20 * GIB, 18 * GIB, 80, 90) == 2 * GIB);
    assert_true(tuck_space_to_clear(20 * GIB, 19 * GIB, 80, 90) == 3 * GIB);
    assert_true(tuck_space_to_clear(20 * GIB, 16 * GIB, 80, 90) == 0);
    assert_true(tuck_space_to_clear(20 * GIB, 300 * GIB, 80, 90) == 20 * GIB); // in rounds
    assert_true(tuck_space_to_clear(20 * GIB, 19 * GIB, 99, 90) == 0);         // low above high
    assert_true(tuck_space_to_clear(UINT64_MAX, 19 * GIB, 80, 90) == 0);
    assert_true(tuck_space_to_clear(0, 19 * GIB, 80, 90) == 0);
}

static void a_cache_may_grow_up_to_its_low_watermark(void **state) {
    (void)state;
    assert_true(tuck_space_below_mark(20 * GIB, 0, 80) == 16 * GIB);
    assert_true(tuck_space_below_mark(20 * GIB, 15 * GIB, 80) == GIB);
    assert_true(tuck_space_below_mark(20 * GIB, 16 * GIB, 80) == 0);
    assert_true(tuck_space_below_mark(20 * GIB, 300 * GIB, 80) == 0);
    assert_true(tuck_space_below_mark(0, 0, 80) == 0);
}

static wide wide_share(uint64_t amount, unsigned percent) {
    wide share = (wide)amount * percent / 100;
    return share > UINT64_MAX ? UINT64_MAX : share;
}

static uint64_t expect_to_clear(uint64_t limit, uint64_t used, unsigned low, unsigned high) {
    if (used < wide_share(limit, high))
        return 0;
    uint64_t clear = used > wide_share(limit, low) ? used - (uint64_t)wide_share(limit, low) : 0;
    return clear < limit ? clear : limit;
}

// Numbers of all sizes, the ends of their range, and small ones.
static uint64_t any_number(struct unit_random *random) {
    uint64_t number = unit_random_next(random) >> unit_random_below(random, 64);
    switch (unit_random_below(random, 8)) {
    case 0:
        return UINT64_MAX - number % 3;
    case 1:
        return number % 300;
    default:
        return number;
    }
}

static unsigned any_percent(struct unit_random *random) {
    return unit_random_below(random, 4) ? (unsigned)unit_random_below(random, 101)
                                        : (unsigned)any_number(random);
}

static void no_numbers_overflow_or_come_out_wrong(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int i = 0; i < 300000; i++) {
        uint64_t total = any_number(&random), used = any_number(&random);
        unsigned low = any_percent(&random), high = any_percent(&random);
        assert_true(limit_of(0, high, total) == (high ? wide_share(total, high) : UINT64_MAX));
        uint64_t clear = tuck_space_to_clear(total, used, low, high);
        assert_true(clear == expect_to_clear(total, used, low, high));
        assert_true(clear <= total && clear <= used);

        struct tuck_quota floor = {.bytes = any_number(&random), .percent = any_percent(&random)};
        uint64_t missing = tuck_space_below_floor(total, used, &floor); // `used` as what is free
        uint64_t in_use = total > used ? total - used : 0;
        assert_true(missing <= in_use);
        // What is missing is just enough, unless not even everything would be.
        if (floor.bytes || floor.percent) {
            uint64_t wanted = tuck_space_limit(&floor, total);
            assert_true(missing == in_use || used + missing >= wanted);
            assert_true(missing == 0 || used + missing <= wanted);
        }
    }
}

static void the_floor_says_what_must_become_free(void **state) {
    (void)state;
    struct tuck_quota floor = TUCK_FLOOR_DEFAULT, absolute = {.bytes = 300}, none = {0},
                      both = {.bytes = 30, .percent = 5};
    assert_int_equal(tuck_space_below_floor(1000, 50, &floor), 0);
    assert_int_equal(tuck_space_below_floor(1000, 49, &floor), 1);
    assert_int_equal(tuck_space_below_floor(1000, 0, &floor), 50);
    assert_int_equal(tuck_space_below_floor(1000, 100, &absolute), 200);
    assert_int_equal(tuck_space_below_floor(200, 100, &absolute), 100); // all there is
    assert_int_equal(tuck_space_below_floor(1000, 0, &both), 30);
    assert_int_equal(tuck_space_below_floor(1000, 0, &none), 0);
    assert_int_equal(tuck_space_below_floor(0, 0, &floor), 0); // inodes without a number
    assert_int_equal(tuck_space_below_floor(0, 0, &absolute), 0);
    assert_int_equal(tuck_space_below_floor(10, 20, &floor), 0); // more free than there is
}

// --- Scores --------------------------------------------------------------------------------------

#define NOW_NS (1800000000 * TUCK_NS_PER_S)

static double score_of(uint64_t age_s, uint64_t size, uint64_t hits) {
    struct tuck_score_rule rule = {.now_ns = NOW_NS, .save_bytes = 1000, .max_hits = 10};
    return tuck_space_score(&rule, NOW_NS - age_s * TUCK_NS_PER_S, size, hits);
}

static void scores_are_those_of_the_seed(void **state) {
    (void)state;
    assert_true(score_of(60, 1000, 10) == 75);
    assert_true(score_of(3600, 1000, 10) == 4500);
    assert_true(score_of(60, 2000, 10) == 75);
    assert_true(score_of(60, 1000, 5) == 82.5);
    assert_true(score_of(60, 0, 10) == 60);
    assert_true(score_of(60, 500, 0) == 82.5);
    assert_true(score_of(60, 1000, 1000000) == 75);
    assert_true(score_of(0, 1000, 0) == 0);
}

static void no_score_is_negative_or_no_number(void **state) {
    (void)state;
    struct tuck_score_rule rule = {.now_ns = NOW_NS, .save_bytes = 0, .max_hits = 10};
    uint64_t used_ns = NOW_NS - 60 * TUCK_NS_PER_S;
    assert_true(tuck_space_score(&rule, used_ns, 1000, 10) == 60); // sizes do not count
    assert_true(tuck_space_score(&rule, used_ns, 0, 0) == 75);
    rule = (struct tuck_score_rule){.now_ns = NOW_NS, .save_bytes = 1000};
    assert_true(tuck_space_score(&rule, used_ns, 1000, 0) == 75); // hits do not count
    assert_true(tuck_space_score(&rule, NOW_NS + 1, 1000, 0) == 0);
    assert_true(tuck_space_score(&rule, UINT64_MAX, UINT64_MAX, UINT64_MAX) == 0);
    struct unit_random random = unit_random_of(__func__);
    for (int i = 0; i < 100000; i++) {
        rule =
            (struct tuck_score_rule){any_number(&random), any_number(&random), any_number(&random)};
        double score =
            tuck_space_score(&rule, any_number(&random), any_number(&random), any_number(&random));
        assert_true(score >= 0 && score <= 1.5 * 1.9e10);
    }
}

// --- Picker, by the seed's examples --------------------------------------------------------------

typedef char name[16];

static struct tuck_picker *new_picker(uint64_t bytes, uint64_t items, size_t max) {
    struct tuck_picker *picker = NULL;
    struct tuck_picker_options options = {
        .bytes = bytes, .items = items, .payload_bytes = sizeof(name), .max_candidates = max};
    assert_int_equal(tuck_picker_new(&options, &picker, NULL), 0);
    return picker;
}

static int add(struct tuck_picker *picker, const char *what, uint64_t age_s, uint64_t size,
               uint64_t hits) {
    name payload = {0};
    memcpy(payload, what, strlen(what));
    return tuck_picker_add(picker, score_of(age_s, size, hits), size, payload, NULL);
}

// Takes everything out, and compares the names in one string.
static void assert_picked(struct tuck_picker *picker, const char *expected) {
    char text[500] = {0};
    name payload;
    uint64_t left, bytes, sum = 0;
    size_t count = tuck_picker_count(picker, &left);
    while (tuck_picker_take(picker, &bytes, payload)) {
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "", payload);
        sum += bytes;
        count--;
    }
    assert_string_equal(text, expected);
    assert_int_equal(count, 0);
    assert_int_equal(sum, left);
    assert_int_equal(tuck_picker_count(picker, &left), 0);
    assert_int_equal(left, 0);
}

static void
older_goes_before_recent_bigger_before_smaller_and_fewer_hits_before_more(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(1000, 0, 100);
    assert_picked(picker, "");
    assert_int_equal(add(picker, "recent", 60, 1000, 10), 0);
    assert_int_equal(add(picker, "older", 3600, 1000, 10), 0);
    assert_picked(picker, "older");
    tuck_picker_free(picker);

    picker = new_picker(1000, 0, 100);
    assert_int_equal(add(picker, "bigger", 60, 2000, 10), 0);
    assert_true(add(picker, "recent", 60, 1000, 10) >= 0);
    assert_picked(picker, "bigger");
    tuck_picker_free(picker);

    picker = new_picker(1000, 0, 100);
    assert_int_equal(add(picker, "big", 60, 900, 10), 0);
    assert_int_equal(add(picker, "small", 60, 500, 10), 0);
    assert_int_equal(add(picker, "bigger", 60, 1000, 10), 0);
    assert_picked(picker, "bigger");
    tuck_picker_free(picker);

    picker = new_picker(1000, 0, 100);
    assert_int_equal(add(picker, "less", 60, 1000, 5), 0);
    assert_true(add(picker, "recent", 60, 1000, 10) >= 0);
    assert_picked(picker, "less");
    tuck_picker_free(picker);
}

static void no_more_is_kept_than_reaches_the_target(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(1000, 0, 100);
    uint64_t bytes;
    assert_int_equal(add(picker, "small", 60, 200, 10), 0);
    assert_int_equal(add(picker, "medium", 60, 300, 10), 0);
    assert_int_equal(tuck_picker_count(picker, &bytes), 2);
    assert_int_equal(bytes, 500);
    assert_int_equal(add(picker, "large", 60, 700, 10), 0);
    assert_true(add(picker, "xsmol", 60, 7, 10) >= 0);
    assert_picked(picker, "large medium");
    tuck_picker_free(picker);

    picker = new_picker(1000, 0, 100);
    assert_int_equal(add(picker, "small", 60, 200, 10), 0);
    assert_int_equal(add(picker, "medium", 60, 300, 10), 0);
    assert_picked(picker, "medium small");
    tuck_picker_free(picker);
}

static void a_smaller_target_drops_and_none_empties(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(1000, 0, 100);
    uint64_t bytes;
    assert_int_equal(add(picker, "less", 60, 500, 5), 0);
    assert_int_equal(add(picker, "recent", 60, 500, 10), 0);
    assert_int_equal(tuck_picker_count(picker, &bytes), 2);
    assert_true(tuck_picker_adjust(picker, -500, 0));
    assert_int_equal(tuck_picker_count(picker, &bytes), 1);
    assert_false(tuck_picker_adjust(picker, -500, 0)); // nothing needed
    assert_true(add(picker, "none", 60, 500, 0) >= 0);
    assert_picked(picker, "");
    assert_false(tuck_picker_adjust(picker, INT64_MIN, INT64_MIN));
    assert_true(tuck_picker_adjust(picker, 1, 0)); // and needed again
    assert_int_equal(add(picker, "one", 60, 500, 0), 0);
    assert_true(tuck_picker_adjust(picker, INT64_MAX, INT64_MAX));
    assert_true(tuck_picker_adjust(picker, INT64_MAX, INT64_MAX));
    assert_true(
        tuck_picker_adjust(picker, INT64_MAX, INT64_MAX)); // no further than all there can be
    assert_true(tuck_picker_adjust(picker, INT64_MIN, 0));
    assert_picked(picker, "one");
    tuck_picker_free(picker);
}

static void order_stays_sorted_when_the_target_moves(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(1000, 0, 100);
    assert_int_equal(add(picker, "bigger", 60, 50, 10), 0);
    assert_true(tuck_picker_adjust(picker, -800, 0));
    assert_int_equal(add(picker, "smaller", 60, 40, 10), 0);
    assert_picked(picker, "bigger smaller");
    tuck_picker_free(picker);
}

static void a_target_of_items_is_reached_by_number(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(0, 2, 100);
    assert_int_equal(add(picker, "a", 10, 1000, 10), 0);
    assert_int_equal(add(picker, "b", 20, 1000, 10), 0);
    assert_int_equal(add(picker, "c", 30, 0, 10), 0);
    assert_true(add(picker, "d", 5, 1000, 10) >= 0);
    assert_picked(picker, "c b");
    tuck_picker_free(picker);

    picker = new_picker(1000, 2, 100); // and both together
    assert_int_equal(add(picker, "a", 40, 1000, 10), 0);
    assert_int_equal(add(picker, "b", 20, 0, 10), 0);
    assert_int_equal(add(picker, "c", 30, 0, 10), 0);
    assert_true(tuck_picker_adjust(picker, 0, 1));
    assert_true(add(picker, "d", 10, 0, 10) >= 0);
    assert_true(tuck_picker_adjust(picker, -1000, 0)); // bytes are had, items are not
    assert_true(add(picker, "e", 9, 0, 10) >= 0);
    assert_picked(picker, "a c b");
    tuck_picker_free(picker);
}

static void of_equal_scores_the_earlier_stays(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(0, 3, 100);
    assert_int_equal(add(picker, "a", 60, 0, 10), 0);
    assert_int_equal(add(picker, "b", 60, 0, 10), 0);
    assert_int_equal(add(picker, "c", 60, 0, 10), 0);
    assert_true(add(picker, "d", 60, 0, 10) >= 0);
    assert_int_equal(add(picker, "e", 61, 0, 10), 0);
    assert_picked(picker, "e a b");
    tuck_picker_free(picker);
}

static void taking_leaves_the_target_where_it_is(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(1000, 0, 100);
    name payload;
    uint64_t bytes;
    assert_int_equal(add(picker, "first", 90, 600, 10), 0);
    assert_int_equal(add(picker, "second", 80, 300, 10), 0);
    assert_int_equal(add(picker, "third", 70, 300, 10), 0);
    assert_true(tuck_picker_take(picker, &bytes, payload)); // cannot be removed, say
    assert_string_equal(payload, "first");
    assert_int_equal(add(picker, "fourth", 60, 100, 10), 0);
    assert_true(tuck_picker_take(picker, &bytes, payload));
    assert_string_equal(payload, "second");
    assert_int_equal(bytes, 300);
    assert_true(tuck_picker_adjust(picker, -700, 0)); // removed, and others cleared as well
    assert_picked(picker, "third");
    assert_false(tuck_picker_take(picker, &bytes, payload));
    tuck_picker_free(picker);
}

static void no_more_candidates_are_kept_than_allowed(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(1000, 0, 3);
    assert_int_equal(add(picker, "a", 10, 100, 10), 0);
    assert_int_equal(add(picker, "b", 20, 100, 10), 0);
    assert_int_equal(add(picker, "c", 30, 100, 10), 0);
    assert_int_equal(add(picker, "d", 40, 100, 10), 0);
    assert_true(add(picker, "e", 5, 100, 10) >= 0);
    assert_picked(picker, "d c b");
    tuck_picker_free(picker);
}

static void sizes_that_no_candidate_can_have_are_refused(void **state) {
    (void)state;
    static const struct tuck_picker_options wrong[] = {
        {.bytes = 1, .payload_bytes = 0, .max_candidates = 1},
        {.bytes = 1, .payload_bytes = 1, .max_candidates = 0},
        {.bytes = 1, .payload_bytes = SIZE_MAX, .max_candidates = 1},
        {.bytes = 1, .payload_bytes = SIZE_MAX / 8, .max_candidates = 9},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(wrong); i++) {
        struct tuck_picker *picker = NULL;
        struct tuck_error err = {0};
        assert_int_equal(tuck_picker_new(&wrong[i], &picker, &err), TUCK_EINVAL);
        assert_null(picker);
        assert_true(err.text[0] != '\0');
    }
    tuck_picker_free(NULL);
}

static void odd_scores_and_sizes_do_no_harm(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(UINT64_MAX, 0, 4);
    static const double scores[] = {NAN, INFINITY, -INFINITY, -1, 0, NAN, 1};
    name payload = "x";
    uint64_t bytes;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(scores); i++)
        assert_true(tuck_picker_add(picker, scores[i], UINT64_MAX, payload, NULL) >= 0);
    assert_int_equal(tuck_picker_count(picker, &bytes), 1); // more there cannot be
    assert_true(bytes == UINT64_MAX);
    tuck_picker_free(picker);
}

static bool has_no_memory;
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_realloc(void *memory, size_t size) {
    // Each second time only, so that of two arrays one gets larger and the other does not.
    static unsigned calls;
    return has_no_memory && calls++ % 2 ? NULL : __real_realloc(memory, size);
}

static void without_memory_the_picker_stays_as_it_was(void **state) {
    (void)state;
    struct tuck_picker *picker = new_picker(0, 1000, 1000);
    uint64_t bytes;
    name payload = "x";
    for (size_t i = 0; i < 300; i++) {
        struct tuck_error err = {0};
        has_no_memory = true;
        int status = tuck_picker_add(picker, (double)i, 1, payload, &err);
        has_no_memory = false;
        if (status < 0) {
            assert_int_equal(status, TUCK_ENOMEM);
            assert_true(err.text[0] != '\0');
            assert_int_equal(tuck_picker_count(picker, &bytes), i);
            assert_int_equal(bytes, i);
            assert_int_equal(tuck_picker_add(picker, (double)i, 1, payload, NULL), 0);
        }
    }
    assert_int_equal(tuck_picker_count(picker, &bytes), 300);
    tuck_picker_free(picker);
}

// --- Picker, against sorting ---------------------------------------------------------------------

struct item {
    double score;
    uint64_t bytes;
    size_t number;
};

static int by_falling_score(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

// The shortest beginning of the sorted list that reaches both targets, and no more than `max`.
static size_t expect_kept(const struct item *sorted, size_t count, uint64_t bytes, uint64_t items,
                          size_t max) {
    uint64_t sum = 0;
    size_t kept = 0;
    while (kept < count && kept < max && (sum < bytes || kept < items))
        sum += sorted[kept++].bytes;
    return kept;
}

static void what_is_kept_is_what_sorting_everything_gives(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 400; round++) {
        struct item items[500];
        size_t count = unit_random_below(&random, 500),
               max = 1 + unit_random_below(&random, unit_random_below(&random, 2) ? 500 : 50);
        size_t kinds = 1 + unit_random_below(&random, 1000); // so that scores are equal as well
        uint64_t bytes = unit_random_below(&random, 100000),
                 number = unit_random_below(&random, 60);
        struct tuck_picker *picker = NULL;
        struct tuck_picker_options options = {bytes, number, sizeof(size_t), max};
        assert_int_equal(tuck_picker_new(&options, &picker, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            items[i] = (struct item){(double)unit_random_below(&random, kinds),
                                     unit_random_below(&random, 1000), i};
            assert_true(tuck_picker_add(picker, items[i].score, items[i].bytes, &i, NULL) >= 0);
        }
        qsort(items, count, sizeof(*items), by_falling_score);
        if (unit_random_below(&random,
                              2)) { // a smaller target gives what it would have given before
            int64_t less = (int64_t)unit_random_below(&random, 60000);
            bytes -= bytes < (uint64_t)less ? bytes : (uint64_t)less;
            bool is_needed = tuck_picker_adjust(picker, -less, 0);
            assert_int_equal(is_needed, bytes > 0 || number > 0);
        }
        size_t kept = expect_kept(items, count, bytes, number, max), payload;
        uint64_t taken;
        assert_int_equal(tuck_picker_count(picker, &taken), kept);
        for (size_t i = 0; i < kept; i++) {
            assert_true(tuck_picker_take(picker, &taken, &payload));
            assert_int_equal(payload, items[i].number);
            assert_int_equal(taken, items[i].bytes);
        }
        assert_false(tuck_picker_take(picker, &taken, &payload));
        tuck_picker_free(picker);
    }
}

static double cpu_s(void) {
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// A million objects of 10 KiB on average, a tenth of which is to go. `order`: 0 random, 1 each
// better than all before it, 2 each worse.
static void time_a_million(const char *what, int order) {
    enum { COUNT = 1000000 };
    struct unit_random random = unit_random_of(what);
    struct tuck_picker *picker = NULL;
    struct tuck_picker_options options = {
        .bytes = UINT64_C(1024) * COUNT, .payload_bytes = 64, .max_candidates = COUNT};
    uint8_t payload[64] = {0};
    uint64_t bytes;
    assert_int_equal(tuck_picker_new(&options, &picker, NULL), 0);
    double begin = cpu_s();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t number = unit_random_next(&random);
        double score = order == 0 ? (double)(number >> 32) : order == 1 ? i : COUNT - i;
        assert_true(tuck_picker_add(picker, score, number % 20480, payload, NULL) >= 0);
    }
    double added = cpu_s();
    size_t kept = tuck_picker_count(picker, &bytes);
    assert_true(bytes >= options.bytes && kept > COUNT / 20 && kept < COUNT / 5);
    for (size_t i = 0; i < kept; i++)
        assert_true(tuck_picker_take(picker, &bytes, payload));
    print_message("# a million candidates, %s: %.3f s, %zu kept, taken out in %.3f s\n", what,
                  added - begin, kept, cpu_s() - added);
    tuck_picker_free(picker);
}

static void a_million_candidates_are_no_burden(void **state) {
    (void)state;
    time_a_million("in any order", 0);
    time_a_million("each better than the last", 1);
    time_a_million("each worse than the last", 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_file_system_of_a_descriptor_is_read),
    cmocka_unit_test(what_is_kept_back_for_root_does_not_count),
    cmocka_unit_test(a_drive_that_does_not_answer_is_a_failure_with_its_reason),
    cmocka_unit_test(the_limit_is_the_smaller_of_what_is_given),
    cmocka_unit_test(by_default_it_is_20_gib_or_a_tenth),
    cmocka_unit_test(what_to_clear_is_what_the_seed_clears),
    cmocka_unit_test(clearing_begins_at_the_high_watermark_and_ends_at_the_low_one),
    cmocka_unit_test(a_cache_may_grow_up_to_its_low_watermark),
    cmocka_unit_test(no_numbers_overflow_or_come_out_wrong),
    cmocka_unit_test(the_floor_says_what_must_become_free),
    cmocka_unit_test(scores_are_those_of_the_seed),
    cmocka_unit_test(no_score_is_negative_or_no_number),
    cmocka_unit_test(older_goes_before_recent_bigger_before_smaller_and_fewer_hits_before_more),
    cmocka_unit_test(no_more_is_kept_than_reaches_the_target),
    cmocka_unit_test(a_smaller_target_drops_and_none_empties),
    cmocka_unit_test(order_stays_sorted_when_the_target_moves),
    cmocka_unit_test(a_target_of_items_is_reached_by_number),
    cmocka_unit_test(of_equal_scores_the_earlier_stays),
    cmocka_unit_test(taking_leaves_the_target_where_it_is),
    cmocka_unit_test(no_more_candidates_are_kept_than_allowed),
    cmocka_unit_test(sizes_that_no_candidate_can_have_are_refused),
    cmocka_unit_test(odd_scores_and_sizes_do_no_harm),
    cmocka_unit_test(without_memory_the_picker_stays_as_it_was),
    cmocka_unit_test(what_is_kept_is_what_sorting_everything_gives),
    cmocka_unit_test(a_million_candidates_are_no_burden),
};

UNIT_MAIN(tests)
