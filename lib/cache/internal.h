// SPDX-License-Identifier: MIT
/*
 * What the files of lib/cache share: the cache itself, and the work that its threads have in common.
 */
#pragma once
#include "lib/cache/bay.h"
#include "lib/index/index.h"

struct private_entry; // entries of objects in the private drive

struct tuck_cache {
    struct bays bays;                /* see bay.h */
    enum tuck_durability durability; /* const after open */
    struct tuck_bound bound;         /* const after open */
    struct tuck_event_sink *sink;    /* const after open */

    /* owned by the reader */
    struct tuck_drive *spare; // the private drive, made when needed
    bool has_told_spare;
    bool has_recorded; // entries that others are to see before the end
    struct private_entry *privates;
    size_t private_count;
    size_t private_room;

    struct tuck_mutex lock;
    /* guarded by lock */
    pthread_cond_t wake_flusher;
    pthread_cond_t flushed;
    size_t dirty;          // puts since the last flush began
    uint64_t flushes;      // that have ended
    bool is_flush_failing; // the last one did
    bool is_ending;
    bool has_collector; // a collection runs on its thread, or did

    /* owned by the reader */
    pthread_t flusher;
    bool has_flusher;

    /* owned by the flusher, which starts it */
    pthread_t collector;
    volatile int stop_collecting; /* written once, at the end */
    uint64_t space_seen_ns;
};

enum due {
    DUE_NOTHING,
    DUE_HOUSEKEEPING, // nobody has looked for an hour, or the drive was never counted
    DUE_PRESSURE,     // the bound is exceeded
};

/** What a collection would have to do on the bay. Notes on the way whether the drive has room. Costs
 * a few system calls. */
enum due tuck_cache__what_is_due(struct tuck_cache *cache, struct bay *bay);

/** Collects on the bay as the bound asks; ends early when *stop becomes true. */
void tuck_cache__collect_as_due(struct tuck_cache *cache, struct bay *bay,
                                const volatile int *stop);

/** What the drive's sums are with those of helpers that run. */
void tuck_cache__sums(struct bay *bay, struct tuck_index_sums *ret_sums);

/** The space that objects take by these sums, and their number. */
uint64_t tuck_cache__used_bytes(const struct tuck_index_sums *sums);
uint64_t tuck_cache__used_objects(const struct tuck_index_sums *sums);

/** A drive's share of the quota, in bytes. */
uint64_t tuck_cache__limit(const struct tuck_cache *cache, const struct tuck_space *space);

/** Removes objects of a drive after the changes of its entries up to entries_seq (rule B), in one
 * flush. *ret_done is added to. 0, TUCK_LRU_BUSY, or < 0: what could not be removed now stays dirty. */
TUCK_CHECKED int tuck_cache__remove_objects(struct bay *bay, struct bay_parts *parts,
                                            const struct tuck_object_seen *objects, size_t count,
                                            uint64_t entries_seq, struct tuck_removals *ret_done,
                                            struct tuck_error *err);

/** Puts what a file holds, with the times of `entry` (output, size, put_ns, access_s). 0;
 * TUCK_OBJECT_DAMAGED if the file is not that output; or < 0. */
TUCK_CHECKED int tuck_cache__take_file(struct tuck_cache *cache,
                                       const struct tuck_action_id *action,
                                       const struct tuck_entry *entry, int fd,
                                       struct tuck_error *err);

/** Whether the cache has an entry of this action that is as new as this one, and its object. */
bool tuck_cache__has(struct tuck_cache *cache, const struct tuck_action_id *action,
                     const struct tuck_entry *entry);

/** The drive was counted: this is what its objects take. 0, TUCK_INDEX_BUSY, or < 0. */
TUCK_CHECKED int tuck_cache__set_counted(struct bay *bay, struct bay_parts *parts, uint64_t bytes,
                                         uint64_t objects);

/** Takes in what helpers that died have published, and removes their leases. */
void tuck_cache__reap(struct bay_parts *parts);
