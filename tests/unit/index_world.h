// SPDX-License-Identifier: MIT
/*
 * What the tests of the index share: entries that show which action and version they belong to, so that a wrong one
 * is recognised wherever it turns up; and system calls that can be watched, made to fail, or given another boot of
 * the machine to see. Link with wrap: pwrite64, open64, getentropy.
 */
#pragma once
#include "tests/unit/unit.h"

#include "lib/index/index.h"

#define PAGE      4096U
#define TREE_PAGE 2U  // the super page and that of the counters come first
#define SLOTS     38U // records in a page

/** One index in a directory of its own. */
struct world {
    const char *dir;
    int dirfd;
    const char *file; // its entries
};

struct world world_new(void);
void world_close(struct world *world);

/** Opens a handle; fails the test if that fails. */
struct tuck_index *world_open(const struct world *world);

/** Version 1 and up of an action's entry; a higher version is a later put. */
struct tuck_entry entry_of_version(uint64_t number, uint64_t version);

/** Which version of the action is found, 0 for none. Fails the test if what is found is the entry of another action,
 * or one that was never recorded, or if it is told of one that is found that it is lacking. */
uint64_t version_found(struct tuck_index *index, uint64_t number);

/** Records that version of each action in [first, first + count). Returns how many there was room for. */
uint64_t record_many(struct tuck_index *index, uint64_t first, uint64_t count, uint64_t version);

/** How many of these actions are found in exactly that version; fails the test if another one is found. */
uint64_t count_found(struct tuck_index *index, uint64_t first, uint64_t count, uint64_t version);

/** Flushes, waiting for nobody's lock; fails the test if that does not write all. */
void flush_all(struct tuck_index *index);
int flush_now(struct tuck_index *index);

/** Locks bytes of the file as another process would; returns the descriptor that holds the lock. */
int lock_pages(const struct world *world, uint64_t first_page, uint64_t page_count);

/** From now on the machine is in its n-th boot (n > 0); 0: as it is; -1: no boot can be told. */
void pretend_boot(int boot);

/** A page write of the index, in the order in which they were made. */
struct page_write {
    uint64_t offset;
    size_t len;
    uint8_t data[2 * PAGE];
};

/** Begins to note writes of this world's file; the second call returns them, owned by the caller. */
void watch_writes(const struct world *world);
struct page_write *stop_watching(size_t *ret_count);

/** The n-th write from now on (1: the next) fails with this errno, and so do all that follow if is_for_good; 0: none
 * fails. */
void fail_write(unsigned nth, int error, bool is_for_good);

/** How many writes there were since the last call of this. */
unsigned count_writes(void);
