// SPDX-License-Identifier: MIT
#include "tests/unit/lru_world.h"

#include <inttypes.h>

#define PATIENCE_NS (60 * TUCK_NS_PER_S)

// --- What the linker sends here ------------------------------------------------------------------

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* guarded by lock */
static unsigned waiting;
static struct write record[10000];
static size_t record_count;
static unsigned calls;

static _Thread_local unsigned allocations_left;
static _Thread_local bool has_failed_allocation;

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex) {
    (void)pthread_mutex_lock(&lock);
    waiting++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
    int status = __real_pthread_cond_wait(cond, mutex);
    (void)pthread_mutex_lock(&lock);
    waiting--;
    (void)pthread_mutex_unlock(&lock);
    return status;
}

static bool is_to_fail(void) {
    if (allocations_left == 0 || --allocations_left > 0)
        return false;
    has_failed_allocation = true;
    return true;
}

void *__wrap_malloc(size_t size) {
    return is_to_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return is_to_fail() ? NULL : __real_calloc(count, size);
}

bool fail_allocation(unsigned nth) {
    bool result = has_failed_allocation;
    has_failed_allocation = false;
    allocations_left = nth;
    return result;
}

// --- Waiting -------------------------------------------------------------------------------------

static void await(const unsigned *count, unsigned expected) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(PATIENCE_NS / TUCK_NS_PER_S);
    int status = 0;
    (void)pthread_mutex_lock(&lock);
    while (status == 0 && *count != expected)
        status = pthread_cond_timedwait(&changed, &lock, &until);
    (void)pthread_mutex_unlock(&lock);
    if (status != 0)
        fail_msg("%u threads did not come to wait within a minute", expected);
}

void await_waiting(unsigned count) {
    await(&waiting, count);
}

void gate_await(struct gate *gate, unsigned count) {
    await(&gate->waiting, count);
}

static void gate_set(struct gate *gate, bool is_shut) {
    (void)pthread_mutex_lock(&lock);
    gate->is_shut = is_shut;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

void gate_shut(struct gate *gate) {
    gate_set(gate, true);
}

void gate_open(struct gate *gate) {
    gate_set(gate, false);
}

// With the lock.
static void gate_pass(struct gate *gate) {
    gate->waiting++;
    (void)pthread_cond_broadcast(&changed);
    while (gate->is_shut)
        (void)__real_pthread_cond_wait(&changed, &lock);
    gate->waiting--;
}

// --- Back end ------------------------------------------------------------------------------------

static uint32_t number_of(const void *key) {
    uint32_t number;
    memcpy(&number, key, sizeof(number));
    return number;
}

static int fake_load(void *backend, const void *key, void *ret_value, struct tuck_error *err) {
    struct fake *fake = backend;
    uint32_t number = number_of(key);
    (void)pthread_mutex_lock(&lock);
    fake->loads++;
    gate_pass(&fake->load_gate);
    int status = fake->load_status;
    if (status < 0)
        status = tuck_fail(err, status, "load %c%u", fake->name, number);
    else if (status == 0 && (number >= KEYS || fake->stored[number] == 0))
        status = TUCK_LRU_ABSENT;
    else if (status == 0)
        *(struct value *)ret_value = (struct value){fake->stored[number], fake->weight};
    (void)pthread_mutex_unlock(&lock);
    return status;
}

static void fake_flush(void *backend, struct tuck_lru_flushed *items, size_t count,
                       struct tuck_error *err) {
    struct fake *fake = backend;
    bool has_failed = false;
    (void)pthread_mutex_lock(&lock);
    fake->flushes++;
    gate_pass(&fake->flush_gate);
    calls++;
    for (size_t i = 0; i < count; i++) {
        uint32_t key = number_of(items[i].key);
        uint64_t number = ((const struct value *)items[i].value)->number;
        int status = key < KEYS ? fake->flush_status[key] : 0;
        items[i].status = status;
        if (status < 0 && !has_failed)
            has_failed = tuck_fail(err, status, "flush %c%u", fake->name, key) < 0;
        if (status == 0 && key < KEYS)
            fake->stored[key] = number;
        if (record_count < TUCK_ARRAY_LEN(record))
            record[record_count++] = (struct write){fake->name, key, number, status, calls};
    }
    (void)pthread_mutex_unlock(&lock);
}

static void fake_drop(void *backend, const void *key, const void *value) {
    struct fake *fake = backend;
    (void)key;
    (void)value;
    (void)pthread_mutex_lock(&lock);
    fake->drops++;
    (void)pthread_mutex_unlock(&lock);
}

static const struct tuck_lru_ops fake_ops = {fake_load, fake_flush, fake_drop};

const struct write *writes(size_t *ret_count) {
    (void)pthread_mutex_lock(&lock);
    *ret_count = record_count;
    (void)pthread_mutex_unlock(&lock);
    assert_true(*ret_count < TUCK_ARRAY_LEN(record));
    return record;
}

const char *written(void) {
    static char text[4096];
    size_t len = 0, count;
    (void)writes(&count);
    (void)pthread_mutex_lock(&lock);
    text[0] = '\0';
    for (size_t i = 0; i < count && len < sizeof(text); i++) {
        const char *between = i == 0 ? "" : (record[i].call == record[i - 1].call ? "," : " ");
        const char *mark = record[i].status == 0 ? "" : (record[i].status < 0 ? "!" : "?");
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%c%" PRIu32 "=%" PRIu64,
                                between, mark, record[i].name, record[i].key, record[i].number);
    }
    record_count = 0;
    (void)pthread_mutex_unlock(&lock);
    return text;
}

void set_flush_status(struct fake *fake, uint32_t key, int status) {
    (void)pthread_mutex_lock(&lock);
    fake->flush_status[key] = status;
    (void)pthread_mutex_unlock(&lock);
}

// --- World ---------------------------------------------------------------------------------------

struct tuck_lru_options world_options(struct fake *fake, size_t limit_items) {
    return (struct tuck_lru_options){
        .ops = &fake_ops,
        .backend = fake,
        .key_bytes = sizeof(uint32_t),
        .value_bytes = sizeof(struct value),
        .limit_items = limit_items,
        .dirty_age_ns = 1000,
    };
}

void world_init(struct world *world, size_t count, size_t limit_items) {
    *world = (struct world){.count = count};
    assert_true(count <= CACHES);
    assert_int_equal(tuck_lru_group_new(&world->group, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        struct fake *fake = &world->cache[i];
        struct tuck_lru_options options = world_options(fake, limit_items);
        fake->name = (char)('a' + i);
        assert_int_equal(tuck_lru_new(world->group, &options, &fake->lru, NULL), 0);
    }
    (void)written();
}

void world_fini(struct world *world) {
    for (size_t i = 0; i < world->count; i++) {
        struct fake *fake = &world->cache[i];
        struct tuck_lru_stats stats = stats_of(fake);
        unsigned drops = fake->drops;
        assert_int_equal(stats.held, 0);
        tuck_lru_free(fake->lru);
        assert_int_equal(fake->drops - drops, stats.items);
    }
    tuck_lru_group_free(world->group);
}

struct setting {
    struct value value;
    enum tuck_lru_verdict verdict;
};

static enum tuck_lru_verdict apply(void *arg, void *value, enum tuck_lru_presence presence) {
    const struct setting *setting = arg;
    static const struct value zeros;
    if (presence == TUCK_LRU_IS_ABSENT)
        assert_memory_equal(value, &zeros, sizeof(zeros));
    if (setting->verdict != TUCK_LRU_KEEP)
        memcpy(value, &setting->value, sizeof(setting->value));
    return setting->verdict;
}

uint64_t set_as(struct fake *fake, uint32_t key, uint64_t number, enum tuck_lru_verdict verdict) {
    struct setting setting = {{number, fake->weight}, verdict};
    uint64_t seq = UINT64_MAX;
    assert_int_equal(tuck_lru_change(fake->lru, &key, apply, &setting, &seq, NULL), 0);
    return seq;
}

uint64_t set(struct fake *fake, uint32_t key, uint64_t number) {
    return set_as(fake, key, number, TUCK_LRU_DIRTY);
}

uint64_t got(struct fake *fake, uint32_t key) {
    struct value value = {0};
    int status = tuck_lru_get(fake->lru, &key, &value, NULL, NULL);
    assert_in_range(status, 0, TUCK_LRU_ABSENT);
    return value.number;
}

uint64_t seen(struct fake *fake, uint32_t key) {
    struct value value = {0};
    int status = tuck_lru_peek(fake->lru, &key, &value, NULL);
    assert_in_range(status, 0, TUCK_LRU_ABSENT);
    return value.number;
}

struct tuck_lru_item *hold(struct fake *fake, uint32_t key) {
    struct tuck_lru_item *item = NULL;
    assert_int_equal(tuck_lru_get(fake->lru, &key, NULL, &item, NULL), 0);
    assert_non_null(item);
    return item;
}

void depend(struct fake *fake, struct fake *first, uint64_t seq) {
    assert_int_equal(tuck_lru_depend(fake->lru, first->lru, seq, NULL), 0);
}

void flush_all(struct fake *fake) {
    assert_int_equal(tuck_lru_flush(fake->lru, UINT64_MAX, NULL), 0);
}

void trim(struct fake *fake) {
    assert_int_equal(tuck_lru_trim(fake->lru, NULL), 0);
}

struct tuck_lru_stats stats_of(struct fake *fake) {
    struct tuck_lru_stats stats;
    tuck_lru_stats(fake->lru, &stats);
    return stats;
}

// --- Threads -------------------------------------------------------------------------------------

void task_start(struct task *task, void *(*body)(void *)) {
    task->err = (struct tuck_error){0};
    assert_int_equal(pthread_create(&task->thread, NULL, body, task), 0);
}

void task_join(struct task *task) {
    assert_int_equal(pthread_join(task->thread, NULL), 0);
}

void *task_get(void *arg) {
    struct task *task = arg;
    struct value value = {0};
    task->status = tuck_lru_get(task->fake->lru, &task->key, &value, NULL, &task->err);
    task->number = value.number;
    return NULL;
}

void *task_set(void *arg) {
    struct task *task = arg;
    struct setting setting = {{task->number, 0}, TUCK_LRU_DIRTY};
    task->status = tuck_lru_change(task->fake->lru, &task->key, apply, &setting, NULL, &task->err);
    return NULL;
}

void *task_flush(void *arg) {
    struct task *task = arg;
    task->status = tuck_lru_flush(task->fake->lru, task->number, &task->err);
    return NULL;
}

void *task_trim(void *arg) {
    struct task *task = arg;
    task->status = tuck_lru_trim(task->fake->lru, &task->err);
    return NULL;
}
