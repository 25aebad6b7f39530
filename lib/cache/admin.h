// SPDX-License-Identifier: MIT
/*
 * What subcommands do with a whole cache, opened with must_exist: count it, collect, scrub, remove,
 * clear, import. All of it is safe beside running helpers, goes on with the drives that are online,
 * and can be interrupted at any point: *stop is looked at between steps. Threads: one at a time.
 */
#pragma once
#include "lib/cache/cache.h"
#include "lib/store/drives.h"

struct tuck_drive_stats {
    const char *root;    // borrowed from the cache's options
    char why[248];       // why it is offline; empty if it is online
    bool is_counted;     // used_… is exact but for what died; else a lower bound
    uint64_t entries;    // in the index
    uint64_t objects;    // distinct outputs that entries name
    uint64_t bytes;      // of these objects
    uint64_t used_bytes; // space that the drive's objects and its index take
    uint64_t used_objects;
    uint64_t limit_bytes;          // the drive's share of the quota
    uint64_t free_bytes;           // of the file system
    struct tuck_counters counters; // of all helpers, running ones too
};

struct tuck_cache_stats {
    size_t count;
    struct tuck_drive_stats drive[TUCK_DRIVES_MAX];
};

/** Counts what each drive holds by reading its index. */
TUCK_CHECKED int tuck_cache_stats(struct tuck_cache *cache, struct tuck_cache_stats *ret_stats,
                                  struct tuck_error *err);

/** The counters alone, summed over the drives. */
void tuck_cache_count(struct tuck_cache *cache, struct tuck_counters *ret_counters);

// --- Collecting ----------------------------------------------------------------------------------

struct tuck_collect {
    uint64_t max_bytes; // space that the cache may take afterwards; UINT64_MAX: as the bound asks
    uint64_t older_than_s;    // evict what was not used for so long; 0: no such wish
    bool is_dry_run;          // only count what would go
    const volatile int *stop; // or NULL
};

struct tuck_collected {
    uint64_t entries; // evicted
    uint64_t objects; // removed
    uint64_t bytes;   // space that they gave back
    uint64_t claimed; // objects that stay because running helpers gave them out
    uint64_t orphans; // of the removed objects, those that no entry named
    uint64_t used_before, used_after, limit; // bytes
    bool is_over; // more is used than was asked for: the rest is in use, or too young
    bool is_busy; // another process collects on one of the drives; it was left out
};

/** What nobody used for longest goes first, weighed by size and use; nothing that was used within the
 * hour, and nothing that a running helper gave out. */
TUCK_CHECKED int tuck_cache_collect(struct tuck_cache *cache, const struct tuck_collect *how,
                                    struct tuck_collected *ret_collected, struct tuck_error *err);

// --- Scrubbing -----------------------------------------------------------------------------------

enum tuck_finding {
    TUCK_FINDING_DAMAGED,    // an object does not have the hash that is its name
    TUCK_FINDING_UNREADABLE, // it could not be read
    TUCK_FINDING_DANGLING,   // an entry names an object that is not there or not of its size
    TUCK_FINDING_ORPHAN,     // no entry names the object; only counted
};

struct tuck_scrub {
    unsigned part, parts; // part 1 … parts of the objects; 1 of 1: all
    bool is_repair; // damaged objects go to quarantine, dangling entries go, sums are set right
    void (*found)(void *arg, enum tuck_finding finding, const char *what); // or NULL
    void (*progress)(void *arg, uint64_t bytes, uint64_t all_bytes);       // or NULL
    void *arg;
    const volatile int *stop; // or NULL
};

struct tuck_scrubbed {
    uint64_t objects, bytes; // looked at
    uint64_t entries;
    uint64_t damaged, unreadable, dangling, orphans;
    uint64_t repaired; // of the damaged and dangling ones
};

/** Reads every object and compares it with its name, and every entry with its object. */
TUCK_CHECKED int tuck_cache_scrub(struct tuck_cache *cache, const struct tuck_scrub *how,
                                  struct tuck_scrubbed *ret_scrubbed, struct tuck_error *err);

// --- Removing ------------------------------------------------------------------------------------

struct tuck_removed {
    uint64_t entries;
    uint64_t objects;
    uint64_t kept; // objects that running helpers gave out
};

/** Removes the entries of this action, or those that name this output, on every drive, and objects
 * that no entry names any more. */
TUCK_CHECKED int tuck_cache_remove(struct tuck_cache *cache, const uint8_t id[TUCK_ID_BYTES],
                                   struct tuck_removed *ret_removed, struct tuck_error *err);

/** Empties the cache. */
TUCK_CHECKED int tuck_cache_clear(struct tuck_cache *cache, struct tuck_removed *ret_removed,
                                  struct tuck_error *err);

// --- Importing -----------------------------------------------------------------------------------

struct tuck_imported {
    uint64_t found;          // entries that the directory has, as far as it was read
    uint64_t entries, bytes; // taken over
    uint64_t shared_bytes;   // of these, in blocks that the originals share
    uint64_t present;        // entries that were there already, as new or newer
    uint64_t executables;    // left out: the go command keeps them in its built-in cache only
    uint64_t damaged;        // left out: half-written, not what their name says, or gone
    uint64_t unreadable;     // left out: files and directories that could not be read
    uint64_t no_room;        // left out: with them the cache would outgrow its bound,
    uint64_t no_room_bytes;  // by so much
    bool is_complete;        // false: stopped or failed; the next import goes on
};

struct tuck_import {
    const char *dir; // a built-in cache of the go command
    void (*progress)(void *arg, const struct tuck_imported *so_far); // or NULL
    void *arg;
    const volatile int *stop; // or NULL
};

/** Takes over what is there, newest first, and leaves it as it is. Bodies are shared with the originals
 * where the file system can do that. Entries keep their times; those that nobody uses here are
 * evicted first. Stops short of the low watermark of each drive, so that nothing has to go for what
 * comes. On failure what was taken stays, and *ret_imported says how much that is. */
TUCK_CHECKED int tuck_cache_import(struct tuck_cache *cache, const struct tuck_import *how,
                                   struct tuck_imported *ret_imported, struct tuck_error *err);
