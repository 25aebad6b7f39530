// SPDX-License-Identifier: MIT
#include "lib/base/clock.h"

static uint64_t wall_shift_ns, mono_shift_ns; /* atomic, relaxed: pair with nothing */

static uint64_t read_clock(clockid_t id) {
    struct timespec now;
    tuck_verify(clock_gettime(id, &now) == 0);
    return now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec * TUCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t tuck_clock_wall_ns(void) {
    return read_clock(CLOCK_REALTIME) + __atomic_load_n(&wall_shift_ns, __ATOMIC_RELAXED);
}

uint64_t tuck_clock_mono_ns(void) {
    return read_clock(CLOCK_MONOTONIC) + __atomic_load_n(&mono_shift_ns, __ATOMIC_RELAXED);
}

void tuck_clock_shift(int64_t by_ns) {
    (void)__atomic_fetch_add(&wall_shift_ns, (uint64_t)by_ns, __ATOMIC_RELAXED);
}

void tuck_clock_shift_mono(uint64_t by_ns) {
    (void)__atomic_fetch_add(&mono_shift_ns, by_ns, __ATOMIC_RELAXED);
}

uint64_t tuck_clock_kernel_ns(uint64_t mono_ns) {
    uint64_t shift_ns = __atomic_load_n(&mono_shift_ns, __ATOMIC_RELAXED);
    return mono_ns > shift_ns ? mono_ns - shift_ns : 0;
}

// Days since 1970 to a civil date: Howard Hinnant's algorithm, eras of 400 years that begin on 1
// March.
static void civil_of(uint64_t days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day) {
    uint64_t shifted = days + 719468;
    uint64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *ret_year = (unsigned)(year_of_era + era * 400) + (*ret_month <= 2);
}

static char *put_digits(char *at, unsigned value, int width) {
    for (int i = width - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + width;
}

size_t tuck_clock_format(uint64_t wall_ns, char ret_text[static 31]) {
    uint64_t seconds = wall_ns / TUCK_NS_PER_S;
    unsigned year, month, day, in_day = (unsigned)(seconds % 86400);
    civil_of(seconds / 86400, &year, &month, &day);
    char *at = put_digits(ret_text, year > 9999 ? 9999 : year, 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    at = put_digits(at, day, 2);
    *at++ = 'T';
    at = put_digits(at, in_day / 3600, 2);
    *at++ = ':';
    at = put_digits(at, in_day / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, in_day % 60, 2);
    *at++ = '.';
    at = put_digits(at, (unsigned)(wall_ns % TUCK_NS_PER_S), 9);
    *at++ = 'Z';
    *at = '\0';
    return (size_t)(at - ret_text);
}
