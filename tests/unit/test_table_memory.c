// SPDX-License-Identifier: MIT
/*
 * A table whose allocations fail, each in turn: what fails leaves all as it was.
 */
#include "tests/unit/table_world.h"

#include "lib/table/file.h"

#include <fcntl.h>

// --- Memory --------------------------------------------------------------------------------------

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

static unsigned allocations;   // since they are counted
static unsigned first_to_fail; // 0: none
static bool all_fail_then;

static bool fails_now(void) {
    allocations++;
    return first_to_fail != 0 &&
           (all_fail_then ? allocations >= first_to_fail : allocations == first_to_fail);
}

void *__wrap_malloc(size_t size) {
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size) {
    return fails_now() ? NULL : __real_reallocarray(old, count, size);
}

// --- Use ---------------------------------------------------------------------------------------

// What is to be in the table: key and value are the same number.
struct model {
    bool has[512];
    size_t count;
};

static void expect(struct model *model, uint64_t key, int status) {
    assert_true(status == 0 || status == TUCK_ENOMEM);
    if (status != 0)
        return;
    model->count += !model->has[key];
    model->has[key] = true;
}

static bool count(void *arg, const struct tuck_table_row *row) {
    (void)row;
    ++*(size_t *)arg;
    return true;
}

static void load_one(struct tuck_table *table, struct model *model, uint64_t key) {
    struct source source = {.value = key};
    struct tuck_table_loader loader = loader_of(&source, HOUR_NS, HOUR_NS);
    uint64_t value = 0;
    int status = tuck_table_load(table, &key, &loader, &value, NULL);
    assert_true(status == TUCK_ENOMEM || value == key);
    expect(model, key, status);
    if (status == 0 && tuck_table_peek(table, &key, NULL) != 0) { // no memory to keep it
        assert_true(witness.count > 0);
        assert_seen(witness.count - 1, TUCK_TABLE_EVICTED, key, key);
        model->has[key] = false;
        model->count--;
    }
}

static void load_none(struct tuck_table *table, uint64_t key) {
    struct source source = {.status = TUCK_EIO};
    struct tuck_table_loader loader = loader_of(&source, HOUR_NS, HOUR_NS);
    for (int i = 0; i < 2; i++) {
        struct tuck_error err = {0};
        int status = tuck_table_load(table, &key, &loader, NULL, &err);
        assert_true(status == TUCK_ENOMEM || status == TUCK_EIO);
        assert_int_equal(err.code, status);
    }
    assert_int_equal(tuck_table_delete(table, &key, NULL), TUCK_TABLE_ABSENT);
}

// By way of a file; what that says it has done it has.
static void copy_table(struct tuck_table *table, int fd) {
    struct tuck_table_options options = options_of(1000);
    struct tuck_table *copy = NULL;
    assert_int_equal(ftruncate(fd, 0), 0);
    int write_status = tuck_table_write(table, fd, NULL);
    assert_true(write_status == 0 || write_status == TUCK_ENOMEM);
    if (tuck_table_new(&options, &copy, NULL) != 0)
        return;
    int status = tuck_table_read(copy, fd, NULL);
    assert_true(status == TUCK_ENOMEM || status == (write_status == 0 ? 0 : TUCK_ECORRUPT));
    if (status == 0)
        assert_int_equal(tuck_table_count(copy), tuck_table_count(table));
    tuck_table_free(copy);
}

// Uses everything that allocates; what fails must leave all as it was.
static void use_all(struct tuck_table *table, struct model *model, int fd) {
    struct tuck_error err = {0};
    size_t rows = 0;
    for (uint64_t key = 200; key < 280; key++)
        load_one(table, model, key);
    for (uint64_t key = 0; key < 150; key++)
        expect(model, key, tuck_table_add(table, &key, &key, key ? key * HOUR_NS : 0, 0, &err));
    for (uint64_t key = 10; key < 20; key++)
        expect(model, key, tuck_table_add(table, &key, &key, HOUR_NS, 0, &err));
    for (uint64_t key = 300; key < 305; key++)
        load_none(table, key);
    int status = tuck_table_rows(table, TUCK_TABLE_MOST_USED_FIRST, count, &rows, &err);
    assert_true(status == TUCK_ENOMEM ? rows == 0 : rows == model->count);
    for (uint64_t key = 400; key < 410; key++)
        expect(
            model, key,
            tuck_table_restore(table, &(struct tuck_table_row){.key = &key, .value = &key}, &err));
    copy_table(table, fd);
}

static void check_all(struct tuck_table *table, const struct model *model) {
    for (uint64_t key = 0; key < TUCK_ARRAY_LEN(model->has); key++) {
        uint64_t value = 0;
        assert_int_equal(tuck_table_peek(table, &key, &value),
                         model->has[key] ? 0 : TUCK_TABLE_ABSENT);
        assert_int_equal(value, model->has[key] ? key : 0);
    }
    assert_int_equal(tuck_table_count(table), model->count);
    assert_int_equal(count_rows(table), model->count);
    pass(1000 * HOUR_NS);
    while (tuck_table_sweep(table, 7) == 7)
        ;
    assert_int_equal(tuck_table_count(table), count_rows(table)); // what lives for ever
    assert_int_equal(tuck_table_next_deadline_ns(table), NEVER);
}

static void no_allocation_that_fails_does_harm(void **state) {
    (void)state;
    struct tuck_table_options options = options_of(1000);
    int fd = open(unit_path(unit_directory(), "table"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    bool is_through = false;
    for (unsigned n = 1; !is_through; n++) {
        for (int way = 0; way < 2; way++) {
            struct tuck_table *table = NULL;
            struct model model = {0};
            witness = (struct witness){0};
            allocations = 0;
            all_fail_then = way == 1;
            first_to_fail = n;
            int status = tuck_table_new(&options, &table, NULL);
            if (status == 0)
                use_all(table, &model, fd);
            first_to_fail = 0;
            assert_int_equal(status, table ? 0 : TUCK_ENOMEM);
            is_through = allocations < n;
            if (!table)
                continue;
            check_all(table, &model);
            for (uint64_t key = 1; key < 500; key++)
                add(table, key, key, 0, 0); // as if nothing had been
            for (uint64_t key = 1; key < 500; key++)
                assert_int_equal(get(table, key), key);
            tuck_table_free(table);
        }
    }
    (void)close(fd);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(no_allocation_that_fails_does_harm, world_begin),
};

UNIT_MAIN(tests)
