// SPDX-License-Identifier: MIT
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/base/thread.h"

#define YEAR_9999_S UINT64_C(253402300799) // the last second whose year has four digits

static void assert_format(uint64_t wall_ns, const char *expected) {
    char text[31];
    memset(text, '?', sizeof(text));
    assert_int_equal(tuck_clock_format(wall_ns, text), strlen(expected));
    assert_string_equal(text, expected);
}

// The same by the C library.
static void format_by_libc(uint64_t wall_ns, char ret_text[static 64]) {
    time_t seconds = (time_t)(wall_ns / TUCK_NS_PER_S);
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    size_t len = strftime(ret_text, 64, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ret_text + len, 64 - len, ".%09uZ", (unsigned)(wall_ns % TUCK_NS_PER_S));
}

static void a_time_is_written_as_rfc_3339_in_utc_with_nine_digits(void **state) {
    (void)state;
    assert_format(0, "1970-01-01T00:00:00.000000000Z");
    assert_format(1, "1970-01-01T00:00:00.000000001Z");
    assert_format(UINT64_C(1767323045000000006), "2026-01-02T03:04:05.000000006Z");
    assert_format(UINT64_C(1767323045999999999), "2026-01-02T03:04:05.999999999Z");
}

static void leap_days_are_where_the_calendar_has_them(void **state) {
    (void)state;
    assert_format(UINT64_C(951782399) * TUCK_NS_PER_S, "2000-02-28T23:59:59.000000000Z");
    assert_format(UINT64_C(951782400) * TUCK_NS_PER_S, "2000-02-29T00:00:00.000000000Z");
    assert_format(UINT64_C(951868800) * TUCK_NS_PER_S, "2000-03-01T00:00:00.000000000Z");
    assert_format(UINT64_C(1709164800) * TUCK_NS_PER_S, "2024-02-29T00:00:00.000000000Z");
    assert_format(UINT64_C(4107542399) * TUCK_NS_PER_S, "2100-02-28T23:59:59.000000000Z");
    assert_format(UINT64_C(4107542400) * TUCK_NS_PER_S, "2100-03-01T00:00:00.000000000Z");
}

static void the_last_time_that_fits_is_written_in_full(void **state) {
    (void)state;
    assert_format(UINT64_MAX, "2554-07-21T23:34:33.709551615Z");
}

static void every_day_up_to_the_last_is_the_one_of_the_c_library(void **state) {
    (void)state;
    char text[31], expected[64];
    const uint64_t day_ns = 86400 * TUCK_NS_PER_S;
    for (uint64_t day = 0; day < UINT64_MAX / day_ns; day++) {
        uint64_t edges[] = {day * day_ns, (day + 1) * day_ns - 1};
        for (size_t i = 0; i < TUCK_ARRAY_LEN(edges); i++) {
            (void)tuck_clock_format(edges[i], text);
            format_by_libc(edges[i], expected);
            assert_string_equal(text, expected);
        }
    }
}

static void random_times_are_those_of_the_c_library(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int i = 0; i < 100000; i++) {
        char text[31], expected[64];
        uint64_t wall_ns = unit_random_next(&random);
        (void)tuck_clock_format(wall_ns, text);
        format_by_libc(wall_ns, expected);
        assert_string_equal(text, expected);
    }
}

static void no_time_has_a_year_that_go_cannot_read(void **state) {
    (void)state;
    // Go's decoder ends the build on five digits. 64 bits of nanoseconds do not reach that far.
    assert_true(UINT64_MAX / TUCK_NS_PER_S < YEAR_9999_S);
    char text[31];
    assert_int_equal(tuck_clock_format(UINT64_MAX, text), 30);
}

static uint64_t system_ns(clockid_t id) {
    struct timespec now;
    assert_int_equal(clock_gettime(id, &now), 0);
    return (uint64_t)now.tv_sec * TUCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void the_wall_clock_is_the_one_of_the_system(void **state) {
    (void)state;
    uint64_t before = system_ns(CLOCK_REALTIME);
    uint64_t now = tuck_clock_wall_ns();
    assert_in_range(now, before, system_ns(CLOCK_REALTIME));
}

static void the_monotonic_clock_never_goes_back(void **state) {
    (void)state;
    uint64_t last = system_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = tuck_clock_mono_ns();
        assert_true(now >= last);
        last = now;
    }
    assert_true(tuck_clock_kernel_ns(last) <= system_ns(CLOCK_MONOTONIC));
}

static void a_shift_moves_the_wall_clock_both_ways_and_no_other(void **state) {
    (void)state;
    const int64_t hour_ns = 3600 * (int64_t)TUCK_NS_PER_S;
    uint64_t mono = tuck_clock_mono_ns();
    uint64_t wall = tuck_clock_wall_ns();
    tuck_clock_shift(hour_ns);
    assert_in_range(tuck_clock_wall_ns() - wall, hour_ns, hour_ns + 60 * TUCK_NS_PER_S);
    assert_true(tuck_clock_mono_ns() - mono < 60 * TUCK_NS_PER_S);
    tuck_clock_shift(-2 * hour_ns);
    assert_in_range(wall - tuck_clock_wall_ns(), hour_ns - 60 * TUCK_NS_PER_S, hour_ns);
    tuck_clock_shift(hour_ns);
    assert_in_range(tuck_clock_wall_ns() - wall, 0, 60 * TUCK_NS_PER_S);
}

static void a_shift_moves_the_monotonic_clock_forward_and_no_other(void **state) {
    (void)state;
    const uint64_t hour_ns = 3600 * TUCK_NS_PER_S;
    uint64_t mono = tuck_clock_mono_ns();
    uint64_t wall = tuck_clock_wall_ns();
    tuck_clock_shift_mono(hour_ns);
    assert_in_range(tuck_clock_mono_ns() - mono, hour_ns, hour_ns + 60 * TUCK_NS_PER_S);
    assert_in_range(tuck_clock_wall_ns() - wall, 0, 60 * TUCK_NS_PER_S);
    uint64_t before = system_ns(CLOCK_MONOTONIC);
    uint64_t kernel = tuck_clock_kernel_ns(tuck_clock_mono_ns());
    assert_in_range(kernel, before, system_ns(CLOCK_MONOTONIC));
    assert_int_equal(tuck_clock_kernel_ns(1), 0);
}

static void a_deadline_on_the_shifted_clock_is_waited_for_no_longer_than_it_says(void **state) {
    (void)state;
    struct tuck_mutex mutex;
    pthread_cond_t never;
    tuck_mutex_init(&mutex, TUCK_RANK_OUTPUT);
    tuck_cond_init(&never);
    tuck_clock_shift_mono(3600 * TUCK_NS_PER_S);
    uint64_t deadline_ns = tuck_clock_mono_ns() + TUCK_NS_PER_MS;
    tuck_lock(&mutex);
    while (tuck_cond_wait_until(&never, &mutex, deadline_ns))
        ;
    tuck_unlock(&mutex);
    assert_in_range(tuck_clock_mono_ns() - deadline_ns, 0, 60 * TUCK_NS_PER_S);
    (void)pthread_cond_destroy(&never);
    tuck_mutex_fini(&mutex);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_time_is_written_as_rfc_3339_in_utc_with_nine_digits),
    cmocka_unit_test(leap_days_are_where_the_calendar_has_them),
    cmocka_unit_test(the_last_time_that_fits_is_written_in_full),
    cmocka_unit_test(every_day_up_to_the_last_is_the_one_of_the_c_library),
    cmocka_unit_test(random_times_are_those_of_the_c_library),
    cmocka_unit_test(no_time_has_a_year_that_go_cannot_read),
    cmocka_unit_test(the_wall_clock_is_the_one_of_the_system),
    cmocka_unit_test(the_monotonic_clock_never_goes_back),
    cmocka_unit_test(a_shift_moves_the_wall_clock_both_ways_and_no_other),
    cmocka_unit_test(a_shift_moves_the_monotonic_clock_forward_and_no_other),
    cmocka_unit_test(a_deadline_on_the_shifted_clock_is_waited_for_no_longer_than_it_says),
};

UNIT_MAIN(tests)
