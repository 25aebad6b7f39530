// SPDX-License-Identifier: MIT
#include "lib/cache/admin.h"
#include "lib/base/io.h"
#include "lib/cache/internal.h"
#include "lib/cache/outputs.h"

#include <errno.h>

// --- Counting ------------------------------------------------------------------------------------

static void add_leases(void *arg, struct tuck_index_sums *sums) {
    struct bay_parts *parts = arg;
    struct tuck_leases *leases = NULL;
    int dirfd = tuck_drive_open_dir(parts->drive, "leases", NULL);
    if (dirfd >= 0 && tuck_leases_open(dirfd, &leases, NULL) == 0)
        tuck_leases_count(leases, &sums->counters);
    tuck_leases_close(leases);
}

void tuck_cache__sums(struct bay *bay, struct tuck_index_sums *ret_sums) {
    struct bay_parts *parts = bay_parts(bay);
    *ret_sums = (struct tuck_index_sums){0};
    if (parts)
        tuck_cache__sums_of(bay, parts, ret_sums);
}

void tuck_cache__sums_of(struct bay *bay, struct bay_parts *parts,
                         struct tuck_index_sums *ret_sums) {
    tuck_bay__publish(bay);
    tuck_index_sums(parts->index, add_leases, parts, ret_sums);
    // What this process did is among them only if it could be published.
    for (size_t i = 0; !tuck_bay__has_lease(parts) && i < TUCK_COUNTER_MAX; i++)
        ret_sums->counters.value[i] += __atomic_load_n(&bay->counters.value[i], __ATOMIC_RELAXED);
}

static uint64_t difference(int64_t base, uint64_t stored, uint64_t removed) {
    int64_t used = base + (int64_t)(stored - removed);
    return used > 0 ? (uint64_t)used : 0; // counts of helpers that were killed may be missing
}

uint64_t tuck_cache__used_bytes(struct bay_parts *parts, const struct tuck_index_sums *sums) {
    return tuck_index_bytes(parts->index) +
           difference(sums->base_bytes, sums->counters.value[TUCK_COUNT_stored_bytes],
                      sums->counters.value[TUCK_COUNT_removed_bytes]);
}

uint64_t tuck_cache__used_objects(const struct tuck_index_sums *sums) {
    return difference(sums->base_objects, sums->counters.value[TUCK_COUNT_stored_objects],
                      sums->counters.value[TUCK_COUNT_removed_objects]);
}

void tuck_cache_count(struct tuck_cache *cache, struct tuck_counters *ret_counters) {
    *ret_counters = (struct tuck_counters){0};
    for (size_t i = 0; i < cache->bays.count; i++) {
        struct tuck_index_sums sums;
        tuck_cache__sums(&cache->bays.bay[i], &sums);
        for (size_t c = 0; c < TUCK_COUNTER_MAX; c++)
            ret_counters->value[c] += sums.counters.value[c];
    }
}

struct counting {
    struct output_set outputs;
    struct tuck_drive_stats *stats;
};

static bool count_entry(void *arg, const struct tuck_action_id *action,
                        const struct tuck_entry *entry) {
    struct counting *counting = arg;
    bool is_new;
    (void)action;
    if (!tuck_outputs__add(&counting->outputs, entry->output.bytes, &is_new))
        return false;
    counting->stats->entries++;
    counting->stats->objects += is_new;
    counting->stats->bytes += is_new ? entry->size : 0;
    return true;
}

static int count_drive(struct tuck_cache *cache, struct bay *bay, struct tuck_drive_stats *stats,
                       struct tuck_error *err) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_error why = {0};
    struct tuck_space space = {0};
    struct tuck_index_sums sums;
    struct counting counting = {.stats = stats};
    if (!parts) {
        (void)tuck_set_drive(cache->bays.set, bay->number, &why);
        (void)snprintf(stats->why, sizeof(stats->why), "%s",
                       why.text[0] ? why.text : "it failed a short while ago");
        return 0;
    }
    int status = tuck_index_walk(parts->index, count_entry, &counting, err);
    if (status == 0 && counting.outputs.has_no_memory)
        status = tuck_fail(err, TUCK_ENOMEM, "no memory to count the objects");
    tuck_outputs__fini(&counting.outputs);
    tuck_cache__sums(bay, &sums);
    (void)!tuck_drive_space(parts->drive, &space, NULL);
    stats->is_counted = sums.is_counted;
    stats->used_bytes = tuck_cache__used_bytes(parts, &sums);
    stats->used_objects = tuck_cache__used_objects(&sums);
    stats->limit_bytes = tuck_cache__limit(cache, &space);
    stats->free_bytes = space.free;
    stats->counters = sums.counters;
    return status;
}

int tuck_cache_stats(struct tuck_cache *cache, struct tuck_cache_stats *ret_stats,
                     struct tuck_error *err) {
    int status = 0;
    ret_stats->count = cache->bays.count;
    for (size_t i = 0; i < cache->bays.count && status == 0; i++) {
        ret_stats->drive[i] = (struct tuck_drive_stats){.root = cache->bays.roots[i]};
        status = count_drive(cache, &cache->bays.bay[i], &ret_stats->drive[i], err);
    }
    return status;
}

// --- Removing ------------------------------------------------------------------------------------

static void add_removals(void *arg, struct tuck_index_sums *sums) {
    const struct tuck_removals *removals = arg;
    sums->counters.value[TUCK_COUNT_removed_objects] += removals->objects;
    sums->counters.value[TUCK_COUNT_removed_bytes] += removals->bytes;
    sums->counters.value[TUCK_COUNT_damaged] += removals->damaged;
}

// Into the drive's sums at once: a process that is killed takes no more with it than what one step
// removed.
static void note_removals(struct bay *bay, struct bay_parts *parts,
                          struct tuck_removals *removals) {
    if (removals->objects > 0 && tuck_index_change_sums(parts->index, add_removals, removals) != 0)
        tuck_bay__count_removals(bay, removals);
}

// Rule B: the objects wait for the entries up to seq, which have to go before them.
int tuck_cache__remove_objects(struct bay *bay, struct bay_parts *parts,
                               const struct tuck_object_seen *objects, size_t count,
                               uint64_t entries_seq, struct tuck_removals *ret_done,
                               struct tuck_error *err) {
    struct tuck_lru *lru = tuck_objects_lru(parts->objects);
    struct tuck_removals done;
    uint64_t seq = 0;
    int status =
        entries_seq > 0 ? tuck_lru_depend(lru, tuck_index_lru(parts->index), entries_seq, err) : 0;
    for (size_t i = 0; i < count && status == 0; i++)
        status = tuck_objects_remove(parts->objects, &objects[i].output, objects[i].size, &seq);
    if (status == 0)
        status = tuck_lru_flush(lru, UINT64_MAX, err);
    tuck_objects_take_removals(parts->objects, &done);
    note_removals(bay, parts, &done);
    ret_done->objects += done.objects;
    ret_done->bytes += done.bytes;
    ret_done->claimed += done.claimed;
    return status;
}

// The turn, if it can be had: then helpers that end meanwhile leave their claims, and what the dead
// left can go.
static int take_turn(struct bay_parts *parts) {
    int dirfd = tuck_drive_open_dir(parts->drive, "objects", NULL), turn = -1;
    if (dirfd >= 0 && tuck_turn_take(dirfd, &turn, NULL) == 0)
        tuck_cache__reap(parts);
    return turn;
}

struct removing {
    struct bay_parts *parts;
    const uint8_t *id;
    struct output_set outputs; // of entries that go; 1: another entry names it too
    struct tuck_object_seen *objects;
    size_t object_count, object_room;
    uint64_t entries, seq;
    int status;
};

static bool is_named(const struct tuck_action_id *action, const struct tuck_entry *entry,
                     const uint8_t *id) {
    return memcmp(action->bytes, id, TUCK_ID_BYTES) == 0 ||
           memcmp(entry->output.bytes, id, TUCK_ID_BYTES) == 0;
}

static bool note_object(struct removing *removing, const struct tuck_entry *entry) {
    if (removing->object_count == removing->object_room) {
        size_t room = removing->object_room ? 2 * removing->object_room : 16;
        struct tuck_object_seen *grown =
            realloc(removing->objects, room * sizeof(*removing->objects));
        if (!grown)
            return false;
        removing->objects = grown;
        removing->object_room = room;
    }
    removing->objects[removing->object_count++] =
        (struct tuck_object_seen){.output = entry->output, .size = entry->size};
    return true;
}

static bool remove_entry(void *arg, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    struct removing *removing = arg;
    bool is_new = false;
    if (!is_named(action, entry, removing->id))
        return true;
    removing->status = tuck_index_remove(removing->parts->index, action, entry, &removing->seq);
    if (removing->status == 0 &&
        (!tuck_outputs__add(&removing->outputs, entry->output.bytes, &is_new) ||
         (is_new && !note_object(removing, entry))))
        removing->status = TUCK_ENOMEM;
    removing->entries += removing->status == 0;
    return removing->status == 0;
}

static bool note_other_names(void *arg, const struct tuck_action_id *action,
                             const struct tuck_entry *entry) {
    struct removing *removing = arg;
    uint32_t *number = is_named(action, entry, removing->id)
                           ? NULL
                           : tuck_outputs__find(&removing->outputs, entry->output.bytes);
    if (number)
        *number = 1;
    return true;
}

// An object that no entry names can be meant too.
static int note_orphan(struct removing *removing) {
    struct tuck_entry orphan = {.size = 0};
    struct tuck_object_found found;
    bool is_new = false;
    memcpy(orphan.output.bytes, removing->id, TUCK_ID_BYTES);
    if (!tuck_outputs__add(&removing->outputs, removing->id, &is_new))
        return TUCK_ENOMEM;
    if (!is_new ||
        tuck_object_inspect(removing->parts->drive, &orphan.output, &found) == TUCK_OBJECT_ABSENT)
        return 0;
    orphan.size = found.size;
    return note_object(removing, &orphan) ? 0 : TUCK_ENOMEM;
}

static int remove_found(struct bay *bay, struct removing *removing, struct tuck_removals *done,
                        struct tuck_error *err) {
    struct bay_parts *parts = removing->parts;
    size_t kept = 0;
    for (size_t i = 0; i < removing->object_count; i++)
        if (*tuck_outputs__find(&removing->outputs, removing->objects[i].output.bytes) == 0)
            removing->objects[kept++] = removing->objects[i];
    int status =
        tuck_cache__remove_objects(bay, parts, removing->objects, kept, removing->seq, done, err);
    if (status == 0) // entries whose objects stay
        status = tuck_index_flush(parts->index, TUCK_NS_PER_S, err);
    return status;
}

static int remove_on_drive(struct bay *bay, struct bay_parts *parts, const uint8_t *id,
                           struct tuck_removed *removed, struct tuck_error *err) {
    struct removing removing = {.parts = parts, .id = id};
    struct tuck_removals done = {0};
    TUCK_CLEANUP(tuck_close_fd) int turn = take_turn(parts);
    int status = tuck_index_flush(parts->index, TUCK_NS_PER_S, err); // what is spooled
    if (status == 0)
        status = tuck_index_walk(parts->index, remove_entry, &removing, err);
    if (status == 0)
        status = removing.status;
    if (status == 0)
        status = tuck_index_walk(parts->index, note_other_names, &removing, err);
    if (status == 0)
        status = note_orphan(&removing);
    if (status == 0)
        status = remove_found(bay, &removing, &done, err);
    if (status != 0 && tuck_objects_spare(parts->objects)) {
        size_t spared = tuck_index_spare(parts->index);
        removing.entries -= spared < removing.entries ? spared : removing.entries;
    }
    removed->entries += removing.entries;
    removed->objects += done.objects;
    removed->kept += done.claimed;
    tuck_count(&bay->counters, TUCK_COUNT_evicted, removing.entries);
    tuck_outputs__fini(&removing.outputs);
    free(removing.objects);
    if (status > 0)
        return tuck_fail(err, TUCK_ETIMEOUT, "the index is in use by a stopped process; try again");
    return status == TUCK_ENOMEM ? tuck_fail(err, TUCK_ENOMEM, "no memory to remove it") : status;
}

int tuck_cache_remove(struct tuck_cache *cache, const uint8_t id[TUCK_ID_BYTES],
                      struct tuck_removed *ret_removed, struct tuck_error *err) {
    int status = 0;
    *ret_removed = (struct tuck_removed){0};
    for (size_t i = 0; i < cache->bays.count && status == 0; i++) {
        struct bay_parts *parts = bay_parts(&cache->bays.bay[i]);
        if (parts)
            status = remove_on_drive(&cache->bays.bay[i], parts, id, ret_removed, err);
    }
    return status;
}

struct clearing {
    struct bay *bay;
    struct bay_parts *parts;
    struct tuck_object_seen object[256];
    size_t count;
    struct tuck_removals done;
    struct tuck_error *err;
    int status; // the first failure
};

// What cannot be removed is left, and the others go.
static void clear_some(struct clearing *clearing) {
    struct tuck_error *err = clearing->status == 0 ? clearing->err : NULL;
    int status = tuck_cache__remove_objects(clearing->bay, clearing->parts, clearing->object,
                                            clearing->count, 0, &clearing->done, err);
    clearing->count = 0;
    if (status != 0)
        (void)!tuck_objects_spare(clearing->parts->objects);
    clearing->status = clearing->status == 0 ? status : clearing->status;
}

static bool clear_object(void *arg, const struct tuck_object_seen *seen) {
    struct clearing *clearing = arg;
    clearing->object[clearing->count++] = *seen;
    if (clearing->count == TUCK_ARRAY_LEN(clearing->object))
        clear_some(clearing);
    return true;
}

static int clear_drive(struct bay *bay, struct bay_parts *parts, struct tuck_removed *removed,
                       struct tuck_error *err) {
    struct clearing *clearing = calloc(1, sizeof(*clearing));
    if (!clearing)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to clear the cache");
    TUCK_CLEANUP(tuck_close_fd) int turn = take_turn(parts);
    clearing->bay = bay;
    clearing->parts = parts;
    clearing->err = err;
    // Rule B at once: all entries go, in one rename, before any object does.
    int status = tuck_index_clear(parts->index, err);
    if (status == 0)
        status = tuck_object_walk(parts->drive, 0, 255, clear_object, clearing, err);
    if (status == 0 && clearing->count > 0)
        clear_some(clearing);
    if (status == 0)
        status = clearing->status;
    removed->objects += clearing->done.objects;
    removed->kept += clearing->done.claimed;
    free(clearing);
    return status > 0 ? tuck_fail(err, TUCK_EIO, "some objects could not be removed") : status;
}

int tuck_cache_clear(struct tuck_cache *cache, struct tuck_removed *ret_removed,
                     struct tuck_error *err) {
    int status = 0;
    *ret_removed = (struct tuck_removed){0};
    for (size_t i = 0; i < cache->bays.count && status == 0; i++) {
        struct bay_parts *parts = bay_parts(&cache->bays.bay[i]);
        if (parts)
            status = clear_drive(&cache->bays.bay[i], parts, ret_removed, err);
    }
    return status;
}
