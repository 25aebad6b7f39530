// SPDX-License-Identifier: MIT
/*
 * Messages: the text of a request ⇄ struct tuck_request, struct tuck_answer → text. SPEC.md has the
 * clauses. Plain data, no I/O, no state. jansson reads what arrives; the exact bytes that the go
 * command sends take a shorter way that a test proves equal.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"

enum tuck_command {
    TUCK_COMMAND_OTHER, // a name we do not know
    TUCK_COMMAND_GET,
    TUCK_COMMAND_PUT,
    TUCK_COMMAND_CLOSE,
};

struct tuck_request {
    int64_t id;
    enum tuck_command command;
    const char *flaw; // why it can only be answered with Err, or NULL; a constant text
    uint64_t body_size;
    struct tuck_action_id action; // of get and put, unless there is a flaw
    struct tuck_output_id output; // of put, unless there is a flaw
};

/** Reads one object. TUCK_EPROTO when no answer is possible: no JSON, no usable ID, or a BodySize that leaves open
 *  what follows in the stream. Any other fault is a flaw in the request. */
TUCK_CHECKED int tuck_request_parse(struct tuck_slice text, struct tuck_request *ret_request,
                                    struct tuck_error *err);

/** The short way for the exact bytes that the go command writes: takes line ends and one request off the front of
 *  *input, where no value has begun yet. False, with nothing changed, for anything else, also what would be an
 *  equally good request in other bytes; framing and tuck_request_parse() come to the same for what this takes. */
TUCK_CHECKED bool tuck_request_take(struct tuck_slice *input, struct tuck_request *ret_request);

enum tuck_answer_kind {
    TUCK_ANSWER_HELLO, // the handshake
    TUCK_ANSWER_HIT,
    TUCK_ANSWER_MISS,
    TUCK_ANSWER_PUT,
    TUCK_ANSWER_CLOSE,
    TUCK_ANSWER_ERROR,
};

struct tuck_answer {
    enum tuck_answer_kind kind;
    int64_t id;
    struct tuck_output_id output; // hit
    uint64_t size;                // hit, bytes
    uint64_t time_ns;             // hit: wall clock of the action's last put
    const char *text;             // hit, put: the path; error: the message. Borrowed
};

/** Room that tuck_answer_write() needs at most. */
size_t tuck_answer_room(const struct tuck_answer *answer);

/** Writes the answer with its line end, no terminator; returns its length. The path must be valid
 * UTF-8. */
size_t tuck_answer_write(const struct tuck_answer *answer, char *ret_text);
