// SPDX-License-Identifier: MIT
/*
 * Sizes and ages as people write them. No state, no I/O.
 */
#pragma once
#include "lib/base/error.h"

/** "20GiB", "20G" (the same), "1.5TiB", "4096"; "20GB" is 20 * 1000^3. False for anything else. */
TUCK_CHECKED bool tuck_read_size(const char *text, uint64_t *ret_bytes);

/** "80%" up to "100%". */
TUCK_CHECKED bool tuck_read_percent(const char *text, unsigned *ret_percent);

/** "90s", "15m", "36h", "5d", "2w". */
TUCK_CHECKED bool tuck_read_age(const char *text, uint64_t *ret_seconds);

/** "1.4 GiB"; borrowed, returns ret_text. */
const char *tuck_show_size(uint64_t bytes, char ret_text[static 32]);

/** "36 hours"; the largest unit of which there are two. */
const char *tuck_show_age(uint64_t seconds, char ret_text[static 32]);
