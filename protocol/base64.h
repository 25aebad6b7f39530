// SPDX-License-Identifier: MIT
/*
 * Strict streaming base64: standard alphabet, padding required, nothing else tolerated, no matter
 * how the text is cut into pieces. Whole blocks go through our own table; ids and the edges of a
 * body through libb64, which skips what it does not know and so only ever sees what was validated
 * before. Encoding is the other way about: all at once, or in pieces whose length is a multiple of
 * three. No allocation, no I/O. Threads: a decoder belongs to one thread at a time.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"

struct tuck_base64 {
    char carry[4];    // an unfinished group of four
    unsigned carried; // how many of it are there
    bool is_padded;   // a padded group was seen: the text must end here
};

#define TUCK_BASE64_ID_CHARS 44

/** Room that decoding len more characters may need, at any state. */
#define TUCK_BASE64_ROOM(len) (((len) + 3) / 4 * 3 + 4)

static inline void tuck_base64_init(struct tuck_base64 *decoder) {
    *decoder = (struct tuck_base64){0};
}

/** Decodes the next piece into ret_data, which has TUCK_BASE64_ROOM(len) bytes. *ret_len is what
 * came out. TUCK_EPROTO on the first character that cannot stand there; the decoder is then of no
 * more use. */
TUCK_CHECKED int tuck_base64_add(struct tuck_base64 *decoder, const char *text, size_t len,
                                 uint8_t *ret_data, size_t *ret_len);

/** True if the text may end here: every group complete. */
static inline bool tuck_base64_is_complete(const struct tuck_base64 *decoder) {
    return decoder->carried == 0;
}

/** How many characters len bytes become, padding included. */
#define TUCK_BASE64_CHARS(len) (((len) + 2) / 3 * 4)

/** Writes the TUCK_BASE64_CHARS(len) characters, no terminator. Pieces of a longer body join without
 * a seam while each but the last has a multiple of three bytes. */
void tuck_base64_encode(const uint8_t *data, size_t len, char *ret_text);

/** Decodes exactly one id; false if it is not 44 strict characters. */
TUCK_CHECKED bool tuck_base64_id(const char *text, size_t len, uint8_t ret_id[TUCK_ID_BYTES]);

/** Writes the 44 characters of an id, no terminator. */
void tuck_base64_write_id(const uint8_t id[TUCK_ID_BYTES], char ret_text[TUCK_BASE64_ID_CHARS]);
