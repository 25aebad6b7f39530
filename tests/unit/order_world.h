// SPDX-License-Identifier: MIT
/*
 * Watches the two rules at every system call, beside cache_world: rule A at each page of the index
 * that is written, rule B at each object whose name is taken away, with the durability that the
 * level promises. And lets a test step in before a removal, make memory short, and say how full the
 * drive is. Link with wrap: cache_wrap + order_wrap.
 */
#pragma once
#include "tests/unit/cache_world.h"

/** From now on, for a cache that is opened at this level and was empty. */
void order_watch(enum tuck_durability level);

struct order_seen {
    size_t entries;  // new ones that were written
    size_t removals; // objects whose names were taken away
};

/** Fails the test if a rule was broken since. */
struct order_seen order_check(void);

/** Whether one was. */
bool order_has_fault(void);

/** Waits until so many objects were removed since order_watch(); false after ten seconds. */
bool order_wait(size_t removals);

/** Nobody watches. */
void order_forget(void);

/** Before the next time that an object's name is taken away: act(arg), once. Its own removals count for nothing. */
void order_before_removal(void (*act)(void *arg), void *arg);

/** Before the n-th object from now on that a walk over the drive meets: act(arg), once. */
void order_before_visit(size_t n, void (*act)(void *arg), void *arg);

/** True if a page of the index names the output now. */
bool order_is_named(const char *dir, const struct tuck_output_id *output);

/** From now on the n-th allocation fails, 1: the next one; 0: none does. Returns how many there were before. */
size_t memory_fail_at(size_t n);

/** What the kernel says of the drive's file system: blocks of 4 KiB and inodes. All zero: the truth. */
struct fake_space {
    uint64_t blocks, blocks_free, files, files_free;
};
void kernel_pretend_space(struct fake_space space);
