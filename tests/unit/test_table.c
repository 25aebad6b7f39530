// SPDX-License-Identifier: MIT
/*
 * Tables whose items expire: life, callbacks, bound, expiry, lists. The names TT1 to TT15 are those of the study of the
 * seed; TT9 is in test_table_load.c, TT14 in test_table_file.c, TT15 is stress_table.c.
 */
#include "tests/unit/table_world.h"

#include <pthread.h>

// --- Life ----------------------------------------------------------------------------------------

// TT1
static void items_without_an_end_outlive_every_sweep(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    add(table, 1, 11, 0, 0);
    add(table, 2, 12, 0, TUCK_TABLE_SLIDING);
    add(table, 3, 13, HOUR_NS, 0);
    add(table, 4, 14, NEVER - 1, 0); // longer than the clock can count
    pass(HOUR_NS);
    assert_int_equal(tuck_table_sweep(table, 10), 1);
    pass(1000000 * HOUR_NS);
    assert_int_equal(tuck_table_sweep(table, 10), 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), NEVER);
    assert_int_equal(get(table, 1), 11);
    assert_int_equal(get(table, 2), 12);
    assert_int_equal(get(table, 4), 14);
    assert_int_equal(tuck_table_count(table), 3);
    tuck_table_free(table);
}

// TT2
static void a_sliding_life_begins_anew_with_each_use_and_an_absolute_one_does_not(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    add(table, 1, 11, HOUR_NS, TUCK_TABLE_SLIDING);
    add(table, 2, 12, HOUR_NS, 0);
    pass(HOUR_NS - 1);
    assert_int_equal(get(table, 1), 11);
    assert_int_equal(get(table, 2), 12);
    pass(1);
    assert_int_equal(get(table, 1), 11);
    assert_int_equal(get(table, 2), 0);
    pass(HOUR_NS - 1);
    assert_int_equal(peek(table, 1), 11);
    pass(1);
    assert_int_equal(get(table, 1), 0);
    tuck_table_free(table);
}

// TT3
static void an_item_whose_life_is_over_is_never_returned_swept_or_not(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    uint64_t one = 1, value = 99;
    add(table, 1, 11, HOUR_NS, TUCK_TABLE_SLIDING);
    add(table, 2, 12, HOUR_NS, 0);
    add(table, 3, 13, HOUR_NS, 0);
    pass(HOUR_NS);
    assert_int_equal(tuck_table_count(table), 3); // still there
    assert_int_equal(tuck_table_get(table, &one, &value), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_peek(table, &one, &value), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_extend(table, &one, HOUR_NS), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_delete(table, &one, &value), TUCK_TABLE_ABSENT);
    assert_int_equal(value, 99);
    assert_int_equal(witness.count, 0);
    add(table, 2, 22, HOUR_NS, TUCK_TABLE_IF_ABSENT); // as if it were not there
    assert_seen(0, TUCK_TABLE_EXPIRED, 2, 12);
    assert_int_equal(get(table, 2), 22);
    assert_int_equal(tuck_table_sweep(table, 10), 2);
    assert_seen(1, TUCK_TABLE_EXPIRED, 1, 11);
    assert_seen(2, TUCK_TABLE_EXPIRED, 3, 13);
    assert_int_equal(witness.count, 3);
    tuck_table_free(table);
}

// TT5
static void a_peek_changes_nothing(void **state) {
    (void)state;
    struct tuck_table *table = make(2);
    add(table, 1, 11, HOUR_NS, TUCK_TABLE_SLIDING);
    add(table, 2, 12, 0, 0);
    uint64_t deadline_ns = tuck_table_next_deadline_ns(table);
    pass(HOUR_NS / 2);
    assert_int_equal(peek(table, 1), 11);
    assert_int_equal(tuck_table_next_deadline_ns(table), deadline_ns);
    add(table, 3, 13, 0, 0); // evicts 1, the least recently used in spite of the peek
    assert_seen(0, TUCK_TABLE_EVICTED, 1, 11);
    assert_int_equal(peek(table, 1), 0);
    tuck_table_free(table);
}

static void an_extension_counts_from_now_and_may_be_shorter(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    uint64_t one = 1, two = 2;
    add(table, 1, 11, HOUR_NS, 0);
    add(table, 2, 12, 0, TUCK_TABLE_SLIDING);
    pass(HOUR_NS / 2);
    assert_int_equal(tuck_table_extend(table, &one, HOUR_NS), 0);
    pass(HOUR_NS - 1);
    assert_int_equal(peek(table, 1), 11);
    assert_int_equal(tuck_table_extend(table, &one, 0), 0);
    pass(100 * HOUR_NS);
    assert_int_equal(peek(table, 1), 11);
    assert_int_equal(tuck_table_extend(table, &two, HOUR_NS), 0);
    pass(HOUR_NS - 1);
    assert_int_equal(get(table, 2), 12); // still sliding, by the new span
    pass(HOUR_NS - 1);
    assert_int_equal(tuck_table_extend(table, &two, 5), 0);
    pass(5);
    assert_int_equal(get(table, 2), 0);
    tuck_table_free(table);
}

// TT6
static void deleting_what_is_absent_says_so(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    uint64_t one = 1, value = 0;
    assert_int_equal(tuck_table_delete(table, &one, &value), TUCK_TABLE_ABSENT);
    add(table, 1, 11, 0, 0);
    assert_int_equal(tuck_table_delete(table, &one, &value), 0);
    assert_int_equal(value, 11);
    assert_int_equal(tuck_table_delete(table, &one, NULL), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_extend(table, &one, 1), TUCK_TABLE_ABSENT);
    assert_int_equal(witness.count, 1);
    tuck_table_free(table);
}

// --- Callbacks -----------------------------------------------------------------------------------

// TT7
static void every_way_out_has_its_reason_and_is_told_once(void **state) {
    (void)state;
    struct tuck_table *table = make(3);
    uint64_t two = 2;
    add(table, 1, 11, HOUR_NS, 0);
    pass(HOUR_NS);
    assert_int_equal(tuck_table_sweep(table, 10), 1);
    assert_seen(0, TUCK_TABLE_EXPIRED, 1, 11);
    add(table, 2, 12, 0, 0);
    assert_int_equal(tuck_table_delete(table, &two, NULL), 0);
    assert_seen(1, TUCK_TABLE_DELETED, 2, 12);
    add(table, 3, 13, 0, 0);
    add(table, 3, 23, 0, 0);
    assert_seen(2, TUCK_TABLE_REPLACED, 3, 13);
    assert_int_equal(tuck_table_add(table, &(uint64_t){3}, &two, 0, TUCK_TABLE_IF_ABSENT, NULL),
                     TUCK_TABLE_PRESENT);
    add(table, 4, 14, 0, 0);
    add(table, 5, 15, 0, 0);
    add(table, 6, 16, HOUR_NS, 0);
    assert_seen(3, TUCK_TABLE_EVICTED, 3, 23);
    pass(HOUR_NS);
    tuck_table_clear(table);
    assert_seen(4, TUCK_TABLE_CLEARED, 4, 14);
    assert_seen(5, TUCK_TABLE_CLEARED, 5, 15);
    assert_seen(6, TUCK_TABLE_EXPIRED, 6, 16); // it was over before
    assert_int_equal(tuck_table_count(table), 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), NEVER);
    add(table, 7, 17, 0, 0);
    tuck_table_free(table);
    assert_seen(7, TUCK_TABLE_CLEARED, 7, 17);
    assert_int_equal(witness.count, 8);
}

static void add_again(struct tuck_table *table, const struct seen *seen) {
    if (seen->value < 100)
        add(table, seen->key, seen->value + 100, HOUR_NS, 0);
}

// TT8
static void an_item_that_its_callback_adds_again_stays(void **state) {
    (void)state;
    struct tuck_table *table = make(3);
    uint64_t key = 1;
    witness.react = add_again;
    add(table, 1, 11, 0, 0);
    assert_int_equal(tuck_table_delete(table, &key, NULL), 0);
    assert_int_equal(peek(table, 1), 111);
    add(table, 2, 12, HOUR_NS / 2, 0);
    pass(HOUR_NS / 2);
    assert_int_equal(tuck_table_sweep(table, 1), 1);
    assert_int_equal(peek(table, 2), 112);
    tuck_table_clear(table);
    assert_int_equal(tuck_table_count(table), 0); // those are past adding again
    add(table, 3, 13, 0, 0);
    tuck_table_clear(table);
    assert_int_equal(peek(table, 3), 113);
    add(table, 4, 14, 0, 0);
    add(table, 4, 24, 0, 0); // the callback has the last word
    assert_int_equal(peek(table, 4), 124);
    witness.count = 0;
    tuck_table_clear(table);
    add(table, 5, 15, 0, 0);
    tuck_table_free(table); // and there nothing stays
    assert_int_equal(witness.count, 3);
    assert_seen(2, TUCK_TABLE_CLEARED, 5, 15);
}

// Everything that a table can do, except for adding what was evicted.
static void do_everything(struct tuck_table *table, const struct seen *seen) {
    struct source source = {.status = TUCK_TABLE_ABSENT};
    struct tuck_table_loader loader = loader_of(&source, 0, 0);
    uint64_t key = seen->key, other = 77, value = 0;
    if (seen->key >= 70 || seen->reason == TUCK_TABLE_EVICTED)
        return;
    assert_int_equal(tuck_table_get(table, &key, &value), TUCK_TABLE_ABSENT); // it is gone
    assert_int_equal(tuck_table_extend(table, &key, 1), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_delete(table, &key, NULL), TUCK_TABLE_ABSENT);
    assert_int_equal(tuck_table_load(table, &key, &loader, &value, NULL), TUCK_TABLE_ABSENT);
    add(table, other, 1, HOUR_NS, 0);
    assert_int_equal(tuck_table_extend(table, &other, 2 * HOUR_NS), 0);
    assert_in_range(count_rows(table), 1, tuck_table_count(table));
    (void)tuck_table_sweep(table, 1);
    (void)tuck_table_next_deadline_ns(table);
    if (seen->reason == TUCK_TABLE_CLEARED)
        tuck_table_clear(table);
}

// TT8
static void a_callback_may_do_anything_to_the_table(void **state) {
    (void)state;
    struct tuck_table *table = make(3);
    witness.react = do_everything;
    for (uint64_t key = 1; key <= 5; key++)
        add(table, key, key, key * HOUR_NS, 0);
    assert_int_equal(tuck_table_delete(table, &(uint64_t){4}, NULL), 0);
    assert_int_equal(peek(table, 77), 1);
    pass(5 * HOUR_NS);
    while (tuck_table_sweep(table, 1) > 0)
        ;
    assert_int_equal(peek(table, 77), 1);
    add(table, 6, 6, 0, 0);
    tuck_table_clear(table);
    add(table, 6, 6, 0, 0);
    tuck_table_free(table);
}

// --- Bound ---------------------------------------------------------------------------------------

// TT10
static void the_least_recently_used_item_makes_room(void **state) {
    (void)state;
    struct tuck_table *table = make(3);
    uint64_t three = 3;
    for (uint64_t key = 1; key <= 3; key++)
        add(table, key, key + 10, 0, 0);
    assert_int_equal(get(table, 1), 11);
    assert_int_equal(tuck_table_extend(table, &three, 0), 0);
    assert_int_equal(get(table, 2), 12);
    add(table, 1, 21, 0, 0); // replacing takes no room and is a use
    for (uint64_t key = 4; key <= 6; key++)
        add(table, key, key + 10, 0, 0);
    assert_int_equal(witness.count, 4);
    assert_seen(0, TUCK_TABLE_REPLACED, 1, 11);
    assert_seen(1, TUCK_TABLE_EVICTED, 3, 13);
    assert_seen(2, TUCK_TABLE_EVICTED, 2, 12);
    assert_seen(3, TUCK_TABLE_EVICTED, 1, 21);
    assert_int_equal(tuck_table_count(table), 3);
    tuck_table_free(table);
}

static void what_is_expired_makes_room_before_anything_else_does(void **state) {
    (void)state;
    struct tuck_table *table = make(3);
    add(table, 1, 11, 0, 0);
    add(table, 2, 12, HOUR_NS, 0);
    add(table, 3, 13, 2 * HOUR_NS, 0);
    pass(HOUR_NS);
    add(table, 4, 14, 0, 0);
    assert_seen(0, TUCK_TABLE_EXPIRED, 2, 12);
    add(table, 5, 15, 0, 0);
    assert_seen(1, TUCK_TABLE_EVICTED, 1, 11);
    tuck_table_free(table);
}

static void a_table_of_one_item_holds_the_last(void **state) {
    (void)state;
    struct tuck_table *table = make(1);
    for (uint64_t key = 1; key <= 3; key++) {
        add(table, key, key + 10, HOUR_NS, 0);
        assert_int_equal(get(table, key), key + 10);
        assert_int_equal(tuck_table_count(table), 1);
    }
    assert_int_equal(witness.count, 2);
    tuck_table_free(table);
}

// --- Expiry --------------------------------------------------------------------------------------

static double cpu_s(void) {
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// TT11
static void a_hundred_thousand_ever_shorter_spans_are_added_and_swept_fast(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    struct tuck_table *table = make(COUNT);
    double begun_s = cpu_s();
    for (uint64_t key = 0; key < COUNT; key++) {
        add(table, key, key, (COUNT - key) * TUCK_NS_PER_S, 0);
        assert_int_equal(tuck_table_next_deadline_ns(table),
                         tuck_clock_mono_ns() + (COUNT - key) * TUCK_NS_PER_S);
    }
    pass(COUNT * TUCK_NS_PER_S);
    for (size_t left = COUNT; left > 0; left -= 100) {
        assert_int_equal(tuck_table_sweep(table, 100), 100);
        assert_int_equal(tuck_table_count(table), left - 100);
    }
    // Looking at all for each would be ten thousand million steps.
    assert_true(cpu_s() - begun_s < 5);
    assert_int_equal(witness.count, COUNT);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(witness.seen); i++)
        assert_seen(i, TUCK_TABLE_EXPIRED, COUNT - 1 - i, COUNT - 1 - i); // the earliest first
    tuck_table_free(table);
}

static void a_sweep_takes_no_more_than_it_was_told_and_nothing_that_lives(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    for (uint64_t key = 1; key <= 6; key++)
        add(table, key, key, (7 - key) * HOUR_NS, 0);
    assert_int_equal(tuck_table_sweep(table, 10), 0);
    pass(4 * HOUR_NS);
    assert_int_equal(tuck_table_sweep(table, 0), 0);
    assert_int_equal(tuck_table_sweep(table, 3), 3);
    assert_seen(0, TUCK_TABLE_EXPIRED, 6, 6);
    assert_seen(1, TUCK_TABLE_EXPIRED, 5, 5);
    assert_seen(2, TUCK_TABLE_EXPIRED, 4, 4);
    assert_int_equal(tuck_table_sweep(table, 3), 1);
    assert_int_equal(tuck_table_count(table), 2);
    tuck_table_free(table);
}

// TT12
static void the_next_deadline_is_exact_whatever_happens_to_the_earliest(void **state) {
    (void)state;
    struct tuck_table *table = make(10);
    uint64_t one = 1, two = 2, now_ns = tuck_clock_mono_ns();
    assert_int_equal(tuck_table_next_deadline_ns(table), NEVER);
    add(table, 3, 13, 3 * HOUR_NS, 0);
    add(table, 1, 11, HOUR_NS, 0);
    add(table, 2, 12, 2 * HOUR_NS, TUCK_TABLE_SLIDING);
    add(table, 4, 14, 0, 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), now_ns + HOUR_NS);
    assert_int_equal(tuck_table_extend(table, &one, 5 * HOUR_NS), 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), now_ns + 2 * HOUR_NS);
    pass(HOUR_NS / 2);
    assert_int_equal(get(table, 2), 12);
    assert_int_equal(tuck_table_next_deadline_ns(table), now_ns + 2 * HOUR_NS + HOUR_NS / 2);
    assert_int_equal(tuck_table_delete(table, &two, NULL), 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), now_ns + 3 * HOUR_NS);
    add(table, 3, 23, 0, 0);
    assert_int_equal(tuck_table_next_deadline_ns(table), now_ns + 5 * HOUR_NS);
    pass(6 * HOUR_NS);
    assert_int_equal(tuck_table_next_deadline_ns(table), now_ns + 5 * HOUR_NS); // not swept yet
    assert_int_equal(tuck_table_sweep(table, 10), 1);
    assert_int_equal(tuck_table_next_deadline_ns(table), NEVER);
    tuck_table_free(table);
}

// TT12
static void the_next_deadline_of_many_items_is_the_least_of_them(void **state) {
    (void)state;
    enum { KEYS = 300 };
    struct unit_random random = unit_random_of(__func__);
    struct tuck_table *table = make(KEYS);
    uint64_t ends_ns[KEYS];
    memset(ends_ns, 0xff, sizeof(ends_ns));
    for (int step = 0; step < 20000; step++) {
        uint64_t key = unit_random_below(&random, KEYS);
        uint64_t span_ns = unit_random_below(&random, 8) ? 1 + unit_random_below(&random, 1000) : 0;
        switch (unit_random_below(&random, 4)) {
        case 0:
            (void)tuck_table_delete(table, &key, NULL);
            ends_ns[key] = NEVER;
            break;
        case 1:
            if (tuck_table_extend(table, &key, span_ns) == 0)
                ends_ns[key] = span_ns ? tuck_clock_mono_ns() + span_ns : NEVER;
            break;
        case 2:
            add(table, key, key, span_ns, 0);
            ends_ns[key] = span_ns ? tuck_clock_mono_ns() + span_ns : NEVER;
            break;
        default:
            pass(unit_random_below(&random, 4));
            while (tuck_table_sweep(table, 10) == 10)
                ;
            for (size_t i = 0; i < KEYS; i++)
                if (ends_ns[i] <= tuck_clock_mono_ns())
                    ends_ns[i] = NEVER;
        }
        uint64_t least_ns = NEVER;
        for (size_t i = 0; i < KEYS; i++)
            least_ns = ends_ns[i] < least_ns ? ends_ns[i] : least_ns;
        assert_int_equal(tuck_table_next_deadline_ns(table), least_ns);
    }
    tuck_table_free(table);
}

// --- Adding if absent ----------------------------------------------------------------------------

struct adder {
    struct tuck_table *table;
    pthread_barrier_t *barrier;
    uint64_t number;
    unsigned won;
};

static void *add_all(void *arg) {
    struct adder *adder = arg;
    (void)pthread_barrier_wait(adder->barrier);
    for (uint64_t key = 0; key < 100; key++)
        adder->won +=
            tuck_table_add(adder->table, &key, &adder->number, 0, TUCK_TABLE_IF_ABSENT, NULL) == 0;
    return NULL;
}

// TT4
static void of_ten_threads_that_add_the_same_keys_one_wins_each(void **state) {
    (void)state;
    struct tuck_table *table = make(100);
    pthread_barrier_t barrier;
    pthread_t threads[10];
    struct adder adders[10];
    unsigned won = 0, found[10] = {0};
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 10), 0);
    for (size_t i = 0; i < 10; i++) {
        adders[i] = (struct adder){table, &barrier, i + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, add_all, &adders[i]), 0);
    }
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint64_t key = 0; key < 100; key++)
        found[get(table, key) - 1]++;
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(found[i], adders[i].won);
        won += adders[i].won;
    }
    assert_int_equal(won, 100);
    assert_int_equal(witness.count, 0);
    (void)pthread_barrier_destroy(&barrier);
    tuck_table_free(table);
}

// --- Lists ---------------------------------------------------------------------------------------

struct taker {
    struct tuck_table *table;
    unsigned left;
};

static bool delete_row(void *arg, const struct tuck_table_row *row) {
    struct taker *taker = arg;
    assert_int_equal(tuck_table_delete(taker->table, row->key, NULL), 0);
    return --taker->left > 0;
}

// TT13
static void the_most_used_come_first_in_the_list_of_use(void **state) {
    (void)state;
    struct tuck_table *table = make(16);
    for (uint64_t key = 1; key <= 6; key++)
        add(table, key, key + 10, key == 6 ? 1 : 0, 0);
    for (uint64_t key = 1; key <= 6; key++)
        for (uint64_t i = 0; i < (key + 1) / 2; i++)
            (void)get(table, key);
    (void)peek(table, 1);
    assert_int_equal(tuck_table_extend(table, &(uint64_t){2}, 0), 0);
    add(table, 4, 24, 0, 0); // new, and so never used
    pass(1);                 // 6 is over
    struct list all = list_of(table, TUCK_TABLE_MOST_USED_FIRST);
    static const uint64_t order[] = {5, 2, 3, 1, 4}, uses[] = {3, 2, 2, 1, 0};
    assert_int_equal(all.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(all.keys[i], order[i]);
        assert_int_equal(all.uses[i], uses[i]);
    }
    assert_int_equal(all.values[4], 24);
    struct taker two = {table, 2}; // each() may use the table, and end it
    assert_int_equal(tuck_table_rows(table, TUCK_TABLE_MOST_USED_FIRST, delete_row, &two, NULL), 0);
    assert_int_equal(get(table, 5), 0);
    assert_int_equal(get(table, 2), 0);
    assert_int_equal(count_rows(table), 3);
    tuck_table_free(table);
    table = make(1);
    assert_int_equal(count_rows(table), 0);
    tuck_table_free(table);
}

static void a_set_of_keys_has_no_values(void **state) {
    (void)state;
    struct tuck_table_options options = {.key_bytes = TUCK_ID_BYTES, .limit = 10};
    struct tuck_table *table = NULL;
    struct tuck_action_id one = unit_action(1), two = unit_action(2);
    assert_int_equal(tuck_table_new(&options, &table, NULL), 0);
    assert_int_equal(tuck_table_add(table, &one, NULL, HOUR_NS, 0, NULL), 0);
    assert_int_equal(tuck_table_get(table, &one, NULL), 0);
    assert_int_equal(tuck_table_get(table, &two, NULL), TUCK_TABLE_ABSENT);
    assert_int_equal(count_rows(table), 1);
    assert_int_equal(tuck_table_delete(table, &one, NULL), 0);
    tuck_table_free(table);
    tuck_table_free(NULL);
}

static void a_table_needs_keys_and_a_limit(void **state) {
    (void)state;
    struct tuck_table *table = NULL;
    struct tuck_error err = {0};
    assert_int_equal(tuck_table_new(&(struct tuck_table_options){.key_bytes = 8}, &table, &err),
                     TUCK_EINVAL);
    assert_int_equal(tuck_table_new(&(struct tuck_table_options){.limit = 8}, &table, &err),
                     TUCK_EINVAL);
    assert_int_equal(err.code, TUCK_EINVAL);
    assert_null(table);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(items_without_an_end_outlive_every_sweep, world_begin),
    cmocka_unit_test_setup(a_sliding_life_begins_anew_with_each_use_and_an_absolute_one_does_not,
                           world_begin),
    cmocka_unit_test_setup(an_item_whose_life_is_over_is_never_returned_swept_or_not, world_begin),
    cmocka_unit_test_setup(a_peek_changes_nothing, world_begin),
    cmocka_unit_test_setup(an_extension_counts_from_now_and_may_be_shorter, world_begin),
    cmocka_unit_test_setup(deleting_what_is_absent_says_so, world_begin),
    cmocka_unit_test_setup(every_way_out_has_its_reason_and_is_told_once, world_begin),
    cmocka_unit_test_setup(an_item_that_its_callback_adds_again_stays, world_begin),
    cmocka_unit_test_setup(a_callback_may_do_anything_to_the_table, world_begin),
    cmocka_unit_test_setup(the_least_recently_used_item_makes_room, world_begin),
    cmocka_unit_test_setup(what_is_expired_makes_room_before_anything_else_does, world_begin),
    cmocka_unit_test_setup(a_table_of_one_item_holds_the_last, world_begin),
    cmocka_unit_test_setup(a_hundred_thousand_ever_shorter_spans_are_added_and_swept_fast,
                           world_begin),
    cmocka_unit_test_setup(a_sweep_takes_no_more_than_it_was_told_and_nothing_that_lives,
                           world_begin),
    cmocka_unit_test_setup(the_next_deadline_is_exact_whatever_happens_to_the_earliest,
                           world_begin),
    cmocka_unit_test_setup(the_next_deadline_of_many_items_is_the_least_of_them, world_begin),
    cmocka_unit_test_setup(of_ten_threads_that_add_the_same_keys_one_wins_each, world_begin),
    cmocka_unit_test_setup(the_most_used_come_first_in_the_list_of_use, world_begin),
    cmocka_unit_test_setup(a_set_of_keys_has_no_values, world_begin),
    cmocka_unit_test_setup(a_table_needs_keys_and_a_limit, world_begin),
};

UNIT_MAIN(tests)
