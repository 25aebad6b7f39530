// SPDX-License-Identifier: MIT
/*
 * Many threads on the caches of one group, with a plain model as the oracle and a watchdog: meant to run under the
 * thread sanitizer. Each test is drawn from a seed.
 *
 * The model numbers the changes of each cache as the library does, since change() runs under the group's lock, and
 * notes for each what had been declared by then. Whenever the back end is given a value, it sees which changes are in
 * it, and whether all that they need has been written before; whether it is the newest of its key; whether anything
 * came twice, at the same time, or back to front. Whenever a value comes out of the cache or leaves it, nothing that
 * was changed may be missing.
 */
#include "tests/unit/unit.h"

#include "lib/base/error.h"
#include "lib/lru/lru.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>

#define CACHES      4U
#define KEYS        10U
#define LIMIT       6U
#define THREADS     5U
#define CHANGES     60000U // of one cache
#define PATIENCE_NS (60 * TUCK_NS_PER_S)

struct value {
    uint64_t seq;
    uint32_t key, cache;
};

struct change {
    uint32_t before; // the one before it of the same key
    bool is_written;
    uint64_t need[CACHES];
};

struct cache {
    struct tuck_lru *lru; /* const after init */
    uint32_t number;
    /* guarded by model.lock */
    struct change changes[CHANGES];
    uint64_t seq;              // of the last change
    uint64_t low;              // all changes up to this one are written
    uint64_t declared[CACHES]; // what the changes from now on need
    uint64_t latest[KEYS];     // the last change
    uint64_t stored[KEYS];     // what the back end has
    bool is_loading[KEYS];
    bool is_flushing;
};

static struct {
    pthread_mutex_t lock;
    struct cache cache[CACHES];
    uint32_t count;
    unsigned trouble; // of a hundred calls of a back end, so many fail
    bool has_invalidation;
    struct unit_random random;        // for the back ends, which have no thread of their own
    uint64_t writes, loads, refusals; // to see that something happened
} model = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct thread {
    pthread_t thread;
    struct unit_random random;
    unsigned steps;
    const char *doing; /* atomic */
    uint64_t done;     /* atomic */
};

static struct thread threads[THREADS];

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    for (size_t i = 0; i < THREADS; i++)
        fprintf(stderr, "\n  thread %zu: %s, after %" PRIu64 " steps", i,
                __atomic_load_n(&threads[i].doing, __ATOMIC_ACQUIRE),
                __atomic_load_n(&threads[i].done, __ATOMIC_RELAXED));
    fprintf(stderr, "\n");
    abort();
}

#define check(condition)                                                                           \
    ((condition) ? (void)0 : give_up("%s:%d: not so: %s", __FILE__, __LINE__, #condition))

static void lock_model(void) {
    (void)pthread_mutex_lock(&model.lock);
}

static void unlock_model(void) {
    (void)pthread_mutex_unlock(&model.lock);
}

// Gives others the opportunity to come in between.
static void dawdle(unsigned times) {
    while (times-- > 0)
        (void)sched_yield();
}

// --- Back end ------------------------------------------------------------------------------------

// With the model's lock: what this call is to return.
static int draw_status(void) {
    size_t draw = unit_random_below(&model.random, 100);
    if (draw >= model.trouble)
        return 0;
    model.refusals++;
    return draw % 2 ? TUCK_EIO : TUCK_LRU_BUSY;
}

static int load(void *backend, const void *key, void *ret_value, struct tuck_error *err) {
    struct cache *cache = backend;
    uint32_t number = *(const uint32_t *)key;
    check(number < KEYS);
    lock_model();
    check(!cache->is_loading[number]);
    cache->is_loading[number] = true;
    uint64_t seq = cache->stored[number];
    check(seq == cache->latest[number] || model.has_invalidation);
    int status = draw_status();
    unsigned times = (unsigned)unit_random_below(&model.random, 4);
    model.loads++;
    unlock_model();
    dawdle(times);
    lock_model();
    check(seq == cache->stored[number]); // nothing was written that could be missing in the value
    cache->is_loading[number] = false;
    unlock_model();
    if (status != 0)
        return tuck_fail(err, TUCK_EIO, "load");
    *(struct value *)ret_value = (struct value){seq, number, cache->number};
    return seq == 0 ? TUCK_LRU_ABSENT : 0;
}

// The oldest change that this write is the first to write. All that is in it may be written now.
static uint64_t check_write(struct cache *cache, const struct tuck_lru_flushed *item) {
    const struct value *value = item->value;
    uint32_t key = *(const uint32_t *)item->key;
    check(item->status == 0 && key < KEYS);
    check(value->key == key && value->cache == cache->number);
    check(value->seq > cache->stored[key] && value->seq <= cache->latest[key]);
    uint64_t oldest = 0;
    for (uint64_t seq = value->seq; seq > 0 && !cache->changes[seq].is_written;
         seq = cache->changes[seq].before) {
        oldest = seq;
        // What was invalidated is never written, and needs nothing.
        for (uint32_t i = 0; !model.has_invalidation && i < CACHES; i++)
            if (cache->changes[seq].need[i] > model.cache[i].low)
                give_up("change %" PRIu64 " of cache %u is written before change %" PRIu64
                        " of cache %u",
                        seq, cache->number, model.cache[i].low + 1, i);
    }
    return oldest;
}

static void note_written(struct cache *cache, const struct value *value) {
    cache->stored[value->key] = value->seq;
    for (uint64_t seq = value->seq; seq > 0 && !cache->changes[seq].is_written;
         seq = cache->changes[seq].before)
        cache->changes[seq].is_written = true;
    while (cache->low < cache->seq && cache->changes[cache->low + 1].is_written)
        cache->low++;
    model.writes++;
}

static void flush(void *backend, struct tuck_lru_flushed *items, size_t count,
                  struct tuck_error *err) {
    struct cache *cache = backend;
    uint64_t before = 0;
    lock_model();
    check(!cache->is_flushing && count > 0);
    cache->is_flushing = true;
    for (size_t i = 0; i < count; i++) {
        uint64_t oldest = check_write(cache, &items[i]);
        check(oldest > before);
        before = model.has_invalidation ? 0 : oldest;
    }
    unsigned times = (unsigned)unit_random_below(&model.random, 6);
    unlock_model();
    dawdle(times);
    lock_model();
    for (size_t i = 0; i < count; i++) {
        items[i].status = draw_status();
        if (items[i].status == 0)
            note_written(cache, items[i].value);
        else if (items[i].status < 0)
            (void)tuck_fail(err, TUCK_EIO, "flush");
    }
    cache->is_flushing = false;
    unlock_model();
}

static void drop(void *backend, const void *key, const void *value) {
    struct cache *cache = backend;
    uint32_t number = *(const uint32_t *)key;
    lock_model();
    check(cache->stored[number] >= ((const struct value *)value)->seq || model.has_invalidation);
    unlock_model();
}

static const struct tuck_lru_ops ops = {load, flush, drop};

// --- What threads do -----------------------------------------------------------------------------

struct order {
    struct cache *cache;
    uint32_t key;
    bool is_kept;
    uint64_t seq;
};

static enum tuck_lru_verdict change(void *arg, void *value_at, enum tuck_lru_presence presence) {
    struct order *order = arg;
    struct cache *cache = order->cache;
    struct value *value = value_at;
    lock_model();
    uint64_t latest = cache->latest[order->key];
    if (!model.has_invalidation)
        check(latest == (presence ? value->seq : cache->stored[order->key]));
    check(!presence || (value->key == order->key && value->cache == cache->number));
    order->seq = cache->seq;
    if (!order->is_kept) {
        order->seq = ++cache->seq;
        check(order->seq < CHANGES);
        struct change *made = &cache->changes[order->seq];
        made->before = (uint32_t)latest;
        memcpy(made->need, cache->declared, sizeof(made->need));
        cache->latest[order->key] = order->seq;
        *value = (struct value){order->seq, order->key, cache->number};
    }
    unlock_model();
    return order->is_kept ? TUCK_LRU_KEEP : TUCK_LRU_DIRTY;
}

static uint64_t change_one(struct thread *thread, struct cache *cache) {
    struct order order = {.cache = cache,
                          .key = (uint32_t)unit_random_below(&thread->random, KEYS),
                          .is_kept = unit_random_below(&thread->random, 10) == 0};
    uint64_t seq = 0;
    check(tuck_lru_change(cache->lru, &order.key, change, &order, &seq, NULL) == 0);
    check(seq == order.seq);
    return seq;
}

// A number of a change, mostly of a late one; sometimes one that does not exist yet.
static uint64_t draw_seq(struct thread *thread, struct cache *cache) {
    size_t draw = unit_random_below(&thread->random, 20);
    if (draw == 0)
        return UINT64_MAX;
    lock_model();
    uint64_t seq = cache->seq + 2;
    unlock_model();
    return seq > draw ? seq - draw : 0;
}

static bool is_failure(int status) {
    check(status == 0 || status == TUCK_LRU_BUSY || status == TUCK_EIO);
    check(status == 0 || model.trouble > 0);
    return status != 0;
}

static void depend(struct cache *cache, struct cache *first, uint64_t seq) {
    lock_model();
    seq = seq < first->seq ? seq : first->seq;
    unlock_model();
    if (is_failure(tuck_lru_depend(cache->lru, first->lru, seq, NULL)))
        return;
    lock_model();
    if (cache->declared[first->number] < seq)
        cache->declared[first->number] = seq;
    unlock_model();
}

static void flush_up_to(struct cache *cache, uint64_t seq) {
    lock_model();
    uint64_t floor = seq < cache->seq ? seq : cache->seq;
    unlock_model();
    if (is_failure(tuck_lru_flush(cache->lru, seq, NULL)))
        return;
    lock_model();
    check(cache->low >= floor || model.has_invalidation);
    unlock_model();
}

static void get(struct thread *thread, struct cache *cache, bool is_held) {
    uint32_t key = (uint32_t)unit_random_below(&thread->random, KEYS);
    struct tuck_lru_item *item = NULL;
    struct value value = {0};
    lock_model();
    uint64_t floor = model.has_invalidation ? cache->stored[key] : cache->latest[key];
    unlock_model();
    int status = tuck_lru_get(cache->lru, &key, &value, is_held ? &item : NULL, NULL);
    check(status == 0 || status == TUCK_LRU_ABSENT || (status == TUCK_EIO && model.trouble > 0));
    check(status == 0 ? value.key == key && value.cache == cache->number && value.seq > 0
                      : item == NULL);
    check(value.seq >= floor || status < 0);
    if (!item)
        return;
    (void)change_one(thread, cache);
    if (unit_random_below(&thread->random, 2))
        (void)is_failure(tuck_lru_trim(cache->lru, NULL));
    struct value again = {0};
    check(tuck_lru_peek(cache->lru, &key, &again, NULL) == 0);
    check(again.key == key && again.seq >= value.seq);
    tuck_lru_release(cache->lru, item);
}

static bool see_order(void *arg, const void *key, const void *value) {
    struct cache *cache = arg;
    lock_model();
    check(((const struct value *)value)->seq == cache->latest[*(const uint32_t *)key]);
    unlock_model();
    return true;
}

static void look(struct cache *cache) {
    struct tuck_lru_stats stats;
    tuck_lru_stats(cache->lru, &stats);
    check(stats.items <= KEYS && stats.dirty <= stats.items);
    check(stats.bytes == stats.items * sizeof(struct value));
    check(stats.dirty_bytes == stats.dirty * sizeof(struct value));
    check(tuck_lru_dirty_count(cache->lru) <= KEYS);
    (void)tuck_lru_due_ns(cache->lru);
    tuck_lru_walk_dirty(cache->lru, see_order, cache);
}

static void doing(struct thread *thread, const char *what) {
    __atomic_store_n(&thread->doing, what, __ATOMIC_RELEASE);
}

static void step(struct thread *thread) {
    struct cache *cache = &model.cache[unit_random_below(&thread->random, model.count)];
    struct cache *other = &model.cache[unit_random_below(&thread->random, model.count)];
    size_t choice = unit_random_below(&thread->random, 100);
    if (choice < 30) {
        doing(thread, "change");
        (void)change_one(thread, cache);
    } else if (choice < 45 && cache != other) { // the way it is meant to be used
        doing(thread, "change, depend, change");
        depend(cache, other, change_one(thread, other));
        (void)change_one(thread, cache);
    } else if (choice < 52 && cache != other) {
        doing(thread, "depend");
        depend(cache, other, draw_seq(thread, other));
    } else if (choice < 62) {
        doing(thread, "flush");
        flush_up_to(cache, draw_seq(thread, cache));
    } else if (choice < 70) {
        doing(thread, "trim");
        (void)is_failure(tuck_lru_trim(cache->lru, NULL));
    } else if (choice < 90) {
        doing(thread, "get");
        get(thread, cache, choice < 75);
    } else if (model.has_invalidation && choice < 94) {
        doing(thread, "invalidate");
        (void)tuck_lru_invalidate(cache->lru, NULL, NULL);
    } else {
        doing(thread, "look");
        look(cache);
    }
}

static void *run_thread(void *arg) {
    struct thread *thread = arg;
    while (__atomic_load_n(&thread->done, __ATOMIC_RELAXED) < thread->steps) {
        step(thread);
        (void)__atomic_add_fetch(&thread->done, 1, __ATOMIC_RELAXED);
    }
    doing(thread, "nothing more");
    return NULL;
}

// --- Watchdog ------------------------------------------------------------------------------------

static struct {
    pthread_mutex_t lock;
    pthread_cond_t is_over_now;
    bool is_over;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_over_now = PTHREAD_COND_INITIALIZER};

static uint64_t all_done(void) {
    uint64_t sum = 0;
    for (size_t i = 0; i < THREADS; i++)
        sum += __atomic_load_n(&threads[i].done, __ATOMIC_RELAXED);
    return sum;
}

// Gives up when nobody has come a step further in a minute.
static void *run_watchdog(void *arg) {
    (void)arg;
    uint64_t before = UINT64_MAX;
    (void)pthread_mutex_lock(&watch.lock);
    while (!watch.is_over) {
        struct timespec until;
        uint64_t now = all_done();
        if (now == before)
            give_up("nothing has moved for a minute");
        before = now;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)(PATIENCE_NS / TUCK_NS_PER_S);
        while (!watch.is_over &&
               pthread_cond_timedwait(&watch.is_over_now, &watch.lock, &until) == 0)
            ;
    }
    (void)pthread_mutex_unlock(&watch.lock);
    return NULL;
}

static void run_threads(unsigned count, unsigned steps, struct unit_random *random) {
    pthread_t watchdog;
    watch.is_over = false;
    memset(threads, 0, sizeof(threads));
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){
            .random = {unit_random_next(random)}, .steps = steps, .doing = "nothing"};
    }
    assert_int_equal(pthread_create(&watchdog, NULL, run_watchdog, NULL), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
    (void)pthread_mutex_lock(&watch.lock);
    watch.is_over = true;
    (void)pthread_cond_broadcast(&watch.is_over_now);
    (void)pthread_mutex_unlock(&watch.lock);
    assert_int_equal(pthread_join(watchdog, NULL), 0);
}

// --- Rounds --------------------------------------------------------------------------------------

static void check_end(void) {
    model.trouble = 0;
    for (uint32_t i = 0; i < model.count; i++) {
        struct cache *cache = &model.cache[i];
        struct tuck_lru_stats stats;
        assert_int_equal(tuck_lru_flush(cache->lru, UINT64_MAX, NULL), 0);
        assert_int_equal(tuck_lru_dirty_count(cache->lru), 0);
        assert_int_equal(tuck_lru_due_ns(cache->lru), UINT64_MAX);
        assert_int_equal(tuck_lru_trim(cache->lru, NULL), 0);
        tuck_lru_stats(cache->lru, &stats);
        assert_int_equal(stats.held, 0);
        assert_true(stats.items <= LIMIT);
        if (model.has_invalidation)
            continue;
        assert_int_equal(cache->low, cache->seq);
        assert_memory_equal(cache->stored, cache->latest, sizeof(cache->stored));
    }
}

static void run_round(uint32_t cache_count, unsigned thread_count, unsigned steps, unsigned trouble,
                      bool has_invalidation, struct unit_random *random) {
    struct tuck_lru_group *group = NULL;
    assert_int_equal(tuck_lru_group_new(&group, NULL), 0);
    memset(model.cache, 0, sizeof(model.cache));
    model.count = cache_count;
    model.trouble = trouble;
    model.has_invalidation = has_invalidation;
    model.random.state = unit_random_next(random);
    for (uint32_t i = 0; i < cache_count; i++) {
        struct tuck_lru_options options = {.ops = &ops,
                                           .backend = &model.cache[i],
                                           .key_bytes = sizeof(uint32_t),
                                           .value_bytes = sizeof(struct value),
                                           .limit_items = LIMIT};
        model.cache[i].number = i;
        assert_int_equal(tuck_lru_new(group, &options, &model.cache[i].lru, NULL), 0);
    }
    run_threads(thread_count, steps, random);
    check_end();
    for (uint32_t i = 0; i < cache_count; i++)
        tuck_lru_free(model.cache[i].lru);
    tuck_lru_group_free(group);
}

static int end(void **state) {
    (void)state;
    print_message("# %" PRIu64 " writes, %" PRIu64 " loads, %" PRIu64 " of them refused\n",
                  model.writes, model.loads, model.refusals);
    model.writes = model.loads = model.refusals = 0;
    return 0;
}

static void one_thread_never_sees_an_order_violated(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (unsigned round = 0; round < 60; round++)
        run_round(2 + round % 3, 1, 500, round % 4 * 15, false, &random);
}

static void threads_on_caches_that_depend_on_each_other_lose_nothing_and_never_hang(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (unsigned round = 0; round < 12; round++)
        run_round(2 + round % 3, THREADS, 1500, round % 4 * 10, false, &random);
}

static void evictions_flushes_gets_and_invalidations_of_one_cache_go_on_together(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (unsigned round = 0; round < 4; round++)
        run_round(1, THREADS, 4000, round % 2 * 20, true, &random);
}

static void values_that_are_dropped_unwritten_hold_up_nobody_who_waits_for_them(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (unsigned round = 0; round < 4; round++)
        run_round(CACHES, THREADS, 2000, round % 2 * 20, true, &random);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown(one_thread_never_sees_an_order_violated, end),
    cmocka_unit_test_teardown(
        threads_on_caches_that_depend_on_each_other_lose_nothing_and_never_hang, end),
    cmocka_unit_test_teardown(evictions_flushes_gets_and_invalidations_of_one_cache_go_on_together,
                              end),
    cmocka_unit_test_teardown(values_that_are_dropped_unwritten_hold_up_nobody_who_waits_for_them,
                              end),
};

UNIT_MAIN(tests)
