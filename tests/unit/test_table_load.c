// SPDX-License-Identifier: MIT
/*
 * Loading into a table: one load for each key at a time, and what becomes of its result.
 */
#include "tests/unit/table_world.h"

#include <pthread.h>

#define CALLERS 8

static void what_is_absent_is_loaded_and_what_is_present_is_not(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    struct source source = {.value = 11};
    struct tuck_table_loader loader = loader_of(&source, HOUR_NS, HOUR_NS);
    uint64_t one = 1, value = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(tuck_table_load(table, &one, &loader, &value, NULL), 0);
    assert_int_equal(value, 11);
    assert_int_equal(source.loads, 1);
    assert_int_equal(get(table, 1), 11);
    pass(HOUR_NS); // absolute, as the loader says
    source.value = 21;
    loader.flags = TUCK_TABLE_SLIDING;
    assert_int_equal(tuck_table_load(table, &one, &loader, NULL, NULL), 0);
    assert_seen(0, TUCK_TABLE_EXPIRED, 1, 11);
    pass(HOUR_NS / 2);
    assert_int_equal(tuck_table_load(table, &one, &loader, NULL, NULL), 0);
    pass(HOUR_NS / 2); // sliding, as it says now
    assert_int_equal(get(table, 1), 21);
    assert_int_equal(source.loads, 2);
    tuck_table_free(table);
}

struct caller {
    struct tuck_table *table;
    const struct tuck_table_loader *loader;
    uint64_t value;
    int status;
    struct tuck_error err;
};

static void *call(void *arg) {
    struct caller *caller = arg;
    uint64_t one = 1;
    caller->status =
        tuck_table_load(caller->table, &one, caller->loader, &caller->value, &caller->err);
    return NULL;
}

// Many load the same key; the load ends when all others wait for it.
static void call_at_once(struct tuck_table *table, struct source *source,
                         const struct tuck_table_loader *loader, struct caller callers[CALLERS]) {
    pthread_t threads[CALLERS];
    source->waiting = CALLERS - 1;
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.table = table, .loader = loader};
        assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    }
    for (size_t i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(source->loads, 1);
    source->waiting = source->loads = 0;
}

// TT9
static void many_callers_share_one_load_and_its_value(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    struct source source = {.value = 11};
    struct tuck_table_loader loader = loader_of(&source, HOUR_NS, 0);
    struct caller callers[CALLERS];
    call_at_once(table, &source, &loader, callers);
    for (size_t i = 0; i < CALLERS; i++) {
        assert_int_equal(callers[i].status, 0);
        assert_int_equal(callers[i].value, 11);
    }
    tuck_table_free(table);
}

// TT9
static void many_callers_share_a_failure_that_is_remembered_for_its_own_span(void **state) {
    (void)state;
    for (uint64_t negative_span_ns = 0; negative_span_ns <= HOUR_NS; negative_span_ns += HOUR_NS) {
        struct tuck_table *table = make(10);
        struct source source = {.status = TUCK_ETIMEOUT};
        struct tuck_table_loader loader = loader_of(&source, 2 * HOUR_NS, negative_span_ns);
        struct caller callers[CALLERS];
        call_at_once(table, &source, &loader, callers);
        for (size_t i = 0; i < CALLERS; i++) {
            assert_int_equal(callers[i].status, TUCK_ETIMEOUT);
            assert_int_equal(callers[i].err.code, TUCK_ETIMEOUT);
            assert_string_equal(callers[i].err.text, "the source of 1 is dry");
        }
        if (negative_span_ns > 0) {
            pass(negative_span_ns - 1);
            (void)call(&callers[0]);
            assert_int_equal(source.loads, 0); // remembered, with its text
            assert_int_equal(callers[0].status, TUCK_ETIMEOUT);
            assert_string_equal(callers[0].err.text, "the source of 1 is dry");
            pass(1);
        }
        (void)call(&callers[0]);
        assert_int_equal(source.loads, 1);
        assert_int_equal(witness.count, 0); // nobody's value ever left
        tuck_table_free(table);
    }
}

// TT9
static void a_remembered_lack_is_no_item(void **state) {
    (void)state;
    struct tuck_table *table = make(2);
    struct source source = {.status = TUCK_TABLE_ABSENT};
    struct tuck_table_loader loader = loader_of(&source, 0, HOUR_NS);
    uint64_t one = 1, value = 99;
    struct tuck_error err = {0};
    assert_int_equal(tuck_table_load(table, &one, &loader, &value, &err), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_load(table, &one, &loader, &value, &err), TUCK_TABLE_ABSENT);
    assert_int_equal(source.loads, 1);
    assert_int_equal(err.code, 0);
    assert_int_equal(value, 99);
    assert_int_equal(tuck_table_get(table, &one, &value), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_peek(table, &one, &value), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_extend(table, &one, 0), TUCK_TABLE_ABSENT);
    assert_int_equal(count_rows(table), 0);
    assert_int_equal(tuck_table_count(table), 1);
    assert_int_equal(tuck_table_next_deadline_ns(table), tuck_clock_mono_ns() + HOUR_NS);

    // A delete forgets it, and an add takes its place.
    assert_int_equal(tuck_table_delete(table, &one, &value), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_load(table, &one, &loader, &value, NULL), TUCK_TABLE_ABSENT);
    assert_int_equal(source.loads, 2);
    add(table, 1, 11, 0, TUCK_TABLE_IF_ABSENT);
    assert_int_equal(get(table, 1), 11);

    // It is swept, evicted and cleared like an item, without a word.
    for (uint64_t key = 2; key <= 5; key++)
        assert_int_equal(tuck_table_load(table, &key, &loader, NULL, NULL), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_count(table), 2);
    pass(HOUR_NS);
    assert_int_equal(tuck_table_sweep(table, 10), 2);
    assert_int_equal(tuck_table_load(table, &one, &loader, NULL, NULL), TUCK_TABLE_ABSENT);
    tuck_table_clear(table);
    assert_int_equal(tuck_table_count(table), 0);
    assert_int_equal(witness.count, 1);
    assert_seen(0, TUCK_TABLE_EVICTED, 1, 11);
    tuck_table_free(table);
}

static void add_meanwhile(struct tuck_table *table, uint64_t key) {
    add(table, key, 77, 0, 0);
}

static void delete_meanwhile(struct tuck_table *table, uint64_t key) {
    (void)tuck_table_delete(table, &key, NULL);
}

static void clear_meanwhile(struct tuck_table *table, uint64_t key) {
    (void)key;
    tuck_table_clear(table);
}

static void delete_and_load_meanwhile(struct tuck_table *table, uint64_t key) {
    struct source source = {.value = 55};
    struct tuck_table_loader loader = loader_of(&source, 0, 0);
    uint64_t value = 0;
    (void)tuck_table_delete(table, &key, NULL);
    assert_int_equal(tuck_table_load(table, &key, &loader, &value, NULL), 0);
    assert_int_equal(value, 55);
    assert_int_equal(source.loads, 1); // it did not wait for the one that was overtaken
}

static void what_happens_during_a_load_wins(void **state) {
    (void)state;
    static const struct {
        void (*meanwhile)(struct tuck_table *table, uint64_t key);
        uint64_t result, stays; // 0: nothing does
        enum tuck_table_reason reason;
    } cases[] = {
        {add_meanwhile, 77, 77, TUCK_TABLE_REPLACED},
        {delete_meanwhile, 11, 0, TUCK_TABLE_DELETED},
        {clear_meanwhile, 11, 0, TUCK_TABLE_CLEARED},
        {delete_and_load_meanwhile, 55, 55, TUCK_TABLE_REPLACED},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(cases); i++) {
        struct tuck_table *table = make(10);
        struct source source = {.value = 11, .meanwhile = cases[i].meanwhile, .table = table};
        struct tuck_table_loader loader = loader_of(&source, 0, HOUR_NS);
        struct caller callers[CALLERS];
        call_at_once(table, &source, &loader, callers);
        for (size_t j = 0; j < CALLERS; j++) {
            assert_int_equal(callers[j].status, 0);
            assert_int_equal(callers[j].value, cases[i].result);
        }
        assert_int_equal(peek(table, 1), cases[i].stays);
        if (cases[i].stays)
            assert_int_equal(list_of(table, TUCK_TABLE_MOST_USED_FIRST).uses[0], 1); // found by it
        assert_int_equal(witness.count, 1);
        assert_seen(0, cases[i].reason, 1, 11);
        tuck_table_clear(table);

        // The same with a load that brings nothing.
        source.status = TUCK_EIO;
        witness.count = 0;
        call_at_once(table, &source, &loader, callers);
        for (size_t j = 0; j < CALLERS; j++)
            assert_int_equal(callers[j].status, cases[i].stays ? 0 : TUCK_EIO);
        assert_int_equal(peek(table, 1), cases[i].stays);
        assert_int_equal(tuck_table_count(table), cases[i].stays != 0);
        assert_int_equal(witness.count, 0);
        tuck_table_free(table);
    }
}

static void touch_another_meanwhile(struct tuck_table *table, uint64_t key) {
    key++;
    add(table, key, 12, 0, 0);
    assert_int_equal(tuck_table_delete(table, &key, NULL), 0);
}

static void what_happens_to_another_key_is_nothing_to_a_load(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    struct source source = {.value = 11, .meanwhile = touch_another_meanwhile, .table = table};
    struct tuck_table_loader loader = loader_of(&source, 0, 0);
    uint64_t one = 1;
    assert_int_equal(tuck_table_load(table, &one, &loader, NULL, NULL), 0);
    assert_int_equal(get(table, 1), 11);
    tuck_table_free(table);
}

static void load_meanwhile(struct tuck_table *table, uint64_t key) {
    struct source source = {.status = TUCK_EIO};
    struct tuck_table_loader loader = loader_of(&source, 0, 0);
    struct tuck_error err = {0};
    assert_int_equal(tuck_table_load(table, &key, &loader, NULL, &err), TUCK_EINTERNAL);
    assert_int_equal(err.code, TUCK_EINTERNAL);
    assert_int_equal(source.loads, 0);
    key++;
    assert_int_equal(tuck_table_load(table, &key, &loader, NULL, NULL), TUCK_EIO);
    assert_int_equal(source.loads, 1);
}

static void a_load_within_the_load_of_its_own_key_fails_and_of_another_works(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    struct source source = {.value = 11, .meanwhile = load_meanwhile, .table = table};
    struct tuck_table_loader loader = loader_of(&source, 0, 0);
    uint64_t one = 1, value = 0;
    assert_int_equal(tuck_table_load(table, &one, &loader, &value, NULL), 0);
    assert_int_equal(value, 11);
    tuck_table_free(table);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(what_is_absent_is_loaded_and_what_is_present_is_not, world_begin),
    cmocka_unit_test_setup(many_callers_share_one_load_and_its_value, world_begin),
    cmocka_unit_test_setup(many_callers_share_a_failure_that_is_remembered_for_its_own_span,
                           world_begin),
    cmocka_unit_test_setup(a_remembered_lack_is_no_item, world_begin),
    cmocka_unit_test_setup(what_happens_during_a_load_wins, world_begin),
    cmocka_unit_test_setup(what_happens_to_another_key_is_nothing_to_a_load, world_begin),
    cmocka_unit_test_setup(a_load_within_the_load_of_its_own_key_fails_and_of_another_works,
                           world_begin),
};

UNIT_MAIN(tests)
