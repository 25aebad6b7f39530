// SPDX-License-Identifier: MIT
/*
 * What the tests of the LRU share: a group of caches named a, b, c, … over back ends in memory that can be made to
 * fail, or to stop in the middle of a call; a log of all that the back ends were given, as text; and threads that are
 * known to wait. Link with wrap: pthread_cond_wait, malloc, calloc.
 */
#pragma once
#include "tests/unit/unit.h"

#include "lib/base/error.h"
#include "lib/lru/lru.h"

#include <pthread.h>

#define KEYS   32U // what a back end can store; caches alone take any
#define CACHES 6U

struct value {
    uint64_t number;
    uint64_t weight; // for caches with a limit of bytes
};

/** A door in a back end's call: while it is shut, calls wait there. */
struct gate {
    bool is_shut;
    unsigned waiting;
};

struct fake {
    char name;
    struct tuck_lru *lru;
    uint64_t stored[KEYS]; // number of each key, 0: absent
    uint64_t weight;       // of all values that are loaded or set
    int load_status;       // other than 0: what load() returns
    int flush_status[KEYS];
    unsigned loads, flushes, drops;
    struct gate load_gate, flush_gate;
};

struct world {
    struct tuck_lru_group *group;
    struct fake cache[CACHES];
    size_t count;
};

/** What world_options() begins with: no limit of bytes, dirty_age_ns of 1000. */
struct tuck_lru_options world_options(struct fake *fake, size_t limit_items);

/** A group with so many caches and an empty log. */
void world_init(struct world *world, size_t count, size_t limit_items);

/** Frees all, and fails the test if a cache holds something. */
void world_fini(struct world *world);

/** Sets a value and makes it dirty. Returns the number of the change. */
uint64_t set(struct fake *fake, uint32_t key, uint64_t number);

/** Sets a value with another verdict. */
uint64_t set_as(struct fake *fake, uint32_t key, uint64_t number, enum tuck_lru_verdict verdict);

/** The number of what is got or seen there, 0 if absent; any failure fails the test. */
uint64_t got(struct fake *fake, uint32_t key);
uint64_t seen(struct fake *fake, uint32_t key);

/** Gets and holds, fails the test if that fails. */
struct tuck_lru_item *hold(struct fake *fake, uint32_t key);

void depend(struct fake *fake, struct fake *first, uint64_t seq);
void flush_all(struct fake *fake);
void trim(struct fake *fake);
struct tuck_lru_stats stats_of(struct fake *fake);

/** From now on flush() returns that status for the key. */
void set_flush_status(struct fake *fake, uint32_t key, int status);

/** One item that a back end was given. */
struct write {
    char name;
    uint32_t key;
    uint64_t number;
    int status;
    unsigned call; // of flush(), over all caches
};

/** What was written since the last call of this: "a1=5,a2=7 b3=1", blanks between the calls of flush(). Failed and
 * refused items have ! and ? before them. Borrowed until the next call. */
const char *written(void);

/** The same as it is, without forgetting it. Borrowed until the next write. */
const struct write *writes(size_t *ret_count);

void gate_shut(struct gate *gate);
void gate_open(struct gate *gate);

/** Returns when so many calls wait there. Fails the test after a minute. */
void gate_await(struct gate *gate, unsigned count);

/** Returns when so many threads wait in the library for a load or a flush. Fails the test after a minute. */
void await_waiting(unsigned count);

/** A thread that runs one call. */
struct task {
    pthread_t thread;
    struct fake *fake;
    uint32_t key;
    uint64_t number;
    int status; // what the call returned
    struct tuck_error err;
};

void task_start(struct task *task, void *(*body)(void *));
void task_join(struct task *task);

/** Bodies for it: get() into number, change() to number, flush all up to number, trim. */
void *task_get(void *task);
void *task_set(void *task);
void *task_flush(void *task);
void *task_trim(void *task);

/** The n-th allocation from now on fails (1: the next); 0: none. Returns whether the last one set has failed. */
bool fail_allocation(unsigned nth);
