// SPDX-License-Identifier: MIT
/*
 * Index: which output an action made, on one drive, shared by many processes. Entries are written
 * back: they are dirty in memory, visible to this process at once, and reach the file in a flush of
 * the write-back cache that holds them (lib/lru), after what they depend on. Not here: the objects
 * (store), and which entries wait for which objects (cache).
 *
 * The file is a linear hash of 4 KiB pages, each record with a checksum of its own: whatever is
 * torn, damaged or foreign in it is an absent entry, never a wrong one, and is read with pread() so
 * that no fault of the drive can kill the process. A lock covers one page for the microseconds of
 * its change and dies with its holder. lib/README.md draws the page and the split.
 *
 * Threads: find, lacks, record, touch, remove, trusts, flush and sums from any thread; the others from
 * one at a time, fill_brief while nobody flushes.
 */
#pragma once
#include "lib/base/event.h"
#include "lib/base/id.h"

struct tuck_index;
struct tuck_lru;
struct tuck_lru_group;

enum tuck_index_outcome {
    TUCK_INDEX_ABSENT = 1, // no entry for this action
    TUCK_INDEX_BUSY, // some pages were locked by others until the deadline; their entries stay
                     // dirty
};

struct tuck_entry {
    struct tuck_output_id output;
    uint64_t size;      // of the object, bytes
    uint64_t put_ns;    // wall clock of this action's last put; the later one wins
    uint32_t access_s;  // wall clock of the last use, in seconds, up to an hour stale
    uint16_t hits;      // hours in which it was used, saturating
    bool is_synced;     // the object was made durable before its answer
    bool is_expendable; // nobody has used it here yet: it goes sooner than others
    uint32_t file_tag;  // names inode, size and change time of the object as it was last verified
    uint32_t epoch;     // set by the index: when that was,
    uint32_t boot;      // and in which boot of the machine
};

struct tuck_index_options {
    struct tuck_event_sink *sink; // or NULL
    struct tuck_lru_group *group; // of the caches that entries may depend on; NULL: of none
    bool is_durable; // a flush makes the entries durable; the objects of those that were put are
                     // durable before it, which the caller sees to with a dependency
};

/** Opens or creates the index in the directory dirfd (borrowed). Damaged files are set aside and
 * begun anew. */
TUCK_CHECKED int tuck_index_open(int dirfd, const struct tuck_index_options *options,
                                 struct tuck_index **ret_index, struct tuck_error *err);

/** Drops what is still dirty. Accepts NULL. */
void tuck_index_close(struct tuck_index *index);

/** The write-back cache of entries, to declare what they depend on. Borrowed. */
struct tuck_lru *tuck_index_lru(struct tuck_index *index);

/** 0, TUCK_INDEX_ABSENT, or TUCK_EIO if the drive could not be read. */
TUCK_CHECKED int tuck_index_find(struct tuck_index *index, const struct tuck_action_id *action,
                                 struct tuck_entry *ret_entry);

/** True if find would say that it is absent; false says nothing. Costs no system call but for the first ones,
 * where most actions are absent; false for all of a page that nobody has written or noted since the machine was booted. */
bool tuck_index_lacks(struct tuck_index *index, const struct tuck_action_id *action);

/** Notes for all helpers what each page holds, unless that was done in this boot of the machine: reads
 * the whole file then. Ends soon after *stop is set. */
void tuck_index_fill_brief(struct tuck_index *index, const volatile int *stop);

/** So many may be dirty; one more is lost. */
#define TUCK_INDEX_DIRTY_MAX 16384U

/** Whether a put time can be: one in the future is damage, or was made while the clock was wrong. An
 * entry with such a time is absent. */
bool tuck_index_believes(uint64_t put_ns);

/** Makes the entry dirty; epoch and boot are filled in. Returns how many are dirty; 0 if there was
 * no room or memory for this one, which becomes a miss. */
size_t tuck_index_record(struct tuck_index *index, const struct tuck_action_id *action,
                         const struct tuck_entry *entry);

/** Notes a use of an entry as it was found, or that its object was hashed just now; may be lost.
 * Returns how many are dirty. */
size_t tuck_index_touch(struct tuck_index *index, const struct tuck_action_id *action,
                        const struct tuck_entry *entry, bool is_verified);

/** The entry goes with the next flush, unless there is a later put by then. *ret_seq is what its
 * object's removal has to wait for. 0 or TUCK_ENOMEM. */
TUCK_CHECKED int tuck_index_remove(struct tuck_index *index, const struct tuck_action_id *action,
                                   const struct tuck_entry *entry, uint64_t *ret_seq);

/** Takes back every removal that no flush has begun: nothing may wait for them. Returns how many. */
size_t tuck_index_spare(struct tuck_index *index);

/** True if the object as named by entry->file_tag needs no second look: it was hashed in this boot
 * of the machine, or it has been made durable since it was. */
bool tuck_index_trusts(struct tuck_index *index, const struct tuck_entry *entry);

/** Writes what is dirty and what that depends on; waits so long for other processes' page locks, in
 * all. 0, TUCK_INDEX_BUSY, or a failure; entries not written stay dirty. */
TUCK_CHECKED int tuck_index_flush(struct tuck_index *index, uint64_t wait_ns,
                                  struct tuck_error *err);

/** Leaves what is still dirty in a file beside the index, for the next one that opens it. Returns
 * how many were lost because that failed too. */
size_t tuck_index_spool(struct tuck_index *index);

/** If entries have waited for a minute for their objects to be durable: calls sync(fd of the index'
 * file system) and remembers that what was there before needs no verification after a power cut.
 * May take seconds. */
void tuck_index_sync_if_due(struct tuck_index *index, int (*sync)(int fd));

/** Calls each(arg, …) for every entry in the file, without those still dirty here; stops when it
 * returns false. An entry that moves to another page meanwhile may be met twice. < 0 also if not
 * all of it could be read: who was not met may be there. */
TUCK_CHECKED int tuck_index_walk(struct tuck_index *index,
                                 bool (*each)(void *arg, const struct tuck_action_id *action,
                                              const struct tuck_entry *entry),
                                 void *arg, struct tuck_error *err);

/** The same for what this process has put and not written yet. */
void tuck_index_walk_waiting(struct tuck_index *index,
                             bool (*each)(void *arg, const struct tuck_action_id *action,
                                          const struct tuck_entry *entry),
                             void *arg);

/** Goes on with the file that is there now, if another process has cleared the cache. 0 or < 0. */
TUCK_CHECKED int tuck_index_follow(struct tuck_index *index, struct tuck_error *err);

/** The space that the file takes on the drive. */
uint64_t tuck_index_bytes(struct tuck_index *index);

/** Begins an empty file in place of this one; other processes find it at their next flush. Sums are
 * kept. */
TUCK_CHECKED int tuck_index_clear(struct tuck_index *index, struct tuck_error *err);

/** What the drive knows of itself over all helpers. */
struct tuck_index_sums {
    struct tuck_counters counters; // of all helpers that ended
    int64_t base_bytes;            // on the drive besides what the counters say was stored and
    int64_t base_objects;          // removed
    bool is_counted;               // base_… are known; else somebody should count and set them
    uint32_t counted_s;            // wall clock: when that was done last
    uint32_t collected_s;          // wall clock: when a collector last looked,
    uint32_t gave_up_s;            // when that was if it could not make enough room, else 0
    uint32_t swept_s;              // when the last directory was searched for orphans,
    uint32_t sweep_next;           // and which comes next
};

/** Reads the sums, all zero where they are new or damaged, and calls add(arg, ret_sums), unless add
 * is NULL, while nobody can change them, so that what is moved to them from elsewhere is seen either
 * there or here. Where others hold them for 100 ms, they are read all the same. */
void tuck_index_sums(struct tuck_index *index, void (*add)(void *arg, struct tuck_index_sums *sums),
                     void *arg, struct tuck_index_sums *ret_sums);

/** Changes the sums under their lock, which is waited for 100 ms at most. 0, TUCK_INDEX_BUSY, or
 * < 0. */
TUCK_CHECKED int tuck_index_change_sums(struct tuck_index *index,
                                        void (*change)(void *arg, struct tuck_index_sums *sums),
                                        void *arg);
