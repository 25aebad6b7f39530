// SPDX-License-Identifier: MIT
/*
 * Set: the drives of one cache in their order, with a hole where one cannot be used now. Each drive
 * carries a format file that names all of them, so that a list in another order, a drive of another
 * cache, or one that is not mounted is noticed before anything is written to it. Not here: the text
 * of that file and its judgement (format), which drive takes an object (place), when to try a hole
 * again (cache).
 *
 * A set whose drives are all unmounted cannot tell itself from a new one: it is begun anew in the
 * directories that are left, and the old one is back when it is mounted.
 *
 * Processes that begin, heal or change one set take turns; nobody waits who only reads. Threads:
 * tuck_set_retry() from one at a time; the others from any.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"
#include "lib/store/format.h"

struct tuck_drive;
struct tuck_set;

enum tuck_set_outcome {
    TUCK_SET_REFUSED = 1, // the list and the drives do not fit together; those that can serve are
                          // open, *err says what is wrong and what to do
};

struct tuck_set_options {
    const char *const *roots; // absolute, at most TUCK_DRIVES_MAX
    size_t count;
    const char *gocache;                            // see tuck_drive_open(); or NULL
    bool must_exist;                                // makes nothing where nothing is
    bool (*is_left_alone)(void *arg, size_t place); // not to be touched now; or NULL
    void *arg;
};

/** Opens the drives, making and healing what may be. 0 or TUCK_SET_REFUSED; with a single drive
 * TUCK_SET_REFUSED says why it cannot be used. < 0 only without memory, or with must_exist if there
 * is nothing. */
TUCK_CHECKED int tuck_set_open(const struct tuck_set_options *options, struct tuck_set **ret_set,
                               struct tuck_error *err);

/** Accepts NULL. Closes every drive that it ever opened. */
void tuck_set_close(struct tuck_set *set);

/** The open drive, or NULL: then *ret_why (may be NULL) says why. Borrowed. */
struct tuck_drive *tuck_set_drive(struct tuck_set *set, size_t place, struct tuck_error *ret_why);

/** Whether a blank drive was given its place in the set when it was opened last. */
bool tuck_set_was_healed(struct tuck_set *set, size_t place);

/** The directory as it was given. Borrowed. */
const char *tuck_set_root(const struct tuck_set *set, size_t place);

/** Opens the drive in this place anew; the one before is kept until the end, for those who use it. 0
 * with *ret_drive, or < 0. */
TUCK_CHECKED int tuck_set_retry(struct tuck_set *set, size_t place, struct tuck_drive **ret_drive,
                                struct tuck_error *err);

/** The places in the order in which an object is to be tried there: all of them. Each object has its
 * home where the set says, also where the list names other drives than the set has, or in another
 * order. */
void tuck_set_order(struct tuck_set *set, const struct tuck_output_id *output, uint8_t *ret_order);

enum tuck_placement tuck_set_placement(struct tuck_set *set);

/** How many drives the set in force has: not always those of the list. 0 if none is known. */
size_t tuck_set_member_count(struct tuck_set *set);

/** The id of a member, and its place in the list; SIZE_MAX: the list does not name it. */
size_t tuck_set_member(struct tuck_set *set, size_t member, char ret_id[static TUCK_FORMAT_ID + 1]);

// --- Changing a set ------------------------------------------------------------------------------

/** Makes these drives, in this order, the set of a cache, whatever sets they are of; blank ones
 * become members, and those of the former list that `set` knows stay who they are. Every drive must
 * be there, and no other process at it. Objects stay where they are and are found there. All other
 * drives that were in the set are out of it. `set` itself stays what it was.
 *
 * Interrupted, the former list or the new one is served by all of its drives that are in both, with
 * a refusal that says so, and the same change again completes it. */
TUCK_CHECKED int tuck_set_change(struct tuck_set *set, const char *const *roots, size_t count,
                                 enum tuck_placement placement, struct tuck_error *err);
