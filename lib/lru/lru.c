// SPDX-License-Identifier: MIT
#include "lib/lru/lru.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * The life of an item:
 *
 *     absent ── load ──► clean ── change ──► dirty ── flush ──► taken ── written ──► clean
 *        └──────────── change ────────────────┘▲                           │
 *                                              └─ not written, or changed ─┘
 *                                                 meanwhile
 *
 * Every ready item that is not held is in the list of recency. What has changes that no flush has
 * taken yet is in the list of dirty items, in the order of the first of these changes. A flush
 * takes items out of that list, with a copy of the value, the number of the first change, and what
 * all the changes in it need: that is the cache's batch. What changes while it is in the batch
 * joins the dirty list anew. What could not be written goes back to the place that its old number
 * has there.
 *
 * So the oldest change that the back end lacks is the first of the dirty list or of the batch, and
 * it only ever moves on: new changes have higher numbers, and a failed one was never away.
 *
 * Why nothing waits in a circle. A dependency of a on b up to n is *open* while oldest(b) <= n.
 * Once shut it stays shut, since n is no higher than b's last change was when it was declared.
 * tuck_lru_depend() adds none that would close a circle of open ones: it flushes b up to n instead,
 * after which there is nothing to add. So open dependencies never form a circle. Items wait only
 * along open dependencies. A thread that has a batch waits only for the batch of another cache, and
 * only while the dependency that makes it wait is open; so threads do not wait for each other in a
 * circle either, nor does one meet its own batch on the way down.
 *
 * Why circles are looked for between caches, not between items. An item that is changed again takes
 * over what its cache depends on by then. In "entry 1 changes, object 1 changes, objects depend on
 * entry 1, entries depend on object 1, both change again" no item waits when the dependencies are
 * declared, and at the end each of the two waits for the other.
 *
 * Why a flush ends. It takes what it is to write before it sees to what that depends on. What
 * changes later, with later needs, is left for the next one.
 */

#define DEPENDENCIES 4
#define TRIM_ROUNDS  8 // others may fill the cache as fast as one thread can empty it
#define NOTHING      UINT64_MAX

struct load { // on the stack of the thread that loads
    bool is_over;
    int status;
    struct tuck_error error;
};

struct tuck_lru_item {
    struct tuck_lru_item *chain; // the next one in the table's bucket, or of those that are to go
    uint64_t hash;
    struct tuck_lru_item *newer, *older;  // recency
    struct tuck_lru_item *after, *before; // dirty list
    uint64_t first_seq; // the first change that no flush has taken; 0: not in the dirty list
    uint64_t since_ns;  // when that was
    uint64_t need[DEPENDENCIES]; // what must be flushed before, by the place in lru->depends
    uint64_t weight;
    struct load *load; // NULL: ready
    uint32_t pins;     // by holders and by those who wait for the load: not in the list of recency
    bool is_taken;     // in the batch
    _Alignas(max_align_t) uint8_t value[]; // and the key behind it
};

struct taken {
    struct tuck_lru_item *item;
    const void *value; // copy
    uint64_t first_seq;
    uint64_t since_ns;
    uint64_t need[DEPENDENCIES];
};

struct batch {
    size_t count;
    struct tuck_lru_flushed *items;
    uint8_t *values;
    struct taken taken[]; // by first_seq
};

struct dependency {
    struct tuck_lru *first; // NULL: free
    uint64_t seq;
};

struct tuck_lru_group {
    struct tuck_mutex lock;
    pthread_cond_t changed; // a load or a flush has ended, or the last of those who waited has left
    /* guarded by lock */
    struct tuck_lru *caches;
    uint64_t walks; // to know what one walk through the dependencies has seen
};

struct tuck_lru {
    /* const after init */
    struct tuck_lru_group *group;
    struct tuck_lru_options options;
    size_t value_room; // bytes of a value with what aligns the key behind it
    uint64_t seed;

    /* guarded by group->lock */
    struct tuck_lru *next; // in the group
    struct tuck_lru_item **buckets;
    size_t bucket_count; // a power of two
    size_t used;         // items in the table, loading ones too
    struct tuck_lru_item *newest, *oldest;
    struct tuck_lru_item *hand; // all that is older is dirty: look for clean ones from here
    struct tuck_lru_item *dirty_first, *dirty_last;
    struct batch *batch; // of the one thread that flushes this cache, else NULL
    struct dependency depends[DEPENDENCIES];
    uint64_t seq; // of the last change
    uint64_t walk;
    struct tuck_lru_stats stats; // dirty: atomic too, see tuck_lru_dirty_count()
};

static void lock(struct tuck_lru *lru) {
    tuck_lock(&lru->group->lock);
}

static void unlock(struct tuck_lru *lru) {
    tuck_unlock(&lru->group->lock);
}

static void wait_for_change(struct tuck_lru *lru) {
    tuck_cond_wait(&lru->group->changed, &lru->group->lock);
}

static void tell_change(struct tuck_lru *lru) {
    (void)pthread_cond_broadcast(&lru->group->changed);
}

// --- Table ---------------------------------------------------------------------------------------

static uint8_t *key_of(const struct tuck_lru *lru, struct tuck_lru_item *item) {
    return item->value + lru->value_room;
}

static uint64_t hash_of(const struct tuck_lru *lru, const void *key) {
    return XXH3_64bits_withSeed(key, lru->options.key_bytes, lru->seed);
}

static struct tuck_lru_item **bucket_of(const struct tuck_lru *lru, uint64_t hash) {
    return &lru->buckets[hash & (lru->bucket_count - 1)];
}

static struct tuck_lru_item *find(const struct tuck_lru *lru, const void *key, uint64_t hash) {
    struct tuck_lru_item *item = *bucket_of(lru, hash);
    while (item &&
           (item->hash != hash || memcmp(key_of(lru, item), key, lru->options.key_bytes) != 0))
        item = item->chain;
    return item;
}

// Without memory for more buckets the chains get longer, that is all.
static void grow_table(struct tuck_lru *lru) {
    size_t old_count = lru->bucket_count;
    struct tuck_lru_item **old = lru->buckets, **buckets = calloc(2 * old_count, sizeof(*buckets));
    if (!buckets)
        return;
    lru->buckets = buckets;
    lru->bucket_count = 2 * old_count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct tuck_lru_item *item = old[i], **bucket = bucket_of(lru, item->hash);
            old[i] = item->chain;
            item->chain = *bucket;
            *bucket = item;
        }
    }
    free(old);
}

static void table_add(struct tuck_lru *lru, struct tuck_lru_item *item) {
    if (lru->used >= lru->bucket_count)
        grow_table(lru);
    struct tuck_lru_item **bucket = bucket_of(lru, item->hash);
    item->chain = *bucket;
    *bucket = item;
    lru->used++;
}

static void table_remove(struct tuck_lru *lru, struct tuck_lru_item *item) {
    struct tuck_lru_item **at = bucket_of(lru, item->hash);
    while (*at != item)
        at = &(*at)->chain;
    *at = item->chain;
    lru->used--;
}

// --- Recency -------------------------------------------------------------------------------------

static void recency_add(struct tuck_lru *lru, struct tuck_lru_item *item) {
    item->newer = NULL;
    item->older = lru->newest;
    *(lru->newest ? &lru->newest->newer : &lru->oldest) = item;
    lru->newest = item;
}

static void recency_remove(struct tuck_lru *lru, struct tuck_lru_item *item) {
    if (lru->hand == item)
        lru->hand = item->newer ? item->newer : item->older;
    *(item->newer ? &item->newer->older : &lru->newest) = item->older;
    *(item->older ? &item->older->newer : &lru->oldest) = item->newer;
}

static void use(struct tuck_lru *lru, struct tuck_lru_item *item) {
    if (item->pins > 0 || lru->newest == item)
        return;
    recency_remove(lru, item);
    recency_add(lru, item);
}

static void pin(struct tuck_lru *lru, struct tuck_lru_item *item) {
    if (item->pins++ > 0)
        return;
    recency_remove(lru, item);
    lru->stats.held++;
}

static void unpin(struct tuck_lru *lru, struct tuck_lru_item *item) {
    if (--item->pins > 0)
        return;
    recency_add(lru, item);
    lru->stats.held--;
}

// --- Dirty items ---------------------------------------------------------------------------------

static bool is_dirty(const struct tuck_lru_item *item) {
    return item->first_seq != 0 || item->is_taken;
}

// Before the item comes after `at`; NULL: at the end.
static void dirty_insert(struct tuck_lru *lru, struct tuck_lru_item *item,
                         struct tuck_lru_item *at) {
    item->after = at;
    item->before = at ? at->before : lru->dirty_last;
    *(item->before ? &item->before->after : &lru->dirty_first) = item;
    *(at ? &at->before : &lru->dirty_last) = item;
}

static void dirty_remove(struct tuck_lru *lru, struct tuck_lru_item *item) {
    *(item->before ? &item->before->after : &lru->dirty_first) = item->after;
    *(item->after ? &item->after->before : &lru->dirty_last) = item->before;
    item->first_seq = 0;
    memset(item->need, 0, sizeof(item->need));
}

static void note_change(struct tuck_lru *lru, struct tuck_lru_item *item) {
    uint64_t seq = ++lru->seq;
    if (item->first_seq == 0) {
        item->first_seq = seq;
        item->since_ns = tuck_clock_mono_ns();
        dirty_insert(lru, item, NULL);
    }
    for (size_t i = 0; i < DEPENDENCIES; i++) // they never get less, so this is the most so far
        item->need[i] = lru->depends[i].seq;
}

// The number of the oldest change that the back end lacks.
static uint64_t oldest_change(const struct tuck_lru *lru) {
    uint64_t waiting = lru->dirty_first ? lru->dirty_first->first_seq : NOTHING;
    uint64_t taken = lru->batch && lru->batch->count ? lru->batch->taken[0].first_seq : NOTHING;
    return waiting < taken ? waiting : taken;
}

// --- Sums ----------------------------------------------------------------------------------------

static void set_dirty_count(struct tuck_lru *lru, size_t count) {
    // A hint for those without the lock: pairs with tuck_lru_dirty_count(), orders nothing.
    __atomic_store_n(&lru->stats.dirty, count, __ATOMIC_RELAXED);
}

static void add_to_sums(struct tuck_lru *lru, const struct tuck_lru_item *item) {
    lru->stats.items++;
    lru->stats.bytes += item->weight;
    if (is_dirty(item)) {
        set_dirty_count(lru, lru->stats.dirty + 1);
        lru->stats.dirty_bytes += item->weight;
    }
}

static void take_from_sums(struct tuck_lru *lru, const struct tuck_lru_item *item) {
    lru->stats.items--;
    lru->stats.bytes -= item->weight;
    if (is_dirty(item)) {
        set_dirty_count(lru, lru->stats.dirty - 1);
        lru->stats.dirty_bytes -= item->weight;
    }
}

static uint64_t weigh(const struct tuck_lru *lru, const void *value) {
    return lru->options.weigh ? lru->options.weigh(value) : lru->options.value_bytes;
}

static bool is_over_limits(const struct tuck_lru *lru) {
    return lru->stats.items > lru->options.limit_items ||
           (lru->options.limit_bytes > 0 && lru->stats.bytes > lru->options.limit_bytes);
}

// --- Coming and going ----------------------------------------------------------------------------

static struct tuck_lru_item *new_item(const struct tuck_lru *lru, const void *key, uint64_t hash) {
    struct tuck_lru_item *item =
        calloc(1, sizeof(*item) + lru->value_room + lru->options.key_bytes);
    if (!item)
        return NULL;
    item->hash = hash;
    memcpy(key_of(lru, item), key, lru->options.key_bytes);
    return item;
}

// Takes the item out of everything, to be buried when the lock is free.
static void remove_item(struct tuck_lru *lru, struct tuck_lru_item *item,
                        struct tuck_lru_item **gone) {
    take_from_sums(lru, item);
    table_remove(lru, item);
    recency_remove(lru, item);
    if (item->first_seq != 0)
        dirty_remove(lru, item);
    item->chain = *gone;
    *gone = item;
}

static void bury(struct tuck_lru *lru, struct tuck_lru_item *gone) {
    while (gone) {
        struct tuck_lru_item *item = gone;
        gone = item->chain;
        if (lru->options.ops->drop)
            lru->options.ops->drop(lru->options.backend, key_of(lru, item), item->value);
        free(item);
    }
}

// What was just asked for, and so is the newest, is spared: it would only have to be loaded again.
static void evict_clean(struct tuck_lru *lru, const struct tuck_lru_item *spared,
                        struct tuck_lru_item **gone) {
    while (is_over_limits(lru)) {
        struct tuck_lru_item *item = lru->hand ? lru->hand : lru->oldest;
        while (item && item->newer && is_dirty(item))
            item = item->newer;
        lru->hand = item;
        if (!item || is_dirty(item) || item == spared)
            return;
        remove_item(lru, item, gone);
        lru->stats.evictions++;
    }
}

// --- Values --------------------------------------------------------------------------------------

// Puts the key into the table, so that others wait for this load; the item is pinned. Leaves the
// lock meanwhile.
static int load_item(struct tuck_lru *lru, const void *key, uint64_t hash,
                     struct tuck_lru_item **ret_item, struct tuck_error *err) {
    if (!lru->options.ops->load)
        return TUCK_LRU_ABSENT;
    struct load load = {0};
    struct tuck_lru_item *item = new_item(lru, key, hash);
    if (!item)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a cached value");
    item->load = &load;
    item->pins = 1;
    table_add(lru, item);
    lru->stats.held++;
    lru->stats.loads++;

    unlock(lru);
    load.status =
        lru->options.ops->load(lru->options.backend, key_of(lru, item), item->value, &load.error);
    uint64_t weight = load.status == 0 ? weigh(lru, item->value) : 0;
    lock(lru);

    if (load.status == 0) {
        item->weight = weight;
        item->load = NULL;
        add_to_sums(lru, item);
        tell_change(lru);
        *ret_item = item;
        return 0;
    }
    table_remove(lru, item);
    load.is_over = true;
    item->pins--;
    tell_change(lru);
    while (item->pins > 0) // they still have to read how it ended
        wait_for_change(lru);
    lru->stats.held--;
    free(item);
    if (load.status > 0)
        return TUCK_LRU_ABSENT;
    lru->stats.load_failures++;
    if (err)
        *err = load.error;
    return load.status;
}

// For another thread's load to end. The item is pinned if it went well.
static int await_load(struct tuck_lru *lru, struct tuck_lru_item *item, struct tuck_error *err) {
    item->pins++;
    while (item->load && !item->load->is_over)
        wait_for_change(lru);
    if (!item->load)
        return 0;
    int status = item->load->status > 0 ? TUCK_LRU_ABSENT : item->load->status;
    if (status < 0 && err)
        *err = item->load->error;
    if (--item->pins == 0)
        tell_change(lru);
    return status;
}

int tuck_lru_get(struct tuck_lru *lru, const void *key, void *ret_value,
                 struct tuck_lru_item **ret_item, struct tuck_error *err) {
    uint64_t hash = hash_of(lru, key);
    struct tuck_lru_item *gone = NULL;
    int status = 0;
    lock(lru);
    struct tuck_lru_item *item = find(lru, key, hash);
    bool is_hit = item && !item->load;
    if (is_hit && ret_item)
        pin(lru, item);
    else if (is_hit)
        use(lru, item);
    else
        status = item ? await_load(lru, item, err) : load_item(lru, key, hash, &item, err);
    if (status == 0) {
        lru->stats.hits += is_hit;
        if (ret_value)
            memcpy(ret_value, item->value, lru->options.value_bytes);
        if (ret_item)
            *ret_item = item;
        else if (!is_hit)
            unpin(lru, item);
        if (!is_hit)
            evict_clean(lru, item, &gone);
    }
    unlock(lru);
    bury(lru, gone);
    return status;
}

void tuck_lru_release(struct tuck_lru *lru, struct tuck_lru_item *item) {
    struct tuck_lru_item *gone = NULL;
    lock(lru);
    tuck_verify(item->pins > 0);
    unpin(lru, item);
    evict_clean(lru, item, &gone);
    unlock(lru);
    bury(lru, gone);
}

int tuck_lru_peek(struct tuck_lru *lru, const void *key, void *ret_value, bool *ret_is_dirty) {
    uint64_t hash = hash_of(lru, key);
    lock(lru);
    struct tuck_lru_item *item = find(lru, key, hash);
    bool is_present = item && !item->load;
    if (is_present && ret_value)
        memcpy(ret_value, item->value, lru->options.value_bytes);
    if (is_present && ret_is_dirty)
        *ret_is_dirty = is_dirty(item);
    unlock(lru);
    return is_present ? 0 : TUCK_LRU_ABSENT;
}

static enum tuck_lru_presence presence_of(const struct tuck_lru_item *item) {
    if (!item)
        return TUCK_LRU_IS_ABSENT;
    return is_dirty(item) ? TUCK_LRU_IS_DIRTY : TUCK_LRU_IS_CLEAN;
}

int tuck_lru_change(struct tuck_lru *lru, const void *key,
                    enum tuck_lru_verdict (*change)(void *arg, void *value,
                                                    enum tuck_lru_presence presence),
                    void *arg, uint64_t *ret_seq, struct tuck_error *err) {
    uint64_t hash = hash_of(lru, key);
    struct tuck_lru_item *gone = NULL, *item;
    lock(lru);
    while ((item = find(lru, key, hash)) && item->load)
        wait_for_change(lru);
    bool is_new = !item;
    if (is_new && !(item = new_item(lru, key, hash))) {
        unlock(lru);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a cached value");
    }
    enum tuck_lru_verdict verdict = change(arg, item->value, presence_of(is_new ? NULL : item));
    uint64_t seq = 0;
    if (verdict == TUCK_LRU_FORGET && (is_new || item->pins > 0 || item->is_taken))
        verdict = TUCK_LRU_KEEP;
    if (is_new && verdict == TUCK_LRU_KEEP) {
        free(item);
    } else if (verdict == TUCK_LRU_FORGET) {
        remove_item(lru, item, &gone);
        tell_change(lru); // somebody may wait for it to be flushed
    } else {
        if (is_new)
            table_add(lru, item);
        else
            take_from_sums(lru, item);
        if (verdict != TUCK_LRU_KEEP)
            item->weight = weigh(lru, item->value);
        // A flush that is under way may yet write an older value over what the back end has.
        if (verdict == TUCK_LRU_DIRTY || (verdict == TUCK_LRU_CLEAN && item->is_taken))
            note_change(lru, item);
        else if (verdict == TUCK_LRU_CLEAN && item->first_seq != 0)
            dirty_remove(lru, item);
        add_to_sums(lru, item);
        if (is_new)
            recency_add(lru, item);
        else
            use(lru, item);
        seq = is_dirty(item) ? lru->seq : 0;
        evict_clean(lru, item, &gone);
    }
    if (ret_seq)
        *ret_seq = seq;
    unlock(lru);
    bury(lru, gone);
    return 0;
}

size_t tuck_lru_invalidate(struct tuck_lru *lru, void (*each_busy)(void *arg, const void *key),
                           void *arg) {
    struct tuck_lru_item *gone = NULL, *next;
    size_t busy = 0;
    lock(lru);
    for (size_t i = 0; i < lru->bucket_count; i++) {
        for (struct tuck_lru_item *item = lru->buckets[i]; item; item = next) {
            next = item->chain;
            if (item->pins == 0 && !item->is_taken) {
                remove_item(lru, item, &gone);
                continue;
            }
            busy++;
            if (each_busy)
                each_busy(arg, key_of(lru, item));
        }
    }
    tell_change(lru); // there may be nothing left that somebody waits for
    unlock(lru);
    bury(lru, gone);
    return busy;
}

void tuck_lru_walk_dirty(struct tuck_lru *lru,
                         bool (*each)(void *arg, const void *key, const void *value), void *arg) {
    lock(lru);
    struct tuck_lru_item *waiting = lru->dirty_first;
    size_t next = 0, taken_count = lru->batch ? lru->batch->count : 0;
    bool goes_on = true;
    while (goes_on && (waiting || next < taken_count)) {
        struct taken *taken = next < taken_count ? &lru->batch->taken[next] : NULL;
        struct tuck_lru_item *item = waiting;
        if (taken && (!waiting || taken->first_seq < waiting->first_seq)) {
            item = taken->item;
            next++;
        } else {
            waiting = waiting->after;
            if (item->is_taken) // and dirty again: it was seen with its older change
                continue;
        }
        goes_on = each(arg, key_of(lru, item), item->value);
    }
    unlock(lru);
}

// --- Flushing ------------------------------------------------------------------------------------

// The status of two steps: the first failure, else whether something has to be tried again.
static int join(int status, int next) {
    if (status < 0 || next == 0)
        return status;
    return next < 0 ? next : TUCK_LRU_BUSY;
}

// Room for `count` items, each of which is larger than its part here: the sizes cannot overflow.
static int begin_batch(struct tuck_lru *lru, size_t count, struct tuck_error *err) {
    size_t head = sizeof(struct batch) + count * sizeof(struct taken);
    size_t list = count * sizeof(struct tuck_lru_flushed);
    size_t align = _Alignof(max_align_t);
    size_t values_at = (head + list + align - 1) / align * align;
    struct batch *batch = malloc(values_at + count * lru->value_room);
    if (!batch)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to flush %zu values", count);
    batch->count = 0;
    batch->items = (struct tuck_lru_flushed *)((uint8_t *)batch + head);
    batch->values = (uint8_t *)batch + values_at;
    lru->batch = batch;
    return 0;
}

static void take(struct tuck_lru *lru, struct tuck_lru_item *item) {
    tuck_verify(item->first_seq != 0 && !item->is_taken);
    struct batch *batch = lru->batch;
    uint8_t *value = batch->values + batch->count * lru->value_room;
    struct taken *taken = &batch->taken[batch->count++];
    *taken = (struct taken){item, value, item->first_seq, item->since_ns, {0}};
    memcpy(taken->need, item->need, sizeof(taken->need));
    memcpy(value, item->value, lru->options.value_bytes);
    dirty_remove(lru, item);
    item->is_taken = true;
}

// Undoes take(). *at is where in the dirty list the one before went, since they come in order.
static void give_back(struct tuck_lru *lru, const struct taken *taken, struct tuck_lru_item **at) {
    struct tuck_lru_item *item = taken->item;
    uint64_t need[DEPENDENCIES];
    for (size_t i = 0; i < DEPENDENCIES; i++)
        need[i] = item->need[i] > taken->need[i] ? item->need[i] : taken->need[i];
    if (item->first_seq != 0) {
        if (*at == item)
            *at = item->after;
        dirty_remove(lru, item);
    }
    item->is_taken = false;
    item->first_seq = taken->first_seq;
    item->since_ns = taken->since_ns;
    memcpy(item->need, need, sizeof(need));
    while (*at && (*at)->first_seq < item->first_seq)
        *at = (*at)->after;
    dirty_insert(lru, item, *at);
}

static bool is_open(const struct dependency *dependency) {
    return dependency->first && oldest_change(dependency->first) <= dependency->seq;
}

// Flushes what the batch needs, no more. Leaves the lock meanwhile.
static int flush_needs(struct tuck_lru *lru, struct tuck_error *err) {
    struct dependency needs[DEPENDENCIES];
    int status = 0;
    for (size_t i = 0; i < DEPENDENCIES; i++) {
        needs[i] = (struct dependency){lru->depends[i].first, 0};
        for (size_t k = 0; k < lru->batch->count; k++)
            if (lru->batch->taken[k].need[i] > needs[i].seq)
                needs[i].seq = lru->batch->taken[k].need[i];
    }
    for (size_t i = 0; i < DEPENDENCIES; i++) {
        if (!is_open(&needs[i]))
            continue;
        unlock(lru);
        int next = tuck_lru_flush(needs[i].first, needs[i].seq, status < 0 ? NULL : err);
        lock(lru);
        status = join(status, next);
    }
    return status;
}

static bool has_open_need(const struct tuck_lru *lru, const struct taken *taken) {
    for (size_t i = 0; i < DEPENDENCIES; i++)
        if (is_open(&(struct dependency){lru->depends[i].first, taken->need[i]}))
            return true;
    return false;
}

// Gives back what may not be written because what it needs could not be.
static void keep_writable(struct tuck_lru *lru) {
    struct batch *batch = lru->batch;
    struct tuck_lru_item *at = lru->dirty_first;
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (has_open_need(lru, &batch->taken[i]))
            give_back(lru, &batch->taken[i], &at);
        else
            batch->taken[kept++] = batch->taken[i];
    }
    batch->count = kept;
}

static int settle(struct tuck_lru *lru) {
    struct batch *batch = lru->batch;
    struct tuck_lru_item *at = lru->dirty_first;
    int status = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct tuck_lru_item *item = batch->taken[i].item;
        status = join(status, batch->items[i].status);
        if (batch->items[i].status != 0) {
            give_back(lru, &batch->taken[i], &at);
            lru->stats.flush_failures += batch->items[i].status < 0;
            continue;
        }
        take_from_sums(lru, item);
        item->is_taken = false;
        add_to_sums(lru, item);
        lru->stats.flushed++;
        lru->hand = NULL; // there are clean ones again among the older ones
    }
    return status;
}

// Writes the batch and what it needs, and ends it. Leaves the lock meanwhile; others leave the
// batch alone.
static int write_batch(struct tuck_lru *lru, struct tuck_error *err) {
    struct batch *batch = lru->batch;
    int status = flush_needs(lru, err);
    keep_writable(lru);
    if (batch->count > 0) {
        for (size_t i = 0; i < batch->count; i++)
            batch->items[i] = (struct tuck_lru_flushed){key_of(lru, batch->taken[i].item),
                                                        batch->taken[i].value, 0};
        unlock(lru);
        lru->options.ops->flush(lru->options.backend, batch->items, batch->count,
                                status < 0 ? NULL : err);
        lock(lru);
        status = join(status, settle(lru));
    }
    lru->batch = NULL;
    free(batch);
    tell_change(lru);
    return status;
}

int tuck_lru_flush(struct tuck_lru *lru, uint64_t seq, struct tuck_error *err) {
    int status = 0;
    lock(lru);
    if (seq > lru->seq)
        seq = lru->seq;
    while (lru->batch && oldest_change(lru) <= seq)
        wait_for_change(lru);
    if (oldest_change(lru) <= seq) {
        size_t count = 0;
        for (struct tuck_lru_item *item = lru->dirty_first; item && item->first_seq <= seq;
             item = item->after)
            count++;
        status = begin_batch(lru, count, err);
        if (status == 0) {
            while (lru->dirty_first && lru->dirty_first->first_seq <= seq)
                take(lru, lru->dirty_first);
            status = write_batch(lru, err);
        }
    }
    unlock(lru);
    return status;
}

static int compare_taken(const void *a, const void *b) {
    const struct taken *left = a, *right = b;
    return (left->first_seq > right->first_seq) - (left->first_seq < right->first_seq);
}

// Flushes as many of the least recently used as are too many; all that are not held are dirty. Sets
// *ret_any to false if there are none.
static int flush_excess(struct tuck_lru *lru, bool *ret_any, struct tuck_error *err) {
    size_t count = 0, items = lru->stats.items;
    uint64_t bytes = lru->stats.bytes, limit_bytes = lru->options.limit_bytes;
    for (struct tuck_lru_item *item = lru->oldest; item; item = item->newer, count++) {
        if (items <= lru->options.limit_items && (limit_bytes == 0 || bytes <= limit_bytes))
            break;
        items--;
        bytes -= item->weight;
    }
    *ret_any = count > 0;
    int status = count > 0 ? begin_batch(lru, count, err) : 0;
    if (count == 0 || status != 0)
        return status;
    for (struct tuck_lru_item *item = lru->oldest; count > 0; item = item->newer, count--)
        take(lru, item);
    qsort(lru->batch->taken, lru->batch->count, sizeof(*lru->batch->taken), compare_taken);
    return write_batch(lru, err);
}

int tuck_lru_trim(struct tuck_lru *lru, struct tuck_error *err) {
    struct tuck_lru_item *gone = NULL;
    bool goes_on = true;
    int status = 0;
    lock(lru);
    evict_clean(lru, NULL, &gone);
    for (int round = 0; goes_on && status == 0 && round < TRIM_ROUNDS; round++) {
        while (is_over_limits(lru) && lru->batch) {
            wait_for_change(lru);
            evict_clean(lru, NULL, &gone);
        }
        if (!is_over_limits(lru))
            break;
        status = flush_excess(lru, &goes_on, err);
        evict_clean(lru, NULL, &gone);
    }
    unlock(lru);
    bury(lru, gone);
    return status;
}

uint64_t tuck_lru_due_ns(struct tuck_lru *lru) {
    uint64_t since_ns = NOTHING;
    lock(lru);
    if (lru->dirty_first)
        since_ns = lru->dirty_first->since_ns;
    if (lru->batch && lru->batch->count && lru->batch->taken[0].since_ns < since_ns)
        since_ns = lru->batch->taken[0].since_ns;
    unlock(lru);
    uint64_t age_ns = lru->options.dirty_age_ns;
    return since_ns > NOTHING - age_ns ? NOTHING : since_ns + age_ns;
}

// --- Dependencies --------------------------------------------------------------------------------

// Along open dependencies. The walk has a number of its own, so that nothing is looked at twice.
static bool reaches(struct tuck_lru *from, const struct tuck_lru *to, uint64_t walk) {
    if (from == to)
        return true;
    if (from->walk == walk)
        return false;
    from->walk = walk;
    for (size_t i = 0; i < DEPENDENCIES; i++)
        if (is_open(&from->depends[i]) && reaches(from->depends[i].first, to, walk))
            return true;
    return false;
}

// The place that is for `first`, else a free one, else NULL.
static struct dependency *place_for(struct tuck_lru *lru, const struct tuck_lru *first) {
    struct dependency *free_one = NULL;
    for (size_t i = 0; i < DEPENDENCIES; i++) {
        if (lru->depends[i].first == first)
            return &lru->depends[i];
        if (!lru->depends[i].first && !free_one)
            free_one = &lru->depends[i];
    }
    return free_one;
}

int tuck_lru_depend(struct tuck_lru *lru, struct tuck_lru *first, uint64_t seq,
                    struct tuck_error *err) {
    if (lru == first || lru->group != first->group)
        return tuck_fail(err, TUCK_EINVAL, "a cache depends on others of its group only");
    lock(lru);
    struct dependency wanted = {first, seq < first->seq ? seq : first->seq};
    struct dependency *place = place_for(lru, first);
    bool is_wanted = is_open(&wanted); // else it is done with already
    bool is_circle = is_wanted && reaches(first, lru, ++lru->group->walks);
    if (is_wanted && !is_circle && place) {
        place->first = first;
        if (place->seq < wanted.seq)
            place->seq = wanted.seq;
    }
    unlock(lru);
    if (is_circle)
        return tuck_lru_flush(first, wanted.seq, err);
    if (is_wanted && !place)
        return tuck_fail(err, TUCK_EINVAL, "a cache depends on %d others at most", DEPENDENCIES);
    return 0;
}

// For a cache that goes: nothing depends on it any more.
static void forget_dependencies(struct tuck_lru *lru, const struct tuck_lru *first) {
    for (size_t i = 0; i < DEPENDENCIES; i++) {
        if (lru->depends[i].first != first)
            continue;
        lru->depends[i] = (struct dependency){NULL, 0};
        for (struct tuck_lru_item *item = lru->dirty_first; item; item = item->after)
            item->need[i] = 0;
        for (size_t k = 0; lru->batch && k < lru->batch->count; k++)
            lru->batch->taken[k].need[i] = 0;
    }
}

// --- Life ----------------------------------------------------------------------------------------

int tuck_lru_group_new(struct tuck_lru_group **ret_group, struct tuck_error *err) {
    struct tuck_lru_group *group = calloc(1, sizeof(*group));
    if (!group)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a group of caches");
    tuck_mutex_init(&group->lock, TUCK_RANK_LRU);
    tuck_cond_init(&group->changed);
    *ret_group = group;
    return 0;
}

void tuck_lru_group_free(struct tuck_lru_group *group) {
    if (!group)
        return;
    tuck_verify(!group->caches);
    (void)pthread_cond_destroy(&group->changed);
    tuck_mutex_fini(&group->lock);
    free(group);
}

int tuck_lru_new(struct tuck_lru_group *group, const struct tuck_lru_options *options,
                 struct tuck_lru **ret_lru, struct tuck_error *err) {
    size_t align = _Alignof(max_align_t);
    if (!options->ops || !options->ops->flush || options->key_bytes == 0 ||
        options->value_bytes == 0 || options->limit_items == 0)
        return tuck_fail(err, TUCK_EINVAL, "a cache needs a back end, sizes and a limit");
    if (options->key_bytes > UINT32_MAX || options->value_bytes > UINT32_MAX)
        return tuck_fail(err, TUCK_EINVAL, "a cache is for small values");
    struct tuck_lru *lru = calloc(1, sizeof(*lru));
    struct tuck_lru_item **buckets = calloc(64, sizeof(*buckets));
    if (!lru || !buckets) {
        free(lru);
        free(buckets);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a cache");
    }
    lru->group = group;
    lru->options = *options;
    lru->value_room = (options->value_bytes + align - 1) / align * align;
    lru->buckets = buckets;
    lru->bucket_count = 64;
    tuck_random(&lru->seed, sizeof(lru->seed));
    lock(lru);
    lru->next = group->caches;
    group->caches = lru;
    unlock(lru);
    *ret_lru = lru;
    return 0;
}

void tuck_lru_free(struct tuck_lru *lru) {
    if (!lru)
        return;
    size_t busy = tuck_lru_invalidate(lru, NULL, NULL);
    tuck_verify(busy == 0);
    lock(lru);
    struct tuck_lru **at = &lru->group->caches;
    for (struct tuck_lru *other = *at; other; other = other->next)
        forget_dependencies(other, lru);
    while (*at != lru)
        at = &(*at)->next;
    *at = lru->next;
    unlock(lru);
    free(lru->buckets);
    free(lru);
}

// --- Looking in ----------------------------------------------------------------------------------

void tuck_lru_stats(struct tuck_lru *lru, struct tuck_lru_stats *ret_stats) {
    lock(lru);
    *ret_stats = lru->stats;
    unlock(lru);
}

size_t tuck_lru_dirty_count(const struct tuck_lru *lru) {
    return __atomic_load_n(&lru->stats.dirty, __ATOMIC_RELAXED); // a hint, see set_dirty_count()
}
