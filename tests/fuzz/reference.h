// SPDX-License-Identifier: MIT
/*
 * A second reading of what a client writes, made from protocol/SPEC.md alone and as simple as can be: it has all of
 * the input, reads it once from front to back and keeps everything. What the core makes of the same bytes must agree
 * with it. Nothing here is shared with the core but SHA-256.
 *
 * Where the clauses leave a choice this is tuck's: section 9 of the SPEC; also, invalid UTF-8, a lone surrogate, a
 * NUL in a name and values nested deeper than 2,048 are refused like other invalid JSON.
 */
#pragma once
#include "lib/base/id.h"

enum reference_command { REFERENCE_OTHER, REFERENCE_GET, REFERENCE_PUT, REFERENCE_CLOSE };

struct reference_request {
    int64_t id;
    enum reference_command command;
    bool is_flawed; // only Err can answer it
    bool is_whole;  // its body, if any, ended before the stream broke; else nothing may answer it
    uint64_t body_size; // as announced
    struct tuck_action_id action;
    struct tuck_output_id output;
    bool is_base64; // the body is
    bool is_good;   // a put that must be stored: its body is what its fields say
    uint8_t *body;  // decoded
    size_t body_len;
    size_t begin, end, body_begin,
        body_end; // where object and body, quotes included, stand in the input
};

enum reference_end {
    REFERENCE_END_OF_INPUT,
    REFERENCE_CLOSED, // the last request is close; what follows does not count
    REFERENCE_BREACH, // the client left the protocol
};

struct reference_stream {
    struct reference_request *request;
    size_t count;
    enum reference_end how;
    const char *why; // of a breach
    // A field came as a, b, a, where b is the same name in other letter case: which one counts is left open.
    bool is_open;
};

void reference_read(const uint8_t *data, size_t len, struct reference_stream *ret_stream);
void reference_fini(struct reference_stream *stream);

/** Decodes strict base64; false if it is none. ret_data has room for len * 3 / 4 bytes. */
bool reference_base64(const uint8_t *text, size_t len, uint8_t *ret_data, size_t *ret_len);

/** Encodes; ret_text has room for (len + 2) / 3 * 4 characters. Returns how many they are. */
size_t reference_encode(const uint8_t *data, size_t len, char *ret_text);
