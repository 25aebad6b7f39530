// SPDX-License-Identifier: MIT
/*
 * Runs cases in processes of their own, several at a time: a case that crashes or hangs takes
 * nothing with it, and what helpers leave running is found and ended with it.
 */
#pragma once
#include "cmd/tuck-conform/client.h"

struct outcome {
    const struct script_case *one;
    struct result result;
    double seconds;
};

struct run {
    const struct setup *setup;
    struct outcome *outcomes; // of the chosen cases, in order
    size_t count;
    size_t jobs;
    char *scratch; // a directory for all of it
    void (*report)(size_t number, const struct outcome *outcome, void *arg); // called in order
    void *arg;
    bool is_broken; // a case has a mistake, which was told
};

/** Runs all of them. False if it was interrupted, or a case is broken. */
TUCK_CHECKED bool run_cases(struct run *run);

/** engine_probe() in a process of its own. */
enum probe probe_helper(const struct setup *setup, const char *scratch, struct buf *ret_why);

/** Ends what helpers of this process started and left behind, for one that has become its parent. */
void end_orphans(void);

/** client_probe() in a process of its own; the directory `usual` below scratch stays. */
TUCK_CHECKED bool probe_client(const struct setup *setup, const char *scratch,
                               struct client_usual *ret_usual, struct buf *ret_why);

/** Removes a directory with everything in it, whatever its modes. */
void remove_tree(const char *path);
