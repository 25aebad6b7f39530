// SPDX-License-Identifier: MIT
/*
 * What the tests of collection share, beside order_world: caches that are filled and collected in a
 * line, a clock that is moved, and what is left of entries and objects. Link with wrap: cache_wrap +
 * order_wrap.
 */
#pragma once
#include "tests/unit/order_world.h"

#include "lib/index/index.h"

#define HOUR  INT64_C(3600)
#define DAY   (24 * HOUR)
#define BLOCK 4096U

/** Moves the clocks. */
void pass(int64_t seconds);

/** Before each test: clocks, memory and kernel as they are. */
int reset(void **state);

/** A new cache with a bound that is never reached. */
struct cache_world new_world(void);

struct cache_world with_quota(struct cache_world world, uint64_t bytes);

/** Action and body have the same number. */
void fill_in(struct tuck_cache *cache, uint64_t first, uint64_t count, size_t len);

/** By a helper that ends in order, and in which nothing is due. */
void fill(const struct cache_world *world, uint64_t first, uint64_t count, size_t len);

/** An object that no entry names. */
struct body put_orphan(const struct cache_world *world, uint64_t number);

struct tuck_collected collect_as(const struct cache_world *world, struct tuck_collect how);
struct tuck_collected collect(const struct cache_world *world);

struct tuck_index *open_index(const struct cache_world *world);

/** Changes the entry as it stands in the index. */
void change_entry(const struct cache_world *world, uint64_t action,
                  void (*change)(struct tuck_entry *entry));

bool has_entry(const struct cache_world *world, uint64_t action);
bool has_object(const struct cache_world *world, const struct tuck_output_id *output);
bool has_body(const struct cache_world *world, uint64_t number, size_t len);

/** How many of these entries there are; and each is there with its object, or neither is. */
unsigned count_left(const struct cache_world *world, uint64_t first, uint64_t count, size_t len);

uint64_t used(const struct cache_world *world);

/** The space that the index takes. */
uint64_t index_bytes(const struct cache_world *world);

/** What the drive says that it holds is what it holds. A helper that runs may be writing its index. */
void assert_sums_are_right(const struct cache_world *world);

#define TEST(name) cmocka_unit_test_setup(name, reset)
