// SPDX-License-Identifier: MIT
/*
 * Plan: what it takes to play a trace on an empty cache. A trace does not say what the cache held when
 * it began, and often not what the bodies were; both follow from it as far as they matter: what was
 * found and not put before has to be put first, and where a body is missing any other of its size
 * does as well, under its own name.
 *
 * The plan also says which answers can be compared. A get that was in work beside a put of the same
 * action may find either state, and what other helpers did to the cache meanwhile is not in the trace.
 *
 * Threads: none. A plan points into its trace.
 */
#pragma once
#include "cmd/tuck-conform/trace.h"

/** One body, whatever it is called in how many requests. */
struct plan_output {
    uint8_t recorded[TUCK_ID_BYTES]; // its name in the trace
    uint8_t played[TUCK_ID_BYTES];   // its name when it is played: the SHA-256 of what is sent
    uint64_t size;
    size_t request; // whose recorded body it is, or SIZE_MAX: it is made, from `made`
    struct value made;
};

#define PLAN_NONE SIZE_MAX

struct plan_request {
    size_t output;   // of a put, or of what a get found; PLAN_NONE: nothing is known of it
    size_t previous; // the request before it, of the same action and session; PLAN_NONE
    bool is_bent;    // a put whose recorded body is not what it says: it is sent byte for byte
    bool is_open;    // the trace does not decide what has to be answered
};

/** What has to be there before the first session. */
struct plan_entry {
    uint8_t action[TUCK_ID_BYTES];
    size_t output;
};

struct plan {
    const struct trace *trace;
    struct plan_request *requests; // one for each of the trace's
    struct plan_output *outputs;
    size_t output_count, output_room;
    struct plan_entry *first;
    size_t first_count, first_room;
    uint64_t first_bytes;
    size_t open_count;
    struct plan_index *index; // private
};

/** Reads or makes, and hashes, every body once. */
void plan_make(struct plan *plan, const struct trace *trace);
void plan_free(struct plan *plan);

/** The output that is played under this name, or PLAN_NONE. */
size_t plan_find_played(const struct plan *plan, const uint8_t id[TUCK_ID_BYTES]);
