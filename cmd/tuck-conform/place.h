// SPDX-License-Identifier: MIT
/*
 * Place: the directories of one case, fresh and empty, and the memory of what was stored there. The
 * memory is the oracle: of every action it knows which bodies were ever put for it, which one has
 * to be there after an orderly end, and whether it may never hit because its put was refused.
 */
#pragma once
#include "cmd/tuck-conform/value.h"

struct known {
    uint8_t action[TUCK_ID_BYTES];
    struct value *bodies; // that were ever put for it
    size_t body_count;
    int must;         // the place in bodies of what has to be there, or -1
    uint64_t must_ns; // when that was answered
    bool is_never;    // a put of it was refused or broke off
};

struct place {
    struct place *next;
    char *name, *base;                                 // base has the directories below
    char *dir, *gocache, *home, *tmp, *work, *outside; // outside: that of the whole case
    struct known *known;
    size_t known_count;
    bool is_used;
    uint64_t forgotten_ns; // what was answered before need not be there any more
};

/** Makes the directories below `scratch`/`name`. The name may have any bytes but NUL and slash. */
struct place *place_new(const char *scratch, const char *name);

/** A place that is this one directory, which exists, whatever is asked for. */
struct place *place_at(const char *directory);
void place_free(struct place *place);

/** Gives everything in the place to the user nobody, when root. */
void place_give_away(const struct place *place);

/** Replaces {dir}, {gocache}, {home}, {tmp}, {base} and {case}; result is owned by the caller. */
char *place_fill_in(const struct place *place, const char *text);

/** What is known of an action; made if need be. Valid until the next call. */
struct known *place_known(struct place *place, const uint8_t action[TUCK_ID_BYTES]);
const struct known *place_find(const struct place *place, const uint8_t action[TUCK_ID_BYTES]);

/** A put of this body was sent. Returns its number among the bodies of the action. */
int place_may(struct place *place, const uint8_t action[TUCK_ID_BYTES], struct value body);

/** Hits may have become misses. */
void place_forget(struct place *place);

/** The id of the action of this name. */
void action_of(const void *name, size_t len, uint8_t ret_action[TUCK_ID_BYTES]);
