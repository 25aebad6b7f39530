// SPDX-License-Identifier: MIT
/*
 * Framing: finds the JSON values in what a client writes, however it is cut. A message is one
 * object, handed out whole; a body is one string, handed out piece by piece and never held.
 * SPEC.md, clauses FR. Not here: what a message means (message), what base64 is (base64). No I/O,
 * no threads of its own.
 *
 *     while (input.len > 0) switch (tuck_frame_next(&frame, &input, &piece, &err)) { ... }
 *
 * After TUCK_FRAME_MESSAGE the caller says with tuck_frame_expect_body() whether a body follows.
 * After a failure the position in the stream is lost for good: every further call fails the same
 * way.
 */
#pragma once
#include "lib/base/error.h"

/** A longer message is refused: real ones have 85 to 250 bytes. */
#define TUCK_FRAME_MESSAGE_MAX 65536

enum tuck_frame_outcome {
    TUCK_FRAME_MORE = 1, // all input is consumed; come back with more
    TUCK_FRAME_MESSAGE,  // *ret_piece is one object, valid until the next call
    TUCK_FRAME_BODY,     // *ret_piece is the next part of the body's text, escapes resolved, valid
                         // until the next call
    TUCK_FRAME_BODY_END, // the body's closing quote was read
};

struct tuck_frame;

TUCK_CHECKED int tuck_frame_new(struct tuck_frame **ret_frame);
void tuck_frame_free(struct tuck_frame *frame);

/** Takes from the front of *input. Returns a tuck_frame_outcome or TUCK_EPROTO, TUCK_ENOMEM. */
TUCK_CHECKED int tuck_frame_next(struct tuck_frame *frame, struct tuck_slice *input,
                                 struct tuck_slice *ret_piece, struct tuck_error *err);

/** The value after the message just handed out must be a body. */
void tuck_frame_expect_body(struct tuck_frame *frame);

/** The body is not base64: `piece`, which showed it, and all that follows are searched for signs
 * that the client broke off in the middle and went on with its next request. TUCK_EPROTO if it did:
 * the closing quote cannot be trusted. */
TUCK_CHECKED int tuck_frame_doubt_body(struct tuck_frame *frame, struct tuck_slice piece,
                                       struct tuck_error *err);

/** True where the input may end: nothing is half read. */
bool tuck_frame_is_idle(const struct tuck_frame *frame);
