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
    bool is_collector_done;
    bool has_flusher;
    pthread_t flusher;

    /* owned by the flusher, which starts it, then by who ends */
    pthread_t collector;
    bool has_collector;
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

/** What the drive's sums are with those of helpers that run. Zeros while it is offline. */
void tuck_cache__sums(struct bay *bay, struct tuck_index_sums *ret_sums);

/** The same of parts at hand, whether the drive has gone offline meanwhile or not. */
void tuck_cache__sums_of(struct bay *bay, struct bay_parts *parts,
                         struct tuck_index_sums *ret_sums);

/** The space that objects and index take by these sums, and the number of objects. */
uint64_t tuck_cache__used_bytes(struct bay_parts *parts, const struct tuck_index_sums *sums);
uint64_t tuck_cache__used_objects(const struct tuck_index_sums *sums);

/** A drive's share of the quota, in bytes. */
uint64_t tuck_cache__limit(const struct tuck_cache *cache, const struct tuck_space *space);

/** Removes objects of a drive after the changes of its entries up to entries_seq (rule B), in one
 * flush. *ret_done is added to. 0, TUCK_LRU_BUSY, or < 0: what could not be removed now stays dirty,
 * see tuck_objects_spare(). */
TUCK_CHECKED int tuck_cache__remove_objects(struct bay *bay, struct bay_parts *parts,
                                            const struct tuck_object_seen *objects, size_t count,
                                            uint64_t entries_seq, struct tuck_removals *ret_done,
                                            struct tuck_error *err);

struct tuck_taken {
    struct bay *bay; // where the object is
    bool is_new;     // there
    bool is_shared;  // in blocks that the file has too
};

/** Puts what a file holds and records `entry` as it is: with its times, hits and flags. 0 with
 * *ret_taken; TUCK_OBJECT_DAMAGED if the file is not that output; TUCK_OBJECT_ABSENT if it cannot be
 * read; or < 0 if no drive takes it, and then there is no private directory either. */
TUCK_CHECKED int tuck_cache__take_file(struct tuck_cache *cache,
                                       const struct tuck_action_id *action,
                                       const struct tuck_entry *entry, int fd,
                                       struct tuck_taken *ret_taken, struct tuck_error *err);

/** The newest entry of this action on any drive that is online, and whether its object is there. False
 * if there is none. */
bool tuck_cache__find(struct tuck_cache *cache, const struct tuck_action_id *action,
                      struct tuck_entry *ret_entry, bool *ret_has_object);

/** The first drive to which a put of this output would go; NULL if there is none. */
struct bay *tuck_cache__home(struct tuck_cache *cache, const struct tuck_output_id *output);

/** Counting the objects of a drive while others put and remove some: what is put after the beginning
 * is left to the counters. */
struct census {
    uint64_t bytes, objects;
    struct tuck_drive *drive;
    uint64_t began_ns; // by the drive's clock, as its files' stamps are
    uint64_t seen_ns;  // when that clock was looked at last
    uint32_t began_s;  // wall clock
    struct tuck_index_sums before;
};

void tuck_cache__census_begin(struct census *census, struct bay *bay, struct bay_parts *parts);
void tuck_cache__census_add(struct census *census, const struct tuck_object_seen *seen);

/** All were added: the sums are set right. 0, TUCK_INDEX_BUSY, or < 0. */
TUCK_CHECKED int tuck_cache__census_end(struct census *census, struct bay_parts *parts);

/** Takes in what helpers that died have published, and removes their leases. For whoever has the turn:
 * another may rely on claims that were left. */
void tuck_cache__reap(struct bay_parts *parts);
