// SPDX-License-Identifier: MIT
/*
 * A set of ids, inside the cache only, each with a number: which objects entries name, for counting,
 * collecting and scrubbing. Remembers the first eight bytes of an id, which for SHA-256 are as good as
 * all. Threads: one at a time.
 */
#pragma once
#include "lib/base/id.h"

struct output_set {  // all zero: empty
    uint64_t *place; // open addressing; 0: free
    uint32_t *number;
    size_t room, count;
    bool has_no_memory; // something could not be added
};

void tuck_outputs__fini(struct output_set *set);

/** The number of the id, borrowed until the next call; NULL if it is not in the set. */
uint32_t *tuck_outputs__find(const struct output_set *set, const uint8_t id[TUCK_ID_BYTES]);

/** As above, and adds it with the number 0; *ret_is_new (may be NULL) tells. NULL without memory. */
uint32_t *tuck_outputs__add(struct output_set *set, const uint8_t id[TUCK_ID_BYTES],
                            bool *ret_is_new);

/** Empties it and keeps its room. */
void tuck_outputs__clear(struct output_set *set);
