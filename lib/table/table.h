// SPDX-License-Identifier: MIT
/*
 * Table: what is true only for a while. A map from keys to values in which every item has a span of
 * life: misses, outages, back-off, work in flight. Not here: what keys and values mean, files
 * (file.h), and a timer: the owner asks for the next deadline and sweeps.
 *
 * Keys and values have one size each and are copied in and out. Keys are compared byte by byte, so
 * they must have no padding. Pointers that are handed to callbacks are aligned for any type and
 * borrowed for the call.
 *
 * Life. A span counts in nanoseconds of the monotonic clock from when the item was added; 0 is for
 * ever. A sliding item starts its span anew with each use, an absolute one does not. Once the span
 * has passed, no function returns the item any more, swept or not. A use is a tuck_table_get(), a
 * tuck_table_load() that finds the item, or a tuck_table_extend().
 *
 * Bound. A table never holds more than `limit` items. To make room, what is expired goes first,
 * then what was least recently added or used.
 *
 * Threads: every function from any thread, but tuck_table_free(). There is one lock; callbacks and
 * loaders run without it (but with whatever else their caller holds), on the thread whose call
 * caused them, and may call the table. Nothing but tuck_table_load() waits.
 */
#pragma once
#include "lib/base/error.h"

struct tuck_table;

enum tuck_table_outcome {
    TUCK_TABLE_ABSENT = 1, // no such item, or its life is over
    TUCK_TABLE_PRESENT,    // there is an item of that key; it stays
};

/** Why a value left the table. */
enum tuck_table_reason {
    TUCK_TABLE_EXPIRED, // its span had passed, whatever call noticed it
    TUCK_TABLE_DELETED,
    TUCK_TABLE_REPLACED, // by a value added under its key
    TUCK_TABLE_CLEARED,  // also by tuck_table_free()
    TUCK_TABLE_EVICTED,  // to make room, or for want of memory to keep what was loaded
};

enum tuck_table_flags {
    TUCK_TABLE_SLIDING = 1 << 0,   // each use starts the span anew
    TUCK_TABLE_IF_ABSENT = 1 << 1, // add only; an item that is present stays as it is
};

struct tuck_table_options {
    size_t key_bytes;   // at least 1
    size_t value_bytes; // 0: a set of keys; values are NULL then
    size_t limit;       // items at most, at least 1

    /** Called once for each value that left the table, after the lock was released and the item was
     * gone; what it adds, also under the same key, stays. It should not add again what was evicted:
     * that would evict another, and so on. NULL: nobody wants to know. */
    void (*removed)(void *arg, enum tuck_table_reason reason, const void *key, const void *value);
    void *arg;
};

/** An empty table. TUCK_EINVAL for a key size or a limit of zero. Options are copied, arg is
 * borrowed. */
TUCK_CHECKED int tuck_table_new(const struct tuck_table_options *options,
                                struct tuck_table **ret_table, struct tuck_error *err);

/** Clears the table first; what the callback adds then is dropped without another call. Nobody else
 * may be using it. Accepts NULL. */
void tuck_table_free(struct tuck_table *table);

// --- Items ---------------------------------------------------------------------------------------

/** Adds an item, or replaces the one of that key, as most recently used. Flags: enum
 * tuck_table_flags. 0, TUCK_TABLE_PRESENT (with TUCK_TABLE_IF_ABSENT), or TUCK_ENOMEM with the
 * table as it was. */
TUCK_CHECKED int tuck_table_add(struct tuck_table *table, const void *key, const void *value,
                                uint64_t span_ns, unsigned flags, struct tuck_error *err);

/** Finds and uses an item. 0 with a copy in *ret_value (may be NULL), or TUCK_TABLE_ABSENT. */
TUCK_CHECKED int tuck_table_get(struct tuck_table *table, const void *key, void *ret_value);

/** The same without using it: its life, its place in the order of use and its count stay. */
TUCK_CHECKED int tuck_table_peek(struct tuck_table *table, const void *key, void *ret_value);

/** Uses an item and gives it another span, from now on; sliding ones stay sliding. 0, or
 * TUCK_TABLE_ABSENT. */
int tuck_table_extend(struct tuck_table *table, const void *key, uint64_t span_ns);

/** Deletes an item, and forgets what a load of that key ended with. 0 with a copy of the value in
 * *ret_value (may be NULL), or TUCK_TABLE_ABSENT. */
int tuck_table_delete(struct tuck_table *table, const void *key, void *ret_value);

/** Deletes everything, and forgets what all loads ended with. */
void tuck_table_clear(struct tuck_table *table);

// --- Loading -------------------------------------------------------------------------------------

struct tuck_table_loader {
    /** Makes the value of a key. 0; any other result (> 0: there is none, < 0: failed) means no
     * value. May take its time and use the table, but not load the same key. */
    int (*load)(void *arg, const void *key, void *ret_value, struct tuck_error *err);
    void *arg;
    uint64_t span_ns; // life of what was loaded
    unsigned flags;   // TUCK_TABLE_SLIDING or 0

    /** How long a load that brought no value is remembered: until then its result comes back
     * without another try. 0: not at all. */
    uint64_t negative_span_ns;
};

/** Finds and uses an item as tuck_table_get(), or loads it. One load for each key at a time: who
 * asks meanwhile waits and gets the same result, whatever its own loader. 0 with a copy in
 * *ret_value (may be NULL), or what load() returned, with its error.
 *
 * What happened to the key meanwhile wins: a value added during the load stays, and is the result;
 * a delete or clear keeps the loaded one out, and who asks after it does not wait for this load but
 * begins another. removed() is told of a loaded value that did not stay.
 *
 * A remembered result without a value counts towards the limit as an item does; for all other
 * functions there is none. Fails by itself with TUCK_ENOMEM, and with TUCK_EINTERNAL for a load
 * from within the load of the same key. */
TUCK_CHECKED int tuck_table_load(struct tuck_table *table, const void *key,
                                 const struct tuck_table_loader *loader, void *ret_value,
                                 struct tuck_error *err);

// --- Expiry --------------------------------------------------------------------------------------

/** When the next item's life ends (monotonic ns), exactly; in the past if it waits to be swept,
 * UINT64_MAX if none ever ends. */
uint64_t tuck_table_next_deadline_ns(struct tuck_table *table);

/** Removes what has expired, at most `max` items, earliest deadline first. Returns how many; `max`
 * means that there may be more. */
size_t tuck_table_sweep(struct tuck_table *table, size_t max);

// --- All of it -----------------------------------------------------------------------------------

/** An item outside of its table: for lists, and to be stored and restored by another process. */
struct tuck_table_row {
    const void *key;
    const void *value;
    uint64_t span_ns;     // 0: for ever, and no deadline
    uint64_t deadline_ns; // by the wall clock
    uint64_t uses;        // since it was added, in whatever process
    unsigned flags;       // TUCK_TABLE_SLIDING or 0
};

enum tuck_table_order {
    TUCK_TABLE_LEAST_RECENT_FIRST, // restored in this order, the order of use is as it was
    TUCK_TABLE_MOST_USED_FIRST,    // among equals the more recently used
};

/** Calls each() for every item whose life is not over, until it returns false. The rows are those
 * of one moment: all are copied at once under the lock, and each() may use the table. 0, or
 * TUCK_ENOMEM. */
TUCK_CHECKED int tuck_table_rows(struct tuck_table *table, enum tuck_table_order order,
                                 bool (*each)(void *arg, const struct tuck_table_row *row),
                                 void *arg, struct tuck_error *err);

/** Takes in a row as most recently used, for what is left of its life by the wall clock: nothing if
 * that clock has passed the deadline, by itself or because somebody moved it; and never more than
 * the span, wherever it was moved back to; that again at each restart until the table's rows are
 * stored anew. 0, TUCK_TABLE_ABSENT if its life is over, TUCK_TABLE_PRESENT, or TUCK_ENOMEM. */
TUCK_CHECKED int tuck_table_restore(struct tuck_table *table, const struct tuck_table_row *row,
                                    struct tuck_error *err);

/** How many items the table holds, with expired ones that were not swept, and with remembered
 * results without a value. Never more than its limit. */
size_t tuck_table_count(struct tuck_table *table);

/** What it was made with. */
const struct tuck_table_options *tuck_table__options(const struct tuck_table *table);
