// SPDX-License-Identifier: MIT
/*
 * Trace: writes down a conversation as it goes by, in the form of protocol/transcripts/README.md, with
 * the time. Not here: playing it again (tuck-conform replay). A trace never disturbs what it records:
 * where it cannot be written it ends, and the conversation goes on.
 *
 * Each session is written to a file of its own, "<path>.<random name>", and appended to <path> as one
 * block at its end, so that several helpers can record into one file. That of a helper that was killed
 * stays where it is.
 *
 * Threads: any.
 */
#pragma once
#include "lib/base/error.h"

struct tuck_trace;

/** Begins a session. `has_bodies`: bodies are recorded too, instead of `"$BODY"` in their place. */
TUCK_CHECKED int tuck_trace_open(const char *path, bool has_bodies, struct tuck_trace **ret_trace,
                                 struct tuck_error *err);

/** What the client wrote, cut anywhere. NULL: nothing is recorded. */
void tuck_trace_read(struct tuck_trace *trace, const void *data, size_t len);

/** What the client is written: whole lines. */
void tuck_trace_written(struct tuck_trace *trace, const void *data, size_t len);

/** Something besides, like "eof". */
void tuck_trace_note(struct tuck_trace *trace, const char *what);

/** Ends the session and appends it. 0, or why a part of it or all is missing. Accepts NULL. */
int tuck_trace_close(struct tuck_trace *trace, struct tuck_error *err);
