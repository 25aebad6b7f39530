// SPDX-License-Identifier: MIT
#include "lib/base/clock.h"
#include "lib/cache/admin.h"
#include "lib/cache/internal.h"
#include "lib/cache/outputs.h"

/*
 * A collection of one drive works from its index alone:
 *
 *   pick    one walk over the entries: those of the highest scores that together reach the target.
 *   spare   another walk: whose objects are named by entries that stay?
 *   remove  in steps: entries, then (rule B, a flush dependency) the objects that nobody names now.
 *
 * and begins anew while it is not enough. What was used within the hour is no candidate, and what a
 * running helper gave out is spared at the last moment (lib/store/object.h). Between steps it can be
 * stopped, and whoever comes next goes on.
 */

#define STEP_ENTRIES    256U
#define HELPER_VICTIMS  65536U   // kept at once by a helper, whose memory is bounded
#define COMMAND_VICTIMS 4194304U // and by a command
#define ROUNDS_MAX      64
#define TOUCH_S         3600U // how stale an access time may be
#define YOUNG_S         3600U // what was used within is never evicted
#define DAY_S           86400U
#define LOOK_S          3600U // housekeeping is due so often
#define PAUSE_S         60U   // a drive that could not be made to keep the bound is left alone
#define EXPENDABLE      4.0   // how much sooner goes what nobody has used here
#define SWEPT_AT_ONCE   16U   // directories, for the set of their objects' names in memory
#define NAMED_BY_MANY   255   // in the bits of an output: it stays

struct victim {
    struct tuck_action_id action;
    uint64_t output_key;
};

struct collection {
    struct tuck_cache *cache;
    struct bay *bay;
    struct bay_parts *parts;
    const volatile int *stop;
    bool is_dry_run;
    size_t victims_max;
    struct tuck_collected *done;
    struct tuck_error *err;

    uint32_t now_s;
    uint64_t min_age_s;
    uint64_t want_bytes, want_items;     // that have to go in all
    uint64_t bytes_before, items_before; // of *done, when it began
    struct tuck_score_rule rule;
    struct tuck_picker *picker;
    struct victim *victim; // the best first
    size_t victim_count;
    struct output_set actions; // of the victims
    struct output_set outputs; // of the victims; bits: how many of them name it, or NAMED_BY_MANY
    int status;
};

static bool is_stopped(const struct collection *collection) {
    return collection->stop && *collection->stop;
}

static uint64_t key_of(const struct tuck_output_id *output) {
    return tuck_id_hash(output->bytes);
}

static uint64_t age_of(const struct collection *collection, const struct tuck_entry *entry) {
    return collection->now_s > entry->access_s ? collection->now_s - entry->access_s : 0;
}

static uint64_t bytes_left(const struct collection *collection) {
    uint64_t gone = collection->done->bytes - collection->bytes_before;
    return collection->want_bytes > gone ? collection->want_bytes - gone : 0;
}

static uint64_t items_left(const struct collection *collection) {
    uint64_t gone = collection->done->objects - collection->items_before;
    return collection->want_items > gone ? collection->want_items - gone : 0;
}

static bool is_enough(const struct collection *collection) {
    return bytes_left(collection) == 0 && items_left(collection) == 0;
}

// --- Picking -------------------------------------------------------------------------------------

static bool consider(void *arg, const struct tuck_action_id *action,
                     const struct tuck_entry *entry) {
    struct collection *collection = arg;
    if (age_of(collection, entry) < collection->min_age_s)
        return true;
    if (collection->is_dry_run && tuck_outputs__find(&collection->actions, action->bytes))
        return true; // it was picked before, and would be gone
    struct victim victim = {*action, key_of(&entry->output)};
    double score = tuck_space_score(&collection->rule, entry->access_s * TUCK_NS_PER_S, entry->size,
                                    entry->hits);
    if (entry->is_expendable)
        score *= EXPENDABLE;
    collection->status = tuck_picker_add(collection->picker, score,
                                         tuck_object_space_of(entry->size), &victim, NULL);
    return collection->status >= 0;
}

// Makes the list and the sets of what was picked.
static int list_victims(struct collection *collection) {
    uint64_t bytes;
    size_t count = tuck_picker_count(collection->picker, &bytes);
    collection->victim = calloc(count ? count : 1, sizeof(*collection->victim));
    if (!collection->victim)
        return TUCK_ENOMEM;
    collection->victim_count = 0;
    while (collection->victim_count < count &&
           tuck_picker_take(collection->picker, &bytes,
                            &collection->victim[collection->victim_count])) {
        struct victim *victim = &collection->victim[collection->victim_count++];
        uint8_t id[TUCK_ID_BYTES] = {0};
        memcpy(id, &victim->output_key, sizeof(victim->output_key));
        if (!tuck_outputs__add(&collection->actions, victim->action.bytes, NULL))
            return TUCK_ENOMEM;
        uint8_t *named = tuck_outputs__add(&collection->outputs, id, NULL);
        if (!named)
            return TUCK_ENOMEM;
        if (*named < NAMED_BY_MANY)
            ++*named;
    }
    return 0;
}

// An entry that stays keeps its object.
static bool spare(void *arg, const struct tuck_action_id *action, const struct tuck_entry *entry) {
    struct collection *collection = arg;
    uint8_t *named = tuck_outputs__find(&collection->outputs, entry->output.bytes);
    if (named && !tuck_outputs__find(&collection->actions, action->bytes))
        *named = NAMED_BY_MANY;
    return true;
}

static int pick(struct collection *collection, uint64_t bytes, uint64_t items) {
    struct tuck_picker_options options = {
        .bytes = bytes,
        .items = items,
        .payload_bytes = sizeof(struct victim),
        .max_candidates = collection->victims_max,
    };
    int status = tuck_picker_new(&options, &collection->picker, collection->err);
    if (status == 0)
        status = tuck_index_walk(collection->parts->index, consider, collection, collection->err);
    if (status == 0)
        status = collection->status;
    if (status == 0)
        status = list_victims(collection);
    tuck_picker_free(TUCK_TAKE(collection->picker));
    if (status == 0 && collection->victim_count > 0)
        status = tuck_index_walk(collection->parts->index, spare, collection, collection->err);
    return status < 0 ? status : 0;
}

static void forget_victims(struct collection *collection) {
    free(TUCK_TAKE(collection->victim));
    collection->victim_count = 0;
    if (!collection->is_dry_run)
        tuck_outputs__clear(&collection->actions);
    tuck_outputs__clear(&collection->outputs);
}

// --- Removing ------------------------------------------------------------------------------------

struct step {
    struct tuck_object_seen object[STEP_ENTRIES];
    size_t objects;
    uint64_t entries, bytes, seq;
};

// The victim's entry goes if it still is as it was picked; and its object, if it was the last to name it.
static int remove_victim(struct collection *collection, const struct victim *victim,
                         struct step *step) {
    struct tuck_entry entry;
    uint8_t id[TUCK_ID_BYTES] = {0};
    memcpy(id, &victim->output_key, sizeof(victim->output_key));
    uint8_t *named = tuck_outputs__find(&collection->outputs, id);
    int status = tuck_index_find(collection->parts->index, &victim->action, &entry);
    if (status < 0)
        return status;
    if (status > 0 || key_of(&entry.output) != victim->output_key ||
        age_of(collection, &entry) < collection->min_age_s) {
        *named = NAMED_BY_MANY; // used or replaced meanwhile
        return 0;
    }
    if (!collection->is_dry_run)
        status = tuck_index_remove(collection->parts->index, &victim->action, &entry, &step->seq);
    if (status < 0)
        return status;
    step->entries++;
    if (*named == NAMED_BY_MANY || --*named > 0)
        return 0;
    step->bytes += tuck_object_space_of(entry.size);
    step->object[step->objects++] =
        (struct tuck_object_seen){.output = entry.output, .size = entry.size};
    return 0;
}

static int finish_step(struct collection *collection, struct step *step) {
    struct tuck_removals removals = {0};
    int status = 0;
    if (collection->is_dry_run)
        removals = (struct tuck_removals){.objects = step->objects, .bytes = step->bytes};
    else if (step->entries > 0)
        status = tuck_cache__remove_objects(collection->bay, collection->parts, step->object,
                                            step->objects, step->seq, &removals, collection->err);
    collection->done->entries += step->entries;
    collection->done->objects += removals.objects;
    collection->done->bytes += removals.bytes;
    collection->done->claimed += removals.claimed;
    if (!collection->is_dry_run)
        tuck_count(&collection->bay->counters, TUCK_COUNT_evicted, step->entries);
    return status;
}

static int remove_victims(struct collection *collection) {
    struct step *step = malloc(sizeof(*step));
    int status = step ? 0 : TUCK_ENOMEM;
    for (size_t at = 0; status == 0 && at < collection->victim_count && !is_stopped(collection);) {
        *step = (struct step){0};
        for (size_t i = 0; status == 0 && i < STEP_ENTRIES && at < collection->victim_count; i++)
            status = remove_victim(collection, &collection->victim[at++], step);
        if (status == 0)
            status = finish_step(collection, step);
    }
    // The last entries may have had no object to go after them.
    if (status == 0 && !collection->is_dry_run)
        status = tuck_index_flush(collection->parts->index, TUCK_NS_PER_S, collection->err);
    free(step);
    return status;
}

// Picks and removes, of what was not used for so long, until it is enough or nothing more may go.
static int evict(struct collection *collection, uint64_t min_age_s) {
    int status = 0;
    collection->min_age_s = min_age_s;
    for (int round = 0; round < ROUNDS_MAX && !is_stopped(collection); round++) {
        uint64_t entries_before = collection->done->entries;
        if (is_enough(collection))
            break;
        status = pick(collection, bytes_left(collection), items_left(collection));
        if (status == 0)
            status = remove_victims(collection);
        forget_victims(collection);
        if (status != 0 || collection->done->entries == entries_before)
            break;
    }
    return status;
}

// All of it, whatever is wanted.
static int evict_older(struct collection *collection, uint64_t age_s) {
    uint64_t bytes = collection->want_bytes, items = collection->want_items;
    collection->want_bytes = collection->want_items = UINT64_MAX / 2;
    int status = evict(collection, age_s + TOUCH_S);
    collection->want_bytes = bytes;
    collection->want_items = items;
    return status;
}

// --- Orphans -------------------------------------------------------------------------------------

struct sweeping {
    struct collection *collection;
    struct output_set named;
    unsigned first, last;
    uint64_t min_age_s;
    struct step step;
};

static bool note_named(void *arg, const struct tuck_action_id *action,
                       const struct tuck_entry *entry) {
    struct sweeping *sweeping = arg;
    (void)action;
    if (entry->output.bytes[0] < sweeping->first || entry->output.bytes[0] > sweeping->last)
        return true;
    return tuck_outputs__add(&sweeping->named, entry->output.bytes, NULL) != NULL;
}

static bool finish_sweep(struct sweeping *sweeping) {
    struct collection *collection = sweeping->collection;
    uint64_t before = collection->done->objects;
    collection->status = sweeping->step.objects ? 0 : collection->status;
    struct tuck_removals removals = {0};
    if (collection->is_dry_run)
        removals = (struct tuck_removals){.objects = sweeping->step.objects,
                                          .bytes = sweeping->step.bytes};
    else if (sweeping->step.objects > 0)
        collection->status =
            tuck_cache__remove_objects(collection->bay, collection->parts, sweeping->step.object,
                                       sweeping->step.objects, 0, &removals, collection->err);
    collection->done->objects += removals.objects;
    collection->done->bytes += removals.bytes;
    collection->done->claimed += removals.claimed;
    collection->done->orphans += collection->done->objects - before;
    sweeping->step = (struct step){0};
    return collection->status == 0;
}

static bool sweep_object(void *arg, const struct tuck_object_seen *seen) {
    struct sweeping *sweeping = arg;
    if (is_stopped(sweeping->collection))
        return false;
    if (seen->changed_s + sweeping->min_age_s > sweeping->collection->now_s ||
        tuck_outputs__find(&sweeping->named, seen->output.bytes))
        return true;
    sweeping->step.bytes += tuck_object_space_of(seen->size);
    sweeping->step.object[sweeping->step.objects++] = *seen;
    return sweeping->step.objects < STEP_ENTRIES || finish_sweep(sweeping);
}

// Removes what no entry names and nobody touched for so long, in some of the 256 directories.
static int sweep(struct collection *collection, unsigned first, unsigned last, uint64_t min_age_s) {
    struct sweeping *sweeping = calloc(1, sizeof(*sweeping));
    if (!sweeping)
        return TUCK_ENOMEM;
    sweeping->collection = collection;
    sweeping->first = first;
    sweeping->last = last;
    sweeping->min_age_s = min_age_s;
    int status = tuck_index_walk(collection->parts->index, note_named, sweeping, collection->err);
    if (status == 0 && sweeping->named.has_no_memory)
        status = TUCK_ENOMEM; // what is not known to be named must not go
    if (status == 0)
        status = tuck_object_walk(collection->parts->drive, first, last, sweep_object, sweeping,
                                  collection->err);
    if (status == 0)
        (void)finish_sweep(sweeping);
    if (status == 0)
        status = collection->status;
    tuck_outputs__fini(&sweeping->named);
    free(sweeping);
    return status;
}

// --- How much ------------------------------------------------------------------------------------

uint64_t tuck_cache__limit(const struct tuck_cache *cache, const struct tuck_space *space) {
    struct tuck_quota share = cache->bound.quota;
    share.bytes = share.bytes ? share.bytes / cache->bays.count + 1 : 0;
    return tuck_space_limit(&share, space->total);
}

struct need {
    uint64_t bytes, items; // that have to go
    uint64_t used, limit;  // bytes
    bool is_below_floor;
};

static struct need find_need(struct tuck_cache *cache, struct bay_parts *parts,
                             const struct tuck_index_sums *sums) {
    const struct tuck_bound *bound = &cache->bound;
    struct tuck_quota inodes = {.percent = bound->floor.percent};
    struct tuck_space space = {0};
    struct need need = {.used = tuck_cache__used_bytes(sums)};
    if (tuck_drive_space(parts->drive, &space, NULL) < 0)
        return need;
    need.limit = tuck_cache__limit(cache, &space);
    need.bytes = tuck_space_to_clear(need.limit, need.used, bound->low, bound->high);
    uint64_t missing = tuck_space_below_floor(space.total, space.free, &bound->floor);
    uint64_t files = tuck_space_below_floor(space.files, space.files_free, &inodes);
    need.is_below_floor = missing > 0 || files > 0;
    if (missing > need.bytes)
        need.bytes = missing;
    // A share of the file system is a share of its inodes too.
    if (bound->quota.percent > 0 && space.files > 0)
        need.items = tuck_space_to_clear(
            tuck_space_limit(&(struct tuck_quota){.percent = bound->quota.percent}, space.files),
            tuck_cache__used_objects(sums), bound->low, bound->high);
    if (files > need.items)
        need.items = files;
    return need;
}

enum due tuck_cache__what_is_due(struct tuck_cache *cache, struct bay *bay) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_index_sums sums;
    uint32_t now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S);
    if (!parts)
        return DUE_NOTHING;
    tuck_cache__sums(bay, &sums);
    struct need need = find_need(cache, parts, &sums);
    __atomic_store_n(&bay->is_full, need.is_below_floor, __ATOMIC_RELAXED);
    // A stamp in the future was made while the clock was wrong.
    uint32_t since_s = now_s >= sums.collected_s ? now_s - sums.collected_s : UINT32_MAX;
    if (need.bytes + need.items > 0 && since_s >= PAUSE_S)
        return DUE_PRESSURE;
    return !sums.is_counted || since_s >= LOOK_S ? DUE_HOUSEKEEPING : DUE_NOTHING;
}

// --- A whole collection --------------------------------------------------------------------------

static bool add_dead(void *arg, const struct tuck_counters *counters) {
    struct tuck_index *index = arg;
    struct tuck_counters copy = *counters;
    return tuck_index_change_sums(index, tuck_bay__add_counters, &copy) == 0;
}

void tuck_cache__reap(struct bay_parts *parts) {
    struct tuck_leases *leases = NULL;
    int dirfd = tuck_drive_open_dir(parts->drive, "leases", NULL);
    if (dirfd >= 0 && tuck_leases_open(dirfd, &leases, NULL) == 0)
        tuck_leases_reap(leases, add_dead, parts->index);
    tuck_leases_close(leases);
}

struct census {
    const volatile int *stop;
    uint64_t bytes, objects;
};

static bool count_object(void *arg, const struct tuck_object_seen *seen) {
    struct census *census = arg;
    census->bytes += tuck_object_space_of(seen->size);
    census->objects++;
    return !census->stop || !*census->stop;
}

// Of a cache of the first release, or whose index was lost, nobody knows how large it is.
static void count_if_unknown(struct collection *collection, struct tuck_index_sums *sums) {
    struct census census = {.stop = collection->stop};
    if (sums->is_counted || collection->is_dry_run ||
        tuck_object_walk(collection->parts->drive, 0, 255, count_object, &census, NULL) < 0 ||
        is_stopped(collection))
        return;
    if (tuck_cache__set_counted(collection->bay, collection->parts, census.bytes, census.objects) ==
        0)
        tuck_cache__sums(collection->bay, sums);
}

struct stamp {
    uint32_t now_s;
    bool has_swept;
};

static void set_stamp(void *arg, struct tuck_index_sums *sums) {
    const struct stamp *stamp = arg;
    sums->collected_s = stamp->now_s;
    if (stamp->has_swept) {
        sums->swept_s = stamp->now_s;
        sums->sweep_next = (sums->sweep_next + 1) % 256;
    }
}

// Until it is enough: what may go gladly, what nobody names, what would be kept if there were room.
static int make_room(struct collection *collection) {
    uint64_t keep_s = collection->cache->bound.keep_s;
    int status = evict(collection, (keep_s > YOUNG_S ? keep_s : YOUNG_S) + TOUCH_S);
    for (unsigned first = 0; first < 256 && status == 0 && !is_enough(collection) &&
                             !collection->is_dry_run && !is_stopped(collection);
         first += SWEPT_AT_ONCE)
        status = sweep(collection, first, first + SWEPT_AT_ONCE - 1, YOUNG_S);
    if (status == 0 && keep_s > YOUNG_S)
        status = evict(collection, YOUNG_S + TOUCH_S);
    return status;
}

// What is due now and then: orphans in one of the 256 directories, what dead helpers left behind.
static int keep_house(struct collection *collection, const struct tuck_index_sums *sums) {
    struct stamp stamp = {.now_s = collection->now_s};
    int status = 0;
    if (!is_stopped(collection)) {
        status = sweep(collection, sums->sweep_next % 256, sums->sweep_next % 256, DAY_S);
        stamp.has_swept = status == 0;
        tuck_drive_sweep(collection->parts->drive);
    }
    (void)!tuck_index_change_sums(collection->parts->index, set_stamp, &stamp);
    return status;
}

static int collect_with_turn(struct collection *collection, const struct tuck_collect *how) {
    struct tuck_index_sums sums;
    struct tuck_collected *done = collection->done;
    uint64_t entries_before = done->entries;
    if (!collection->is_dry_run)
        tuck_cache__reap(collection->parts);
    tuck_cache__sums(collection->bay, &sums);
    count_if_unknown(collection, &sums);
    struct need need = find_need(collection->cache, collection->parts, &sums);
    if (how->max_bytes != UINT64_MAX) {
        need.limit = how->max_bytes / collection->cache->bays.count;
        need.bytes = need.used > need.limit ? need.used - need.limit : 0;
        need.items = 0;
    }
    collection->want_bytes = need.bytes;
    collection->want_items = need.items;
    collection->bytes_before = done->bytes;
    collection->items_before = done->objects;
    collection->rule = (struct tuck_score_rule){.now_ns = collection->now_s * TUCK_NS_PER_S,
                                                .save_bytes = need.bytes,
                                                .max_hits = TUCK_SCORE_MAX_HITS};
    int status = how->older_than_s > 0 ? evict_older(collection, how->older_than_s) : 0;
    if (status == 0)
        status = make_room(collection);
    if (status == 0 && !collection->is_dry_run)
        status = keep_house(collection, &sums);
    if (done->entries > entries_before && !collection->is_dry_run)
        tuck_count(&collection->bay->counters, TUCK_COUNT_collections, 1);
    uint64_t freed = done->bytes - collection->bytes_before;
    done->used_before += need.used;
    done->used_after += need.used > freed ? need.used - freed : 0;
    done->limit += need.limit;
    done->is_over |= !is_enough(collection);
    return status;
}

static int collect_drive(struct tuck_cache *cache, struct bay *bay, const struct tuck_collect *how,
                         size_t victims_max, struct tuck_collected *done, struct tuck_error *err) {
    struct collection collection = {
        .cache = cache,
        .bay = bay,
        .parts = bay_parts(bay),
        .stop = how->stop,
        .is_dry_run = how->is_dry_run,
        .victims_max = victims_max,
        .done = done,
        .err = err,
        .now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S),
    };
    if (!collection.parts)
        return 0;
    if (!tuck_index_take_turn(collection.parts->index)) {
        done->is_busy = true;
        return 0;
    }
    int status = collect_with_turn(&collection, how);
    tuck_index_end_turn(collection.parts->index);
    tuck_outputs__fini(&collection.actions);
    tuck_outputs__fini(&collection.outputs);
    if (status > 0) // pages held by a stopped process: what was not removed now is removed later
        status = 0;
    if (status == TUCK_ENOMEM)
        status = tuck_fail(err, TUCK_ENOMEM, "no memory to collect");
    return status;
}

int tuck_cache_collect(struct tuck_cache *cache, const struct tuck_collect *how,
                       struct tuck_collected *ret_collected, struct tuck_error *err) {
    int status = 0;
    *ret_collected = (struct tuck_collected){0};
    for (size_t i = 0; i < cache->bays.count && status == 0; i++)
        status =
            collect_drive(cache, &cache->bays.bay[i], how, COMMAND_VICTIMS, ret_collected, err);
    return status;
}

void tuck_cache__collect_as_due(struct tuck_cache *cache, struct bay *bay,
                                const volatile int *stop) {
    struct tuck_collect how = {.max_bytes = UINT64_MAX, .stop = stop};
    struct tuck_collected done = {0};
    struct tuck_error why = {0};
    if (collect_drive(cache, bay, &how, HELPER_VICTIMS, &done, &why) < 0)
        tuck_bays__fault(&cache->bays, bay, why.os);
    if (done.is_over && !*stop)
        tuck_emit(cache->sink, TUCK_EVENT_BOUND_EXCEEDED, cache->bays.roots[bay->number], NULL);
}
