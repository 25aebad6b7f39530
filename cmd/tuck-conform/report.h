// SPDX-License-Identifier: MIT
/*
 * What people and programs read: TAP while it runs, the table of verdicts at its end, JSON for
 * those who want to keep it. A failed SHOULD is in TAP what is known to be open, so that consumers
 * count failed MUSTs only; a broken rule of every conversation is a failed MUST in whatever case it shows.
 */
#pragma once
#include "cmd/tuck-conform/run.h"

void report_plan(size_t count);
void report_case(size_t number, const struct outcome *outcome);

/** Per area and in all; returns true when every MUST passed. */
bool report_table(const struct outcome *outcomes, size_t count, double seconds);

/** TUCK_EIO when the file cannot be written. */
TUCK_CHECKED int report_json(const char *path, const struct outcome *outcomes, size_t count,
                             double seconds, struct tuck_error *err);

void report_list(const struct script_case *one);

/** Everything that is known of a case: clauses, level, what the go command does. */
void report_explain(const struct script_case *one);

/** True if the outcome counts as a failed MUST. */
bool is_failed_must(const struct outcome *outcome);
