// SPDX-License-Identifier: MIT
/*
 * The client's end of the messages: struct tuck_request → the bytes that go out, the bytes that
 * come in → struct tuck_answer_fields. SPEC.md sections 4 and 6 have the clauses. message.h is the
 * helper's end.
 *
 * Answers are read as a stream, however they are cut, and never held: the values of known fields
 * are kept up to a bound, everything else is only checked. So an answer of any length costs the
 * same few kilobytes, where a tree of its values would cost many times its length. Nothing is
 * decided here: what cannot be used is named, and what becomes of it is the client's business. No
 * I/O. Threads: a reader belongs to one thread at a time.
 */
#pragma once
#include "protocol/message.h"

/** How a request is written. Together they are what the go commands from 1.21 on write. */
enum tuck_request_form {
    TUCK_REQUEST_OBJECT_ID = 1,     // a put names its output ObjectID: Go 1.21 to 1.23
    TUCK_REQUEST_BOTH_IDS = 2,      // OutputID, ObjectID at the end: Go 1.24 with the experiment
    TUCK_REQUEST_NO_EMPTY_LINE = 4, // as no go command does: the object and one LF
};

/** Room that tuck_request_write() needs at most. */
#define TUCK_REQUEST_ROOM 320

/** Writes get, put or close up to where the body begins, byte for byte as the go command does;
 * returns the length. A body, if any, follows as a quote, base64, a quote and LF. */
size_t tuck_request_write(const struct tuck_request *request, unsigned form,
                          char ret_text[TUCK_REQUEST_ROOM]);

/** A longer answer is refused, white space before it included; it only bounds the patience. */
#define TUCK_ANSWER_MAX (UINT64_C(64) << 20)

/** A path must be shorter than this. */
#define TUCK_ANSWER_PATH_ROOM 4096

/** Of Err this many bytes are kept. */
#define TUCK_ANSWER_ERR_MAX 1024

/** What one answer says. Fields that are absent, or null, are zero. */
struct tuck_answer_fields {
    int64_t id;
    const char *id_flaw; // why ID cannot be used, or NULL; constant texts, like all flaws
    const char *flaw;    // the first other field whose value has the wrong type or form, or NULL
    const char *oddity;  // what the go command lets pass though nobody promises it: names in other
                         // letter case or given twice, invalid UTF-8; or NULL

    struct tuck_slice err; // unescaped, cut at TUCK_ANSWER_ERR_MAX; of length 0 if absent

    bool has_names;    // KnownCommands is there, and an array
    unsigned commands; // 1 << enum tuck_command for each name in it

    bool is_miss;
    struct tuck_output_id output;
    const char *output_flaw; // why that is no id, though the value is base64 or absent; or NULL
    int64_t size;
    bool has_time;
    int64_t time_s; // since 1970, may be negative
    uint32_t time_ns;
    struct tuck_slice path; // unescaped, a NUL behind it; of length 0 if absent
    const char *path_flaw;  // why it names no file: a NUL inside, no UTF-8, too long; or NULL
};

enum tuck_answer_outcome {
    TUCK_ANSWER_MORE = 1, // all input is consumed; come back with more
    TUCK_ANSWER_READ,     // *ret_fields is one answer; its slices are valid until the next call
};

/** Why reading failed. */
enum tuck_answer_fault {
    TUCK_ANSWER_NO_JSON = 1, // the bytes are no JSON object
    TUCK_ANSWER_TOO_LONG,    // it has more than TUCK_ANSWER_MAX bytes
    TUCK_ANSWER_TOO_DEEP,    // its values are nested deeper than 2,048
};

struct tuck_answer_reader;

TUCK_CHECKED int tuck_answer_reader_new(struct tuck_answer_reader **ret_reader);
void tuck_answer_reader_free(struct tuck_answer_reader *reader);

/** Takes from the front of *input. Returns a tuck_answer_outcome, or TUCK_EPROTO with
 * *ret_fault set: the position in the stream is then lost for good, and every further call
 * fails the same way. */
TUCK_CHECKED int tuck_answer_read(struct tuck_answer_reader *reader, struct tuck_slice *input,
                                  struct tuck_answer_fields *ret_fields,
                                  enum tuck_answer_fault *ret_fault, struct tuck_error *err);

/** True where the stream may end: nothing is half read. */
bool tuck_answer_reader_is_idle(const struct tuck_answer_reader *reader);
