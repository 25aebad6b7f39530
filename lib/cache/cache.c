// SPDX-License-Identifier: MIT
#include "lib/cache/cache.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/cache/internal.h"

#include <errno.h>

#define FLUSH_AGE_NS    (200 * TUCK_NS_PER_MS) // how long a put may wait for the index
#define FLUSH_COUNT     512U                   // how many may
#define BATCH_AGE_NS    (5 * TUCK_NS_PER_S)    // the same where each flush syncs the file system
#define LOCKS_NS        (250 * TUCK_NS_PER_MS) // how long a flush waits for other processes
#define END_NS          (2 * LOCKS_NS)         // and all flushes of the end together
#define SPACE_NS        TUCK_NS_PER_S          // between two looks at the room that is left
#define TOUCH_S         3600U                  // how stale an access time may be
#define SLOW_BYTES      262144U                // hashing more than this is not done on the reader
#define STAGE_AT        65536U                 // a body up to this size is written in one piece
#define PRIVATE_ENTRIES 65536U

// They live as long as the process.
struct private_entry {
    struct tuck_action_id action;
    struct tuck_entry entry;
};

struct tuck_put {
    struct tuck_cache *cache;
    struct tuck_action_id action;
    struct tuck_output_id output;
    uint64_t size;
    uint64_t received;
    struct tuck_digest digest;
    struct tuck_stage *stage; // NULL while the object is there already, or no file was needed yet
    struct bay *bay;          // where the object is, or is being written; NULL: the private drive
    struct bay_parts *parts;  // of the bay
    uint8_t place[TUCK_DRIVES_MAX]; // the bays in the order in which they are tried
    size_t place_count, place_next;
    bool is_present;
    bool is_private;                 // no drive has taken it
    bool is_new;                     // on its drive, when it is committed
    const struct tuck_entry *import; // borrowed: what is to be recorded; NULL: a put of now
    uint32_t tag;
    int failed; // why no place was left, or 0
    struct tuck_error why;
    uint8_t *held; // a small body waits here, so that its file is made only when its hash is right
    size_t held_len;
};

// --- Opening -------------------------------------------------------------------------------------

int tuck_cache_open(const struct tuck_cache_options *options, struct tuck_cache **ret_cache,
                    struct tuck_error *err) {
    struct tuck_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the cache");
    cache->durability = options->durability;
    cache->bound = options->bound;
    cache->sink = options->sink;
    tuck_mutex_init(&cache->lock, TUCK_RANK_CACHE);
    tuck_cond_init(&cache->wake_flusher);
    tuck_cond_init(&cache->flushed);
    int status = tuck_bays__open(&cache->bays, options, err);
    if (status < 0) {
        tuck_cache_close(cache);
        return status;
    }
    *ret_cache = cache;
    return 0;
}

static void join_collector(struct tuck_cache *cache) {
    if (cache->has_collector)
        (void)pthread_join(cache->collector, NULL);
    cache->has_collector = false;
}

void tuck_cache_close(struct tuck_cache *cache) {
    if (!cache)
        return;
    join_collector(cache);
    tuck_bays__close(&cache->bays);
    tuck_drive_close(cache->spare);
    (void)pthread_cond_destroy(&cache->wake_flusher);
    (void)pthread_cond_destroy(&cache->flushed);
    tuck_mutex_fini(&cache->lock);
    free(cache->privates);
    free(cache);
}

// The set's first place stands for all where no drive is meant.
struct tuck_counters *tuck_cache_counters(struct tuck_cache *cache) {
    return &cache->bays.bay[0].counters;
}

// --- Flusher -------------------------------------------------------------------------------------

// Looks at a drive on which something failed.
static void report_error(struct tuck_cache *cache, struct bay *bay, int os) {
    // Directories are made as they are needed: where that is not possible the root was removed.
    tuck_bays__fault(&cache->bays, bay, os == ENOENT ? ESTALE : os);
}

// Writes what is dirty on every drive. 0, or what the first failed with, or TUCK_INDEX_BUSY.
static int flush(struct tuck_cache *cache, uint64_t wait_ns) {
    uint64_t deadline_ns = tuck_clock_mono_ns() + wait_ns;
    int first = 0;
    for (size_t i = 0; i < cache->bays.count; i++) {
        struct tuck_error why = {0};
        struct bay *bay = &cache->bays.bay[i];
        struct bay_parts *parts = bay_parts(bay);
        if (!parts || tuck_lru_dirty_count(tuck_index_lru(parts->index)) == 0)
            continue;
        uint64_t now_ns = tuck_clock_mono_ns();
        int status =
            tuck_index_flush(parts->index, now_ns < deadline_ns ? deadline_ns - now_ns : 0, &why);
        // A drive that takes no writes has its index open for reading only, or had it open before.
        bool is_readonly =
            status < 0 && cache->bays.count > 1 && (why.os == EROFS || why.os == EBADF);
        if (status < 0)
            report_error(cache, bay, is_readonly ? EROFS : why.os);
        // That is told otherwise, and so is a drive that is gone.
        if (status < 0 && !is_readonly && bay_parts(bay))
            tuck_emit(cache->sink, TUCK_EVENT_ENTRIES_LOST, "index/entries", &why);
        first = first < 0 || status == 0 ? first : status;
    }
    return first;
}

static void *run_collector(void *arg) {
    struct tuck_cache *cache = arg;
    for (size_t i = 0; i < cache->bays.count && !cache->stop_collecting; i++)
        if (tuck_cache__what_is_due(cache, &cache->bays.bay[i]) == DUE_PRESSURE)
            tuck_cache__collect_as_due(cache, &cache->bays.bay[i], &cache->stop_collecting);
    tuck_lock(&cache->lock);
    cache->is_collector_done = true;
    tuck_unlock(&cache->lock);
    return NULL;
}

// While bodies come in: is there room, and must something go?
static void look_at_space(struct tuck_cache *cache) {
    uint64_t now_ns = tuck_clock_mono_ns();
    if (now_ns < cache->space_seen_ns + SPACE_NS)
        return;
    cache->space_seen_ns = now_ns;
    bool is_due = false;
    for (size_t i = 0; i < cache->bays.count; i++)
        is_due |= tuck_cache__what_is_due(cache, &cache->bays.bay[i]) == DUE_PRESSURE;
    tuck_lock(&cache->lock);
    bool may_start =
        is_due && !cache->is_ending && (!cache->has_collector || cache->is_collector_done);
    tuck_unlock(&cache->lock);
    if (!may_start)
        return;
    join_collector(cache);
    cache->is_collector_done = false;
    cache->has_collector = tuck_thread_start(&cache->collector, run_collector, cache) == 0;
}

// Waits until there is something to do. False when the end has come.
static bool wait_for_work(struct tuck_cache *cache) {
    uint64_t age_ns = cache->durability == TUCK_BATCH ? BATCH_AGE_NS : FLUSH_AGE_NS;
    uint64_t due_ns = UINT64_MAX;
    while (!cache->is_ending && cache->dirty < FLUSH_COUNT) {
        if (cache->dirty > 0 && due_ns == UINT64_MAX)
            due_ns = tuck_clock_mono_ns() + age_ns;
        uint64_t try_ns = tuck_bays__next_try_ns(&cache->bays);
        if (!tuck_cond_wait_until(&cache->wake_flusher, &cache->lock,
                                  due_ns < try_ns ? due_ns : try_ns))
            break;
    }
    return !cache->is_ending;
}

static void *run_flusher(void *arg) {
    struct tuck_cache *cache = arg;
    tuck_lock(&cache->lock);
    while (wait_for_work(cache)) {
        bool has_dirty = cache->dirty > 0;
        cache->dirty = 0;
        tuck_unlock(&cache->lock);
        tuck_bays__try_again(&cache->bays);
        int status = has_dirty ? flush(cache, LOCKS_NS) : 0;
        if (has_dirty)
            look_at_space(cache);
        tuck_lock(&cache->lock);
        cache->flushes += has_dirty;
        cache->is_flush_failing = status != 0;
        if (status != 0)
            cache->dirty++; // try again when the age is reached once more
        (void)pthread_cond_signal(&cache->flushed);
    }
    tuck_unlock(&cache->lock);
    return NULL;
}

// False if no thread can be had.
static bool need_flusher(struct tuck_cache *cache) {
    tuck_lock(&cache->lock);
    if (!cache->has_flusher && !cache->is_ending)
        cache->has_flusher = tuck_thread_start(&cache->flusher, run_flusher, cache) == 0;
    bool has_flusher = cache->has_flusher;
    tuck_unlock(&cache->lock);
    return has_flusher;
}

// `waiting` is how many entries are dirty. Puts that outrun the flusher wait for it, and so slow
// the client down; but not for one that fails: then entries are lost when there is no room any
// more, and become misses.
static void order_flush(struct tuck_cache *cache, size_t waiting) {
    bool has_flusher = need_flusher(cache);
    tuck_lock(&cache->lock);
    cache->dirty++;
    if (cache->dirty == 1 || cache->dirty == FLUSH_COUNT)
        (void)pthread_cond_signal(&cache->wake_flusher);
    if (waiting >= TUCK_INDEX_DIRTY_MAX / 2 && has_flusher) {
        uint64_t deadline_ns = tuck_clock_mono_ns() + 4 * LOCKS_NS;
        for (uint64_t before = cache->flushes;
             cache->flushes == before && !cache->is_flush_failing;)
            if (!tuck_cond_wait_until(&cache->flushed, &cache->lock, deadline_ns))
                break;
    }
    tuck_unlock(&cache->lock);
    if (!has_flusher && waiting >= TUCK_INDEX_DIRTY_MAX / 2)
        (void)!flush(cache, LOCKS_NS); // no thread could be had
}

// There is something to be tried again, on the flusher's thread.
static void wake_flusher(struct tuck_cache *cache) {
    (void)need_flusher(cache);
    tuck_lock(&cache->lock);
    (void)pthread_cond_signal(&cache->wake_flusher);
    tuck_unlock(&cache->lock);
}

// A drive failed. It is looked at.
static void report_fault(struct tuck_cache *cache, struct bay *bay, int os) {
    report_error(cache, bay, os);
    if (!bay_parts(bay))
        wake_flusher(cache);
}

// Notes how long a small operation took that began then. Returns the time now. Of a single drive nobody
// has to know.
static uint64_t note_time(struct tuck_cache *cache, struct bay *bay, uint64_t began_ns) {
    if (cache->bays.count < 2)
        return 0;
    uint64_t now_ns = tuck_clock_mono_ns();
    if (began_ns > 0)
        tuck_bays__took(&cache->bays, bay, now_ns - began_ns);
    return now_ns;
}

static void end_threads(struct tuck_cache *cache) {
    tuck_lock(&cache->lock);
    cache->is_ending = true;
    (void)pthread_cond_signal(&cache->wake_flusher);
    tuck_unlock(&cache->lock);
    if (cache->has_flusher)
        (void)pthread_join(cache->flusher, NULL);
    cache->has_flusher = false;
    // It ends with the step it is at, which nobody waits for; the next helper goes on.
    cache->stop_collecting = 1;
}

void tuck_cache_end(struct tuck_cache *cache) {
    end_threads(cache);
    bool is_flushed = !cache->has_recorded || flush(cache, END_NS) == 0;
    tuck_bays__end(&cache->bays);
    for (size_t i = 0; i < cache->bays.count; i++) {
        struct bay *bay = &cache->bays.bay[i];
        struct bay_parts *parts = bay_parts(bay);
        size_t lost = parts && !is_flushed ? tuck_index_spool(parts->index) : 0;
        if (lost > 0) {
            tuck_count(&bay->counters, TUCK_COUNT_entries_lost, lost);
            if (tuck_bays__takes_puts(&cache->bays, bay)) // else that is told
                tuck_emit(cache->sink, TUCK_EVENT_ENTRIES_LOST, NULL, NULL);
        }
        tuck_bay__add_up(bay);
    }
}

static int sync_file_system(int fd) {
#ifdef __linux__
    return syncfs(fd);
#else
    sync();
    return fd < 0 ? -1 : 0;
#endif
}

void tuck_cache_tidy(struct tuck_cache *cache, const volatile int *stop) {
    join_collector(cache);
    (void)!flush(cache, LOCKS_NS); // access times, and what verification has found
    for (size_t i = 0; i < cache->bays.count && !*stop; i++) {
        struct bay *bay = &cache->bays.bay[i];
        struct bay_parts *parts = bay_parts(bay);
        if (!parts)
            continue;
        tuck_bay__end_lease(parts); // what this helper gave out is nobody's any more
        tuck_index_sync_if_due(parts->index, sync_file_system);
        if (tuck_cache__what_is_due(cache, bay) != DUE_NOTHING)
            tuck_cache__collect_as_due(cache, bay, stop);
        if (cache->bays.count > 1)
            tuck_index_fill_brief(parts->index, stop);
        tuck_bay__add_up(bay);
    }
}

// --- Get -----------------------------------------------------------------------------------------

// The rest of a hit whose path is there already.
static void fill_hit(const struct tuck_entry *entry, struct tuck_hit *hit) {
    hit->output = entry->output;
    hit->size = entry->size;
    hit->time_ns = entry->put_ns;
}

static const struct private_entry *find_private(const struct tuck_cache *cache,
                                                const struct tuck_action_id *action) {
    for (size_t i = cache->private_count; i-- > 0;)
        if (tuck_action_equal(&cache->privates[i].action, action))
            return &cache->privates[i];
    return NULL;
}

static int get_private(struct tuck_cache *cache, const struct tuck_action_id *action,
                       struct tuck_hit *hit) {
    const struct private_entry *found = find_private(cache, action);
    uint32_t tag;
    if (!found)
        return TUCK_CACHE_MISS;
    tuck_object_path(cache->spare, &found->entry.output, hit->path);
    if (tuck_object_check(hit->path, found->entry.size, &tag) != 0 || tag != found->entry.file_tag)
        return TUCK_CACHE_MISS;
    fill_hit(&found->entry, hit);
    return 0;
}

// Where the newest put of the action is.
struct found {
    struct bay *bay;
    struct bay_parts *parts;
    struct tuck_entry entry;
};

// True if the drive need not be asked. With a single drive most actions are there, and asking is cheaper.
static bool is_elsewhere(const struct tuck_cache *cache, const struct bay_parts *parts,
                         const struct tuck_action_id *action) {
    return !parts || (cache->bays.count > 1 && tuck_index_lacks(parts->index, action));
}

// Asks all drives that are online. False if none has an entry.
static bool find(struct tuck_cache *cache, const struct tuck_action_id *action,
                 struct found *ret_found) {
    ret_found->bay = NULL;
    for (size_t i = 0; i < cache->bays.count; i++) {
        struct bay *bay = &cache->bays.bay[i];
        struct bay_parts *parts = bay_parts(bay);
        struct tuck_entry entry;
        if (is_elsewhere(cache, parts, action))
            continue;
        uint64_t at_ns = note_time(cache, NULL, 0);
        int status = tuck_index_find(parts->index, action, &entry);
        (void)note_time(cache, bay, at_ns);
        if (status < 0)
            report_fault(cache, bay, EIO);
        if (status == 0 && (!ret_found->bay || entry.put_ns > ret_found->entry.put_ns))
            *ret_found = (struct found){bay, parts, entry};
    }
    return ret_found->bay != NULL;
}

static int verify(struct tuck_cache *cache, struct found *found) {
    int status =
        tuck_objects_verify(found->parts->objects, &found->entry.output, &found->entry.file_tag);
    if (status == TUCK_OBJECT_DAMAGED) {
        char path[TUCK_OBJECT_PATH_ROOM];
        tuck_bay__count_removals(found->bay, NULL);
        tuck_object_path(found->parts->drive, &found->entry.output, path);
        tuck_emit(cache->sink, TUCK_EVENT_OBJECT_DAMAGED, path, NULL);
    }
    if (status < 0)
        report_fault(cache, found->bay, EIO);
    if (status == 0)
        tuck_count(&found->bay->counters, TUCK_COUNT_verified, 1);
    return status == 0 ? 0 : TUCK_CACHE_MISS;
}

static int get(struct tuck_cache *cache, const struct tuck_action_id *action, bool may_be_slow,
               struct tuck_hit *hit, struct bay **ret_bay) {
    struct found found;
    *ret_bay = &cache->bays.bay[0];
    if (!find(cache, action, &found))
        return TUCK_CACHE_MISS;
    struct tuck_entry *entry = &found.entry;
    uint32_t tag;
    *ret_bay = found.bay;
    tuck_bay__claim(found.parts, &entry->output);
    tuck_object_path(found.parts->drive, &entry->output, hit->path);
    uint64_t at_ns = note_time(cache, NULL, 0);
    int status = tuck_object_check(hit->path, entry->size, &tag);
    (void)note_time(cache, found.bay, at_ns);
    if (status < 0)
        report_fault(cache, found.bay, EIO);
    if (status != 0)
        return TUCK_CACHE_MISS; // gone, or not the object: the next put replaces it
    bool is_trusted = tag == entry->file_tag && tuck_index_trusts(found.parts->index, entry);
    entry->file_tag = tag;
    if (!is_trusted && !tuck_objects_knows(found.parts->objects, &entry->output, tag)) {
        if (!may_be_slow && entry->size > SLOW_BYTES)
            return TUCK_CACHE_SLOW;
        if (verify(cache, &found) != 0)
            return TUCK_CACHE_MISS;
    }
    uint32_t now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S);
    bool is_stale = now_s > entry->access_s + TOUCH_S;
    if (is_stale) {
        entry->access_s = now_s;
        if (entry->hits < UINT16_MAX)
            entry->hits++;
    }
    if (is_stale || !is_trusted || entry->is_expendable) {
        entry->is_expendable = false;
        entry->is_synced &= is_trusted; // what was hashed now is not the file that was synced
        (void)tuck_index_touch(found.parts->index, action, entry, !is_trusted);
    }
    fill_hit(entry, hit);
    return 0;
}

static int count_get(struct bay *bay, int status, const struct tuck_hit *hit) {
    if (status == TUCK_CACHE_SLOW)
        return status;
    tuck_count(&bay->counters, TUCK_COUNT_gets, 1);
    tuck_count(&bay->counters, status == 0 ? TUCK_COUNT_hits : TUCK_COUNT_misses, 1);
    if (status == 0)
        tuck_count(&bay->counters, TUCK_COUNT_bytes_served, hit->size);
    tuck_bay__publish(bay);
    return status;
}

int tuck_cache_get(struct tuck_cache *cache, const struct tuck_action_id *action,
                   struct tuck_hit *ret_hit) {
    struct bay *bay;
    if (cache->private_count > 0 && get_private(cache, action, ret_hit) == 0)
        return count_get(&cache->bays.bay[0], 0, ret_hit);
    int status = get(cache, action, false, ret_hit, &bay);
    return count_get(bay, status, ret_hit);
}

int tuck_cache_get_slowly(struct tuck_cache *cache, const struct tuck_action_id *action,
                          struct tuck_hit *ret_hit) {
    struct bay *bay;
    int status = get(cache, action, true, ret_hit, &bay);
    return count_get(bay, status, ret_hit);
}

// --- Put -----------------------------------------------------------------------------------------

// The drives in the order in which they are to be tried: as placed, those without room last.
static size_t find_places(struct bays *bays, const struct tuck_output_id *output,
                          uint8_t ret_place[static TUCK_DRIVES_MAX]) {
    uint8_t order[TUCK_DRIVES_MAX];
    size_t count = 0;
    tuck_set_order(bays->set, output, order);
    for (int full = 0; full < 2; full++)
        for (size_t i = 0; i < bays->count; i++) {
            struct bay *bay = &bays->bay[order[i]];
            if (tuck_bays__takes_puts(bays, bay) &&
                __atomic_load_n(&bay->is_full, __ATOMIC_RELAXED) == full)
                ret_place[count++] = order[i];
        }
    return count;
}

struct bay *tuck_cache__home(struct tuck_cache *cache, const struct tuck_output_id *output) {
    uint8_t place[TUCK_DRIVES_MAX];
    return find_places(&cache->bays, output, place) > 0 ? &cache->bays.bay[place[0]] : NULL;
}

static void fail_put(struct tuck_put *put, int status, const struct tuck_error *why) {
    put->failed = status;
    put->why = *why;
    tuck_stage_free(TUCK_TAKE(put->stage));
}

static int open_stage(struct tuck_put *put, struct tuck_drive *drive, struct tuck_error *err) {
    return put->stage ? tuck_stage_move(&put->stage, drive, err)
                      : tuck_stage_begin(drive, &put->output, &put->stage, err);
}

// No drive takes it: the private directory does. When that fails too the put has failed.
static void go_private(struct tuck_put *put, const struct tuck_error *why) {
    struct tuck_cache *cache = put->cache;
    struct tuck_error err = {0};
    put->bay = NULL;
    wake_flusher(cache);                  // which tries the drives again that are offline
    if (put->is_private || put->import) { // it was there already; nobody waits for a path
        fail_put(put, why->code, why);
        return;
    }
    put->is_private = true;
    int status = cache->spare ? 0 : tuck_drive_open_private(&cache->spare, &err);
    if (status == 0)
        status = open_stage(put, cache->spare, &err);
    if (status < 0) {
        fail_put(put, status, &err);
        return;
    }
    // A cache without any drive was reported, when it was opened or when it lost its only one.
    bool is_told = cache->bays.count == 1 && !bay_parts(&cache->bays.bay[0]);
    if (why->text[0] && !is_told && !cache->has_told_spare)
        tuck_emit(cache->sink, TUCK_EVENT_PUT_ELSEWHERE, tuck_drive_shown_root(cache->spare), why);
    cache->has_told_spare = true;
}

static void blame(struct tuck_put *put, struct bay *bay, const struct tuck_error *why) {
    if (why->code == TUCK_ENOSPACE)
        __atomic_store_n(&bay->is_full, true, __ATOMIC_RELAXED);
    else
        report_fault(put->cache, bay, why->os);
}

// The next place that takes the body, with what was staged of it so far. `why` is what the last one
// failed with.
static void go_on(struct tuck_put *put, const struct tuck_error *why) {
    struct tuck_error err = *why;
    if (put->bay)
        blame(put, put->bay, why);
    while (put->place_next < put->place_count) {
        struct bay *bay = &put->cache->bays.bay[put->place[put->place_next++]];
        struct bay_parts *parts = bay_parts(bay);
        struct tuck_error failed = {0};
        if (!parts)
            continue; // it went offline meanwhile
        tuck_bay__claim(parts, &put->output);
        uint64_t at_ns = note_time(put->cache, NULL, 0);
        int status = open_stage(put, parts->drive, &failed);
        if (put->size <= STAGE_AT)
            (void)note_time(put->cache, bay, at_ns);
        if (status == 0) {
            put->bay = bay;
            put->parts = parts;
            return;
        }
        blame(put, bay, &failed);
        err = failed;
    }
    go_private(put, &err);
}

// True if the object is on the drive and what its name says, so that nothing needs to be written.
static bool is_on(struct tuck_put *put, struct bay *bay, bool is_home) {
    struct bay_parts *parts = bay_parts(bay);
    char path[TUCK_OBJECT_PATH_ROOM];
    if (!parts)
        return false;
    tuck_object_path(parts->drive, &put->output, path);
    // Elsewhere it is rarely; a lease there is taken only when it is. And an import brings so much
    // that is new everywhere that its lease would soon claim everything.
    if (!is_home && tuck_object_check(path, put->size, &put->tag) != 0)
        return false;
    tuck_bay__claim(parts, &put->output);
    // Not every file system that takes no writes says so; its index would not take the entry either.
    if (put->cache->bays.count > 1 && tuck_lease_error(parts->lease) == EROFS) {
        report_error(put->cache, bay, EROFS);
        return false;
    }
    if (tuck_object_check(path, put->size, &put->tag) != 0 ||
        (!tuck_objects_knows(parts->objects, &put->output, put->tag) &&
         tuck_objects_verify(parts->objects, &put->output, &put->tag) != 0))
        return false;
    put->bay = bay;
    put->parts = parts;
    return true;
}

static bool is_present(struct tuck_put *put) {
    uint64_t at_ns = note_time(put->cache, NULL, 0);
    for (size_t i = 0; i < put->place_count; i++) {
        struct bay *bay = &put->cache->bays.bay[put->place[i]];
        bool is_found = is_on(put, bay, i == 0 && !put->import);
        if (put->size <= STAGE_AT) // a larger one may have been hashed
            at_ns = note_time(put->cache, bay, at_ns);
        if (is_found)
            return true;
    }
    return false;
}

static void begin_stage(struct tuck_put *put) {
    put->bay = NULL;
    go_on(put, &(struct tuck_error){.code = TUCK_EIO});
}

static struct tuck_put *new_put(struct tuck_cache *cache, const struct tuck_action_id *action,
                                const struct tuck_output_id *output, uint64_t size,
                                const struct tuck_entry *import) {
    struct tuck_put *put = calloc(1, sizeof(*put));
    if (!put)
        return NULL;
    put->cache = cache;
    put->action = *action;
    put->output = *output;
    put->size = size;
    tuck_digest_init(&put->digest);
    put->import = import;
    put->place_count = find_places(&cache->bays, output, put->place);
    put->is_present = is_present(put);
    return put;
}

int tuck_put_begin(struct tuck_cache *cache, const struct tuck_action_id *action,
                   const struct tuck_output_id *output, uint64_t size, struct tuck_put **ret_put,
                   struct tuck_error *err) {
    struct tuck_put *put = new_put(cache, action, output, size, NULL);
    if (!put)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a put");
    if (!put->is_present && size <= STAGE_AT)
        put->held = malloc(size ? size : 1);
    if (!put->is_present && !put->held)
        begin_stage(put);
    *ret_put = put;
    return 0;
}

static void stage_write(struct tuck_put *put, const void *data, size_t len) {
    struct tuck_error why = {0};
    while (put->stage && tuck_stage_write(put->stage, data, len, &why) < 0)
        go_on(put, &why);
}

void tuck_put_write(struct tuck_put *put, const void *data, size_t len) {
    put->received += len;
    if (put->received > put->size)
        return; // wrong already; tuck_put_commit() says so
    tuck_digest_add(&put->digest, data, len);
    if (put->held) {
        memcpy(put->held + put->held_len, data, len);
        put->held_len += len;
    } else if (put->stage) {
        stage_write(put, data, len);
    }
}

static int check_body(struct tuck_put *put, struct tuck_error *err) {
    if (put->received != put->size)
        return tuck_fail(err, TUCK_EINVAL,
                         "the body has %llu bytes, BodySize says %llu; nothing was stored",
                         (unsigned long long)put->received, (unsigned long long)put->size);
    struct tuck_output_id found;
    tuck_digest_end(&put->digest, &found);
    if (!tuck_output_equal(&found, &put->output))
        return tuck_fail(err, TUCK_EINVAL,
                         "the body's SHA-256 is not its OutputID; nothing was stored");
    return 0;
}

static void drop_private(struct tuck_cache *cache, const struct tuck_action_id *action) {
    const struct private_entry *found = find_private(cache, action);
    if (found)
        cache->privates[found - cache->privates] = cache->privates[--cache->private_count];
}

static bool keep_private(struct tuck_cache *cache, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    drop_private(cache, action);
    if (cache->private_count >= PRIVATE_ENTRIES)
        return false; // still readable, not found again
    if (cache->private_count == cache->private_room) {
        size_t room = cache->private_room ? 2 * cache->private_room : 64;
        struct private_entry *grown = realloc(cache->privates, room * sizeof(*grown));
        if (!grown)
            return false;
        cache->privates = grown;
        cache->private_room = room;
    }
    cache->privates[cache->private_count++] = (struct private_entry){*action, *entry};
    return true;
}

// Rule A: the entry waits for what is still to be done to its object.
static int record_on_drive(struct tuck_put *put, struct tuck_entry *entry, struct tuck_error *err) {
    struct tuck_cache *cache = put->cache;
    struct found before;
    struct tuck_lru *entries = tuck_index_lru(put->parts->index);
    uint64_t seq;
    int status =
        tuck_objects_keep(put->parts->objects, &put->output, put->size, put->tag, &seq, err);
    if (status == 0 && seq > 0)
        status = tuck_lru_depend(entries, tuck_objects_lru(put->parts->objects), seq, err);
    if (status != 0)
        return status < 0 ? status : tuck_fail(err, TUCK_EIO, "the object's removal is under way");
    // A clock that was set back must not make this put lose against the one before it, wherever that is.
    if (!put->import && find(cache, &put->action, &before) && before.entry.put_ns >= entry->put_ns)
        entry->put_ns = before.entry.put_ns + 1;
    size_t waiting = tuck_index_record(put->parts->index, &put->action, entry);
    cache->has_recorded = true;
    if (waiting == 0)
        tuck_count(&put->bay->counters, TUCK_COUNT_entries_lost, 1);
    order_flush(cache, waiting);
    // A client has its path, and a miss later; an import has failed.
    if (waiting == 0 && put->import)
        return tuck_fail(err, TUCK_EIO, "the index could not be written for too long");
    return 0;
}

static void count_put(struct tuck_put *put) {
    struct tuck_counters *counters =
        put->bay ? &put->bay->counters : tuck_cache_counters(put->cache);
    tuck_count(counters, TUCK_COUNT_puts, 1);
    if (put->is_present) {
        tuck_count(counters, TUCK_COUNT_dedupes, 1);
        return;
    }
    tuck_count(counters, TUCK_COUNT_bytes_written, put->size);
    if (!put->bay) {
        tuck_count(counters, TUCK_COUNT_fallbacks, 1);
    } else if (put->is_new) {
        tuck_count(counters, TUCK_COUNT_stored_objects, 1);
        tuck_count(counters, TUCK_COUNT_stored_bytes, tuck_object_space_of(put->size));
    }
}

// Names the object and records its entry, on the next drive where one fails.
static void store(struct tuck_put *put, struct tuck_hit *hit) {
    struct tuck_cache *cache = put->cache;
    struct tuck_entry entry = {.output = put->output, .size = put->size};
    entry.put_ns = tuck_clock_wall_ns();
    entry.access_s = (uint32_t)(entry.put_ns / TUCK_NS_PER_S);
    if (put->import)
        entry = *put->import;
    entry.is_synced = cache->durability == TUCK_STRICT; // for batch, the flush sets it
    while (put->is_present || put->stage) {
        struct tuck_error why = {0};
        uint64_t at_ns = put->bay ? note_time(cache, NULL, 0) : 0;
        int status =
            put->is_present ? 0 : tuck_stage_commit(&put->stage, &put->tag, &put->is_new, &why);
        if (put->bay)
            (void)note_time(cache, put->bay, at_ns);
        entry.file_tag = put->tag;
        if (status == 0 && put->bay)
            status = record_on_drive(put, &entry, &why);
        if (status == 0)
            break;
        // It has its name, but could not be made durable there.
        struct tuck_error lost;
        if (!put->stage &&
            tuck_stage_reopen(put->parts->drive, &put->output, &put->stage, &lost) < 0) {
            fail_put(put, status, &why);
            return;
        }
        put->is_present = false;
        go_on(put, &why);
    }
    if (put->failed)
        return;
    if (put->bay)
        drop_private(cache, &put->action);
    else
        (void)keep_private(cache, &put->action, &entry);
    tuck_object_path(put->bay ? put->parts->drive : cache->spare, &entry.output, hit->path);
    fill_hit(&entry, hit);
}

int tuck_put_commit(struct tuck_put **put_of, struct tuck_hit *ret_hit, struct tuck_error *err) {
    struct tuck_put *put = TUCK_TAKE(*put_of);
    struct tuck_cache *cache = put->cache;
    int status = check_body(put, err);
    if (status == 0) {
        if (put->held) {
            begin_stage(put);
            stage_write(put, put->held, put->held_len);
        }
        if (!put->failed)
            store(put, ret_hit);
        status = put->failed;
        if (status < 0) {
            if (err)
                *err = put->why;
            tuck_emit(cache->sink, TUCK_EVENT_PUT_FAILED, NULL, &put->why);
        }
    }
    if (status == 0)
        count_put(put);
    if (status == 0 && put->bay)
        tuck_bay__publish(put->bay);
    tuck_put_free(put);
    return status;
}

// --- What imports need ---------------------------------------------------------------------------

// Fills a stage from the file, on the next drive where one fails. 0, an outcome of the file's, or < 0.
static int stage_file(struct tuck_put *put, int fd, bool *ret_is_shared) {
    begin_stage(put);
    while (put->stage) {
        struct tuck_error why = {0};
        int status = tuck_stage_take_file(put->stage, fd, put->size, ret_is_shared, &why);
        if (status >= 0)
            return status;
        go_on(put, &why);
    }
    return put->failed;
}

int tuck_cache__take_file(struct tuck_cache *cache, const struct tuck_action_id *action,
                          const struct tuck_entry *entry, int fd, struct tuck_taken *ret_taken,
                          struct tuck_error *err) {
    struct tuck_hit hit;
    struct tuck_put *put = new_put(cache, action, &entry->output, entry->size, entry);
    if (!put)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to import");
    bool is_shared = false;
    int status = put->is_present ? 0 : stage_file(put, fd, &is_shared);
    if (status == 0) {
        store(put, &hit);
        status = put->failed;
    }
    if (status == 0) {
        *ret_taken = (struct tuck_taken){put->bay, !put->is_present && put->is_new, is_shared};
        tuck_count(&put->bay->counters, TUCK_COUNT_imported, 1);
        if (ret_taken->is_new) {
            tuck_count(&put->bay->counters, TUCK_COUNT_stored_objects, 1);
            tuck_count(&put->bay->counters, TUCK_COUNT_stored_bytes,
                       tuck_object_space_of(put->size));
        }
    } else if (status < 0 && !put->why.text[0]) {
        status = tuck_fail(err, TUCK_EIO, "no drive of the cache can be used now");
    } else if (status < 0 && err) {
        *err = put->why;
    }
    tuck_put_free(put);
    return status;
}

bool tuck_cache__find(struct tuck_cache *cache, const struct tuck_action_id *action,
                      struct tuck_entry *ret_entry, bool *ret_has_object) {
    struct found found;
    char path[TUCK_OBJECT_PATH_ROOM];
    uint32_t tag;
    if (!find(cache, action, &found))
        return false;
    tuck_object_path(found.parts->drive, &found.entry.output, path);
    *ret_entry = found.entry;
    *ret_has_object = tuck_object_check(path, found.entry.size, &tag) == 0;
    return true;
}

void tuck_put_free(struct tuck_put *put) {
    if (!put)
        return;
    tuck_stage_free(put->stage);
    free(put->held);
    free(put);
}
