// SPDX-License-Identifier: MIT
/*
 * LRU: a write-back cache of small values, bound to a back end that loads and flushes them. What is
 * changed here is visible here at once and reaches the back end later, in a flush; and never before
 * what it depends on in another cache: "an entry is written only after its object", "an object is
 * removed only after the entries that name it". Not here: what keys and values mean, files,
 * threads.
 *
 * Values have one size and are copied in and out, so that nobody can change one behind the cache's
 * back. Caches that may depend on each other form a group, which has one lock: it is held for the
 * time of a look into memory, never while the back end works. So hits go on while another key is
 * loaded or flushed.
 *
 * Flush dependencies. Each change gets the next number of its cache. tuck_lru_depend(a, b, n) says:
 * what becomes dirty in `a` from now on waits until `b` has flushed its changes up to n. Flushing
 * or evicting one item of `a` then flushes no more of `b` than that. Both directions may be
 * declared; where `b` itself may wait for `a`, that older order is carried out first, so that no
 * two changes can ever wait for each other. A change is never lost: what cannot be flushed, or what
 * it waits for, stays dirty.
 *
 * Threads: every function from any thread; functions that call the back end block on it. The lock
 * has the rank TUCK_RANK_LRU.
 */
#pragma once
#include "lib/base/error.h"

struct tuck_lru;
struct tuck_lru_group;
struct tuck_lru_item; // held: stays in the cache until released

enum tuck_lru_outcome {
    TUCK_LRU_ABSENT = 1, // no such value here, and none in the back end if it was asked
    TUCK_LRU_BUSY,       // the back end could not take some items now; they stay dirty
};

/** One item of a flush. */
struct tuck_lru_flushed {
    const void *key;
    const void *value; // as it was when the flush began
    int status;        // set by flush(): 0 written; TUCK_LRU_BUSY not now; < 0 failed. Is 0 before
};

/** Called without the lock. None of these may call a cache of the group. Keys and values are
 * aligned for any type. */
struct tuck_lru_ops {
    /** Reads a value. One call for each key at a time, others wait for its result; loads of other
     * keys go on beside it. 0, TUCK_LRU_ABSENT, or < 0, which all that wait get. NULL: whatever is
     * not in the cache is absent. */
    int (*load)(void *backend, const void *key, void *ret_value, struct tuck_error *err);

    /** Writes dirty items, given in the order in which they first became dirty, and sets the status
     * of each; *err (may be NULL) is for the first that failed. What they depend on has been
     * flushed. One call for each cache at a time. */
    void (*flush)(void *backend, struct tuck_lru_flushed *items, size_t count,
                  struct tuck_error *err);

    /** The value has left the cache, not to be written: evicted when it was clean, invalidated, or
     * there at the end. Its key may be loaded anew already. NULL: nothing to do. */
    void (*drop)(void *backend, const void *key, const void *value);
};

struct tuck_lru_options {
    const struct tuck_lru_ops *ops;
    void *backend;
    size_t key_bytes; // keys are compared byte by byte
    size_t value_bytes;
    uint64_t (*weigh)(const void *value); // what counts towards limit_bytes; NULL: value_bytes
    size_t limit_items;                   // at least 1
    uint64_t limit_bytes;                 // 0: no such limit
    uint64_t dirty_age_ns;                // how long a change may wait, see tuck_lru_due_ns()
};

/** Caches of one group may depend on each other. The group outlives them. Free accepts NULL. */
TUCK_CHECKED int tuck_lru_group_new(struct tuck_lru_group **ret_group, struct tuck_error *err);
void tuck_lru_group_free(struct tuck_lru_group *group);

/** TUCK_EINVAL for limits or sizes of zero. Options are copied, ops and backend borrowed. */
TUCK_CHECKED int tuck_lru_new(struct tuck_lru_group *group, const struct tuck_lru_options *options,
                              struct tuck_lru **ret_lru, struct tuck_error *err);

/** Drops everything, what is dirty too: flush before. Nothing may be held, and nobody may be
 * flushing it or what depends on it. Accepts NULL. */
void tuck_lru_free(struct tuck_lru *lru);

// --- Values --------------------------------------------------------------------------------------

/** Finds a value, loading it if it is not here; it becomes the most recently used. 0 with a copy in
 * *ret_value (may be NULL), an outcome, or what load() failed with: then nothing is kept, and the
 * next one tries again. If ret_item is not NULL the item is held until tuck_lru_release() and not
 * evicted before. Keeps the limits as tuck_lru_change() does. */
TUCK_CHECKED int tuck_lru_get(struct tuck_lru *lru, const void *key, void *ret_value,
                              struct tuck_lru_item **ret_item, struct tuck_error *err);
void tuck_lru_release(struct tuck_lru *lru, struct tuck_lru_item *item);

/** As above without asking the back end and without counting as a use. *ret_is_dirty (may be NULL):
 * whether the back end has not got it yet. 0 or TUCK_LRU_ABSENT. */
TUCK_CHECKED int tuck_lru_peek(struct tuck_lru *lru, const void *key, void *ret_value,
                               bool *ret_is_dirty);

enum tuck_lru_presence {
    TUCK_LRU_IS_ABSENT, // there is no value: it reads as zeros
    TUCK_LRU_IS_CLEAN,  // the back end has it
    TUCK_LRU_IS_DIRTY,  // or will have it with the next flush, or the one that runs
};

enum tuck_lru_verdict {
    TUCK_LRU_KEEP,   // nothing has changed
    TUCK_LRU_CLEAN,  // this is the value, and the back end has it already: what was dirty is done
                     // with. While an older value is being flushed it counts as TUCK_LRU_DIRTY
    TUCK_LRU_DIRTY,  // this is the value, and it is to be flushed
    TUCK_LRU_FORGET, // it leaves the cache unwritten; held or being flushed it stays as it is
};

/** Changes a value where it is, or makes one; it becomes the most recently used. change() gets the
 * present value and says what becomes of it; it runs under the group's lock and must do nothing but
 * that. A value that is being loaded is waited for; none is loaded for this. *ret_seq (may be NULL)
 * is what to depend on for the value to be in the back end: 0 if it is there. Never evicts by
 * flushing: of what is clean, the least recently used goes. So the limits are exceeded where all but
 * this value is dirty or held, until tuck_lru_trim(). TUCK_ENOMEM leaves all as it was. */
TUCK_CHECKED int tuck_lru_change(struct tuck_lru *lru, const void *key,
                                 enum tuck_lru_verdict (*change)(void *arg, void *value,
                                                                 enum tuck_lru_presence presence),
                                 void *arg, uint64_t *ret_seq, struct tuck_error *err);

/** Drops every value without flushing, dirty ones too, so that they are loaded anew. Those that are
 * held, being loaded or flushed stay: their keys go to each_busy() (may be NULL), under the lock.
 * Returns how many stayed. */
size_t tuck_lru_invalidate(struct tuck_lru *lru, void (*each_busy)(void *arg, const void *key),
                           void *arg);

/** Calls each() for every dirty value, oldest change first, under the group's lock, until it
 * returns false. */
void tuck_lru_walk_dirty(struct tuck_lru *lru,
                         bool (*each)(void *arg, const void *key, const void *value), void *arg);

// --- Flushing ------------------------------------------------------------------------------------

/** What becomes dirty in `lru` from now on is flushed after the changes of `first` up to `seq`, or
 * up to its last one if that is less. If `first` may wait, directly or through others, for changes
 * of `lru`, those of `first` up to `seq` are flushed now with what they depend on: the only case
 * that blocks. It fails as tuck_lru_flush() does, and nothing is declared then. TUCK_EINVAL: they
 * are not two caches of one group, or `lru` depends on four others already. */
TUCK_CHECKED int tuck_lru_depend(struct tuck_lru *lru, struct tuck_lru *first, uint64_t seq,
                                 struct tuck_error *err);

/** Flushes the changes up to `seq` (UINT64_MAX: all that there are now), and before them what they
 * depend on. All that can be written is written, each item once; what cannot stays dirty, as does
 * what is changed meanwhile. 0, TUCK_LRU_BUSY, or the first failure. */
TUCK_CHECKED int tuck_lru_flush(struct tuck_lru *lru, uint64_t seq, struct tuck_error *err);

/** Evicts until the limits are kept: what is clean, least recently used first, then in the same
 * order what is dirty, flushing it and what it depends on, no more. What is held stays, so that the
 * limits may still be exceeded; so they may after a failure, or where others fill the cache as
 * fast. As tuck_lru_flush(). */
TUCK_CHECKED int tuck_lru_trim(struct tuck_lru *lru, struct tuck_error *err);

/** When the oldest change will have waited for dirty_age_ns (monotonic ns), UINT64_MAX if nothing
 * is dirty. After a failed flush that lies in the past: when to try again is for the caller. */
uint64_t tuck_lru_due_ns(struct tuck_lru *lru);

struct tuck_lru_stats {
    size_t items, dirty, held; // held: or being loaded
    uint64_t bytes, dirty_bytes;
    uint64_t hits, loads, load_failures, evictions, flushed, flush_failures;
};

void tuck_lru_stats(struct tuck_lru *lru, struct tuck_lru_stats *ret_stats);

/** How many items are dirty, without the lock: for a fast way round an empty cache. */
size_t tuck_lru_dirty_count(const struct tuck_lru *lru);
