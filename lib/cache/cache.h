// SPDX-License-Identifier: MIT
/*
 * Cache: get, put, flush. The one place that joins index and store, and the one that knows what to
 * do when they fail: a get becomes a miss, a put goes to a private directory. No trouble of a drive
 * is ever the caller's.
 *
 * Rule A: an entry is recorded only after its object is committed. Entries reach the index on the
 * flusher's thread, started with the first put, and at the end.
 *
 * Threads: one thread, the reader, calls everything but tuck_cache_get_slowly(), which runs on one
 * other.
 */
#pragma once
#include "lib/base/event.h"
#include "lib/base/id.h"

struct tuck_cache;
struct tuck_put;

enum tuck_cache_outcome {
    TUCK_CACHE_MISS = 1,
    TUCK_CACHE_SLOW, // the object is large and must be hashed first: tuck_cache_get_slowly() on
                     // another thread
};

enum tuck_durability {
    TUCK_LAZY,   // nothing is synced; an object that was not verified since the machine's last boot
                 // is hashed before it is served, unless a later sync in the background has covered
                 // it
    TUCK_BATCH,  // one sync of the file system before each write of the index
    TUCK_STRICT, // each object is durable before its put is answered
};

struct tuck_cache_options {
    const char *dir;     // the cache's root, absolute
    const char *gocache; // the client's $GOCACHE, or NULL
    enum tuck_durability durability;
    struct tuck_event_sink *sink; // or NULL
};

struct tuck_hit {
    struct tuck_output_id output;
    uint64_t size;
    uint64_t time_ns; // wall clock of the action's last put
    char path[4096];  // where the object lies
};

/** Opens the cache. A drive that cannot be used is an event, not a failure: puts go to a private
 * directory then. Fails only without memory. */
TUCK_CHECKED int tuck_cache_open(const struct tuck_cache_options *options,
                                 struct tuck_cache **ret_cache, struct tuck_error *err);

/** Flushes nothing: call tuck_cache_end() before. Accepts NULL. */
void tuck_cache_close(struct tuck_cache *cache);

/** 0 with *ret_hit, or an outcome. Reads one page of the index and looks at the object once. */
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

/** What nobody waits for: access times, a sync that is due. Takes up to seconds; call with
 * descriptors 0 to 2 closed. */
void tuck_cache_tidy(struct tuck_cache *cache);

/** The counters of this process, to add to. Never NULL. */
struct tuck_counters *tuck_cache_counters(struct tuck_cache *cache);

struct tuck_cache_stats {
    uint64_t entries;
    uint64_t objects;              // distinct outputs that entries name
    uint64_t bytes;                // of these objects
    struct tuck_counters counters; // sums over all helpers that ended
};

/** Counts what the cache holds by reading the index. Opens and creates nothing. TUCK_EIO if there
 * is no cache there. */
TUCK_CHECKED int tuck_cache_stats(const char *dir, struct tuck_cache_stats *ret_stats,
                                  struct tuck_error *err);

struct tuck_cache_cleared {
    uint64_t objects;
    uint64_t kept; // objects that running helpers gave out
};

/** Empties the cache; safe beside running builds. */
TUCK_CHECKED int tuck_cache_clear(const char *dir, struct tuck_cache_cleared *ret_cleared,
                                  struct tuck_error *err);
