// SPDX-License-Identifier: MIT
/*
 * What the library has to tell: counters, and events that a person may want to know of. The library
 * never prints; the program decides what becomes of both. Threads: any; a sink may be called from
 * several at once.
 */
#pragma once
#include "lib/base/error.h"

/** name, unit, meaning. The order is the order on disk: new ones go to the end. */
#define TUCK_COUNTERS(X)                                                                           \
    X(helpers, "runs", "helpers that came to an end")                                              \
    X(gets, "requests", "lookups")                                                                 \
    X(hits, "requests", "lookups answered with an object")                                         \
    X(misses, "requests", "lookups answered with a miss")                                          \
    X(puts, "requests", "outputs stored or found present")                                         \
    X(dedupes, "requests", "puts whose object was already there")                                  \
    X(bytes_served, "bytes", "size of the objects in hits")                                        \
    X(bytes_written, "bytes", "size of the objects written")                                       \
    X(verified, "objects", "objects hashed before they were served")                               \
    X(damaged, "objects", "objects found damaged and taken away")                                  \
    X(fallbacks, "requests", "puts kept in a private directory because the drive failed")          \
    X(errors, "requests", "requests answered with an error")                                       \
    X(entries_lost, "entries", "entries that could not be written to the index")                   \
    X(stored_bytes, "bytes", "space that new objects took, in blocks of the drive")                \
    X(stored_objects, "objects", "objects that were new on the drive")                             \
    X(removed_bytes, "bytes", "space that removed objects gave back")                              \
    X(removed_objects, "objects", "objects that were removed")                                     \
    X(evicted, "entries", "entries that were evicted to keep the bound, or on request")            \
    X(collections, "runs", "times that a collector had to remove something")                       \
    X(offline, "events", "times that the drive failed and was left alone for a while")             \
    X(imported, "entries", "entries taken over from other caches")

enum tuck_counter {
#define X(name, unit, help) TUCK_COUNT_##name,
    TUCK_COUNTERS(X)
#undef X
        TUCK_COUNTER_MAX
};

struct tuck_counters {
    uint64_t value[TUCK_COUNTER_MAX]; /* atomic, relaxed: a sum, pairs with nothing */
};

static inline void tuck_count(struct tuck_counters *counters, enum tuck_counter which,
                              uint64_t by) {
    __atomic_fetch_add(&counters->value[which], by, __ATOMIC_RELAXED);
}

enum tuck_event_kind {
    TUCK_EVENT_DRIVE_UNUSABLE, // nothing can be kept on the drive: private directory for this run
    TUCK_EVENT_PUT_ELSEWHERE,  // one put went to the private directory
    TUCK_EVENT_PUT_FAILED,     // no place was left for it
    TUCK_EVENT_OBJECT_DAMAGED, // an object did not have its hash and was taken away
    TUCK_EVENT_INDEX_DAMAGED,  // the index was unreadable and was begun anew; the objects stay
    TUCK_EVENT_ENTRIES_LOST,   // entries could not be written; they will be misses
    TUCK_EVENT_SET_REFUSED,    // the drives do not form a set: the usable ones serve
    TUCK_EVENT_DRIVE_OFFLINE,  // a drive of several failed: the others serve, it is tried again
    TUCK_EVENT_DRIVE_ONLINE,   // and serves again
    TUCK_EVENT_DRIVE_HEALED,   // a blank drive took its place in the set
    TUCK_EVENT_BOUND_EXCEEDED, // what may not be evicted is more than the quota
    TUCK_EVENT_DRIVE_READONLY, // a drive of several takes no writes: it serves what it has
};

struct tuck_event {
    enum tuck_event_kind kind;
    const char *path;               // what it is about; may be NULL
    const struct tuck_error *error; // why; may be NULL
};

struct tuck_event_sink {
    void (*emit)(struct tuck_event_sink *sink, const struct tuck_event *event);
};

static inline void tuck_emit(struct tuck_event_sink *sink, enum tuck_event_kind kind,
                             const char *path, const struct tuck_error *error) {
    if (sink)
        sink->emit(sink, &(struct tuck_event){kind, path, error});
}
