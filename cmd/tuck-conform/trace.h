// SPDX-License-Identifier: MIT
/*
 * Trace: reads recorded conversations, in the form of protocol/transcripts/README.md, into requests
 * with what was answered to them. Not here: what the cache must have held (plan.h), and playing it
 * (replay.h).
 *
 * Nothing is copied but objects that a `+` cut into pieces: all else points into the text, which must
 * outlive the trace, so that a trace with bodies is as large in memory as it is without.
 *
 * Threads: none. Memory: as everywhere in this program, there is enough or it ends.
 */
#pragma once
#include "cmd/tuck-conform/value.h"
#include "lib/base/error.h"

#include <jansson.h>

enum trace_command { TRACE_GET, TRACE_PUT, TRACE_CLOSE, TRACE_OTHER };

enum trace_answer {
    TRACE_NOTHING, // none was recorded
    TRACE_HIT,
    TRACE_MISS,
    TRACE_STORED, // of a put, with a DiskPath
    TRACE_DONE,   // of anything else, without an error
    TRACE_ERR,
};

/** Names of the answers, for people. */
extern const char *const trace_answer_names[];

/** What an answer to this command is. */
enum trace_answer trace_answer_kind(enum trace_command command, const json_t *answer);

struct trace_piece {
    const char *at;
    size_t len;
};

struct trace_request {
    int64_t id;
    enum trace_command command; // OTHER: also one with ids that are none
    size_t line;                // in the file, from 1
    uint64_t at_ns;             // since the session began; 0 where no times were recorded
    size_t in_flight;           // others that were not answered when it was sent
    size_t event;               // its place among the requests and answers of the session
    const char *text;           // the object, byte for byte
    size_t len;
    size_t blanks; // empty lines behind it
    uint8_t action[TUCK_ID_BYTES];
    uint8_t output[TUCK_ID_BYTES]; // of a put
    bool has_old_name;             // of the output: ObjectID
    uint64_t body_size;            // that it announces
    size_t first_piece,
        piece_count; // of the body's line, quotes included; 0: the body is not recorded

    enum trace_answer answer;
    size_t answer_line;
    size_t answer_event;          // as `event`; SIZE_MAX: never
    bool is_late;                 // the answer came when the client had closed its side
    uint8_t found[TUCK_ID_BYTES]; // of a hit
    uint64_t found_size;
};

struct trace_session {
    struct trace_piece title;
    size_t line;
    size_t first, count;                // of its requests
    uint64_t hello_ns, last_ns, eof_ns; // of the last request or answer; 0 where no end is recorded
    int exit_status;                    // that was recorded, else 0
    size_t cut_off; // requests whose end is not recorded; they are not among the requests
};

struct trace {
    struct trace_session *sessions;
    size_t session_count, session_room;
    struct trace_request *requests;
    size_t request_count, request_room;
    struct trace_piece *pieces;
    size_t piece_count, piece_room;
    struct arena arena; // of objects that were in pieces
};

/** Reads the text. TUCK_EINVAL with `name`:line and the reason where it is no trace. Whatever is
 * returned, the trace is to be given to trace_free(). */
TUCK_CHECKED int trace_parse(struct trace *trace, const char *name, const char *text, size_t len,
                             struct tuck_error *err);
void trace_free(struct trace *trace);

/** Maps the file and reads it. The mapping lives as long as the process: nobody may cut the file. */
TUCK_CHECKED int trace_read(struct trace *trace, const char *path, struct tuck_error *err);

/** Takes the body's bytes one block after the other until it returns false. */
typedef bool trace_take(void *arg, const uint8_t *data, size_t len);

/** Decodes the body of a request that has one. False if it is no base64 in quotes, or take() said so. */
TUCK_CHECKED bool trace_body(const struct trace *trace, const struct trace_request *request,
                             trace_take *take, void *arg);
