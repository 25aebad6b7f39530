// SPDX-License-Identifier: MIT
#include "lib/store/objects.h"
#include "lib/lru/lru.h"
#include "lib/store/drive.h"
#include "lib/store/object.h"
#include "lib/store/lease.h"

#define KNOWN      8192U // objects whose hash is remembered
#define VERIFY_MAX 3     // a file that is touched while it is hashed is hashed again

struct known {
    uint64_t size;
    uint32_t tag;
    bool is_synced; // once it is clean
    bool is_removal;
};

struct tuck_objects {
    struct tuck_drive *drive;
    enum tuck_durability durability;
    struct tuck_lru *lru;
    struct tuck_removals removals; /* atomic, each for itself: nobody compares them */
};

// --- The back end --------------------------------------------------------------------------------

static void note_removal(struct tuck_objects *objects, uint64_t size) {
    __atomic_fetch_add(&objects->removals.objects, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&objects->removals.bytes, tuck_object_space_of(size), __ATOMIC_RELAXED);
}

static int load_object(void *backend, const void *key, void *ret_value, struct tuck_error *err) {
    struct tuck_objects *objects = backend;
    struct tuck_object_found found;
    (void)err;
    int status = tuck_object_verify(objects->drive, key, TUCK_OBJECT_ANY_SIZE, &found);
    if (status == TUCK_OBJECT_DAMAGED && found.is_gone) {
        __atomic_fetch_add(&objects->removals.damaged, 1, __ATOMIC_RELAXED);
        note_removal(objects, found.size);
    }
    if (status == TUCK_OBJECT_DAMAGED)
        return TUCK_ECORRUPT;
    if (status != 0)
        return status < 0 ? status : TUCK_LRU_ABSENT;
    *(struct known *)ret_value = (struct known){.size = found.size, .tag = found.tag};
    return 0;
}

static int remove_object(struct tuck_objects *objects, const struct tuck_output_id *output,
                         const struct known *known, struct tuck_leases *leases,
                         struct tuck_error *err) {
    int status = tuck_object_remove(objects->drive, output, tuck_leases_claim, leases, err);
    if (status == 0)
        note_removal(objects, known->size);
    if (status == TUCK_OBJECT_CLAIMED)
        __atomic_fetch_add(&objects->removals.claimed, 1, __ATOMIC_RELAXED);
    return status < 0 ? status : 0;
}

static void flush_objects(void *backend, struct tuck_lru_flushed *items, size_t count,
                          struct tuck_error *err) {
    struct tuck_objects *objects = backend;
    struct tuck_leases *leases = NULL;
    int leases_status = 0, synced = 1; // not done yet
    for (size_t i = 0; i < count; i++) {
        const struct known *known = items[i].value;
        if (known->is_removal) {
            if (!leases && leases_status == 0) {
                int dirfd = tuck_drive_open_dir(objects->drive, "leases", err);
                leases_status = dirfd < 0 ? dirfd : tuck_leases_open(dirfd, &leases, err);
            }
            items[i].status = leases_status
                                  ? leases_status
                                  : remove_object(objects, items[i].key, known, leases, err);
        } else if (objects->durability == TUCK_LAZY) {
            continue; // it was kept while its removal was under way; nothing is owed to it
        } else if (objects->durability == TUCK_STRICT) {
            items[i].status = tuck_object_sync(objects->drive, items[i].key, err);
        } else { // one sync for all
            synced = synced > 0 ? tuck_drive_sync_all(objects->drive, err) : synced;
            items[i].status = synced;
        }
    }
    tuck_leases_close(leases);
}

int tuck_objects_new(struct tuck_drive *drive, struct tuck_lru_group *group,
                     enum tuck_durability durability, struct tuck_objects **ret_objects,
                     struct tuck_error *err) {
    static const struct tuck_lru_ops ops = {.load = load_object, .flush = flush_objects};
    struct tuck_objects *objects = calloc(1, sizeof(*objects));
    if (!objects)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the objects of a drive");
    objects->drive = drive;
    objects->durability = durability;
    struct tuck_lru_options how = {
        .ops = &ops,
        .backend = objects,
        .key_bytes = TUCK_ID_BYTES,
        .value_bytes = sizeof(struct known),
        .limit_items = KNOWN,
    };
    int status = tuck_lru_new(group, &how, &objects->lru, err);
    if (status < 0) {
        free(objects);
        return status;
    }
    *ret_objects = objects;
    return 0;
}

void tuck_objects_free(struct tuck_objects *objects) {
    if (!objects)
        return;
    tuck_lru_free(objects->lru);
    free(objects);
}

struct tuck_lru *tuck_objects_lru(struct tuck_objects *objects) {
    return objects->lru;
}

// --- What is known -------------------------------------------------------------------------------

static bool is_file(const struct known *known, uint32_t tag) {
    return !known->is_removal && known->tag == tag;
}

bool tuck_objects_knows(struct tuck_objects *objects, const struct tuck_output_id *output,
                        uint32_t tag) {
    struct known known;
    return tuck_lru_peek(objects->lru, output, &known, NULL) == 0 && is_file(&known, tag);
}

// Another file stands under the name now: what is known is of no use, unless it is still to be
// done.
static enum tuck_lru_verdict forget_clean(void *arg, void *value, enum tuck_lru_presence presence) {
    const uint32_t *tag = arg;
    return presence == TUCK_LRU_IS_CLEAN && !is_file(value, *tag) ? TUCK_LRU_FORGET : TUCK_LRU_KEEP;
}

int tuck_objects_verify(struct tuck_objects *objects, const struct tuck_output_id *output,
                        uint32_t *tag) {
    struct known known;
    int status = TUCK_LRU_ABSENT;
    for (int attempt = 0; attempt < VERIFY_MAX && status == TUCK_LRU_ABSENT; attempt++) {
        // What is known of another file under this name is of no use.
        (void)!tuck_lru_change(objects->lru, output, forget_clean, tag, NULL, NULL);
        status = tuck_lru_get(objects->lru, output, &known, NULL, NULL);
        if (status == 0 && known.is_removal)
            status = TUCK_LRU_ABSENT;
    }
    if (status == 0)
        *tag = known.tag;
    if (status == TUCK_ECORRUPT)
        return TUCK_OBJECT_DAMAGED;
    return status > 0 || status == TUCK_ENOMEM ? TUCK_OBJECT_ABSENT : status;
}

struct keeping {
    struct known known;
    enum tuck_durability durability;
};

static enum tuck_lru_verdict keep(void *arg, void *value, enum tuck_lru_presence presence) {
    const struct keeping *keeping = arg;
    struct known *known = value;
    bool is_same = presence != TUCK_LRU_IS_ABSENT && is_file(known, keeping->known.tag);
    if (is_same && (known->is_synced || keeping->durability == TUCK_LAZY))
        return TUCK_LRU_KEEP;
    *known = keeping->known;
    known->is_synced = keeping->durability != TUCK_LAZY;
    return known->is_synced ? TUCK_LRU_DIRTY : TUCK_LRU_CLEAN;
}

int tuck_objects_keep(struct tuck_objects *objects, const struct tuck_output_id *output,
                      uint64_t size, uint32_t tag, uint64_t *ret_seq, struct tuck_error *err) {
    struct keeping keeping = {{.size = size, .tag = tag}, objects->durability};
    int status = tuck_lru_change(objects->lru, output, keep, &keeping, ret_seq, err);
    if (status == 0 && objects->durability == TUCK_STRICT)
        status = tuck_lru_flush(objects->lru, *ret_seq, err);
    return status;
}

static enum tuck_lru_verdict let_go(void *arg, void *value, enum tuck_lru_presence presence) {
    const uint64_t *size = arg;
    (void)presence;
    *(struct known *)value = (struct known){.size = *size, .is_removal = true};
    return TUCK_LRU_DIRTY;
}

int tuck_objects_remove(struct tuck_objects *objects, const struct tuck_output_id *output,
                        uint64_t size, uint64_t *ret_seq) {
    return tuck_lru_change(objects->lru, output, let_go, &size, ret_seq, NULL);
}

static enum tuck_lru_verdict forget_removal(void *arg, void *value,
                                            enum tuck_lru_presence presence) {
    (void)arg, (void)presence;
    return ((const struct known *)value)->is_removal ? TUCK_LRU_FORGET : TUCK_LRU_KEEP;
}

struct removals_list {
    struct tuck_output_id output[64];
    size_t count;
};

static bool list_removal(void *arg, const void *key, const void *value) {
    struct removals_list *list = arg;
    if (((const struct known *)value)->is_removal)
        memcpy(list->output[list->count++].bytes, key, TUCK_ID_BYTES);
    return list->count < TUCK_ARRAY_LEN(list->output);
}

bool tuck_objects_spare(struct tuck_objects *objects) {
    for (;;) {
        struct removals_list list = {.count = 0};
        size_t before = tuck_lru_dirty_count(objects->lru);
        tuck_lru_walk_dirty(objects->lru, list_removal, &list);
        for (size_t i = 0; i < list.count; i++)
            (void)!tuck_lru_change(objects->lru, &list.output[i], forget_removal, NULL, NULL, NULL);
        // Those that a flush has begun stay where they are.
        if (list.count == 0 || tuck_lru_dirty_count(objects->lru) >= before)
            return list.count == 0;
    }
}

static uint64_t take(uint64_t *count) {
    return __atomic_exchange_n(count, 0, __ATOMIC_RELAXED);
}

void tuck_objects_take_removals(struct tuck_objects *objects, struct tuck_removals *ret_removals) {
    ret_removals->objects = take(&objects->removals.objects);
    ret_removals->bytes = take(&objects->removals.bytes);
    ret_removals->claimed = take(&objects->removals.claimed);
    ret_removals->damaged = take(&objects->removals.damaged);
}
