// SPDX-License-Identifier: MIT
#include "tests/unit/table_world.h"

#include <pthread.h>
#include <semaphore.h>

#define WALL_S UINT64_C(1800000000)

// --- Time ----------------------------------------------------------------------------------------

int __real_clock_gettime(clockid_t id, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret_time);

int __wrap_clock_gettime(clockid_t id, struct timespec *ret_time) {
    if (id != CLOCK_MONOTONIC && id != CLOCK_REALTIME)
        return __real_clock_gettime(id, ret_time);
    *ret_time = (struct timespec){.tv_sec = id == CLOCK_MONOTONIC ? 1000 : WALL_S};
    return 0;
}

void pass(uint64_t ns) {
    tuck_clock_shift_mono(ns);
    tuck_clock_shift((int64_t)ns);
}

int world_begin(void **state) {
    (void)state;
    tuck_clock_shift((int64_t)(WALL_S * TUCK_NS_PER_S - tuck_clock_wall_ns()));
    return 0;
}

// --- Tables --------------------------------------------------------------------------------------

struct witness witness;

static void note(void *arg, enum tuck_table_reason reason, const void *key, const void *value) {
    struct witness *to = arg;
    struct seen seen = {.reason = reason};
    memcpy(&seen.key, key, sizeof(seen.key));
    memcpy(&seen.value, value, sizeof(seen.value));
    if (to->count < TUCK_ARRAY_LEN(to->seen))
        to->seen[to->count] = seen;
    to->count++;
    if (to->react)
        to->react(to->table, &seen);
}

void assert_seen(size_t at, enum tuck_table_reason reason, uint64_t key, uint64_t value) {
    assert_true(at < witness.count);
    assert_int_equal(witness.seen[at].reason, reason);
    assert_int_equal(witness.seen[at].key, key);
    assert_int_equal(witness.seen[at].value, value);
}

struct tuck_table_options options_of(size_t limit) {
    return (struct tuck_table_options){.key_bytes = sizeof(uint64_t),
                                       .value_bytes = sizeof(uint64_t),
                                       .limit = limit,
                                       .removed = note,
                                       .arg = &witness};
}

struct tuck_table *make(size_t limit) {
    struct tuck_table_options options = options_of(limit);
    struct tuck_table *table = NULL;
    assert_int_equal(tuck_table_new(&options, &table, NULL), 0);
    witness = (struct witness){.table = table};
    return table;
}

void add(struct tuck_table *table, uint64_t key, uint64_t value, uint64_t span_ns, unsigned flags) {
    assert_int_equal(tuck_table_add(table, &key, &value, span_ns, flags, NULL), 0);
}

uint64_t get(struct tuck_table *table, uint64_t key) {
    uint64_t value = 0;
    int status = tuck_table_get(table, &key, &value);
    assert_int_equal(status, value ? 0 : TUCK_TABLE_ABSENT);
    return value;
}

uint64_t peek(struct tuck_table *table, uint64_t key) {
    uint64_t value = 0;
    int status = tuck_table_peek(table, &key, &value);
    assert_int_equal(status, value ? 0 : TUCK_TABLE_ABSENT);
    return value;
}

// --- Rows ----------------------------------------------------------------------------------------

static bool append(void *arg, const struct tuck_table_row *row) {
    struct list *list = arg;
    size_t at = list->count++;
    assert_true(at < TUCK_ARRAY_LEN(list->keys));
    memcpy(&list->keys[at], row->key, sizeof(uint64_t));
    memcpy(&list->values[at], row->value, sizeof(uint64_t));
    list->spans_ns[at] = row->span_ns;
    list->ends_ns[at] = row->deadline_ns;
    list->uses[at] = row->uses;
    list->flags[at] = row->flags;
    return true;
}

struct list list_of(struct tuck_table *table, enum tuck_table_order order) {
    struct list list = {0};
    assert_int_equal(tuck_table_rows(table, order, append, &list, NULL), 0);
    return list;
}

static bool count(void *arg, const struct tuck_table_row *row) {
    (void)row;
    ++*(size_t *)arg;
    return true;
}

size_t count_rows(struct tuck_table *table) {
    size_t rows = 0;
    assert_int_equal(tuck_table_rows(table, TUCK_TABLE_LEAST_RECENT_FIRST, count, &rows, NULL), 0);
    return rows;
}

// --- Loading -------------------------------------------------------------------------------------

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);

static sem_t wait_begins; // posted by each thread that waits for a load, with the table's lock

__attribute__((constructor)) static void make_semaphore(void) {
    (void)sem_init(&wait_begins, 0, 0);
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex) {
    (void)sem_post(&wait_begins);
    return __real_pthread_cond_wait(cond, mutex);
}

static int load_from(void *arg, const void *key, void *ret_value, struct tuck_error *err) {
    struct source *source = arg;
    uint64_t number;
    memcpy(&number, key, sizeof(number));
    bool is_first = __atomic_add_fetch(&source->loads, 1, __ATOMIC_RELAXED) == 1;
    if (source->waiting > 0 && !is_first)
        (void)sem_post(&wait_begins); // one load too many: the first must not wait for ever
    for (unsigned i = 0; is_first && i < source->waiting; i++)
        while (sem_wait(&wait_begins) < 0)
            ;
    if (source->meanwhile)
        source->meanwhile(source->table, number);
    memcpy(ret_value, &source->value, sizeof(source->value));
    return source->status < 0
               ? tuck_fail(err, source->status, "the source of %d is dry", (int)number)
               : source->status;
}

struct tuck_table_loader loader_of(struct source *source, uint64_t span_ns,
                                   uint64_t negative_span_ns) {
    return (struct tuck_table_loader){
        .load = load_from, .arg = source, .span_ns = span_ns, .negative_span_ns = negative_span_ns};
}
