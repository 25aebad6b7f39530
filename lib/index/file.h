// SPDX-License-Identifier: MIT
/*
 * The file of entries, inside the index only: a linear hash of checksummed pages, shared by many
 * processes. Finds, writes and walks what is on disk. Not here: what waits in memory (index), the
 * two pages before the tree (head).
 *
 * Threads: find from any; the others from one at a time.
 */
#pragma once
#include "lib/index/brief.h"
#include "lib/index/head.h"

#define INDEX_SLOTS 38U // records in a page

struct record {
    uint8_t action[TUCK_ID_BYTES];
    uint8_t output[TUCK_ID_BYTES];
    uint64_t size;
    uint64_t put_ns;
    uint32_t access_s;
    uint32_t epoch;
    uint32_t boot;
    uint32_t file_tag;
    uint16_t hits;
    uint16_t flags;
    uint32_t check;
};
#define RECORD_SYNCED     1U
#define RECORD_EXPENDABLE 2U
_Static_assert(sizeof(struct record) == 104, "the record's size is part of the format");

struct index_file {
    int dirfd;           /* const after open */
    int fd;              /* the number is const; follow may put another file behind it */
    uint32_t boot;       /* const after open */
    bool is_syncing;     /* const after open: a split must be durable in its order */
    uint64_t seed;       /* atomic */
    unsigned depth_hint; /* atomic: the depth where the last page was found */
    struct brief brief;
};

/** Opens or creates "entries" in dirfd (borrowed). What is damaged or foreign is set aside. On
 * failure nothing is open. */
TUCK_CHECKED int tuck_index__file_open(int dirfd, bool is_syncing, struct tuck_event_sink *sink,
                                       struct index_file *file, struct super *ret_super,
                                       struct tuck_error *err);
void tuck_index__file_close(struct index_file *file);

/** Goes on with the file that is there now, if another process began a new one or somebody removed
 * ours; *ret_is_new and *ret_super are set then. 0 or -errno. */
TUCK_CHECKED int tuck_index__file_follow(struct index_file *file, struct super *ret_super,
                                         bool *ret_is_new);

/** Begins an empty file in place of this one; follow finds it. Waits so long for whoever changes the
 * sums. 0 or -errno. */
TUCK_CHECKED int tuck_index__file_renew(struct index_file *file, uint64_t deadline_ns);

/** A descriptor of the file that is there now, with its sums locked until it is closed. 0 or -errno;
 * -ETIMEDOUT where another process has the lock: *ret_fd is open then all the same; -EIO where what
 * stands there is no index. */
TUCK_CHECKED int tuck_index__file_lock_sums(struct index_file *file, uint64_t deadline_ns,
                                            int *ret_fd);

/** Changes the sums of the file that is there now, under their lock. From any thread. 0, -ETIMEDOUT,
 * or another -errno. */
TUCK_CHECKED int
tuck_index__file_change_sums(struct index_file *file, uint64_t deadline_ns,
                             void (*change)(void *arg, struct tuck_index_sums *sums), void *arg);

/** 0, TUCK_INDEX_ABSENT, or -EIO if the drive failed. */
TUCK_CHECKED int tuck_index__file_find(struct index_file *file, const struct tuck_action_id *action,
                                       struct tuck_entry *ret_entry);

/** As tuck_index_lacks(), of what is on disk. */
bool tuck_index__file_lacks(struct index_file *file, const struct tuck_action_id *action);

/** As tuck_index_fill_brief(). */
void tuck_index__file_fill_brief(struct index_file *file, const volatile int *stop);

enum write_kind {
    WRITE_PUT,   // the entry, unless a later one is there
    WRITE_TOUCH, // its use and verification, if it is still the one that is there
    WRITE_REMOVE // it goes, if it is still the one that is there
};

struct index_write {
    enum write_kind kind;
    struct tuck_action_id action;
    struct tuck_entry entry;
    uint32_t number; // the caller's
    int status;      // set: 0, -ETIMEDOUT for a page that others hold, or another -errno
    uint64_t h;      // used inside
    uint64_t key;
};

/** Writes all that can be written until the deadline; reorders the items. */
void tuck_index__file_write(struct index_file *file, struct index_write *items, size_t count,
                            uint64_t deadline_ns);

/** As tuck_index_walk(). 0 or -errno, -EIO also when some pages could not be read. */
TUCK_CHECKED int tuck_index__file_walk(struct index_file *file,
                                       bool (*each)(void *arg, const struct tuck_action_id *action,
                                                    const struct tuck_entry *entry),
                                       void *arg);

/** A record as it is on disk, for the spool, whose records another seed may check. */
struct record tuck_index__record_of(const struct index_file *file,
                                    const struct tuck_action_id *action,
                                    const struct tuck_entry *entry);
void tuck_index__entry_of(const struct record *record, struct tuck_entry *ret_entry);

/** A put time in the future is damage, or was made while the clock was wrong: such an entry is
 * absent, and any put replaces it. A clock that stands before this program was written proves
 * nothing. */
bool tuck_index__is_from_future(uint64_t put_ns);
