// SPDX-License-Identifier: MIT
/*
 * The body of a put: bytes from memory, a file or a function, as base64 for the wire. A body hands
 * out its last piece only when it has seen that everything was as announced: the length, the
 * file's state, and the hash. Threads: one at a time.
 */
#pragma once
#include "lib/base/digest.h"
#include "lib/client/status.h"

#include <sys/stat.h>

/** What a body reads at a time; a multiple of three. A smaller body is one piece. */
#define TUCK_BODY_PIECE 49152U

struct tuck_body {
    struct tuck_client_body source;
    struct tuck_output_id output;
    uint64_t size;  // bytes in all
    uint64_t done;  // bytes handed out
    bool is_hashed; // while it is read
    struct tuck_digest digest;
    struct stat before; // of a file, when it was opened
};

/** Looks at the source and finds out size and, unless given, output id: for that it reads all
 * of it. Returns 0, TUCK_CLIENT_BAD_BODY, TUCK_CLIENT_USAGE, TUCK_CLIENT_NO_MEMORY. */
TUCK_CHECKED int tuck_body_open(const struct tuck_client_body *source, const uint8_t *output,
                                struct tuck_body *ret_body, struct tuck_client_error *error);

/** Writes the base64 of the next piece to ret_text, at most room characters. `scratch` has
 * TUCK_BODY_PIECE bytes. True in *ret_is_last when nothing follows; for an empty body that is
 * at once. Returns 0 or TUCK_CLIENT_BAD_BODY: then whoever got the pieces before must never get
 * an end to them. */
TUCK_CHECKED int tuck_body_next(struct tuck_body *body, uint8_t *scratch, char *ret_text,
                                size_t room, size_t *ret_len, bool *ret_is_last,
                                struct tuck_client_error *error);
