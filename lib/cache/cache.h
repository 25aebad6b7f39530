// SPDX-License-Identifier: MIT
/*
 * Cache: get, put, flush over the drives of a set. The one place that joins index and store, and the
 * one that knows what to do when they fail: a get becomes a miss, a put goes to the next drive and at
 * last to a private directory. No trouble of a drive is ever the caller's.
 *
 * Two rules, declared as flush dependencies between the write-back caches of objects and entries.
 * Rule A: an entry is written after its object. Rule B: an object is removed after the entries that
 * name it. There is no other way to the disk.
 *
 * Threads: one thread, the reader, calls everything but tuck_cache_get_slowly(), which runs on one
 * other. lib/cache/admin.h has what subcommands do.
 */
#pragma once
#include "lib/base/event.h"
#include "lib/base/id.h"
#include "lib/store/objects.h"
#include "lib/store/space.h"

struct tuck_cache;
struct tuck_put;

enum tuck_cache_outcome {
    TUCK_CACHE_MISS = 1,
    TUCK_CACHE_SLOW, // the object is large and must be hashed first: tuck_cache_get_slowly() on
                     // another thread
};

/** How large the cache may get. */
struct tuck_bound {
    struct tuck_quota quota; // bytes: of all drives together, each has an equal share; percent: of
                             // each drive's file system
    struct tuck_quota floor; // what must stay free on each
    unsigned low, high;      // percent of the quota: eviction begins at high and ends at low
    uint64_t keep_s;         // what was used within is evicted last, if the quota asks for it
};

struct tuck_cache_options {
    const char *const *drives; // their roots, absolute, in the order of the set; at least one. The
                               // texts are borrowed and outlive the cache
    size_t drive_count;
    const char *gocache; // the client's $GOCACHE, or NULL
    enum tuck_durability durability;
    struct tuck_bound bound;
    struct tuck_event_sink *sink; // or NULL
    bool must_exist;              // for subcommands: makes no cache where none is, and refuses a
                                  // set that does not hold together
};

struct tuck_hit {
    struct tuck_output_id output;
    uint64_t size;
    uint64_t time_ns; // wall clock of the action's last put
    char path[4096];  // where the object lies
};

/** Opens the cache. A drive that cannot be used is an event, not a failure: the others are used, or
 * a private directory. Fails without memory; with must_exist also if there is nothing to open. */
TUCK_CHECKED int tuck_cache_open(const struct tuck_cache_options *options,
                                 struct tuck_cache **ret_cache, struct tuck_error *err);

/** Flushes nothing: call tuck_cache_end() before. Accepts NULL. */
void tuck_cache_close(struct tuck_cache *cache);

/** 0 with *ret_hit, or an outcome. Asks the drives that are online, reading one page of each index;
 * the newest put wins, and its object is looked at once. */
TUCK_CHECKED int tuck_cache_get(struct tuck_cache *cache, const struct tuck_action_id *action,
                                struct tuck_hit *ret_hit);

/** As above, but hashes an object of any size. 0 or TUCK_CACHE_MISS. */
TUCK_CHECKED int tuck_cache_get_slowly(struct tuck_cache *cache,
                                       const struct tuck_action_id *action,
                                       struct tuck_hit *ret_hit);

/** Begins a put of `size` bytes. Never fails for reasons of storage; those come out at the end. */
TUCK_CHECKED int tuck_put_begin(struct tuck_cache *cache, const struct tuck_action_id *action,
                                const struct tuck_output_id *output, uint64_t size,
                                struct tuck_put **ret_put, struct tuck_error *err);

/** Takes the next part of the body. */
void tuck_put_write(struct tuck_put *put, const void *data, size_t len);

/** Ends the body: checks length and hash, names the object, records the entry. **Takes** *put. 0
 * with *ret_hit; TUCK_EINVAL if the body is not what was announced; else why no place was found for
 * it. */
TUCK_CHECKED int tuck_put_commit(struct tuck_put **put, struct tuck_hit *ret_hit,
                                 struct tuck_error *err);

/** Drops an unfinished put. Accepts NULL. */
void tuck_put_free(struct tuck_put *put);

/** Makes all that was answered visible to other processes: flushes, or leaves it in the spool when
 * others hold the index for longer than half a second. Adds up the counters. Nothing may be put
 * afterwards. */
void tuck_cache_end(struct tuck_cache *cache);

/** What nobody waits for: access times, a sync that is due, a collection that is due, and with several
 * drives, once in each boot of the machine, a brief of what is on each. Takes up to seconds; call with
 * descriptors 0 to 2 closed. *stop ends it early. */
void tuck_cache_tidy(struct tuck_cache *cache, const volatile int *stop);

/** The counters of this process that belong to no drive in particular, to add to. Never NULL. */
struct tuck_counters *tuck_cache_counters(struct tuck_cache *cache);
