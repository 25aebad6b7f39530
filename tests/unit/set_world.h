// SPDX-License-Identifier: MIT
/*
 * What the tests of the set share: drives named by letters, so that "abc" is the list of the drives a, b and c of one
 * directory, and a kernel that fails at the writing of a tuck.json or has file systems mounted. Link with wrap:
 * set_wrap in meson.build.
 */
#pragma once
#include "tests/unit/unit.h"

#include "lib/store/format.h"
#include "lib/store/set.h"

struct set_kernel {
    unsigned writes;            // times that a file got the name tuck.json, or was to
    unsigned fail_at;           // which of them fails, from 1
    unsigned fail_from;         // from which on all do
    void (*before_write)(void); // called before the next one
    const char *mounts[4];      // directories that pass for mount points
    bool has_no_locks;
    bool skips_waits; // whoever waits for a lock has waited a second at once
};

extern struct set_kernel kernel;
int set_kernel_reset(void **state);

/** Of the test that runs; begun anew by set_world_begin(), for cmocka. */
extern const char *top;
int set_world_begin(void **state);

/** Letters of drives that are not to be touched, or NULL. */
extern const char *left_alone;

const char *root_of(char letter);
const char *file_of(char letter, const char *name);

struct list {
    const char *root[TUCK_DRIVES_MAX];
    size_t count;
};

struct list list_of(const char *letters);

int try_open(const char *letters, bool must_exist, struct tuck_set **ret_set,
             struct tuck_error *err);
struct tuck_set *open_set(const char *letters);

/** The letters of those that are open, in the order of the list. Borrowed until the next call. */
const char *in_use(struct tuck_set *set, const char *letters);

/** All drives of the list are in use and nothing is said. */
void assert_opens(const char *letters);

/** The text of a refusal, after which so many of the drives are in use. Nothing may be written. Borrowed until the
 * next call. */
const char *refusal_of(const char *letters, const char *used);

/** The text has these words, and names the drive, if one is given. */
void assert_says(const char *text, const char *what, char letter);

/** What the drive knows of its set. Borrowed until the fourth call from now. */
const struct tuck_format *format_of(char letter);
const char *id_of(char letter);

/** The drives of these letters know that they are a set in this order, of this generation. */
void assert_is_set(const char *letters, uint64_t generation);

/** The drive's format file: as a text (owned by the caller), and what can be done to it. */
char *read_text(char letter);
void write_text(char letter, const char *text);
void edit(char letter, const char *from, const char *to);
void copy(char from, char to);

/** As a new disk is. */
void empty(char letter);

/** Makes a new set, and forgets that it was written. */
void form(const char *letters);

/** The letters of the list in the order in which the object is to be tried. */
void order_of(struct tuck_set *set, const char *letters, uint64_t object, char *ret_letters);

/** As `tuck drive` does it with drives=before. */
int change(const char *before, const char *after, enum tuck_placement placement,
           struct tuck_error *err);
void assert_changes(const char *before, const char *after);
void set_placement(const char *letters, enum tuck_placement placement);
