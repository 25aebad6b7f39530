// SPDX-License-Identifier: MIT
/*
 * Drives: the setting `drives`, a text that names the directories of a drive set in their order.
 *
 *     /a;/b           drives are separated by ';', or, where there is none in the text, by ','
 *     /mnt/d{1...4}   three dots in braces stand for all numbers from the first to the last, decimal
 *     /{1...2}/d{01...10}   of several ranges the first varies slowest; zeros in front stay
 *
 * Whatever may be a slip of the pen is refused: a wrong list means that drives are searched where
 * nothing is, or begun where nothing should be. Not here: whether the directories exist or are two
 * names of one, and what is in them (drive, format). Threads: any; nothing is shared.
 */
#pragma once
#include "lib/base/error.h"

#define TUCK_DRIVES_MAX 64

struct tuck_drives { // all zero: none
    char **paths;    // absolute, no slash at the end, no two alike
    size_t count;
};

/** Reads the setting: from 1 to TUCK_DRIVES_MAX drives, an owned list. TUCK_EINVAL with a text of one
 * line that names the element and what to write instead, or TUCK_ENOMEM; then *ret_drives is
 * untouched. */
TUCK_CHECKED int tuck_drives_parse(const char *text, struct tuck_drives *ret_drives,
                                   struct tuck_error *err);

/** Accepts NULL and all zero; leaves all zero. */
void tuck_drives_fini(struct tuck_drives *drives);

#define TUCK_DRIVES_SHOWN 68

/** Makes of a path, or what should be one, something that fits into an error text: the end of it if
 * it is long, for that is where paths of drives differ, and one line. Returns ret_text. */
const char *tuck_drives__show(const char *path, size_t len,
                              char ret_text[static TUCK_DRIVES_SHOWN]);
