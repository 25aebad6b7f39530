// SPDX-License-Identifier: MIT
/*
 * What the tests of tables share: a clock that stands still unless a test moves it, so that the last nanosecond of a
 * life and the first after it can be told apart; tables from numbers to numbers whose callback is watched; and loads
 * that end when the test wants. Link with wrap: clock_gettime, pthread_cond_wait.
 */
#pragma once
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/table/table.h"

#define HOUR_NS (3600 * TUCK_NS_PER_S)
#define NEVER   UINT64_MAX

/** For cmocka_unit_test_setup(): the wall clock is at the beginning, nobody waits. */
int world_begin(void **state);

/** Time passes, on both clocks. */
void pass(uint64_t ns);

/** What a callback was told. */
struct seen {
    enum tuck_table_reason reason;
    uint64_t key, value;
};

/** What the callback of the table made last was told, and what it does then. */
struct witness {
    struct tuck_table *table;
    struct seen seen[64];                                             // the first of them
    size_t count;                                                     // all of them
    void (*react)(struct tuck_table *table, const struct seen *seen); // or NULL
};

extern struct witness witness;

void assert_seen(size_t at, enum tuck_table_reason reason, uint64_t key, uint64_t value);

/** An empty table, and the options it was made with. The witness begins anew. */
struct tuck_table *make(size_t limit);
struct tuck_table_options options_of(size_t limit);

void add(struct tuck_table *table, uint64_t key, uint64_t value, uint64_t span_ns, unsigned flags);

/** The value, 0 if there is none. */
uint64_t get(struct tuck_table *table, uint64_t key);
uint64_t peek(struct tuck_table *table, uint64_t key);

/** Rows of up to 16 items. */
struct list {
    uint64_t keys[16], values[16], spans_ns[16], ends_ns[16], uses[16];
    unsigned flags[16];
    size_t count;
};

struct list list_of(struct tuck_table *table, enum tuck_table_order order);

/** Of how many items it hands out rows. */
size_t count_rows(struct tuck_table *table);

/** What a load brings, and what happens meanwhile. */
struct source {
    int status;
    uint64_t value;
    unsigned loads;   // so far
    unsigned waiting; // it ends when so many callers wait for it
    void (*meanwhile)(struct tuck_table *table, uint64_t key); // or NULL
    struct tuck_table *table;
};

struct tuck_table_loader loader_of(struct source *source, uint64_t span_ns,
                                   uint64_t negative_span_ns);
