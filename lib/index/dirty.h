// SPDX-License-Identifier: MIT
/*
 * The table of entries that wait for a flush, inside the index only: open addressing, bounded, one of a kind for each
 * action. Not here: locks, files. Threads: the caller's lock.
 */
#pragma once
#include "lib/index/index.h"

enum dirty_kind {
    DIRTY_NONE, // free place in the table
    DIRTY_PUT,
    DIRTY_TOUCH,
};

struct dirty {
    enum dirty_kind kind;
    bool is_spooled;    // it came from a spool and is still there
    bool is_known_good; // the object was written or hashed just now: the entry gets the present
                        // epoch
    struct tuck_action_id action;
    struct tuck_entry entry;
};

struct dirty_table {
    struct dirty *place; // open addressing, a power of two, at most half full
    size_t room;
    size_t used;
};

/** A put time in the future is damage, or was made while the clock was wrong: such an entry is absent, and any put
 *  replaces it. A clock that stands before this program was written proves nothing. */
bool tuck_index__is_from_future(uint64_t put_ns);

/** The item for the action, or NULL. Borrowed until the next change of the table. */
struct dirty *tuck_index__dirty_find(const struct dirty_table *table,
                                     const struct tuck_action_id *action);

/** Adds, or replaces if it is not older; a touch never replaces a put. False if there is no room. */
TUCK_CHECKED bool tuck_index__dirty_add(struct dirty_table *table, const struct dirty *item);
