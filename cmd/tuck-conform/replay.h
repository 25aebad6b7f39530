// SPDX-License-Identifier: MIT
/*
 * Replay: plays a trace against a helper, as fast as it answers or at the recorded pace, and compares
 * what comes back. The rule by which requests go out, which the manual states too:
 *
 * - in the recorded order, session after session, each with a helper of its own on one cache;
 * - never more of them in flight than there were when the request was recorded;
 * - not before each earlier request of the same action that was answered before it is answered;
 * - at the recorded pace: not before its time, counted from the handshake.
 *
 * Files are looked at when a session's last answer has come, or before their action is put again, with
 * the clock stopped: what is measured is the helper, not the disk behind it.
 *
 * Threads: none; plays in a process of its own, so that what a helper leaves behind ends with it.
 */
#pragma once
#include "cmd/tuck-conform/engine.h"
#include "cmd/tuck-conform/plan.h"

enum replay_outcome {
    REPLAY_SAME,
    REPLAY_DIFFERS,
    REPLAY_BROKEN, // it was interrupted, or the report cannot be written; that was told
};

struct replay_options {
    const char *path; // of the trace, for people
    const char *json; // file for the report, or NULL
    bool is_paced;
};

/** Plays it with directories below `scratch`, which is empty and exists, and tells the result. */
enum replay_outcome replay(const struct setup *setup, const struct plan *plan,
                           const struct replay_options *options, const char *scratch);
