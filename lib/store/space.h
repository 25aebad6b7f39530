// SPDX-License-Identifier: MIT
/*
 * Space: how much room there is on a drive, how much of it has to be made, and which objects are to
 * go for it. Arithmetic, but for tuck_space_read(); no result depends on the clock or on a hidden
 * state. Not here: what a drive holds (index), what must stay whatever its score (lease, cache) and
 * the removing itself.
 *
 * A collection asks tuck_space_to_clear() and tuck_space_below_floor() how much, gives a picker the
 * larger amount as its target and all objects that may go with their scores, and removes what the
 * picker has kept.
 *
 * Threads: a picker belongs to one thread at a time; all else is free of state.
 */
#pragma once
#include "lib/base/error.h"

// --- How much ------------------------------------------------------------------------------------

/** Of a file system, as far as an ordinary user gets at it: what is kept back for root counts
 * neither as total nor as free. */
struct tuck_space {
    uint64_t total, free;       // bytes
    uint64_t files, files_free; // inodes; both 0 where there is no fixed number of them
};

/** Asks for the file system that the descriptor is on. */
TUCK_CHECKED int tuck_space_read(int fd, struct tuck_space *ret_space, struct tuck_error *err);

/** An amount as people give it: absolute, or a share of the whole. 0 is not given; of both the
 * smaller one counts. */
struct tuck_quota {
    uint64_t bytes;
    unsigned percent;
};

#define TUCK_QUOTA_DEFAULT ((struct tuck_quota){.bytes = UINT64_C(20) << 30, .percent = 10})
#define TUCK_FLOOR_DEFAULT ((struct tuck_quota){.percent = 5})

/** The size in bytes that a cache may have on a file system of `total`. UINT64_MAX: no limit is
 * given. */
uint64_t tuck_space_limit(const struct tuck_quota *quota, uint64_t total);

/** How much to clear so that a cache of `used` bytes gets below its low watermark: nothing until it
 * has reached the high one. Watermarks are percentages of the limit. Never more than the limit, so
 * that a cache far above it gets there in several rounds. */
uint64_t tuck_space_to_clear(uint64_t limit, uint64_t used, unsigned low, unsigned high);

/** How much a cache of `used` bytes may grow until it is at its low watermark. */
uint64_t tuck_space_below_mark(uint64_t limit, uint64_t used, unsigned low);

/** How much is missing for `floor` to be free; never more than what is in use. For bytes, and in the
 * same way for inodes, of which floor->bytes is then a number. 0 where `total` is 0. */
uint64_t tuck_space_below_floor(uint64_t total, uint64_t free, const struct tuck_quota *floor);

// --- Which ---------------------------------------------------------------------------------------

/** What all scores of one collection have in common. It stays the same when the picker's target
 * moves: scores by different rules do not compare. */
struct tuck_score_rule {
    uint64_t now_ns;     // wall clock
    uint64_t save_bytes; // what the collection was to clear when it began; 0: sizes do not count
    uint64_t max_hits;   // so many hits and more are the most; 0: hits do not count
};

#define TUCK_SCORE_MAX_HITS 100

/** The higher, the sooner an object goes: age_s * (1 + size / save_bytes / 4 + (1 - hits / max_hits)
 * / 4), where neither quotient counts for more than 1. One that was used in the future has age 0. */
double tuck_space_score(const struct tuck_score_rule *rule, uint64_t used_ns, uint64_t size,
                        uint64_t hits);

/** Keeps, of any number of candidates, those of the highest scores that together reach a target, and
 * no more of them. Of equal scores the earlier one stays. */
struct tuck_picker;

struct tuck_picker_options {
    uint64_t bytes;        // the target: so many bytes
    uint64_t items;        // and so many items
    size_t payload_bytes;  // what names a candidate; at least 1
    size_t max_candidates; // kept in the end; at least 1. On the way there are twice as many, and
                           // each takes 32 bytes and its payload
};

enum tuck_picker_outcome {
    TUCK_PICKER_SPARED = 1, // the candidate is not needed: nothing to be done
};

/** TUCK_EINVAL for sizes of 0 or beyond all memory. With a target of nothing nothing is kept. */
TUCK_CHECKED int tuck_picker_new(const struct tuck_picker_options *options,
                                 struct tuck_picker **ret_picker, struct tuck_error *err);

/** Accepts NULL. */
void tuck_picker_free(struct tuck_picker *picker);

/** False if a candidate of this score, whatever its size, is not needed for certain. */
bool tuck_picker_wants(const struct tuck_picker *picker, double score);

/** Adds a candidate, whose payload is copied. Sooner or later, at the latest by the functions below, the
 * worst ones are dropped that are no longer needed: those without which the rest still reaches the
 * target, and the worst ones of too many. 0, TUCK_PICKER_SPARED, or TUCK_ENOMEM with the picker as it
 * was. */
TUCK_CHECKED int tuck_picker_add(struct tuck_picker *picker, double score, uint64_t bytes,
                                 const void *payload, struct tuck_error *err);

/** Moves the target, by less than nothing where something was cleared by other means, and drops what
 * is no longer needed. What was dropped earlier does not come back. False once the target is
 * nothing; then the picker is empty. */
bool tuck_picker_adjust(struct tuck_picker *picker, int64_t bytes, int64_t items);

/** Takes out the best one that is left; false if there is none. The target stays where it is: tell
 * tuck_picker_adjust() what was really cleared. */
bool tuck_picker_take(struct tuck_picker *picker, uint64_t *ret_bytes, void *ret_payload);

/** How many are kept and how much they come to: less than the target while it is not reached. */
size_t tuck_picker_count(struct tuck_picker *picker, uint64_t *ret_bytes);
