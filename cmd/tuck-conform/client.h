// SPDX-License-Identifier: MIT
/*
 * Client: judges a client by what can be seen from outside. For each case of the area client it runs
 * the client's command with GOCACHEPROG set to this program, which then plays the case (act.h), and
 * looks at how the client ends, what it says, and what the helper noted of it.
 *
 * What a case says about the client stands in its `client` statements:
 *
 *     client ends         by itself, in time, not by a signal
 *     client works        that, and with status 0
 *     client reuses       that, and it makes nothing again: every hit was taken for one
 *     client rebuilds     it ends, and takes no answer for a hit that was bent: it makes outputs
 *                         again, or reports an error
 *     client warm         the helper has what an earlier run of the client stored
 *     client killed       while it waits for an answer; the helper has to see that
 *     client says TEXT... one of these in what it prints, if it did not do without the helper
 *     client prints-no TEXT   not there
 *     client brief        it prints no more than it has to
 *     client runs PATH    in place of a helper; "foreign": a file that is executable and no program
 *     client adds TEXT    behind the helper's command line
 *
 * Threads: none; a case runs in a process of its own.
 */
#pragma once
#include "cmd/tuck-conform/engine.h"

/** What a client did in one run. */
struct client_facts {
    bool is_started; // a helper, that is
    uint64_t gets, puts, bodies, empty_puts, closes, bent;
    double seconds;
};

/** The client with a helper that is right, on an empty cache and then on what that left. */
struct client_usual {
    struct client_facts cold, warm;
    char *directory;                       // with all that was stored
    uint64_t cold_limit_ns, warm_limit_ns; // that one run may take
    bool is_broken; // it breaks what holds for every conversation: nothing else can be judged
};

/** Runs the client twice with a good helper, in a directory that stays. False when it cannot be
 * judged: *ret_why has the reason. */
TUCK_CHECKED bool client_probe(const struct setup *setup, const char *directory,
                               struct client_usual *ret_usual, struct buf *ret_why);

/** Runs one case in the directory, which exists and is empty. */
void client_run(const struct setup *setup, const struct script_case *one, const char *scratch,
                struct result *ret_result);
