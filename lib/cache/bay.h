// SPDX-License-Identifier: MIT
/*
 * Bay: one place of the drive set, inside the cache only. Holds what is open of its drive (drive,
 * index, objects, lease), or nothing while the drive is offline. A drive that fails is looked at: if
 * that fails too it goes offline, and is tried again after a while that doubles each time.
 *
 * Threads: any. What was open when a drive went offline stays in memory until the end, so that
 * whoever uses it at that moment meets errors and not freed memory.
 */
#pragma once
#include "lib/base/event.h"
#include "lib/base/thread.h"
#include "lib/cache/cache.h"
#include "lib/index/index.h"
#include "lib/lru/lru.h"
#include "lib/store/drive.h"
#include "lib/store/object.h"
#include "lib/store/drives.h"
#include "lib/store/lease.h"
#include "lib/store/objects.h"
#include "lib/store/set.h"
#include "lib/store/stage.h"
#include "lib/table/table.h"

/** What is open of a drive. */
struct bay_parts {
    struct tuck_drive *drive; // borrowed from the set
    struct tuck_lru_group *group;
    struct tuck_index *index;
    struct tuck_objects *objects;
    struct bay_parts *retired; // the ones that were open before; see struct bay
    bool is_slow;              /* atomic: that is why it went offline */
    bool is_saved;             /* owned by the thread that opens: its entries are in the spool */

    struct tuck_mutex lease_lock;
    /* guarded by lease_lock */
    bool has_lease;           /* atomic: it was taken, or cannot be had */
    struct tuck_lease *lease; /* written once under lease_lock, before has_lease */
    bool is_abandoned;        /* owned by the thread that ends: the lease holds counters */
};

struct bay {
    size_t number;                 /* const */
    struct bay_parts *parts;       /* atomic: NULL while the drive is offline */
    struct bay_parts *retired;     /* owned by the thread that opens: all that were ever open */
    struct tuck_counters counters; /* atomic: of this process, not yet added to the drive's */
    bool is_full;                  /* atomic: below the floor of free space, or out of it */
    uint64_t readonly_until_ns;    /* atomic: until then (monotonic) it takes nothing; 0: it does */
    bool has_told_readonly;        /* atomic */
    bool is_refused;               /* const after opening: it has no place in the set */
    unsigned faults;               /* atomic: errors that a look at the drive did not confirm */
    unsigned slow_count;           /* atomic: operations that took long, */
    uint64_t slow_since_ns;        /* atomic: since then (monotonic) */
};

/** The bays of a set, and which of them are left alone for now. */
struct bays {
    struct tuck_set *set;
    const char *roots[TUCK_DRIVES_MAX]; // borrowed, see struct tuck_cache_options
    size_t count;
    struct bay bay[TUCK_DRIVES_MAX];
    enum tuck_durability durability;
    struct tuck_event_sink *sink;
    struct tuck_table *outages; // what failed, and when it is tried again
    char *outages_path;         // where they are kept for the next helper, or NULL
    bool has_new_outages;       /* atomic: they are to be written there */
};

/** Opens what can be opened; what cannot is told by an event. Fails as tuck_cache_open(). */
TUCK_CHECKED int tuck_bays__open(struct bays *bays, const struct tuck_cache_options *options,
                                 struct tuck_error *err);
void tuck_bays__close(struct bays *bays);

/** What is open of the bay now, or NULL. */
static inline struct bay_parts *bay_parts(struct bay *bay) {
    return __atomic_load_n(&bay->parts, __ATOMIC_ACQUIRE);
}

/** Something failed in a way that speaks of the drive (`os`: errno or 0). Looks at it and takes it
 * offline if it is gone. */
void tuck_bays__fault(struct bays *bays, struct bay *bay, int os);

/** An operation that needs no body of any size took so long. A drive on which that is seconds again
 * and again goes offline, unless it is the last one. */
void tuck_bays__took(struct bays *bays, struct bay *bay, uint64_t took_ns);

/** Whether an output can be put there: it is online, and not known to be read-only. */
bool tuck_bays__takes_puts(struct bays *bays, struct bay *bay);

/** When the next drive is to be tried again (monotonic ns), UINT64_MAX if none is offline. */
uint64_t tuck_bays__next_try_ns(struct bays *bays);

/** Tries those whose time has come. Blocks on their drives. */
void tuck_bays__try_again(struct bays *bays);

/** At the end, with no other thread left: leaves word of outages for the next helper, and what drives
 * that are offline can no longer take where it can be found. */
void tuck_bays__end(struct bays *bays);

/** Claims an object in the bay's lease, taking one first: before the look at an object whose path is
 * about to be given out. */
void tuck_bay__claim(struct bay_parts *parts, const struct tuck_output_id *output);

/** Nothing is claimed any more, unless a collection runs: then the claims stay until the next one. */
void tuck_bay__end_lease(struct bay_parts *parts);

static inline bool tuck_bay__has_lease(struct bay_parts *parts) {
    return __atomic_load_n(&parts->has_lease, __ATOMIC_ACQUIRE) && parts->lease;
}

/** Shows this process's counters to others, where it has a lease. */
void tuck_bay__publish(struct bay *bay);

/** Counts what went off the drive; NULL: what went since this was asked last. */
void tuck_bay__count_removals(struct bay *bay, const struct tuck_removals *removals);

/** Adds this process's counters to the drive's sums; where that cannot be done now they stay in the
 * lease, for the next collector. */
void tuck_bay__add_up(struct bay *bay);

/** Adds `arg`, a struct tuck_counters, to the sums: for tuck_index_change_sums(). */
void tuck_bay__add_counters(void *arg, struct tuck_index_sums *sums);
