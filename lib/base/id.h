// SPDX-License-Identifier: MIT
/*
 * The two names of the protocol, both 32 bytes: what a build step is called and what it made. Two
 * types, so that the compiler keeps them apart; equal bytes mean nothing across them.
 */
#pragma once
#include "lib/base/prelude.h"

#define TUCK_ID_BYTES 32
#define TUCK_ID_HEX   (2 * TUCK_ID_BYTES)

struct tuck_action_id {
    uint8_t bytes[TUCK_ID_BYTES];
};

/** SHA-256 of the body. */
struct tuck_output_id {
    uint8_t bytes[TUCK_ID_BYTES];
};

static inline bool tuck_output_equal(const struct tuck_output_id *a,
                                     const struct tuck_output_id *b) {
    return memcmp(a->bytes, b->bytes, TUCK_ID_BYTES) == 0;
}

static inline bool tuck_action_equal(const struct tuck_action_id *a,
                                     const struct tuck_action_id *b) {
    return memcmp(a->bytes, b->bytes, TUCK_ID_BYTES) == 0;
}

/** Ids are uniformly distributed: their first eight bytes serve as a hash within one process. */
static inline uint64_t tuck_id_hash(const uint8_t bytes[TUCK_ID_BYTES]) {
    uint64_t hash;
    memcpy(&hash, bytes, sizeof(hash));
    return hash;
}

/** Lower-case hexadecimal, no terminator: writes exactly 2 * len characters. */
void tuck_hex(char *ret_text, const uint8_t *bytes, size_t len);

/** Reads 2 * len characters of either case; false on any other character. */
TUCK_CHECKED bool tuck_unhex(uint8_t *ret_bytes, const char *text, size_t len);
