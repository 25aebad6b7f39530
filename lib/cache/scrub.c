// SPDX-License-Identifier: MIT
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
    struct output_set bad;   // objects that are damaged or cannot be read
    uint64_t counted_bytes, counted_objects;
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
    (void)tuck_outputs__add(&scrubbing->bad, seen->output.bytes, NULL);
    done->damaged += status == TUCK_OBJECT_DAMAGED;
    done->unreadable += status < 0;
    tell_object(scrubbing, status < 0 ? TUCK_FINDING_UNREADABLE : TUCK_FINDING_DAMAGED,
                &seen->output);
    // What cannot be read may be sound: it stays.
    if (scrubbing->how->is_repair && status == TUCK_OBJECT_DAMAGED &&
        tuck_object_verify(scrubbing->parts->drive, &seen->output, TUCK_OBJECT_ANY_SIZE, &found) ==
            TUCK_OBJECT_DAMAGED) {
        done->repaired++;
        scrubbing->counted_bytes -= tuck_object_space_of(seen->size);
        scrubbing->counted_objects--;
        tuck_count(&scrubbing->bay->counters, TUCK_COUNT_damaged, 1);
    }
}

static bool visit_object(void *arg, const struct tuck_object_seen *seen) {
    struct scrubbing *scrubbing = arg;
    scrubbing->counted_bytes += tuck_object_space_of(seen->size);
    scrubbing->counted_objects++;
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
    return tuck_outputs__add(&scrubbing->named, entry->output.bytes, NULL) != NULL;
}

static bool has_object(struct scrubbing *scrubbing, const struct tuck_entry *entry) {
    char path[TUCK_OBJECT_PATH_ROOM];
    uint32_t tag;
    tuck_object_path(scrubbing->parts->drive, &entry->output, path);
    // A drive that fails is no reason to forget entries.
    return tuck_object_check(path, entry->size, &tag) <= 0;
}

static bool visit_entry(void *arg, const struct tuck_action_id *action,
                        const struct tuck_entry *entry) {
    struct scrubbing *scrubbing = arg;
    struct tuck_entry now;
    char hex[TUCK_ID_HEX + 1] = {0};
    uint64_t seq;
    if (!is_in_part(scrubbing, &entry->output))
        return true;
    scrubbing->done->entries++;
    // A damaged object was counted already; its entries wait for a put that repairs it.
    if (has_object(scrubbing, entry) || tuck_outputs__find(&scrubbing->bad, entry->output.bytes))
        return !is_stopped(scrubbing);
    // A collector may have taken both meanwhile, or a put replaced the entry.
    if (tuck_index_find(scrubbing->parts->index, action, &now) != 0 ||
        !tuck_output_equal(&now.output, &entry->output) || has_object(scrubbing, &now))
        return !is_stopped(scrubbing);
    scrubbing->done->dangling++;
    tuck_hex(hex, action->bytes, TUCK_ID_BYTES);
    tell(scrubbing, TUCK_FINDING_DANGLING, hex);
    if (scrubbing->how->is_repair) {
        scrubbing->status = tuck_index_remove(scrubbing->parts->index, action, entry, &seq);
        scrubbing->done->repaired += scrubbing->status == 0;
    }
    return scrubbing->status == 0 && !is_stopped(scrubbing);
}

// --- Sums ----------------------------------------------------------------------------------------

struct recount {
    uint64_t bytes, objects;
    struct tuck_index_sums live; // with what running helpers have published
};

static void set_base(void *arg, struct tuck_index_sums *sums) {
    const struct recount *recount = arg;
    const uint64_t *value = recount->live.counters.value;
    sums->base_bytes = (int64_t)(recount->bytes - (value[TUCK_COUNT_stored_bytes] -
                                                   value[TUCK_COUNT_removed_bytes]));
    sums->base_objects = (int64_t)(recount->objects - (value[TUCK_COUNT_stored_objects] -
                                                       value[TUCK_COUNT_removed_objects]));
    sums->is_counted = true;
}

int tuck_cache__set_counted(struct bay *bay, struct bay_parts *parts, uint64_t bytes,
                            uint64_t objects) {
    struct recount recount = {.bytes = bytes, .objects = objects};
    tuck_cache__sums(bay, &recount.live);
    return tuck_index_change_sums(parts->index, set_base, &recount);
}

// --- All of it -----------------------------------------------------------------------------------

static int scrub_drive(struct scrubbing *scrubbing) {
    struct bay_parts *parts = scrubbing->parts;
    struct tuck_error *err = scrubbing->err;
    int status = tuck_index_walk(parts->index, note_name, scrubbing, err);
    if (status == 0)
        status = tuck_object_walk(parts->drive, 0, 255, visit_object, scrubbing, err);
    bool is_whole = status == 0 && !is_stopped(scrubbing);
    if (is_whole)
        status = tuck_index_walk(parts->index, visit_entry, scrubbing, err);
    if (status == 0 && (scrubbing->named.has_no_memory || scrubbing->status == TUCK_ENOMEM))
        return tuck_fail(err, TUCK_ENOMEM, "no memory to verify the cache");
    if (status == 0 && scrubbing->how->is_repair) {
        status = tuck_index_flush(parts->index, TUCK_NS_PER_S, err);
        if (status > 0)
            status = tuck_fail(err, TUCK_ETIMEOUT,
                               "the index is in use by a stopped process; try again");
    }
    // Also without a repair: it is only right.
    if (status == 0 && is_whole)
        (void)!tuck_cache__set_counted(scrubbing->bay, parts, scrubbing->counted_bytes,
                                       scrubbing->counted_objects);
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
        all_bytes += tuck_cache__used_bytes(&sums) / how->parts;
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
