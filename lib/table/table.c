// SPDX-License-Identifier: MIT
/*
 * Every item is in three places at once: a bucket of the hash table (who is it?), the list of uses
 * (who goes when there is no room?), and, if its life ends, the heap of deadlines (who is first?).
 *
 *   buckets  [ ]─►item─►item    [ ]─►item        chained: an allocation that fails costs speed only
 *   uses     least recent ◄─► … ◄─► most recent  a ring through the table
 *   heap     [deadline, item][deadline, item]…   the earliest on top; an item knows its place in it
 *
 * What leaves the table is collected in a list during a call and reported when the lock is
 * released. By then it is in none of the three, so that nothing a callback or another thread does
 * under the same key can hit the wrong item.
 */
#include "lib/table/table.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"

#include <stdalign.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_ROOM 64
#define HEAP_WAYS  4          // half as many levels as with two, and siblings lie in one cache line
#define NOWHERE    SIZE_MAX   // place in the heap of an item that lives for ever
#define NEVER      UINT64_MAX // deadline of the same

struct link {
    struct link *older, *newer;
};

struct item {
    struct link use;   // first: a link of the list is an item
    struct item *next; // in its bucket, or in the list of those that have left
    uint64_t hash;
    uint64_t span_ns;
    uint64_t deadline_ns;
    uint64_t uses;
    size_t heap_at;
    int status;               // what a load ended with; 0: there is a value
    struct tuck_error *error; // owned: what a failed load had to say, if there was memory for it
    bool is_sliding;
    enum tuck_table_reason reason;      // once it has left
    alignas(max_align_t) uint8_t key[]; // and behind it the value
};

struct place {
    uint64_t deadline_ns; // the item's, here for the sake of the cache
    struct item *item;
};

// Items that have left, in the order in which they did.
struct gone {
    struct item *first, **end;
};

// Somebody who waits for another's load; on its stack.
struct waiter {
    struct waiter *next;
    void *ret_value;
    struct tuck_error *err;
    int status;
    bool is_done;
};

// A load that is going on; on the stack of the thread that loads.
struct flight {
    struct flight *next;
    const void *key;
    pthread_t thread;
    struct waiter *waiters;
    bool is_cut_off; // the key was deleted, or the table cleared: the result does not stay
    enum tuck_table_reason reason;
};

struct tuck_table {
    /* const after init */
    struct tuck_table_options options;
    size_t value_at; // behind the key, aligned

    struct tuck_mutex lock;
    pthread_cond_t landed; // some load has ended

    /* guarded by lock */
    struct item **bucket; // a power of two
    size_t bucket_count;
    struct link uses; // its newer is the least recently used item, its older the most recently used
    struct place *heap;
    size_t heap_count, heap_room; // room for all items, so that only adding can fail
    size_t count;
    struct flight *flights; // as many as threads that load: few
};

// --- Heap ----------------------------------------------------------------------------------------

static void heap_set(struct tuck_table *table, size_t at, struct place place) {
    table->heap[at] = place;
    place.item->heap_at = at;
}

// Puts the place where it belongs, beginning at `at`, whose former content is elsewhere by now.
static void heap_settle(struct tuck_table *table, size_t at, struct place place) {
    struct place *heap = table->heap;
    for (; at > 0 && heap[(at - 1) / HEAP_WAYS].deadline_ns > place.deadline_ns;
         at = (at - 1) / HEAP_WAYS)
        heap_set(table, at, heap[(at - 1) / HEAP_WAYS]);
    for (;;) {
        size_t first = at * HEAP_WAYS + 1, least = first;
        for (size_t i = first + 1; i < first + HEAP_WAYS && i < table->heap_count; i++)
            least = heap[i].deadline_ns < heap[least].deadline_ns ? i : least;
        if (first >= table->heap_count || heap[least].deadline_ns >= place.deadline_ns)
            break;
        heap_set(table, at, heap[least]);
        at = least;
    }
    heap_set(table, at, place);
}

static void heap_leave(struct tuck_table *table, struct item *item) {
    size_t at = item->heap_at;
    if (at == NOWHERE)
        return;
    item->heap_at = NOWHERE;
    struct place last = table->heap[--table->heap_count];
    if (last.item != item)
        heap_settle(table, at, last);
}

static void set_deadline(struct tuck_table *table, struct item *item, uint64_t deadline_ns) {
    item->deadline_ns = deadline_ns;
    if (deadline_ns == NEVER)
        heap_leave(table, item);
    else
        heap_settle(table, item->heap_at == NOWHERE ? table->heap_count++ : item->heap_at,
                    (struct place){deadline_ns, item});
}

// --- Items ---------------------------------------------------------------------------------------

static void *value_of(const struct tuck_table *table, struct item *item) {
    return table->options.value_bytes ? item->key + table->value_at : NULL;
}

static void copy(void *to, const void *from, size_t len) {
    if (to && len > 0)
        memcpy(to, from, len);
}

static uint64_t hash_of(const struct tuck_table *table, const void *key) {
    return XXH3_64bits(key, table->options.key_bytes);
}

// An item that is not in the table yet, its value all zeros.
static struct item *make_item(const struct tuck_table *table, const void *key, uint64_t span_ns,
                              unsigned flags, struct tuck_error *err) {
    struct item *item =
        calloc(1, offsetof(struct item, key) + table->value_at + table->options.value_bytes);
    if (!item) {
        (void)tuck_fail(err, TUCK_ENOMEM, "no memory for a table's item");
        return NULL;
    }
    *item = (struct item){.hash = hash_of(table, key),
                          .span_ns = span_ns,
                          .heap_at = NOWHERE,
                          .is_sliding = flags & TUCK_TABLE_SLIDING};
    copy(item->key, key, table->options.key_bytes);
    return item;
}

static void free_item(struct item *item) {
    free(item->error);
    free(item);
}

static struct item **bucket_of(const struct tuck_table *table, uint64_t hash) {
    return &table->bucket[hash & (table->bucket_count - 1)];
}

static bool is_over(const struct item *item, uint64_t now_ns) {
    return item->deadline_ns <= now_ns;
}

// The item of that key whose life is not over, be it one without a value.
static struct item *find(const struct tuck_table *table, const void *key, uint64_t hash,
                         uint64_t now_ns) {
    struct item *item = *bucket_of(table, hash);
    while (item && (item->hash != hash || memcmp(item->key, key, table->options.key_bytes) != 0))
        item = item->next;
    return item && !is_over(item, now_ns) ? item : NULL;
}

static struct item *find_value(const struct tuck_table *table, const void *key, uint64_t now_ns) {
    struct item *item = find(table, key, hash_of(table, key), now_ns);
    return item && item->status == 0 ? item : NULL;
}

// A span of 0 is for ever, and so is one that the clock cannot count.
static uint64_t end_of_life(uint64_t now_ns, uint64_t span_ns) {
    return span_ns > 0 && span_ns < NEVER - now_ns ? now_ns + span_ns : NEVER;
}

static void make_most_recent(struct tuck_table *table, struct item *item) {
    item->use = (struct link){.older = table->uses.older, .newer = &table->uses};
    item->use.older->newer = item->use.newer->older = &item->use;
}

static void leave_uses(struct item *item) {
    item->use.older->newer = item->use.newer;
    item->use.newer->older = item->use.older;
}

static void note_use(struct tuck_table *table, struct item *item) {
    item->uses++;
    leave_uses(item);
    make_most_recent(table, item);
}

static void use(struct tuck_table *table, struct item *item, uint64_t now_ns) {
    note_use(table, item);
    if (item->is_sliding)
        set_deadline(table, item, end_of_life(now_ns, item->span_ns));
}

// --- Coming and going ----------------------------------------------------------------------------

static void add_gone(struct gone *gone, struct item *item, enum tuck_table_reason reason) {
    item->reason = reason;
    item->next = NULL;
    *gone->end = item;
    gone->end = &item->next;
}

static void take_out(struct tuck_table *table, struct item *item, enum tuck_table_reason reason,
                     struct gone *gone) {
    struct item **at = bucket_of(table, item->hash);
    while (*at != item)
        at = &(*at)->next;
    *at = item->next;
    leave_uses(item);
    heap_leave(table, item);
    table->count--;
    add_gone(gone, item, reason);
}

// Tells of those that have left. Without the lock.
static void report(const struct tuck_table *table, const struct gone *gone) {
    for (struct item *item = gone->first, *next; item; item = next) {
        next = item->next;
        if (item->status == 0 && table->options.removed)
            table->options.removed(table->options.arg, item->reason, item->key,
                                   value_of(table, item));
        free_item(item);
    }
}

// So that one more item finds room in the heap, now or later.
static bool reserve(struct tuck_table *table) {
    if (table->count < table->heap_room)
        return true;
    size_t room = 2 * table->heap_room;
    struct place *heap = reallocarray(table->heap, room, sizeof(*heap));
    if (!heap)
        return false;
    table->heap = heap;
    table->heap_room = room;
    return true;
}

// Keeps chains short if it can.
static void grow_buckets(struct tuck_table *table) {
    size_t old_count = table->bucket_count;
    struct item **old = table->bucket;
    struct item **bucket = calloc(2 * old_count, sizeof(struct item *));
    if (!bucket)
        return;
    table->bucket = bucket;
    table->bucket_count = 2 * old_count;
    for (size_t i = 0; i < old_count; i++) {
        for (struct item *item = old[i], *next; item; item = next) {
            next = item->next;
            item->next = *bucket_of(table, item->hash);
            *bucket_of(table, item->hash) = item;
        }
    }
    free(old);
}

// Puts the item in, for which room was reserved. Out goes what had its key, and what is too much.
static void put_in(struct tuck_table *table, struct item *item, uint64_t now_ns,
                   uint64_t deadline_ns, struct gone *gone) {
    struct item *old = find(table, item->key, item->hash, 0); // be its life over or not
    if (old)
        take_out(table, old, is_over(old, now_ns) ? TUCK_TABLE_EXPIRED : TUCK_TABLE_REPLACED, gone);
    while (table->count >= table->options.limit) {
        if (table->heap_count > 0 && is_over(table->heap[0].item, now_ns))
            take_out(table, table->heap[0].item, TUCK_TABLE_EXPIRED, gone);
        else
            take_out(table, (struct item *)table->uses.newer, TUCK_TABLE_EVICTED, gone);
    }
    if (table->count >= table->bucket_count)
        grow_buckets(table);
    item->next = *bucket_of(table, item->hash);
    *bucket_of(table, item->hash) = item;
    table->count++;
    make_most_recent(table, item);
    set_deadline(table, item, deadline_ns);
}

// --- Life ----------------------------------------------------------------------------------------

int tuck_table_new(const struct tuck_table_options *options, struct tuck_table **ret_table,
                   struct tuck_error *err) {
    if (options->key_bytes == 0 || options->limit == 0)
        return tuck_fail(err, TUCK_EINVAL, "a table needs a key size and a limit");
    struct tuck_table *table = calloc(1, sizeof(*table));
    struct item **bucket = calloc(FIRST_ROOM, sizeof(struct item *));
    struct place *heap = calloc(FIRST_ROOM, sizeof(*heap));
    if (!table || !bucket || !heap) {
        free(table);
        free(bucket);
        free(heap);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a table");
    }
    const size_t align = alignof(max_align_t);
    table->options = *options;
    table->value_at = (options->key_bytes + align - 1) / align * align;
    tuck_mutex_init(&table->lock, TUCK_RANK_TABLE);
    tuck_cond_init(&table->landed);
    table->bucket = bucket;
    table->heap = heap;
    table->bucket_count = table->heap_room = FIRST_ROOM;
    table->uses = (struct link){&table->uses, &table->uses};
    *ret_table = table;
    return 0;
}

void tuck_table_free(struct tuck_table *table) {
    if (!table)
        return;
    tuck_verify(!table->flights);
    tuck_table_clear(table);
    table->options.removed = NULL;
    tuck_table_clear(table);
    (void)pthread_cond_destroy(&table->landed);
    tuck_mutex_fini(&table->lock);
    free(table->bucket);
    free(table->heap);
    free(table);
}

// --- Use -----------------------------------------------------------------------------------------

// Adds an item from outside; **takes** it.
static int admit(struct tuck_table *table, struct item *item, uint64_t left_ns, bool if_absent,
                 struct tuck_error *err) {
    struct gone gone = {NULL, &gone.first};
    tuck_lock(&table->lock);
    uint64_t now_ns = tuck_clock_mono_ns();
    int status = 0;
    if (if_absent && find_value(table, item->key, now_ns))
        status = TUCK_TABLE_PRESENT;
    else if (!reserve(table))
        status = TUCK_ENOMEM;
    else
        put_in(table, item, now_ns, end_of_life(now_ns, left_ns), &gone);
    tuck_unlock(&table->lock);
    if (status != 0)
        free_item(item);
    report(table, &gone);
    return status < 0 ? tuck_fail(err, TUCK_ENOMEM, "no memory for a table's item") : status;
}

int tuck_table_add(struct tuck_table *table, const void *key, const void *value, uint64_t span_ns,
                   unsigned flags, struct tuck_error *err) {
    struct item *item = make_item(table, key, span_ns, flags, err);
    if (!item)
        return TUCK_ENOMEM;
    copy(value_of(table, item), value, table->options.value_bytes);
    return admit(table, item, span_ns, flags & TUCK_TABLE_IF_ABSENT, err);
}

static int look(struct tuck_table *table, const void *key, bool is_use, void *ret_value) {
    tuck_lock(&table->lock);
    uint64_t now_ns = tuck_clock_mono_ns();
    struct item *item = find_value(table, key, now_ns);
    if (item) {
        copy(ret_value, value_of(table, item), table->options.value_bytes);
        if (is_use)
            use(table, item, now_ns);
    }
    tuck_unlock(&table->lock);
    return item ? 0 : TUCK_TABLE_ABSENT;
}

int tuck_table_get(struct tuck_table *table, const void *key, void *ret_value) {
    return look(table, key, true, ret_value);
}

int tuck_table_peek(struct tuck_table *table, const void *key, void *ret_value) {
    return look(table, key, false, ret_value);
}

int tuck_table_extend(struct tuck_table *table, const void *key, uint64_t span_ns) {
    tuck_lock(&table->lock);
    uint64_t now_ns = tuck_clock_mono_ns();
    struct item *item = find_value(table, key, now_ns);
    if (item) {
        item->span_ns = span_ns;
        note_use(table, item);
        set_deadline(table, item, end_of_life(now_ns, span_ns));
    }
    tuck_unlock(&table->lock);
    return item ? 0 : TUCK_TABLE_ABSENT;
}

// What is being loaded was overtaken. NULL: for every key.
static void cut_off(struct tuck_table *table, const void *key, enum tuck_table_reason reason) {
    for (struct flight *flight = table->flights; flight; flight = flight->next) {
        if (!key || memcmp(flight->key, key, table->options.key_bytes) == 0) {
            flight->is_cut_off = true;
            flight->reason = reason;
        }
    }
}

int tuck_table_delete(struct tuck_table *table, const void *key, void *ret_value) {
    struct gone gone = {NULL, &gone.first};
    tuck_lock(&table->lock);
    cut_off(table, key, TUCK_TABLE_DELETED);
    uint64_t now_ns = tuck_clock_mono_ns();
    struct item *item = find(table, key, hash_of(table, key), now_ns);
    bool has_value = item && item->status == 0;
    if (has_value)
        copy(ret_value, value_of(table, item), table->options.value_bytes);
    if (item)
        take_out(table, item, TUCK_TABLE_DELETED, &gone);
    tuck_unlock(&table->lock);
    report(table, &gone);
    return has_value ? 0 : TUCK_TABLE_ABSENT;
}

void tuck_table_clear(struct tuck_table *table) {
    struct gone gone = {NULL, &gone.first};
    tuck_lock(&table->lock);
    cut_off(table, NULL, TUCK_TABLE_CLEARED);
    uint64_t now_ns = tuck_clock_mono_ns();
    for (struct link *link = table->uses.newer, *newer; link != &table->uses; link = newer) {
        struct item *item = (struct item *)link;
        newer = link->newer;
        add_gone(&gone, item, is_over(item, now_ns) ? TUCK_TABLE_EXPIRED : TUCK_TABLE_CLEARED);
    }
    memset(table->bucket, 0, table->bucket_count * sizeof(struct item *));
    table->uses = (struct link){&table->uses, &table->uses};
    table->heap_count = table->count = 0;
    tuck_unlock(&table->lock);
    report(table, &gone);
}

// --- Loading -------------------------------------------------------------------------------------

// Hands out the value of an item, or what it remembers instead of one.
static int hand_out(const struct tuck_table *table, struct item *item, void *ret_value,
                    struct tuck_error *err) {
    if (item->status == 0)
        copy(ret_value, value_of(table, item), table->options.value_bytes);
    else if (item->status < 0 && err)
        *err = item->error ? *item->error : (struct tuck_error){.code = item->status};
    return item->status;
}

static struct flight *find_flight(const struct tuck_table *table, const void *key) {
    struct flight *flight = table->flights;
    while (flight &&
           (flight->is_cut_off || memcmp(flight->key, key, table->options.key_bytes) != 0))
        flight = flight->next;
    return flight;
}

static int wait_for(struct tuck_table *table, struct flight *flight, void *ret_value,
                    struct tuck_error *err) {
    struct waiter self = {.next = flight->waiters, .ret_value = ret_value, .err = err};
    flight->waiters = &self;
    while (!self.is_done)
        tuck_cond_wait(&table->landed, &table->lock);
    return self.status;
}

// Without the lock: nobody else knows the item.
static void run(const struct tuck_table *table, const struct tuck_table_loader *loader,
                struct item *item) {
    struct tuck_error error = {0};
    item->status = loader->load(loader->arg, item->key, value_of(table, item), &error);
    if (item->status == 0)
        return;
    item->is_sliding = false;
    item->error = item->status < 0 ? malloc(sizeof(error)) : NULL;
    if (item->error)
        *item->error = error;
}

// Decides what becomes of the item that was loaded. Returns the one that has the result.
static struct item *land(struct tuck_table *table, const struct flight *flight, struct item *item,
                         uint64_t negative_span_ns, struct gone *gone) {
    uint64_t now_ns = tuck_clock_mono_ns();
    struct item *present = find_value(table, item->key, now_ns);
    if (present) {
        use(table, present, now_ns);
        add_gone(gone, item, TUCK_TABLE_REPLACED);
        return present;
    }
    if (flight->is_cut_off)
        add_gone(gone, item, flight->reason);
    else if ((item->status != 0 && negative_span_ns == 0) || !reserve(table))
        add_gone(gone, item, TUCK_TABLE_EVICTED);
    else
        put_in(table, item, now_ns,
               end_of_life(now_ns, item->status == 0 ? item->span_ns : negative_span_ns), gone);
    return item;
}

static void tell_waiters(struct tuck_table *table, const struct flight *flight, struct item *item) {
    // A waiter may be gone as soon as it is told and the lock released, but not before.
    for (struct waiter *waiter = flight->waiters; waiter; waiter = waiter->next) {
        waiter->status = hand_out(table, item, waiter->ret_value, waiter->err);
        waiter->is_done = true;
    }
    if (flight->waiters)
        (void)pthread_cond_broadcast(&table->landed);
}

static int load(struct tuck_table *table, struct item *item, const struct tuck_table_loader *loader,
                void *ret_value, struct gone *gone, struct tuck_error *err) {
    struct flight flight = {.next = table->flights, .key = item->key, .thread = pthread_self()};
    table->flights = &flight;
    tuck_unlock(&table->lock);
    run(table, loader, item);
    tuck_lock(&table->lock);
    struct flight **at = &table->flights;
    while (*at != &flight)
        at = &(*at)->next;
    *at = flight.next;
    item = land(table, &flight, item, loader->negative_span_ns, gone);
    tell_waiters(table, &flight, item);
    return hand_out(table, item, ret_value, err);
}

int tuck_table_load(struct tuck_table *table, const void *key,
                    const struct tuck_table_loader *loader, void *ret_value,
                    struct tuck_error *err) {
    struct gone gone = {NULL, &gone.first};
    int status;
    tuck_lock(&table->lock);
    uint64_t now_ns = tuck_clock_mono_ns();
    struct item *item = find(table, key, hash_of(table, key), now_ns);
    struct flight *flight = item ? NULL : find_flight(table, key);
    if (item) {
        use(table, item, now_ns);
        status = hand_out(table, item, ret_value, err);
    } else if (flight && pthread_equal(flight->thread, pthread_self())) {
        status = tuck_fail(err, TUCK_EINTERNAL, "a load waits for itself");
    } else if (flight) {
        status = wait_for(table, flight, ret_value, err);
    } else {
        item = make_item(table, key, loader->span_ns, loader->flags, err);
        status = item ? load(table, item, loader, ret_value, &gone, err) : TUCK_ENOMEM;
    }
    tuck_unlock(&table->lock);
    report(table, &gone);
    return status;
}

// --- Expiry --------------------------------------------------------------------------------------

uint64_t tuck_table_next_deadline_ns(struct tuck_table *table) {
    tuck_lock(&table->lock);
    uint64_t deadline_ns = table->heap_count > 0 ? table->heap[0].deadline_ns : NEVER;
    tuck_unlock(&table->lock);
    return deadline_ns;
}

size_t tuck_table_sweep(struct tuck_table *table, size_t max) {
    struct gone gone = {NULL, &gone.first};
    size_t swept = 0;
    tuck_lock(&table->lock);
    uint64_t now_ns = tuck_clock_mono_ns();
    for (; swept < max && table->heap_count > 0 && is_over(table->heap[0].item, now_ns); swept++)
        take_out(table, table->heap[0].item, TUCK_TABLE_EXPIRED, &gone);
    tuck_unlock(&table->lock);
    report(table, &gone);
    return swept;
}

// --- All of it -----------------------------------------------------------------------------------

// The more used first; copies of what was used more recently lie behind the others.
static int compare_uses(const void *a_row, const void *b_row) {
    const struct tuck_table_row *a = a_row, *b = b_row;
    if (a->uses != b->uses)
        return a->uses < b->uses ? 1 : -1;
    return a->key < b->key ? 1 : -1;
}

// Copies the items to `rows` and, keys and values, to `bytes`. Returns how many there are.
static size_t copy_rows(const struct tuck_table *table, size_t stride, struct tuck_table_row *rows,
                        uint8_t *bytes) {
    uint64_t now_ns = tuck_clock_mono_ns(), wall_ns = tuck_clock_wall_ns();
    size_t count = 0;
    for (struct link *link = table->uses.newer; link != &table->uses; link = link->newer) {
        struct item *item = (struct item *)link;
        if (item->status != 0 || is_over(item, now_ns))
            continue;
        uint8_t *value = value_of(table, item) ? bytes + table->value_at : NULL;
        memcpy(bytes, item->key, table->options.key_bytes);
        copy(value, value_of(table, item), table->options.value_bytes);
        rows[count++] = (struct tuck_table_row){
            .key = bytes,
            .value = value,
            .span_ns = item->span_ns,
            .deadline_ns = end_of_life(wall_ns, item->deadline_ns - now_ns),
            .uses = item->uses,
            .flags = item->is_sliding ? TUCK_TABLE_SLIDING : 0,
        };
        bytes += stride;
    }
    return count;
}

int tuck_table_rows(struct tuck_table *table, enum tuck_table_order order,
                    bool (*each)(void *arg, const struct tuck_table_row *row), void *arg,
                    struct tuck_error *err) {
    const size_t align = alignof(max_align_t);
    size_t stride = (table->value_at + table->options.value_bytes + align - 1) / align * align;
    size_t count = 0;
    tuck_lock(&table->lock);
    size_t room = table->count ? table->count : 1;
    TUCK_CLEANUP(tuck_free) struct tuck_table_row *rows = calloc(room, sizeof(*rows));
    TUCK_CLEANUP(tuck_free) uint8_t *bytes = calloc(room, stride);
    if (rows && bytes)
        count = copy_rows(table, stride, rows, bytes);
    tuck_unlock(&table->lock);
    if (!rows || !bytes)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a table's rows");
    if (order == TUCK_TABLE_MOST_USED_FIRST)
        qsort(rows, count, sizeof(*rows), compare_uses);
    for (size_t i = 0; i < count && each(arg, &rows[i]); i++)
        ;
    return 0;
}

int tuck_table_restore(struct tuck_table *table, const struct tuck_table_row *row,
                       struct tuck_error *err) {
    uint64_t wall_ns = tuck_clock_wall_ns(), left_ns = 0;
    if (row->span_ns > 0) {
        if (row->deadline_ns <= wall_ns)
            return TUCK_TABLE_ABSENT;
        left_ns = row->deadline_ns - wall_ns;
        left_ns = left_ns < row->span_ns ? left_ns : row->span_ns;
    }
    struct item *item = make_item(table, row->key, row->span_ns, row->flags, err);
    if (!item)
        return TUCK_ENOMEM;
    copy(value_of(table, item), row->value, table->options.value_bytes);
    item->uses = row->uses;
    return admit(table, item, left_ns, true, err);
}

size_t tuck_table_count(struct tuck_table *table) {
    tuck_lock(&table->lock);
    size_t count = table->count;
    tuck_unlock(&table->lock);
    return count;
}

const struct tuck_table_options *tuck_table__options(const struct tuck_table *table) {
    return &table->options;
}
