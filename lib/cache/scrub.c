// SPDX-License-Identifier: MIT
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/cache/admin.h"
#include "lib/cache/internal.h"
#include "lib/cache/outputs.h"

struct scrubbing {
    struct bay *bay;
    struct bay_parts *parts;
    const struct tuck_scrub *how;
    struct tuck_scrubbed *done;
    uint64_t all_bytes;
    struct output_set named; // what entries name
    struct output_set bad;   // objects that are damaged or cannot be read; 1: and taken away
    struct census census;
    int status;
    struct tuck_error *err;
};

static bool is_stopped(const struct scrubbing *scrubbing) {
    return scrubbing->how->stop && *scrubbing->how->stop;
}

// Parts by the last bytes of the id, so that each takes something of every directory.
static bool is_in_part(const struct scrubbing *scrubbing, const struct tuck_output_id *output) {
    uint32_t tail;
    memcpy(&tail, output->bytes + TUCK_ID_BYTES - sizeof(tail), sizeof(tail));
    return tail % scrubbing->how->parts == scrubbing->how->part - 1;
}

static void tell(struct scrubbing *scrubbing, enum tuck_finding finding, const char *what) {
    if (scrubbing->how->found)
        scrubbing->how->found(scrubbing->how->arg, finding, what);
}

static void tell_object(struct scrubbing *scrubbing, enum tuck_finding finding,
                        const struct tuck_output_id *output) {
    char path[TUCK_OBJECT_PATH_ROOM];
    tuck_object_path(scrubbing->parts->drive, output, path);
    tell(scrubbing, finding, path);
}

// --- Objects -------------------------------------------------------------------------------------

static void check_object(struct scrubbing *scrubbing, const struct tuck_object_seen *seen) {
    struct tuck_scrubbed *done = scrubbing->done;
    struct tuck_object_found found;
    int status = tuck_object_inspect(scrubbing->parts->drive, &seen->output, &found);
    if (status == TUCK_OBJECT_ABSENT)
        return; // a collector took it meanwhile
    done->objects++;
    done->bytes += seen->size;
    if (status == 0) {
        if (!tuck_outputs__find(&scrubbing->named, seen->output.bytes)) {
            done->orphans++;
            tell_object(scrubbing, TUCK_FINDING_ORPHAN, &seen->output);
        }
        return;
    }
    uint32_t *is_gone = tuck_outputs__add(&scrubbing->bad, seen->output.bytes, NULL);
    done->damaged += status == TUCK_OBJECT_DAMAGED;
    done->unreadable += status < 0;
    tell_object(scrubbing, status < 0 ? TUCK_FINDING_UNREADABLE : TUCK_FINDING_DAMAGED,
                &seen->output);
    // What cannot be read may be sound: it stays.
    if (!scrubbing->how->is_repair || status < 0 ||
        tuck_object_verify(scrubbing->parts->drive, &seen->output, TUCK_OBJECT_ANY_SIZE, &found) !=
            TUCK_OBJECT_DAMAGED ||
        !found.is_gone)
        return;
    done->repaired++;
    if (is_gone)
        *is_gone = 1;
    tuck_bay__count_removals(scrubbing->bay, &(struct tuck_removals){
                                                 .objects = 1,
                                                 .bytes = tuck_object_space_of(seen->size),
                                                 .damaged = 1,
                                             });
}

static bool visit_object(void *arg, const struct tuck_object_seen *seen) {
    struct scrubbing *scrubbing = arg;
    if (is_in_part(scrubbing, &seen->output))
        check_object(scrubbing, seen);
    if (scrubbing->how->progress)
        scrubbing->how->progress(scrubbing->how->arg, scrubbing->done->bytes, scrubbing->all_bytes);
    return !is_stopped(scrubbing);
}

// --- Entries -------------------------------------------------------------------------------------

static bool note_name(void *arg, const struct tuck_action_id *action,
                      const struct tuck_entry *entry) {
    struct scrubbing *scrubbing = arg;
    (void)action;
    return tuck_outputs__add(&scrubbing->named, entry->output.bytes, NULL) != NULL &&
           !is_stopped(scrubbing);
}

static bool has_object(struct scrubbing *scrubbing, const struct tuck_entry *entry) {
    char path[TUCK_OBJECT_PATH_ROOM];
    uint32_t tag;
    tuck_object_path(scrubbing->parts->drive, &entry->output, path);
    // A drive that fails is no reason to forget entries.
    return tuck_object_check(path, entry->size, &tag) <= 0;
}

static void forget_entry(struct scrubbing *scrubbing, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    uint64_t seq;
    int status = tuck_index_remove(scrubbing->parts->index, action, entry, &seq);
    scrubbing->status = scrubbing->status == 0 ? status : scrubbing->status;
}

// True if the entry still is what the walk has met, and its object still is not there. A collector
// may have taken both meanwhile, a put replaced the entry, or somebody cleared the cache.
static bool is_still_dangling(struct scrubbing *scrubbing, const struct tuck_action_id *action,
                              const struct tuck_entry *entry) {
    struct tuck_entry now;
    return tuck_index_follow(scrubbing->parts->index, NULL) == 0 &&
           tuck_index_find(scrubbing->parts->index, action, &now) == 0 &&
           tuck_output_equal(&now.output, &entry->output) && !has_object(scrubbing, &now);
}

static bool visit_entry(void *arg, const struct tuck_action_id *action,
                        const struct tuck_entry *entry) {
    struct scrubbing *scrubbing = arg;
    char hex[TUCK_ID_HEX + 1] = {0};
    if (!is_in_part(scrubbing, &entry->output))
        return !is_stopped(scrubbing);
    scrubbing->done->entries++;
    // A damaged object was told already. Where it was taken away its entries go too: they lead
    // nowhere now.
    const uint32_t *is_gone = tuck_outputs__find(&scrubbing->bad, entry->output.bytes);
    if (has_object(scrubbing, entry) || (is_gone && !*is_gone) ||
        !is_still_dangling(scrubbing, action, entry))
        return !is_stopped(scrubbing);
    if (!is_gone) {
        scrubbing->done->dangling++;
        scrubbing->done->repaired += scrubbing->how->is_repair;
        tuck_hex(hex, action->bytes, TUCK_ID_BYTES);
        tell(scrubbing, TUCK_FINDING_DANGLING, hex);
    }
    if (scrubbing->how->is_repair)
        forget_entry(scrubbing, action, entry);
    return scrubbing->status == 0 && !is_stopped(scrubbing);
}

// --- Sums ----------------------------------------------------------------------------------------

void tuck_cache__census_begin(struct census *census, struct bay *bay, struct bay_parts *parts) {
    // At the beginning of a tick: whatever changed before it has an earlier stamp, whatever changes
    // from now on has this one or a later one.
    struct timespec pause = {.tv_nsec = 500000};
    uint64_t tick_ns = tuck_drive_now_ns(parts->drive), now_ns = tick_ns;
    for (int i = 0; i < 40 && now_ns == tick_ns; i++) {
        (void)nanosleep(&pause, NULL);
        now_ns = tuck_drive_now_ns(parts->drive);
    }
    *census = (struct census){
        .drive = parts->drive,
        .began_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S),
        .began_ns = now_ns,
        .seen_ns = now_ns,
    };
    tuck_cache__sums_of(bay, parts, &census->before);
}

// A stamp ahead of now tells nothing: it was made while the clock was wrong.
static bool is_ahead(struct census *census, uint64_t stamp_ns) {
    if (stamp_ns > census->seen_ns)
        census->seen_ns = tuck_drive_now_ns(census->drive);
    return stamp_ns > census->seen_ns;
}

void tuck_cache__census_add(struct census *census, const struct tuck_object_seen *seen) {
    if (seen->changed_ns >= census->began_ns && !is_ahead(census, seen->changed_ns))
        return;
    census->bytes += tuck_object_space_of(seen->size);
    census->objects++;
}

static void set_base(void *arg, struct tuck_index_sums *sums) {
    const struct census *census = arg;
    const uint64_t *value = census->before.counters.value;
    sums->base_bytes = (int64_t)(census->bytes - (value[TUCK_COUNT_stored_bytes] -
                                                  value[TUCK_COUNT_removed_bytes]));
    sums->base_objects = (int64_t)(census->objects - (value[TUCK_COUNT_stored_objects] -
                                                      value[TUCK_COUNT_removed_objects]));
    sums->is_counted = true;
    sums->counted_s = census->began_s;
}

int tuck_cache__census_end(struct census *census, struct bay_parts *parts) {
    return tuck_index_change_sums(parts->index, set_base, census);
}

static bool count_object(void *arg, const struct tuck_object_seen *seen) {
    struct scrubbing *scrubbing = arg;
    tuck_cache__census_add(&scrubbing->census, seen);
    return !is_stopped(scrubbing);
}

// Also without a repair: it is only right. With the turn nothing is evicted meanwhile; without it
// the count may be off by what is.
static void set_sums(struct scrubbing *scrubbing) {
    struct bay_parts *parts = scrubbing->parts;
    TUCK_CLEANUP(tuck_close_fd) int turn = -1;
    int dirfd = tuck_drive_open_dir(parts->drive, "objects", NULL);
    if (dirfd >= 0 && tuck_turn_take(dirfd, &turn, NULL) == 0)
        tuck_cache__reap(parts);
    tuck_cache__census_begin(&scrubbing->census, scrubbing->bay, parts);
    if (tuck_object_walk(parts->drive, 0, 255, count_object, scrubbing, NULL) == 0 &&
        !is_stopped(scrubbing))
        (void)!tuck_cache__census_end(&scrubbing->census, parts);
}

// --- All of it -----------------------------------------------------------------------------------

static int scrub_drive(struct scrubbing *scrubbing) {
    struct bay_parts *parts = scrubbing->parts;
    struct tuck_error *err = scrubbing->err;
    int status = tuck_index_flush(parts->index, TUCK_NS_PER_S, err); // what is spooled
    if (status >= 0)
        status = tuck_index_walk(parts->index, note_name, scrubbing, err);
    if (status == 0 && !scrubbing->named.has_no_memory && !is_stopped(scrubbing))
        status = tuck_object_walk(parts->drive, 0, 255, visit_object, scrubbing, err);
    if (status == 0 && !scrubbing->named.has_no_memory && !is_stopped(scrubbing))
        status = tuck_index_walk(parts->index, visit_entry, scrubbing, err);
    if (status == 0 && (scrubbing->named.has_no_memory || scrubbing->status == TUCK_ENOMEM))
        status = tuck_fail(err, TUCK_ENOMEM, "no memory to verify the cache");
    if (status == 0 && scrubbing->how->is_repair)
        status = tuck_index_flush(parts->index, TUCK_NS_PER_S, err);
    if (status > 0)
        status =
            tuck_fail(err, TUCK_ETIMEOUT, "the index is in use by a stopped process; try again");
    if (status == 0 && !is_stopped(scrubbing))
        set_sums(scrubbing);
    return status;
}

int tuck_cache_scrub(struct tuck_cache *cache, const struct tuck_scrub *how,
                     struct tuck_scrubbed *ret_scrubbed, struct tuck_error *err) {
    int status = 0;
    uint64_t all_bytes = 0;
    *ret_scrubbed = (struct tuck_scrubbed){0};
    for (size_t i = 0; i < cache->bays.count; i++) {
        struct tuck_index_sums sums;
        tuck_cache__sums(&cache->bays.bay[i], &sums);
        struct bay_parts *parts = bay_parts(&cache->bays.bay[i]);
        all_bytes += parts ? tuck_cache__used_bytes(parts, &sums) / how->parts : 0;
    }
    for (size_t i = 0; i < cache->bays.count && status == 0; i++) {
        struct scrubbing scrubbing = {
            .bay = &cache->bays.bay[i],
            .parts = bay_parts(&cache->bays.bay[i]),
            .how = how,
            .done = ret_scrubbed,
            .all_bytes = all_bytes,
            .err = err,
        };
        if (!scrubbing.parts)
            continue;
        status = scrub_drive(&scrubbing);
        tuck_outputs__fini(&scrubbing.named);
        tuck_outputs__fini(&scrubbing.bad);
    }
    return status;
}
