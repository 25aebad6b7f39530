// SPDX-License-Identifier: MIT
/*
 * What the unit tests share: cmocka with the headers it wants before it, seeded random numbers, directories that go
 * away at the end, and a runner that ends each program with the check that no descriptor was left open.
 *
 * Test functions are named as sentences and depend on no other test. Words on the command line choose those whose
 * name contains one of them. TUCK_TEST_SEED (a number) sets another seed than the usual one; it is always printed.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/id.h"

/** Runs the tests that argv chooses, then checks for leaked descriptors. Returns the program's exit status. */
int unit_run(const char *name, const struct CMUnitTest *tests, size_t count, int argc, char **argv);

#define UNIT_MAIN(tests)                                                                           \
    int main(int argc, char **argv) {                                                              \
        return unit_run(__FILE__, tests, TUCK_ARRAY_LEN(tests), argc, argv);                       \
    }

/** How many descriptors this process has open. */
size_t unit_count_descriptors(void);

/** Random numbers that are the same in each run with the same seed (splitmix64). By value: copy it to go back. */
struct unit_random {
    uint64_t state;
};

/** Begins a sequence of its own for each name, so that a test alone sees what it sees among the others. */
struct unit_random unit_random_of(const char *name);
uint64_t unit_random_next(struct unit_random *random);

/** Evenly from [0, limit). */
size_t unit_random_below(struct unit_random *random, size_t limit);
void unit_random_fill(struct unit_random *random, void *ret_data, size_t len);

/** A new empty directory, removed when the program ends. Borrowed until then. */
const char *unit_directory(void);

/** "<dir>/<name>", freed when the program ends. */
const char *unit_path(const char *dir, const char *name);

/** A descriptor of the directory, which must exist. */
int unit_open_directory(const char *path);

/** The whole file, owned by the caller, with a NUL behind it. The file must be there. */
uint8_t *unit_read_file(const char *path, size_t *ret_len);
void unit_write_file(const char *path, const void *data, size_t len);

/** How many names a directory has besides . and .., or -1 if there is none. */
int unit_count_names(const char *path);

/** The id whose bytes all follow from `number`, evenly distributed as real ones are. */
struct tuck_action_id unit_action(uint64_t number);
struct tuck_output_id unit_output(uint64_t number);

/** Bytes that are allocated at present, as the allocator counts them. */
size_t unit_allocated_bytes(void);
