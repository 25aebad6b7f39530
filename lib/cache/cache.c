// SPDX-License-Identifier: MIT
#include "lib/cache/cache.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/index/index.h"
#include "lib/store/drive.h"
#include "lib/store/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#define FLUSH_AGE_NS (200 * TUCK_NS_PER_MS) // how long a put may wait for the index
#define FLUSH_COUNT  512U                   // how many may
#define BATCH_AGE_NS (5 * TUCK_NS_PER_S)    // the same where each flush syncs the file system
#define LOCKS_NS                                                                                   \
    (250 * TUCK_NS_PER_MS)      // how long a flush waits for other processes; the end may meet two
#define TOUCH_S         3600U   // how stale an access time may be
#define SLOW_BYTES      262144U // hashing more than this is not done on the reader
#define KNOWN_PLACES    8192U   // a power of two
#define STAGE_AT        65536U  // a body up to this size is written in one piece
#define PRIVATE_ENTRIES 65536U

// Objects that this process wrote or hashed, so that a second put of the same output costs one
// stat. Direct-mapped: a collision forgets the older one.
struct known {
    struct tuck_output_id output;
    uint32_t tag; // 0: free
    bool is_synced;
};

// Entries of objects in the private drive; they live as long as the process.
struct private_entry {
    struct tuck_action_id action;
    struct tuck_entry entry;
};

struct tuck_cache {
    enum tuck_durability durability;
    struct tuck_event_sink *sink;
    struct tuck_drive *drive; // NULL: unusable
    struct tuck_index *index; // NULL iff drive is
    struct tuck_lease *lease; // taken with the first answer that has a path
    bool has_lease;           // or tried to
    struct tuck_drive *spare; // the private drive, made when needed
    bool has_told_spare;
    struct tuck_counters counters; /* atomic */

    /* owned by the reader */
    struct private_entry *privates;
    size_t private_count;
    size_t private_room;

    struct tuck_mutex lock;
    /* guarded by lock */
    struct known *known;
    pthread_cond_t wake_flusher;
    pthread_cond_t flushed;
    size_t dirty;          // puts since the last flush began
    uint64_t flushes;      // that have ended
    bool is_flush_failing; // the last one did
    bool is_ending;
    /* owned by the reader */
    pthread_t flusher;
    bool has_flusher;
};

struct tuck_put {
    struct tuck_cache *cache;
    struct tuck_action_id action;
    struct tuck_output_id output;
    uint64_t size;
    uint64_t received;
    struct tuck_digest digest;
    struct tuck_stage *stage; // NULL while the object is there already, or no file was needed yet
    bool is_present;
    bool is_spare; // the stage is on the private drive
    uint32_t tag;
    int failed; // why no place was left, or 0
    struct tuck_error why;
    uint8_t *held; // a small body waits here, so that its file is made only when its hash is right
    size_t held_len;
};

// --- Opening -------------------------------------------------------------------------------------

static void forget_drive(struct tuck_cache *cache) {
    tuck_index_close(cache->index);
    tuck_drive_close(cache->drive);
    cache->index = NULL;
    cache->drive = NULL;
}

static int open_drive(struct tuck_cache *cache, const struct tuck_cache_options *options,
                      struct tuck_error *err) {
    int status = tuck_drive_open(options->dir, options->gocache, &cache->drive, err);
    if (status < 0)
        return status;
    TUCK_CLEANUP(tuck_close_fd) int dirfd = tuck_drive_open_dir(cache->drive, "index", err);
    if (dirfd < 0)
        return dirfd;
    return tuck_index_open(dirfd, cache->sink, &cache->index, err);
}

int tuck_cache_open(const struct tuck_cache_options *options, struct tuck_cache **ret_cache,
                    struct tuck_error *err) {
    struct tuck_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the cache");
    cache->durability = options->durability;
    cache->sink = options->sink;
    tuck_mutex_init(&cache->lock, TUCK_RANK_CACHE);
    tuck_cond_init(&cache->wake_flusher);
    tuck_cond_init(&cache->flushed);
    struct tuck_error why = {0};
    if (open_drive(cache, options, &why) < 0) {
        forget_drive(cache);
        tuck_emit(cache->sink, TUCK_EVENT_DRIVE_UNUSABLE, options->dir, &why);
    }
    *ret_cache = cache;
    return 0;
}

void tuck_cache_close(struct tuck_cache *cache) {
    if (!cache)
        return;
    tuck_lease_release(cache->lease);
    forget_drive(cache);
    tuck_drive_close(cache->spare);
    (void)pthread_cond_destroy(&cache->wake_flusher);
    (void)pthread_cond_destroy(&cache->flushed);
    tuck_mutex_fini(&cache->lock);
    free(cache->privates);
    free(cache->known);
    free(cache);
}

struct tuck_counters *tuck_cache_counters(struct tuck_cache *cache) {
    return &cache->counters;
}

// Before the look at an object whose path is about to be given out.
static void claim(struct tuck_cache *cache, const struct tuck_output_id *output) {
    if (!cache->has_lease) {
        cache->has_lease = true;
        int dirfd = tuck_drive_open_dir(cache->drive, "leases", NULL);
        if (dirfd >= 0)
            (void)!tuck_lease_take(dirfd, &cache->lease,
                                   NULL); // nothing can be removed from such a drive either
    }
    tuck_lease_claim(cache->lease, output);
}

// --- Known objects -------------------------------------------------------------------------------

static void note_known(struct tuck_cache *cache, const struct tuck_output_id *output, uint32_t tag,
                       bool is_synced) {
    tuck_lock(&cache->lock);
    if (!cache->known)
        cache->known = calloc(KNOWN_PLACES, sizeof(*cache->known));
    if (cache->known)
        cache->known[tuck_id_hash(output->bytes) & (KNOWN_PLACES - 1)] =
            (struct known){*output, tag ? tag : 1, is_synced};
    tuck_unlock(&cache->lock);
}

static bool is_known(struct tuck_cache *cache, const struct tuck_output_id *output, uint32_t tag,
                     bool *ret_is_synced) {
    tuck_lock(&cache->lock);
    const struct known *known =
        cache->known ? &cache->known[tuck_id_hash(output->bytes) & (KNOWN_PLACES - 1)] : NULL;
    bool found =
        known && known->tag == (tag ? tag : 1) && tuck_output_equal(&known->output, output);
    *ret_is_synced = found && known->is_synced;
    tuck_unlock(&cache->lock);
    return found;
}

// --- Flusher -------------------------------------------------------------------------------------

static int sync_file_system(int fd) {
#ifdef __linux__
    return syncfs(fd);
#else
    sync();
    return fd < 0 ? -1 : 0;
#endif
}

// Rule A for power cuts: from batch up the objects are durable before the entries that name them
// are written.
static int flush(struct tuck_cache *cache) {
    struct tuck_error why = {0};
    struct tuck_flush how = {
        .wait_ns = LOCKS_NS,
        .sync_objects = cache->durability == TUCK_BATCH ? sync_file_system : NULL,
        .sync_entries = cache->durability != TUCK_LAZY,
    };
    int status = tuck_index_flush(cache->index, &how, &why);
    if (status < 0)
        tuck_emit(cache->sink, TUCK_EVENT_ENTRIES_LOST, "index/entries", &why);
    return status;
}

static void *run_flusher(void *arg) {
    struct tuck_cache *cache = arg;
    uint64_t age_ns = cache->durability == TUCK_BATCH ? BATCH_AGE_NS : FLUSH_AGE_NS;
    tuck_lock(&cache->lock);
    while (!cache->is_ending) {
        if (cache->dirty == 0) {
            tuck_cond_wait(&cache->wake_flusher, &cache->lock);
            continue;
        }
        uint64_t due_ns = tuck_clock_mono_ns() + age_ns;
        while (!cache->is_ending && cache->dirty < FLUSH_COUNT &&
               tuck_cond_wait_until(&cache->wake_flusher, &cache->lock, due_ns))
            ;
        if (cache->is_ending)
            break;
        cache->dirty = 0;
        tuck_unlock(&cache->lock);
        int status = flush(cache);
        tuck_lock(&cache->lock);
        cache->flushes++;
        cache->is_flush_failing = status != 0;
        if (status != 0)
            cache->dirty++; // try again when the age is reached once more
        (void)pthread_cond_signal(&cache->flushed);
    }
    tuck_unlock(&cache->lock);
    return NULL;
}

// `waiting` is how many entries are dirty. Puts that outrun the flusher wait for it, and so slow the client down; but not
// for one that fails: then entries are lost when there is no room any more, and become misses.
static void order_flush(struct tuck_cache *cache, size_t waiting) {
    if (!cache->has_flusher)
        cache->has_flusher = tuck_thread_start(&cache->flusher, run_flusher, cache) == 0;
    tuck_lock(&cache->lock);
    cache->dirty++;
    if (cache->dirty == 1 || cache->dirty == FLUSH_COUNT)
        (void)pthread_cond_signal(&cache->wake_flusher);
    if (waiting >= TUCK_INDEX_DIRTY_MAX / 2 && cache->has_flusher) {
        uint64_t deadline_ns = tuck_clock_mono_ns() + 4 * LOCKS_NS;
        for (uint64_t before = cache->flushes;
             cache->flushes == before && !cache->is_flush_failing;)
            if (!tuck_cond_wait_until(&cache->flushed, &cache->lock, deadline_ns))
                break;
    }
    tuck_unlock(&cache->lock);
    if (!cache->has_flusher && waiting >= TUCK_INDEX_DIRTY_MAX / 2)
        (void)!flush(cache); // no thread could be had
}

void tuck_cache_end(struct tuck_cache *cache) {
    tuck_lock(&cache->lock);
    cache->is_ending = true;
    (void)pthread_cond_signal(&cache->wake_flusher);
    tuck_unlock(&cache->lock);
    if (cache->has_flusher)
        (void)pthread_join(cache->flusher, NULL);
    cache->has_flusher = false;
    tuck_count(&cache->counters, TUCK_COUNT_helpers, 1);
    if (!cache->index)
        return;
    if (__atomic_load_n(&cache->counters.value[TUCK_COUNT_puts], __ATOMIC_RELAXED) > 0 &&
        flush(cache) != 0) {
        size_t lost = tuck_index_spool(cache->index);
        if (lost > 0) {
            tuck_count(&cache->counters, TUCK_COUNT_entries_lost, lost);
            tuck_emit(cache->sink, TUCK_EVENT_ENTRIES_LOST, NULL, NULL);
        }
    }
    tuck_index_counters(cache->index, &cache->counters, NULL);
}

void tuck_cache_tidy(struct tuck_cache *cache) {
    tuck_lease_release(TUCK_TAKE(cache->lease));
    if (!cache->index)
        return;
    (void)!flush(cache); // access times, and what verification has found
    tuck_index_sync_if_due(cache->index, sync_file_system);
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
    tuck_drive_path(cache->spare, &found->entry.output, hit->path);
    if (tuck_drive_check(hit->path, found->entry.size, &tag) != 0 || tag != found->entry.file_tag)
        return TUCK_CACHE_MISS;
    fill_hit(&found->entry, hit);
    return 0;
}

// Hashes the object that was looked at; entry->file_tag says which.
static int verify(struct tuck_cache *cache, struct tuck_entry *entry) {
    uint32_t tag = 0;
    int status = tuck_drive_verify(cache->drive, &entry->output, entry->size, &tag);
    if (status == TUCK_DRIVE_DAMAGED) {
        char path[TUCK_DRIVE_PATH_ROOM];
        tuck_count(&cache->counters, TUCK_COUNT_damaged, 1);
        tuck_drive_path(cache->drive, &entry->output, path);
        tuck_emit(cache->sink, TUCK_EVENT_OBJECT_DAMAGED, path, NULL);
    }
    if (status != 0 || tag != entry->file_tag)
        return TUCK_CACHE_MISS;
    tuck_count(&cache->counters, TUCK_COUNT_verified, 1);
    note_known(cache, &entry->output, tag, false);
    return 0;
}

static int get(struct tuck_cache *cache, const struct tuck_action_id *action, bool may_be_slow,
               struct tuck_hit *hit) {
    struct tuck_entry entry;
    if (!cache->index || tuck_index_find(cache->index, action, &entry) != 0)
        return TUCK_CACHE_MISS;
    if (may_be_slow)
        tuck_lease_claim(cache->lease, &entry.output); // the reader has taken it
    else
        claim(cache, &entry.output);
    uint32_t tag;
    tuck_drive_path(cache->drive, &entry.output, hit->path);
    if (tuck_drive_check(hit->path, entry.size, &tag) != 0)
        return TUCK_CACHE_MISS; // gone, or not the object: the next put replaces it
    bool is_trusted = tag == entry.file_tag && tuck_index_trusts(cache->index, &entry), is_synced;
    entry.file_tag = tag;
    if (!is_trusted && !is_known(cache, &entry.output, tag, &is_synced)) {
        if (!may_be_slow && entry.size > SLOW_BYTES)
            return TUCK_CACHE_SLOW;
        if (verify(cache, &entry) != 0)
            return TUCK_CACHE_MISS;
    }
    uint32_t now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S);
    bool is_stale = now_s > entry.access_s + TOUCH_S;
    if (is_stale) {
        entry.access_s = now_s;
        if (entry.hits < UINT16_MAX)
            entry.hits++;
    }
    if (is_stale || !is_trusted) {
        entry.is_synced &= is_trusted; // what was hashed now is not the file that was synced
        (void)tuck_index_touch(cache->index, action, &entry, !is_trusted);
    }
    fill_hit(&entry, hit);
    return 0;
}

static int count_get(struct tuck_cache *cache, int status, const struct tuck_hit *hit) {
    if (status == TUCK_CACHE_SLOW)
        return status;
    tuck_count(&cache->counters, TUCK_COUNT_gets, 1);
    tuck_count(&cache->counters, status == 0 ? TUCK_COUNT_hits : TUCK_COUNT_misses, 1);
    if (status == 0)
        tuck_count(&cache->counters, TUCK_COUNT_bytes_served, hit->size);
    return status;
}

int tuck_cache_get(struct tuck_cache *cache, const struct tuck_action_id *action,
                   struct tuck_hit *ret_hit) {
    if (cache->private_count > 0 && get_private(cache, action, ret_hit) == 0)
        return count_get(cache, 0, ret_hit);
    return count_get(cache, get(cache, action, false, ret_hit), ret_hit);
}

int tuck_cache_get_slowly(struct tuck_cache *cache, const struct tuck_action_id *action,
                          struct tuck_hit *ret_hit) {
    return count_get(cache, get(cache, action, true, ret_hit), ret_hit);
}

// --- Put -----------------------------------------------------------------------------------------

static void fail_put(struct tuck_put *put, int status, const struct tuck_error *why) {
    put->failed = status;
    put->why = *why;
    tuck_stage_free(TUCK_TAKE(put->stage));
}

// The drive failed this put: go on in the private directory. On failure there the put has failed.
static void go_elsewhere(struct tuck_put *put, const struct tuck_error *why) {
    struct tuck_cache *cache = put->cache;
    struct tuck_error err = {0};
    int status = 0;
    if (put->is_spare) {
        fail_put(put, why->code, why);
        return;
    }
    if (!cache->spare)
        status = tuck_drive_open_private(&cache->spare, &err);
    if (status == 0 && put->stage)
        status = tuck_stage_move(&put->stage, cache->spare, &err);
    else if (status == 0)
        status = tuck_stage_begin(cache->spare, &put->output, &put->stage, &err);
    if (status < 0) {
        fail_put(put, status, &err);
        return;
    }
    put->is_spare = true;
    if (cache->drive && !cache->has_told_spare)
        tuck_emit(cache->sink, TUCK_EVENT_PUT_ELSEWHERE, tuck_drive_shown_root(cache->spare), why);
    cache->has_told_spare = true;
}

static void begin_stage(struct tuck_put *put) {
    struct tuck_error why = {.code = TUCK_EIO};
    if (!put->cache->drive ||
        tuck_stage_begin(put->cache->drive, &put->output, &put->stage, &why) < 0)
        go_elsewhere(put, &why);
}

// True if the object is on the drive and what its name says, so that nothing needs to be written.
static bool is_present(struct tuck_put *put) {
    struct tuck_cache *cache = put->cache;
    if (!cache->drive)
        return false;
    char path[TUCK_DRIVE_PATH_ROOM];
    claim(cache, &put->output);
    tuck_drive_path(cache->drive, &put->output, path);
    if (tuck_drive_check(path, put->size, &put->tag) != 0)
        return false;
    bool is_strict = cache->durability == TUCK_STRICT, is_synced;
    uint32_t verified;
    if (!is_known(cache, &put->output, put->tag, &is_synced) &&
        (tuck_drive_verify(cache->drive, &put->output, put->size, &verified) != 0 ||
         verified != put->tag))
        return false;
    if (is_strict && !is_synced && tuck_drive_sync(cache->drive, &put->output) < 0)
        return false;
    note_known(cache, &put->output, put->tag, is_strict || is_synced);
    return true;
}

int tuck_put_begin(struct tuck_cache *cache, const struct tuck_action_id *action,
                   const struct tuck_output_id *output, uint64_t size, struct tuck_put **ret_put,
                   struct tuck_error *err) {
    struct tuck_put *put = calloc(1, sizeof(*put));
    if (!put)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a put");
    put->cache = cache;
    put->action = *action;
    put->output = *output;
    put->size = size;
    tuck_digest_init(&put->digest);
    put->is_present = is_present(put);
    if (!put->is_present && size <= STAGE_AT)
        put->held = malloc(size ? size : 1);
    if (!put->is_present && !put->held)
        begin_stage(put);
    *ret_put = put;
    return 0;
}

static void stage_write(struct tuck_put *put, const void *data, size_t len) {
    while (put->stage && tuck_stage_write(put->stage, data, len, &put->why) < 0) {
        struct tuck_error why = put->why;
        go_elsewhere(put, &why);
    }
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

static void commit_stage(struct tuck_put *put) {
    bool is_sync = put->cache->durability == TUCK_STRICT;
    struct tuck_error why = {0};
    while (put->stage &&
           tuck_stage_commit(&put->stage, is_sync && !put->is_spare, &put->tag, &why) < 0)
        go_elsewhere(put, &why);
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

static void record(struct tuck_put *put, struct tuck_hit *hit) {
    struct tuck_cache *cache = put->cache;
    struct tuck_entry before,
        entry = {.output = put->output, .size = put->size, .file_tag = put->tag};
    entry.put_ns = tuck_clock_wall_ns();
    entry.access_s = (uint32_t)(entry.put_ns / TUCK_NS_PER_S);
    entry.is_synced = cache->durability == TUCK_STRICT; // for batch, the flush sets it
    if (put->is_spare) {
        tuck_count(&cache->counters, TUCK_COUNT_fallbacks, 1);
        (void)keep_private(cache, &put->action, &entry);
        tuck_drive_path(cache->spare, &entry.output, hit->path);
        fill_hit(&entry, hit);
        return;
    }
    drop_private(cache, &put->action);
    // A clock that was set back must not make this put lose against the one before it.
    if (tuck_index_find(cache->index, &put->action, &before) == 0 && before.put_ns >= entry.put_ns)
        entry.put_ns = before.put_ns + 1;
    note_known(cache, &put->output, put->tag, entry.is_synced);
    size_t waiting = tuck_index_record(cache->index, &put->action, &entry);
    if (waiting == 0)
        tuck_count(&cache->counters, TUCK_COUNT_entries_lost, 1);
    order_flush(cache, waiting);
    tuck_drive_path(cache->drive, &entry.output, hit->path);
    fill_hit(&entry, hit);
}

int tuck_put_commit(struct tuck_put **put_of, struct tuck_hit *ret_hit, struct tuck_error *err) {
    struct tuck_put *put = TUCK_TAKE(*put_of);
    struct tuck_cache *cache = put->cache;
    int status = check_body(put, err);
    if (status == 0 && !put->is_present) {
        if (put->held) {
            begin_stage(put);
            stage_write(put, put->held, put->held_len);
        }
        commit_stage(put);
        status = put->failed;
        if (status < 0) {
            if (err)
                *err = put->why;
            tuck_emit(cache->sink, TUCK_EVENT_PUT_FAILED, NULL, &put->why);
        }
    }
    if (status == 0) {
        record(put, ret_hit);
        tuck_count(&cache->counters, TUCK_COUNT_puts, 1);
        tuck_count(&cache->counters,
                   put->is_present ? TUCK_COUNT_dedupes : TUCK_COUNT_bytes_written,
                   put->is_present ? 1 : put->size);
    }
    tuck_put_free(put);
    return status;
}

void tuck_put_free(struct tuck_put *put) {
    if (!put)
        return;
    tuck_stage_free(put->stage);
    free(put->held);
    free(put);
}

// --- The whole cache -----------------------------------------------------------------------------

struct output_set { // distinct outputs, by open addressing
    struct tuck_output_id *place;
    bool *is_taken;
    size_t room;
    struct tuck_cache_stats *stats;
    bool has_memory;
};

static bool set_insert(struct output_set *set, const struct tuck_output_id *output) {
    size_t i = tuck_id_hash(output->bytes);
    while (set->is_taken[i & (set->room - 1)]) {
        if (tuck_output_equal(&set->place[i & (set->room - 1)], output))
            return false;
        i++;
    }
    set->is_taken[i & (set->room - 1)] = true;
    set->place[i & (set->room - 1)] = *output;
    return true;
}

static bool set_grow(struct output_set *set) {
    struct output_set grown = *set;
    grown.room = set->room ? 2 * set->room : 4096;
    grown.place = calloc(grown.room, sizeof(*grown.place));
    grown.is_taken = calloc(grown.room, sizeof(*grown.is_taken));
    if (!grown.place || !grown.is_taken) {
        free(grown.place);
        free(grown.is_taken);
        return false;
    }
    for (size_t i = 0; i < set->room; i++)
        if (set->is_taken[i])
            (void)set_insert(&grown, &set->place[i]);
    free(set->place);
    free(set->is_taken);
    *set = grown;
    return true;
}

static bool add_to_stats(void *arg, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    (void)action;
    struct output_set *set = arg;
    if (2 * (set->stats->objects + 1) > set->room && !set_grow(set)) {
        set->has_memory = false;
        return false;
    }
    set->stats->entries++;
    if (set_insert(set, &entry->output)) {
        set->stats->objects++;
        set->stats->bytes += entry->size;
    }
    return true;
}

// For subcommands: opens what is there, makes no cache where none is.
static int open_present(const char *dir, struct tuck_drive **ret_drive,
                        struct tuck_index **ret_index, struct tuck_error *err) {
    struct tuck_drive *drive = NULL;
    TUCK_CLEANUP(tuck_free) char *format = NULL;
    if (asprintf(&format, "%s/tuck.json", dir) < 0)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a path");
    if (access(format, F_OK) < 0)
        return tuck_fail(err, TUCK_EINVAL,
                         "there is no cache in '%s' yet; it is made by the first build", dir);
    int status = tuck_drive_open(dir, NULL, &drive, err);
    if (status < 0)
        return status;
    int dirfd = tuck_drive_open_dir(drive, "index", err);
    status = dirfd < 0 ? dirfd : tuck_index_open(dirfd, NULL, ret_index, err);
    tuck_close_fd(&dirfd);
    if (status < 0) {
        tuck_drive_close(drive);
        return status;
    }
    *ret_drive = drive;
    return 0;
}

int tuck_cache_stats(const char *dir, struct tuck_cache_stats *ret_stats, struct tuck_error *err) {
    struct tuck_drive *drive = NULL;
    struct tuck_index *index = NULL;
    struct tuck_cache_stats stats = {0};
    int status = open_present(dir, &drive, &index, err);
    if (status < 0)
        return status;
    struct output_set set = {.stats = &stats, .has_memory = true};
    status = tuck_index_walk(index, add_to_stats, &set, err);
    if (status == 0 && !set.has_memory)
        status = tuck_fail(err, TUCK_ENOMEM, "no memory to count the objects");
    free(set.place);
    free(set.is_taken);
    tuck_index_counters(index, NULL, &stats.counters);
    tuck_index_close(index);
    tuck_drive_close(drive);
    if (status == 0)
        *ret_stats = stats;
    return status;
}

struct clearing {
    struct tuck_drive *drive;
    struct tuck_leases *leases;
    struct tuck_cache_cleared *cleared;
    struct tuck_error *err;
    int status;
};

static bool clear_object(void *arg, const struct tuck_output_id *output) {
    struct clearing *clearing = arg;
    int status = tuck_drive_remove(clearing->drive, output, tuck_leases_claim, clearing->leases,
                                   clearing->err);
    clearing->cleared->objects += status == 0;
    clearing->cleared->kept += status == TUCK_DRIVE_CLAIMED;
    if (status < 0)
        clearing->status = status;
    return status >= 0;
}

int tuck_cache_clear(const char *dir, struct tuck_cache_cleared *ret_cleared,
                     struct tuck_error *err) {
    struct clearing clearing = {.err = err};
    struct tuck_cache_cleared cleared = {0};
    struct tuck_index *index = NULL;
    int status = open_present(dir, &clearing.drive, &index, err);
    if (status < 0)
        return status;
    clearing.cleared = &cleared;
    int dirfd = tuck_drive_open_dir(clearing.drive, "leases", err);
    status = dirfd < 0 ? dirfd : tuck_leases_open(dirfd, &clearing.leases, err);
    // Rule B: the entries go before their objects.
    if (status == 0)
        status = tuck_index_clear(index, err);
    if (status == 0)
        status = tuck_drive_walk(clearing.drive, clear_object, &clearing, err);
    if (status == 0)
        status = clearing.status;
    tuck_leases_close(clearing.leases);
    tuck_index_close(index);
    tuck_drive_close(clearing.drive);
    if (status == 0)
        *ret_cleared = cleared;
    return status;
}
