// SPDX-License-Identifier: MIT
/*
 * Index: which output an action made, on one drive, shared by many processes. Entries are written
 * back: they are dirty in memory, visible to this process at once, and reach the file when
 * tuck_index_flush() is called. Not here: the objects (store), the order between both (cache calls
 * flush only for objects that are committed).
 *
 * The file is a linear hash of 4 KiB pages, each record with a checksum of its own: whatever is
 * torn, damaged or foreign in it is an absent entry, never a wrong one, and is read with pread() so
 * that no fault of the drive can kill the process. A lock covers one page for the microseconds of
 * its change and dies with its holder. lib/README.md draws the page and the split.
 *
 * Threads: find, record, touch and trusts from any thread; the others from one at a time.
 */
#pragma once
#include "lib/base/event.h"
#include "lib/base/id.h"

struct tuck_index;

enum tuck_index_outcome {
    TUCK_INDEX_ABSENT = 1, // no entry for this action
    TUCK_INDEX_BUSY, // some pages were locked by others until the deadline; their entries stay
                     // dirty
};

struct tuck_entry {
    struct tuck_output_id output;
    uint64_t size;     // of the object, bytes
    uint64_t put_ns;   // wall clock of this action's last put; the later one wins
    uint32_t access_s; // wall clock of the last use, in seconds, up to an hour stale
    uint16_t hits;     // hours in which it was used, saturating
    bool is_synced;    // the object was made durable before its answer
    uint32_t file_tag; // names inode, size and change time of the object as it was last verified
    uint32_t epoch;    // set by the index: when that was,
    uint32_t boot;     // and in which boot of the machine
};

/** Opens or creates the index in the directory dirfd (borrowed). Damaged files are set aside and
 * begun anew. */
TUCK_CHECKED int tuck_index_open(int dirfd, struct tuck_event_sink *sink,
                                 struct tuck_index **ret_index, struct tuck_error *err);

/** Drops what is still dirty. Accepts NULL. */
void tuck_index_close(struct tuck_index *index);

/** 0 or TUCK_INDEX_ABSENT. Trouble of any kind is absence. */
TUCK_CHECKED int tuck_index_find(struct tuck_index *index, const struct tuck_action_id *action,
                                 struct tuck_entry *ret_entry);

/** So many may be dirty, half of them while a flush has the others; one more is lost. */
#define TUCK_INDEX_DIRTY_MAX 16384U

/** Makes the entry dirty; epoch and boot are filled in. The object must be committed. Returns how many
 *  wait for the next flush; 0 if there was no room or memory for this one, which becomes a miss. */
size_t tuck_index_record(struct tuck_index *index, const struct tuck_action_id *action,
                         const struct tuck_entry *entry);

/** Notes a use of an entry as it was found, or that its object was hashed just now; may be lost.
 * Returns how many are dirty. */
size_t tuck_index_touch(struct tuck_index *index, const struct tuck_action_id *action,
                        const struct tuck_entry *entry, bool is_verified);

/** True if the object as named by entry->file_tag needs no second look: it was hashed in this boot
 * of the machine, or it has been made durable since it was. */
bool tuck_index_trusts(struct tuck_index *index, const struct tuck_entry *entry);

struct tuck_flush {
    uint64_t wait_ns; // for other processes' page locks, in all
    int (*sync_objects)(
        int fd);       // called when it is settled which entries go and before they do; or NULL
    bool sync_entries; // make them durable too
};

/** Writes what is dirty. 0, TUCK_INDEX_BUSY, or a failure; entries not written stay dirty. */
TUCK_CHECKED int tuck_index_flush(struct tuck_index *index, const struct tuck_flush *how,
                                  struct tuck_error *err);

/** Leaves what is still dirty in a file beside the index, for the next one that opens it. Returns
 * how many were lost because that failed too. */
size_t tuck_index_spool(struct tuck_index *index);

/** If entries have waited for a minute for their objects to be durable: calls sync(fd of the index'
 * file system) and remembers that what was there before needs no verification after a power cut.
 * May take seconds. */
void tuck_index_sync_if_due(struct tuck_index *index, int (*sync)(int fd));

/** Calls each(arg, …) for every entry in the file, without those still dirty here; stops when it
 * returns false. */
TUCK_CHECKED int tuck_index_walk(struct tuck_index *index,
                                 bool (*each)(void *arg, const struct tuck_action_id *action,
                                              const struct tuck_entry *entry),
                                 void *arg, struct tuck_error *err);

/** Begins an empty file in place of this one; other processes find it at their next flush. Counters
 * are kept. */
TUCK_CHECKED int tuck_index_clear(struct tuck_index *index, struct tuck_error *err);

/** Adds to the sums in the file (add may be NULL), and reads them (ret_sums may be NULL). */
void tuck_index_counters(struct tuck_index *index, const struct tuck_counters *add,
                         struct tuck_counters *ret_sums);
