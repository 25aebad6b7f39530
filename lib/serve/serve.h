// SPDX-License-Identifier: MIT
/*
 * Serve: the helper's side of the protocol. Reads requests from one descriptor, answers them on
 * another, in any order, each once; SPEC.md has the clauses. Local lookups are answered by the
 * reader itself, as a hand-over to a thread costs more than the whole lookup; what must be hashed
 * first goes to a second thread. Answers collect in one buffer that is written when all input that
 * was read is consumed.
 */
#pragma once
#include "lib/base/error.h"

struct tuck_cache;
struct tuck_trace;

struct tuck_serve_options {
    int in;
    int out; // closed when the conversation has ended
    const volatile int
        *stop; // becomes true when the process is to end; a signal interrupts reading and writing
    struct tuck_trace *trace; // records the conversation; or NULL
};

/** Writes the handshake: the first thing that a helper does, before it looks at anything. 0 or < 0.
 */
TUCK_CHECKED int tuck_serve_hello(int out, struct tuck_error *err);

/** Serves until close, end of input, or stop. Then everything received in full is answered and
 * visible to other processes, close is answered, and `out` is closed. 0; TUCK_EPROTO if the client
 * left the protocol; TUCK_EIO if it could not be read from or written to. */
TUCK_CHECKED int tuck_serve(struct tuck_cache *cache, const struct tuck_serve_options *options,
                            struct tuck_error *err);
