// SPDX-License-Identifier: MIT
/*
 * The two pages before the tree, inside the index only. Page S: what makes the file ours, and the
 * epochs that tell which objects a power cut may have harmed. Page C: sums over all helpers, and
 * what the collector remembers between its runs. Each is small, has a checksum, and is changed
 * under a lock on its own 4 KiB. Threads: as the index.
 */
#pragma once
#include "lib/index/index.h"

#define INDEX_PAGE  4096U
#define SUPER_AT    0U
#define SUMS_AT     ((uint64_t)INDEX_PAGE)
#define TREE_AT     ((uint64_t)2 * INDEX_PAGE)
#define SUPER_MAGIC UINT64_C(0x31787869746b6375) // also tells the byte order

struct epoch_range {
    uint32_t first, last;
};

// Epochs are numbers that grow, at least as large as the time in seconds. Each entry carries the
// one in which its object was last known good. `durable_below`: a sync that began later has
// completed. `lost`: the machine went down with epochs that no sync had covered; they never become
// durable, their objects are looked at once more.
struct super {
    uint64_t magic;
    uint64_t
        seed; // of all checksums and of h: nobody can aim at one page, and foreign pages do not fit
    uint32_t version;
    uint32_t epoch;
    uint32_t boot; // tag of the boot in which this epoch began
    uint32_t durable_below;
    uint32_t unsynced_since_s; // 0: nothing was put in this epoch
    uint32_t lost_count;
    struct epoch_range lost[16];
    uint64_t check;
};

/** 0, TUCK_INDEX_ABSENT if there is no sound one, or -errno. */
TUCK_CHECKED int tuck_index__super_read(int fd, struct super *super);

/** Changes page S under its lock. *ret_super is what was written. 0, -ETIMEDOUT, or another -errno:
 * what is lost so costs a verification. */
TUCK_CHECKED int tuck_index__super_change(int fd, uint64_t deadline_ns,
                                          void (*change)(struct super *super, uint32_t arg),
                                          uint32_t arg, struct super *ret_super);

/** The two pages of a new file. `sums`: those to take over, or NULL. */
void tuck_index__head_new(const struct tuck_index_sums *sums,
                          uint8_t ret_pages[static 2 * INDEX_PAGE]);

/** Changes to make: a boot of the machine has begun; something was put that no sync has covered; a
 * new epoch; all below this epoch is durable. */
void tuck_index__enter_boot(struct super *super, uint32_t boot);
void tuck_index__note_unsynced(struct super *super, uint32_t now_s);
void tuck_index__next_epoch(struct super *super, uint32_t unused);
void tuck_index__note_durable(struct super *super, uint32_t epoch);

/** Whether no power cut can have harmed what was known good in this epoch. */
bool tuck_index__super_trusts(const struct super *super, uint32_t epoch);

/** Names the present boot of the machine; never 0. */
uint32_t tuck_index__boot_tag(void);

uint32_t tuck_index__now_s(void);

/** Reads page C; all zero where it is new, damaged or unreadable. 0, or -errno if it could not be read:
 * then it should not be written either. */
TUCK_CHECKED int tuck_index__sums_read(int fd, struct tuck_index_sums *ret_sums);

/** Changes page C, whose lock the caller holds. 0 or -errno. */
TUCK_CHECKED int
tuck_index__sums_change(int fd, void (*change)(void *arg, struct tuck_index_sums *sums), void *arg);
