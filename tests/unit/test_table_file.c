// SPDX-License-Identifier: MIT
/*
 * Tables on their way to another process: rows and files.
 */
#include "tests/unit/table_world.h"

#include "lib/table/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

// --- From one process to another -----------------------------------------------------------------

static bool hand_over(void *arg, const struct tuck_table_row *row) {
    int status = tuck_table_restore(arg, row, NULL);
    assert_true(status == 0 || status == TUCK_TABLE_ABSENT);
    return true;
}

// The table as it is after a restart, `later_ns` later by the wall clock; the monotonic one begins anew.
static struct tuck_table *restart(struct tuck_table *table, int64_t later_ns) {
    struct tuck_table *next = make(16);
    struct list before = list_of(table, TUCK_TABLE_LEAST_RECENT_FIRST);
    tuck_clock_shift_mono(123456789 * HOUR_NS);
    tuck_clock_shift(later_ns);
    for (size_t i = 0; i < before.count; i++)
        (void)hand_over(next, &(struct tuck_table_row){
                                  .key = &before.keys[i],
                                  .value = &before.values[i],
                                  .span_ns = before.spans_ns[i],
                                  .deadline_ns = before.ends_ns[i],
                                  .uses = before.uses[i],
                                  .flags = before.flags[i],
                              });
    tuck_table_free(table);
    witness = (struct witness){.table = next};
    return next;
}

static struct tuck_table *make_four(void) {
    struct tuck_table *table = make(16);
    add(table, 1, 11, 0, 0);
    add(table, 2, 12, 4 * HOUR_NS, 0);
    add(table, 3, 13, 4 * HOUR_NS, TUCK_TABLE_SLIDING);
    add(table, 4, 14, 2 * HOUR_NS, 0);
    pass(HOUR_NS);
    assert_int_equal(get(table, 3), 13);
    return table;
}

// TT14
static void what_is_restored_lives_on_by_the_wall_clock(void **state) {
    (void)state;
    struct tuck_table *table = restart(make_four(), HOUR_NS);
    assert_int_equal(tuck_table_count(table), 3); // 4 ended meanwhile
    assert_int_equal(tuck_table_next_deadline_ns(table), tuck_clock_mono_ns() + 2 * HOUR_NS);
    struct list all = list_of(table, TUCK_TABLE_LEAST_RECENT_FIRST);
    assert_int_equal(all.keys[0], 1); // in the order of use
    assert_int_equal(all.keys[1], 2);
    assert_int_equal(all.keys[2], 3);
    assert_int_equal(all.uses[2], 1);
    assert_int_equal(all.flags[2], TUCK_TABLE_SLIDING);
    assert_int_equal(all.ends_ns[2], tuck_clock_wall_ns() + 3 * HOUR_NS);
    pass(2 * HOUR_NS);
    assert_int_equal(get(table, 1), 11);
    assert_int_equal(get(table, 2), 0);
    assert_int_equal(get(table, 3), 13);
    pass(4 * HOUR_NS - 1); // sliding, by its whole span
    assert_int_equal(get(table, 3), 13);
    tuck_table_free(table);
}

// TT14
static void a_wall_clock_that_is_moved_forward_only_ends_lives(void **state) {
    (void)state;
    struct tuck_table *table = restart(make_four(), 1000000 * (int64_t)HOUR_NS);
    assert_int_equal(tuck_table_count(table), 1);
    assert_int_equal(get(table, 1), 11);
    tuck_table_free(table);
}

// TT14
static void a_wall_clock_that_is_moved_back_makes_nobody_immortal(void **state) {
    (void)state;
    struct tuck_table *table = restart(make_four(), -400000 * (int64_t)HOUR_NS);
    assert_int_equal(tuck_table_count(table), 4);
    assert_int_equal(tuck_table_next_deadline_ns(table), tuck_clock_mono_ns() + 2 * HOUR_NS);
    pass(HOUR_NS);
    table = restart(table, 0); // and from then on by the clock as it is
    assert_int_equal(tuck_table_next_deadline_ns(table), tuck_clock_mono_ns() + HOUR_NS);
    pass(4 * HOUR_NS);
    assert_int_equal(get(table, 2), 0);
    assert_int_equal(get(table, 3), 0);
    assert_int_equal(get(table, 4), 0);
    tuck_table_free(table);
}

static void a_row_restores_nothing_that_is_present_or_over(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    uint64_t one = 1, old = 99;
    struct tuck_table_row row = {.key = &one,
                                 .value = &old,
                                 .span_ns = HOUR_NS,
                                 .deadline_ns = tuck_clock_wall_ns() + HOUR_NS};
    add(table, 1, 11, 0, 0);
    assert_int_equal(tuck_table_restore(table, &row, NULL), TUCK_TABLE_PRESENT);
    assert_int_equal(get(table, 1), 11);
    tuck_table_clear(table);
    row.deadline_ns = tuck_clock_wall_ns();
    assert_int_equal(tuck_table_restore(table, &row, NULL), TUCK_TABLE_ABSENT);
    row.deadline_ns++;
    assert_int_equal(tuck_table_restore(table, &row, NULL), 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), tuck_clock_mono_ns() + 1);
    tuck_table_free(table);
}

static int open_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

// TT14
static void another_process_finds_in_the_file_what_this_one_wrote(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "table");
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct tuck_table *table = make_four();
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int status = fd < 0 ? 1 : tuck_table_write(table, fd, NULL);
        (void)close(fd);
        tuck_table_free(table);
        _exit(status ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct tuck_table *table = make(10);
    int fd = open_file(path);
    tuck_clock_shift(2 * (int64_t)HOUR_NS);
    assert_int_equal(tuck_table_read(table, fd, NULL), 0);
    (void)close(fd);
    struct list all = list_of(table, TUCK_TABLE_LEAST_RECENT_FIRST);
    assert_int_equal(all.count, 3);
    assert_int_equal(all.keys[2], 3);
    assert_int_equal(all.values[2], 13);
    assert_int_equal(all.uses[2], 1);
    assert_int_equal(all.flags[1], 0);
    assert_int_equal(all.flags[2], TUCK_TABLE_SLIDING);
    assert_int_equal(tuck_table_next_deadline_ns(table), tuck_clock_mono_ns() + 2 * HOUR_NS);
    tuck_table_free(table);
}

// What comes of reading these bytes as a file.
static int read_bytes(struct tuck_table *table, int fd, const void *data, size_t len) {
    struct tuck_error err = {0};
    assert_int_equal(pwrite(fd, data, len, 0), len);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    int status = tuck_table_read(table, fd, &err);
    assert_int_equal(err.code, status);
    return status;
}

static void a_file_with_any_damage_restores_nothing(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "table");
    struct tuck_table *table = make_four();
    int fd = open_file(path);
    assert_int_equal(tuck_table_write(table, fd, NULL), 0);
    tuck_table_free(table);
    size_t len;
    uint8_t *bytes = unit_read_file(path, &len); // and a NUL behind it
    table = make(4);
    for (size_t at = 0; at < len; at++) {
        uint8_t right = bytes[at];
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[at] = right ^ (uint8_t)(1U << bit);
            assert_int_equal(read_bytes(table, fd, bytes, len), TUCK_ECORRUPT);
        }
        bytes[at] = right;
        assert_int_equal(read_bytes(table, fd, bytes, at), TUCK_ECORRUPT);
    }
    assert_int_equal(read_bytes(table, fd, bytes, len + 1), TUCK_ECORRUPT);
    assert_int_equal(tuck_table_count(table), 0);
    assert_int_equal(witness.count, 0);
    assert_int_equal(read_bytes(table, fd, bytes, len), 0); // and this is how it should be
    assert_int_equal(tuck_table_count(table), 4);
    tuck_table_free(table);

    table = make(3);
    assert_int_equal(read_bytes(table, fd, bytes, len), TUCK_ECORRUPT);
    tuck_table_free(table);
    struct tuck_table_options shapes[] = {{.key_bytes = 16, .value_bytes = 8, .limit = 9},
                                          {.key_bytes = 8, .value_bytes = 0, .limit = 9},
                                          {.key_bytes = 12, .value_bytes = 4, .limit = 9}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(shapes); i++) {
        assert_int_equal(tuck_table_new(&shapes[i], &table, NULL), 0);
        assert_int_equal(read_bytes(table, fd, bytes, len), TUCK_ECORRUPT);
        assert_int_equal(tuck_table_count(table), 0);
        tuck_table_free(table);
    }
    free(bytes);
    (void)close(fd);
}

static void a_file_that_cannot_be_written_or_read_is_a_failure(void **state) {
    (void)state;
    struct tuck_table *table = make_four();
    struct tuck_error err = {0};
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC), dir = unit_open_directory("/");
    assert_true(full >= 0);
    assert_int_equal(tuck_table_write(table, full, &err), TUCK_ENOSPACE);
    assert_int_equal(err.os, ENOSPC);
    assert_true(tuck_table_read(table, dir, &err) < 0);
    assert_int_equal(err.os, EISDIR);
    assert_int_equal(tuck_table_count(table), 4);
    (void)close(full);
    (void)close(dir);
    tuck_table_free(table);
}

static void an_empty_table_has_a_file_too(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    int fd = open_file(unit_path(unit_directory(), "table"));
    assert_int_equal(tuck_table_write(table, fd, NULL), 0);
    assert_int_equal(tuck_table_read(table, fd, NULL), 0);
    assert_int_equal(tuck_table_count(table), 0);
    assert_int_equal(pwrite(fd, "?", 1, lseek(fd, 0, SEEK_END)), 1);
    assert_int_equal(tuck_table_read(table, fd, NULL), TUCK_ECORRUPT);
    (void)close(fd);
    tuck_table_free(table);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(what_is_restored_lives_on_by_the_wall_clock, world_begin),
    cmocka_unit_test_setup(a_wall_clock_that_is_moved_forward_only_ends_lives, world_begin),
    cmocka_unit_test_setup(a_wall_clock_that_is_moved_back_makes_nobody_immortal, world_begin),
    cmocka_unit_test_setup(a_row_restores_nothing_that_is_present_or_over, world_begin),
    cmocka_unit_test_setup(another_process_finds_in_the_file_what_this_one_wrote, world_begin),
    cmocka_unit_test_setup(a_file_with_any_damage_restores_nothing, world_begin),
    cmocka_unit_test_setup(a_file_that_cannot_be_written_or_read_is_a_failure, world_begin),
    cmocka_unit_test_setup(an_empty_table_has_a_file_too, world_begin),
};

UNIT_MAIN(tests)
