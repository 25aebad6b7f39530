// SPDX-License-Identifier: MIT
#include "lib/base/clock.h"
#include "lib/base/io.h"
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
 * and begins anew while it is not enough. What was used within the hour is no candidate, nor what a
 * running helper gave out: its use may not be in the index yet. Both are looked at once more before
 * the removal, and claims at the last moment (lib/store/object.h). Helpers that end meanwhile leave
 * their claims (lib/store/lease.h), for what they have put may name an object again that the second
 * walk saw nobody name. Between steps it can be stopped, and whoever comes next goes on.
 */

#define STEP_ENTRIES    256U
#define HELPER_VICTIMS  32768U   // kept at once by a helper, whose memory is bounded
#define COMMAND_VICTIMS 1048576U // and by a command
#define ROUNDS_MAX      64
#define BUSY_STEPS_MAX  8     // in a row: a stopped process holds pages of the index
#define STOP_EVERY      4096U // entries of a walk
#define LOCKS_NS        (250 * TUCK_NS_PER_MS)
#define TOUCH_S         3600U // how stale an access time may be
#define YOUNG_S         3600U // what was used within is never evicted
#define DAY_S           86400U
#define LOOK_S          3600U       // housekeeping is due so often,
#define COUNT_S         (7 * DAY_S) // and a new count: what killed helpers did not tell adds up
#define PAUSE_S         60U        // a drive that could not be made to keep the bound is left alone
#define EXPENDABLE      4.0        // how much sooner goes what nobody has used here
#define SWEPT_AT_ONCE   16U        // directories, for the set of their objects' names in memory
#define NAMED_STILL     UINT32_MAX // by an entry that stays
#define COUNTED_BITS    (UINT32_C(1) << 22)

struct victim {
    struct tuck_action_id action;
    uint64_t output_key;
    uint64_t bytes; // of space, that its object takes
};

struct collection {
    struct tuck_cache *cache;
    struct bay *bay;
    struct bay_parts *parts;
    struct tuck_leases *leases;
    const volatile int *stop;
    bool is_dry_run;
    size_t victims_max;
    struct tuck_collected *done;
    struct tuck_error *err;

    uint32_t now_s;
    uint64_t min_age_s;
    uint64_t want_bytes, want_items;     // that have to go in all
    uint64_t bytes_before, items_before; // of *done, when it began
    uint64_t claimed;                    // candidates that were passed over in the last walk
    uint64_t claimed_orphans;            // and orphans, in all
    struct tuck_score_rule rule;
    struct tuck_picker *picker;
    uint32_t *counted;     // bits: outputs whose space the picker knows; too many cost little
    size_t walked;         // entries, in this walk
    struct victim *victim; // the best first
    size_t victim_count;
    struct output_set actions; // of the victims
    struct output_set outputs; // of the victims; how many of them name it, or NAMED_STILL
    bool has_swept;            // all directories, of what is older than an hour
    int status;
};

static bool is_stopped(const struct collection *collection) {
    return collection->stop && *collection->stop;
}

// In a walk, which takes a while.
static bool goes_on(struct collection *collection) {
    return ++collection->walked % STOP_EVERY != 0 || !is_stopped(collection);
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

// When the entry was used last. A time far ahead was written while the clock was wrong, and would
// keep it for ever.
static uint32_t used_s(const struct collection *collection, const struct tuck_entry *entry) {
    uint64_t put_s = entry->put_ns / TUCK_NS_PER_S;
    if (entry->access_s <= (uint64_t)collection->now_s + DAY_S)
        return entry->access_s;
    return put_s <= collection->now_s ? (uint32_t)put_s : 0;
}

static uint64_t age_of(const struct collection *collection, const struct tuck_entry *entry) {
    uint32_t at_s = used_s(collection, entry);
    return collection->now_s > at_s ? collection->now_s - at_s : 0;
}

// Whether the picker knows of this output's space from now on for the first time, or nearly:
// entries that share an object free its space once.
static bool is_first(struct collection *collection, uint64_t output_key) {
    uint32_t bit = (uint32_t)(output_key % COUNTED_BITS);
    uint32_t *word = &collection->counted[bit / 32], mask = 1U << bit % 32;
    bool is_first = !(*word & mask);
    *word |= mask;
    return is_first;
}

static bool consider(void *arg, const struct tuck_action_id *action,
                     const struct tuck_entry *entry) {
    struct collection *collection = arg;
    if (age_of(collection, entry) < collection->min_age_s)
        return goes_on(collection);
    double score = tuck_space_score(&collection->rule, used_s(collection, entry) * TUCK_NS_PER_S,
                                    entry->size, entry->hits) *
                   (entry->is_expendable ? EXPENDABLE : 1);
    if (!tuck_picker_wants(collection->picker, score))
        return goes_on(collection);
    if (collection->is_dry_run && tuck_outputs__find(&collection->actions, action->bytes))
        return goes_on(collection); // it was picked before, and would be gone
    if (tuck_leases_claimed(collection->leases, &entry->output)) {
        collection->claimed++;
        return goes_on(collection);
    }
    struct victim victim = {*action, tuck_id_hash(entry->output.bytes),
                            tuck_object_space_of(entry->size)};
    uint64_t bytes = is_first(collection, victim.output_key) ? victim.bytes : 0;
    collection->status = tuck_picker_add(collection->picker, score, bytes, &victim, NULL);
    return collection->status >= 0 && goes_on(collection);
}

static uint32_t *named_by(const struct collection *collection, uint64_t output_key) {
    uint8_t id[TUCK_ID_BYTES] = {0};
    memcpy(id, &output_key, sizeof(output_key));
    return tuck_outputs__find(&collection->outputs, id);
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
        uint32_t *named = tuck_outputs__add(&collection->outputs, id, NULL);
        if (!named || !tuck_outputs__add(&collection->actions, victim->action.bytes, NULL))
            return TUCK_ENOMEM;
        ++*named;
    }
    return 0;
}

// An entry that stays keeps its object.
static bool spare(void *arg, const struct tuck_action_id *action, const struct tuck_entry *entry) {
    struct collection *collection = arg;
    uint32_t *named = tuck_outputs__find(&collection->outputs, entry->output.bytes);
    if (named && !tuck_outputs__find(&collection->actions, action->bytes))
        *named = NAMED_STILL;
    return goes_on(collection);
}

static int pick(struct collection *collection) {
    struct tuck_picker_options options = {
        .bytes = bytes_left(collection),
        .items = items_left(collection),
        .payload_bytes = sizeof(struct victim),
        .max_candidates = collection->victims_max,
    };
    collection->claimed = 0;
    memset(collection->counted, 0, COUNTED_BITS / 8);
    int status = tuck_leases_read(collection->leases, collection->err);
    if (status == 0)
        status = tuck_picker_new(&options, &collection->picker, collection->err);
    if (status == 0)
        status = tuck_index_walk(collection->parts->index, consider, collection, collection->err);
    if (status == 0 && collection->status < 0)
        status = collection->status;
    if (status == 0)
        status = list_victims(collection);
    tuck_picker_free(TUCK_TAKE(collection->picker));
    return status;
}

static int spare_shared(struct collection *collection) {
    struct tuck_index *index = collection->parts->index;
    if (collection->victim_count == 0)
        return 0;
    int status = tuck_index_walk(index, spare, collection, collection->err);
    tuck_index_walk_waiting(index, spare, collection);
    return status;
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

// False if the victim was used, replaced or claimed since it was picked: then it stays, and keeps
// its object.
static bool is_victim_still(struct collection *collection, const struct victim *victim,
                            struct tuck_entry *ret_entry, int *ret_status) {
    *ret_status = tuck_index_find(collection->parts->index, &victim->action, ret_entry);
    return *ret_status == 0 && tuck_id_hash(ret_entry->output.bytes) == victim->output_key &&
           age_of(collection, ret_entry) >= collection->min_age_s &&
           !tuck_leases_claimed(collection->leases, &ret_entry->output);
}

static int remove_victim(struct collection *collection, const struct victim *victim,
                         struct step *step) {
    uint32_t *named = named_by(collection, victim->output_key);
    struct tuck_entry entry = {.size = 0};
    int status = 0;
    if (!collection->is_dry_run) {
        if (!is_victim_still(collection, victim, &entry, &status)) {
            *named = NAMED_STILL;
            return status < 0 ? status : 0;
        }
        status = tuck_index_remove(collection->parts->index, &victim->action, &entry, &step->seq);
        if (status < 0)
            return status;
    }
    step->entries++;
    if (*named == NAMED_STILL || --*named > 0)
        return 0;
    step->bytes += victim->bytes;
    step->object[step->objects++] =
        (struct tuck_object_seen){.output = entry.output, .size = entry.size};
    return 0;
}

// What is gone of the step. Positive if pages of the index are held by others: then what could not
// be done is left for another time, so that it stands in nobody's way.
static int remove_step(struct collection *collection, struct step *step,
                       struct tuck_removals *removals) {
    struct bay_parts *parts = collection->parts;
    int status = tuck_cache__remove_objects(collection->bay, parts, step->object, step->objects,
                                            step->seq, removals, collection->err);
    if (status == 0) // the entries whose objects stay
        status = tuck_index_flush(parts->index, LOCKS_NS, collection->err);
    if (status != 0 && tuck_objects_spare(parts->objects)) {
        size_t spared = tuck_index_spare(parts->index);
        step->entries -= spared < step->entries ? spared : step->entries;
    }
    return status;
}

static int finish_step(struct collection *collection, struct step *step) {
    struct tuck_removals removals = {.objects = step->objects, .bytes = step->bytes};
    int status = 0;
    if (!collection->is_dry_run) {
        removals = (struct tuck_removals){0};
        status = remove_step(collection, step, &removals);
    }
    collection->done->entries += step->entries;
    collection->done->objects += removals.objects;
    collection->done->bytes += removals.bytes;
    collection->claimed += removals.claimed;
    if (!collection->is_dry_run)
        tuck_count(&collection->bay->counters, TUCK_COUNT_evicted, step->entries);
    return status;
}

static bool is_enough_with(const struct collection *collection, const struct step *step) {
    return bytes_left(collection) <= step->bytes && items_left(collection) <= step->objects;
}

static int remove_victims(struct collection *collection) {
    struct step *step = malloc(sizeof(*step));
    int status = step ? 0 : TUCK_ENOMEM, busy = 0;
    for (size_t at = 0; status == 0 && at < collection->victim_count && !is_enough(collection) &&
                        !is_stopped(collection);) {
        *step = (struct step){0};
        status = tuck_leases_read(collection->leases, collection->err);
        for (size_t i = 0; status == 0 && i < STEP_ENTRIES && at < collection->victim_count &&
                           !is_enough_with(collection, step);
             i++)
            status = remove_victim(collection, &collection->victim[at++], step);
        if (status == 0)
            status = finish_step(collection, step);
        busy = status > 0 ? busy + 1 : 0;
        if (status > 0 && busy < BUSY_STEPS_MAX)
            status = 0;
    }
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
        status = pick(collection);
        if (status == 0 && !is_stopped(collection))
            status = spare_shared(collection);
        if (status == 0 && !is_stopped(collection))
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
    if (entry->output.bytes[0] >= sweeping->first && entry->output.bytes[0] <= sweeping->last &&
        !tuck_outputs__add(&sweeping->named, entry->output.bytes, NULL))
        return false;
    return goes_on(sweeping->collection);
}

// A time far ahead was written while the clock was wrong.
static bool is_old(const struct sweeping *sweeping, uint64_t changed_ns) {
    uint64_t changed_s = changed_ns / TUCK_NS_PER_S, now_s = sweeping->collection->now_s;
    return changed_s + sweeping->min_age_s <= now_s || changed_s > now_s + DAY_S;
}

static bool finish_sweep(struct sweeping *sweeping) {
    struct collection *collection = sweeping->collection;
    struct step *step = &sweeping->step;
    uint64_t before = collection->done->objects;
    int status = step->objects > 0 ? finish_step(collection, step) : 0;
    collection->done->orphans += collection->done->objects - before;
    *step = (struct step){0};
    collection->status = status;
    return status == 0 && !is_stopped(collection);
}

static bool sweep_object(void *arg, const struct tuck_object_seen *seen) {
    struct sweeping *sweeping = arg;
    struct collection *collection = sweeping->collection;
    if (!goes_on(collection))
        return false;
    if (!is_old(sweeping, seen->changed_ns) ||
        tuck_outputs__find(&sweeping->named, seen->output.bytes))
        return true;
    if (tuck_leases_claimed(collection->leases, &seen->output)) {
        collection->claimed_orphans++;
        return true;
    }
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
    struct tuck_index *index = collection->parts->index;
    int status = tuck_leases_read(collection->leases, collection->err);
    if (status == 0)
        status = tuck_index_walk(index, note_named, sweeping, collection->err);
    if (status == 0)
        tuck_index_walk_waiting(index, note_named, sweeping);
    if (status == 0 && sweeping->named.has_no_memory)
        status = TUCK_ENOMEM; // what is not known to be named must not go
    collection->status = 0;
    if (status == 0 && !is_stopped(collection))
        status = tuck_object_walk(collection->parts->drive, first, last, sweep_object, sweeping,
                                  collection->err);
    if (status == 0 && collection->status == 0)
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
    if (share.bytes > 0) // 0 would be no limit
        share.bytes = share.bytes > cache->bays.count ? share.bytes / cache->bays.count : 1;
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
    struct need need = {.used = tuck_cache__used_bytes(parts, sums)};
    need.limit = need.used; // until it is known
    if (tuck_drive_space(parts->drive, &space, NULL) < 0)
        return need;
    need.limit = tuck_cache__limit(cache, &space);
    need.bytes = tuck_space_to_clear(need.limit, need.used, bound->low, bound->high);
    // That is the limit at most, for each of several rounds; here there is one.
    uint64_t low =
        bound->low ? tuck_space_limit(&(struct tuck_quota){.percent = bound->low}, need.limit) : 0;
    if (need.bytes > 0 && need.used > low)
        need.bytes = need.used - low;
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

// Of the wall clock. A stamp in the future was made while the clock was wrong.
static uint32_t since(uint32_t stamp_s) {
    uint32_t now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S);
    return now_s >= stamp_s ? now_s - stamp_s : UINT32_MAX;
}

enum due tuck_cache__what_is_due(struct tuck_cache *cache, struct bay *bay) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_index_sums sums;
    if (!parts)
        return DUE_NOTHING;
    tuck_cache__sums(bay, &sums);
    struct need need = find_need(cache, parts, &sums);
    __atomic_store_n(&bay->is_full, need.is_below_floor, __ATOMIC_RELAXED);
    if (need.bytes + need.items > 0 && (!sums.gave_up_s || since(sums.gave_up_s) >= PAUSE_S))
        return DUE_PRESSURE;
    bool is_counted = sums.is_counted && since(sums.counted_s) < COUNT_S;
    return !is_counted || since(sums.collected_s) >= LOOK_S ? DUE_HOUSEKEEPING : DUE_NOTHING;
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

struct counting {
    struct collection *collection;
    struct census census;
};

static bool count_object(void *arg, const struct tuck_object_seen *seen) {
    struct counting *counting = arg;
    tuck_cache__census_add(&counting->census, seen);
    return goes_on(counting->collection);
}

// Counts what is on the drive, if nobody knows it: that of the first release, or whose index was
// lost; or if what is known cannot be true.
static void count_all(struct collection *collection, struct tuck_index_sums *sums) {
    struct counting counting = {.collection = collection};
    tuck_cache__census_begin(&counting.census, collection->bay, collection->parts);
    if (tuck_object_walk(collection->parts->drive, 0, 255, count_object, &counting, NULL) < 0 ||
        is_stopped(collection) || tuck_cache__census_end(&counting.census, collection->parts) != 0)
        return;
    tuck_cache__sums(collection->bay, sums);
}

struct stamp {
    uint32_t now_s;
    bool has_swept, has_tried, has_given_up;
};

static void set_stamp(void *arg, struct tuck_index_sums *sums) {
    const struct stamp *stamp = arg;
    sums->collected_s = stamp->now_s;
    if (stamp->has_tried)
        sums->gave_up_s = stamp->has_given_up ? stamp->now_s : 0;
    if (stamp->has_swept) {
        sums->swept_s = stamp->now_s;
        sums->sweep_next = (sums->sweep_next + 1) % 256;
    }
}

// Until it is enough: what may go gladly, what nobody names, what would be kept if there were room.
static int make_room(struct collection *collection) {
    uint64_t keep_s = collection->cache->bound.keep_s;
    int status = evict(collection, (keep_s > YOUNG_S ? keep_s : YOUNG_S) + TOUCH_S);
    for (unsigned first = 0;
         first < 256 && status == 0 && !is_enough(collection) && !is_stopped(collection);
         first += SWEPT_AT_ONCE) {
        status = sweep(collection, first, first + SWEPT_AT_ONCE - 1, YOUNG_S);
        collection->has_swept = status == 0 && first + SWEPT_AT_ONCE == 256;
    }
    if (status == 0 && keep_s > YOUNG_S)
        status = evict(collection, YOUNG_S + TOUCH_S);
    return status;
}

// What is due now and then: orphans in one of the 256 directories, what dead helpers left behind.
static int keep_house(struct collection *collection, const struct tuck_index_sums *sums) {
    unsigned next = sums->sweep_next % 256;
    if (!collection->is_dry_run)
        tuck_drive_sweep(collection->parts->drive);
    return collection->has_swept ? 0 : sweep(collection, next, next, DAY_S);
}

// Sets what has to go.
static struct need set_target(struct collection *collection, const struct tuck_collect *how,
                              const struct tuck_index_sums *sums) {
    struct need need = find_need(collection->cache, collection->parts, sums);
    if (how->max_bytes != UINT64_MAX) {
        need.limit = how->max_bytes / collection->cache->bays.count;
        uint64_t excess = need.used > need.limit ? need.used - need.limit : 0;
        need.bytes = need.bytes > excess ? need.bytes : excess;
    }
    collection->want_bytes = need.bytes;
    collection->want_items = need.items;
    collection->bytes_before = collection->done->bytes;
    collection->items_before = collection->done->objects;
    collection->rule = (struct tuck_score_rule){.now_ns = collection->now_s * TUCK_NS_PER_S,
                                                .save_bytes = need.bytes,
                                                .max_hits = TUCK_SCORE_MAX_HITS};
    return need;
}

// What is used when it is over, and whether that is still too much.
static void sum_up(struct collection *collection, const struct tuck_collect *how,
                   const struct need *before) {
    struct tuck_collected *done = collection->done;
    uint64_t freed = done->bytes - collection->bytes_before;
    struct need after = *before;
    struct tuck_index_sums sums;
    if (collection->is_dry_run) {
        after.used -= freed < after.used ? freed : after.used;
        after.is_below_floor &= !is_enough(collection);
    } else {
        tuck_cache__sums(collection->bay, &sums);
        after = find_need(collection->cache, collection->parts, &sums);
        if (how->max_bytes != UINT64_MAX)
            after.limit = before->limit;
    }
    done->claimed += collection->claimed + collection->claimed_orphans;
    done->used_before += before->used;
    done->used_after += after.used;
    done->limit += after.limit;
    done->is_over |= after.used > after.limit || after.is_below_floor || items_left(collection) > 0;
}

static int collect_with_turn(struct collection *collection, const struct tuck_collect *how) {
    struct tuck_index_sums sums;
    uint64_t entries_before = collection->done->entries;
    if (!collection->is_dry_run) {
        tuck_cache__reap(collection->parts);
        // What is spooled would be names that no walk sees.
        (void)!tuck_index_flush(collection->parts->index, LOCKS_NS, NULL);
    }
    tuck_cache__sums(collection->bay, &sums);
    if ((!sums.is_counted || since(sums.counted_s) >= COUNT_S) && !collection->is_dry_run)
        count_all(collection, &sums);
    struct need need = set_target(collection, how, &sums);
    int status = how->older_than_s > 0 ? evict_older(collection, how->older_than_s) : 0;
    if (status == 0)
        status = make_room(collection);
    struct stamp stamp = {
        .now_s = collection->now_s,
        .has_tried = need.bytes + need.items > 0 && how->max_bytes == UINT64_MAX,
        .has_given_up = !is_enough(collection),
    };
    // Too little was found although all was looked at: the sums may be wrong, by what a killed
    // process did not tell.
    if (status == 0 && stamp.has_tried && stamp.has_given_up && !collection->is_dry_run &&
        since(sums.counted_s) >= DAY_S)
        count_all(collection, &sums);
    if (status == 0 && !is_stopped(collection)) {
        status = keep_house(collection, &sums);
        stamp.has_swept = status == 0;
    }
    // Whoever was stopped leaves the rest to the next one, at once.
    if (!collection->is_dry_run && !is_stopped(collection))
        (void)!tuck_index_change_sums(collection->parts->index, set_stamp, &stamp);
    if (collection->done->entries > entries_before && !collection->is_dry_run)
        tuck_count(&collection->bay->counters, TUCK_COUNT_collections, 1);
    sum_up(collection, how, &need);
    return status;
}

// Opens what a collection needs. 0, TUCK_TURN_TAKEN, or < 0.
static int begin(struct collection *collection, int *ret_turn) {
    struct bay_parts *parts = collection->parts;
    struct tuck_error *err = collection->err;
    int objects = tuck_drive_open_dir(parts->drive, "objects", err);
    int status = objects < 0 ? objects : tuck_turn_take(objects, ret_turn, err);
    int leases = status == 0 ? tuck_drive_open_dir(parts->drive, "leases", err) : -1;
    if (status == 0)
        status = leases < 0 ? leases : tuck_leases_open(leases, &collection->leases, err);
    collection->counted = status == 0 ? malloc(COUNTED_BITS / 8) : NULL;
    if (status == 0 && !collection->counted)
        status = TUCK_ENOMEM;
    return status;
}

static int collect_drive(struct tuck_cache *cache, struct bay *bay, const struct tuck_collect *how,
                         size_t victims_max, struct tuck_collected *done, struct tuck_error *err) {
    TUCK_CLEANUP(tuck_close_fd) int turn = -1;
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
    int status = begin(&collection, &turn);
    if (status == TUCK_TURN_TAKEN)
        done->is_busy = true;
    if (status == 0)
        status = collect_with_turn(&collection, how);
    tuck_leases_close(collection.leases);
    tuck_outputs__fini(&collection.actions);
    tuck_outputs__fini(&collection.outputs);
    free(collection.counted);
    if (status > 0) // another's turn, or pages held by a stopped process: the rest is removed later
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
    if (done.used_after > done.limit && !*stop)
        tuck_emit(cache->sink, TUCK_EVENT_BOUND_EXCEEDED, cache->bays.roots[bay->number], NULL);
}
