// SPDX-License-Identifier: MIT
/*
 * Tables under random use: by one thread, where a plain model says what each call must return and which items must
 * leave, in which order; and by several, where every value must leave exactly once, no load of a key may run beside
 * another, and what only one thread touches must be as that thread left it. Meant for the thread sanitizer.
 */
#include "tests/unit/table_world.h"

#include <pthread.h>
#include <sched.h>

// --- One thread and a model ----------------------------------------------------------------------

#define KEYS  40
#define LIMIT 25

struct model_item {
    bool is_held, is_sliding;
    int status; // 0: it has a value
    uint64_t value, span_ns, end_ns, uses;
    uint64_t used; // number of the step of its last use
};

static struct model_item model[KEYS];
static uint64_t model_step;
static struct seen expected[KEYS];
static size_t expected_count;

static bool is_over(const struct model_item *item) {
    return item->end_ns <= tuck_clock_mono_ns();
}

static struct model_item *live(uint64_t key) {
    return model[key].is_held && !is_over(&model[key]) ? &model[key] : NULL;
}

static struct model_item *live_value(uint64_t key) {
    struct model_item *item = live(key);
    return item && item->status == 0 ? item : NULL;
}

static size_t model_count(void) {
    size_t count = 0;
    for (size_t key = 0; key < KEYS; key++)
        count += model[key].is_held;
    return count;
}

// The held item that comes first by deadline or by use; KEYS if none is held.
static uint64_t first_of_model(bool by_use) {
    uint64_t first = KEYS;
    for (uint64_t key = 0; key < KEYS; key++) {
        if (!model[key].is_held)
            continue;
        if (first == KEYS || (by_use ? model[key].used < model[first].used
                                     : model[key].end_ns < model[first].end_ns))
            first = key;
    }
    return first;
}

static void leave_model(uint64_t key, enum tuck_table_reason reason) {
    if (model[key].status == 0)
        expected[expected_count++] = (struct seen){reason, key, model[key].value};
    model[key].is_held = false;
}

static uint64_t end_of(uint64_t span_ns) {
    return span_ns ? tuck_clock_mono_ns() + span_ns : NEVER;
}

static void enter_model(uint64_t key, const struct model_item *item) {
    if (model[key].is_held)
        leave_model(key, is_over(&model[key]) ? TUCK_TABLE_EXPIRED : TUCK_TABLE_REPLACED);
    while (model_count() >= LIMIT) {
        uint64_t first = first_of_model(false);
        if (is_over(&model[first]))
            leave_model(first, TUCK_TABLE_EXPIRED);
        else
            leave_model(first_of_model(true), TUCK_TABLE_EVICTED);
    }
    model[key] = *item;
    model[key].is_held = true;
    model[key].used = model_step;
}

static void use_model(struct model_item *item) {
    item->uses++;
    item->used = model_step;
    if (item->is_sliding && item->status == 0)
        item->end_ns = end_of(item->span_ns);
}

static void try_add(struct tuck_table *table, uint64_t key, uint64_t span_ns, unsigned flags) {
    bool stays = flags & TUCK_TABLE_IF_ABSENT && live_value(key);
    uint64_t value = model_step;
    assert_int_equal(tuck_table_add(table, &key, &value, span_ns, flags, NULL),
                     stays ? TUCK_TABLE_PRESENT : 0);
    if (!stays)
        enter_model(key, &(struct model_item){.is_sliding = flags & TUCK_TABLE_SLIDING,
                                              .value = value,
                                              .span_ns = span_ns,
                                              .end_ns = end_of(span_ns)});
}

static void try_load(struct tuck_table *table, uint64_t key, uint64_t span_ns, unsigned flags,
                     int status) {
    struct source source = {.status = status, .value = model_step};
    struct tuck_table_loader loader = loader_of(&source, span_ns, span_ns / 2);
    struct model_item *present = live(key);
    uint64_t value = 0;
    loader.flags = flags & TUCK_TABLE_SLIDING;
    int result = tuck_table_load(table, &key, &loader, &value, NULL);
    assert_int_equal(source.loads, present == NULL);
    assert_int_equal(result, present ? present->status : status);
    if (result == 0)
        assert_int_equal(value, present ? present->value : model_step);
    if (present)
        use_model(present);
    else if (status == 0 || span_ns / 2 > 0)
        enter_model(key, &(struct model_item){.is_sliding = loader.flags,
                                              .status = status,
                                              .value = model_step,
                                              .span_ns = span_ns,
                                              .end_ns = end_of(status ? span_ns / 2 : span_ns)});
}

static void try_find(struct tuck_table *table, uint64_t key, int way, uint64_t span_ns) {
    struct model_item *item = live_value(key);
    uint64_t value = 0;
    int status = way == 0   ? tuck_table_get(table, &key, &value)
                 : way == 1 ? tuck_table_peek(table, &key, &value)
                 : way == 2 ? tuck_table_extend(table, &key, span_ns)
                            : tuck_table_delete(table, &key, &value);
    assert_int_equal(status, item ? 0 : TUCK_TABLE_ABSENT);
    if (item && way != 2)
        assert_int_equal(value, item->value);
    if (item && way == 2)
        item->span_ns = span_ns;
    if (item && (way == 0 || way == 2))
        use_model(item);
    if (item && way == 2)
        item->end_ns = end_of(span_ns);
    if (way == 3 && live(key))
        leave_model(key, TUCK_TABLE_DELETED);
}

static void try_sweep(struct tuck_table *table, size_t max) {
    size_t swept = 0;
    for (; swept < max && model_count() > 0 && is_over(&model[first_of_model(false)]); swept++)
        leave_model(first_of_model(false), TUCK_TABLE_EXPIRED);
    assert_int_equal(tuck_table_sweep(table, max), swept);
}

static void try_clear(struct tuck_table *table) {
    while (model_count() > 0) {
        uint64_t first = first_of_model(true);
        leave_model(first, is_over(&model[first]) ? TUCK_TABLE_EXPIRED : TUCK_TABLE_CLEARED);
    }
    tuck_table_clear(table);
}

static bool check_row(void *arg, const struct tuck_table_row *row) {
    uint64_t key, value, *used = arg;
    memcpy(&key, row->key, sizeof(key));
    memcpy(&value, row->value, sizeof(value));
    struct model_item *item = live_value(key);
    assert_non_null(item);
    assert_int_equal(value, item->value);
    assert_int_equal(row->uses, item->uses);
    assert_int_equal(row->span_ns, item->span_ns);
    assert_int_equal(row->flags, item->is_sliding ? TUCK_TABLE_SLIDING : 0);
    if (row->span_ns > 0)
        assert_int_equal(row->deadline_ns - tuck_clock_wall_ns(),
                         item->end_ns - tuck_clock_mono_ns());
    assert_true(item->used > *used); // least recently used first
    *used = item->used;
    return true;
}

static void check_all(struct tuck_table *table) {
    uint64_t used = 0, first = first_of_model(false);
    size_t rows = 0;
    for (uint64_t key = 0; key < KEYS; key++)
        rows += live_value(key) != NULL;
    assert_int_equal(tuck_table_rows(table, TUCK_TABLE_LEAST_RECENT_FIRST, check_row, &used, NULL),
                     0);
    assert_int_equal(count_rows(table), rows);
    assert_int_equal(tuck_table_count(table), model_count());
    assert_int_equal(tuck_table_next_deadline_ns(table),
                     first < KEYS ? model[first].end_ns : NEVER);
}

static void a_table_does_what_a_plain_model_of_it_does(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    struct tuck_table *table = make(LIMIT);
    memset(model, 0, sizeof(model));
    for (model_step = 1; model_step < 100000; model_step++) {
        uint64_t key = unit_random_below(&random, KEYS);
        uint64_t span_ns = unit_random_below(&random, 5) ? unit_random_next(&random) >> 20 : 0;
        unsigned flags = (unsigned)unit_random_below(&random, 4);
        size_t choice = unit_random_below(&random, 100);
        witness.count = expected_count = 0;
        if (choice < 40)
            try_add(table, key, span_ns, flags);
        else if (choice < 75)
            try_find(table, key, (int)unit_random_below(&random, 4), span_ns);
        else if (choice < 85)
            try_load(table, key, span_ns, flags, (int)unit_random_below(&random, 4) - 2);
        else if (choice < 95)
            pass(unit_random_next(&random) >> 24);
        else if (choice < 99 || unit_random_below(&random, 10))
            try_sweep(table, unit_random_below(&random, 6));
        else
            try_clear(table);
        assert_int_equal(witness.count, expected_count);
        for (size_t i = 0; i < expected_count; i++)
            assert_seen(i, expected[i].reason, expected[i].key, expected[i].value);
        if (model_step % 16 == 0)
            check_all(table);
    }
    tuck_table_free(table);
}

// --- Several threads -----------------------------------------------------------------------------

#define THREADS 4
#define STEPS   20000
#define OWN     50 // keys of each thread in the table where nobody else touches them
#define VALUES  (THREADS * STEPS * 4)

// Values are numbers; each belongs to one key and comes to a table at most once.
static uint64_t values;                        /* atomic: how many there are */
static uint64_t key_of[VALUES];                /* atomic */
static uint64_t end_of_value[VALUES];          /* atomic: surely over then; 0: unknown */
static unsigned came[VALUES], went[VALUES];    /* atomic */
static unsigned loading[KEYS], loads, answers; /* atomic */

struct user {
    struct tuck_table *shared; // few places, short lives
    struct tuck_table *own;
    bool only_loads; // in the shared table
    uint64_t number;
    uint64_t own_value[OWN]; // 0: none
    struct unit_random random;
};

__attribute__((noreturn, format(printf, 1, 2))) static void fail_thread(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "stress_table: ");
    (void)vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(1);
}

static uint64_t atomic_get(const uint64_t *from) {
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

static unsigned count_up(unsigned *at) {
    return __atomic_add_fetch(at, 1, __ATOMIC_RELAXED);
}

static uint64_t new_value(uint64_t key) {
    uint64_t value = __atomic_fetch_add(&values, 1, __ATOMIC_RELAXED);
    if (value >= VALUES)
        fail_thread("there is no room for so many values");
    __atomic_store_n(&key_of[value], key, __ATOMIC_RELAXED);
    return value;
}

// A value that was found for the key by a call that began then.
static void check_value(uint64_t key, uint64_t value, uint64_t begun_ns) {
    if (value >= VALUES || atomic_get(&key_of[value]) != key)
        fail_thread("key %d: found value %d of another", (int)key, (int)value);
    uint64_t end_ns = atomic_get(&end_of_value[value]);
    if (end_ns != 0 && end_ns <= begun_ns)
        fail_thread("key %d: found value %d after its end", (int)key, (int)value);
}

static void add_value(struct tuck_table *table, struct unit_random *random, uint64_t key) {
    uint64_t span_ns = unit_random_below(random, 4) ? 1 + unit_random_below(random, 1000) : 0;
    unsigned flags = (unsigned)unit_random_below(random, 4);
    uint64_t value = new_value(key);
    int status = tuck_table_add(table, &key, &value, span_ns, flags, NULL);
    if (status == 0)
        (void)count_up(&came[value]);
    else if (status != TUCK_TABLE_PRESENT)
        fail_thread("add: %d", status);
    if (span_ns > 0 && !(flags & TUCK_TABLE_SLIDING))
        __atomic_store_n(&end_of_value[value], tuck_clock_mono_ns() + span_ns, __ATOMIC_RELAXED);
}

// The callback of the shared table, which adds some of them again.
static void see_off(void *arg, enum tuck_table_reason reason, const void *key, const void *value) {
    struct tuck_table **table = arg;
    uint64_t key_number, number;
    memcpy(&key_number, key, sizeof(key_number));
    memcpy(&number, value, sizeof(number));
    check_value(key_number, number, 0);
    if (count_up(&went[number]) > 1)
        fail_thread("value %d went twice", (int)number);
    struct unit_random random = {number};
    if (reason != TUCK_TABLE_EVICTED && unit_random_below(&random, 4) == 0)
        add_value(*table, &random, key_number);
}

static int load_value(void *arg, const void *key, void *ret_value, struct tuck_error *err) {
    struct user *user = arg;
    uint64_t number;
    memcpy(&number, key, sizeof(number));
    (void)count_up(&loads);
    if (count_up(&loading[number]) > 1 && user->only_loads)
        fail_thread("key %d: two loads at once", (int)number);
    (void)sched_yield();
    uint64_t value = new_value(number);
    int status = (int)unit_random_below(&user->random, 4) - 2;
    if (status == 0)
        (void)count_up(&came[value]);
    memcpy(ret_value, &value, sizeof(value));
    (void)__atomic_sub_fetch(&loading[number], 1, __ATOMIC_RELAXED);
    return status < 0 ? tuck_fail(err, status, "key %d", (int)number) : status;
}

static void load_shared(struct user *user, uint64_t key) {
    struct tuck_table_loader loader = {
        .load = load_value,
        .arg = user,
        .span_ns = 1 + unit_random_below(&user->random, 1000),
        .negative_span_ns = unit_random_below(&user->random, 500),
        .flags = (unsigned)unit_random_below(&user->random, 2) * TUCK_TABLE_SLIDING,
    };
    struct tuck_error err = {0};
    uint64_t value = 0, begun_ns = tuck_clock_mono_ns();
    int status = tuck_table_load(user->shared, &key, &loader, &value, &err);
    if (status == 0)
        check_value(key, value, begun_ns);
    else if (status < -2 || status > 1 || (status < 0 && err.code != status))
        fail_thread("load: %d", status);
    (void)count_up(&answers);
}

static bool check_shared_row(void *arg, const struct tuck_table_row *row) {
    uint64_t key, value, *begun_ns = arg;
    memcpy(&key, row->key, sizeof(key));
    memcpy(&value, row->value, sizeof(value));
    check_value(key, value, *begun_ns);
    return true;
}

static void use_shared(struct user *user) {
    struct unit_random *random = &user->random;
    uint64_t key = unit_random_below(random, KEYS), value = 0, begun_ns = tuck_clock_mono_ns();
    size_t choice = unit_random_below(random, 100);
    if (choice < 25 && user->only_loads)
        load_shared(user, key);
    else if (choice < 25)
        add_value(user->shared, random, key);
    else if (choice < 40 && tuck_table_get(user->shared, &key, &value) == 0)
        check_value(key, value, begun_ns);
    else if (choice < 50 && tuck_table_peek(user->shared, &key, &value) == 0)
        check_value(key, value, begun_ns);
    else if (choice < 70)
        load_shared(user, key);
    else if (choice < 80)
        tuck_clock_shift_mono(unit_random_below(random, 50));
    else if (choice < 90)
        (void)tuck_table_sweep(user->shared, 1 + unit_random_below(random, 4));
    else if (choice < 92 && tuck_table_rows(user->shared, TUCK_TABLE_MOST_USED_FIRST,
                                            check_shared_row, &begun_ns, NULL) != 0)
        fail_thread("no memory for rows");
    else if (choice < 98 && !user->only_loads)
        (void)tuck_table_delete(user->shared, &key, NULL);
    else if (choice < 99 && !user->only_loads && unit_random_below(random, 20) == 0)
        tuck_table_clear(user->shared);
    if (tuck_table_count(user->shared) > LIMIT)
        fail_thread("more items than the limit");
}

static void use_own(struct user *user, uint64_t step) {
    size_t choice = unit_random_below(&user->random, 4),
           which = unit_random_below(&user->random, OWN);
    uint64_t key = which * THREADS + user->number, value = 0, *own = &user->own_value[which];
    int status = choice == 0   ? tuck_table_add(user->own, &key, &step, 0, 0, NULL)
                 : choice == 1 ? tuck_table_delete(user->own, &key, &value)
                 : choice == 2 ? tuck_table_extend(user->own, &key, 0)
                               : tuck_table_get(user->own, &key, &value);
    if (choice == 0)
        *own = step;
    if (status != (*own ? 0 : TUCK_TABLE_ABSENT) || (choice % 2 == 1 && value != *own))
        fail_thread("key %d: another thread touched it", (int)key);
    if (choice == 1)
        *own = 0;
}

static void *run_user(void *arg) {
    struct user *user = arg;
    for (uint64_t step = 1; step <= STEPS; step++) {
        use_shared(user);
        use_own(user, step);
    }
    return NULL;
}

static void run_users(const char *name, bool only_loads) {
    static struct user users[THREADS];
    static struct tuck_table *shared;
    struct tuck_table_options options = options_of(LIMIT);
    struct tuck_table *own = NULL;
    pthread_t threads[THREADS];
    struct unit_random random = unit_random_of(name);
    values = loads = answers = 0;
    memset(end_of_value, 0, sizeof(end_of_value));
    memset(came, 0, sizeof(came));
    memset(went, 0, sizeof(went));
    options.removed = see_off;
    options.arg = &shared;
    assert_int_equal(tuck_table_new(&options, &shared, NULL), 0);
    options.limit = THREADS * OWN;
    options.removed = NULL;
    assert_int_equal(tuck_table_new(&options, &own, NULL), 0);
    for (size_t i = 0; i < THREADS; i++) {
        users[i] = (struct user){.shared = shared,
                                 .own = own,
                                 .only_loads = only_loads,
                                 .number = i,
                                 .random = {unit_random_next(&random)}};
        assert_int_equal(pthread_create(&threads[i], NULL, run_user, &users[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    tuck_table_free(own);
    while (tuck_table_count(shared) > 0) // until nothing more is added again
        tuck_table_clear(shared);
    tuck_table_free(shared);
    for (size_t i = 0; i < values; i++)
        assert_int_equal(went[i], came[i]);
    print_message("# %d values, %u loads for %u answers\n", (int)values, loads, answers);
}

static void every_value_that_came_went_once_however_many_threads_use_a_table(void **state) {
    (void)state;
    run_users(__func__, false);
}

static void no_two_threads_load_the_same_key_at_once(void **state) {
    (void)state;
    run_users(__func__, true);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(a_table_does_what_a_plain_model_of_it_does, world_begin),
    cmocka_unit_test_setup(every_value_that_came_went_once_however_many_threads_use_a_table,
                           world_begin),
    cmocka_unit_test_setup(no_two_threads_load_the_same_key_at_once, world_begin),
};

UNIT_MAIN(tests)
