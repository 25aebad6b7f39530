// SPDX-License-Identifier: MIT
/*
 * One cache alone: loads, limits, what is held, what is dirty, and what a failure leaves. The order between several
 * caches is in test_lru_order.c, many threads in stress_lru.c.
 */
#include "tests/unit/lru_world.h"

#include "lib/base/clock.h"

#include <inttypes.h>

#define THREADS 8

static void store(struct fake *fake, uint32_t first, uint32_t count) {
    for (uint32_t key = first; key < first + count; key++)
        fake->stored[key] = 100 + key;
}

static void get_range(struct fake *fake, uint32_t first, uint32_t count) {
    for (uint32_t key = first; key < first + count; key++)
        assert_int_equal(got(fake, key), 100 + key);
}

static size_t count_present(struct fake *fake) {
    size_t count = 0;
    for (uint32_t key = 0; key < KEYS; key++)
        count += seen(fake, key) != 0;
    return count;
}

// --- Loads ---------------------------------------------------------------------------------------

static void a_value_is_loaded_once_and_then_found(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    store(a, 0, 2);
    assert_int_equal(seen(a, 1), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(got(a, 1), 101);
    assert_int_equal(seen(a, 1), 101);
    assert_int_equal(a->loads, 1);
    struct tuck_lru_stats stats = stats_of(a);
    assert_int_equal(stats.hits, 2);
    assert_int_equal(stats.loads, 1);
    assert_int_equal(stats.items, 1);
    world_fini(&world);
}

static void threads_that_ask_for_one_key_cause_one_load_and_all_get_its_value(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    struct task tasks[THREADS] = {0};
    store(a, 7, 1);
    gate_shut(&a->load_gate);
    for (size_t i = 0; i < THREADS; i++) {
        tasks[i] = (struct task){.fake = a, .key = 7};
        task_start(&tasks[i], task_get);
    }
    gate_await(&a->load_gate, 1);
    await_waiting(THREADS - 1);
    gate_open(&a->load_gate);
    for (size_t i = 0; i < THREADS; i++) {
        task_join(&tasks[i]);
        assert_int_equal(tasks[i].status, 0);
        assert_int_equal(tasks[i].number, 107);
    }
    assert_int_equal(a->loads, 1);
    assert_int_equal(stats_of(a).held, 0);
    world_fini(&world);
}

static void a_load_that_fails_leaves_nothing_and_the_next_get_loads_again(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    struct value value = {.number = 1};
    struct tuck_lru_item *item = NULL;
    struct tuck_error err = {0};
    uint32_t key = 3;
    store(a, 3, 1);
    a->load_status = TUCK_EIO;
    assert_int_equal(tuck_lru_get(a->lru, &key, &value, &item, &err), TUCK_EIO);
    assert_string_equal(err.text, "load a3");
    assert_int_equal(value.number, 1); // untouched
    assert_null(item);
    assert_int_equal(stats_of(a).items, 0);
    assert_int_equal(stats_of(a).held, 0);
    assert_int_equal(stats_of(a).load_failures, 1);
    a->load_status = 0;
    assert_int_equal(got(a, 3), 103);
    assert_int_equal(a->loads, 2);
    world_fini(&world);
}

static void all_that_wait_for_a_load_get_its_failure(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    struct task tasks[THREADS] = {0};
    a->load_status = TUCK_ECORRUPT;
    gate_shut(&a->load_gate);
    for (size_t i = 0; i < THREADS; i++) {
        tasks[i] = (struct task){.fake = a, .key = 7};
        task_start(&tasks[i], task_get);
    }
    gate_await(&a->load_gate, 1);
    await_waiting(THREADS - 1);
    gate_open(&a->load_gate);
    for (size_t i = 0; i < THREADS; i++) {
        task_join(&tasks[i]);
        assert_int_equal(tasks[i].status, TUCK_ECORRUPT);
        assert_string_equal(tasks[i].err.text, "load a7");
    }
    assert_int_equal(a->loads, 1);
    assert_int_equal(stats_of(a).held, 0);
    world_fini(&world);
}

static void what_is_absent_is_asked_for_again(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    assert_int_equal(got(a, 3), 0);
    assert_int_equal(got(a, 3), 0);
    assert_int_equal(a->loads, 2);
    assert_int_equal(stats_of(a).load_failures, 0);
    store(a, 3, 1);
    assert_int_equal(got(a, 3), 103);
    world_fini(&world);
}

static void hits_go_on_while_another_key_is_loaded(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    store(a, 0, 4);
    get_range(a, 0, 2);
    struct task task = {.fake = a, .key = 3};
    gate_shut(&a->load_gate);
    task_start(&task, task_get);
    gate_await(&a->load_gate, 1);
    get_range(a, 0, 2);
    assert_int_equal(seen(a, 3), 0);
    (void)set(a, 9, 5);
    assert_int_equal(tuck_lru_flush(a->lru, UINT64_MAX, NULL), 0);
    trim(a);
    struct task other = {.fake = a, .key = 2}; // and so does the load of a third
    task_start(&other, task_get);
    gate_await(&a->load_gate, 2);
    gate_open(&a->load_gate);
    task_join(&task);
    task_join(&other);
    assert_int_equal(task.number, 103);
    assert_int_equal(other.number, 102);
    world_fini(&world);
}

static void hits_and_changes_go_on_while_values_are_flushed(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    store(a, 5, 1);
    (void)set(a, 1, 11);
    struct task task = {.fake = a, .number = UINT64_MAX};
    gate_shut(&a->flush_gate);
    task_start(&task, task_flush);
    gate_await(&a->flush_gate, 1);
    assert_int_equal(got(a, 1), 11);
    assert_int_equal(got(a, 5), 105);
    (void)set(a, 2, 12);
    gate_open(&a->flush_gate);
    task_join(&task);
    assert_string_equal(written(), "a1=11");
    world_fini(&world);
}

static void a_change_waits_for_the_load_of_its_value(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    store(a, 3, 1);
    struct task get = {.fake = a, .key = 3}, change = {.fake = a, .key = 3, .number = 9};
    gate_shut(&a->load_gate);
    task_start(&get, task_get);
    gate_await(&a->load_gate, 1);
    task_start(&change, task_set);
    await_waiting(1);
    gate_open(&a->load_gate);
    task_join(&get);
    task_join(&change);
    assert_int_equal(get.number, 103);
    assert_int_equal(seen(a, 3), 9);
    flush_all(a);
    assert_string_equal(written(), "a3=9");
    world_fini(&world);
}

// --- Limits --------------------------------------------------------------------------------------

static void the_least_recently_used_value_goes_first(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 3);
    struct fake *a = &world.cache[0];
    store(a, 0, KEYS);
    get_range(a, 0, 3);
    assert_int_equal(got(a, 0), 100);  // so 1 is the oldest
    assert_int_equal(seen(a, 1), 101); // a look is no use
    assert_int_equal(got(a, 3), 103);
    assert_int_equal(seen(a, 1), 0);
    assert_int_equal(got(a, 4), 104);
    assert_int_equal(seen(a, 2), 0);
    assert_int_equal(seen(a, 0), 100);
    assert_int_equal(stats_of(a).evictions, 2);
    assert_int_equal(a->drops, 2);
    world_fini(&world);
}

static void a_held_value_is_never_evicted_and_as_good_as_new_when_released(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 3);
    struct fake *a = &world.cache[0];
    store(a, 0, KEYS);
    struct tuck_lru_item *item = hold(a, 0), *twice = hold(a, 0);
    get_range(a, 1, 20);
    assert_int_equal(seen(a, 0), 100);
    tuck_lru_release(a->lru, item);
    get_range(a, 1, 20);
    assert_int_equal(seen(a, 0), 100); // held once still
    assert_int_equal(stats_of(a).held, 1);
    tuck_lru_release(a->lru, twice);
    get_range(a, 1, 2);
    assert_int_equal(seen(a, 0), 100);
    get_range(a, 3, 1);
    assert_int_equal(seen(a, 0), 0);
    world_fini(&world);
}

static void the_limit_is_kept_after_any_number_of_gets(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 5);
    struct fake *a = &world.cache[0];
    struct unit_random random = unit_random_of(__func__);
    store(a, 0, KEYS);
    for (int i = 0; i < 1000; i++) {
        get_range(a, (uint32_t)unit_random_below(&random, KEYS), 1);
        assert_true(stats_of(a).items <= 5);
        assert_int_equal(stats_of(a).items, count_present(a));
    }
    world_fini(&world);
}

static void limits_are_exceeded_where_all_is_held_and_kept_again_when_it_is_released(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 3);
    struct fake *a = &world.cache[0];
    struct tuck_lru_item *items[10];
    store(a, 0, KEYS);
    for (uint32_t key = 0; key < 10; key++)
        items[key] = hold(a, key);
    assert_int_equal(stats_of(a).items, 10);
    trim(a);
    assert_int_equal(stats_of(a).items, 10);
    assert_int_equal(stats_of(a).held, 10);
    for (uint32_t key = 0; key < 10; key++)
        tuck_lru_release(a->lru, items[key]);
    assert_int_equal(stats_of(a).items, 3);
    assert_int_equal(stats_of(a).held, 0);
    for (uint32_t key = 7; key < 10; key++)
        assert_int_equal(seen(a, key), 100 + key);
    for (uint32_t key = 10; key < 13; key++) // what is not held goes for what is to be held
        items[key - 10] = hold(a, key);
    assert_int_equal(stats_of(a).items, 3);
    for (uint32_t key = 10; key < 13; key++)
        tuck_lru_release(a->lru, items[key - 10]);
    world_fini(&world);
}

static void changes_never_flush_and_trim_does(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 3);
    struct fake *a = &world.cache[0];
    for (uint32_t key = 0; key < 10; key++)
        (void)set(a, key, 1 + key);
    assert_int_equal(a->flushes, 0);
    assert_int_equal(stats_of(a).items, 10);
    trim(a);
    assert_int_equal(stats_of(a).items, 3);
    assert_int_equal(a->flushes, 1); // as one batch
    assert_string_equal(written(), "a0=1,a1=2,a2=3,a3=4,a4=5,a5=6,a6=7");
    assert_int_equal(stats_of(a).dirty, 3);
    for (uint32_t key = 0; key < 10; key++)
        assert_int_equal(seen(a, key) != 0, key >= 7);
    world_fini(&world);
}

static void trim_flushes_by_last_use_and_in_the_order_of_the_first_change(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 2);
    struct fake *a = &world.cache[0];
    for (uint32_t key = 0; key < 5; key++)
        (void)set(a, key, 1 + key);
    assert_int_equal(got(a, 0), 1);
    assert_int_equal(got(a, 2), 3);
    assert_int_equal(got(a, 1), 2); // from the oldest: 3 4 0 2 1
    trim(a);
    assert_string_equal(written(), "a0=1,a3=4,a4=5");
    assert_int_equal(seen(a, 1), 2);
    assert_int_equal(seen(a, 2), 3);
    world_fini(&world);
}

static void clean_values_go_before_dirty_ones_however_old_those_are(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 6);
    struct fake *a = &world.cache[0];
    store(a, 0, KEYS);
    (void)set(a, 20, 1);
    (void)set(a, 21, 1);
    get_range(a, 0, 2);
    (void)set(a, 22, 1);
    (void)set(a, 23, 1);
    get_range(a, 2, 1); // 20! 21! 0 1 22! 23! 2
    assert_int_equal(seen(a, 0), 0);
    get_range(a, 3, 1);
    assert_int_equal(seen(a, 1), 0);
    get_range(a, 4, 1); // 20! 21! 22! 23! 3 4
    assert_int_equal(seen(a, 2), 0);
    assert_int_equal(stats_of(a).dirty, 4);
    assert_int_equal(stats_of(a).items, 6);
    flush_all(a); // now they are the oldest clean ones
    get_range(a, 5, 2);
    assert_int_equal(seen(a, 20), 0);
    assert_int_equal(seen(a, 21), 0);
    assert_int_equal(seen(a, 22), 1);
    assert_int_equal(seen(a, 3), 103);
    world_fini(&world);
}

static void what_was_just_asked_for_stays_though_all_else_is_dirty(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 3);
    struct fake *a = &world.cache[0];
    store(a, 0, 10);
    for (uint32_t key = 20; key < 25; key++)
        (void)set(a, key, 1);
    get_range(a, 0, 1);
    assert_int_equal(seen(a, 0), 100);
    get_range(a, 1, 1);
    assert_int_equal(seen(a, 0), 0);
    assert_int_equal(seen(a, 1), 101);
    assert_int_equal(stats_of(a).items, 6);
    (void)set_as(a, 2, 5, TUCK_LRU_CLEAN);
    assert_int_equal(seen(a, 1), 0);
    assert_int_equal(seen(a, 2), 5);
    tuck_lru_release(a->lru, hold(a, 3));
    assert_int_equal(seen(a, 2), 0);
    assert_int_equal(seen(a, 3), 103);
    trim(a);
    assert_int_equal(seen(a, 3), 0);
    assert_int_equal(stats_of(a).items, 3);
    world_fini(&world);
}

static uint64_t weight_of(const void *value) {
    return ((const struct value *)value)->weight;
}

static void a_limit_of_bytes_is_kept_as_well(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 0, 1);
    struct fake *a = &world.cache[0];
    struct tuck_lru_options options = world_options(a, 100);
    options.limit_bytes = 1000;
    options.weigh = weight_of;
    a->name = 'a';
    assert_int_equal(tuck_lru_new(world.group, &options, &a->lru, NULL), 0);
    world.count = 1;
    store(a, 0, KEYS);
    a->weight = 300;
    get_range(a, 0, 10);
    assert_int_equal(stats_of(a).items, 3);
    assert_int_equal(stats_of(a).bytes, 900);
    a->weight = 700;
    (void)set(a, 8, 1); // one that is there gets heavier
    assert_int_equal(stats_of(a).items, 2);
    assert_int_equal(stats_of(a).bytes, 1000);
    assert_int_equal(stats_of(a).dirty_bytes, 700);
    a->weight = 800;
    (void)set(a, 20, 2);
    assert_int_equal(stats_of(a).bytes, 1500);
    trim(a);
    assert_string_equal(written(), "a8=1");
    assert_int_equal(stats_of(a).bytes, 800);
    a->weight = 5000; // more than is allowed, alone
    (void)set(a, 21, 3);
    flush_all(a);
    assert_int_equal(seen(a, 21), 3);
    trim(a);
    assert_int_equal(stats_of(a).items, 0);
    assert_int_equal(stats_of(a).bytes, 0);
    world_fini(&world);
}

static void limits_and_sizes_of_zero_are_refused(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 0, 1);
    const struct tuck_lru_options good = world_options(&world.cache[0], 1);
    const struct tuck_lru_ops no_flush = {0};
    struct tuck_lru *lru = NULL;
    struct tuck_lru_options bad[] = {good, good, good, good, good, good};
    bad[0].ops = NULL;
    bad[1].ops = &no_flush;
    bad[2].key_bytes = 0;
    bad[3].value_bytes = 0;
    bad[4].limit_items = 0;
    bad[5].value_bytes = SIZE_MAX;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(bad); i++) {
        struct tuck_error err = {0};
        assert_int_equal(tuck_lru_new(world.group, &bad[i], &lru, &err), TUCK_EINVAL);
        assert_int_equal(err.code, TUCK_EINVAL);
        assert_null(lru);
    }
    tuck_lru_free(NULL);
    tuck_lru_group_free(NULL);
    world_fini(&world);
}

static void every_key_is_found_when_the_table_has_grown(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 100000);
    struct fake *a = &world.cache[0];
    for (uint32_t key = 0; key < 20000; key++)
        (void)set(a, key * 7919, key + 1);
    for (uint32_t key = 0; key < 20000; key++)
        assert_int_equal(got(a, key * 7919), key + 1);
    assert_int_equal(stats_of(a).items, 20000);
    assert_int_equal(tuck_lru_dirty_count(a->lru), 20000);
    assert_int_equal(stats_of(a).hits, 20000);
    world_fini(&world);
}

struct odd {
    size_t key_bytes, value_bytes, written;
};

// Keys are one digit repeated, values the same one: so it is seen where one ends.
static void odd_flush(void *backend, struct tuck_lru_flushed *items, size_t count,
                      struct tuck_error *err) {
    struct odd *odd = backend;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *key = items[i].key, *value = items[i].value;
        assert_int_equal((uintptr_t)key % _Alignof(max_align_t), 0);
        assert_int_equal((uintptr_t)value % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < odd->key_bytes; k++)
            assert_int_equal(key[k], i + 1);
        for (size_t k = 0; k < odd->value_bytes; k++)
            assert_int_equal(value[k], i + 1);
        odd->written++;
    }
}

struct odd_change {
    const struct odd *odd;
    uint8_t digit;
};

static enum tuck_lru_verdict odd_set(void *arg, void *value, enum tuck_lru_presence presence) {
    const struct odd_change *change = arg;
    assert_int_equal(presence, TUCK_LRU_IS_ABSENT);
    memset(value, change->digit, change->odd->value_bytes);
    return TUCK_LRU_DIRTY;
}

static void keys_and_values_of_any_size_are_kept_without_load_and_drop(void **state) {
    (void)state;
    static const struct tuck_lru_ops ops = {.flush = odd_flush};
    struct world world;
    world_init(&world, 0, 1);
    for (size_t size = 1; size <= 40; size++) {
        struct odd odd = {.key_bytes = size, .value_bytes = 41 - size};
        struct tuck_lru_options options = {.ops = &ops,
                                           .backend = &odd,
                                           .key_bytes = odd.key_bytes,
                                           .value_bytes = odd.value_bytes,
                                           .limit_items = 3};
        struct tuck_lru *lru = NULL;
        uint8_t key[41], value[41];
        assert_int_equal(tuck_lru_new(world.group, &options, &lru, NULL), 0);
        for (uint8_t digit = 1; digit <= 5; digit++) {
            struct odd_change change = {&odd, digit};
            memset(key, digit, sizeof(key));
            assert_int_equal(tuck_lru_get(lru, key, value, NULL, NULL), TUCK_LRU_ABSENT);
            assert_int_equal(tuck_lru_change(lru, key, odd_set, &change, NULL, NULL), 0);
        }
        memset(value, 0xff, sizeof(value));
        assert_int_equal(tuck_lru_get(lru, key, value, NULL, NULL), 0);
        assert_int_equal(value[odd.value_bytes - 1], 5);
        assert_int_equal(value[odd.value_bytes], 0xff);
        assert_int_equal(tuck_lru_flush(lru, UINT64_MAX, NULL), 0);
        assert_int_equal(tuck_lru_trim(lru, NULL), 0);
        assert_int_equal(odd.written, 5);
        tuck_lru_free(lru);
    }
    world_fini(&world);
}

// --- Changes -------------------------------------------------------------------------------------

static void a_verdict_decides_what_becomes_of_a_value(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    assert_int_equal(set_as(a, 1, 5, TUCK_LRU_KEEP), 0); // nothing comes of nothing
    assert_int_equal(stats_of(a).items, 0);
    assert_int_equal(set_as(a, 1, 5, TUCK_LRU_CLEAN), 0);
    assert_int_equal(seen(a, 1), 5);
    assert_int_equal(stats_of(a).dirty, 0);
    assert_int_equal(set_as(a, 1, 6, TUCK_LRU_DIRTY), 1);
    assert_int_equal(set_as(a, 1, 7, TUCK_LRU_KEEP), 1);
    assert_int_equal(seen(a, 1), 6);
    assert_int_equal(stats_of(a).dirty, 1);
    assert_int_equal(set_as(a, 2, 8, TUCK_LRU_DIRTY), 2);
    assert_int_equal(set_as(a, 1, 9, TUCK_LRU_CLEAN), 0); // what was dirty is done with
    assert_int_equal(tuck_lru_dirty_count(a->lru), 1);
    flush_all(a);
    assert_string_equal(written(), "a2=8");
    assert_int_equal(stats_of(a).items, 2);
    assert_int_equal(seen(a, 1), 9);
    world_fini(&world);
}

static void a_forgotten_value_is_not_written_and_gone_unless_it_is_in_use(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    unsigned drops = a->drops;
    assert_int_equal(set_as(a, 1, 5, TUCK_LRU_FORGET), 0); // there is nothing to forget
    (void)set(a, 1, 6);
    (void)set(a, 2, 7);
    (void)set(a, 3, 8);
    struct tuck_lru_item *held = hold(a, 2);
    assert_int_equal(set_as(a, 1, 6, TUCK_LRU_FORGET), 0);
    assert_int_equal(a->drops, drops + 1);
    assert_int_equal(set_as(a, 2, 7, TUCK_LRU_FORGET), 3); // somebody has it in hand
    assert_int_equal(seen(a, 1), 0);
    assert_int_equal(seen(a, 2), 7);
    assert_int_equal(stats_of(a).dirty, 2);
    tuck_lru_release(a->lru, held);
    flush_all(a);
    assert_string_equal(written(), "a2=7,a3=8");
    assert_int_equal(set_as(a, 3, 8, TUCK_LRU_FORGET), 0); // a clean one too
    assert_int_equal(seen(a, 3), 0);
    world_fini(&world);
}

static void what_is_dirty_is_told_by_a_peek_and_to_a_change(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    uint32_t key = 1;
    bool is_dirty = false;
    (void)set(a, 1, 6);
    assert_int_equal(tuck_lru_peek(a->lru, &key, NULL, &is_dirty), 0);
    assert_true(is_dirty);
    flush_all(a);
    assert_int_equal(tuck_lru_peek(a->lru, &key, NULL, &is_dirty), 0);
    assert_false(is_dirty);
    world_fini(&world);
}

static void a_change_during_a_flush_stays_dirty(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    struct task task = {.fake = a, .number = UINT64_MAX};
    (void)set(a, 1, 11);
    (void)set(a, 2, 21);
    gate_shut(&a->flush_gate);
    task_start(&task, task_flush);
    gate_await(&a->flush_gate, 1);
    assert_int_equal(set(a, 1, 12), 3);
    assert_int_equal(set_as(a, 2, 22, TUCK_LRU_CLEAN), 4); // 21 may be written after it
    gate_open(&a->flush_gate);
    task_join(&task);
    assert_int_equal(task.status, 0);
    assert_string_equal(written(), "a1=11,a2=21"); // as it was when the flush began
    assert_int_equal(stats_of(a).dirty, 2);
    assert_int_equal(tuck_lru_flush(a->lru, 3, NULL), 0);
    assert_string_equal(written(), "a1=12");
    flush_all(a);
    assert_string_equal(written(), "a2=22");
    assert_int_equal(stats_of(a).dirty, 0);
    world_fini(&world);
}

static void a_flush_writes_the_changes_up_to_a_number_in_the_order_of_the_first(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    (void)set(a, 3, 1);
    (void)set(a, 2, 1);
    uint64_t seq = set(a, 9, 1);
    (void)set(a, 1, 1);
    (void)set(a, 3, 2); // has the number 1 for its oldest change
    assert_int_equal(tuck_lru_flush(a->lru, 0, NULL), 0);
    assert_int_equal(a->flushes, 0);
    assert_int_equal(tuck_lru_flush(a->lru, seq, NULL), 0);
    assert_string_equal(written(), "a3=2,a2=1,a9=1");
    assert_int_equal(tuck_lru_flush(a->lru, seq, NULL), 0);
    assert_int_equal(a->flushes, 1);
    flush_all(a);
    assert_string_equal(written(), "a1=1");
    world_fini(&world);
}

static void the_age_of_the_oldest_change_says_when_a_flush_is_due(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    assert_int_equal(tuck_lru_due_ns(a->lru), UINT64_MAX);
    uint64_t before_ns = tuck_clock_mono_ns();
    (void)set(a, 1, 1);
    uint64_t due_ns = tuck_lru_due_ns(a->lru);
    assert_in_range(due_ns, before_ns + 1000, tuck_clock_mono_ns() + 1000);
    (void)set(a, 2, 1);
    (void)set(a, 1, 2);
    assert_int_equal(tuck_lru_due_ns(a->lru), due_ns);
    set_flush_status(a, 1, TUCK_EIO);
    assert_int_equal(tuck_lru_flush(a->lru, UINT64_MAX, NULL), TUCK_EIO);
    assert_int_equal(tuck_lru_due_ns(a->lru), due_ns);
    set_flush_status(a, 1, 0);
    struct task task = {.fake = a, .number = UINT64_MAX};
    gate_shut(&a->flush_gate);
    task_start(&task, task_flush);
    gate_await(&a->flush_gate, 1);
    (void)set(a, 3, 1);
    assert_int_equal(tuck_lru_due_ns(a->lru), due_ns); // it is not written yet
    gate_open(&a->flush_gate);
    task_join(&task);
    assert_in_range(tuck_lru_due_ns(a->lru), due_ns + 1, tuck_clock_mono_ns() + 1000);
    flush_all(a);
    assert_int_equal(tuck_lru_due_ns(a->lru), UINT64_MAX);
    world_fini(&world);
}

struct walk {
    char text[200];
    size_t count, stop_after;
};

static bool note_dirty(void *arg, const void *key, const void *value) {
    struct walk *walk = arg;
    size_t len = strlen(walk->text);
    uint32_t number;
    memcpy(&number, key, sizeof(number));
    (void)snprintf(walk->text + len, sizeof(walk->text) - len, "%s%" PRIu32 "=%" PRIu64,
                   len ? " " : "", number, ((const struct value *)value)->number);
    return ++walk->count < walk->stop_after;
}

static void a_walk_meets_every_dirty_value_once_oldest_change_first(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 10);
    struct fake *a = &world.cache[0];
    store(a, 8, 1);
    get_range(a, 8, 1);
    for (uint32_t key = 4; key > 0; key--)
        (void)set(a, key, 1);
    (void)set(a, 3, 2);
    struct walk walk = {.stop_after = 3};
    tuck_lru_walk_dirty(a->lru, note_dirty, &walk);
    assert_string_equal(walk.text, "4=1 3=2 2=1");
    // In the middle of a flush of 4 and 3, which change meanwhile.
    struct task task = {.fake = a, .number = 2};
    gate_shut(&a->flush_gate);
    task_start(&task, task_flush);
    gate_await(&a->flush_gate, 1);
    (void)set(a, 5, 1);
    (void)set(a, 4, 2);
    walk = (struct walk){.stop_after = 100};
    tuck_lru_walk_dirty(a->lru, note_dirty, &walk);
    assert_string_equal(walk.text, "4=2 3=2 2=1 1=1 5=1");
    gate_open(&a->flush_gate);
    task_join(&task);
    walk = (struct walk){.stop_after = 100};
    tuck_lru_walk_dirty(a->lru, note_dirty, &walk);
    assert_string_equal(walk.text, "2=1 1=1 5=1 4=2");
    world_fini(&world);
}

// --- Failures ------------------------------------------------------------------------------------

static void a_value_that_cannot_be_flushed_is_neither_evicted_nor_clean(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 1);
    struct fake *a = &world.cache[0];
    struct tuck_error err = {0};
    (void)set(a, 1, 11);
    (void)set(a, 2, 21);
    set_flush_status(a, 1, TUCK_ENOSPACE);
    assert_int_equal(tuck_lru_trim(a->lru, &err), TUCK_ENOSPACE);
    assert_string_equal(err.text, "flush a1");
    assert_string_equal(written(), "!a1=11");
    assert_int_equal(seen(a, 1), 11);
    assert_int_equal(stats_of(a).dirty, 2);
    assert_int_equal(stats_of(a).items, 2);
    assert_int_equal(stats_of(a).flush_failures, 1);
    set_flush_status(a, 1, TUCK_LRU_BUSY);
    assert_int_equal(tuck_lru_trim(a->lru, &err), TUCK_LRU_BUSY);
    assert_int_equal(seen(a, 1), 11);
    set_flush_status(a, 1, 0);
    (void)written();
    trim(a);
    assert_string_equal(written(), "a1=11");
    assert_int_equal(seen(a, 1), 0);
    assert_int_equal(got(a, 1), 11);
    assert_int_equal(stats_of(a).flush_failures, 1); // busy is none
    world_fini(&world);
}

static void one_of_many_that_fails_stays_dirty_alone(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 100);
    struct fake *a = &world.cache[0];
    struct tuck_error err = {0};
    for (uint32_t key = 0; key < 20; key++)
        (void)set(a, key, key + 1);
    set_flush_status(a, 7, TUCK_EIO);
    assert_int_equal(tuck_lru_flush(a->lru, UINT64_MAX, &err), TUCK_EIO);
    assert_int_equal(a->flushes, 1);
    assert_int_equal(stats_of(a).dirty, 1);
    assert_int_equal(stats_of(a).flushed, 19);
    (void)written();
    set_flush_status(a, 7, 0);
    flush_all(a);
    assert_string_equal(written(), "a7=8");
    for (uint32_t key = 0; key < 20; key++)
        assert_int_equal(a->stored[key], key + 1);
    world_fini(&world);
}

static void the_first_failure_is_reported_and_busy_only_without_one(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 100);
    struct fake *a = &world.cache[0];
    struct tuck_error err = {0};
    for (uint32_t key = 0; key < 5; key++)
        (void)set(a, key, 1);
    set_flush_status(a, 1, TUCK_LRU_BUSY);
    assert_int_equal(tuck_lru_flush(a->lru, UINT64_MAX, &err), TUCK_LRU_BUSY);
    assert_int_equal(err.code, 0);
    (void)set(a, 2, 2);
    (void)set(a, 3, 2);
    set_flush_status(a, 2, TUCK_EIO);
    set_flush_status(a, 3, TUCK_ENOSPACE);
    (void)written();
    assert_int_equal(tuck_lru_flush(a->lru, UINT64_MAX, &err), TUCK_EIO);
    assert_string_equal(err.text, "flush a2");
    assert_string_equal(written(), "?a1=1,!a2=2,!a3=2");
    assert_int_equal(tuck_lru_flush(a->lru, 2, NULL), TUCK_LRU_BUSY);
    world_fini(&world);
}

static void what_failed_keeps_its_place_among_the_changes_made_meanwhile(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 100);
    struct fake *a = &world.cache[0];
    for (uint32_t key = 0; key < 6; key++)
        (void)set(a, key, 1);
    for (uint32_t key = 1; key < 5; key += key)
        set_flush_status(a, key, TUCK_EIO);
    struct task task = {.fake = a, .number = 5}; // 0 to 4
    gate_shut(&a->flush_gate);
    task_start(&task, task_flush);
    gate_await(&a->flush_gate, 1);
    (void)set(a, 2, 2); // the last two in the list when they come back, and the first one
    (void)set(a, 0, 2);
    (void)set(a, 4, 2);
    gate_open(&a->flush_gate);
    task_join(&task);
    assert_int_equal(task.status, TUCK_EIO);
    assert_int_equal(stats_of(a).dirty, 5);
    for (uint32_t key = 1; key < 5; key += key)
        set_flush_status(a, key, 0);
    (void)written();
    flush_all(a);
    assert_string_equal(written(), "a1=1,a2=2,a4=2,a5=1,a0=2");
    assert_int_equal(stats_of(a).dirty, 0);
    world_fini(&world);
}

static void two_flushes_of_one_cache_do_not_meet(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 1);
    struct fake *a = &world.cache[0];
    (void)set(a, 1, 1);
    struct task first = {.fake = a, .number = UINT64_MAX}, second = first, third = first;
    gate_shut(&a->flush_gate);
    task_start(&first, task_flush);
    gate_await(&a->flush_gate, 1);
    task_start(&second, task_flush); // has nothing of its own to write
    await_waiting(1);
    (void)set(a, 2, 1);
    (void)set(a, 3, 1);
    task_start(&third, task_trim);
    await_waiting(2);
    assert_int_equal(a->flushes, 1);
    gate_open(&a->flush_gate);
    task_join(&first);
    task_join(&second);
    task_join(&third);
    assert_int_equal(first.status | second.status | third.status, 0);
    assert_string_equal(written(), "a1=1 a2=1");
    world_fini(&world);
}

struct busy_keys {
    uint64_t mask;
};

static void note_busy(void *arg, const void *key) {
    struct busy_keys *busy = arg;
    uint32_t number;
    memcpy(&number, key, sizeof(number));
    busy->mask |= UINT64_C(1) << number;
}

static void invalidate_drops_all_but_what_is_in_use_and_names_that(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 100);
    struct fake *a = &world.cache[0];
    store(a, 0, KEYS);
    get_range(a, 0, 5);
    (void)set(a, 5, 1);
    (void)set(a, 6, 1);
    (void)set(a, 7, 1);
    struct tuck_lru_item *item = hold(a, 2), *dirty = hold(a, 6);
    struct busy_keys busy = {0};
    assert_int_equal(tuck_lru_invalidate(a->lru, note_busy, &busy), 2);
    assert_int_equal(busy.mask, 1U << 2 | 1U << 6);
    assert_int_equal(a->drops, 6);
    assert_int_equal(count_present(a), 2);
    assert_int_equal(stats_of(a).items, 2);
    assert_int_equal(stats_of(a).dirty, 1); // 6
    tuck_lru_release(a->lru, item);
    tuck_lru_release(a->lru, dirty);
    flush_all(a);
    assert_string_equal(written(), "a6=1"); // 5 and 7 were to be forgotten
    assert_int_equal(got(a, 5), 105);
    assert_int_equal(tuck_lru_invalidate(a->lru, NULL, NULL), 0);
    assert_int_equal(stats_of(a).items, 0);
    world_fini(&world);
}

static void invalidate_leaves_what_is_being_loaded_or_flushed(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 100);
    struct fake *a = &world.cache[0];
    store(a, 0, KEYS);
    (void)set(a, 1, 1);
    struct task flush = {.fake = a, .number = UINT64_MAX}, get = {.fake = a, .key = 2};
    gate_shut(&a->flush_gate);
    gate_shut(&a->load_gate);
    task_start(&flush, task_flush);
    task_start(&get, task_get);
    gate_await(&a->flush_gate, 1);
    gate_await(&a->load_gate, 1);
    (void)set(a, 3, 1);
    struct busy_keys busy = {0};
    assert_int_equal(tuck_lru_invalidate(a->lru, note_busy, &busy), 2);
    assert_int_equal(busy.mask, 1U << 1 | 1U << 2);
    gate_open(&a->flush_gate);
    gate_open(&a->load_gate);
    task_join(&flush);
    task_join(&get);
    assert_int_equal(flush.status, 0);
    assert_int_equal(get.number, 102);
    assert_int_equal(stats_of(a).items, 2);
    assert_int_equal(stats_of(a).dirty, 0);
    world_fini(&world);
}

// --- Memory --------------------------------------------------------------------------------------

static enum tuck_lru_verdict set_number(void *arg, void *value, enum tuck_lru_presence presence) {
    (void)presence;
    ((struct value *)value)->number = *(const uint64_t *)arg;
    return TUCK_LRU_DIRTY;
}

struct scenario {
    struct world world;
    uint64_t expected[KEYS]; // of cache a
    unsigned refused;
};

static void note_status(struct scenario *scenario, int status) {
    if (status == TUCK_ENOMEM)
        scenario->refused++;
    else
        assert_int_equal(status, 0);
}

// Whatever fails here fails as ENOMEM and is as if it had not been asked for.
static void run_scenario(struct scenario *scenario) {
    struct fake *a = &scenario->world.cache[0], *b = &scenario->world.cache[1];
    for (uint32_t key = 0; key < 12; key++) {
        uint64_t number = 1000 + key, seq = UINT64_MAX;
        uint32_t other = key / 2;
        int status = tuck_lru_change(b->lru, &other, set_number, &number, &seq, NULL);
        note_status(scenario, status);
        if (status == 0)
            note_status(scenario, tuck_lru_depend(a->lru, b->lru, seq, NULL));
        status = tuck_lru_change(a->lru, &key, set_number, &number, NULL, NULL);
        note_status(scenario, status);
        if (status == 0)
            scenario->expected[key] = number;
        if (key % 5 == 4)
            note_status(scenario, tuck_lru_trim(a->lru, NULL));
        if (key == 9)
            note_status(scenario, tuck_lru_flush(a->lru, 3, NULL));
    }
    for (uint32_t key = 0; key < 12; key++) {
        struct value value = {0};
        int status = tuck_lru_get(a->lru, &key, &value, NULL, NULL);
        if (status == TUCK_LRU_ABSENT)
            assert_int_equal(scenario->expected[key], 0);
        else
            note_status(scenario, status);
        if (status == 0)
            assert_int_equal(value.number, scenario->expected[key]);
    }
}

static void a_refused_allocation_leaves_all_as_it_was(void **state) {
    (void)state;
    bool has_failed = true;
    unsigned nth = 0;
    while (has_failed) {
        struct scenario scenario = {0};
        world_init(&scenario.world, 2, 3);
        struct fake *a = &scenario.world.cache[0];
        (void)fail_allocation(++nth);
        run_scenario(&scenario);
        has_failed = fail_allocation(0);
        if (!has_failed)
            assert_int_equal(scenario.refused, 0);
        trim(a);
        flush_all(a);
        flush_all(&scenario.world.cache[1]);
        for (uint32_t key = 0; key < KEYS; key++)
            assert_int_equal(a->stored[key], scenario.expected[key]);
        assert_true(stats_of(a).items <= 3);
        world_fini(&scenario.world);
    }
    print_message("# %u allocations failed one by one\n", nth - 1);
    assert_true(nth > 20);
}

static void caches_and_groups_fail_without_memory(void **state) {
    (void)state;
    struct world world;
    struct tuck_lru_group *group = NULL;
    struct tuck_lru *lru = NULL;
    (void)fail_allocation(1);
    assert_int_equal(tuck_lru_group_new(&group, NULL), TUCK_ENOMEM);
    assert_null(group);
    world_init(&world, 0, 1);
    struct tuck_lru_options options = world_options(&world.cache[0], 1);
    for (unsigned nth = 1; nth <= 2; nth++) {
        (void)fail_allocation(nth);
        assert_int_equal(tuck_lru_new(world.group, &options, &lru, NULL), TUCK_ENOMEM);
        assert_null(lru);
    }
    (void)fail_allocation(0);
    world_fini(&world);
}

// The table cannot grow: it is slower, nothing else.
static void a_table_that_cannot_grow_still_works(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, 1000);
    struct fake *a = &world.cache[0];
    for (uint32_t key = 0; key < 64; key++)
        (void)set(a, key, key + 1);
    (void)fail_allocation(2); // the item itself is the first
    (void)set(a, 64, 65);
    assert_true(fail_allocation(0));
    for (uint32_t key = 65; key < 300; key++)
        (void)set(a, key, key + 1);
    for (uint32_t key = 0; key < 300; key++)
        assert_int_equal(got(a, key), key + 1);
    world_fini(&world);
}

// --- Speed ---------------------------------------------------------------------------------------

#define ROUNDS 50U
#define NEW    4000U // in each round

static void the_time_of_a_hit_and_of_a_change_is_told(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 1, NEW);
    struct fake *a = &world.cache[0];
    struct unit_random random = unit_random_of(__func__);
    struct value value;
    uint64_t number = 1, change_ns = 0, get_ns = 0, flush_ns = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t start_ns = tuck_clock_mono_ns();
        for (uint32_t key = 0; key < NEW; key++)
            assert_int_equal(tuck_lru_change(a->lru, &key, set_number, &number, NULL, NULL), 0);
        uint64_t changed_ns = tuck_clock_mono_ns();
        for (uint32_t i = 0; i < NEW; i++) {
            uint32_t key = (uint32_t)unit_random_below(&random, NEW);
            assert_int_equal(tuck_lru_get(a->lru, &key, &value, NULL, NULL), 0);
        }
        uint64_t got_ns = tuck_clock_mono_ns();
        flush_all(a);
        flush_ns += tuck_clock_mono_ns() - got_ns;
        change_ns += changed_ns - start_ns;
        get_ns += got_ns - changed_ns;
        assert_int_equal(tuck_lru_invalidate(a->lru, NULL, NULL), 0);
        (void)written();
    }
    print_message("# %" PRIu64 " ns for a change of a new key, %" PRIu64 " ns for a hit, %" PRIu64
                  " ns to flush a value\n",
                  change_ns / (ROUNDS * NEW), get_ns / (ROUNDS * NEW), flush_ns / (ROUNDS * NEW));
    world_fini(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_value_is_loaded_once_and_then_found),
    cmocka_unit_test(threads_that_ask_for_one_key_cause_one_load_and_all_get_its_value),
    cmocka_unit_test(a_load_that_fails_leaves_nothing_and_the_next_get_loads_again),
    cmocka_unit_test(all_that_wait_for_a_load_get_its_failure),
    cmocka_unit_test(what_is_absent_is_asked_for_again),
    cmocka_unit_test(hits_go_on_while_another_key_is_loaded),
    cmocka_unit_test(hits_and_changes_go_on_while_values_are_flushed),
    cmocka_unit_test(a_change_waits_for_the_load_of_its_value),
    cmocka_unit_test(the_least_recently_used_value_goes_first),
    cmocka_unit_test(a_held_value_is_never_evicted_and_as_good_as_new_when_released),
    cmocka_unit_test(the_limit_is_kept_after_any_number_of_gets),
    cmocka_unit_test(limits_are_exceeded_where_all_is_held_and_kept_again_when_it_is_released),
    cmocka_unit_test(changes_never_flush_and_trim_does),
    cmocka_unit_test(trim_flushes_by_last_use_and_in_the_order_of_the_first_change),
    cmocka_unit_test(clean_values_go_before_dirty_ones_however_old_those_are),
    cmocka_unit_test(what_was_just_asked_for_stays_though_all_else_is_dirty),
    cmocka_unit_test(a_limit_of_bytes_is_kept_as_well),
    cmocka_unit_test(limits_and_sizes_of_zero_are_refused),
    cmocka_unit_test(every_key_is_found_when_the_table_has_grown),
    cmocka_unit_test(keys_and_values_of_any_size_are_kept_without_load_and_drop),
    cmocka_unit_test(a_verdict_decides_what_becomes_of_a_value),
    cmocka_unit_test(a_forgotten_value_is_not_written_and_gone_unless_it_is_in_use),
    cmocka_unit_test(what_is_dirty_is_told_by_a_peek_and_to_a_change),
    cmocka_unit_test(a_change_during_a_flush_stays_dirty),
    cmocka_unit_test(a_flush_writes_the_changes_up_to_a_number_in_the_order_of_the_first),
    cmocka_unit_test(the_age_of_the_oldest_change_says_when_a_flush_is_due),
    cmocka_unit_test(a_walk_meets_every_dirty_value_once_oldest_change_first),
    cmocka_unit_test(a_value_that_cannot_be_flushed_is_neither_evicted_nor_clean),
    cmocka_unit_test(one_of_many_that_fails_stays_dirty_alone),
    cmocka_unit_test(the_first_failure_is_reported_and_busy_only_without_one),
    cmocka_unit_test(what_failed_keeps_its_place_among_the_changes_made_meanwhile),
    cmocka_unit_test(two_flushes_of_one_cache_do_not_meet),
    cmocka_unit_test(invalidate_drops_all_but_what_is_in_use_and_names_that),
    cmocka_unit_test(invalidate_leaves_what_is_being_loaded_or_flushed),
    cmocka_unit_test(a_refused_allocation_leaves_all_as_it_was),
    cmocka_unit_test(caches_and_groups_fail_without_memory),
    cmocka_unit_test(a_table_that_cannot_grow_still_works),
    cmocka_unit_test(the_time_of_a_hit_and_of_a_change_is_told),
};

UNIT_MAIN(tests)
